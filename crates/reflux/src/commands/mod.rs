//! One file for each command.

pub mod approve;
pub mod backup;
pub mod breakpoint;
pub mod cache;
pub mod config;
pub mod define;
pub mod deploy;
pub mod emit;
pub mod end;
pub mod flows;
pub mod fork;
pub mod history;
pub mod init;
pub mod keys;
mod known;
pub mod limits;
pub mod list;
mod many;
pub mod mutate;
pub mod nodes;
pub mod pause;
pub mod redrive;
pub mod replay;
pub mod resolve;
pub mod resume;
pub mod run;
pub mod server;
pub mod show;
pub mod signal;
pub mod status;
pub mod triggers;
pub mod validate;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use reflux_flow::graph::Bundle;
use reflux_server::client::{Client, Mode};
use reflux_server::protocol::Row;
use reflux_server::story::{Story, Telling};
use reflux_server::{Error, Project};
use serde_json::json;

use crate::cli::{Command, Global};
use crate::failure::{Failure, OK};
use crate::out::Out;

/// What a command gives: its exit code.
pub type Done = Result<ExitCode, Failure>;

/// Runs a command.
pub fn run(command: Command, global: &Global, out: &Out) -> Done {
    match command {
        Command::Run(args) => run::run(args, global, out),
        Command::Server(args) => server::run(&args, global, out),
        Command::Validate(args) => validate::run(&args, global, out),
        Command::Init(args) => init::run(&args, global, out),
        Command::Define(args) => define::run(&args, global, out),
        Command::Deploy(args) => deploy::deploy(&args, global, out),
        Command::Export(args) => deploy::export(&args, global, out),
        Command::Diff(args) => deploy::diff(&args, global, out),
        Command::Status(args) => status::run(&args, global, out),
        Command::Flows(args) => flows::run(args, global, out),
        Command::Nodes(args) => nodes::run(&args, global, out),
        Command::List(args) => list::run(&args, global, out),
        Command::Show(args) => show::run(&args, global, out),
        Command::History(args) => history::run(&args, global, out),
        Command::Replay(args) => replay::run(&args, global, out),
        Command::Resume(args) => resume::run(&args, global, out),
        Command::Pause(args) => pause::run(&args, global, out),
        Command::Breakpoint(args) => breakpoint::run(&args, global, out),
        Command::Mutate(args) => mutate::run(&args, global, out),
        Command::Redrive(args) => redrive::run(&args, global, out),
        Command::Fork(args) => fork::run(&args, global, out),
        Command::Cancel(args) => end::cancel(&args, global, out),
        Command::Terminate(args) => end::terminate(&args, global, out),
        Command::Signal(args) => signal::run(&args, global, out),
        Command::Emit(args) => emit::run(&args, global, out),
        Command::Triggers(args) => triggers::run(args, global, out),
        Command::Limits(args) => limits::run(args, global, out),
        Command::Cache(args) => cache::run(&args, global, out),
        Command::Approve(args) => approve::run(&args, global, out),
        Command::Resolve(args) => resolve::run(&args, global, out),
        Command::Backup(args) => backup::backup(&args, global, out),
        Command::Restore(args) => backup::restore(&args, global, out),
        Command::Keys(args) => keys::run(args, global, out),
        Command::Config(args) => config::run(&args, global, out),
        Command::Version => version(out),
    }
}

fn version(out: &Out) -> Done {
    let version = env!("CARGO_PKG_VERSION");
    match out.is_json() {
        true => out.value(&json!({ "version": version })),
        false => out.line(format!("reflux {version}")),
    }
    done()
}

fn done() -> Done {
    Ok(OK.into())
}

/// The project that the arguments name.
pub fn project(global: &Global) -> Result<Project, Error> {
    match global.wanted_dir() {
        Some(dir) => Project::at(&dir),
        None => Project::find(Path::new(".")),
    }
}

/// A way to the project's runs for a command that only looks or says something.
fn look(global: &Global) -> Result<Client, Error> {
    Client::open(&project(global)?, Mode::Look)
}

/// Leaves after looking.
fn leave(client: Client) {
    client.close(|_| true);
}

/// The story of a run as it is now.
fn story(client: &Client, row: &Row) -> Result<Story, Error> {
    let items = client.history(&row.run)?;
    let bundle = match Telling::digest(&items) {
        Some(digest) => {
            client.definition(&digest)?.and_then(|text| Bundle::from_bytes(text.as_bytes()).ok())
        }
        None => None,
    };
    let mut story = Telling::of(row.run.key(), bundle.map(Arc::new), &items);
    if story.waits_for.iter().any(|wait| !wait.on.is_empty()) {
        story.hold(&limits::holds(client, &row.run.key().namespace)?);
    }
    Ok(story)
}

/// Says that a run was changed, and that nobody works on it if that is so.
fn changed(client: &Client, row: &Row, status: &str, what: &str, out: &Out) {
    let waits = client.holds() && status == "running";
    if out.is_json() {
        out.value(&json!({
            "run_id": row.run.run_id.to_string(), "workflow_id": *row.run.workflow_id,
            "status": status, "needs_resume": waits,
        }));
        return;
    }
    out.line(format!("{what} {} ({})", row.run.workflow_id, row.run.run_id));
    if waits {
        out.note(format!(
            "no command works in this project; go on with `reflux resume {}`",
            row.run.run_id
        ));
    }
}
