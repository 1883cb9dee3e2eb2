//! Events about other runs and callers: children, signals and requests to others, updates.

use std::sync::Arc;
use std::time::Duration;

use reflux_proto::temporal::api::update::v1 as update;

use crate::{
    CancelExternalFailedCause, ChildStartFailedCause, EventId, Execution, Failure, Header,
    IdReusePolicy, Memo, ParentClosePolicy, Payloads, Priority, Retry, RetryState,
    SearchAttributes, SignalExternalFailedCause, Target,
};

/// A child is to be started.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildInitiated {
    /// Where.
    pub namespace: Arc<str>,
    /// Its workflow id.
    pub workflow_id: Arc<str>,
    /// What it is.
    pub workflow_type: Arc<str>,
    /// Where its tasks are offered.
    pub task_queue: Arc<str>,
    /// Arguments.
    pub input: Payloads,
    /// Passed along. With [`HEADER_SPEC`](crate::HEADER_SPEC) the child is a flow.
    pub header: Header,
    /// For people.
    pub memo: Memo,
    /// For lists.
    pub search_attributes: SearchAttributes,
    /// Limit over the chain of runs.
    pub execution_timeout: Option<Duration>,
    /// Limit of one run.
    pub run_timeout: Option<Duration>,
    /// Limit of one workflow task.
    pub task_timeout: Option<Duration>,
    /// What becomes of it when this run closes.
    pub parent_close_policy: ParentClosePolicy,
    /// Whether a closed run of that id stands in its way.
    pub reuse_policy: IdReusePolicy,
    /// When a failed run of it is started again.
    pub retry: Option<Retry>,
    /// As the decider wrote it; empty when there is none.
    pub cron_schedule: Arc<str>,
    /// Order among tasks of one queue.
    pub priority: Option<Priority>,
    /// The task that decided it.
    pub task_completed: EventId,
}

/// The child could not be started.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildStartFailed {
    /// Its `ChildInitiated`.
    pub initiated: EventId,
    /// Where.
    pub namespace: Arc<str>,
    /// Its workflow id.
    pub workflow_id: Arc<str>,
    /// What it would have been.
    pub workflow_type: Arc<str>,
    /// Why.
    pub cause: ChildStartFailedCause,
    /// The task that wanted it.
    pub task_completed: EventId,
}

/// A child in the events about it.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildRef {
    /// Its `ChildInitiated`.
    pub initiated: EventId,
    /// Its `ChildStarted`; 0 in that event itself and while buffered.
    pub started: EventId,
    /// Where.
    pub namespace: Arc<str>,
    /// Which run.
    pub execution: Execution,
    /// What it is.
    pub workflow_type: Arc<str>,
}

/// The child began.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildStarted {
    /// Which child.
    pub child: ChildRef,
}

/// The child gave a result.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildCompleted {
    /// Which child.
    pub child: ChildRef,
    /// What it gave.
    pub result: Payloads,
}

/// The child failed.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildFailed {
    /// Which child.
    pub child: ChildRef,
    /// Why.
    pub failure: Arc<Failure>,
    /// Why it is not tried again.
    pub retry_state: RetryState,
}

/// The child ended because it was asked to.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildCanceled {
    /// Which child.
    pub child: ChildRef,
    /// What it says about it.
    pub details: Payloads,
}

/// The child took too long.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildTimedOut {
    /// Which child.
    pub child: ChildRef,
    /// Why it is not tried again.
    pub retry_state: RetryState,
}

/// The child was ended from outside.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildTerminated {
    /// Which child.
    pub child: ChildRef,
}

/// Another run is to be signalled.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalSignalInitiated {
    /// Which run.
    pub target: Target,
    /// Name of the signal.
    pub name: Arc<str>,
    /// Its arguments.
    pub input: Payloads,
    /// Passed along.
    pub header: Header,
    /// Whether only a child of this run may take it.
    pub child_only: bool,
    /// The task that decided it.
    pub task_completed: EventId,
}

/// The other run could not be signalled.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalSignalFailed {
    /// Its `ExternalSignalInitiated`.
    pub initiated: EventId,
    /// Which run.
    pub target: Target,
    /// Why.
    pub cause: SignalExternalFailedCause,
    /// The task that wanted it.
    pub task_completed: EventId,
}

/// The other run has the signal.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalSignaled {
    /// Its `ExternalSignalInitiated`.
    pub initiated: EventId,
    /// Which run.
    pub target: Target,
}

/// Another run is to be asked to end.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalCancelInitiated {
    /// Which run.
    pub target: Target,
    /// Whether only a child of this run may take it.
    pub child_only: bool,
    /// For people.
    pub reason: Arc<str>,
    /// The task that decided it.
    pub task_completed: EventId,
}

/// The other run could not be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalCancelFailed {
    /// Its `ExternalCancelInitiated`.
    pub initiated: EventId,
    /// Which run.
    pub target: Target,
    /// Why.
    pub cause: CancelExternalFailedCause,
    /// The task that wanted it.
    pub task_completed: EventId,
}

/// The other run has been asked.
#[derive(Debug, Clone, PartialEq)]
pub struct ExternalCancelRequested {
    /// Its `ExternalCancelInitiated`.
    pub initiated: EventId,
    /// Which run.
    pub target: Target,
}

/// An update is to be offered to the workflow again, after a reset.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateAdmitted {
    /// What was asked.
    pub request: Arc<update::Request>,
    /// As on the wire.
    pub origin: i32,
}

/// The workflow takes the update.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateAccepted {
    /// The update's id.
    pub update_id: Arc<str>,
    /// Of the message that asked.
    pub message_id: Arc<str>,
    /// The event the message was sent after.
    pub sequencing: EventId,
    /// What was asked.
    pub request: Option<Arc<update::Request>>,
}

/// The workflow refuses the update.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateRejected {
    /// The update's id.
    pub update_id: Arc<str>,
    /// Of the message that asked.
    pub message_id: Arc<str>,
    /// The event the message was sent after.
    pub sequencing: EventId,
    /// What was asked.
    pub request: Option<Arc<update::Request>>,
    /// Why.
    pub failure: Arc<Failure>,
}

/// The update is done.
#[derive(Debug, Clone, PartialEq)]
pub struct UpdateCompleted {
    /// The update's id.
    pub update_id: Arc<str>,
    /// Who asked.
    pub identity: Arc<str>,
    /// Its `UpdateAccepted`.
    pub accepted: EventId,
    /// What it gave.
    pub outcome: Option<Arc<update::Outcome>>,
}
