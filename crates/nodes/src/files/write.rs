//! `file.write`: text, bytes or a value into a file, whole or not at all.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Root;
use super::read::Encoding;
use crate::support;

const MANIFEST: &str = r#"{
  "name": "file.write",
  "version": "1.0.0",
  "description": "Write a file of the project, whole or not at all",
  "inputs": {
    "type": "object",
    "properties": {
      "path": { "type": "string" },
      "content": { "description": "text; anything else is written as JSON" },
      "encoding": { "type": "string", "enum": ["utf-8", "base64"], "default": "utf-8" },
      "replace": { "type": "boolean", "default": true }
    },
    "required": ["path", "content"]
  },
  "outputs": { "path": "string", "size": "integer" },
  "policies": { "timeoutSec": 30, "retries": [1, 3] },
  "effects": "idempotent",
  "metrics": ["bytes"]
}"#;

pub(crate) struct FileWrite {
    manifest: Manifest,
    root: Arc<Root>,
    bytes_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    path: String,
    content: Value,
    encoding: Option<Encoding>,
    replace: Option<bool>,
}

impl FileWrite {
    pub(crate) fn new(root: Arc<Root>, bytes_max: usize) -> Self {
        Self { manifest: support::manifest(MANIFEST), root, bytes_max }
    }
}

impl Node for FileWrite {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let input: Input = self.manifest.read_input(input)?;
            let bytes = bytes(input.content, input.encoding.unwrap_or(Encoding::Utf8))?;
            let size = bytes.len();
            if size > self.bytes_max {
                return Err(Failure::bad_input(format!(
                    "content: larger than {} bytes",
                    self.bytes_max
                )));
            }
            ctx.metric("bytes", size as f64);
            let (root, path) = (Arc::clone(&self.root), input.path.clone());
            let replace = input.replace.unwrap_or(true);
            support::blocking(move || root.write(&path, &bytes, replace)).await?;
            Ok(json!({ "path": input.path, "size": size }))
        })
    }
}

fn bytes(content: Value, encoding: Encoding) -> Result<Vec<u8>, Failure> {
    match (content, encoding) {
        (Value::String(text), Encoding::Utf8) => Ok(text.into_bytes()),
        (Value::String(text), Encoding::Base64) => {
            let decoded = BASE64_STANDARD.decode(text.trim());
            decoded.map_err(|e| Failure::bad_input(format!("content: not base64: {e}")))
        }
        (value, Encoding::Utf8) => Ok(value.to_string().into_bytes()),
        (_, Encoding::Base64) => {
            Err(Failure::bad_input("content: with encoding base64 it must be text"))
        }
    }
}
