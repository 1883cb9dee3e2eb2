//! What workers ask of an activity: claim, heartbeat, end.

use std::sync::Arc;
use std::time::Duration;

use crate::decide::{check_blob, check_failure, check_id, make_room, open};
use crate::payload::timeout_failure;
use crate::{
    ATTEMPTS_MAX, Activity, ActivityCanceled, ActivityCompleted, ActivityFailed, ActivityStarted,
    ActivityTimedOut, AttemptEnded, AttemptOutcome, AttemptRef, AttemptStarted, Context, Delta,
    Draft, EventId, Failure, Kind, Payloads, Phase, REPORT_BYTES_MAX, REPORT_LINES_MAX,
    REPORT_METRICS_MAX, Rejection, Report, RetryState, Run, TimeoutType, Timestamp, Worker,
};

/// `ClaimActivity`.
pub(crate) fn claim(
    draft: &mut Draft,
    ctx: &Context,
    scheduled: EventId,
    worker: Worker,
) -> Result<(), Rejection> {
    let activity = activity(draft.run(), scheduled)?;
    check_id(&ctx.limits, "identity", &worker.identity)?;
    match activity.phase {
        Phase::Waiting { .. } => {}
        Phase::Backoff { due } if due <= ctx.now => {}
        Phase::Backoff { due } => return Err(Rejection::TooEarly { scheduled, due }),
        Phase::Started { .. } | Phase::OutcomeUnknown { .. } | Phase::Ended { .. } => {
            return Err(wrong(activity, "take another one"));
        }
    }
    if draft.run().paused.is_some() {
        return Err(Rejection::Paused);
    }
    let attempt = activity.attempt;
    draft.emit_delta(Delta::AttemptStarted(AttemptStarted {
        scheduled,
        attempt,
        worker,
        time: ctx.now,
    }))
}

/// `UnclaimActivity`.
pub(crate) fn unclaim(
    draft: &mut Draft,
    scheduled: EventId,
    attempt: u32,
) -> Result<(), Rejection> {
    running(draft.run(), scheduled, attempt)?;
    draft.emit_delta(Delta::Unclaimed { scheduled, attempt })
}

/// `HeartbeatActivity`.
pub(crate) fn heartbeat(
    draft: &mut Draft,
    ctx: &Context,
    scheduled: EventId,
    attempt: u32,
    details: Payloads,
) -> Result<(), Rejection> {
    running(draft.run(), scheduled, attempt)?;
    check_blob(&ctx.limits, "heartbeat details", &details)?;
    draft.emit_delta(Delta::Heartbeat { scheduled, attempt, time: ctx.now, details })
}

/// `CompleteActivity`.
pub(crate) fn complete(
    draft: &mut Draft,
    ctx: &Context,
    at: AttemptRef,
    result: Payloads,
    report: Option<Box<Report>>,
) -> Result<(), Rejection> {
    let identity = running(draft.run(), at.scheduled, at.attempt)?.identity;
    check_blob(&ctx.limits, "result", &result)?;
    make_room(draft, ctx)?;
    end(draft, ctx, &at, AttemptOutcome::Completed, None, Next::None, report)?;
    let scheduled = at.scheduled;
    let started = emit_started(draft, scheduled)?;
    let event = ActivityCompleted { scheduled, started, result, identity };
    draft.emit_event(Kind::ActivityCompleted(event)).map(drop)
}

/// `FailActivity`.
pub(crate) fn fail(
    draft: &mut Draft,
    ctx: &Context,
    at: AttemptRef,
    failure: Arc<Failure>,
    asked: Option<Duration>,
    report: Option<Box<Report>>,
) -> Result<(), Rejection> {
    let identity = running(draft.run(), at.scheduled, at.attempt)?.identity;
    check_failure(&ctx.limits, &failure)?;
    make_room(draft, ctx)?;
    let verdict = verdict(draft.run(), ctx.now, at.scheduled, &failure, asked);
    match verdict {
        Ok(due) => {
            let next = Next::At(due);
            end(draft, ctx, &at, AttemptOutcome::Failed, Some(failure), next, report)?;
            claim_local(draft, ctx, at.scheduled)
        }
        Err(retry_state) => {
            let scheduled = at.scheduled;
            let outcome = AttemptOutcome::Failed;
            end(draft, ctx, &at, outcome, Some(failure.clone()), Next::None, report)?;
            let started = emit_started(draft, scheduled)?;
            let event = ActivityFailed { scheduled, started, failure, retry_state, identity };
            draft.emit_event(Kind::ActivityFailed(event)).map(drop)
        }
    }
}

/// `TimeOutActivity`: the host of a local attempt measured it.
pub(crate) fn time_out(
    draft: &mut Draft,
    ctx: &Context,
    at: AttemptRef,
    report: Option<Box<Report>>,
) -> Result<(), Rejection> {
    running(draft.run(), at.scheduled, at.attempt)?;
    make_room(draft, ctx)?;
    time_out_attempt(draft, ctx, at, TimeoutType::StartToClose, report)
}

/// A running attempt has exceeded a limit: tried again if the limit and the policy allow it.
pub(crate) fn time_out_attempt(
    draft: &mut Draft,
    ctx: &Context,
    at: AttemptRef,
    timeout: TimeoutType,
    report: Option<Box<Report>>,
) -> Result<(), Rejection> {
    let scheduled = at.scheduled;
    let activity = activity(draft.run(), scheduled)?;
    let cause = activity.last_failure.as_deref();
    let failure = Arc::new(timeout_failure(timeout, &activity.heartbeat_details, cause));
    let verdict = if timeout == TimeoutType::ScheduleToClose {
        Err(RetryState::Timeout)
    } else {
        verdict(draft.run(), ctx.now, scheduled, &failure, None)
    };
    let outcome = AttemptOutcome::TimedOut;
    match verdict {
        Ok(due) => {
            // A chain of causes that grows with every attempt would grow without bound.
            let failure = Arc::new(Failure { cause: None, ..Failure::clone(&failure) });
            end(draft, ctx, &at, outcome, Some(failure), Next::At(due), report)?;
            claim_local(draft, ctx, scheduled)
        }
        Err(retry_state) => {
            end(draft, ctx, &at, outcome, Some(failure.clone()), Next::None, report)?;
            let started = emit_started(draft, scheduled)?;
            let event = ActivityTimedOut { scheduled, started, failure, retry_state };
            draft.emit_event(Kind::ActivityTimedOut(event)).map(drop)
        }
    }
}

/// `CancelActivity`.
pub(crate) fn cancel(
    draft: &mut Draft,
    ctx: &Context,
    at: AttemptRef,
    details: Payloads,
    report: Option<Box<Report>>,
) -> Result<(), Rejection> {
    let running = running(draft.run(), at.scheduled, at.attempt)?;
    let Some(requested) = running.cancel_requested else {
        return Err(Rejection::WrongState {
            what: format!("activity {}", at.scheduled).into(),
            state: "was not asked to end",
            advice: "complete or fail it",
        });
    };
    check_blob(&ctx.limits, "details", &details)?;
    make_room(draft, ctx)?;
    end(draft, ctx, &at, AttemptOutcome::Canceled, None, Next::None, report)?;
    let (scheduled, identity) = (at.scheduled, running.identity);
    let started = emit_started(draft, scheduled)?;
    let event = ActivityCanceled { scheduled, started, requested, details, identity };
    draft.emit_event(Kind::ActivityCanceled(event)).map(drop)
}

/// Whether and when there is a next attempt after a failed one.
fn verdict(
    run: &Run,
    now: Timestamp,
    scheduled: EventId,
    failure: &Failure,
    asked: Option<Duration>,
) -> Result<Timestamp, RetryState> {
    let Some(activity) = run.activities.get(&scheduled) else {
        return Err(RetryState::InternalServerError);
    };
    if activity.cancel_requested.is_some() {
        return Err(RetryState::CancelRequested);
    }
    if activity.attempt >= ATTEMPTS_MAX {
        return Err(RetryState::MaximumAttemptsReached);
    }
    let wait = activity.what.retry.wait(activity.counted(), failure, asked)?;
    let due = now.after(wait);
    match activity.expires() {
        Some(expires) if due >= expires => Err(RetryState::Timeout),
        Some(_) | None => Ok(due),
    }
}

/// What comes after an attempt.
pub(crate) enum Next {
    /// Nothing.
    None,
    /// Another attempt.
    At(Timestamp),
    /// Another attempt, and this one did not count.
    Uncounted(Timestamp),
    /// A person looks; this one did not count.
    Person,
}

/// Records the end of the running attempt.
pub(crate) fn end(
    draft: &mut Draft,
    ctx: &Context,
    at: &AttemptRef,
    outcome: AttemptOutcome,
    failure: Option<Arc<Failure>>,
    next: Next,
    report: Option<Box<Report>>,
) -> Result<(), Rejection> {
    let claimed = match activity(draft.run(), at.scheduled)?.phase {
        Phase::Started { at, .. } => at,
        Phase::Waiting { .. }
        | Phase::Backoff { .. }
        | Phase::OutcomeUnknown { .. }
        | Phase::Ended { .. } => ctx.now,
    };
    // Zero is "none" in the log.
    let some = |due: Timestamp| Some(if due.0 == 0 { Timestamp(1) } else { due });
    let (next_attempt, uncounted) = match next {
        Next::None => (None, false),
        Next::At(due) => (some(due), false),
        Next::Uncounted(due) => (some(due), true),
        Next::Person => (None, true),
    };
    draft.emit_delta(Delta::AttemptEnded(Box::new(AttemptEnded {
        scheduled: at.scheduled,
        attempt: at.attempt,
        outcome,
        started: at.started_at.unwrap_or(claimed),
        ended: ctx.now,
        failure,
        next_attempt,
        report: report.map(bounded),
        uncounted,
    })))
}

/// The event about the final attempt that precedes the closing event.
pub(crate) fn emit_started(draft: &mut Draft, scheduled: EventId) -> Result<EventId, Rejection> {
    let activity = activity(draft.run(), scheduled)?;
    let (attempt, last_failure) = match activity.phase {
        // A person ends the attempt that was lost: the one after it never began.
        Phase::OutcomeUnknown { .. } => (activity.attempt.saturating_sub(1), None),
        _ => (activity.attempt, activity.last_failure.clone()),
    };
    let event = ActivityStarted {
        scheduled,
        identity: activity.identity(),
        request_id: "".into(),
        attempt,
        last_failure,
    };
    draft.emit_event(Kind::ActivityStarted(event))
}

/// Activities of this process's queue are claimed in the record that makes them wait.
pub(crate) fn claim_local(
    draft: &mut Draft,
    ctx: &Context,
    scheduled: EventId,
) -> Result<(), Rejection> {
    claim_at_once(draft, ctx, scheduled, None)
}

/// The same for the worker that asked for it, whose queue it is not told.
pub(crate) fn claim_at_once(
    draft: &mut Draft,
    ctx: &Context,
    scheduled: EventId,
    worker: Option<Worker>,
) -> Result<(), Rejection> {
    let run = draft.run();
    let Some(activity) = run.activities.get(&scheduled) else { return Ok(()) };
    let waits = matches!(activity.phase, Phase::Waiting { .. });
    let begins = match activity.phase {
        Phase::Backoff { due } => due <= ctx.now,
        _ => waits,
    };
    if !begins || run.paused.is_some() {
        return Ok(());
    }
    let is_local = activity.what.task_queue == ctx.local.queue;
    let local = is_local.then(|| ctx.local.worker.clone());
    let Some(worker) = local.or(worker) else { return Ok(()) };
    let attempt = activity.attempt;
    draft.emit_delta(Delta::AttemptStarted(AttemptStarted {
        scheduled,
        attempt,
        worker,
        time: ctx.now,
    }))
}

/// Claims everything of this process's queue that waits.
pub(crate) fn claim_all_local(draft: &mut Draft, ctx: &Context) -> Result<(), Rejection> {
    let waiting: Vec<EventId> = draft
        .run()
        .activities
        .values()
        .filter(|activity| matches!(activity.phase, Phase::Waiting { .. }))
        .map(|activity| activity.scheduled)
        .collect();
    for scheduled in waiting {
        claim_local(draft, ctx, scheduled)?;
    }
    Ok(())
}

/// The open activity of that number.
pub(crate) fn activity(run: &Run, scheduled: EventId) -> Result<&Activity, Rejection> {
    open(run)?
        .activities
        .get(&scheduled)
        .ok_or_else(|| Rejection::not_found(format!("activity {scheduled}")))
}

/// A running attempt.
pub(crate) struct Running {
    pub(crate) identity: Arc<str>,
    pub(crate) cancel_requested: Option<EventId>,
}

fn running(run: &Run, scheduled: EventId, attempt: u32) -> Result<Running, Rejection> {
    let activity = activity(run, scheduled)?;
    if activity.attempt != attempt {
        return Err(Rejection::Stale {
            what: format!("activity {scheduled}").into(),
            given: attempt,
            current: activity.attempt,
        });
    }
    match &activity.phase {
        Phase::Started { worker, .. } => Ok(Running {
            identity: worker.identity.clone(),
            cancel_requested: activity.cancel_requested,
        }),
        Phase::Waiting { .. }
        | Phase::Backoff { .. }
        | Phase::OutcomeUnknown { .. }
        | Phase::Ended { .. } => Err(wrong(activity, "drop the result")),
    }
}

fn wrong(activity: &Activity, advice: &'static str) -> Rejection {
    Rejection::WrongState {
        what: format!("activity {}", activity.scheduled).into(),
        state: activity.phase.name(),
        advice,
    }
}

/// Keeps the tail of the log lines and the first metrics.
fn bounded(mut report: Box<Report>) -> Box<Report> {
    let mut bytes = 0;
    let fits = report
        .logs
        .iter()
        .rev()
        .take(REPORT_LINES_MAX)
        .take_while(|line| {
            bytes += line.text.len() + line.level.len();
            bytes <= REPORT_BYTES_MAX
        })
        .count();
    let dropped = report.logs.len() - fits;
    report.logs.drain(..dropped);
    report.logs_dropped =
        report.logs_dropped.saturating_add(u64::try_from(dropped).unwrap_or(u64::MAX));
    while report.metrics.len() > REPORT_METRICS_MAX {
        report.metrics.pop_last();
    }
    report
}
