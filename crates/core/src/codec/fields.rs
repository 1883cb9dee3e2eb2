//! Single fields: how the wire's options become values and back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reflux_proto::temporal::api::common::v1::{
    ActivityType, RetryPolicy, WorkflowExecution, WorkflowType,
};
use reflux_proto::temporal::api::enums::v1::TaskQueueKind;
use reflux_proto::temporal::api::taskqueue::v1::TaskQueue;

use super::Malformed;
use crate::{
    Execution, Failure, Header, Memo, Payload, Payloads, Retry, RunId, SearchAttributes, Target,
    Timestamp, json_payload,
};

const NANOS: i64 = 1_000_000_000;

/// A moment; absent and zero are the same. Out of range goes to the nearest end.
pub fn time(time: Option<&prost_types::Timestamp>) -> Option<Timestamp> {
    let time = time?;
    // Wide: the earliest moment's seconds alone are out of range.
    let nanos = i128::from(time.seconds) * i128::from(NANOS) + i128::from(time.nanos);
    let nanos = i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX });
    (nanos != 0).then_some(Timestamp(nanos))
}

/// As [`time`] reads it.
pub fn to_time(time: Timestamp) -> Option<prost_types::Timestamp> {
    (time.0 != 0).then(|| prost_types::Timestamp {
        seconds: time.0.div_euclid(NANOS),
        nanos: i32::try_from(time.0.rem_euclid(NANOS)).unwrap_or(0),
    })
}

/// Absent, zero and negative are the same: no limit, no wait.
pub fn length(length: Option<&prost_types::Duration>) -> Option<Duration> {
    let length = length?;
    let seconds = u64::try_from(length.seconds).ok()?;
    let nanos = u32::try_from(length.nanos).ok()?;
    let length = Duration::from_secs(seconds).saturating_add(Duration::from_nanos(nanos.into()));
    (!length.is_zero()).then_some(length)
}

/// As [`length`] reads it.
pub fn to_length(length: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(length.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(length.subsec_nanos()).unwrap_or(0),
    }
}

/// As [`length`] reads it; `None` is absent.
pub fn to_lengths(length: Option<Duration>) -> Option<prost_types::Duration> {
    length.map(to_length)
}

pub(super) fn payloads(payloads: Option<Payloads>) -> Payloads {
    payloads.unwrap_or_default()
}

/// Absent when there are none.
pub fn to_payloads(payloads: &Payloads) -> Option<Payloads> {
    (!payloads.payloads.is_empty()).then(|| payloads.clone())
}

/// Absent when it is empty.
pub fn to_header(header: &Header) -> Option<Header> {
    (!header.fields.is_empty()).then(|| header.clone())
}

/// Absent when it is empty.
pub fn to_memo(memo: &Memo) -> Option<Memo> {
    (!memo.fields.is_empty()).then(|| memo.clone())
}

/// Absent when there are none.
pub fn to_attributes(attributes: &SearchAttributes) -> Option<SearchAttributes> {
    (!attributes.indexed_fields.is_empty()).then(|| attributes.clone())
}

pub(super) fn failure(
    what: &'static str,
    failure: Option<Failure>,
) -> Result<Arc<Failure>, Malformed> {
    failure.map(Arc::new).ok_or_else(|| Malformed::new(what, "has no failure"))
}

pub(super) fn to_failure(failure: &Arc<Failure>) -> Option<Failure> {
    Some(Failure::clone(failure))
}

/// A run id; `None` when the text is not one.
pub fn run_id(text: &str) -> Option<RunId> {
    uuid::Uuid::try_parse(text).ok().map(RunId)
}

/// Empty when there is none.
pub fn to_run_id(run_id: Option<RunId>) -> String {
    run_id.map(|run_id| run_id.to_string()).unwrap_or_default()
}

pub(super) fn execution(execution: Option<WorkflowExecution>) -> Option<Execution> {
    let execution = execution?;
    let run_id = run_id(&execution.run_id)?;
    Some(Execution { workflow_id: execution.workflow_id.into(), run_id })
}

/// A workflow id with one of its runs.
pub fn to_execution(execution: &Execution) -> WorkflowExecution {
    WorkflowExecution {
        workflow_id: execution.workflow_id.to_string(),
        run_id: execution.run_id.to_string(),
    }
}

pub(super) fn target(
    what: &'static str,
    namespace: String,
    execution: Option<WorkflowExecution>,
) -> Result<Target, Malformed> {
    let execution = execution.ok_or_else(|| Malformed::new(what, "names no workflow"))?;
    Ok(Target {
        namespace: namespace.into(),
        run_id: run_id(&execution.run_id),
        workflow_id: execution.workflow_id.into(),
        first_run: None,
    })
}

pub(super) fn to_target(target: &Target) -> Option<WorkflowExecution> {
    let workflow_id = target.workflow_id.to_string();
    Some(WorkflowExecution { workflow_id, run_id: to_run_id(target.run_id) })
}

pub(super) fn workflow_type(
    what: &'static str,
    name: Option<WorkflowType>,
) -> Result<Arc<str>, Malformed> {
    name.map(|name| name.name.into()).ok_or_else(|| Malformed::new(what, "has no workflow type"))
}

pub(super) fn to_workflow_type(name: &Arc<str>) -> Option<WorkflowType> {
    Some(WorkflowType { name: name.to_string() })
}

pub(super) fn activity_type(
    what: &'static str,
    name: Option<ActivityType>,
) -> Result<Arc<str>, Malformed> {
    name.map(|name| name.name.into()).ok_or_else(|| Malformed::new(what, "has no activity type"))
}

pub(super) fn queue(queue: Option<TaskQueue>) -> Arc<str> {
    queue.map(|queue| queue.name.into()).unwrap_or_default()
}

pub(super) fn to_queue(name: &Arc<str>) -> Option<TaskQueue> {
    let kind = TaskQueueKind::Normal.into();
    Some(TaskQueue { name: name.to_string(), kind, normal_name: String::new() })
}

/// A policy's intervals travel beside it: [`HEADER_RETRY`](crate::HEADER_RETRY).
pub fn retry(policy: RetryPolicy) -> Retry {
    let Retry::Exponential { initial: first, .. } = Retry::default() else {
        return Retry::default();
    };
    let initial = length(policy.initial_interval.as_ref()).unwrap_or(first);
    let coefficient = policy.backoff_coefficient;
    Retry::Exponential {
        initial,
        coefficient: if coefficient.is_finite() && coefficient >= 1.0 { coefficient } else { 2.0 },
        maximum: length(policy.maximum_interval.as_ref())
            .unwrap_or_else(|| initial.saturating_mul(100))
            .max(initial),
        attempts: u32::try_from(policy.maximum_attempts).unwrap_or(0),
        non_retryable: policy.non_retryable_error_types.into_iter().map(Into::into).collect(),
    }
}

/// As [`retry`] reads it.
pub fn to_retry(retry: &Retry) -> RetryPolicy {
    match retry {
        Retry::Exponential { initial, coefficient, maximum, attempts, non_retryable } => {
            RetryPolicy {
                initial_interval: Some(to_length(*initial)),
                backoff_coefficient: *coefficient,
                maximum_interval: Some(to_length(*maximum)),
                maximum_attempts: i32::try_from(*attempts).unwrap_or(i32::MAX),
                non_retryable_error_types: non_retryable.iter().map(|n| n.to_string()).collect(),
            }
        }
        // What a Temporal client can show of it.
        Retry::Intervals(waits) => RetryPolicy {
            initial_interval: waits.first().map(|wait| to_length(*wait)),
            backoff_coefficient: 1.0,
            maximum_interval: waits.iter().max().map(|wait| to_length(*wait)),
            maximum_attempts: i32::try_from(waits.len() + 1).unwrap_or(i32::MAX),
            non_retryable_error_types: Vec::new(),
        },
    }
}

/// `[1000,3000]`, milliseconds.
pub(super) fn intervals(payload: &Payload) -> Option<Retry> {
    let text = std::str::from_utf8(&payload.data).ok()?;
    let inner = text.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    if inner.is_empty() {
        return Some(Retry::Intervals(Vec::new()));
    }
    let wait = |text: &str| text.trim().parse().ok().map(Duration::from_millis);
    inner.split(',').map(wait).collect::<Option<Vec<_>>>().map(Retry::Intervals)
}

pub(super) fn to_intervals(waits: &[Duration]) -> Payload {
    let texts: Vec<String> = waits.iter().map(|wait| wait.as_millis().to_string()).collect();
    json_payload(format!("[{}]", texts.join(",")))
}

/// A JSON string that needs no escapes.
pub(super) fn word(payload: &Payload) -> Option<&str> {
    std::str::from_utf8(&payload.data).ok()?.strip_prefix('"')?.strip_suffix('"')
}

pub(super) fn to_word(word: &str) -> Payload {
    json_payload(Bytes::from(format!("\"{word}\"")))
}
