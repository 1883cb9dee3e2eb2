//! The same for every run of a list: `pause --query`, `resume --query`, `redrive --query`.

use reflux_server::protocol::new_request_id;
use serde_json::{Value, json};

use super::Done;
use super::redrive::go_on;
use crate::live::Session;
use crate::out::Out;

/// The runs of a list, instead of one.
#[derive(Debug, clap::Args)]
pub struct Listed {
    /// Instead of one run every run of this list that it can be done to: `WorkflowType = 'x' AND StartTime > '2026-01-31T12:00:00Z'`
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
}

impl Listed {
    /// Whether a list is asked for.
    pub fn is_given(&self) -> bool {
        self.query.is_some()
    }
}

/// What is done to them.
#[derive(Debug, Clone, Copy)]
pub enum Many {
    Pause,
    Resume,
    Redrive,
}

/// Starts the run that does it, and follows that to its end. `with` is what the call takes besides.
pub fn go(session: Session, many: Many, listed: &Listed, with: (&str, Value), out: &Out) -> Done {
    let (name, value) = with;
    let request = json!({
        "query": listed.query, "per_second": listed.rate, "request_id": new_request_id(), name: value,
    });
    let method = match many {
        Many::Pause => "RunService/PauseRuns",
        Many::Resume => "RunService/ResumeRuns",
        Many::Redrive => "RunService/RedriveRuns",
    };
    let answer = session.client()?.api(method, request)?;
    let runs = answer.get("runs").and_then(Value::as_u64).unwrap_or(0);
    let does = match many {
        Many::Pause => format!("pauses those of {runs} open runs that it can"),
        Many::Resume => format!("resumes those of {runs} open runs that it can"),
        Many::Redrive => format!("re-drives {runs} runs"),
    };
    go_on(session, &answer, &does, out)
}
