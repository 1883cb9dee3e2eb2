//! What is told of an attempt that ran in this process: figures by node, a log line, a span.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, describe_histogram, histogram};
use reflux_core::Timestamp;
use reflux_engine::Attempt;

use super::Spans;

const ATTEMPTS: &str = "reflux_node_attempts_total";
const RETRIES: &str = "reflux_node_retries_total";
const SECONDS: &str = "reflux_node_attempt_seconds";

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ending<'a> {
    /// `completed`, `failed`, `timed-out` or `cancelled`.
    pub outcome: &'static str,
    /// What kind of failure it was, without secrets.
    pub failure: Option<&'a str>,
    /// Whether the node is one of this process: others have no series of their own.
    pub known: bool,
}

pub(super) fn describe() {
    describe_counter!(ATTEMPTS, "attempts of nodes in this process, by `node` and `outcome`");
    describe_counter!(RETRIES, "attempts that were not the first, by `node`");
    describe_histogram!(SECONDS, Unit::Seconds, "how long attempts took, by `node`");
    describe_gauge!("reflux_nodes_running", "attempts under way in this process");
}

/// An attempt has ended.
pub fn ended(
    attempt: &Attempt,
    ending: Ending<'_>,
    began: Timestamp,
    end: Timestamp,
    spans: Option<&Spans>,
) {
    let node = if ending.known { attempt.node.to_string() } else { "unknown".to_owned() };
    let took = Duration::from_nanos(u64::try_from(end.0.saturating_sub(began.0)).unwrap_or(0));
    counter!(ATTEMPTS, "node" => node.clone(), "outcome" => ending.outcome).increment(1);
    histogram!(SECONDS, "node" => node.clone()).record(took);
    if attempt.attempt > 1 {
        counter!(RETRIES, "node" => node).increment(1);
    }
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let run = attempt.run.run_id;
    // Names that people choose are quoted, so that none can look like another line.
    let (workflow, step) = (&attempt.run.workflow_id, &attempt.activity_id);
    match ending.outcome {
        "failed" | "timed-out" => tracing::info!(
            run_id = %run, workflow_id = ?workflow, step = ?step, node = ?attempt.node,
            attempt = attempt.attempt, outcome = ending.outcome, failure = ending.failure, took_ms,
            "an attempt ended"
        ),
        _ => tracing::debug!(
            run_id = %run, workflow_id = ?workflow, step = ?step, node = ?attempt.node,
            attempt = attempt.attempt, outcome = ending.outcome, took_ms,
            "an attempt ended"
        ),
    }
    if let Some(spans) = spans {
        spans.attempt(attempt, ending, began, end);
    }
}
