//! What is asked of a run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::{
    Continued, DeliveryFailure, EffectClass, EventId, Execution, Failure, Header, IdReusePolicy,
    Memo, Message, Parent, ParentClosePolicy, Payloads, Priority, Report, Retry, RunId, RunKey,
    SearchAttributes, Sticky, Target, TaskFailedCause, TaskSdkMetadata, Timestamp, Worker,
};

/// What is asked of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Begin; on a draft of a run that has no items yet.
    Start(Box<Start>),
    /// Take a message.
    Signal(Signal),
    /// End when ready.
    RequestCancel(RequestCancel),
    /// End now. Works on every open run.
    Terminate(Terminate),
    /// Hand out nothing new until [`Command::Unpause`].
    Pause(Suspend),
    /// Go on.
    Unpause(Suspend),
    /// A worker takes an activity.
    ClaimActivity {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// Who.
        worker: Worker,
    },
    /// A claim is given back: the worker cannot have seen it.
    UnclaimActivity {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// Which attempt.
        attempt: u32,
    },
    /// An attempt gave a result.
    CompleteActivity {
        /// Which attempt.
        at: AttemptRef,
        /// What it gave.
        result: Payloads,
        /// What it told about itself.
        report: Option<Box<Report>>,
    },
    /// An attempt failed. Whether it is retried follows from the failure and the policy.
    FailActivity {
        /// Which attempt.
        at: AttemptRef,
        /// Why. `non_retryable` and `next_retry_delay` inside count.
        failure: Arc<Failure>,
        /// Overrides the policy's wait before the next attempt.
        next_retry_delay: Option<Duration>,
        /// What it told about itself.
        report: Option<Box<Report>>,
    },
    /// An attempt ran out of the time its in-process host allows it; retried like a failure.
    TimeOutActivity {
        /// Which attempt.
        at: AttemptRef,
        /// What it told about itself.
        report: Option<Box<Report>>,
    },
    /// An attempt ended because it was asked to.
    CancelActivity {
        /// Which attempt.
        at: AttemptRef,
        /// What it says about it.
        details: Payloads,
        /// What it told about itself.
        report: Option<Box<Report>>,
    },
    /// An attempt is alive.
    HeartbeatActivity {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// Which attempt.
        attempt: u32,
        /// Handed to the next attempt.
        details: Payloads,
    },
    /// Time has passed: what is due at `ctx.now` happens, at most
    /// [`WAKE_ITEMS_MAX`](crate::WAKE_ITEMS_MAX) things at once. Ask again while
    /// [`Run::next_due`](crate::Run::next_due) is not later than now.
    Wake,
    /// A message of another run arrived. Nothing happens when it was taken before.
    Deliver {
        /// Who sent it.
        source: RunKey,
        /// Its number in the source's outbox.
        seq: u64,
        /// What it says. [`Message::StartChild`] and [`Message::StartNext`] are
        /// [`Command::Start`] instead.
        message: Message,
    },
    /// The target took in a message of this run.
    AckOutbox {
        /// Its number.
        seq: u64,
    },
    /// The target can never take in a message of this run.
    DeliveryFailed {
        /// Its number.
        seq: u64,
        /// Why.
        reason: DeliveryFailure,
    },
    /// First command after a boot. Attempts that another boot ran in process end as lost and
    /// start again at once; those with unsafe effects wait for a person and the run is paused.
    Recover,
    /// The decisions of a flow. See [`Command::CompleteTask`] for code.
    Decide(Vec<Decision>),
    /// The decisions of a flow that somebody asked for. Nothing happens when the request was taken
    /// in before.
    Steer {
        /// The decisions.
        decisions: Vec<Decision>,
        /// Equal for repetitions of one request; empty when there is none.
        request_id: Arc<str>,
    },
    /// A person says what became of an attempt whose outcome is unknown.
    Resolve {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// What became of it.
        resolution: Resolution,
        /// Who says so.
        identity: Arc<str>,
    },
    /// The run is archived: it may leave the store. Legal once it is closed and its outbox empty.
    Retire,
    /// A worker takes the workflow task.
    StartTask {
        /// Which: [`WorkflowTask`](crate::WorkflowTask) tells it.
        scheduled: EventId,
        /// Who.
        identity: Arc<str>,
        /// Of the poll; the same one may ask again.
        request_id: Arc<str>,
    },
    /// The worker answered the workflow task.
    CompleteTask(Box<CompleteTask>),
    /// The worker could not answer the workflow task.
    FailTask {
        /// Which.
        scheduled: EventId,
        /// Which attempt.
        attempt: u32,
        /// Why, for programs.
        cause: TaskFailedCause,
        /// Why, for people.
        failure: Option<Arc<Failure>>,
        /// Who.
        identity: Arc<str>,
    },
    /// The worker's cache has lost the run: tasks go to the normal queue again.
    ResetSticky,
}

/// One attempt of an activity, as its worker names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AttemptRef {
    /// Its `ActivityScheduled`.
    pub scheduled: EventId,
    /// Number of the attempt.
    pub attempt: u32,
    /// When it really began to run; `None` takes the time of the claim.
    pub started_at: Option<Timestamp>,
}

/// How a run begins.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Start {
    /// What it is; a flow's name.
    pub workflow_type: Arc<str>,
    /// Where its tasks are offered.
    pub task_queue: Arc<str>,
    /// Arguments.
    pub input: Payloads,
    /// Passed along. With [`HEADER_SPEC`](crate::HEADER_SPEC) the run is a flow, with
    /// [`HEADER_SYSTEM`](crate::HEADER_SYSTEM) a record: no workflow task is ever scheduled.
    pub header: Header,
    /// For people.
    pub memo: Memo,
    /// For lists.
    pub search_attributes: SearchAttributes,
    /// Limit over the chain of runs.
    pub execution_timeout: Option<Duration>,
    /// When that limit ends, if the chain began earlier.
    pub execution_expires: Option<Timestamp>,
    /// Limit of this run.
    pub run_timeout: Option<Duration>,
    /// Limit of one workflow task; `None` is [`TASK_TIMEOUT`](crate::TASK_TIMEOUT).
    pub task_timeout: Option<Duration>,
    /// When a failed run is started again.
    pub retry: Option<Retry>,
    /// Number in the retry chain; 0 counts as 1.
    pub attempt: u32,
    /// Must be empty: recurring runs are started by a schedule.
    pub cron_schedule: Arc<str>,
    /// How long the decider waits before its first step.
    pub first_task_backoff: Option<Duration>,
    /// The run that starts this one.
    pub parent: Option<Parent>,
    /// The topmost ancestor.
    pub root: Option<Execution>,
    /// First run of the chain; `None`: this one.
    pub first_run: Option<RunId>,
    /// The run before this one in the chain.
    pub continued: Option<Continued>,
    /// Equal for repetitions of one request.
    pub request_id: Arc<str>,
    /// Who asks.
    pub identity: Arc<str>,
    /// Order among tasks of one queue.
    pub priority: Option<Priority>,
}

/// A message to a run.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Signal {
    /// Name of the signal.
    pub name: Arc<str>,
    /// Its arguments.
    pub input: Payloads,
    /// Passed along.
    pub header: Header,
    /// Who sends it.
    pub identity: Arc<str>,
    /// Equal for repetitions of one request; empty when there is none.
    pub request_id: Arc<str>,
}

/// A request to end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RequestCancel {
    /// For people.
    pub reason: Arc<str>,
    /// Who asks.
    pub identity: Arc<str>,
    /// Equal for repetitions of one request; empty when there is none.
    pub request_id: Arc<str>,
}

/// An end from outside.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Terminate {
    /// For people.
    pub reason: Arc<str>,
    /// More of it.
    pub details: Payloads,
    /// Who does it.
    pub identity: Arc<str>,
}

/// A pause or its end.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Suspend {
    /// For people.
    pub reason: Arc<str>,
    /// Who does it.
    pub identity: Arc<str>,
    /// Equal for repetitions of one request; empty when there is none.
    pub request_id: Arc<str>,
}

/// What became of an attempt whose outcome is unknown.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolution {
    /// It may be done again.
    Retry,
    /// It was done, with this output.
    Complete(Payloads),
    /// It was not done, or in vain.
    Fail(Arc<Failure>),
}

/// An answered workflow task.
#[derive(Debug, Clone, PartialEq)]
pub struct CompleteTask {
    /// Which.
    pub scheduled: EventId,
    /// Which attempt.
    pub attempt: u32,
    /// Who.
    pub identity: Arc<str>,
    /// What was decided.
    pub decisions: Vec<Decision>,
    /// Where the worker wants the next task; `None` clears it.
    pub sticky: Option<Sticky>,
    /// The worker is not done: it wants another task at once.
    pub heartbeat: bool,
    /// What the SDK wants to remember.
    pub sdk_metadata: Option<Box<TaskSdkMetadata>>,
}

/// What a decider wants; Temporal's commands.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Have an activity done.
    ScheduleActivity(Box<ScheduleActivity>),
    /// Ask an activity to end.
    RequestCancelActivity {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
    },
    /// Start a timer.
    StartTimer {
        /// Unique among the open timers.
        timer_id: Arc<str>,
        /// How long.
        duration: Duration,
    },
    /// No longer wait for a timer.
    CancelTimer {
        /// Which.
        timer_id: Arc<str>,
    },
    /// Remember something.
    RecordMarker {
        /// What kind.
        name: Arc<str>,
        /// By name.
        details: BTreeMap<String, Payloads>,
        /// A failure to remember.
        failure: Option<Arc<Failure>>,
    },
    /// Start a child.
    StartChild(Box<StartChild>),
    /// End a child at once. Temporal has no event for it: a flow's decider only.
    TerminateChild {
        /// Its `ChildInitiated`.
        initiated: EventId,
    },
    /// Let a child start nothing new, or let it go on. Temporal has no event for it: a flow's
    /// decider only.
    SuspendChild {
        /// Its `ChildInitiated`.
        initiated: EventId,
        /// Whether it is paused, not resumed.
        pause: bool,
    },
    /// Pause this run: a flow's decider only.
    Pause {
        /// For people.
        reason: Arc<str>,
    },
    /// Signal another run.
    SignalExternal(Box<SignalExternal>),
    /// Ask another run to end.
    RequestCancelExternal {
        /// Which.
        target: Target,
        /// Whether only a child of this run may take it.
        child_only: bool,
        /// For people.
        reason: Arc<str>,
    },
    /// End with a result.
    CompleteRun {
        /// What it gives.
        result: Payloads,
    },
    /// End with a failure; retried when the run has a policy for it.
    FailRun {
        /// Why.
        failure: Arc<Failure>,
    },
    /// End because it was asked to.
    CancelRun {
        /// What it says about it.
        details: Payloads,
    },
    /// End, and have another run take over.
    ContinueAsNew(Box<ContinueAsNew>),
    /// Set search attributes; an empty payload removes one.
    UpsertSearchAttributes {
        /// By name.
        attributes: SearchAttributes,
    },
    /// Set memo fields; an empty payload removes one.
    ModifyProperties {
        /// By name.
        memo: Memo,
    },
}

/// An activity to be done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ScheduleActivity {
    /// Unique among the open activities.
    pub activity_id: Arc<str>,
    /// What is to be called; a node's name.
    pub activity_type: Arc<str>,
    /// Whose workers do it; empty takes the run's.
    pub task_queue: Arc<str>,
    /// Arguments.
    pub input: Payloads,
    /// Passed along.
    pub header: Header,
    /// Limit over all attempts.
    pub schedule_to_close: Option<Duration>,
    /// Longest wait for a worker.
    pub schedule_to_start: Option<Duration>,
    /// Limit of one attempt. Code must give it or `schedule_to_close`.
    pub start_to_close: Option<Duration>,
    /// Longest silence of an attempt.
    pub heartbeat: Option<Duration>,
    /// When a failed attempt is tried again; `None` is [`Retry::default`], without a bound.
    pub retry: Option<Retry>,
    /// What a second execution could do to the world.
    pub effects: Option<EffectClass>,
    /// Order among tasks of one queue.
    pub priority: Option<Priority>,
    /// Who begins it in the record that schedules it; `None` offers it to the workers of its queue.
    pub claim: Option<Worker>,
}

/// A child to be started.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StartChild {
    /// Empty takes the run's own.
    pub namespace: Arc<str>,
    /// Its workflow id.
    pub workflow_id: Arc<str>,
    /// What it is.
    pub workflow_type: Arc<str>,
    /// Where its tasks are offered; empty takes the run's.
    pub task_queue: Arc<str>,
    /// Arguments.
    pub input: Payloads,
    /// Passed along.
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
    /// What becomes of it when this run closes; unspecified terminates it.
    pub parent_close_policy: ParentClosePolicy,
    /// Whether a closed run of that id stands in its way.
    pub reuse_policy: IdReusePolicy,
    /// When a failed run of it is started again.
    pub retry: Option<Retry>,
    /// Must be empty.
    pub cron_schedule: Arc<str>,
    /// Order among tasks of one queue.
    pub priority: Option<Priority>,
}

/// A signal to another run.
#[derive(Debug, Clone, PartialEq)]
pub struct SignalExternal {
    /// Which.
    pub target: Target,
    /// Name of the signal.
    pub name: Arc<str>,
    /// Its arguments.
    pub input: Payloads,
    /// Passed along.
    pub header: Header,
    /// Whether only a child of this run may take it.
    pub child_only: bool,
}

/// The run that takes over.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ContinueAsNew {
    /// Empty keeps it.
    pub workflow_type: Arc<str>,
    /// Empty keeps it.
    pub task_queue: Arc<str>,
    /// Arguments.
    pub input: Payloads,
    /// `None` keeps it.
    pub header: Option<Header>,
    /// `None` keeps it.
    pub memo: Option<Memo>,
    /// `None` keeps them.
    pub search_attributes: Option<SearchAttributes>,
    /// `None` keeps it.
    pub run_timeout: Option<Duration>,
    /// `None` keeps it.
    pub task_timeout: Option<Duration>,
    /// How long it waits before its first step.
    pub backoff: Option<Duration>,
}
