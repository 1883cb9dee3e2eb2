//! What the process recorded, against what its clients and the receiver know.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reflux_core::{Delta, EventId, Item, Kind};

use super::Report;
use super::client::Clients;
use super::receiver::Receiver;

/// What the items of a run say.
#[derive(Default)]
pub(super) struct Facts {
    pub(super) closed: bool,
    /// Steps that gave a result.
    pub(super) completed: BTreeSet<String>,
    succeeded: bool,
    started: u32,
    signals: u32,
    timers: i32,
    completions: u32,
    attempts: BTreeMap<String, usize>,
}

impl Facts {
    pub(super) fn of(items: &[Item]) -> Self {
        let mut facts = Self::default();
        let mut names: BTreeMap<EventId, Arc<str>> = BTreeMap::new();
        for item in items {
            match item {
                Item::Event(event) => match &event.kind {
                    Kind::Started(_) => facts.started += 1,
                    Kind::Signaled(_) => facts.signals += 1,
                    Kind::TimerStarted(_) => facts.timers += 1,
                    Kind::TimerFired(_) => facts.timers -= 1,
                    Kind::ActivityScheduled(it) => {
                        names.insert(event.id, it.activity_id.clone());
                    }
                    Kind::ActivityCompleted(it) => {
                        facts.completions += 1;
                        facts.completed.extend(names.get(&it.scheduled).map(ToString::to_string));
                    }
                    Kind::Completed(_) => (facts.closed, facts.succeeded) = (true, true),
                    Kind::Failed(_) | Kind::Terminated(_) | Kind::Canceled(_) => {
                        facts.closed = true
                    }
                    _ => {}
                },
                Item::Delta(Delta::AttemptStarted(it)) => {
                    if let Some(name) = names.get(&it.scheduled) {
                        *facts.attempts.entry(name.to_string()).or_default() += 1;
                    }
                }
                Item::Delta(_) => {}
            }
        }
        facts
    }
}

/// Every acknowledged run, step, timer and signal is there, and nothing was called too often.
pub(super) fn check(
    clients: &Clients,
    receiver: &Receiver,
    report: &mut Report,
) -> Result<(), String> {
    if let Some(what) = clients.broken() {
        return Err(what);
    }
    let calls = receiver.calls();
    let (runs, completed, signalled) = {
        let told = clients.told();
        (told.runs.clone(), told.completed.clone(), told.signalled.clone())
    };
    report.runs = runs.len();
    report.acknowledged = completed.len() + signalled.len();
    report.calls = calls.values().map(Vec::len).sum();
    report.once = completed.values().filter(|calls| **calls == 1).count();
    for (id, run) in &runs {
        let items =
            clients.items(run).ok_or_else(|| format!("run {id} was acknowledged and is lost"))?;
        let facts = Facts::of(&items);
        let what = if facts.started != 1 {
            "did not start once"
        } else if !facts.succeeded {
            "did not complete"
        } else if facts.timers != 0 {
            "lost a timer"
        } else if signalled.contains(id) && facts.signals != 1 {
            "lost or doubled a signal"
        } else if facts.completions != 3 || facts.completed.len() != 3 {
            "did not complete every step once"
        } else {
            ""
        };
        if !what.is_empty() {
            return Err(format!("run {id} {what}"));
        }
        for (step, attempts) in &facts.attempts {
            let lives = calls.get(&format!("/{id}/{step}")).map_or(&[][..], Vec::as_slice);
            if lives.is_empty() || lives.len() > *attempts {
                let counted = lives.len();
                return Err(format!(
                    "step {step} of {id}: {counted} calls for {attempts} attempts"
                ));
            }
            // The receiver refuses nothing, so only a kill is a reason for another call.
            if lives.windows(2).any(|pair| matches!(pair, [one, next] if one == next)) {
                return Err(format!("step {step} of {id} was called twice without a kill"));
            }
        }
        for ((_, step), counted) in completed.iter().filter(|((of, _), _)| of == id) {
            let now = calls.get(&format!("/{id}/{step}")).map_or(0, Vec::len);
            if !facts.completed.contains(step) {
                return Err(format!("step {step} of {id} was seen completed and is lost"));
            }
            if now != *counted {
                return Err(format!(
                    "step {step} of {id} was called again after it was seen completed: {counted} calls, then {now}"
                ));
            }
        }
    }
    Ok(())
}
