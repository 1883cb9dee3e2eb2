//! `cache`.

use clap::Subcommand;
use serde_json::{Value, json};

use super::deploy::ask;
use super::{Done, done};
use crate::cli::Global;
use crate::out::Out;

/// Results that runs take instead of calling a node again: see docs/cache.md.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The results, the newest first
    List {
        #[command(flatten)]
        which: Which,
        /// At most so many
        #[arg(long, default_value_t = 100)]
        limit: u32,
    },
    /// How many there are, and how often they were taken
    Stat {
        #[command(flatten)]
        which: Which,
    },
    /// Take results away: the calls are made again
    Clear {
        #[command(flatten)]
        which: Which,
    },
}

#[derive(Debug, clap::Args)]
struct Which {
    /// Of this node only
    #[arg(long)]
    node: Option<String>,
    /// Of runs of this flow only
    #[arg(long)]
    flow: Option<String>,
}

impl Which {
    fn request(&self) -> Value {
        json!({
            "node": self.node.as_deref().unwrap_or_default(),
            "flow": self.flow.as_deref().unwrap_or_default(),
        })
    }
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    match &args.what {
        What::List { which, limit } => {
            let mut request = which.request();
            if let Some(request) = request.as_object_mut() {
                request.insert("page_size".into(), json!(limit));
            }
            list(&ask(global, "CacheService/ListCache", request)?, out)
        }
        What::Stat { which } => {
            let usage = ask(global, "CacheService/GetCacheUsage", which.request())?;
            if out.is_json() {
                out.value(&usage);
                return done();
            }
            let [entries, bytes, hits] = ["entries", "bytes", "hits"].map(|it| number(&usage, it));
            out.line(format!(
                "results kept: {entries}, bytes: {bytes}, taken since the process began: {hits}"
            ));
            done()
        }
        What::Clear { which } => {
            let answer = ask(global, "CacheService/ClearCache", which.request())?;
            match out.is_json() {
                true => out.value(&answer),
                false => out.line(format!("results cleared: {}", number(&answer, "cleared"))),
            }
            done()
        }
    }
}

fn list(answer: &Value, out: &Out) -> Done {
    let results = answer.get("results").and_then(Value::as_array).cloned().unwrap_or_default();
    if out.is_json() {
        out.value(&results);
        return done();
    }
    if results.is_empty() {
        out.line("no results are kept");
        return done();
    }
    let text = |row: &Value, name: &str| -> String {
        row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let width = results.iter().map(|row| text(row, "node").len()).max().unwrap_or(0);
    for row in &results {
        let (node, hits, bytes) = (text(row, "node"), number(row, "hits"), number(row, "bytes"));
        let expires = match text(row, "expires") {
            until if until.is_empty() => String::new(),
            until => format!(", until {until}"),
        };
        out.line(format!(
            "{node:width$}  {}  taken {hits}×, {bytes} B, `{}` of {}{expires}",
            text(row, "time"),
            text(row, "activation"),
            text(row, "workflow_id"),
        ));
    }
    done()
}

/// A number as JSON has it: 64 bits are text there.
fn number(value: &Value, name: &str) -> u64 {
    match value.get(name) {
        Some(Value::String(text)) => text.parse().unwrap_or_default(),
        Some(number) => number.as_u64().unwrap_or_default(),
        None => 0,
    }
}
