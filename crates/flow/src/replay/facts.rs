//! The two sides of a decision: as it is recorded and as it is decided, in the same terms.

use std::collections::BTreeMap;

use reflux_core::{Decision, Failure, Kind, Payload, Payloads, Target, Told, told_child};
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::short::{VALUE_BYTES, short};
use crate::payload;
use crate::progress::Activation;

/// Most differences that are told: the first ones say what is the matter.
const DIFFERENCES_MAX: usize = 20;

/// The marker that stands for a call whose result was taken from another run.
const MARKER_REUSE: &str = "reflux.reuse";

/// One place where two values differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Where, as `input/items/3`; empty: all of it.
    pub path: String,
    /// What is recorded; absent when there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recorded: Option<Value>,
    /// What is decided; absent when there is nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decided: Option<Value>,
}

/// Whether an event records this decision: the same act on the same activation with the same
/// values. How a node is called (queue, retries, limits, version) does not count.
pub(super) fn agree(kind: &Kind, decision: &Decision) -> bool {
    match (kind, decision) {
        (Kind::ActivityScheduled(e), Decision::ScheduleActivity(d)) => {
            e.activity_id == d.activity_id
                && e.activity_type == d.activity_type
                && same(&e.input, &d.input)
        }
        (Kind::ActivityCancelRequested(e), Decision::RequestCancelActivity { scheduled }) => {
            e.scheduled == *scheduled
        }
        (Kind::TimerStarted(e), Decision::StartTimer { timer_id, duration }) => {
            e.timer_id == *timer_id && e.duration == *duration
        }
        (Kind::TimerCanceled(e), Decision::CancelTimer { timer_id }) => e.timer_id == *timer_id,
        (Kind::Marker(e), Decision::RecordMarker { name, details, .. }) => {
            e.name == *name && same_details(&e.details, details)
        }
        (Kind::Marker(e), Decision::TerminateChild { initiated }) => {
            told_child(e) == Some((Told::Terminate, *initiated))
        }
        (Kind::Marker(e), Decision::SuspendChild { initiated, pause }) => {
            let told = if *pause { Told::Pause } else { Told::Resume };
            told_child(e) == Some((told, *initiated))
        }
        (Kind::Paused(e), Decision::Pause { reason }) => e.reason == *reason,
        // A result that was kept stands for the call: the call itself is what is decided again.
        (Kind::Marker(e), Decision::ScheduleActivity(d)) => {
            reused(e).is_some_and(|activation| activation == *d.activity_id)
        }
        (Kind::Marker(e), Decision::StartChild(d)) => reused(e).is_some_and(|activation| {
            d.workflow_id.strip_suffix(&*activation).is_some_and(|rest| rest.ends_with('/'))
        }),
        (Kind::ChildInitiated(e), Decision::StartChild(d)) => {
            e.workflow_id == d.workflow_id
                && e.workflow_type == d.workflow_type
                && same(&e.input, &d.input)
        }
        (Kind::ExternalSignalInitiated(e), Decision::SignalExternal(d)) => {
            same_target(&e.target, &d.target) && e.name == d.name && same(&e.input, &d.input)
        }
        (Kind::ExternalCancelInitiated(e), Decision::RequestCancelExternal { target, .. }) => {
            same_target(&e.target, target)
        }
        (Kind::Completed(e), Decision::CompleteRun { result }) => same(&e.result, result),
        (Kind::Failed(e), Decision::FailRun { failure }) => same_failure(&e.failure, failure),
        (Kind::Canceled(e), Decision::CancelRun { details }) => same(&e.details, details),
        (Kind::ContinuedAsNew(e), Decision::ContinueAsNew(d)) => same(&e.input, &d.input),
        (Kind::SearchAttributesUpserted(e), Decision::UpsertSearchAttributes { attributes }) => {
            e.attributes == *attributes
        }
        (Kind::PropertiesModified(e), Decision::ModifyProperties { memo }) => e.memo == *memo,
        _ => false,
    }
}

/// What an event records, as JSON: what [`agree`] compares, and the event's type.
pub(super) fn of_event(kind: &Kind) -> Value {
    let facts = match kind {
        Kind::ActivityScheduled(e) => call(&e.activity_id, &e.activity_type, &e.input),
        Kind::ActivityCancelRequested(e) => json!({ "scheduled": e.scheduled.0 }),
        Kind::TimerStarted(e) => {
            json!({ "timer": *e.timer_id, "seconds": e.duration.as_secs_f64() })
        }
        Kind::TimerFired(e) => json!({ "timer": *e.timer_id }),
        Kind::TimerCanceled(e) => json!({ "timer": *e.timer_id }),
        Kind::Marker(e) => marker(&e.name, &e.details),
        Kind::ChildInitiated(e) => child(&e.workflow_id, &e.workflow_type, &e.input),
        Kind::ExternalSignalInitiated(e) => {
            json!({ "workflow_id": *e.target.workflow_id, "name": *e.name, "input": value(&e.input) })
        }
        Kind::ExternalCancelInitiated(e) => json!({ "workflow_id": *e.target.workflow_id }),
        Kind::Completed(e) => result(&e.result),
        Kind::Failed(e) => json!({ "error": payload::error_of(&e.failure) }),
        Kind::ContinuedAsNew(e) => json!({ "input": value(&e.input) }),
        Kind::Signaled(e) => json!({ "name": *e.name, "input": value(&e.input) }),
        Kind::Paused(e) | Kind::Unpaused(e) => {
            json!({ "reason": *e.reason, "identity": *e.identity })
        }
        Kind::ActivityStarted(e) => json!({ "scheduled": e.scheduled.0 }),
        Kind::ActivityCompleted(e) => json!({ "scheduled": e.scheduled.0 }),
        Kind::ActivityFailed(e) => json!({ "scheduled": e.scheduled.0 }),
        Kind::ActivityTimedOut(e) => json!({ "scheduled": e.scheduled.0 }),
        // Nothing of the rest is compared.
        _ => json!({}),
    };
    typed(kind.name(), facts)
}

/// What a decision would record, as JSON in the same terms.
pub(super) fn of_decision(decision: &Decision) -> Value {
    let (name, facts) = match decision {
        Decision::ScheduleActivity(d) => {
            ("ActivityTaskScheduled", call(&d.activity_id, &d.activity_type, &d.input))
        }
        Decision::RequestCancelActivity { scheduled } => {
            ("ActivityTaskCancelRequested", json!({ "scheduled": scheduled.0 }))
        }
        Decision::StartTimer { timer_id, duration } => {
            ("TimerStarted", json!({ "timer": **timer_id, "seconds": duration.as_secs_f64() }))
        }
        Decision::CancelTimer { timer_id } => ("TimerCanceled", json!({ "timer": **timer_id })),
        Decision::RecordMarker { name, details, .. } => ("MarkerRecorded", marker(name, details)),
        Decision::StartChild(d) => (
            "StartChildWorkflowExecutionInitiated",
            child(&d.workflow_id, &d.workflow_type, &d.input),
        ),
        Decision::TerminateChild { initiated } => {
            ("MarkerRecorded", json!({ "name": "reflux.terminate", "initiated": initiated.0 }))
        }
        Decision::SuspendChild { initiated, pause } => {
            let name = if *pause { "reflux.pause-child" } else { "reflux.resume-child" };
            ("MarkerRecorded", json!({ "name": name, "initiated": initiated.0 }))
        }
        Decision::Pause { reason } => ("WorkflowExecutionPaused", json!({ "reason": **reason })),
        Decision::SignalExternal(d) => (
            "SignalExternalWorkflowExecutionInitiated",
            json!({ "workflow_id": *d.target.workflow_id, "name": *d.name, "input": value(&d.input) }),
        ),
        Decision::RequestCancelExternal { target, .. } => (
            "RequestCancelExternalWorkflowExecutionInitiated",
            json!({ "workflow_id": *target.workflow_id }),
        ),
        Decision::CompleteRun { result: given } => ("WorkflowExecutionCompleted", result(given)),
        Decision::FailRun { failure } => {
            ("WorkflowExecutionFailed", json!({ "error": payload::error_of(failure) }))
        }
        Decision::CancelRun { .. } => ("WorkflowExecutionCanceled", json!({})),
        Decision::ContinueAsNew(d) => {
            ("WorkflowExecutionContinuedAsNew", json!({ "input": value(&d.input) }))
        }
        Decision::UpsertSearchAttributes { .. } => ("UpsertWorkflowSearchAttributes", json!({})),
        Decision::ModifyProperties { .. } => ("WorkflowPropertiesModified", json!({})),
    };
    typed(name, facts)
}

/// The sentence for one side: `ActivityTaskScheduled of build`.
pub(super) fn phrase(facts: &Value) -> String {
    let text = |name: &str| facts.get(name).and_then(Value::as_str);
    let kind = text("type").unwrap_or("nothing");
    let marker = text("name").map(|name| format!(" {name}")).unwrap_or_default();
    let details = facts.get("details");
    let step = text("activation")
        .or_else(|| text("timer"))
        .or_else(|| text("workflow_id"))
        .or_else(|| details.and_then(|mark| mark.get("step")?.as_str()))
        .or_else(|| details.and_then(|mark| mark.get("activation")?.as_str()))
        .or_else(|| details.and_then(|mark| mark.get("parent")?.as_str()));
    let of = step.map(|step| format!(" of `{step}`")).unwrap_or_default();
    format!("{kind}{marker}{of}")
}

/// Where two values differ, the first places only; long values by hash and beginning.
pub fn differences(recorded: &Value, decided: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(String::new(), Some(recorded), Some(decided), &mut found);
    found
}

fn compare(path: String, a: Option<&Value>, b: Option<&Value>, found: &mut Vec<Difference>) {
    if a == b || found.len() >= DIFFERENCES_MAX {
        return;
    }
    let under =
        |name: &str| if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") };
    match (a, b) {
        (Some(Value::Object(a)), Some(Value::Object(b))) => {
            let added = b.keys().filter(|key| !a.contains_key(*key));
            for key in a.keys().chain(added) {
                compare(under(key), a.get(key), b.get(key), found);
            }
        }
        (Some(Value::Array(a)), Some(Value::Array(b))) => {
            for at in 0..a.len().max(b.len()) {
                compare(under(&at.to_string()), a.get(at), b.get(at), found);
                if found.len() >= DIFFERENCES_MAX {
                    return;
                }
            }
        }
        (a, b) => found.push(Difference {
            path,
            recorded: a.map(|value| short(value, VALUE_BYTES)),
            decided: b.map(|value| short(value, VALUE_BYTES)),
        }),
    }
}

fn call(activation: &str, node: &str, input: &Payloads) -> Value {
    json!({ "activation": activation, "node": node, "input": value(input), "secrets": secrets(input) })
}

fn child(workflow_id: &str, flow: &str, input: &Payloads) -> Value {
    json!({ "workflow_id": workflow_id, "flow": flow, "input": value(input) })
}

fn marker(name: &str, details: &BTreeMap<String, Payloads>) -> Value {
    let mark = details.get(payload::DATA).map(value).unwrap_or_default();
    json!({ "name": name, "details": mark })
}

fn result(given: &Payloads) -> Value {
    json!({ "result": value(given), "handled_failure": payload::is_handled_failure(given) })
}

fn secrets(input: &Payloads) -> Value {
    match payload::secrets_of(input) {
        Ok(slots) if slots.is_empty() => Value::Null,
        Ok(slots) => json!(slots),
        Err(_) => json!("(not readable)"),
    }
}

fn value(payloads: &Payloads) -> Value {
    payload::value_of(payloads).unwrap_or_else(|_| Value::from("(not JSON)"))
}

/// The type, and the facts that say something.
fn typed(name: &str, facts: Value) -> Value {
    let mut all = Map::from_iter([("type".to_owned(), Value::from(name))]);
    if let Value::Object(facts) = facts {
        all.extend(facts.into_iter().filter(|(_, value)| !value.is_null()));
    }
    Value::Object(all)
}

/// The activation whose result was taken over.
pub(super) fn reused(marker: &reflux_core::Marker) -> Option<String> {
    let ours = &*marker.name == MARKER_REUSE;
    let mark: Value = serde_json::from_slice(payload::marker_json(marker)).ok().filter(|_| ours)?;
    let activation = mark.get("activation")?.as_str()?;
    Activation::parse(activation).map(|activation| activation.to_string())
}

/// Equal values: the order of keys and the spaces between them say nothing.
fn same(a: &Payloads, b: &Payloads) -> bool {
    if a.payloads.is_empty() || b.payloads.is_empty() {
        // None and null are the same.
        return value(a) == value(b);
    }
    a.payloads.len() == b.payloads.len()
        && a.payloads.iter().zip(&b.payloads).all(|(a, b)| same_payload(a, b))
}

fn same_payload(a: &Payload, b: &Payload) -> bool {
    let json = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    a.metadata == b.metadata
        && (a.data == b.data || json(&a.data).is_some_and(|value| Some(value) == json(&b.data)))
}

fn same_details(a: &BTreeMap<String, Payloads>, b: &BTreeMap<String, Payloads>) -> bool {
    a.len() == b.len()
        && a.iter().zip(b).all(|((a_name, a), (b_name, b))| a_name == b_name && same(a, b))
}

fn same_target(a: &Target, b: &Target) -> bool {
    // The run's own namespace may be left out.
    a.workflow_id == b.workflow_id && (b.namespace.is_empty() || a.namespace == b.namespace)
}

/// Equal failures: of a long one, only the beginning was recorded.
fn same_failure(recorded: &Failure, decided: &Failure) -> bool {
    recorded == decided
        || (decided.message.starts_with(&recorded.message)
            && recorded.failure_info == decided.failure_info)
}
