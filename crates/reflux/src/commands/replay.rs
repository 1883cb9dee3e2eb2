//! `replay`: a run at any of its events, and whether its flow would decide the same today.

use std::io::IsTerminal as _;
use std::sync::Arc;

use reflux_core::{Item, Payload};
use reflux_flow::Patch;
use reflux_flow::graph::Bundle;
use reflux_flow::syntax;
use reflux_server::client::Client;
use reflux_server::definitions::Definitions;
use reflux_server::protocol::Row;
use reflux_server::story::Telling;
use reflux_server::{Error, clock};
use serde_json::{Value, json};

use super::{Done, done, leave, look, project};
use crate::cli::Global;
use crate::failure::{FAILED, Failure};
use crate::out::Out;
use crate::replay::{Timeline, show};

/// Widest value of a line; `--json` has all of it.
const VALUE_CHARS_MAX: usize = 100;

/// A run at any of its events, and whether its flow would decide the same today.
///
/// In a terminal it opens the run event by event: the arrows choose an event and a step, `/`
/// searches, `s` goes to the step's next event, `q` leaves. Nothing is called and nothing changes.
/// With --verify, exit code 1 says that there is a difference.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    #[arg(default_value = "last")]
    run: String,
    /// Print how the run stood when this event was its last
    #[arg(long, value_name = "EVENT")]
    at: Option<u32>,
    /// Only this step
    #[arg(long)]
    step: Option<String>,
    /// Every step and every value whole
    #[arg(long)]
    full: bool,
    /// Decide the run again and name the first difference
    #[arg(long)]
    verify: bool,
    /// The same with another definition: a file, a flow in flows/, @N for a deployed version, or a file
    /// with a patch of the run's own
    #[arg(long, value_name = "FLOW")]
    with: Option<String>,
    /// Verify the newest runs that match, as in "WorkflowType = 'ship' AND ExecutionStatus = 'Failed'"
    #[arg(long, value_name = "QUERY", conflicts_with_all = ["run", "at", "step", "full"])]
    query: Option<String>,
    /// How many of them
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000), requires = "query")]
    limit: u16,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let with = args.with.as_deref().map(|with| definition(with, global)).transpose()?;
    let client = look(global)?;
    if browses(args, out) {
        let row = client.find(&args.run)?;
        let record = Record::read(&client, row)?;
        // Whoever looks for an hour does not keep the directory from others.
        leave(client);
        return debug(record);
    }
    let gave = match &args.query {
        Some(query) => verify_all(&client, query, args.limit, with, out),
        None => {
            let row = client.find(&args.run)?;
            if args.verify || with.is_some() {
                verify(&client, &row, with, out)
            } else {
                state(&client, &row, args, out)
            }
        }
    };
    leave(client);
    gave
}

/// Whether a person at a terminal asks for nothing but the run.
fn browses(args: &Args, out: &Out) -> bool {
    let asks = args.verify || args.with.is_some() || args.query.is_some();
    let prints = out.is_json() || args.at.is_some() || args.step.is_some() || args.full;
    !asks && !prints && std::io::stdout().is_terminal() && std::io::stdin().is_terminal()
}

/// The definition that a person names, as `VerifyWith`.
fn definition(wanted: &str, global: &Global) -> Result<Value, Failure> {
    if let Some(version) = wanted.strip_prefix('@') {
        let version: u32 = version.parse().map_err(|_| {
            Error::invalid(format!("`{wanted}` is no version")).suggest("write for example @3")
        })?;
        return Ok(json!({ "version": version }));
    }
    let project = project(global)?;
    let source = Definitions::of(&project).source(wanted)?;
    if Patch::is_one(&source.text) {
        return Ok(json!({ "patch": source.text }));
    }
    // What cannot be read is shown with its place, before anything is asked for.
    if let Err(findings) = syntax::parse(&source.file, &source.text) {
        return Err(Failure::Definition { findings, source: source.text });
    }
    Ok(json!({ "source": { "text": source.text, "file": source.file } }))
}

fn state(client: &Client, row: &Row, args: &Args, out: &Out) -> Done {
    let request = json!({
        "run": row.run.run_id.to_string(), "event": args.at.unwrap_or(0),
        "step": args.step.as_deref().unwrap_or_default(), "full": args.full,
    });
    let answer = client.api("RunService/GetRunState", request)?;
    let state = answer.get("state").unwrap_or(&Value::Null);
    if out.is_json() {
        out.value(state);
    } else {
        let events = answer.get("events").and_then(Value::as_u64).unwrap_or_default();
        lines(state, events).iter().for_each(|line| out.line(line));
    }
    done()
}

/// A run as it was read.
struct Record {
    row: Row,
    items: Vec<Item>,
    bundle: Option<Arc<Bundle>>,
}

impl Record {
    fn read(client: &Client, row: Row) -> Result<Self, Error> {
        let items = client.history(&row.run)?;
        let text = match Telling::digest(&items) {
            Some(digest) => client.definition(&digest)?,
            None => None,
        };
        let bundle = text.and_then(|text| Bundle::from_bytes(text.as_bytes()).ok()).map(Arc::new);
        Ok(Self { row, items, bundle })
    }
}

/// The run in the terminal, event by event.
fn debug(record: Record) -> Done {
    let Record { row, items, bundle } = record;
    let bundles = |_: &Payload| bundle.clone();
    let timeline = Timeline::new(row.run.key(), items, &bundles);
    show(timeline, &format!("{} {}", row.flow, row.run.workflow_id))?;
    done()
}

fn lines(state: &Value, events: u64) -> Vec<String> {
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let number = |value: &Value, name: &str| value.get(name).and_then(Value::as_u64).unwrap_or(0);
    let paused = text(state, "paused");
    let mut lines = vec![format!(
        "event {} of {events}  {}  {}{}",
        number(state, "event"),
        text(state, "time"),
        text(state, "status"),
        if paused.is_empty() { String::new() } else { format!(", paused: {paused}") }
    )];
    let steps = list(state, "steps");
    let width = steps.iter().map(|step| text(step, "id").chars().count()).max().unwrap_or(0);
    for step in steps {
        let outcome = text(step, "outcome");
        let stands = if outcome.is_empty() { text(step, "phase") } else { outcome };
        let visits = match number(step, "visits") {
            0 | 1 => String::new(),
            visits => format!(" ×{visits}"),
        };
        let value = ["error", "output"].iter().find_map(|name| {
            step.get(*name).filter(|value| !value.is_null()).map(Value::to_string)
        });
        let line = format!(
            "  {:width$}  {:9}{visits}  {}",
            text(step, "id"),
            stands,
            shortened(&value.unwrap_or_default())
        );
        lines.push(line.trim_end().to_owned());
    }
    let open = state.get("open").unwrap_or(&Value::Null);
    for activity in list(open, "activities") {
        lines.push(format!(
            "waits for {} of {}, attempt {}: {}",
            text(activity, "node"),
            text(activity, "activation"),
            number(activity, "attempt"),
            text(activity, "phase")
        ));
    }
    for timer in list(open, "timers") {
        lines.push(format!("waits for timer {} at {}", text(timer, "id"), text(timer, "due")));
    }
    for child in list(open, "children") {
        lines.push(format!("waits for sub-flow {}", text(child, "workflow_id")));
    }
    for (name, kind) in [("signals", "signal"), ("approvals", "approval")] {
        for one in list(open, name).iter().filter_map(Value::as_str) {
            lines.push(format!("waits for {kind} {one}"));
        }
    }
    lines
}

fn verify(client: &Client, row: &Row, with: Option<Value>, out: &Out) -> Done {
    let mut request = json!({ "run": row.run.run_id.to_string() });
    if let (Some(with), Some(request)) = (with, request.as_object_mut()) {
        request.insert("with".to_owned(), with);
    }
    let answer = client.api("RunService/VerifyRun", request)?;
    let divergence = answer.get("divergence").filter(|divergence| !divergence.is_null());
    if out.is_json() {
        out.value(&answer);
    } else if let Some(divergence) = divergence {
        told(divergence, out);
    } else {
        let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
        out.line(format!(
            "no difference: {} events, {} decisions",
            number("events"),
            number("decisions")
        ));
    }
    match divergence {
        None => done(),
        Some(_) => Ok(FAILED.into()),
    }
}

/// A difference with both sides.
fn told(divergence: &Value, out: &Out) {
    let text = divergence.get("text").and_then(Value::as_str).unwrap_or_default();
    out.line(text);
    for side in ["recorded", "decided"] {
        let facts = divergence.get(side).filter(|facts| !facts.is_null());
        out.line(format!("  {side:8}  {}", facts.map_or("nothing".to_owned(), Value::to_string)));
    }
}

fn verify_all(client: &Client, query: &str, limit: u16, with: Option<Value>, out: &Out) -> Done {
    let mut request = json!({ "query": query, "limit": limit });
    if let (Some(with), Some(request)) = (with, request.as_object_mut()) {
        request.insert("with".to_owned(), with);
    }
    let answer = client.api("RunService/VerifyRuns", request)?;
    let diverged = answer.get("diverged").and_then(Value::as_u64).unwrap_or_default();
    if out.is_json() {
        out.value(&answer);
    } else {
        report(&answer).iter().for_each(|line| out.line(line));
    }
    if diverged == 0 { done() } else { Ok(FAILED.into()) }
}

/// The runs with a difference, one in a line, and how many there are.
pub fn report(answer: &Value) -> Vec<String> {
    let number = |name: &str| answer.get(name).and_then(Value::as_u64).unwrap_or_default();
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let mut lines = Vec::new();
    for run in list(answer, "runs") {
        let problem = text(run, "problem");
        let found = run.get("divergence").map(|divergence| text(divergence, "text"));
        let said = if problem.is_empty() { found.unwrap_or_default() } else { problem };
        if !said.is_empty() {
            lines.push(format!("{}  {}  {said}", text(run, "run_id"), text(run, "flow")));
        }
    }
    let left_out = match number("left_out") {
        0 => String::new(),
        count => format!(", {count} left out"),
    };
    lines.push(format!(
        "{} of {} runs would have been led elsewhere{left_out}",
        number("diverged"),
        number("checked")
    ));
    lines
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(VALUE_CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// Two runs side by side.
pub fn diff(run: &str, other: &str, global: &Global, out: &Out) -> Done {
    let client = look(global)?;
    let (run, other) = (client.find(run)?, client.find(other)?);
    let request =
        json!({ "run": run.run.run_id.to_string(), "other": other.run.run_id.to_string() });
    let answer = client.api("RunService/DiffRuns", request)?;
    leave(client);
    if out.is_json() {
        out.value(&answer);
        return done();
    }
    let text = |value: &Value, name: &str| {
        value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    out.line(format!("--- {} {} ({})", run.run.run_id, run.flow, run.status));
    out.line(format!("+++ {} {} ({})", other.run.run_id, other.flow, other.status));
    list(&answer, "differences").iter().for_each(|one| differs(one, "", out));
    for activation in list(&answer, "activations") {
        let same = activation.get("same").and_then(Value::as_bool).unwrap_or(false);
        let side = |name: &str| activation.get(name).filter(|side| !side.is_null()).map(side_text);
        let sides = match (side("before"), side("after")) {
            (Some(before), Some(after)) if before == after => before,
            (Some(before), Some(after)) => format!("{before} → {after}"),
            (Some(before), None) => format!("{before} → absent"),
            (None, Some(after)) => format!("absent → {after}"),
            (None, None) => String::new(),
        };
        let mark = if same { ' ' } else { '~' };
        out.line(format!("{mark} {}  {sides}", text(activation, "activation")));
        list(activation, "differences").iter().for_each(|one| differs(one, "    ", out));
    }
    let first = text(&answer, "first_difference");
    out.line(match first.as_str() {
        "" => "no step differs".to_owned(),
        first => format!("the first step that differs is {first}"),
    });
    done()
}

fn differs(one: &Value, indent: &str, out: &Out) {
    let path = one.get("path").and_then(Value::as_str).unwrap_or_default();
    for (side, mark) in [("before", '-'), ("after", '+')] {
        if let Some(value) = one.get(side) {
            out.line(format!("{indent}{mark} {path} = {}", shortened(&value.to_string())));
        }
    }
}

/// `succeeded, 2 attempts, 1.2 s`.
fn side_text(side: &Value) -> String {
    let outcome = side.get("outcome").and_then(Value::as_str).unwrap_or_default();
    let attempts = side.get("attempts").and_then(Value::as_u64).unwrap_or_default();
    let took = side.get("took").and_then(Value::as_str).and_then(|took| {
        let seconds: f64 = took.strip_suffix('s')?.parse().ok()?;
        std::time::Duration::try_from_secs_f64(seconds).ok()
    });
    let mut text = outcome.to_owned();
    if attempts > 1 {
        text.push_str(&format!(", {attempts} attempts"));
    }
    if let Some(took) = took {
        text.push_str(&format!(", {}", clock::length(took)));
    }
    text
}
