//! One line for each thing that happened: what `history` prints.

use reflux_core::{Delta, Item, Kind, Timestamp};
use reflux_flow::payload;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::clock;

/// One thing that happened. Its JSON is stable: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Entry {
    /// Number of the event; `None` for what stands outside the history, such as an attempt.
    pub event: Option<i64>,
    /// When, RFC 3339; `None` when it was not noted.
    pub time: Option<String>,
    /// The same, to the nanosecond.
    #[serde(skip)]
    pub at: Option<Timestamp>,
    /// What kind of thing.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The facts, by name.
    pub facts: Map<String, Value>,
}

impl Entry {
    /// The entry of an event, or of an attempt; `None` for bookkeeping.
    pub fn of(item: &Item) -> Option<Self> {
        match item {
            Item::Event(event) => Some(Self {
                event: Some(event.id.0),
                time: Some(clock::rfc3339(event.time)),
                at: Some(event.time),
                kind: event.kind.name(),
                facts: object(facts(&event.kind)),
            }),
            Item::Delta(delta) => attempt(delta),
        }
    }
}

fn facts(kind: &Kind) -> Value {
    match kind {
        Kind::Started(e) => json!({
            "flow": *e.workflow_type, "input": value(&e.input), "identity": *e.identity,
            "parent": e.parent.as_ref().map(|parent| parent.key.workflow_id.to_string()),
        }),
        Kind::Completed(e) => {
            json!({ "result": value(&e.result), "handled_failure": payload::is_handled_failure(&e.result) })
        }
        Kind::Failed(e) => json!({ "error": payload::error_of(&e.failure) }),
        Kind::Terminated(e) => json!({ "reason": *e.reason, "identity": *e.identity }),
        Kind::CancelRequested(e) => json!({ "reason": *e.cause, "identity": *e.identity }),
        Kind::Signaled(e) => {
            json!({ "name": *e.name, "input": value(&e.input), "identity": *e.identity })
        }
        Kind::Paused(e) | Kind::Unpaused(e) => {
            json!({ "reason": *e.reason, "identity": *e.identity })
        }
        Kind::ActivityScheduled(e) => json!({
            "activation": *e.activity_id, "node": *e.activity_type, "input": value(&e.input),
            "effects": e.effects.map(reflux_core::EffectClass::as_str),
        }),
        Kind::ActivityStarted(e) => {
            json!({ "scheduled": e.scheduled.0, "attempt": e.attempt, "identity": *e.identity })
        }
        Kind::ActivityCompleted(e) => {
            json!({ "scheduled": e.scheduled.0, "result": value(&e.result) })
        }
        Kind::ActivityFailed(e) => {
            json!({ "scheduled": e.scheduled.0, "error": payload::error_of(&e.failure) })
        }
        Kind::ActivityTimedOut(e) => {
            json!({ "scheduled": e.scheduled.0, "error": payload::error_of(&e.failure) })
        }
        Kind::ActivityCancelRequested(e) => json!({ "scheduled": e.scheduled.0 }),
        Kind::ActivityCanceled(e) => json!({ "scheduled": e.scheduled.0 }),
        Kind::TimerStarted(e) => {
            json!({ "timer": *e.timer_id, "seconds": e.duration.as_secs_f64() })
        }
        Kind::TimerFired(e) => json!({ "timer": *e.timer_id }),
        Kind::TimerCanceled(e) => json!({ "timer": *e.timer_id }),
        Kind::Marker(e) => {
            let mark: Value = serde_json::from_slice(payload::marker_json(e)).unwrap_or_default();
            json!({ "name": *e.name, "details": mark })
        }
        Kind::ChildInitiated(e) => {
            json!({ "workflow_id": *e.workflow_id, "flow": *e.workflow_type, "input": value(&e.input) })
        }
        Kind::ChildStarted(e) => {
            json!({ "workflow_id": *e.child.execution.workflow_id, "run_id": e.child.execution.run_id.to_string() })
        }
        Kind::ChildCompleted(e) => {
            json!({ "workflow_id": *e.child.execution.workflow_id, "result": value(&e.result) })
        }
        Kind::ChildFailed(e) => {
            json!({ "workflow_id": *e.child.execution.workflow_id, "error": payload::error_of(&e.failure) })
        }
        // Events that flows do not have, or that say all with their name.
        _ => json!({}),
    }
}

fn attempt(delta: &Delta) -> Option<Entry> {
    let (time, kind, facts) = match delta {
        Delta::AttemptStarted(begun) => (
            Some(begun.time),
            "AttemptStarted",
            json!({ "scheduled": begun.scheduled.0, "attempt": begun.attempt, "worker": *begun.worker.identity }),
        ),
        Delta::AttemptEnded(ended) => {
            let report = ended.report.as_ref().map(|report| {
                let logs: Vec<Value> = report.logs.iter().map(|line| json!({ "level": line.level, "text": line.text })).collect();
                json!({
                    "metrics": report.metrics, "tokens_in": report.tokens_in, "tokens_out": report.tokens_out,
                    "cost_usd": report.cost_usd, "logs": logs, "logs_dropped": report.logs_dropped,
                })
            });
            (
                Some(ended.ended),
                "AttemptEnded",
                json!({
                    "scheduled": ended.scheduled.0, "attempt": ended.attempt,
                    "outcome": ended.outcome.as_str_name().trim_start_matches("OUTCOME_").to_lowercase(),
                    "took_us": u64::try_from(ended.ended.since(ended.started).as_micros()).unwrap_or(u64::MAX),
                    "error": ended.failure.as_ref().map(|failure| payload::error_of(failure)),
                    "next_attempt": ended.next_attempt.map(clock::rfc3339),
                    "report": report,
                }),
            )
        }
        Delta::Heartbeat { scheduled, attempt, time, details } => (
            Some(*time),
            "Heartbeat",
            json!({ "scheduled": scheduled.0, "attempt": attempt, "details": value(details) }),
        ),
        Delta::AttemptDue { scheduled, attempt } => {
            (None, "AttemptDue", json!({ "scheduled": scheduled.0, "attempt": attempt }))
        }
        // The rest is bookkeeping.
        _ => return None,
    };
    Some(Entry {
        event: None,
        time: time.map(clock::rfc3339),
        at: time,
        kind,
        facts: object(facts),
    })
}

fn value(payloads: &reflux_core::Payloads) -> Value {
    payload::value_of(payloads).unwrap_or_else(|_| Value::from("(not JSON)"))
}

/// The fields that say something.
fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map.into_iter().filter(|(_, value)| !value.is_null()).collect(),
        _ => Map::new(),
    }
}
