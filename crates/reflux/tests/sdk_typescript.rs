//! The official TypeScript SDK against the built server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::process::Command;

use support::sdk;

#[test]
fn a_typescript_worker_is_killed_in_the_middle_and_its_run_completes() {
    let mut program = Command::new("node");
    program.arg(sdk::install("typescript").join("dist/scenario.js"));
    sdk::scenario(program);
}
