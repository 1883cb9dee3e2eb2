//! After a boot: what the process before this one had in hand, and what only a person can say.

use std::sync::Arc;

use crate::activity_commands::{Next, activity, claim_all_local, claim_local, emit_started, end};
use crate::apply::OUTCOME_UNKNOWN;
use crate::decide::{check_blob, check_failure, check_id, make_room, open};
use crate::{
    ActivityCanceled, ActivityCompleted, ActivityFailed, AttemptOutcome, AttemptRef, Context,
    Delta, Draft, EventId, Failure, Kind, Payloads, Phase, Rejection, Resolution, RetryState, Run,
    Suspension, application_failure,
};

/// `Recover`.
pub(crate) fn recover(draft: &mut Draft, ctx: &Context) -> Result<(), Rejection> {
    if !draft.run().is_open() {
        return Ok(());
    }
    for lost in lost(draft.run(), ctx) {
        lose(draft, ctx, lost, "the process that ran this attempt is gone")?;
    }
    wait_for_a_person(draft)?;
    claim_all_local(draft, ctx)
}

/// The worker of an attempt with unsafe effects has been silent for too long: what it was to do may
/// have happened.
pub(crate) fn silent(
    draft: &mut Draft,
    ctx: &Context,
    scheduled: EventId,
) -> Result<(), Rejection> {
    let attempt = activity(draft.run(), scheduled)?.attempt;
    let at = AttemptRef { scheduled, attempt, started_at: None };
    lose(draft, ctx, at, "the worker that ran this attempt is silent")?;
    wait_for_a_person(draft)
}

/// Pauses the run while the outcome of an attempt is unknown.
pub(crate) fn wait_for_a_person(draft: &mut Draft) -> Result<(), Rejection> {
    if draft.run().paused.is_none() && unknown(draft.run()).next().is_some() {
        let event = Suspension {
            identity: "reflux".into(),
            reason: "the outcome of an attempt with unsafe effects is unknown".into(),
            request_id: OUTCOME_UNKNOWN.into(),
        };
        draft.emit_event(Kind::Paused(event))?;
    }
    Ok(())
}

/// Activities whose outcome only a person can tell.
pub(crate) fn unknown(run: &Run) -> impl Iterator<Item = EventId> {
    run.activities
        .values()
        .filter(|activity| matches!(activity.phase, Phase::OutcomeUnknown { .. }))
        .map(|activity| activity.scheduled)
}

/// Attempts that another boot of this process ran.
fn lost(run: &Run, ctx: &Context) -> Vec<AttemptRef> {
    let is_lost = |phase: &Phase| match phase {
        Phase::Started { worker, .. } => worker.is_local() && worker.boot != ctx.local.worker.boot,
        Phase::Waiting { .. }
        | Phase::Backoff { .. }
        | Phase::OutcomeUnknown { .. }
        | Phase::Ended { .. } => false,
    };
    run.activities
        .values()
        .filter(|activity| is_lost(&activity.phase))
        .map(|activity| AttemptRef {
            scheduled: activity.scheduled,
            attempt: activity.attempt,
            started_at: None,
        })
        .collect()
}

fn lose(draft: &mut Draft, ctx: &Context, at: AttemptRef, text: &str) -> Result<(), Rejection> {
    let activity = activity(draft.run(), at.scheduled)?;
    let unsafe_effects = activity.is_unsafe();
    let requested = activity.cancel_requested;
    let failure: Arc<Failure> = application_failure(text, "WorkerLost", false).into();
    let next = if unsafe_effects { Next::Person } else { Next::Uncounted(ctx.now) };
    end(draft, ctx, &at, AttemptOutcome::WorkerLost, Some(failure), next, None)?;
    match requested {
        Some(requested) if !unsafe_effects => {
            let event = ActivityCanceled {
                scheduled: at.scheduled,
                started: EventId(0),
                requested,
                details: Payloads::default(),
                identity: "".into(),
            };
            draft.emit_event(Kind::ActivityCanceled(event)).map(drop)
        }
        Some(_) | None => Ok(()),
    }
}

/// `Resolve`.
pub(crate) fn resolve(
    draft: &mut Draft,
    ctx: &Context,
    scheduled: EventId,
    resolution: Resolution,
    identity: Arc<str>,
) -> Result<(), Rejection> {
    let activity = activity(draft.run(), scheduled)?;
    check_id(&ctx.limits, "identity", &identity)?;
    match &activity.phase {
        Phase::OutcomeUnknown { .. } => {}
        Phase::Waiting { .. }
        | Phase::Backoff { .. }
        | Phase::Started { .. }
        | Phase::Ended { .. } => {
            return Err(Rejection::WrongState {
                what: format!("activity {scheduled}").into(),
                state: activity.phase.name(),
                advice: "only an unknown outcome can be resolved",
            });
        }
    }
    let attempt = activity.attempt;
    match &resolution {
        Resolution::Retry => {}
        Resolution::Complete(result) => check_blob(&ctx.limits, "result", result)?,
        Resolution::Fail(failure) => check_failure(&ctx.limits, failure)?,
    }
    make_room(draft, ctx)?;
    match resolution {
        Resolution::Retry => draft.emit_delta(Delta::AttemptDue { scheduled, attempt })?,
        Resolution::Complete(result) => {
            let started = emit_started(draft, scheduled)?;
            let identity = identity.clone();
            let event = ActivityCompleted { scheduled, started, result, identity };
            draft.emit_event(Kind::ActivityCompleted(event))?;
        }
        Resolution::Fail(failure) => {
            let started = emit_started(draft, scheduled)?;
            let event = ActivityFailed {
                scheduled,
                started,
                failure,
                retry_state: RetryState::NonRetryableFailure,
                identity: identity.clone(),
            };
            draft.emit_event(Kind::ActivityFailed(event))?;
        }
    }
    go_on(draft, ctx, identity)?;
    claim_local(draft, ctx, scheduled)
}

/// Ends the pause that an unknown outcome caused, once none is left.
pub(crate) fn go_on(draft: &mut Draft, ctx: &Context, identity: Arc<str>) -> Result<(), Rejection> {
    let run = open(draft.run())?;
    let ours = run.paused.as_ref().is_some_and(|paused| paused.outcome_unknown);
    if !ours || unknown(run).next().is_some() {
        return Ok(());
    }
    draft.emit_event(Kind::Unpaused(Suspension {
        identity,
        reason: "every outcome is known".into(),
        request_id: OUTCOME_UNKNOWN.into(),
    }))?;
    claim_all_local(draft, ctx)
}
