//! `redrive`: a run again, without doing again what it did.

use reflux_flow::Patch;
use reflux_server::definitions::Definitions;
use reflux_server::protocol::new_request_id;
use reflux_server::{Error, Project};
use serde_json::{Map, Value, json};

use super::many::{self, Listed, Many};
use super::resume::follow;
use super::{Done, done, leave, look, project};
use crate::cli::Global;
use crate::failure::{Failure, INTERRUPTED};
use crate::live::{Followed, Session};
use crate::out::Out;
use crate::outcome;

/// Run a run again. Results are kept as long as what they depend on is the same.
///
/// Without a scope it does what failed or did not end, and what follows from that. The run itself is
/// never changed: the new run has the same workflow id and is linked to it. An open run ends with
/// the start of the new one.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    #[arg(required_unless_present = "query")]
    run: Option<String>,
    #[command(flatten)]
    listed: Listed,
    #[command(flatten)]
    scope: Scope,
    /// The definition: `pinned` is that of the run, `latest` or a number a deployed version
    #[arg(long, value_name = "VERSION", default_value = "pinned", conflicts_with = "with")]
    definition: String,
    /// A file with another definition, or with a patch of the run's own
    #[arg(long, value_name = "FILE")]
    with: Option<String>,
    /// An input that is another than before; the value is JSON, or text
    #[arg(long, value_name = "NAME=VALUE")]
    input: Vec<String>,
    /// The output of a step, instead of calling it: JSON, or @FILE
    #[arg(long, value_name = "STEP=JSON")]
    output: Vec<String>,
    /// Do not give the new run the signals of the old one
    #[arg(long)]
    no_signals: bool,
    /// A step that may be called again although calling twice may do harm
    #[arg(long, value_name = "STEP")]
    allow_unsafe: Vec<String>,
    /// Only say what would be done
    #[arg(long, conflicts_with = "query")]
    plan: bool,
    /// Why, for whoever reads the history
    #[arg(long, default_value = "")]
    reason: String,
}

#[derive(Debug, clap::Args)]
#[group(multiple = false)]
struct Scope {
    /// Repeat this step and everything that came after it: `step` or `step#2`
    #[arg(long, value_name = "STEP")]
    from: Option<String>,
    /// Repeat this step; what follows is repeated if its inputs change
    #[arg(long, value_name = "STEP")]
    step: Option<String>,
    /// Repeat one item of a list: `step[3]`
    #[arg(long, value_name = "STEP[N]")]
    item: Option<String>,
    /// Re-drive the sub-run of this step
    #[arg(long, value_name = "STEP")]
    sub_run: Option<String>,
    /// Repeat everything after this event
    #[arg(long, value_name = "N")]
    from_event: Option<u32>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    let wanted = wanted(args, &project)?;
    if args.plan {
        return plan(args, &wanted, global, out);
    }
    let session = Session::open(&project)?;
    if args.listed.is_given() {
        return many::go(session, Many::Redrive, &args.listed, ("redrive", wanted), out);
    }
    let row = session.client()?.find(named(args))?;
    let request = json!({
        "run": row.run.run_id.to_string(), "redrive": wanted, "request_id": new_request_id(),
    });
    let answer = session.client()?.api("RunService/RedriveRun", request)?;
    go_on(session, &answer, &format!("made of {}", row.run.run_id), out)
}

fn named(args: &Args) -> &str {
    args.run.as_deref().unwrap_or_default()
}

/// Follows a new run to its end.
pub(super) fn go_on(mut session: Session, answer: &Value, what: &str, out: &Out) -> Done {
    let run_id = answer.pointer("/run/run_id").and_then(Value::as_str).unwrap_or_default();
    let row = session.client()?.find(run_id)?;
    if !out.is_json() {
        let (new, workflow) = (row.run.run_id, &row.run.workflow_id);
        out.note(format!("run {new} of {}, workflow {workflow}, {what}", row.flow));
    }
    match follow(&mut session, &row, false, out)? {
        Followed::Closed(story) | Followed::ForPeople(story) => {
            outcome::print(&story, out);
            session.close(false, out);
            Ok(outcome::code(&story).into())
        }
        Followed::Interrupted => {
            out.note(format!("left; go on with `reflux resume {}`", row.run.run_id));
            session.close(true, out);
            Ok(INTERRUPTED.into())
        }
    }
}

fn plan(args: &Args, wanted: &Value, global: &Global, out: &Out) -> Done {
    let client = look(global)?;
    let row = client.find(named(args))?;
    let request = json!({ "run": row.run.run_id.to_string(), "redrive": wanted });
    let answer = client.api("RunService/PlanRedrive", request)?;
    leave(client);
    if out.is_json() {
        out.value(&answer);
        return done();
    }
    let rows = answer.get("activations").and_then(Value::as_array).map(Vec::as_slice);
    let rows = rows.unwrap_or_default();
    let width = rows.iter().map(|row| text(row, "activation").chars().count()).max().unwrap_or(0);
    for row in rows {
        let (verdict, effects) = (text(row, "verdict"), text(row, "effects"));
        let colour = match verdict {
            "kept" => 32,
            "depends" => 33,
            "orphaned" => 90,
            _ => 36,
        };
        let verdict = out.style().paint(colour, &format!("{verdict:8}"));
        let reason = text(row, "reason");
        out.line(format!("{verdict}  {:width$}  {effects:10}  {reason}", text(row, "activation")));
    }
    let count = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or(0);
    out.note(format!(
        "{} kept, {} to run, {} depend on what runs, {} orphaned; nothing was done",
        count("kept"),
        count("runs"),
        count("depends"),
        count("orphaned")
    ));
    let consent = answer.get("needs_consent").and_then(Value::as_array).cloned();
    for step in consent.unwrap_or_default() {
        let step = step.as_str().unwrap_or_default().to_owned();
        out.note(format!(
            "calling `{step}` again may do harm: allow it with --allow-unsafe {step}"
        ));
    }
    done()
}

fn wanted(args: &Args, project: &Project) -> Result<Value, Failure> {
    let mut wanted = Map::new();
    let mut put = |name: &str, value: Value| drop(wanted.insert(name.to_owned(), value));
    let scope = &args.scope;
    for (name, value) in [
        ("step", &scope.step),
        ("from", &scope.from),
        ("item", &scope.item),
        ("sub_run", &scope.sub_run),
    ] {
        if let Some(value) = value {
            put(name, json!(value));
        }
    }
    if let Some(event) = scope.from_event {
        put("from_event", json!(event));
    }
    match (&args.with, args.definition.as_str()) {
        (Some(file), _) => {
            let source = Definitions::of(project).source(file)?;
            if Patch::is_one(&source.text) {
                put("patch", json!(source.text));
            } else {
                put("source", json!({ "text": source.text, "file": source.file }));
            }
        }
        (None, "pinned") => {}
        (None, "latest") => put("version", json!(0)),
        (None, version) => {
            let version: u32 = version.parse().map_err(|_| {
                Error::invalid(format!("--definition `{version}` is no version"))
                    .suggest("give pinned, latest or the number of a deployed version")
            })?;
            put("version", json!(version));
        }
    }
    put(
        "input",
        pairs("--input", &args.input, |text| {
            Ok(serde_json::from_str(text).unwrap_or_else(|_| json!(text)))
        })?,
    );
    put("outputs", pairs("--output", &args.output, output)?);
    put("without_signals", json!(args.no_signals));
    put("allow_unsafe", json!(args.allow_unsafe));
    put("reason", json!(args.reason));
    Ok(Value::Object(wanted))
}

fn pairs(
    option: &str,
    given: &[String],
    read: impl Fn(&str) -> Result<Value, Error>,
) -> Result<Value, Error> {
    let mut pairs = Map::new();
    for pair in given {
        let (name, value) = pair.split_once('=').ok_or_else(|| {
            Error::invalid(format!("{option} `{pair}` has no value"))
                .suggest(format!("write {option} NAME=VALUE"))
        })?;
        pairs.insert(name.to_owned(), read(value)?);
    }
    Ok(Value::Object(pairs))
}

fn output(given: &str) -> Result<Value, Error> {
    let text = match given.strip_prefix('@') {
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| Error::invalid(format!("cannot read {file}: {error}")))?,
        None => given.to_owned(),
    };
    serde_json::from_str(&text).map_err(|error| {
        Error::invalid(format!("the output is no JSON: {error}"))
            .suggest("write text in quotes, as in --output 'step=\"text\"'")
    })
}

fn text<'a>(row: &'a Value, name: &str) -> &'a str {
    row.get(name).and_then(Value::as_str).unwrap_or_default()
}
