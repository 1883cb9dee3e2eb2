//! The official Python SDK against the built server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::process::Command;

use support::sdk;

fn program(name: &str) -> Command {
    let mut program = Command::new(sdk::install("python").join("bin/python"));
    program
        .arg("-B")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/python").join(name));
    program
}

#[test]
fn a_python_worker_is_killed_in_the_middle_and_its_run_completes() {
    sdk::scenario(program("scenario.py"));
}

#[test]
fn cancellation_failures_policies_and_lists_work_from_python() {
    sdk::scenario(program("more.py"));
}
