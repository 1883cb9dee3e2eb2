//! `breakpoint`.

use serde_json::json;

use reflux_server::protocol::new_request_id;

use super::{Done, changed, done, leave, look};
use crate::cli::Global;
use crate::out::Out;

/// Pause a run before a step starts, each time it does.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    run: String,
    /// Pause before this step; may be given again
    #[arg(long, value_name = "STEP", required_unless_present = "remove")]
    before: Vec<String>,
    /// Pause before this step no more; may be given again
    #[arg(long, value_name = "STEP")]
    remove: Vec<String>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let client = look(global)?;
    let row = client.find(&args.run)?;
    let request = json!({
        "run": row.run.run_id.to_string(), "add": args.before, "remove": args.remove,
        "request_id": new_request_id(),
    });
    client.api("RunService/SetBreakpoints", request)?;
    changed(&client, &row, "running", "breakpoints set:", out);
    leave(client);
    done()
}
