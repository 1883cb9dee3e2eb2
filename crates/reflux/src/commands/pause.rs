//! `pause`.

use serde_json::json;

use reflux_server::protocol::new_request_id;

use super::many::{self, Listed, Many};
use super::{Done, changed, done, leave, look, project};
use crate::cli::Global;
use crate::live::Session;
use crate::out::Out;

/// Start nothing new in a run until it is resumed. What runs ends, and its results are kept.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    #[arg(required_unless_present = "query")]
    run: Option<String>,
    #[command(flatten)]
    listed: Listed,
    /// Why, for whoever reads the history
    #[arg(long, default_value = "")]
    reason: String,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    if args.listed.is_given() {
        let session = Session::open(&project(global)?)?;
        return many::go(session, Many::Pause, &args.listed, ("reason", json!(args.reason)), out);
    }
    let client = look(global)?;
    let row = client.find(args.run.as_deref().unwrap_or_default())?;
    let request = json!({
        "run": row.run.run_id.to_string(), "reason": args.reason, "request_id": new_request_id(),
    });
    client.api("RunService/PauseRun", request)?;
    changed(&client, &row, "paused", "paused:", out);
    leave(client);
    done()
}
