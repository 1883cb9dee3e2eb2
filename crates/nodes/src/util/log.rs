//! `util.log`: a line in the log of the run.

use reflux_sdk::{Call, Context, Level, Manifest, Node};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support;

const MANIFEST: &str = r#"{
  "name": "util.log",
  "version": "1.0.0",
  "description": "Write a line into the log of the run",
  "inputs": {
    "type": "object",
    "properties": {
      "message": { "description": "text, or a value that is written as JSON" },
      "level": { "type": "string", "enum": ["debug", "info", "warn", "error"], "default": "info" },
      "data": { "description": "a value written behind the message" }
    },
    "required": ["message"]
  },
  "outputs": { "type": "object", "properties": {} },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#;

pub(crate) struct Log {
    manifest: Manifest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    message: Value,
    level: Option<Level>,
    data: Option<Value>,
}

impl Log {
    pub(crate) fn new() -> Self {
        Self { manifest: support::manifest(MANIFEST) }
    }
}

impl Node for Log {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let input: Input = self.manifest.read_input(input)?;
            let message = match input.message {
                Value::String(text) => text,
                other => other.to_string(),
            };
            let line = match input.data {
                Some(data) => format!("{message} {data}"),
                None => message,
            };
            ctx.log(input.level.unwrap_or(Level::Info), line);
            Ok(json!({}))
        })
    }
}
