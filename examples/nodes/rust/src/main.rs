//! Two nodes in Rust. Start the server, then: cargo run --manifest-path examples/nodes/rust/Cargo.toml

use std::sync::Arc;

use reflux_sdk::worker::{Options, serve};
use reflux_sdk::{Context, Failure, Level, Manifest, Node, node};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Upper {
    text: String,
    times: Option<usize>,
}

#[derive(Deserialize)]
struct Count {
    text: String,
}

#[derive(Serialize)]
struct Counted {
    words: usize,
    longest: String,
}

/// Writes text in capitals.
async fn upper(_: Context, input: Upper) -> Result<String, Failure> {
    Ok(input.text.to_uppercase().repeat(input.times.unwrap_or(1)))
}

/// Counts the words of a text.
async fn count(context: Context, input: Count) -> Result<Counted, Failure> {
    let words: Vec<&str> = input.text.split_whitespace().collect();
    let longest = words.iter().max_by_key(|word| word.chars().count());
    let longest = longest.ok_or_else(|| Failure::bad_input("text is empty"))?;
    context.log(Level::Info, format!("{} words", words.len()));
    context.metric("words", words.len() as f64);
    Ok(Counted { words: words.len(), longest: (*longest).to_owned() })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let upper_manifest = Manifest::from_json(
        r#"{
            "name": "text.upper", "version": "1.0.0", "effects": "pure",
            "description": "Writes text in capitals.",
            "inputs": {"text": "string", "times?": "integer"}, "outputs": "string"
        }"#,
    )?;
    let count_manifest = Manifest::from_json(
        r#"{
            "name": "text.count", "version": "1.0.0", "effects": "pure", "metrics": ["words"],
            "description": "Counts the words of a text.",
            "inputs": {"text": "string"}, "outputs": {"words": "integer", "longest": "string"}
        }"#,
    )?;
    let nodes: [Arc<dyn Node>; 2] =
        [Arc::new(node(upper_manifest, upper)), Arc::new(node(count_manifest, count))];
    serve(nodes, Options::default()).await?;
    Ok(())
}
