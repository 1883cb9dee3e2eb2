//! The official Python SDK against the built server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::path::Path;
use std::process::Command;

use support::served::Served;
use support::{Project, sdk, wait_until};

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

/// Greets, and goes on when it is told what was paid.
const HELD: &str = "name: held\ninput: {name: string}\nsteps:\n\
    \x20 - {id: greet, node: util.transform, with: {data: '{{ input.name }}', mapping: {text: \"join(' ', ['hello', @])\"}}}\n\
    \x20 - {id: payment, needs: [greet], wait: {signal: payment}}\n\
    output: {greeting: '{{ steps.greet.output.text }}', paid: '{{ steps.payment.output.amount }}'}\n";

#[test]
fn a_client_of_temporal_lists_describes_signals_and_reads_the_history_of_a_flow_run() {
    let project = Project::new();
    project.write("flows/held.yaml", HELD);
    let server = Served::start(&project);
    let started =
        project.run(&["run", "held", "--name", "Ada", "--detach", "--json"]).with_code(0).json();
    let run = started["workflow_id"].as_str().unwrap();
    wait_until("the run to wait for its signal", || {
        let told = project.run(&["show", run, "--json"]).with_code(0).json();
        told["waits_for"][0]["kind"] == "signal"
    });
    let mut sees = program("flow.py");
    sees.env("FLOW", "held").env("WORKFLOW_ID", run);
    sdk::succeeds(sees, &server);
}
