//! `util.fail`: a failure on purpose, to end a branch or to try a flow's error handling.

use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use serde::Deserialize;
use serde_json::Value;

use crate::support;

const MANIFEST: &str = r#"{
  "name": "util.fail",
  "version": "1.0.0",
  "description": "Fail on purpose",
  "inputs": {
    "type": "object",
    "properties": {
      "message": { "type": "string", "default": "failed on purpose" },
      "kind": { "type": "string", "default": "Failed" },
      "retryable": { "type": "boolean", "default": false },
      "details": {}
    }
  },
  "outputs": { "type": "object", "properties": {} },
  "policies": { "timeoutSec": 10 },
  "effects": "pure"
}"#;

pub(crate) struct Fail {
    manifest: Manifest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    message: Option<String>,
    kind: Option<String>,
    retryable: Option<bool>,
    details: Option<Value>,
}

impl Fail {
    pub(crate) fn new() -> Self {
        Self { manifest: support::manifest(MANIFEST) }
    }
}

impl Node for Fail {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, _ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let input: Input = self.manifest.read_input(input)?;
            let kind = input.kind.unwrap_or_else(|| "Failed".to_owned());
            let message = input.message.unwrap_or_else(|| "failed on purpose".to_owned());
            Err(Failure {
                details: input.details.map(Box::new),
                retryable: input.retryable.unwrap_or(false),
                ..Failure::permanent(kind, message)
            })
        })
    }
}
