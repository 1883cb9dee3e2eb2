//! `pause`.

use serde_json::json;

use reflux_server::protocol::new_request_id;

use super::many::{self, Many};
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
    /// Instead of one run every open run of this list: `WorkflowType = 'x'`
    #[arg(long, value_name = "QUERY", conflicts_with = "run")]
    query: Option<String>,
    /// Most runs per second
    #[arg(
        long,
        value_name = "N",
        default_value_t = 0,
        hide_default_value = true,
        requires = "query"
    )]
    rate: u32,
    /// Why, for whoever reads the history
    #[arg(long, default_value = "")]
    reason: String,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    if let Some(query) = &args.query {
        let session = Session::open(&project(global)?)?;
        return many::go(session, Many::Pause, query, args.rate, &args.reason, out);
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
