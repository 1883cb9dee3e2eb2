//! The arguments of every command but `run`'s own, which depend on the flow.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::commands;

/// Durable workflows in one binary.
///
/// A project is a directory with flows/ and nodes/; what its runs went through is kept in .reflux/.
/// One command at a time works in a project, others attach to it. A run that was left open goes on
/// as soon as `reflux run` or `reflux resume` works in the project again.
#[derive(Debug, Parser)]
#[command(name = "reflux", version, disable_help_subcommand = true, max_term_width = 100)]
#[command(
    after_help = "Exit codes: 0 done or completed, 1 the run failed, 2 the request is wrong, 3 completed after a\n\
    handled failure, 4 cancelled, terminated or timed out, 5 the data directory cannot be used,\n\
    130 interrupted."
)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command takes.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The project; by default $REFLUX_DIR, else the nearest directory with .reflux from here upwards
    #[arg(long, global = true, value_name = "DIR")]
    pub dir: Option<PathBuf>,
    /// Print JSON; its fields are stable
    #[arg(long, global = true)]
    pub json: bool,
}

impl Global {
    /// The directory that was asked for.
    pub fn wanted_dir(&self) -> Option<PathBuf> {
        let from_environment =
            || std::env::var_os("REFLUX_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from);
        self.dir.clone().or_else(from_environment)
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a flow and follow it to its end
    #[command(disable_help_flag = true)]
    Run(commands::run::Args),
    /// Serve the project to programs: gRPC, HTTP, workers in other processes
    Server(Box<commands::server::Args>),
    /// Check definitions without running them
    Validate(commands::validate::Args),
    /// Make a project: a first flow, a first node, a configuration
    Init(commands::init::Args),
    /// Write a flow by answering questions
    Define(commands::define::Args),
    /// Deploy flows as the next versions of theirs
    Deploy(commands::deploy::DeployArgs),
    /// Print a deployed flow
    Export(commands::deploy::ExportArgs),
    /// What differs between two runs, or between two versions of a deployed flow
    Diff(commands::deploy::DiffArgs),
    /// Who works in the project, and where it serves
    Status(commands::status::Args),
    /// The flows of the project
    Flows(commands::flows::Args),
    /// The nodes that flows can call
    Nodes(commands::nodes::Args),
    /// Runs, newest first
    List(commands::list::Args),
    /// What happened in a run, why, and what it waits for
    Show(commands::show::Args),
    /// Everything that was recorded of a run, in order
    History(commands::history::Args),
    /// A run at any of its events, and whether its flow would decide the same today
    Replay(commands::replay::Args),
    /// Go on with runs that were left open
    Resume(commands::resume::Args),
    /// Start nothing new in a run until it is resumed
    Pause(commands::pause::Args),
    /// Pause a run before a step starts
    Breakpoint(commands::breakpoint::Args),
    /// Change the graph of a run while it runs
    Mutate(commands::mutate::Args),
    /// Run a run again, without doing again what it did
    Redrive(commands::redrive::Args),
    /// Make a new run in the state that a run had at one of its events
    Fork(commands::fork::Args),
    /// Ask a run to stop; what it did is taken back where the flow says so
    Cancel(commands::end::CancelArgs),
    /// End a run at once
    Terminate(commands::end::TerminateArgs),
    /// Send a signal to a run
    Signal(commands::signal::Args),
    /// Tell an event to the flows that wait for it
    Emit(commands::emit::Args),
    /// What starts runs besides people: webhooks, schedules, events
    Triggers(commands::triggers::Args),
    /// How fast nodes and queues are called, open circuits, quotas
    Limits(commands::limits::Args),
    /// Results that runs take instead of calling a node again
    Cache(commands::cache::Args),
    /// Answer an approval that a run waits for
    Approve(commands::approve::Args),
    /// Say what became of a step whose process was lost
    Resolve(commands::resolve::Args),
    /// Copy everything to a directory or a bucket
    Backup(commands::backup::BackupArgs),
    /// Make the project's data of a backup
    Restore(commands::backup::RestoreArgs),
    /// API keys of the server
    Keys(commands::keys::Args),
    /// The configuration
    Config(commands::config::Args),
    /// The version
    Version,
}
