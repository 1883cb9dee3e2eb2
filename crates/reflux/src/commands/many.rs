//! The same for every run of a list: `pause --query`, `resume --query`.

use reflux_server::protocol::new_request_id;
use serde_json::{Value, json};

use super::Done;
use super::redrive::go_on;
use crate::live::Session;
use crate::out::Out;

/// What is done to them.
#[derive(Debug, Clone, Copy)]
pub enum Many {
    Pause,
    Resume,
}

/// Starts the run that does it, and follows that to its end.
pub fn go(session: Session, many: Many, query: &str, rate: u32, reason: &str, out: &Out) -> Done {
    let request = json!({
        "query": query, "per_second": rate, "reason": reason, "request_id": new_request_id(),
    });
    let (method, does) = match many {
        Many::Pause => ("RunService/PauseRuns", "pauses"),
        Many::Resume => ("RunService/ResumeRuns", "resumes"),
    };
    let answer = session.client()?.api(method, request)?;
    let runs = answer.get("runs").and_then(Value::as_u64).unwrap_or(0);
    go_on(session, &answer, &format!("{does} those of {runs} open runs that it can"), out)
}
