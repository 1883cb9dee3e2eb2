//! `cancel` and `terminate`.

use clap::Args;
use reflux_server::protocol::{Request, new_request_id};

use super::{Done, changed, done, leave, look};
use crate::cli::Global;
use crate::out::Out;

/// Ask a run to stop. What is under way is asked to stop too, compensations run, then it closes.
#[derive(Debug, Args)]
pub struct CancelArgs {
    /// Run id, the beginning of one, workflow id, or `last`
    run: String,
    /// Why, for whoever reads the history
    #[arg(long, default_value = "")]
    reason: String,
}

/// End a run at once. Nothing is taken back and nothing that is under way is waited for.
#[derive(Debug, Args)]
pub struct TerminateArgs {
    /// Run id, the beginning of one, workflow id, or `last`
    run: String,
    /// Why, for whoever reads the history
    #[arg(long, default_value = "")]
    reason: String,
}

pub fn cancel(args: &CancelArgs, global: &Global, out: &Out) -> Done {
    let client = look(global)?;
    let row = client.find(&args.run)?;
    let status = client.act(Request::Cancel {
        run: row.run.clone(),
        reason: args.reason.clone(),
        request_id: new_request_id(),
    })?;
    changed(&client, &row, &status, "asked to stop:", out);
    leave(client);
    done()
}

pub fn terminate(args: &TerminateArgs, global: &Global, out: &Out) -> Done {
    let client = look(global)?;
    let row = client.find(&args.run)?;
    let status =
        client.act(Request::Terminate { run: row.run.clone(), reason: args.reason.clone() })?;
    changed(&client, &row, &status, "terminated:", out);
    leave(client);
    done()
}
