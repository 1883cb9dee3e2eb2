//! `resume`.

use std::sync::Arc;

use reflux_flow::graph::Bundle;
use reflux_server::Error;
use reflux_server::protocol::{ListRuns, Request, Row, new_request_id};
use reflux_server::story::{Story, Telling};
use serde_json::{Value, json};

use super::many::{self, Listed, Many};
use super::{Done, project};
use crate::cli::Global;
use crate::failure::{INTERRUPTED, OK};
use crate::live::{Followed, Session};
use crate::out::Out;
use crate::outcome;

/// Most open runs that are followed one after the other; the others go on as well.
const FOLLOWED_MAX: usize = 1000;

/// Go on with runs that were left open.
///
/// Whatever was left open goes on as soon as this or `run` works in the project. With a run, this
/// follows it to its end; without one it follows all, until each is closed or waits for a person.
/// With a query it lets the paused runs of a list go on, as a run of its own.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    run: Option<String>,
    #[command(flatten)]
    listed: Listed,
    /// Why, for whoever reads the histories
    #[arg(long, default_value = "", hide_default_value = true, requires = "query")]
    reason: String,
    /// Let a paused run go on for so many starts of steps and items, then pause it again
    #[arg(long, value_name = "N", requires = "run", value_parser = clap::value_parser!(u32).range(1..))]
    steps: Option<u32>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    if !project.data().is_dir() {
        return Err(Error::not_found(format!("no runs in {}", project.root().display()))
            .suggest("start one with `reflux run FLOW`, or name another project with --dir")
            .into());
    }
    let mut session = Session::open(&project)?;
    if args.listed.is_given() {
        return many::go(session, Many::Resume, &args.listed, ("reason", json!(args.reason)), out);
    }
    let (code, interrupted) = match &args.run {
        Some(name) => one(&mut session, name, args.steps, out)?,
        None => all(&mut session, out)?,
    };
    session.close(interrupted, out);
    Ok(code.into())
}

fn one(
    session: &mut Session,
    name: &str,
    steps: Option<u32>,
    out: &Out,
) -> Result<(u8, bool), Error> {
    let row = session.client()?.find(name)?;
    let story = super::story(session.client()?, &row)?;
    if let Some(steps) = steps {
        let run = row.run.run_id.to_string();
        let request = json!({ "run": run, "steps": steps, "request_id": new_request_id() });
        session.client()?.api("RunService/StepRun", request)?;
    } else if story.waits_for.iter().any(|wait| wait.kind == "resume") {
        session.client()?.act(Request::Unpause { run: row.run.clone() })?;
    }
    if story.closed.is_some() {
        out.note(format!("run {} is closed already: {}", row.run.run_id, story.status));
    }
    // Who steps through a run looks at where it pauses next.
    let (story, code) = match follow(session, &row, steps.is_some(), out)? {
        Followed::Closed(story) => {
            let code = outcome::code(&story);
            (story, code)
        }
        Followed::ForPeople(story) => (story, OK),
        Followed::Interrupted => {
            out.note(format!("left; go on with `reflux resume {}`", row.run.run_id));
            return Ok((INTERRUPTED, true));
        }
    };
    report(&story, out);
    outcome::print(&story, out);
    Ok((code, false))
}

fn all(session: &mut Session, out: &Out) -> Result<(u8, bool), Error> {
    let wanted = ListRuns {
        statuses: vec!["running".to_owned()],
        limit: FOLLOWED_MAX,
        ..ListRuns::default()
    };
    let (mut open, _) = session.client()?.list(wanted)?;
    open.reverse(); // the oldest first
    if open.is_empty() {
        out.note("no run is open");
    } else {
        out.note(format!("{} open", count(open.len())));
    }
    let mut worst = OK;
    let mut results = Vec::new();
    for row in &open {
        match follow(session, row, true, out)? {
            Followed::Closed(story) => {
                report(&story, out);
                worst = worse(worst, outcome::code(&story));
                results.push(outcome::as_json(&story));
            }
            Followed::ForPeople(story) => results.push(outcome::as_json(&story)),
            Followed::Interrupted => {
                out.note("left; go on with `reflux resume`");
                return Ok((INTERRUPTED, true));
            }
        }
    }
    if out.is_json() {
        out.value(&Value::Array(results));
    }
    Ok((worst, false))
}

pub(super) fn follow(
    session: &mut Session,
    row: &Row,
    people_are_enough: bool,
    out: &Out,
) -> Result<Followed, Error> {
    let items = session.client()?.history(&row.run)?;
    let definition = match Telling::digest(&items) {
        Some(digest) => session.client()?.definition(&digest)?,
        None => None,
    };
    let bundle = definition.and_then(|text| Bundle::from_bytes(text.as_bytes()).ok());
    drop(items);
    session.follow(&row.run, bundle.map(Arc::new), people_are_enough, out)
}

fn report(story: &Story, out: &Out) {
    out.note(format!("{} {} {}", story.flow, story.run_id, story.status));
}

fn count(runs: usize) -> String {
    if runs == 1 { "1 run is".to_owned() } else { format!("{runs} runs are") }
}

/// A failure is worse than an end from outside, which is worse than a handled failure.
fn worse(one: u8, other: u8) -> u8 {
    let rank = |code| match code {
        crate::failure::FAILED => 3,
        crate::failure::ENDED => 2,
        crate::failure::HANDLED => 1,
        _ => 0,
    };
    if rank(other) > rank(one) { other } else { one }
}
