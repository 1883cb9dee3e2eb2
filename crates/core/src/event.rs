//! The validated domain event: what a history holds, without the options of the wire.
//!
//! Payloads, headers and failures stay the wire's own types; an empty one and an absent one are
//! the same. An event number of 0 stands for "none" where a flow has no workflow task.

mod family;

pub use family::*;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reflux_proto::temporal::api::history::v1::WorkflowExecutionOptionsUpdatedEventAttributes;

use crate::{
    ContinueAsNewInitiator, EffectClass, EventId, Failure, Header, Memo, Payloads, Priority, Retry,
    RetryState, RunId, RunKey, SearchAttributes, TaskFailedCause, TimeoutType, Timestamp,
};

/// One entry of a history.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its number; 0 while it is buffered.
    pub id: EventId,
    /// When it was decided.
    pub time: Timestamp,
    /// What happened.
    pub kind: Kind,
}

/// What happened: one variant for every event type this version knows.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs)] // Each variant is documented at the structure it holds.
pub enum Kind {
    Started(Arc<Started>),
    Completed(Completed),
    Failed(Failed),
    TimedOut(TimedOut),
    Canceled(Canceled),
    Terminated(Terminated),
    ContinuedAsNew(Arc<ContinuedAsNew>),
    CancelRequested(CancelRequested),
    Signaled(Signaled),
    Paused(Suspension),
    Unpaused(Suspension),

    TaskScheduled(TaskScheduled),
    TaskStarted(TaskStarted),
    TaskCompleted(TaskCompleted),
    TaskFailed(TaskFailed),
    TaskTimedOut(TaskTimedOut),

    ActivityScheduled(Arc<ActivityScheduled>),
    ActivityStarted(ActivityStarted),
    ActivityCompleted(ActivityCompleted),
    ActivityFailed(ActivityFailed),
    ActivityTimedOut(ActivityTimedOut),
    ActivityCancelRequested(ActivityCancelRequested),
    ActivityCanceled(ActivityCanceled),

    TimerStarted(TimerStarted),
    TimerFired(TimerFired),
    TimerCanceled(TimerCanceled),
    Marker(Marker),

    ChildInitiated(Arc<ChildInitiated>),
    ChildStartFailed(ChildStartFailed),
    ChildStarted(ChildStarted),
    ChildCompleted(ChildCompleted),
    ChildFailed(ChildFailed),
    ChildCanceled(ChildCanceled),
    ChildTimedOut(ChildTimedOut),
    ChildTerminated(ChildTerminated),

    ExternalSignalInitiated(Arc<ExternalSignalInitiated>),
    ExternalSignalFailed(ExternalSignalFailed),
    ExternalSignaled(ExternalSignaled),
    ExternalCancelInitiated(Arc<ExternalCancelInitiated>),
    ExternalCancelFailed(ExternalCancelFailed),
    ExternalCancelRequested(ExternalCancelRequested),

    UpdateAdmitted(UpdateAdmitted),
    UpdateAccepted(UpdateAccepted),
    UpdateRejected(UpdateRejected),
    UpdateCompleted(UpdateCompleted),

    SearchAttributesUpserted(SearchAttributesUpserted),
    PropertiesModified(PropertiesModified),
    OptionsUpdated(Box<WorkflowExecutionOptionsUpdatedEventAttributes>),
}

/// A workflow id with one of its runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Execution {
    /// The id its caller chose.
    pub workflow_id: Arc<str>,
    /// Which run.
    pub run_id: RunId,
}

/// The run that started this one as its child.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    /// The run that initiated the child.
    pub key: RunKey,
    /// The parent's `ChildInitiated` event.
    pub initiated: EventId,
    /// First run of the parent's chain: how the parent is addressed.
    pub first_run: RunId,
}

/// The run this one follows: continued as new, retried, or by its cron schedule.
#[derive(Debug, Clone, PartialEq)]
pub struct Continued {
    /// The run before.
    pub run_id: RunId,
    /// Why there is a next run.
    pub initiator: ContinueAsNewInitiator,
    /// How the run before failed.
    pub failure: Option<Arc<Failure>>,
    /// The last result of the chain.
    pub last_result: Payloads,
}

/// The run began.
#[derive(Debug, Clone, PartialEq)]
pub struct Started {
    /// Name of the workflow; a flow's name.
    pub workflow_type: Arc<str>,
    /// Where its workflow tasks are offered; for a flow the default of its activities.
    pub task_queue: Arc<str>,
    /// Arguments.
    pub input: Payloads,
    /// Passed along by the caller. With [`HEADER_SPEC`](crate::HEADER_SPEC) the run is a flow.
    pub header: Header,
    /// For people.
    pub memo: Memo,
    /// For lists.
    pub search_attributes: SearchAttributes,
    /// Limit over the chain of runs.
    pub execution_timeout: Option<Duration>,
    /// Limit of this run.
    pub run_timeout: Option<Duration>,
    /// Limit of one workflow task.
    pub task_timeout: Option<Duration>,
    /// When the execution timeout ends, the same for every run of the chain.
    pub execution_expires: Option<Timestamp>,
    /// When a failed run is started again.
    pub retry: Option<Retry>,
    /// Number of this run in its retry chain, from 1.
    pub attempt: u32,
    /// As its caller wrote it; empty when there is none.
    pub cron_schedule: Arc<str>,
    /// How long the decider waits before its first step.
    pub first_task_backoff: Option<Duration>,
    /// The run that started this one.
    pub parent: Option<Parent>,
    /// The topmost ancestor.
    pub root: Option<Execution>,
    /// First run of the chain; this run itself when it begins one.
    pub first_run_id: RunId,
    /// This run's id before any reset.
    pub original_run_id: RunId,
    /// The run before this one in the chain.
    pub continued: Option<Continued>,
    /// Who asked.
    pub identity: Arc<str>,
    /// Order among tasks of one queue.
    pub priority: Option<Priority>,
}

/// The run ended with a result.
#[derive(Debug, Clone, PartialEq)]
pub struct Completed {
    /// What it gives.
    pub result: Payloads,
    /// The task that decided it.
    pub task_completed: EventId,
    /// The run that follows.
    pub next_run: Option<RunId>,
}

/// The run ended with a failure.
#[derive(Debug, Clone, PartialEq)]
pub struct Failed {
    /// Why.
    pub failure: Arc<Failure>,
    /// Whether and why not it is tried again.
    pub retry_state: RetryState,
    /// The task that decided it.
    pub task_completed: EventId,
    /// The run that follows.
    pub next_run: Option<RunId>,
}

/// The run took too long.
#[derive(Debug, Clone, PartialEq)]
pub struct TimedOut {
    /// Whether and why not it is tried again.
    pub retry_state: RetryState,
    /// The run that follows.
    pub next_run: Option<RunId>,
}

/// The run ended because it was asked to.
#[derive(Debug, Clone, PartialEq)]
pub struct Canceled {
    /// What it says about it.
    pub details: Payloads,
    /// The task that decided it.
    pub task_completed: EventId,
}

/// The run was ended from outside, without being asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Terminated {
    /// For people.
    pub reason: Arc<str>,
    /// More of it.
    pub details: Payloads,
    /// Who did it.
    pub identity: Arc<str>,
}

/// The run ended and another takes over.
#[derive(Debug, Clone, PartialEq)]
pub struct ContinuedAsNew {
    /// The run that takes over.
    pub next_run: RunId,
    /// Its workflow type.
    pub workflow_type: Arc<str>,
    /// Its task queue.
    pub task_queue: Arc<str>,
    /// Its arguments.
    pub input: Payloads,
    /// Its header.
    pub header: Header,
    /// Its memo.
    pub memo: Memo,
    /// Its search attributes.
    pub search_attributes: SearchAttributes,
    /// Its run timeout.
    pub run_timeout: Option<Duration>,
    /// Its task timeout.
    pub task_timeout: Option<Duration>,
    /// How long it waits before its first step.
    pub backoff: Option<Duration>,
    /// Why.
    pub initiator: ContinueAsNewInitiator,
    /// How this run failed, when that is why.
    pub failure: Option<Arc<Failure>>,
    /// Result handed on.
    pub last_result: Payloads,
    /// The task that decided it.
    pub task_completed: EventId,
}

/// Somebody asked the run to end.
#[derive(Debug, Clone, PartialEq)]
pub struct CancelRequested {
    /// For people.
    pub cause: Arc<str>,
    /// Who asked.
    pub identity: Arc<str>,
    /// The run that asked, when it was one.
    pub external: Option<Execution>,
    /// That run's event; 0 when no run asked.
    pub external_initiated: EventId,
}

/// Somebody sent the run a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Signaled {
    /// Name of the signal.
    pub name: Arc<str>,
    /// Its arguments.
    pub input: Payloads,
    /// Passed along.
    pub header: Header,
    /// Who sent it.
    pub identity: Arc<str>,
    /// The run that sent it, when it was one.
    pub external: Option<Execution>,
    /// Equal for repetitions of one request; empty when the sender gave none.
    pub request_id: Arc<str>,
}

/// The run was paused, or goes on.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspension {
    /// Who did it.
    pub identity: Arc<str>,
    /// For people.
    pub reason: Arc<str>,
    /// Equal for repetitions of one request.
    pub request_id: Arc<str>,
}

/// The decider is to be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskScheduled {
    /// Where the task is offered.
    pub task_queue: Arc<str>,
    /// Whether that is the queue of one worker which has the run in its cache.
    pub sticky: bool,
    /// Limit of one attempt.
    pub timeout: Duration,
    /// From 1.
    pub attempt: u32,
}

/// A worker took the task.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskStarted {
    /// Its `TaskScheduled`.
    pub scheduled: EventId,
    /// Which worker.
    pub identity: Arc<str>,
    /// Of the poll that took it.
    pub request_id: Arc<str>,
    /// Whether the history has grown long.
    pub suggest_continue_as_new: bool,
    /// Size of the history so far.
    pub history_bytes: u64,
}

/// The decider answered.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskCompleted {
    /// Its `TaskScheduled`.
    pub scheduled: EventId,
    /// Its `TaskStarted`.
    pub started: EventId,
    /// Which worker.
    pub identity: Arc<str>,
    /// What the SDK wants to remember.
    pub sdk_metadata: Option<Box<TaskSdkMetadata>>,
}

/// What an SDK remembers about a completed task.
pub type TaskSdkMetadata = reflux_proto::temporal::api::sdk::v1::WorkflowTaskCompletedMetadata;

/// The decider could not answer.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskFailed {
    /// Its `TaskScheduled`.
    pub scheduled: EventId,
    /// Its `TaskStarted`.
    pub started: EventId,
    /// Why, for programs.
    pub cause: TaskFailedCause,
    /// Why, for people.
    pub failure: Option<Arc<Failure>>,
    /// Which worker.
    pub identity: Arc<str>,
}

/// The decider did not answer in time.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskTimedOut {
    /// Its `TaskScheduled`.
    pub scheduled: EventId,
    /// Its `TaskStarted`; 0 when nobody took it.
    pub started: EventId,
    /// Start to close, or schedule to start of a sticky queue.
    pub timeout: TimeoutType,
}

/// An activity is to be done.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityScheduled {
    /// Chosen by the decider; unique among the open activities of the run.
    pub activity_id: Arc<str>,
    /// What is to be called; a node's name.
    pub activity_type: Arc<str>,
    /// Whose workers do it.
    pub task_queue: Arc<str>,
    /// Arguments.
    pub input: Payloads,
    /// Passed along. Never holds [`HEADER_RETRY`](crate::HEADER_RETRY) or
    /// [`HEADER_EFFECTS`](crate::HEADER_EFFECTS): those are `retry` and `effects`.
    pub header: Header,
    /// Limit over all attempts.
    pub schedule_to_close: Option<Duration>,
    /// Longest wait for a worker.
    pub schedule_to_start: Option<Duration>,
    /// Limit of one attempt.
    pub start_to_close: Option<Duration>,
    /// Longest silence of an attempt.
    pub heartbeat: Option<Duration>,
    /// When a failed attempt is tried again.
    pub retry: Retry,
    /// What a second execution could do to the world; `None` when nobody said.
    pub effects: Option<EffectClass>,
    /// Order among tasks of one queue.
    pub priority: Option<Priority>,
    /// The task that decided it; 0 for a flow.
    pub task_completed: EventId,
}

/// The final attempt of an activity, told when the activity closes.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityStarted {
    /// Its `ActivityScheduled`.
    pub scheduled: EventId,
    /// Which worker.
    pub identity: Arc<str>,
    /// Equal for repetitions of one poll.
    pub request_id: Arc<str>,
    /// Number of the final attempt, from 1.
    pub attempt: u32,
    /// How the attempt before failed.
    pub last_failure: Option<Arc<Failure>>,
}

/// The activity gave a result.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityCompleted {
    /// Its `ActivityScheduled`.
    pub scheduled: EventId,
    /// Its `ActivityStarted`; 0 while buffered.
    pub started: EventId,
    /// What it gave.
    pub result: Payloads,
    /// Which worker, or which person.
    pub identity: Arc<str>,
}

/// The activity failed for good.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityFailed {
    /// Its `ActivityScheduled`.
    pub scheduled: EventId,
    /// Its `ActivityStarted`; 0 while buffered.
    pub started: EventId,
    /// Why.
    pub failure: Arc<Failure>,
    /// Why it is not tried again.
    pub retry_state: RetryState,
    /// Which worker.
    pub identity: Arc<str>,
}

/// The activity took too long, for good.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityTimedOut {
    /// Its `ActivityScheduled`.
    pub scheduled: EventId,
    /// Its `ActivityStarted`; 0 when no attempt was running.
    pub started: EventId,
    /// Which timeout, caused by what.
    pub failure: Arc<Failure>,
    /// Why it is not tried again.
    pub retry_state: RetryState,
}

/// The decider wants the activity to end.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityCancelRequested {
    /// Its `ActivityScheduled`.
    pub scheduled: EventId,
    /// The task that decided it.
    pub task_completed: EventId,
}

/// The activity ended because it was asked to.
#[derive(Debug, Clone, PartialEq)]
pub struct ActivityCanceled {
    /// Its `ActivityScheduled`.
    pub scheduled: EventId,
    /// Its `ActivityStarted`; 0 when no attempt was running.
    pub started: EventId,
    /// Its `ActivityCancelRequested`.
    pub requested: EventId,
    /// What it says about it.
    pub details: Payloads,
    /// Which worker.
    pub identity: Arc<str>,
}

/// A timer runs.
#[derive(Debug, Clone, PartialEq)]
pub struct TimerStarted {
    /// Chosen by the decider; unique among the open timers of the run.
    pub timer_id: Arc<str>,
    /// How long it runs.
    pub duration: Duration,
    /// The task that decided it.
    pub task_completed: EventId,
}

/// A timer's time has come.
#[derive(Debug, Clone, PartialEq)]
pub struct TimerFired {
    /// Which.
    pub timer_id: Arc<str>,
    /// Its `TimerStarted`.
    pub started: EventId,
}

/// The decider no longer waits for a timer.
#[derive(Debug, Clone, PartialEq)]
pub struct TimerCanceled {
    /// Which.
    pub timer_id: Arc<str>,
    /// Its `TimerStarted`.
    pub started: EventId,
    /// The task that decided it.
    pub task_completed: EventId,
    /// Who.
    pub identity: Arc<str>,
}

/// A decision that is only remembered.
#[derive(Debug, Clone, PartialEq)]
pub struct Marker {
    /// What kind of decision.
    pub name: Arc<str>,
    /// By name.
    pub details: BTreeMap<String, Payloads>,
    /// A failure that is remembered.
    pub failure: Option<Arc<Failure>>,
    /// Passed along.
    pub header: Header,
    /// The task that decided it.
    pub task_completed: EventId,
}

/// Search attributes were set; an empty payload removes one.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchAttributesUpserted {
    /// By name.
    pub attributes: SearchAttributes,
    /// The task that decided it.
    pub task_completed: EventId,
}

/// Memo fields were set; an empty payload removes one.
#[derive(Debug, Clone, PartialEq)]
pub struct PropertiesModified {
    /// By name.
    pub memo: Memo,
    /// The task that decided it.
    pub task_completed: EventId,
}

impl Kind {
    /// What the event is called, as in messages to people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Started(_) => "WorkflowExecutionStarted",
            Self::Completed(_) => "WorkflowExecutionCompleted",
            Self::Failed(_) => "WorkflowExecutionFailed",
            Self::TimedOut(_) => "WorkflowExecutionTimedOut",
            Self::Canceled(_) => "WorkflowExecutionCanceled",
            Self::Terminated(_) => "WorkflowExecutionTerminated",
            Self::ContinuedAsNew(_) => "WorkflowExecutionContinuedAsNew",
            Self::CancelRequested(_) => "WorkflowExecutionCancelRequested",
            Self::Signaled(_) => "WorkflowExecutionSignaled",
            Self::Paused(_) => "WorkflowExecutionPaused",
            Self::Unpaused(_) => "WorkflowExecutionUnpaused",
            Self::TaskScheduled(_) => "WorkflowTaskScheduled",
            Self::TaskStarted(_) => "WorkflowTaskStarted",
            Self::TaskCompleted(_) => "WorkflowTaskCompleted",
            Self::TaskFailed(_) => "WorkflowTaskFailed",
            Self::TaskTimedOut(_) => "WorkflowTaskTimedOut",
            Self::ActivityScheduled(_) => "ActivityTaskScheduled",
            Self::ActivityStarted(_) => "ActivityTaskStarted",
            Self::ActivityCompleted(_) => "ActivityTaskCompleted",
            Self::ActivityFailed(_) => "ActivityTaskFailed",
            Self::ActivityTimedOut(_) => "ActivityTaskTimedOut",
            Self::ActivityCancelRequested(_) => "ActivityTaskCancelRequested",
            Self::ActivityCanceled(_) => "ActivityTaskCanceled",
            Self::TimerStarted(_) => "TimerStarted",
            Self::TimerFired(_) => "TimerFired",
            Self::TimerCanceled(_) => "TimerCanceled",
            Self::Marker(_) => "MarkerRecorded",
            Self::ChildInitiated(_) => "StartChildWorkflowExecutionInitiated",
            Self::ChildStartFailed(_) => "StartChildWorkflowExecutionFailed",
            Self::ChildStarted(_) => "ChildWorkflowExecutionStarted",
            Self::ChildCompleted(_) => "ChildWorkflowExecutionCompleted",
            Self::ChildFailed(_) => "ChildWorkflowExecutionFailed",
            Self::ChildCanceled(_) => "ChildWorkflowExecutionCanceled",
            Self::ChildTimedOut(_) => "ChildWorkflowExecutionTimedOut",
            Self::ChildTerminated(_) => "ChildWorkflowExecutionTerminated",
            Self::ExternalSignalInitiated(_) => "SignalExternalWorkflowExecutionInitiated",
            Self::ExternalSignalFailed(_) => "SignalExternalWorkflowExecutionFailed",
            Self::ExternalSignaled(_) => "ExternalWorkflowExecutionSignaled",
            Self::ExternalCancelInitiated(_) => "RequestCancelExternalWorkflowExecutionInitiated",
            Self::ExternalCancelFailed(_) => "RequestCancelExternalWorkflowExecutionFailed",
            Self::ExternalCancelRequested(_) => "ExternalWorkflowExecutionCancelRequested",
            Self::UpdateAdmitted(_) => "WorkflowExecutionUpdateAdmitted",
            Self::UpdateAccepted(_) => "WorkflowExecutionUpdateAccepted",
            Self::UpdateRejected(_) => "WorkflowExecutionUpdateRejected",
            Self::UpdateCompleted(_) => "WorkflowExecutionUpdateCompleted",
            Self::SearchAttributesUpserted(_) => "UpsertWorkflowSearchAttributes",
            Self::PropertiesModified(_) => "WorkflowPropertiesModified",
            Self::OptionsUpdated(_) => "WorkflowExecutionOptionsUpdated",
        }
    }
}
