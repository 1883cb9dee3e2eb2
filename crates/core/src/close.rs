//! The end of a run: what it leaves to its parent, its children and the run that follows.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::some_length;
use crate::payload::timeout_failure;
use crate::{
    Completed, Context, ContinueAsNew, ContinueAsNewInitiator, Continued, ContinuedAsNew, Draft,
    EventId, Failed, Failure, IllegalItem, Kind, Message, Outgoing, Payloads, Rejection,
    RetryState, Run, RunId, RunKey, Start, Started, Status, Target, TimedOut, TimeoutType,
    Timestamp, child,
};

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Close {
    /// When.
    pub time: Timestamp,
    /// The closing event.
    pub event: EventId,
    /// How.
    pub ending: Ending,
    /// The run that follows in the chain.
    pub next_run: Option<RunId>,
}

/// How a run ended, with what it leaves.
#[derive(Debug, Clone, PartialEq)]
pub enum Ending {
    /// With a result.
    Completed(Payloads),
    /// With a failure.
    Failed {
        /// Why.
        failure: Arc<Failure>,
        /// Why it is not tried again, or that it is.
        retry_state: RetryState,
    },
    /// It took too long.
    TimedOut {
        /// Why it is not tried again, or that it is.
        retry_state: RetryState,
    },
    /// It was asked to end and did.
    Canceled(Payloads),
    /// It was ended from outside.
    Terminated {
        /// For people.
        reason: Arc<str>,
    },
    /// Another run took over.
    ContinuedAsNew,
}

impl Ending {
    /// Where the run stands then.
    pub fn status(&self) -> Status {
        match self {
            Self::Completed(_) => Status::Completed,
            Self::Failed { .. } => Status::Failed,
            Self::TimedOut { .. } => Status::TimedOut,
            Self::Canceled(_) => Status::Canceled,
            Self::Terminated { .. } => Status::Terminated,
            Self::ContinuedAsNew => Status::ContinuedAsNew,
        }
    }
}

/// A closing event.
pub(crate) fn apply(
    run: &mut Run,
    kind: &Kind,
    id: EventId,
    time: Timestamp,
) -> Result<(), IllegalItem> {
    let (ending, next_run) = match kind {
        Kind::Completed(event) => (Ending::Completed(event.result.clone()), event.next_run),
        Kind::Failed(event) => (
            Ending::Failed { failure: event.failure.clone(), retry_state: event.retry_state },
            event.next_run,
        ),
        Kind::TimedOut(event) => {
            (Ending::TimedOut { retry_state: event.retry_state }, event.next_run)
        }
        Kind::Canceled(event) => (Ending::Canceled(event.details.clone()), None),
        Kind::Terminated(event) => (Ending::Terminated { reason: event.reason.clone() }, None),
        Kind::ContinuedAsNew(event) => (Ending::ContinuedAsNew, Some(event.next_run)),
        other => return Err(IllegalItem::new(run, "an end", other.name())),
    };
    let Some(started) = run.started.clone() else {
        return Err(IllegalItem::new(run, "a run that was not started", kind.name()));
    };

    if let Some(next_run) = next_run {
        let start = next_start(run, &started, kind);
        let target = Target::run(&RunKey { run_id: next_run, ..run.key.clone() });
        run.send(Outgoing { target, message: Message::StartNext { start: Arc::new(start) } });
    } else if let Some(parent) = &started.parent {
        let target = Target::chain(
            parent.key.namespace.clone(),
            parent.key.workflow_id.clone(),
            parent.first_run,
        );
        let message = Message::ChildClosed {
            initiated: parent.initiated,
            first_run: started.first_run_id,
            run: run.key.clone(),
            ending: ending.clone(),
        };
        run.send(Outgoing { target, message });
    }
    child::parent_closed(run);

    run.status = ending.status();
    run.closed = Some(Close { time, event: id, ending, next_run });
    // Nothing happens by itself any more. Activities stay: their workers are told to stop.
    run.deadlines.clear();
    run.timers.clear();
    run.buffered = crate::run::Buffer::default();
    run.task = crate::WorkflowTask::Idle;
    run.paused = None;
    Ok(())
}

/// How the run that follows begins.
fn next_start(run: &Run, started: &Started, kind: &Kind) -> Start {
    let mut start = Start {
        workflow_type: started.workflow_type.clone(),
        task_queue: started.task_queue.clone(),
        input: started.input.clone(),
        header: started.header.clone(),
        memo: run.memo.clone(),
        search_attributes: run.search_attributes.clone(),
        execution_timeout: started.execution_timeout,
        execution_expires: started.execution_expires,
        run_timeout: started.run_timeout,
        task_timeout: started.task_timeout,
        retry: started.retry.clone(),
        attempt: 1,
        cron_schedule: started.cron_schedule.clone(),
        first_task_backoff: None,
        parent: started.parent.clone(),
        root: started.root.clone(),
        first_run: Some(started.first_run_id),
        continued: None,
        request_id: format!("{}:next", run.key.run_id).into(),
        identity: started.identity.clone(),
        priority: started.priority.clone(),
    };
    let last_result = started.continued.as_ref().map(|before| before.last_result.clone());
    let mut continued = Continued {
        run_id: run.key.run_id,
        initiator: ContinueAsNewInitiator::Retry,
        failure: None,
        last_result: last_result.unwrap_or_default(),
    };
    match kind {
        Kind::ContinuedAsNew(event) => {
            start.workflow_type = event.workflow_type.clone();
            start.task_queue = event.task_queue.clone();
            start.input = event.input.clone();
            start.header = event.header.clone();
            start.memo = event.memo.clone();
            start.search_attributes = event.search_attributes.clone();
            start.run_timeout = event.run_timeout;
            start.task_timeout = event.task_timeout;
            start.first_task_backoff = event.backoff;
            continued.initiator = event.initiator;
            continued.failure = event.failure.clone();
            continued.last_result = event.last_result.clone();
        }
        Kind::Failed(event) => {
            start.attempt = started.attempt.saturating_add(1);
            start.first_task_backoff = backoff(started, &event.failure).ok();
            continued.failure = Some(event.failure.clone());
        }
        Kind::TimedOut(_) => {
            let failure = timed_out();
            start.attempt = started.attempt.saturating_add(1);
            start.first_task_backoff = backoff(started, &failure).ok();
            continued.failure = Some(Arc::new(failure));
        }
        _ => {}
    }
    start.continued = Some(continued);
    start
}

/// `CompleteRun`.
pub(crate) fn complete(draft: &mut Draft, result: Payloads, by: EventId) -> Result<(), Rejection> {
    let completed = Completed { result, task_completed: by, next_run: None };
    draft.emit_event(Kind::Completed(completed)).map(drop)
}

/// `FailRun`: tried again if the run has a policy that allows it.
pub(crate) fn fail(
    draft: &mut Draft,
    ctx: &Context,
    failure: Arc<Failure>,
    by: EventId,
) -> Result<(), Rejection> {
    let (retry_state, next_run) = retry(draft.run(), ctx, &failure);
    let failed = Failed { failure, retry_state, task_completed: by, next_run };
    draft.emit_event(Kind::Failed(failed)).map(drop)
}

/// The run's time is over; `last` when the chain's is too.
pub(crate) fn time_out(draft: &mut Draft, ctx: &Context, last: bool) -> Result<(), Rejection> {
    let (retry_state, next_run) =
        if last { (RetryState::Timeout, None) } else { retry(draft.run(), ctx, &timed_out()) };
    crate::task::abandon(draft, ctx)?;
    draft.emit_event(Kind::TimedOut(TimedOut { retry_state, next_run })).map(drop)
}

/// `ContinueAsNew`.
pub(crate) fn continue_as_new(
    draft: &mut Draft,
    ctx: &Context,
    next: ContinueAsNew,
    by: EventId,
) -> Result<(), Rejection> {
    let run = draft.run();
    let Some(started) = run.started.clone() else { return Err(Rejection::NotStarted) };
    // A chain of runs that do nothing must not spin.
    let lived = ctx.now.since(run.started_at);
    let rest = CONTINUE_AS_NEW_INTERVAL.saturating_sub(lived);
    let backoff = next.backoff.unwrap_or_default().max(rest);
    let last_result = started.continued.as_ref().map(|before| before.last_result.clone());
    let event = ContinuedAsNew {
        next_run: ctx.new_run_id,
        workflow_type: or(next.workflow_type, &started.workflow_type),
        task_queue: or(next.task_queue, &started.task_queue),
        input: next.input,
        header: next.header.unwrap_or_else(|| started.header.clone()),
        memo: next.memo.unwrap_or_else(|| run.memo.clone()),
        search_attributes: next.search_attributes.unwrap_or_else(|| run.search_attributes.clone()),
        run_timeout: some_length(next.run_timeout).or(started.run_timeout),
        task_timeout: some_length(next.task_timeout).or(started.task_timeout),
        backoff: (!backoff.is_zero()).then_some(backoff),
        initiator: ContinueAsNewInitiator::Workflow,
        failure: None,
        last_result: last_result.unwrap_or_default(),
        task_completed: by,
    };
    draft.emit_event(Kind::ContinuedAsNew(Arc::new(event))).map(drop)
}

/// Shortest life of a run that continues as new (Temporal's).
const CONTINUE_AS_NEW_INTERVAL: Duration = Duration::from_secs(1);

/// An empty name keeps the present one.
pub(crate) fn or(given: Arc<str>, present: &Arc<str>) -> Arc<str> {
    if given.is_empty() { present.clone() } else { given }
}

fn retry(run: &Run, ctx: &Context, failure: &Failure) -> (RetryState, Option<RunId>) {
    let Some(started) = &run.started else { return (RetryState::RetryPolicyNotSet, None) };
    let due = backoff(started, failure).map(|wait| ctx.now.after(wait));
    match (due, started.execution_expires) {
        (Err(state), _) => (state, None),
        (Ok(due), Some(expires)) if due >= expires => (RetryState::Timeout, None),
        (Ok(_), _) => (RetryState::InProgress, Some(ctx.new_run_id)),
    }
}

fn backoff(started: &Started, failure: &Failure) -> Result<Duration, RetryState> {
    let policy = started.retry.as_ref().ok_or(RetryState::RetryPolicyNotSet)?;
    policy.wait(started.attempt, failure, None)
}

fn timed_out() -> Failure {
    timeout_failure(TimeoutType::StartToClose, &Payloads::default(), None)
}
