//! The command line: turns arguments into requests and answers into text. Decides nothing about
//! runs.

mod cli;
mod commands;
mod failure;
mod interrupt;
mod live;
mod logs;
mod out;
mod outcome;
mod replay;

use std::process::ExitCode;

use clap::Parser as _;

// Payloads are allocated by one thread and freed by another.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return out::usage(&error),
    };
    let out = out::Out::new(cli.global.json);
    if !matches!(cli.command, cli::Command::Server(_)) {
        logs::of_command();
    }
    match commands::run(cli.command, &cli.global, &out) {
        Ok(code) => code,
        Err(failure) => out.failure(&failure),
    }
}
