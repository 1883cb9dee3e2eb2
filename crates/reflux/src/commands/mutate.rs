//! `mutate`.

use std::path::PathBuf;

use reflux_server::Error;
use reflux_server::protocol::new_request_id;
use serde_json::{Value, json};

use super::{Done, done, leave, look};
use crate::cli::Global;
use crate::out::Out;

/// Change the graph of a run while it runs.
///
/// The change is a file with a patch, or is said with --set, --replace and --remove. One that does not fit the
/// run as it stands is refused, and nothing is changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    run: String,
    /// A patch: YAML or JSON with `ops`
    #[arg(
        conflicts_with_all = ["set", "remove", "replace"],
        required_unless_present_any = ["set", "remove", "replace"],
    )]
    patch: Option<PathBuf>,
    /// Set one value of a step; may be given again. The value is JSON, else text
    #[arg(long, value_name = "STEP.PATH=VALUE")]
    set: Vec<String>,
    /// Remove a step, or one item of a list as STEP[17]; may be given again
    #[arg(long, value_name = "STEP")]
    remove: Vec<String>,
    /// Let another node do the work of a step: a node, or `auto` for the next of its alternatives; may
    /// be given again
    #[arg(long, value_name = "STEP=NODE")]
    replace: Vec<String>,
    /// The revision of the run's flow that the change is for
    #[arg(long)]
    revision: Option<u32>,
    /// Why, for whoever reads the history
    #[arg(long, default_value = "")]
    reason: String,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let patch = match &args.patch {
        Some(path) => std::fs::read_to_string(path)
            .map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?,
        None => {
            let removes = args.remove.iter().map(|step| Ok(json!({ "remove": step })));
            let sets = args.set.iter().map(|text| set(text));
            let replaces = args.replace.iter().map(|text| replace(text));
            let ops: Result<Vec<Value>, Error> = sets.chain(replaces).chain(removes).collect();
            json!({ "ops": ops? }).to_string()
        }
    };
    let client = look(global)?;
    let row = client.find(&args.run)?;
    let mut request = json!({
        "run": row.run.run_id.to_string(), "patch": patch, "reason": args.reason,
        "request_id": new_request_id(),
    });
    if let (Some(revision), Some(request)) = (args.revision, request.as_object_mut()) {
        request.insert("expected_revision".into(), json!(revision));
    }
    let answer = client.api("RunService/MutateRun", request)?;
    let revision = answer.get("revision").and_then(Value::as_u64).unwrap_or_default();
    match out.is_json() {
        true => out.value(&json!({
            "run_id": row.run.run_id.to_string(), "workflow_id": *row.run.workflow_id,
            "revision": revision,
        })),
        false => out.line(format!(
            "changed: {} ({}), revision {revision}",
            row.run.workflow_id, row.run.run_id
        )),
    }
    leave(client);
    done()
}

/// `step.with.url=value` as an operation.
fn set(text: &str) -> Result<Value, Error> {
    let parts = text.split_once('=').and_then(|(path, value)| {
        let (step, path) = path.split_once('.')?;
        Some((step, path, value))
    });
    let Some((step, path, value)) = parts else {
        return Err(Error::invalid(format!("`--set {text}` sets nothing"))
            .suggest("write STEP.PATH=VALUE, for example fetch.with.url=https://example.com"));
    };
    let keys: Vec<String> =
        path.split('.').map(|key| key.replace('~', "~0").replace('/', "~1")).collect();
    let value = serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
    Ok(json!({ "set": { "step": step, "path": format!("/{}", keys.join("/")), "value": value } }))
}

/// `step=node` as an operation.
fn replace(text: &str) -> Result<Value, Error> {
    match text.split_once('=') {
        Some((step, "auto")) => Ok(json!({ "alternative": step })),
        Some((step, node)) if !node.is_empty() => {
            Ok(json!({ "set": { "step": step, "path": "/node", "value": node } }))
        }
        _ => Err(Error::invalid(format!("`--replace {text}` names no node"))
            .suggest("write STEP=NODE, for example fetch=http.request, or STEP=auto")),
    }
}
