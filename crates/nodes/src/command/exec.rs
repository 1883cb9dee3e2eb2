//! `exec.command`: a command that a node file declares, with its output as text.
//!
//! Nothing else can be run: neither the program nor, unless the declaration
//! says so, its arguments come from a flow.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use serde::Deserialize;
use serde_json::{Value, json};

use super::declare::Command;
use super::digest;
use super::process::{self, Spawn};
use crate::NodesConfig;
use crate::support;

const MANIFEST: &str = r#"{
  "name": "exec.command",
  "version": "1.0.0",
  "description": "Run a command that a node file declares",
  "inputs": {
    "type": "object",
    "properties": {
      "command": { "type": "string", "description": "the node name of an action with a command, such as testing.run-tests" },
      "args": { "type": "array", "items": { "type": "string" }, "description": "added to the command's own, if the action says args: true" },
      "stdin": { "description": "text; anything else is written as JSON" },
      "timeout_sec": { "type": "number" },
      "ok_exit_codes": { "type": "array", "items": { "type": "integer" }, "default": [0] }
    },
    "required": ["command"]
  },
  "outputs": { "exit_code": "integer", "stdout": "string", "stderr": "string" },
  "effects": "unsafe"
}"#;

pub(crate) struct ExecCommand {
    manifest: Manifest,
    commands: BTreeMap<String, Command>,
    project: PathBuf,
    output_bytes_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    command: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    stdin: Value,
    timeout_sec: Option<f64>,
    ok_exit_codes: Option<Vec<i32>>,
}

impl ExecCommand {
    /// A node that may run these commands, by the names of their actions.
    pub(crate) fn new(commands: BTreeMap<String, Command>, config: &NodesConfig) -> Self {
        Self {
            manifest: support::manifest(MANIFEST),
            commands,
            project: config.project_root.clone(),
            output_bytes_max: config.file_bytes_max,
        }
    }

    fn declared(&self, input: &Input) -> Result<&Command, Failure> {
        let name = &input.command;
        let Some(command) = self.commands.get(name) else {
            let known: Vec<&str> = self.commands.keys().map(String::as_str).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            let message = format!(
                "{name:?} is not a declared command (declared: {known}); declare it as an action in nodes/*.yaml"
            );
            return Err(Failure::permanent("Command.Undeclared", message));
        };
        if !input.args.is_empty() && !command.args {
            let message = format!(
                "{name} takes no arguments from flows; add `args: true` to the action to allow them"
            );
            return Err(Failure::permanent("Command.Undeclared", message));
        }
        Ok(command)
    }

    async fn run(&self, ctx: &Context, command: &Command, input: Input) -> Result<Value, Failure> {
        let argv: Vec<String> = command.argv.iter().cloned().chain(input.args).collect();
        let stdin = match input.stdin {
            Value::Null => Vec::new(),
            Value::String(text) => text.into_bytes(),
            other => other.to_string().into_bytes(),
        };
        let finished = process::run(
            ctx,
            Spawn {
                name: &input.command,
                argv: &argv,
                env: &command.env,
                project: &self.project,
                stdin,
                stdout_bytes_max: self.output_bytes_max.min(ctx.limits.output_bytes),
            },
        );
        let finished = finished.await?;
        let ok = input.ok_exit_codes.unwrap_or_else(|| vec![0]);
        match finished.code {
            Some(code) if ok.contains(&code) => Ok(json!({
                "exit_code": code,
                "stdout": String::from_utf8_lossy(&finished.stdout),
                "stderr": finished.stderr_tail,
            })),
            _ => Err(finished.failure(&input.command)),
        }
    }
}

impl Node for ExecCommand {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let input: Input = self.manifest.read_input(input)?;
            let command = self.declared(&input)?;
            let asked = input.timeout_sec.unwrap_or(command.timeout.as_secs_f64());
            let timeout = support::timeout(ctx, Some(asked), Duration::MAX)?.min(command.timeout);
            support::bounded(ctx, timeout, self.run(ctx, command, input)).await
        })
    }

    /// Of all declared commands: which one a step runs is in its input.
    fn version_digest(&self) -> Option<String> {
        let digests = self.commands.values().map(|command| digest::digest(&self.project, command));
        let digests: Vec<String> = digests.collect();
        Some(blake3::hash(digests.concat().as_bytes()).to_hex().to_string())
    }
}
