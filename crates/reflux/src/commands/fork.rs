//! `fork`: a new run in the state that a run had at one of its events.

use reflux_server::protocol::new_request_id;
use serde_json::json;

use super::redrive::go_on;
use super::{Done, project};
use crate::cli::Global;
use crate::live::Session;
use crate::out::Out;

/// Make a new run in the state that a run had at one of its events. The run itself goes on.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    run: String,
    /// The event; see `reflux history RUN`
    #[arg(long, value_name = "N")]
    from_event: u32,
    /// The new run's workflow id; by default that of the run, which must be closed then
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    workflow_id: String,
    /// A step that may be called again although calling twice may do harm
    #[arg(long, value_name = "STEP")]
    allow_unsafe: Vec<String>,
    /// Why, for whoever reads the history
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let session = Session::open(&project(global)?)?;
    let row = session.client()?.find(&args.run)?;
    let request = json!({
        "run": row.run.run_id.to_string(), "from_event": args.from_event,
        "workflow_id": args.workflow_id, "allow_unsafe": args.allow_unsafe,
        "reason": args.reason, "request_id": new_request_id(),
    });
    let answer = session.client()?.api("RunService/ForkRun", request)?;
    go_on(session, &answer, &format!("made of {}", row.run.run_id), out)
}
