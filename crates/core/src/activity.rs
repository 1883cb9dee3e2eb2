//! One activity: scheduled, attempted until it succeeds or may not be tried again, closed.
//!
//! ```text
//! Scheduled ─▶ Waiting ◀──Due── Backoff ◀────────┐
//!                 │                              │ ended, next attempt
//!          AttemptStarted ──▶ Started ──AttemptEnded──▶ Ended ─▶ closed
//!                                │ lost, unsafe
//!                                ▼
//!                         OutcomeUnknown ─▶ a person resolves
//! ```
//!
//! `ActivityTaskStarted` is written when the activity closes, with the final attempt.

use std::fmt;
use std::sync::Arc;

use crate::{
    ActivityScheduled, AttemptEnded, AttemptOutcome, Deadline, Delta, EffectClass, EventId,
    Failure, IllegalItem, Kind, Payloads, Run, Timestamp, Worker,
};

/// An activity that is not closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Activity {
    /// Its `ActivityScheduled`.
    pub scheduled: EventId,
    /// When it was scheduled.
    pub scheduled_at: Timestamp,
    /// What is to be done.
    pub what: Arc<ActivityScheduled>,
    /// Where it stands.
    pub phase: Phase,
    /// Number of the running attempt, or of the next one.
    pub attempt: u32,
    /// Attempts left out of the retry policy's count.
    pub uncounted: u32,
    /// How the attempt before failed.
    pub last_failure: Option<Arc<Failure>>,
    /// What the last heartbeat said, handed to the next attempt.
    pub heartbeat_details: Payloads,
    /// Its `ActivityCancelRequested`, if the decider wants it to end.
    pub cancel_requested: Option<EventId>,
}

/// Where an activity stands.
#[derive(Debug, Clone, PartialEq)]
pub enum Phase {
    /// For a worker.
    Waiting {
        /// Since when.
        since: Timestamp,
    },
    /// For the time of its next attempt.
    Backoff {
        /// When that is.
        due: Timestamp,
    },
    /// A worker has it.
    Started {
        /// Who.
        worker: Worker,
        /// Since when.
        at: Timestamp,
        /// When it last said that it is alive.
        alive: Timestamp,
    },
    /// For a person: the attempt was lost, and may or may not have had its effects.
    OutcomeUnknown {
        /// Who had it.
        worker: Worker,
        /// Since when it is unknown.
        since: Timestamp,
    },
    /// The last attempt is over; the closing events follow in the same record.
    Ended {
        /// How it ended.
        outcome: AttemptOutcome,
        /// Who had it.
        identity: Arc<str>,
        /// Its `ActivityStarted`; 0 until that is written.
        started: EventId,
    },
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Phase {
    /// As in messages to people.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Waiting { .. } => "waits for a worker",
            Self::Backoff { .. } => "waits for its next attempt",
            Self::Started { .. } => "is running",
            Self::OutcomeUnknown { .. } => "has an unknown outcome",
            Self::Ended { .. } => "is over",
        }
    }
}

impl Activity {
    /// When all its attempts must be over.
    pub fn expires(&self) -> Option<Timestamp> {
        self.what.schedule_to_close.map(|limit| self.scheduled_at.after(limit))
    }

    /// Attempts that count against the retry policy, with the running one.
    pub fn counted(&self) -> u32 {
        self.attempt.saturating_sub(self.uncounted)
    }

    /// Who runs it, or ran its last attempt; empty when it waits.
    pub fn identity(&self) -> Arc<str> {
        match &self.phase {
            Phase::Started { worker, .. } | Phase::OutcomeUnknown { worker, .. } => {
                worker.identity.clone()
            }
            Phase::Ended { identity, .. } => identity.clone(),
            Phase::Waiting { .. } | Phase::Backoff { .. } => "".into(),
        }
    }

    /// Whether a lost attempt needs a person.
    pub fn is_unsafe(&self) -> bool {
        self.what.effects == Some(EffectClass::Unsafe)
    }

    /// Everything that happens to it by itself.
    pub(crate) fn deadlines(&self, paused: bool) -> [Option<(Timestamp, Deadline)>; 3] {
        let id = self.scheduled;
        let total = self.expires().map(|due| (due, Deadline::ScheduleToClose(id)));
        match &self.phase {
            Phase::Waiting { since } => {
                let start = self.what.schedule_to_start.map(|limit| since.after(limit));
                [total, start.map(|due| (due, Deadline::ScheduleToStart(id))), None]
            }
            Phase::Backoff { due } => {
                [total, (!paused).then_some((*due, Deadline::Retry(id))), None]
            }
            Phase::Started { worker, at, alive } => {
                // The host of a local attempt measures it: the claim is recorded before it runs.
                let run = self.what.start_to_close.filter(|_| !worker.is_local());
                let beat = self.what.heartbeat.map(|limit| alive.after(limit));
                [
                    total,
                    run.map(|limit| (at.after(limit), Deadline::StartToClose(id))),
                    beat.map(|due| (due, Deadline::Heartbeat(id))),
                ]
            }
            Phase::OutcomeUnknown { .. } | Phase::Ended { .. } => [None, None, None],
        }
    }
}

/// `ActivityScheduled`: a new activity.
pub(crate) fn schedule(
    run: &mut Run,
    what: &Arc<ActivityScheduled>,
    id: EventId,
    time: Timestamp,
) -> Result<(), IllegalItem> {
    if run.activity_ids.contains_key(&what.activity_id) {
        let from = format!("open activity {}", what.activity_id);
        return Err(IllegalItem::new(run, from, "ActivityTaskScheduled"));
    }
    let activity = Activity {
        scheduled: id,
        scheduled_at: time,
        what: what.clone(),
        phase: Phase::Waiting { since: time },
        attempt: 1,
        uncounted: 0,
        last_failure: None,
        heartbeat_details: Payloads::default(),
        cancel_requested: None,
    };
    run.deadlines.extend(activity.deadlines(run.paused.is_some()).into_iter().flatten());
    run.activity_ids.insert(what.activity_id.clone(), id);
    run.activities.insert(id, activity);
    Ok(())
}

/// The table of what happens between scheduling and closing.
pub(crate) fn apply_delta(run: &mut Run, delta: &Delta) -> Result<(), IllegalItem> {
    match delta {
        Delta::AttemptStarted(begun) => {
            change(run, begun.scheduled, delta.name(), |activity| match &activity.phase {
                Phase::Waiting { .. } | Phase::Backoff { .. } | Phase::OutcomeUnknown { .. }
                    if begun.attempt == activity.attempt =>
                {
                    activity.phase = Phase::Started {
                        worker: begun.worker.clone(),
                        at: begun.time,
                        alive: begun.time,
                    };
                    true
                }
                Phase::Waiting { .. }
                | Phase::Backoff { .. }
                | Phase::OutcomeUnknown { .. }
                | Phase::Started { .. }
                | Phase::Ended { .. } => false,
            })
        }
        Delta::AttemptDue { scheduled, attempt } => {
            change(run, *scheduled, delta.name(), |activity| match activity.phase {
                Phase::Backoff { due } if *attempt == activity.attempt => {
                    activity.phase = Phase::Waiting { since: due };
                    true
                }
                Phase::OutcomeUnknown { since, .. } if *attempt == activity.attempt => {
                    activity.phase = Phase::Waiting { since };
                    true
                }
                Phase::Backoff { .. }
                | Phase::OutcomeUnknown { .. }
                | Phase::Waiting { .. }
                | Phase::Started { .. }
                | Phase::Ended { .. } => false,
            })
        }
        Delta::Heartbeat { scheduled, attempt, time, details } => {
            change(run, *scheduled, delta.name(), |activity| match &mut activity.phase {
                Phase::Started { alive, .. } if *attempt == activity.attempt => {
                    *alive = *time;
                    activity.heartbeat_details = details.clone();
                    true
                }
                Phase::Started { .. }
                | Phase::Waiting { .. }
                | Phase::Backoff { .. }
                | Phase::OutcomeUnknown { .. }
                | Phase::Ended { .. } => false,
            })
        }
        Delta::Unclaimed { scheduled, attempt } => {
            change(run, *scheduled, delta.name(), |activity| match activity.phase {
                Phase::Started { at, .. } if *attempt == activity.attempt => {
                    activity.phase = Phase::Waiting { since: at };
                    true
                }
                Phase::Started { .. }
                | Phase::Waiting { .. }
                | Phase::Backoff { .. }
                | Phase::OutcomeUnknown { .. }
                | Phase::Ended { .. } => false,
            })
        }
        Delta::AttemptEnded(ended) => {
            change(run, ended.scheduled, delta.name(), |activity| match &activity.phase {
                Phase::Started { worker, .. } if ended.attempt == activity.attempt => {
                    activity.phase = after_attempt(worker, ended);
                    next_attempt(activity, ended);
                    true
                }
                Phase::Started { .. }
                | Phase::Waiting { .. }
                | Phase::Backoff { .. }
                | Phase::OutcomeUnknown { .. }
                | Phase::Ended { .. } => false,
            })
        }
        Delta::InboxMark { .. }
        | Delta::OutboxAcked { .. }
        | Delta::Buffered(_)
        | Delta::TransientTask(_)
        | Delta::Requested { .. }
        | Delta::Sticky { .. }
        | Delta::Retired => Err(IllegalItem::new(run, "an activity", delta.name())),
    }
}

fn after_attempt(worker: &Worker, ended: &AttemptEnded) -> Phase {
    match (ended.outcome, ended.next_attempt) {
        (_, Some(due)) if due <= ended.ended => Phase::Waiting { since: ended.ended },
        (_, Some(due)) => Phase::Backoff { due },
        (AttemptOutcome::WorkerLost, None) => {
            Phase::OutcomeUnknown { worker: worker.clone(), since: ended.ended }
        }
        (outcome, None) => {
            Phase::Ended { outcome, identity: worker.identity.clone(), started: EventId(0) }
        }
    }
}

fn next_attempt(activity: &mut Activity, ended: &AttemptEnded) {
    if ended.uncounted {
        activity.uncounted = activity.uncounted.saturating_add(1);
    }
    if !matches!(activity.phase, Phase::Ended { .. }) {
        activity.attempt = activity.attempt.saturating_add(1);
        // The failure of the last attempt belongs to the closing event instead.
        activity.last_failure = ended.failure.clone().or_else(|| activity.last_failure.take());
    }
}

/// The table of the events that follow the scheduling.
pub(crate) fn apply_event(run: &mut Run, kind: &Kind, id: EventId) -> Result<(), IllegalItem> {
    match kind {
        Kind::ActivityStarted(event) => change(run, event.scheduled, kind.name(), |activity| {
            match &mut activity.phase {
                Phase::Ended { started, .. } => {
                    *started = id;
                    true
                }
                // A person ends it, or another server wrote the history: no attempt ended here.
                Phase::OutcomeUnknown { .. } | Phase::Waiting { .. } => {
                    activity.phase = Phase::Ended {
                        outcome: AttemptOutcome::Unspecified,
                        identity: event.identity.clone(),
                        started: id,
                    };
                    true
                }
                Phase::Backoff { .. } | Phase::Started { .. } => false,
            }
        }),
        Kind::ActivityCancelRequested(event) => {
            if !run.activities.contains_key(&event.scheduled) && closes(run, event.scheduled) {
                return Ok(());
            }
            change(run, event.scheduled, kind.name(), |activity| {
                let first = activity.cancel_requested.is_none();
                activity.cancel_requested = Some(id);
                first
            })
        }
        Kind::ActivityCompleted(event) => {
            close(run, event.scheduled, kind, |phase| matches!(phase, Phase::Ended { .. }))
        }
        Kind::ActivityFailed(event) => {
            close(run, event.scheduled, kind, |phase| matches!(phase, Phase::Ended { .. }))
        }
        Kind::ActivityTimedOut(event) => close(run, event.scheduled, kind, |phase| match phase {
            Phase::Ended { .. } | Phase::Waiting { .. } | Phase::Backoff { .. } => true,
            Phase::Started { .. } | Phase::OutcomeUnknown { .. } => false,
        }),
        Kind::ActivityCanceled(event) => close(run, event.scheduled, kind, |phase| match phase {
            Phase::Ended { .. }
            | Phase::Waiting { .. }
            | Phase::Backoff { .. }
            | Phase::OutcomeUnknown { .. } => true,
            Phase::Started { .. } => false,
        }),
        other => Err(IllegalItem::new(run, "an activity", other.name())),
    }
}

/// Whether a buffered event closes the activity.
pub(crate) fn closes(run: &Run, scheduled: EventId) -> bool {
    run.buffered.late.iter().any(|event| match &event.kind {
        Kind::ActivityCompleted(event) => event.scheduled == scheduled,
        Kind::ActivityFailed(event) => event.scheduled == scheduled,
        Kind::ActivityTimedOut(event) => event.scheduled == scheduled,
        Kind::ActivityCanceled(event) => event.scheduled == scheduled,
        _ => false,
    })
}

fn close(
    run: &mut Run,
    scheduled: EventId,
    kind: &Kind,
    legal: impl FnOnce(&Phase) -> bool,
) -> Result<(), IllegalItem> {
    let Some(activity) = run.activities.get(&scheduled) else {
        let from = format!("no open activity {scheduled}");
        return Err(IllegalItem::new(run, from, kind.name()));
    };
    if !legal(&activity.phase) {
        let from = format!("activity {scheduled} which {}", activity.phase);
        return Err(IllegalItem::new(run, from, kind.name()));
    }
    for deadline in activity.deadlines(run.paused.is_some()).into_iter().flatten() {
        run.deadlines.remove(&deadline);
    }
    if let Some(activity) = run.activities.remove(&scheduled) {
        run.activity_ids.remove(&activity.what.activity_id);
    }
    Ok(())
}

/// Changes an open activity and keeps its deadlines in step.
fn change(
    run: &mut Run,
    scheduled: EventId,
    found: &'static str,
    row: impl FnOnce(&mut Activity) -> bool,
) -> Result<(), IllegalItem> {
    let paused = run.paused.is_some();
    let Run { activities, deadlines, closed, .. } = run;
    let Some(activity) = activities.get_mut(&scheduled).filter(|_| closed.is_none()) else {
        let from = format!("no open activity {scheduled}");
        return Err(IllegalItem::new(run, from, found));
    };
    for deadline in activity.deadlines(paused).into_iter().flatten() {
        deadlines.remove(&deadline);
    }
    if row(activity) {
        deadlines.extend(activity.deadlines(paused).into_iter().flatten());
        return Ok(());
    }
    let from =
        format!("activity {scheduled} which {} at attempt {}", activity.phase, activity.attempt);
    Err(IllegalItem::new(run, from, found))
}
