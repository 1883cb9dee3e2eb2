//! `triggers`.

use clap::Subcommand;
use reflux_server::client::{Client, Mode};
use reflux_server::protocol::new_request_id;
use serde_json::{Value, json};

use super::signal::json as json_of;
use super::{Done, done, leave, project};
use crate::cli::Global;
use crate::out::Out;

/// What starts runs besides people: webhooks, schedules, events. They work while `reflux server`
/// serves the project.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Start a run of a trigger now
    Fire {
        /// Name of the flow
        flow: String,
        /// Id of the trigger
        trigger: String,
        /// The run's input; for a webhook or an event what `trigger` is to hold
        #[arg(long, value_name = "JSON")]
        data: Option<String>,
    },
    /// Stop a schedule's clock; what comes due meanwhile is not made up for
    Pause {
        /// Name of the flow
        flow: String,
        /// Id of the trigger
        trigger: String,
        /// For people
        #[arg(long, default_value = "paused by hand")]
        reason: String,
    },
    /// Let a paused schedule go on
    Resume {
        /// Name of the flow
        flow: String,
        /// Id of the trigger
        trigger: String,
    },
}

pub fn run(args: Args, global: &Global, out: &Out) -> Done {
    let client = Client::open_or_make(&project(global)?, Mode::Look)?;
    match args.what {
        None => list(&client, out)?,
        Some(What::Fire { flow, trigger, data }) => {
            let data = data.map_or(Ok(Value::Null), |text| json_of(&text, "--data"))?;
            let request = json!({
                "flow": flow, "trigger": trigger, "data": data, "request_id": new_request_id(),
            });
            let fired = client.api("TriggerService/FireTrigger", request)?;
            match out.is_json() {
                true => out.value(&fired),
                false => {
                    let id = fired.get("workflow_id").and_then(Value::as_str).unwrap_or_default();
                    out.line(format!("started {id}"));
                }
            }
        }
        Some(What::Pause { flow, trigger, reason }) => {
            let request = json!({ "flow": flow, "trigger": trigger, "reason": reason });
            client.api("TriggerService/PauseTrigger", request)?;
            said(&format!("paused {flow}/{trigger}"), true, out);
        }
        Some(What::Resume { flow, trigger }) => {
            let request = json!({ "flow": flow, "trigger": trigger });
            client.api("TriggerService/ResumeTrigger", request)?;
            said(&format!("{flow}/{trigger} goes on"), false, out);
        }
    }
    leave(client);
    done()
}

fn said(what: &str, paused: bool, out: &Out) {
    match out.is_json() {
        true => out.value(&json!({ "paused": paused })),
        false => out.line(what),
    }
}

fn list(client: &Client, out: &Out) -> Result<(), reflux_server::Error> {
    let found = client.api("TriggerService/ListTriggers", json!({}))?;
    if out.is_json() {
        out.value(&found);
        return Ok(());
    }
    let triggers = found.get("triggers").and_then(Value::as_array).cloned().unwrap_or_default();
    if triggers.is_empty() {
        out.note("no flow has triggers; add `triggers:` to one");
    }
    triggers.iter().for_each(|trigger| line(trigger, out));
    Ok(())
}

fn line(trigger: &Value, out: &Out) {
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    let name = format!("{}/{}", text(trigger, "flow"), text(trigger, "trigger"));
    let (kind, what) = (text(trigger, "kind"), text(trigger, "what"));
    out.line(format!("{}  {kind}  {what}", out.style().paint(1, &name)));
    let schedule = &trigger["schedule"];
    if !schedule.is_object() {
        return;
    }
    let next = match (
        schedule.get("paused") == Some(&Value::Bool(true)),
        schedule.pointer("/next/0").and_then(Value::as_str),
    ) {
        (true, _) => format!("paused: {}", text(schedule, "pause_reason")),
        (false, Some(next)) => format!("next {next}"),
        (false, None) => "no more times".to_owned(),
    };
    // 64-bit numbers are text in the JSON of protobuf.
    let count = |key: &str| match &schedule[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    out.line(format!(
        "    {next}; started {}, skipped {}, missed {}, failed {}",
        count("started"),
        count("skipped"),
        count("missed"),
        count("failed")
    ));
    let error = text(schedule, "error");
    if !error.is_empty() {
        out.line(format!("    last failure: {error}"));
    }
}
