//! `trigger.webhook`, `trigger.schedule`, `trigger.event`, `trigger.manual`: what started the run, as
//! the output of a step. The triggers themselves are the server's; these nodes only hand on.

use reflux_sdk::{Call, Context, Manifest, Node};
use serde_json::Value;

use crate::support;

const MANIFESTS: [&str; 4] = [
    r#"{
  "name": "trigger.webhook",
  "version": "1.0.0",
  "description": "The request that started the run",
  "outputs": { "body?": "any", "headers?": "object", "query?": "object", "method?": "string", "path?": "string" },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#,
    r#"{
  "name": "trigger.schedule",
  "version": "1.0.0",
  "description": "The time at which the run started",
  "outputs": { "time?": "string", "trigger?": "string" },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#,
    r#"{
  "name": "trigger.event",
  "version": "1.0.0",
  "description": "The event that started the run",
  "outputs": { "id?": "string", "name?": "string", "data?": "any", "time?": "string" },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#,
    r#"{
  "name": "trigger.manual",
  "version": "1.0.0",
  "description": "What the run was started with",
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#,
];

/// Gives what it is given.
pub(crate) struct Occurrence {
    manifest: Manifest,
}

impl Occurrence {
    pub(crate) fn all() -> impl Iterator<Item = Self> {
        MANIFESTS.into_iter().map(|manifest| Self { manifest: support::manifest(manifest) })
    }
}

impl Node for Occurrence {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, _ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move { Ok(input) })
    }
}
