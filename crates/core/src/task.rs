//! The workflow task of a run written as code: the question to its decider.
//!
//! ```text
//! Idle ─▶ Scheduled ─▶ Started ─▶ Idle          completed
//!                          └────▶ Idle          failed: the next attempt is transient
//! ```
//!
//! Attempts after the first are transient: they enter the history when one completes. A flow has
//! no tasks; of this machine it knows `Idle` and `Backoff`.

use std::sync::Arc;
use std::time::Duration;

use crate::{
    Context, Deadline, Delta, Draft, EventId, Failure, IllegalItem, Kind, Rejection, Run,
    TASK_TIMEOUT, TASK_TIMEOUT_MAX, TaskFailed, TaskFailedCause, TaskScheduled, TaskStarted,
    TaskTimedOut, TimeoutType, Timestamp, TransientState, TransientTask,
};

/// The worker that has the run in its cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sticky {
    /// Its own queue.
    pub task_queue: Arc<str>,
    /// How long a task waits there.
    pub schedule_to_start: Duration,
}

/// Where the workflow task stands.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkflowTask {
    /// There is nothing to ask.
    Idle,
    /// The run begins later.
    Backoff {
        /// When.
        until: Timestamp,
    },
    /// A child begins when its parent has recorded it.
    AwaitsParent,
    /// For a worker.
    Scheduled(ScheduledTask),
    /// A worker has it.
    Started(StartedTask),
}

/// A task that waits for a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduledTask {
    /// Its `TaskScheduled`, or the number that event will get if the task is transient.
    pub scheduled: EventId,
    /// When it was scheduled.
    pub at: Timestamp,
    /// From 1.
    pub attempt: u32,
    /// Start to close.
    pub timeout: Duration,
    /// Where it is offered.
    pub task_queue: Arc<str>,
    /// How long it waits there, if that is one worker's own queue.
    pub sticky: Option<Duration>,
    /// Whether it is not in the history.
    pub transient: bool,
    /// When the worker's heartbeats began.
    pub since: Timestamp,
}

/// A task that a worker has.
#[derive(Debug, Clone, PartialEq)]
pub struct StartedTask {
    /// As it was scheduled.
    pub task: ScheduledTask,
    /// Its `TaskStarted`, or the number that event will get if the task is transient.
    pub started: EventId,
    /// When it was taken.
    pub at: Timestamp,
    /// Who took it.
    pub identity: Arc<str>,
    /// Of the poll that took it.
    pub request_id: Arc<str>,
}

impl WorkflowTask {
    fn name(&self) -> &'static str {
        match self {
            Self::Idle => "no workflow task",
            Self::Backoff { .. } => "a delayed beginning",
            Self::AwaitsParent => "a child that waits for its parent",
            Self::Scheduled(task) if task.transient => "a transient scheduled workflow task",
            Self::Scheduled(_) => "a scheduled workflow task",
            Self::Started(started) if started.task.transient => "a transient started workflow task",
            Self::Started(_) => "a started workflow task",
        }
    }

    pub(crate) fn deadline(&self) -> Option<(Timestamp, Deadline)> {
        match self {
            Self::Idle | Self::AwaitsParent => None,
            Self::Backoff { until } => Some((*until, Deadline::Begin)),
            Self::Scheduled(task) => {
                task.sticky.map(|limit| (task.at.after(limit), Deadline::Task))
            }
            Self::Started(started) => {
                Some((started.at.after(started.task.timeout), Deadline::Task))
            }
        }
    }
}

/// The table of tasks in the history.
pub(crate) fn apply(
    run: &mut Run,
    kind: &Kind,
    id: EventId,
    time: Timestamp,
) -> Result<(), IllegalItem> {
    use WorkflowTask::{AwaitsParent, Backoff, Idle, Scheduled, Started};
    let from = std::mem::replace(&mut run.task, Idle);
    let deadline = from.deadline();
    let to = match (from, kind) {
        (Idle | Backoff { .. } | AwaitsParent, Kind::TaskScheduled(event)) => {
            // Directly after a completed one: the worker only wanted more time.
            let since = match run.task_heartbeat {
                Some((completed, since)) if completed.next() == id => since,
                Some(_) | None => time,
            };
            run.task_attempt = event.attempt;
            let sticky = run.sticky.as_ref().filter(|_| event.sticky);
            Scheduled(ScheduledTask {
                scheduled: id,
                at: time,
                attempt: event.attempt,
                timeout: event.timeout,
                task_queue: event.task_queue.clone(),
                sticky: sticky.map(|sticky| sticky.schedule_to_start),
                transient: false,
                since,
            })
        }
        // Events came after the transient task was scheduled: it becomes an ordinary one.
        (Scheduled(task), Kind::TaskScheduled(event)) if task.transient => {
            run.task_attempt = event.attempt;
            let attempt = event.attempt;
            Scheduled(ScheduledTask { scheduled: id, transient: false, attempt, ..task })
        }
        (Started(started), Kind::TaskScheduled(_)) if started.task.scheduled == id => {
            Started(started)
        }
        (Scheduled(task), Kind::TaskStarted(event)) if !task.transient => Started(StartedTask {
            task,
            started: id,
            at: time,
            identity: event.identity.clone(),
            request_id: event.request_id.clone(),
        }),
        (Started(mut started), Kind::TaskStarted(_))
            if started.task.transient && started.started == id =>
        {
            started.task.transient = false;
            Started(started)
        }
        (Started(started), Kind::TaskCompleted(_)) if !started.task.transient => {
            run.task_attempt = 1;
            run.task_completed = id;
            run.task_heartbeat = Some((id, started.task.since));
            run.sticky = None;
            Idle
        }
        (Started(started), Kind::TaskFailed(_)) if !started.task.transient => failed(run, &started),
        (Started(started), Kind::TaskTimedOut(event))
            if !started.task.transient && event.timeout != TimeoutType::ScheduleToStart =>
        {
            failed(run, &started)
        }
        // Nobody saw it: the next one is not another attempt.
        (Scheduled(task), Kind::TaskTimedOut(event))
            if !task.transient && event.timeout == TimeoutType::ScheduleToStart =>
        {
            run.sticky = None;
            Idle
        }
        (from, found) => return Err(IllegalItem::new(run, from.name(), found.name())),
    };
    set(run, deadline, to);
    Ok(())
}

/// The table of tasks outside the history.
pub(crate) fn apply_transient(run: &mut Run, delta: &TransientTask) -> Result<(), IllegalItem> {
    use WorkflowTask::{Idle, Scheduled, Started};
    let from = std::mem::replace(&mut run.task, Idle);
    let deadline = from.deadline();
    let to = match (from, delta.state) {
        (Idle, TransientState::Scheduled) => {
            let Some(begun) = &run.started else {
                return Err(IllegalItem::new(run, "a run that was not started", "TransientTask"));
            };
            Scheduled(ScheduledTask {
                scheduled: run.next_event_id,
                at: delta.time,
                attempt: delta.attempt,
                timeout: timeout(begun.task_timeout, delta.attempt),
                task_queue: begun.task_queue.clone(),
                sticky: None,
                transient: true,
                since: delta.time,
            })
        }
        (Scheduled(task), TransientState::Started)
            if task.transient && task.scheduled == run.next_event_id =>
        {
            Started(StartedTask {
                started: task.scheduled.next(),
                task,
                at: delta.time,
                identity: delta.identity.clone(),
                request_id: delta.request_id.clone(),
            })
        }
        (Started(started), TransientState::Failed) if started.task.transient => {
            failed(run, &started)
        }
        (
            from,
            TransientState::Scheduled
            | TransientState::Started
            | TransientState::Failed
            | TransientState::Unspecified,
        ) => return Err(IllegalItem::new(run, from.name(), "TransientTask")),
    };
    set(run, deadline, to);
    Ok(())
}

/// The delayed beginning of a flow is over.
pub(crate) fn begin_flow(run: &mut Run) -> Result<(), IllegalItem> {
    let deadline = run.task.deadline();
    match run.task {
        WorkflowTask::Backoff { .. } => {
            set(run, deadline, WorkflowTask::Idle);
            Ok(())
        }
        WorkflowTask::Idle
        | WorkflowTask::AwaitsParent
        | WorkflowTask::Scheduled(_)
        | WorkflowTask::Started(_) => {
            let from = run.task.name();
            Err(IllegalItem::new(run, from, "the end of a delayed beginning"))
        }
    }
}

fn failed(run: &mut Run, started: &StartedTask) -> WorkflowTask {
    run.task_attempt = started.task.attempt.saturating_add(1);
    run.sticky = None;
    WorkflowTask::Idle
}

pub(crate) fn set(run: &mut Run, old: Option<(Timestamp, Deadline)>, task: WorkflowTask) {
    if let Some(old) = old {
        run.deadlines.remove(&old);
    }
    run.deadlines.extend(task.deadline());
    run.task = task;
}

/// Doubled with every attempt after the second: a task that kills its worker must not be retried
/// at once for ever.
fn timeout(asked: Option<Duration>, attempt: u32) -> Duration {
    let base = asked.unwrap_or(TASK_TIMEOUT);
    let doublings = attempt.saturating_sub(2).min(31);
    base.saturating_mul(1 << doublings).min(TASK_TIMEOUT_MAX.max(base))
}

/// Asks the decider: a task in the history, or a transient one after a failure that nothing came
/// after.
pub(crate) fn schedule(draft: &mut Draft, now: Timestamp) -> Result<(), Rejection> {
    let run = draft.run();
    let Some(begun) = run.started.clone() else { return Err(Rejection::NotStarted) };
    if run.task_attempt > 1 && !draft.has_new_events() {
        return draft.emit_delta(Delta::TransientTask(TransientTask {
            state: TransientState::Scheduled,
            attempt: run.task_attempt,
            time: now,
            identity: "".into(),
            request_id: "".into(),
        }));
    }
    let sticky = run.sticky.clone();
    let scheduled = TaskScheduled {
        sticky: sticky.is_some(),
        task_queue: sticky.map_or_else(|| begun.task_queue.clone(), |sticky| sticky.task_queue),
        timeout: timeout(begun.task_timeout, 1),
        attempt: 1,
    };
    draft.emit_event(Kind::TaskScheduled(scheduled)).map(drop)
}

/// `StartTask`.
pub(crate) fn start(
    draft: &mut Draft,
    ctx: &Context,
    scheduled: EventId,
    identity: Arc<str>,
    request_id: Arc<str>,
) -> Result<(), Rejection> {
    let run = draft.run();
    if !run.is_open() {
        return Err(Rejection::AlreadyClosed);
    }
    let task = match &run.task {
        WorkflowTask::Started(started) if started.request_id == request_id => return Ok(()),
        WorkflowTask::Scheduled(task) if task.scheduled == scheduled => task.clone(),
        WorkflowTask::Started(_)
        | WorkflowTask::Scheduled(_)
        | WorkflowTask::Idle
        | WorkflowTask::Backoff { .. }
        | WorkflowTask::AwaitsParent => {
            return Err(Rejection::not_found(format!("workflow task {scheduled}")));
        }
    };
    if run.paused.is_some() {
        return Err(Rejection::Paused);
    }
    if task.transient && task.scheduled == run.next_event_id {
        return draft.emit_delta(Delta::TransientTask(TransientTask {
            state: TransientState::Started,
            attempt: task.attempt,
            time: ctx.now,
            identity,
            request_id,
        }));
    }
    let scheduled = if task.transient {
        let event = TaskScheduled {
            task_queue: task.task_queue,
            sticky: false,
            timeout: task.timeout,
            attempt: 1,
        };
        draft.emit_event(Kind::TaskScheduled(event))?
    } else {
        scheduled
    };
    let started = started_event(draft.run(), ctx, scheduled, identity, request_id);
    draft.emit_event(Kind::TaskStarted(started)).map(drop)
}

fn started_event(
    run: &Run,
    ctx: &Context,
    scheduled: EventId,
    identity: Arc<str>,
    request_id: Arc<str>,
) -> TaskStarted {
    TaskStarted {
        scheduled,
        identity,
        request_id,
        suggest_continue_as_new: run.history_events() >= ctx.limits.history_events_suggest
            || run.history_bytes >= ctx.limits.history_bytes_suggest,
        history_bytes: run.history_bytes,
    }
}

/// The started task a worker speaks for.
pub(crate) fn running(
    run: &Run,
    scheduled: EventId,
    attempt: u32,
) -> Result<&StartedTask, Rejection> {
    if !run.is_open() {
        return Err(Rejection::AlreadyClosed);
    }
    match &run.task {
        WorkflowTask::Started(started) if started.task.scheduled == scheduled => {
            if started.task.attempt == attempt {
                Ok(started)
            } else {
                Err(Rejection::Stale {
                    what: format!("workflow task {scheduled}").into(),
                    given: attempt,
                    current: started.task.attempt,
                })
            }
        }
        WorkflowTask::Started(_)
        | WorkflowTask::Scheduled(_)
        | WorkflowTask::Idle
        | WorkflowTask::Backoff { .. }
        | WorkflowTask::AwaitsParent => {
            Err(Rejection::not_found(format!("started workflow task {scheduled}")))
        }
    }
}

/// Writes a transient task into the history, so that it can complete there.
pub(crate) fn materialise(draft: &mut Draft, ctx: &Context) -> Result<(), Rejection> {
    let WorkflowTask::Started(started) = &draft.run().task else { return Ok(()) };
    if !started.task.transient {
        return Ok(());
    }
    let started = started.clone();
    draft.emit_event(Kind::TaskScheduled(TaskScheduled {
        task_queue: started.task.task_queue,
        sticky: false,
        timeout: started.task.timeout,
        attempt: started.task.attempt,
    }))?;
    let (scheduled, identity) = (started.task.scheduled, started.identity);
    let event = started_event(draft.run(), ctx, scheduled, identity, started.request_id);
    draft.emit_event(Kind::TaskStarted(event)).map(drop)
}

/// Ends the started task without an answer, writes what waited for it, and asks again.
pub(crate) fn fail(
    draft: &mut Draft,
    ctx: &Context,
    cause: TaskFailedCause,
    failure: Option<Arc<Failure>>,
    identity: Arc<str>,
) -> Result<(), Rejection> {
    let WorkflowTask::Started(started) = &draft.run().task else { return Ok(()) };
    let (task, started) = (started.task.clone(), started.started);
    draft.wake();
    draft.forget_new_events();
    if task.transient {
        fail_transient(draft, ctx, task.attempt)?;
    } else {
        let scheduled = task.scheduled;
        let event = TaskFailed { scheduled, started, cause, failure, identity };
        draft.emit_event(Kind::TaskFailed(event))?;
        draft.forget_new_events();
    }
    draft.flush()
}

/// The task was not taken or not answered in time.
pub(crate) fn time_out(draft: &mut Draft, ctx: &Context) -> Result<(), Rejection> {
    match &draft.run().task {
        WorkflowTask::Scheduled(task) => {
            let event = TaskTimedOut {
                scheduled: task.scheduled,
                started: EventId(0),
                timeout: TimeoutType::ScheduleToStart,
            };
            draft.wake();
            draft.emit_event(Kind::TaskTimedOut(event)).map(drop)
        }
        WorkflowTask::Started(started) => {
            let (task, started) = (started.task.clone(), started.started);
            draft.wake();
            draft.forget_new_events();
            if task.transient {
                fail_transient(draft, ctx, task.attempt)?;
            } else {
                let timeout = TimeoutType::StartToClose;
                let event = TaskTimedOut { scheduled: task.scheduled, started, timeout };
                draft.emit_event(Kind::TaskTimedOut(event))?;
                draft.forget_new_events();
            }
            draft.flush()
        }
        WorkflowTask::Idle | WorkflowTask::Backoff { .. } | WorkflowTask::AwaitsParent => Ok(()),
    }
}

/// The run closes over a started task: its end comes first, and what waited for it.
pub(crate) fn abandon(draft: &mut Draft, ctx: &Context) -> Result<(), Rejection> {
    fail(draft, ctx, TaskFailedCause::ForceCloseCommand, None, "".into())
}

fn fail_transient(draft: &mut Draft, ctx: &Context, attempt: u32) -> Result<(), Rejection> {
    draft.emit_delta(Delta::TransientTask(TransientTask {
        state: TransientState::Failed,
        attempt,
        time: ctx.now,
        identity: "".into(),
        request_id: "".into(),
    }))
}
