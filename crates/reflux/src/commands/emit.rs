//! `emit`.

use reflux_server::client::{Client, Mode};
use reflux_server::protocol::new_request_id;
use serde_json::{Value, json};

use super::signal::json as json_of;
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
        Some(text) => json_of(text, "--data")?,
        None => Value::Null,
    };
    let client = Client::open_or_make(&project(global)?, Mode::Look)?;
    let id = args.id.clone().unwrap_or_else(new_request_id);
    let event = json!({ "name": args.name, "data": data, "id": id });
    let emitted = client.api("TriggerService/EmitEvent", event)?;
    match out.is_json() {
        true => out.value(&emitted),
        false => tell(&args.name, &emitted, client.holds(), out),
    }
    leave(client);
    done()
}

fn tell(name: &str, emitted: &Value, alone: bool, out: &Out) {
    let list = |key: &str| emitted[key].as_array().cloned().unwrap_or_default();
    let (runs, refused) = (list("runs"), list("refused"));
    for run in &runs {
        let text = |key: &str| run[key].as_str().unwrap_or_default();
        let was = if run["existing"] == true { "was started before" } else { "started" };
        out.line(format!("{was} {} ({})", text("workflow_id"), text("run_id")));
    }
    refused.iter().filter_map(Value::as_str).for_each(|why| out.note(why));
    if runs.is_empty() && refused.is_empty() {
        out.note(format!("no trigger takes `{name}`; see `reflux triggers`"));
    } else if alone && !runs.is_empty() {
        out.note("no command works in this project; go on with `reflux resume`");
    }
}
