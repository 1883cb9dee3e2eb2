//! `nodes`.

use reflux_sdk::{Manifest, Node, Schema};
use reflux_server::{Error, service};
use serde_json::json;

use super::{Done, done, project};
use crate::cli::Global;
use crate::out::Out;

/// The nodes that flows can call: built in, and declared in nodes/.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One of them, in full
    name: Option<String>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let (nodes, _) = service::load(&project(global)?)?;
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
