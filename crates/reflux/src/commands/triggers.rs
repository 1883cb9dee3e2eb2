//! `triggers`.

use clap::Subcommand;
use reflux_server::client::{Client, Mode, unexpected};
use reflux_server::protocol::{Request, Response, new_request_id};
use reflux_server::triggers::Overview;
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
            let request = Request::Fire { flow, trigger, data, request_id: new_request_id() };
            let Response::Fired { workflow_id } = client.call(request)? else { return done() };
            match out.is_json() {
                true => out.value(&json!({ "workflow_id": workflow_id })),
                false => out.line(format!("started {workflow_id}")),
            }
        }
        Some(What::Pause { flow, trigger, reason }) => {
            let what = format!("paused {flow}/{trigger}");
            client.act(Request::PauseTrigger { flow, trigger, reason })?;
            said(&what, true, out);
        }
        Some(What::Resume { flow, trigger }) => {
            let what = format!("{flow}/{trigger} goes on");
            client.act(Request::ResumeTrigger { flow, trigger })?;
            said(&what, false, out);
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
    let triggers = match client.call(Request::Triggers)? {
        Response::Triggers { triggers } => triggers,
        other => return Err(unexpected(&other)),
    };
    if out.is_json() {
        out.value(&json!({ "triggers": triggers }));
        return Ok(());
    }
    if triggers.is_empty() {
        out.note("no flow has triggers; add `triggers:` to one");
    }
    triggers.iter().for_each(|trigger| line(trigger, out));
    Ok(())
}

fn line(trigger: &Overview, out: &Out) {
    let name = format!("{}/{}", trigger.flow, trigger.trigger);
    out.line(format!("{}  {}  {}", out.style().paint(1, &name), trigger.kind, trigger.what));
    let Some(schedule) = &trigger.schedule else { return };
    let counts = &schedule.counts;
    let next = match (&schedule.paused, schedule.next.first()) {
        (Some(reason), _) => format!("paused: {reason}"),
        (None, Some(next)) => format!("next {next}"),
        (None, None) => "no more times".to_owned(),
    };
    out.line(format!(
        "    {next}; started {}, skipped {}, missed {}, failed {}",
        counts.started, counts.skipped, counts.missed, counts.failed
    ));
    if let Some(error) = &counts.error {
        out.line(format!("    last failure: {error}"));
    }
}
