//! The server as a process: its ports, its end, its directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use support::Project;
use support::served::Served;

#[test]
fn a_server_ends_in_order_when_it_is_told_to() {
    let project = Project::new();
    let served = Served::start(&project);
    assert_eq!(served.terminate(), 0);
}

#[test]
fn a_second_server_of_a_project_is_refused() {
    let project = Project::new();
    let served = Served::start(&project);
    let second = project.run(&["server", "--port", "0", "--http-port", "0"]);
    assert_eq!(second.code, 5, "{second:?}");
    assert!(second.stderr.contains("another process works in"), "{second:?}");
    drop(served);
}

#[test]
fn a_port_that_is_taken_is_named_with_what_to_do() {
    let project = Project::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let refused = project.run(&["server", "--port", &port, "--http-port", "0"]);
    assert_ne!(refused.code, 0, "{refused:?}");
    assert!(refused.stderr.contains(&port) && refused.stderr.contains("--port"), "{refused:?}");
}

#[test]
fn other_commands_attach_to_a_server() {
    let project = Project::new();
    project.write(
        "flows/one.yaml",
        "name: one\nsteps:\n  - id: say\n    node: util.log\n    with: { message: hello }\n",
    );
    let _served = Served::start(&project);
    project.run(&["run", "one"]).with_code(0);
    assert_eq!(project.run(&["list", "--json"]).json()["runs"].as_array().unwrap().len(), 1);
}
