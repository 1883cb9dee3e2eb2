//! `file.read`: a file as text or base64.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Root;
use crate::support;

const MANIFEST: &str = r#"{
  "name": "file.read",
  "version": "1.0.0",
  "description": "Read a file of the project",
  "inputs": {
    "type": "object",
    "properties": {
      "path": { "type": "string" },
      "encoding": { "type": "string", "enum": ["utf-8", "base64"], "default": "utf-8" }
    },
    "required": ["path"]
  },
  "outputs": { "path": "string", "content": "string", "size": "integer" },
  "policies": { "timeoutSec": 30, "retries": [1, 3] },
  "effects": "reads",
  "metrics": ["bytes"]
}"#;

pub(crate) struct FileRead {
    manifest: Manifest,
    root: Arc<Root>,
    bytes_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    path: String,
    encoding: Option<Encoding>,
}

#[derive(Deserialize, Clone, Copy)]
pub(super) enum Encoding {
    #[serde(rename = "utf-8")]
    Utf8,
    #[serde(rename = "base64")]
    Base64,
}

impl FileRead {
    pub(crate) fn new(root: Arc<Root>, bytes_max: usize) -> Self {
        Self { manifest: support::manifest(MANIFEST), root, bytes_max }
    }
}

impl Node for FileRead {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let input: Input = self.manifest.read_input(input)?;
            let (root, path, bytes_max) =
                (Arc::clone(&self.root), input.path.clone(), self.bytes_max);
            let bytes = support::blocking(move || root.read(&path, bytes_max)).await?;
            let size = bytes.len();
            ctx.metric("bytes", size as f64);
            let content = match input.encoding.unwrap_or(Encoding::Utf8) {
                Encoding::Base64 => BASE64_STANDARD.encode(bytes),
                Encoding::Utf8 => String::from_utf8(bytes).map_err(|e| {
                    let message = format!(
                        "{}: byte {} is not UTF-8; set encoding: base64",
                        input.path,
                        e.utf8_error().valid_up_to()
                    );
                    Failure::permanent("File.Encoding", message)
                })?,
            };
            Ok(json!({ "path": input.path, "content": content, "size": size }))
        })
    }
}
