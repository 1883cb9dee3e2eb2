//! One timer: started, then fired or cancelled.

use std::sync::Arc;

use crate::{Deadline, EventId, IllegalItem, Kind, Run, Timestamp};

/// A timer that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Timer {
    /// Chosen by the decider.
    pub timer_id: Arc<str>,
    /// Its `TimerStarted`.
    pub started: EventId,
    /// When it fires.
    pub due: Timestamp,
}

/// The table of timers.
pub(crate) fn apply(
    run: &mut Run,
    kind: &Kind,
    id: EventId,
    time: Timestamp,
) -> Result<(), IllegalItem> {
    match kind {
        Kind::TimerStarted(event) => {
            if run.timers.contains_key(&event.timer_id) {
                let from = format!("open timer {}", event.timer_id);
                return Err(IllegalItem::new(run, from, kind.name()));
            }
            let due = time.after(event.duration);
            let timer = Timer { timer_id: event.timer_id.clone(), started: id, due };
            run.timers.insert(event.timer_id.clone(), timer);
            run.arm(due, Deadline::Timer(event.timer_id.clone()));
            Ok(())
        }
        Kind::TimerFired(event) => end(run, &event.timer_id, kind),
        // Its firing may wait behind the task that cancels it.
        Kind::TimerCanceled(event) if run.buffered.unfire(&event.timer_id) => Ok(()),
        Kind::TimerCanceled(event) => end(run, &event.timer_id, kind),
        other => Err(IllegalItem::new(run, "a timer", other.name())),
    }
}

fn end(run: &mut Run, timer_id: &Arc<str>, kind: &Kind) -> Result<(), IllegalItem> {
    match run.timers.remove(timer_id) {
        Some(timer) => {
            run.disarm(timer.due, Deadline::Timer(timer.timer_id));
            Ok(())
        }
        None => Err(IllegalItem::new(
            run,
            format_args!("no open timer {timer_id}").to_string(),
            kind.name(),
        )),
    }
}
