//! An action as a node: the input as JSON on stdin, the output as JSON on stdout.

use std::path::PathBuf;

use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use serde_json::{Value, json};

use super::declare::Command;
use super::digest;
use super::process::{self, Spawn};
use crate::NodesConfig;
use crate::support;

pub(super) struct LocalCommand {
    manifest: Manifest,
    command: Option<Command>,
    how_to_implement: String,
    project: PathBuf,
    output_bytes_max: usize,
}

impl LocalCommand {
    pub(super) fn new(
        manifest: Manifest,
        command: Option<Command>,
        how_to_implement: String,
        config: &NodesConfig,
    ) -> Self {
        Self {
            manifest,
            command,
            how_to_implement,
            project: config.project_root.clone(),
            output_bytes_max: config.file_bytes_max,
        }
    }

    async fn run(&self, ctx: &Context, command: &Command, input: Value) -> Result<Value, Failure> {
        let finished = process::run(
            ctx,
            Spawn {
                name: &self.manifest.name,
                argv: &command.argv,
                env: &command.env,
                project: &self.project,
                stdin: input.to_string().into_bytes(),
                stdout_bytes_max: self.output_bytes_max.min(ctx.limits.output_bytes),
            },
        );
        let finished = finished.await?;
        if !finished.success() {
            return Err(finished.failure(&self.manifest.name));
        }
        output(&self.manifest.name, finished.stdout)
    }
}

impl Node for LocalCommand {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let Some(command) = &self.command else {
                return Err(Failure::permanent(
                    "Command.Undeclared",
                    self.how_to_implement.clone(),
                ));
            };
            let input: Value = self.manifest.read_input(input)?;
            let timeout = support::timeout(ctx, None, command.timeout)?;
            support::bounded(ctx, timeout, self.run(ctx, command, input)).await
        })
    }

    fn is_callable(&self) -> bool {
        self.command.is_some()
    }

    fn version_digest(&self) -> Option<String> {
        let command = self.command.as_ref()?;
        Some(digest::digest(&self.project, command))
    }
}

/// Nothing is an empty object, JSON is itself, anything else is text.
fn output(name: &str, stdout: Vec<u8>) -> Result<Value, Failure> {
    if stdout.iter().all(u8::is_ascii_whitespace) {
        return Ok(json!({}));
    }
    if let Ok(value) = serde_json::from_slice::<Value>(&stdout) {
        return Ok(value);
    }
    match String::from_utf8(stdout) {
        Ok(text) => Ok(json!({ "text": text })),
        Err(_) => Err(Failure::permanent(
            "Command.Output",
            format!("{name} wrote something that is neither JSON nor UTF-8 text"),
        )),
    }
}
