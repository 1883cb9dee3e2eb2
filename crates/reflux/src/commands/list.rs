//! `list`.

use std::time::Duration;

use reflux_server::client::Client;
use reflux_server::clock;
use reflux_server::protocol::{ListRuns, Row};
use reflux_server::{Error, Kind};
use serde_json::json;

use super::{Done, done, leave, look};
use crate::cli::Global;
use crate::out::Out;

/// How runs end that somebody should look at.
const DEAD: [&str; 2] = ["failed", "timed_out"];
/// Open runs that are looked into for `--dead`: each is read as a whole.
const LOOKED_MAX: usize = 1_000;

/// Shortest beginning of an id that is shown: its time in milliseconds.
const ID_CHARS_MIN: usize = 13;
const ID_CHARS: usize = 36;

/// Runs, newest first.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only runs that are running, completed, failed, canceled, terminated or timed_out
    #[arg(long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<String>,
    /// Only runs that a person should look at: failed, timed out, or with a step whose outcome is unknown, and not run again since
    #[arg(long, conflicts_with_all = ["status", "after"])]
    dead: bool,
    /// Only runs of this flow
    #[arg(long)]
    flow: Option<String>,
    /// Only runs started since: 2h, 3d, or a time such as 2026-01-31T12:00:00Z
    #[arg(long, value_name = "WHEN")]
    since: Option<String>,
    /// How many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Go on where a page ended
    #[arg(long, value_name = "TOKEN")]
    after: Option<String>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let wanted = ListRuns {
        flow: args.flow.clone(),
        statuses: match args.dead {
            true => DEAD.map(str::to_owned).to_vec(),
            false => args.status.clone(),
        },
        since: args.since.as_deref().map(since).transpose()?,
        latest: args.dead,
        after: args.after.clone(),
        limit: usize::from(args.limit),
    };
    let client = match look(global) {
        // Nothing was ever run here: that is an answer, not an error.
        Err(error)
            if error.kind == Kind::NotFound
                && global.wanted_dir().is_none_or(|dir| dir.is_dir()) =>
        {
            show(&[], None, out);
            return done();
        }
        client => client?,
    };
    let (mut runs, next) = client.list(wanted.clone())?;
    if args.dead {
        runs.splice(..0, unresolved(&client, wanted)?);
        runs.truncate(usize::from(args.limit));
    }
    show(&runs, next.as_deref(), out);
    leave(client);
    done()
}

/// Open runs with a step whose outcome is unknown.
fn unresolved(client: &Client, wanted: ListRuns) -> Result<Vec<Row>, Error> {
    let open = ListRuns { statuses: vec!["running".to_owned()], limit: LOOKED_MAX, ..wanted };
    let mut found = Vec::new();
    for row in client.list(open)?.0 {
        let waits = super::story(client, &row)?.waits_for;
        if waits.iter().any(|wait| wait.kind == "resolution") {
            found.push(row);
        }
    }
    Ok(found)
}

fn show(runs: &[Row], next: Option<&str>, out: &Out) {
    if out.is_json() {
        out.value(&json!({ "runs": runs, "next": next }));
        return;
    }
    if runs.is_empty() {
        out.note("no runs; start one with `reflux run FLOW`");
        return;
    }
    let ids: Vec<String> = runs.iter().map(|row| row.run.run_id.to_string()).collect();
    let shown = (ID_CHARS_MIN..ID_CHARS).find(|length| {
        let mut begins: Vec<&str> = ids.iter().filter_map(|id| id.get(..*length)).collect();
        begins.sort_unstable();
        begins.windows(2).all(|pair| pair.first() != pair.last())
    });
    let shown = shown.unwrap_or(ID_CHARS);
    let flow_width = runs.iter().map(|row| row.flow.chars().count()).max().unwrap_or(0).max(4);
    out.line(format!(
        "{:shown$}  {:flow_width$}  {:10}  {:20}  {:>9}  {:>7}  {}",
        "RUN", "FLOW", "STATUS", "STARTED", "TOOK", "STEPS", "WORKFLOW"
    ));
    let style = out.style();
    for (row, id) in runs.iter().zip(&ids) {
        let colour = match row.status.as_str() {
            "completed" => 32,
            "running" => 36,
            _ => 31,
        };
        let status = style.paint(colour, &format!("{:10}", row.status));
        let steps = format!("{}/{}", row.steps_done, row.steps_total);
        let took = clock::length(Duration::from_millis(row.took_ms));
        let started = row.started.get(..19).unwrap_or_default();
        out.line(format!(
            "{}  {:flow_width$}  {status}  {started:20}  {took:>9}  {steps:>7}  {}",
            id.get(..shown).unwrap_or(id),
            row.flow,
            row.run.workflow_id
        ));
    }
    if let Some(next) = next {
        out.note(format!("more with --after {next}"));
    }
}

/// A length of time before now, or a moment; nanoseconds since 1970.
fn since(text: &str) -> Result<i64, Error> {
    use reflux_flow::duration::{parse_duration, parse_moment};
    if let Ok(ago) = parse_duration(text) {
        let ago = i64::try_from(ago.as_nanos()).unwrap_or(i64::MAX);
        return Ok(clock::now().0.saturating_sub(ago));
    }
    parse_moment(text).map_err(|_| {
        Error::invalid(format!("--since `{text}` is neither a length of time nor a moment"))
            .suggest("write for example 90m, 2h, 3d or 2026-01-31T12:00:00Z")
    })
}
