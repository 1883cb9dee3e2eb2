//! `json.parse`: text to a value, or the place where it stops being JSON.

use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::support;

const MANIFEST: &str = r#"{
  "name": "json.parse",
  "version": "1.0.0",
  "description": "Read JSON text into a value",
  "inputs": { "text": "string" },
  "outputs": { "type": "object", "properties": { "value": {} }, "required": ["value"] },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#;

pub(crate) struct JsonParse {
    manifest: Manifest,
    bytes_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    text: String,
}

impl JsonParse {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self { manifest: support::manifest(MANIFEST), bytes_max }
    }
}

impl Node for JsonParse {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, _ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let input: Input = self.manifest.read_input(input)?;
            if input.text.len() > self.bytes_max {
                return Err(Failure::bad_input(format!(
                    "text: longer than {} bytes",
                    self.bytes_max
                )));
            }
            // serde_json refuses what is nested deeper than 128
            let value: Value = serde_json::from_str(&input.text)
                .map_err(|e| Failure::permanent("Json.Syntax", format!("text is not JSON: {e}")))?;
            Ok(json!({ "value": value }))
        })
    }
}
