//! The command line: turns arguments into requests and answers into text. Decides nothing about
//! runs.

mod cli;
mod commands;
mod failure;
mod interrupt;
mod live;
mod out;
mod outcome;

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    diagnostics();
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return out::usage(&error),
    };
    let out = out::Out::new(cli.global.json);
    match commands::run(cli.command, &cli.global, &out) {
        Ok(code) => code,
        Err(failure) => out.failure(&failure),
    }
}

/// Diagnostics go to stderr, and there are none unless `RUST_LOG` asks for them.
fn diagnostics() {
    use tracing_subscriber::EnvFilter;
    let Ok(filter) = EnvFilter::try_from_default_env() else { return };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    drop(subscriber.try_init());
}
