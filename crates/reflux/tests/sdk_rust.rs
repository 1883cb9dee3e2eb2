//! The official Rust SDK against the built server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::process::Command;

use support::served::Served;
use support::{Project, sdk};

#[test]
fn a_rust_worker_is_killed_in_the_middle_and_its_run_completes() {
    sdk::scenario(Command::new(sdk::install("rust").join("scenario")));
}

#[test]
fn the_client_in_rust_deploys_starts_follows_answers_and_ends_runs() {
    let project = Project::new();
    let server = Served::start(&project);
    let mut client = Command::new(sdk::install("rust").join("client"));
    client.current_dir(project.path()); // where the token is
    client.env("REFLUX_URL", server.url(""));
    sdk::succeeds(client, &server);
}
