//! `approve`.

use reflux_flow::progress::APPROVAL_SIGNAL;
use reflux_server::Error;
use reflux_server::protocol::{Request, new_request_id};
use serde_json::json;

use super::{Done, changed, done, leave, look, story};
use crate::cli::Global;
use crate::out::Out;

/// Answer an approval that a run waits for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    run: String,
    /// The step that waits; needed when several do
    step: Option<String>,
    /// Refuse instead: the step fails with `Rejected`
    #[arg(long)]
    reject: bool,
    /// Kept with the decision
    #[arg(long, default_value = "")]
    comment: String,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let client = look(global)?;
    let row = client.find(&args.run)?;
    let story = story(&client, &row)?;
    let waiting = story.waits_for.iter().filter(|wait| wait.kind == "approval");
    let waiting: Vec<&str> = waiting.filter_map(|wait| wait.activation.as_deref()).collect();
    let step = match &args.step {
        Some(step) if waiting.contains(&step.as_str()) => step.as_str(),
        Some(step) => {
            return Err(not_waiting(&row.run.run_id.to_string(), Some(step), &waiting).into());
        }
        None => match waiting.as_slice() {
            [only] => only,
            _ => return Err(not_waiting(&row.run.run_id.to_string(), None, &waiting).into()),
        },
    };
    let by = std::env::var("USER").unwrap_or_else(|_| "somebody".to_owned());
    let data = json!({ "step": step, "approved": !args.reject, "by": by, "comment": args.comment });
    let status = client.act(Request::Signal {
        run: row.run.clone(),
        name: APPROVAL_SIGNAL.to_owned(),
        data,
        request_id: new_request_id(),
    })?;
    let what = if args.reject { "rejected" } else { "approved" };
    changed(&client, &row, &status, &format!("{what} `{step}` of"), out);
    leave(client);
    done()
}

fn not_waiting(run: &str, step: Option<&str>, waiting: &[&str]) -> Error {
    match (step, waiting) {
        (_, []) => Error::invalid(format!("nothing in run {run} waits for approval"))
            .suggest(format!("see what it waits for with `reflux show {run}`")),
        (Some(step), _) => Error::invalid(format!("`{step}` does not wait for approval"))
            .suggest(format!("name one of: {}", waiting.join(", "))),
        (None, _) => Error::invalid("several steps wait for approval")
            .suggest(format!("name one of: {}", waiting.join(", "))),
    }
}
