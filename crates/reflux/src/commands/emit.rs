//! `emit`.

use reflux_server::client::{Client, Mode, unexpected};
use reflux_server::protocol::{Request, Response, new_request_id};
use serde_json::Value;

use super::signal::json;
use super::{Done, done, leave, project};
use crate::cli::Global;
use crate::out::Out;

/// Tell an event to the flows that wait for it: each trigger that takes it starts a run. The command
/// ends when all of them are durable.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name of the event, such as order.placed
    name: String,
    /// What is known of it; triggers read it as `trigger.data`
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
    /// Names the event: emitting it again with the same id starts nothing again
    #[arg(long)]
    id: Option<String>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let data = match &args.data {
        Some(text) => json(text, "--data")?,
        None => Value::Null,
    };
    let client = Client::open_or_make(&project(global)?, Mode::Look)?;
    let id = args.id.clone().unwrap_or_else(new_request_id);
    let emitted = match client.call(Request::Emit { name: args.name.clone(), data, id })? {
        Response::Emitted(emitted) => emitted,
        other => return Err(unexpected(&other).into()),
    };
    if out.is_json() {
        out.value(&serde_json::to_value(&emitted).unwrap_or_default());
    } else {
        for run in &emitted.runs {
            let was = if run.existing { "was started before" } else { "started" };
            out.line(format!("{was} {} ({})", run.workflow_id, run.run_id));
        }
        emitted.refused.iter().for_each(|why| out.note(why));
        if emitted.runs.is_empty() && emitted.refused.is_empty() {
            out.note(format!("no trigger takes `{}`; see `reflux triggers`", args.name));
        } else if client.holds() && !emitted.runs.is_empty() {
            out.note("no command works in this project; go on with `reflux resume`");
        }
    }
    leave(client);
    done()
}
