//! Serves the node `ring.rust` from the packed crate.

use std::sync::Arc;
use std::time::Duration;

use reflux_sdk::worker::{Options, serve};
use reflux_sdk::{Context, Failure, Level, Manifest, Node, node};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Ring {
    url: String,
    path: Vec<String>,
}

#[derive(Deserialize)]
struct Fail {
    text: String,
}

/// Calls a number and writes itself behind the path.
async fn ring(context: Context, input: Ring) -> Result<Vec<String>, Failure> {
    let attempt = &context.attempt;
    let told = json!({
        "key": attempt.idempotency_key,
        "run": attempt.workflow_id,
        "step": attempt.step,
        "attempt": attempt.attempt,
    });
    context.progress(0.5);
    let call = reqwest::Client::new().post(&input.url).header("content-type", "application/json");
    let answer =
        call.body(told.to_string()).send().await.and_then(reqwest::Response::error_for_status);
    answer.map_err(|error| Failure::retryable("Phone", error.to_string()))?;
    tokio::time::sleep(Duration::from_millis(100)).await;
    context.log(Level::Info, format!("rang for {}", attempt.step));
    context.metric("rung", 1.0);
    context.tokens(3, 2);
    context.cost(0.5);
    Ok([input.path, vec![attempt.step.clone()]].concat())
}

/// Fails with what it was given.
async fn fail(context: Context, input: Fail) -> Result<String, Failure> {
    context.log(Level::Info, format!("it was {}", input.text));
    let failure = Failure::permanent("Told.To", format!("not {}", input.text));
    Err(failure.with_details(json!({"text": input.text})))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ring_manifest = json!({
        "name": "ring.rust",
        "version": "1.0.0",
        "description": "Calls a number and writes itself behind the path.",
        "inputs": {"url": "string", "path": "string[]"},
        "outputs": "string[]",
        "effects": "idempotent",
        "policies": {"heartbeatSec": 3, "retries": vec![0.1; 30]},
        "metrics": ["rung"],
    });
    let fail_manifest = json!({
        "name": "fail.rust",
        "version": "1.0.0",
        "inputs": {"text": "string"},
        "outputs": "string",
        "effects": "pure",
        "policies": {"retries": []},
    });
    let nodes: [Arc<dyn Node>; 2] = [
        Arc::new(node(Manifest::from_json(&ring_manifest.to_string())?, ring)),
        Arc::new(node(Manifest::from_json(&fail_manifest.to_string())?, fail)),
    ];
    serve(nodes, Options::default()).await?;
    Ok(())
}
