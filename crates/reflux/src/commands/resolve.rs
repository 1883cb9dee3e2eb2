//! `resolve`.

use reflux_server::Error;
use reflux_server::protocol::{Request, Resolution};

use super::{Done, changed, done, leave, look, signal, story};
use crate::cli::Global;
use crate::out::Out;

/// Say what became of a step whose process was lost.
///
/// A step whose node may do harm when it is repeated is not repeated by itself: nobody knows how
/// far it came. Look, then say what is to happen.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["retry", "complete", "fail"]))]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    run: String,
    /// The step, as `reflux show` names it
    step: String,
    /// Do it again
    #[arg(long)]
    retry: bool,
    /// It was done; go on with this output
    #[arg(long, value_name = "JSON")]
    complete: Option<String>,
    /// It was not done, or in vain; fail it
    #[arg(long, value_name = "MESSAGE")]
    fail: Option<String>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let resolution = match (&args.complete, &args.fail) {
        (Some(output), _) => Resolution::Complete(signal::json(output, "--complete")?),
        (None, Some(message)) => Resolution::Fail(message.clone()),
        (None, None) => Resolution::Retry,
    };
    let client = look(global)?;
    let row = client.find(&args.run)?;
    let story = story(&client, &row)?;
    let unknown = story.waits_for.iter().filter(|wait| wait.kind == "resolution");
    let unknown: Vec<&str> = unknown.filter_map(|wait| wait.activation.as_deref()).collect();
    if !unknown.contains(&args.step.as_str()) {
        let error = Error::invalid(format!("the outcome of `{}` is not unknown", args.step));
        return Err(match unknown.as_slice() {
            [] => error.suggest(format!(
                "see what the run waits for with `reflux show {}`",
                row.run.run_id
            )),
            steps => error.suggest(format!("name one of: {}", steps.join(", "))),
        }
        .into());
    }
    let mut visits = story.steps.iter().flat_map(|step| &step.visits);
    let scheduled = visits.find(|visit| visit.activation == args.step && visit.ended.is_none());
    let scheduled = scheduled.and_then(|visit| visit.scheduled).unwrap_or_default();
    let status = client.act(Request::Resolve { run: row.run.clone(), scheduled, resolution })?;
    changed(&client, &row, &status, &format!("resolved `{}` of", args.step), out);
    leave(client);
    done()
}
