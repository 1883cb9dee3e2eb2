//! `status`.

use reflux_server::client::{Client, Mode};
use reflux_server::protocol::{Request, Response};
use serde_json::json;

use super::{Done, done, leave, project};
use crate::cli::Global;
use crate::out::Out;

/// Who works in the project, where it serves, and how much is open.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_: &Args, global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    let client = Client::open_or_make(&project, Mode::Look)?;
    let alone = client.holds();
    let status = match client.call(Request::Status)? {
        Response::Status(status) => status,
        other => return Err(reflux_server::client::unexpected(&other).into()),
    };
    leave(client);
    if out.is_json() {
        let pid = (!alone).then_some(status.pid);
        out.value(&json!({
            "held": !alone, "pid": pid, "version": status.version, "grpc": status.grpc,
            "http": status.http, "open_runs": status.open_runs,
            "open_runs_truncated": status.open_runs_truncated, "running_nodes": status.running_nodes,
            "deployed_flows": status.deployed_flows, "registered_nodes": status.registered_nodes,
        }));
        return done();
    }
    match (alone, &status.grpc, &status.http) {
        (true, ..) => out.line("nobody works in this project"),
        (false, Some(grpc), Some(http)) => out.line(format!(
            "process {} (reflux {}) serves gRPC on {grpc}, HTTP on http://{http}",
            status.pid, status.version
        )),
        (false, ..) => out.line(format!(
            "process {} (reflux {}) works in this project and serves no port",
            status.pid, status.version
        )),
    }
    let more = if status.open_runs_truncated { "more than " } else { "" };
    out.line(format!(
        "  {more}{} open runs, {} nodes at work",
        status.open_runs, status.running_nodes
    ));
    out.line(format!(
        "  {} deployed flows, {} registered nodes",
        status.deployed_flows, status.registered_nodes
    ));
    done()
}
