//! `run`: the flow is read first, for its inputs are arguments.

mod arguments;
mod inputs;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::ArgMatches;
use reflux_flow::diagnostic::Severity;
use reflux_flow::graph::{Bundle, Flow};
use reflux_flow::input::check_input;
use reflux_flow::syntax;
use reflux_server::definitions::{Definitions, Source};
use reflux_server::protocol::{ListRuns, RunRef, StartRun, new_request_id, new_workflow_id};
use reflux_server::{Error, Kind, Project, service};
use serde_json::json;

use super::{Done, known, project};
use crate::cli::Global;
use crate::failure::{Failure, INTERRUPTED, OK};
use crate::live::{Followed, Session};
use crate::out::{self, Out};
use crate::outcome;

/// Run a flow and follow it to its end.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The flow, its inputs and the options of `run`
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "FLOW")]
    rest: Vec<OsString>,
}

pub fn run(args: Args, global: &Global, _: &Out) -> Done {
    let (flow, rest) = arguments::split(args.rest);
    let Some(flow) = flow else {
        // Only help can be given without a flow.
        let error = arguments::command(None).try_get_matches_from(rest).err();
        return Ok(error.map_or(ExitCode::from(OK), |error| out::usage(&error)));
    };
    let global = &arguments::global(global, &rest);
    let out = &Out::new(global.json);
    let project = project(global)?;
    let chosen = match Definitions::of(&project).source(&flow) {
        Ok(source) => of_file(&project, source, &flow, rest, out)?,
        Err(error) if error.kind == Kind::NotFound => match known::deployed(&project, &flow)? {
            Some(bundle) => of_bundle(bundle, &flow, rest)?,
            None => return Err(error.into()),
        },
        Err(error) => return Err(error.into()),
    };
    let Chosen { flow: definition, bundle, matches } = match chosen {
        Ok(chosen) => chosen,
        Err(usage) => return Ok(usage),
    };
    let input = inputs::gather(&definition, &matches)?;
    let input = check_input(&definition, input).map_err(|problems| {
        let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::invalid(problems.join("; ")).suggest(format!("see `reflux run {flow} --help`"))
    })?;
    let start = StartRun {
        bundle: String::from_utf8_lossy(&bundle.to_bytes()).into_owned(),
        flow: definition.name.clone(),
        input,
        workflow_id: match matches.get_one::<String>("id") {
            Some(id) => id.clone(),
            None => new_workflow_id(&definition.name),
        },
        request_id: new_request_id(),
        use_existing: matches.get_flag("attach"),
    };
    if matches.get_flag("detach") {
        return detach(&project, start, out);
    }
    follow(&project, &definition, bundle, start, out)
}

/// What is to be run, with the arguments as its inputs want them.
struct Chosen {
    flow: Arc<Flow>,
    bundle: Arc<Bundle>,
    matches: ArgMatches,
}

/// A choice, or the exit code after help was given.
type Choice = Result<Chosen, ExitCode>;

fn of_file(
    project: &Project,
    source: Source,
    name: &str,
    rest: Vec<OsString>,
    out: &Out,
) -> Result<Choice, Failure> {
    let parsed = match syntax::parse(&source.file, &source.text) {
        Ok(parsed) => parsed,
        Err(findings) => return Err(Failure::Definition { findings, source: source.text }),
    };
    // Help is given for a flow that cannot run yet, too.
    let matches = match arguments::command(Some((name, &parsed.flow))).try_get_matches_from(rest) {
        Ok(matches) => matches,
        Err(error) => return Ok(Err(out::usage(&error))),
    };
    let (nodes, _) = service::load(project)?;
    let definition = match known::check(project, &nodes, source.clone())? {
        Ok(definition) if definition.is_sound() => definition,
        Ok(definition) => {
            return Err(Failure::Definition { findings: definition.problems, source: source.text });
        }
        Err(findings) => return Err(Failure::Definition { findings, source: source.text }),
    };
    let warnings =
        definition.problems.iter().filter(|finding| finding.severity == Severity::Warning);
    warnings.for_each(|warning| out.finding(warning, &source.text));
    let flow = Arc::new(definition.parsed.flow);
    Ok(Ok(Chosen { flow, bundle: Arc::new(definition.bundle), matches }))
}

fn of_bundle(bundle: Bundle, name: &str, rest: Vec<OsString>) -> Result<Choice, Failure> {
    let missing =
        || Error::new(Kind::Corrupt, format!("the definition of `{name}` lacks its flow"));
    let flow = bundle.flows.get(name).cloned().ok_or_else(missing)?;
    Ok(match arguments::command(Some((name, &flow))).try_get_matches_from(rest) {
        Ok(matches) => Ok(Chosen { flow, bundle: Arc::new(bundle), matches }),
        Err(error) => Err(out::usage(&error)),
    })
}

fn follow(project: &Project, flow: &Flow, bundle: Arc<Bundle>, start: StartRun, out: &Out) -> Done {
    let mut session = Session::open(project)?;
    if session.client()?.holds() {
        let wanted =
            ListRuns { statuses: vec!["running".to_owned()], limit: 2, ..ListRuns::default() };
        let (open, _) = session.client()?.list(wanted)?;
        if !open.is_empty() {
            let runs = if open.len() == 1 { "1 run that was" } else { "the runs that were" };
            out.note(format!(
                "going on with {runs} left open as well; see `reflux list --status running`"
            ));
        }
    }
    let (run, existing) = session.client()?.start(start)?;
    let verb = if existing { "following" } else { "run" };
    if !out.is_json() {
        out.note(format!("{verb} {} of {}, workflow {}", run.run_id, flow.name, run.workflow_id));
    }
    match session.follow(&run, Some(bundle), false, out)? {
        Followed::Closed(story) | Followed::ForPeople(story) => {
            if !out.is_json() {
                epilogue(&story, &run, out);
            }
            outcome::print(&story, out);
            session.close(false, out);
            Ok(outcome::code(&story).into())
        }
        Followed::Interrupted => {
            out.note(format!("interrupted: the run stays open, nothing it did is lost; go on with `reflux resume {}`", run.run_id));
            session.close(true, out);
            Ok(INTERRUPTED.into())
        }
    }
}

fn epilogue(story: &reflux_server::story::Story, run: &RunRef, out: &Out) {
    let took = story.closed.unwrap_or_default().since(story.started);
    let took = reflux_server::clock::length(took);
    let style = out.style_err();
    match (story.status.as_str(), story.handled_failure) {
        ("completed", false) => out.note(style.paint(32, &format!("completed in {took}"))),
        ("completed", true) => {
            out.note(style.paint(
                33,
                &format!(
                    "completed in {took} after a handled failure; see `reflux show {}`",
                    run.run_id
                ),
            ));
        }
        (status, _) => {
            let error = story.error.as_ref().map(crate::live::reason).unwrap_or_default();
            let separator = if error.is_empty() { "" } else { ": " };
            out.note(format!(
                "{} after {took}{separator}{error}",
                style.paint(31, &status.replace('_', " "))
            ));
            out.note(format!("  see what happened with `reflux show {}`", run.run_id));
        }
    }
}

/// Starts the run and leaves it to a process of its own, or to the one that holds the project.
fn detach(project: &Project, start: StartRun, out: &Out) -> Done {
    use std::os::unix::process::CommandExt as _;
    use std::process::{Command, Stdio};

    use reflux_server::client::{Client, Mode};

    // Only looks: what is started here must not be cut off when this process ends.
    let client = Client::open_or_make(project, Mode::Look)?;
    let (run, existing) = client.start(start)?;
    let alone = client.holds();
    client.close(|_| true);
    if alone {
        let program = std::env::current_exe()
            .map_err(|error| Error::unavailable(format!("cannot find this program: {error}")))?;
        let spawned = Command::new(program)
            .args([Path::new("--dir"), project.root(), Path::new("resume")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        spawned.map_err(|error| {
            Error::unavailable(format!("cannot start a process for the run: {error}"))
                .suggest(format!("the run is recorded; go on with `reflux resume {}`", run.run_id))
        })?;
    }
    if out.is_json() {
        out.value(&json!({
            "run_id": run.run_id.to_string(), "workflow_id": *run.workflow_id,
            "status": "running", "existing": existing,
        }));
    } else {
        out.line(run.run_id.to_string());
        out.note(format!(
            "it goes on in the background; follow it with `reflux resume {}`",
            run.run_id
        ));
    }
    Ok(OK.into())
}
