//! Values of requests, checked; and values for answers. What events need is in [`reflux_core::wire`].

use std::sync::Arc;
use std::time::Duration;

use reflux_core::{
    Header, ID_CHARS_MAX, Memo, Payload, Payloads, Retry, RunId, RunKey, SearchAttributes, Status,
    TASK_TIMEOUT, wire,
};
use reflux_engine::Lane;
use reflux_proto::temporal::api::common::v1::{RetryPolicy, WorkflowExecution, WorkflowType};
use reflux_proto::temporal::api::enums::v1::WorkflowExecutionStatus;
use reflux_proto::temporal::api::taskqueue::v1::TaskQueue;
use tonic::Status as Refusal;

use super::errors::invalid;

/// Header fields that begin so make a run what it is to the engine: nobody outside may set them.
const RESERVED: &str = "reflux.";

/// Text that may be empty: at most 1,000 characters, none of them NUL.
pub(super) fn text(what: &str, text: String) -> Result<Arc<str>, Refusal> {
    if text.len() > ID_CHARS_MAX && text.chars().count() > ID_CHARS_MAX {
        return Err(invalid(format!("{what} exceeds length limit of {ID_CHARS_MAX} characters")));
    }
    if text.contains('\0') {
        return Err(invalid(format!("{what} holds the character NUL: leave it out")));
    }
    Ok(text.into())
}

/// Text that may not be empty; otherwise as [`text`].
pub(super) fn name(what: &str, given: String) -> Result<Arc<str>, Refusal> {
    if given.is_empty() {
        return Err(invalid(format!("{what} is not set on request")));
    }
    text(what, given)
}

/// The name of a task queue.
pub(super) fn queue_name(queue: Option<TaskQueue>) -> Result<Arc<str>, Refusal> {
    name("TaskQueue", queue.map(|queue| queue.name).unwrap_or_default())
}

/// The name of a workflow type.
pub(super) fn type_name(given: Option<WorkflowType>) -> Result<Arc<str>, Refusal> {
    name("WorkflowType", given.map(|given| given.name).unwrap_or_default())
}

/// A run id; empty is none.
pub(super) fn run_id(text: &str) -> Result<Option<RunId>, Refusal> {
    if text.is_empty() {
        return Ok(None);
    }
    wire::run_id(text).map(Some).ok_or_else(|| invalid("Invalid RunId."))
}

/// The lane of an execution, and which run of it.
pub(super) fn execution(
    namespace: Arc<str>,
    given: Option<WorkflowExecution>,
) -> Result<(Lane, Option<RunId>), Refusal> {
    let given = given.ok_or_else(|| invalid("Execution is not set on request."))?;
    lane(namespace, given.workflow_id, &given.run_id)
}

/// As [`execution`], of its parts.
pub(super) fn lane(
    namespace: Arc<str>,
    workflow_id: String,
    run: &str,
) -> Result<(Lane, Option<RunId>), Refusal> {
    let workflow_id = name("WorkflowId", workflow_id)?;
    Ok((Lane { namespace, workflow_id }, run_id(run)?))
}

/// A length of time; absent is zero is none, negative is an error.
pub(super) fn length(
    what: &str,
    length: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Refusal> {
    match length {
        Some(length) if length.seconds < 0 || length.nanos < 0 => {
            Err(invalid(format!("Invalid {what}: it is negative")))
        }
        length => Ok(wire::length(length)),
    }
}

/// The limit of a workflow task; SDKs rely on finding one in the first event.
pub(super) fn task_timeout(
    given: Option<&prost_types::Duration>,
) -> Result<Option<Duration>, Refusal> {
    Ok(Some(length("WorkflowTaskTimeout", given)?.unwrap_or(TASK_TIMEOUT)))
}

/// A retry policy, as Temporal checks it.
pub(super) fn retry(policy: Option<RetryPolicy>) -> Result<Option<Retry>, Refusal> {
    let Some(policy) = policy else { return Ok(None) };
    let initial = length("InitialInterval set on retry policy", policy.initial_interval.as_ref())?;
    let maximum = length("MaximumInterval set on retry policy", policy.maximum_interval.as_ref())?;
    if policy.backoff_coefficient != 0.0 && policy.backoff_coefficient < 1.0 {
        return Err(invalid("BackoffCoefficient cannot be less than 1 on retry policy."));
    }
    if policy.maximum_attempts < 0 {
        return Err(invalid("MaximumAttempts cannot be negative on retry policy."));
    }
    if let (Some(initial), Some(maximum)) = (initial, maximum)
        && maximum < initial
    {
        return Err(invalid(
            "MaximumInterval cannot be less than InitialInterval on retry policy.",
        ));
    }
    Ok(Some(wire::retry(policy)))
}

/// A header; fields of the engine's own are refused.
pub(super) fn header(header: Option<Header>) -> Result<Header, Refusal> {
    let header = header.unwrap_or_default();
    match header.fields.keys().find(|name| name.starts_with(RESERVED)) {
        Some(name) => Err(invalid(format!("header field {name} is reserved: leave it out"))),
        None => Ok(header),
    }
}

/// Absent is empty.
pub(super) fn payloads(payloads: Option<Payloads>) -> Payloads {
    payloads.unwrap_or_default()
}

/// Fields of a memo without those that are to be taken away.
pub(super) fn memo(memo: Option<Memo>) -> Memo {
    let mut memo = memo.unwrap_or_default();
    memo.fields.retain(|_, payload| !is_null(payload));
    memo
}

/// Search attributes without those that are to be taken away.
pub(super) fn attributes(attributes: Option<SearchAttributes>) -> SearchAttributes {
    let mut attributes = attributes.unwrap_or_default();
    attributes.indexed_fields.retain(|_, payload| !is_null(payload));
    attributes
}

fn is_null(payload: &Payload) -> bool {
    payload.metadata.get("encoding").is_some_and(|encoding| **encoding == *b"binary/null")
}

/// A run, as answers name it.
pub(super) fn to_execution(key: &RunKey) -> WorkflowExecution {
    WorkflowExecution { workflow_id: key.workflow_id.to_string(), run_id: key.run_id.to_string() }
}

/// Where a run stands, in Temporal's words.
pub(super) fn to_status(status: Status) -> WorkflowExecutionStatus {
    match status {
        Status::Running => WorkflowExecutionStatus::Running,
        Status::Completed => WorkflowExecutionStatus::Completed,
        Status::Failed => WorkflowExecutionStatus::Failed,
        Status::Canceled => WorkflowExecutionStatus::Canceled,
        Status::Terminated => WorkflowExecutionStatus::Terminated,
        Status::TimedOut => WorkflowExecutionStatus::TimedOut,
        Status::ContinuedAsNew => WorkflowExecutionStatus::ContinuedAsNew,
    }
}
