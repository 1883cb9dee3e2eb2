//! `nodes`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use reflux_sdk::{Manifest, Node, Schema};
use reflux_server::Error;
use serde_json::{Value, json};

use super::deploy::ask;
use super::{Done, done, known, project};
use crate::cli::Global;
use crate::out::Out;

/// A manifest is written by people.
const MANIFEST_BYTES_MAX: u64 = 256 << 10;

/// The nodes that flows can call: built in, declared in nodes/, and registered.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// One of them, in full
    name: Option<String>,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a node known that workers serve as an activity of its name
    Register {
        /// Its manifest as JSON
        file: PathBuf,
        /// The task queue its workers poll; by default `node:` and its name
        #[arg(long, value_name = "NAME")]
        queue: Option<String>,
    },
    /// Mark a registered node: flows that call it are warned
    Deprecate {
        /// NAME or NAME@VERSION
        node: String,
        /// Why; without it the mark is taken away
        #[arg(long, default_value = "")]
        reason: String,
        /// What to use instead
        #[arg(long, default_value = "")]
        replacement: String,
    },
    /// Forget a registered node that no deployed flow calls
    Remove {
        /// NAME@VERSION
        node: String,
    },
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    match &args.what {
        None => show(args, global, out),
        Some(What::Register { file, queue }) => register(file, queue.as_deref(), global, out),
        Some(What::Deprecate { node, reason, replacement }) => {
            let (name, version) = node.split_once('@').unwrap_or((node, ""));
            let request = json!({
                "name": name, "version": version, "reason": reason, "replacement": replacement,
            });
            told(&ask(global, "NodeService/DeprecateNode", request)?, "marked", out)
        }
        Some(What::Remove { node }) => {
            let (name, version) = node.split_once('@').unwrap_or((node, ""));
            let request = json!({ "name": name, "version": version });
            let answer = ask(global, "NodeService/RemoveNode", request)?;
            match out.is_json() {
                true => out.value(&answer),
                false => out.line(format!("removed {node}")),
            }
            done()
        }
    }
}

fn register(file: &Path, queue: Option<&str>, global: &Global, out: &Out) -> Done {
    let name = file.display();
    let failed = |error: std::io::Error| Error::invalid(format!("cannot read {name}: {error}"));
    if std::fs::metadata(file).map_err(failed)?.len() > MANIFEST_BYTES_MAX {
        return Err(Error::invalid(format!("{name} is too large for a manifest")).into());
    }
    let manifest: Value = serde_json::from_str(&std::fs::read_to_string(file).map_err(failed)?)
        .map_err(|error| Error::invalid(format!("{name} is not JSON: {error}")))?;
    let request = json!({ "manifest": manifest, "task_queue": queue.unwrap_or_default() });
    let answer = ask(global, "NodeService/RegisterNode", request)?;
    let existing = answer.get("existing").and_then(Value::as_bool).unwrap_or(false);
    told(&answer, if existing { "known already:" } else { "registered" }, out)
}

fn told(answer: &Value, what: &str, out: &Out) -> Done {
    if out.is_json() {
        out.value(answer);
        return done();
    }
    let text = |name: &str| answer.pointer(&format!("/node/{name}")).and_then(Value::as_str);
    let text = |name: &str| text(name).unwrap_or_default().to_owned();
    out.line(format!("{what} {}@{}, queue {}", text("name"), text("version"), text("task_queue")));
    done()
}

fn show(args: &Args, global: &Global, out: &Out) -> Done {
    let nodes = known::nodes(&project(global)?)?;
    let Some(name) = &args.name else {
        if out.is_json() {
            out.value(&nodes.all().map(|node| node.manifest()).collect::<Vec<_>>());
            return done();
        }
        let all: Vec<(String, &Manifest)> =
            nodes.all().map(|node| (node.manifest().reference(), node.manifest())).collect();
        let width = all.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (reference, manifest) in all {
            out.line(format!("{reference:width$}  {}", manifest.description).trim_end());
        }
        return done();
    };
    let Some(node) = nodes.find(name) else {
        let error = Error::not_found(format!("no node `{name}`"));
        return Err(match nodes.suggestions(name).first() {
            Some(alike) => error.suggest(format!("did you mean `{alike}`?")),
            None => error.suggest("see `reflux nodes`"),
        }
        .into());
    };
    match out.is_json() {
        true => out.value(&json!({ "manifest": node.manifest(), "callable": node.is_callable(), "digest": node.version_digest() })),
        false => describe(&**node, out),
    }
    done()
}

fn describe(node: &dyn Node, out: &Out) {
    let manifest = node.manifest();
    out.line(out.style().paint(1, &manifest.reference()));
    if !manifest.description.is_empty() {
        out.line(format!("  {}", manifest.description));
    }
    let effects = serde_json::to_value(manifest.effects).unwrap_or_default();
    out.line(format!("  effects  {}", effects.as_str().unwrap_or_default()));
    if let Some(timeout) = manifest.policies.timeout {
        out.line(format!("  timeout  {} s", timeout.as_secs_f64()));
    }
    if let Some(retries) = &manifest.policies.retries {
        let waits: Vec<String> =
            retries.iter().map(|wait| wait.as_secs_f64().to_string()).collect();
        out.line(format!("  retries  after {} s", waits.join(", ")));
    }
    if !node.is_callable() {
        out.line("  it has no command here; a worker has to serve it");
    }
    fields("inputs", &manifest.inputs, out);
    fields("outputs", &manifest.outputs, out);
}

fn fields(title: &str, schema: &Schema, out: &Out) {
    let fields: Vec<_> = schema.properties().collect();
    if fields.is_empty() {
        return out.line(format!("  {title}   anything"));
    }
    out.line(format!("  {title}"));
    let width = fields.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
    for (name, kind, required) in fields {
        let optional = if required { "" } else { ", optional" };
        out.line(format!("    {name:width$}  {kind}{optional}"));
    }
}
