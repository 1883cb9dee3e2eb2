//! Time has passed: everything that is due happens, in the order in which it was due.

use crate::activity_commands::{activity, claim_local, time_out_attempt};
use crate::apply::MARKER_BEGIN;
use crate::decide::make_room;
use crate::payload::timeout_failure;
use crate::recover::silent;
use crate::{
    ActivityTimedOut, AttemptRef, Context, Deadline, Decider, Delta, Draft, EventId, Header, Kind,
    Marker, Phase, Rejection, RetryState, TimeoutType, TimerFired, WAKE_ITEMS_MAX, close, task,
};

/// `Wake`.
pub(crate) fn wake(draft: &mut Draft, ctx: &Context) -> Result<(), Rejection> {
    for _ in 0..WAKE_ITEMS_MAX {
        let Some((due, deadline)) = draft.run().deadlines.first().cloned() else { break };
        if due > ctx.now {
            break;
        }
        happen(draft, ctx, deadline)?;
    }
    Ok(())
}

fn happen(draft: &mut Draft, ctx: &Context, deadline: Deadline) -> Result<(), Rejection> {
    match deadline {
        Deadline::Run => return close::time_out(draft, ctx, false),
        Deadline::Execution => return close::time_out(draft, ctx, true),
        Deadline::Task => return task::time_out(draft, ctx),
        Deadline::Begin => return begin(draft, ctx),
        Deadline::Timer(_)
        | Deadline::StartToClose(_)
        | Deadline::Heartbeat(_)
        | Deadline::ScheduleToStart(_)
        | Deadline::ScheduleToClose(_)
        | Deadline::Retry(_) => make_room(draft, ctx)?,
    }
    match deadline {
        Deadline::Timer(timer_id) => {
            let started = draft.run().timers.get(&timer_id).map(|timer| timer.started);
            let started = started.unwrap_or_default();
            draft.emit_event(Kind::TimerFired(TimerFired { timer_id, started })).map(drop)
        }
        Deadline::StartToClose(id) => time_out(draft, ctx, id, TimeoutType::StartToClose),
        Deadline::Heartbeat(id) if activity(draft.run(), id)?.is_unsafe() => silent(draft, ctx, id),
        Deadline::Heartbeat(id) => time_out(draft, ctx, id, TimeoutType::Heartbeat),
        Deadline::ScheduleToStart(id) => time_out(draft, ctx, id, TimeoutType::ScheduleToStart),
        Deadline::ScheduleToClose(id) => time_out(draft, ctx, id, TimeoutType::ScheduleToClose),
        Deadline::Retry(scheduled) => {
            let activity = activity(draft.run(), scheduled)?;
            if activity.what.task_queue == ctx.local.queue {
                return claim_local(draft, ctx, scheduled);
            }
            let attempt = activity.attempt;
            draft.emit_delta(Delta::AttemptDue { scheduled, attempt })
        }
        Deadline::Run | Deadline::Execution | Deadline::Task | Deadline::Begin => Ok(()),
    }
}

fn time_out(
    draft: &mut Draft,
    ctx: &Context,
    scheduled: EventId,
    timeout: TimeoutType,
) -> Result<(), Rejection> {
    let activity = activity(draft.run(), scheduled)?;
    if let Phase::Started { .. } = activity.phase {
        let at = AttemptRef { scheduled, attempt: activity.attempt, started_at: None };
        return time_out_attempt(draft, ctx, at, timeout, None);
    }
    let cause = activity.last_failure.as_deref();
    let failure = timeout_failure(timeout, &activity.heartbeat_details, cause).into();
    // No attempt was running: neither of these limits can be met by another one.
    let retry_state = match timeout {
        TimeoutType::ScheduleToStart => RetryState::NonRetryableFailure,
        _ => RetryState::Timeout,
    };
    let started = EventId(0);
    let event = ActivityTimedOut { scheduled, started, failure, retry_state };
    draft.emit_event(Kind::ActivityTimedOut(event)).map(drop)
}

/// The delayed beginning is over.
fn begin(draft: &mut Draft, ctx: &Context) -> Result<(), Rejection> {
    match draft.run().decider() {
        // A paused run begins too: its task is only not handed out.
        Some(Decider::Code) => task::schedule(draft, ctx.now),
        Some(Decider::Flow | Decider::System) => {
            let marker = Marker {
                name: MARKER_BEGIN.into(),
                details: Default::default(),
                failure: None,
                header: Header::default(),
                task_completed: EventId(0),
            };
            draft.emit_event(Kind::Marker(marker)).map(drop)
        }
        None => Err(Rejection::NotStarted),
    }
}
