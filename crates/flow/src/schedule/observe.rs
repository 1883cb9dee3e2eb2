//! Folds one event of the history into the schedule.

use reflux_core::{Event, EventId, Kind, Signaled, Timestamp, Told, told_child};
use serde_json::Value;

use super::mark::{NAME, Resume, Tick};
use super::{Fire, OpenRun, SIGNAL_ADOPT, SIGNAL_FIRE, Schedule, moment, spec_of};
use crate::payload;
use crate::progress::Incoherent;

impl Schedule {
    /// Folds one event in.
    ///
    /// # Errors
    /// The event cannot follow from a schedule.
    pub fn observe(&mut self, event: &Event) -> Result<(), Incoherent> {
        let incoherent = |problem: String| Incoherent { event: event.id.0, problem };
        match &event.kind {
            Kind::Started(started) => {
                self.handled = event.time;
                let input = payload::value_of(&started.input)
                    .map_err(|error| incoherent(format!("input: {error}")))?;
                if !input.is_null() {
                    let resume: Resume = serde_json::from_value(input)
                        .map_err(|error| incoherent(format!("input: {error}")))?;
                    self.handled = moment(&resume.after).unwrap_or(event.time);
                    self.counts = resume.counts;
                }
            }
            Kind::TimerStarted(started) => self.timer = Some(started.timer_id.clone()),
            Kind::TimerFired(_) | Kind::TimerCanceled(_) => self.timer = None,
            Kind::Marker(marker) if &*marker.name == NAME => {
                let tick = serde_json::from_slice(payload::marker_json(marker));
                self.ticked(tick.map_err(|error| incoherent(format!("{NAME}: {error}")))?);
            }
            Kind::Marker(marker) => {
                if let Some((Told::Terminate, child)) = told_child(marker)
                    && let Some(run) = self.open.get_mut(&child)
                {
                    run.ending = true;
                }
            }
            Kind::ChildInitiated(initiated) => {
                self.counts.started = self.counts.started.saturating_add(1);
                self.counts.last = Some(initiated.workflow_id.to_string());
                let run = OpenRun {
                    namespace: initiated.namespace.clone(),
                    workflow_id: initiated.workflow_id.clone(),
                    ending: false,
                };
                self.open.insert(event.id, run);
            }
            Kind::ChildStartFailed(failed) => {
                self.counts.started = self.counts.started.saturating_sub(1);
                self.counts.failed = self.counts.failed.saturating_add(1);
                let error = format!("the workflow id `{}` is taken", failed.workflow_id);
                self.counts.error = Some(error);
                self.run_closed(failed.initiated, event.time);
            }
            Kind::ChildCompleted(child) => self.run_closed(child.child.initiated, event.time),
            Kind::ChildFailed(child) => self.run_closed(child.child.initiated, event.time),
            Kind::ChildCanceled(child) => self.run_closed(child.child.initiated, event.time),
            Kind::ChildTimedOut(child) => self.run_closed(child.child.initiated, event.time),
            Kind::ChildTerminated(child) => self.run_closed(child.child.initiated, event.time),
            Kind::ExternalCancelInitiated(initiated) => {
                let asked = self
                    .open
                    .values_mut()
                    .filter(|run| run.workflow_id == initiated.target.workflow_id);
                asked.for_each(|run| run.ending = true);
            }
            Kind::Signaled(signaled) => self.signaled(signaled, event),
            Kind::Paused(pause) => self.paused = Some(pause.reason.clone()),
            Kind::Unpaused(_) => {
                self.paused = None;
                // What came due while it was paused is not made up for.
                self.handled = self.handled.max(event.time);
            }
            Kind::CancelRequested(_) => self.canceling = true,
            kind if kind.closes_run() => self.closed = true,
            _ => {}
        }
        Ok(())
    }

    fn ticked(&mut self, tick: Tick) {
        if let Some(time) = moment(&tick.up_to) {
            self.handled = self.handled.max(time);
        }
        for _ in 0..tick.fired {
            self.fires.pop_front();
        }
        self.counts.skipped = self.counts.skipped.saturating_add(tick.skipped);
        self.counts.missed = self.counts.missed.saturating_add(tick.missed);
        if tick.error.is_some() {
            self.counts.failed = self.counts.failed.saturating_add(1);
            self.counts.error = tick.error;
        }
    }

    fn run_closed(&mut self, initiated: EventId, time: Timestamp) {
        if self.open.remove(&initiated).is_some() && self.open.is_empty() {
            self.free_since = time;
        }
    }

    fn signaled(&mut self, signaled: &Signaled, event: &Event) {
        let time = event.time;
        match &*signaled.name {
            SIGNAL_FIRE => {
                let input = payload::value_of(&signaled.input).unwrap_or(Value::Null);
                let id = match signaled.request_id.is_empty() {
                    true => format!("{}-{}", self.key.run_id, event.id).into(),
                    false => signaled.request_id.clone(),
                };
                let input = Some(input).filter(|input| !input.is_null());
                self.fires.push_back(Fire { id, at: time, input });
            }
            SIGNAL_ADOPT => {
                let named = payload::spec_of(&signaled.header);
                let offered = self.offered.take().filter(|(spec, _)| Some(spec) == named);
                let Some((spec, bundle)) = offered else { return };
                // Another timetable holds from now on: its past is none of ours.
                let table =
                    |bundle| spec_of(bundle, &self.subject).map(|spec| spec.timetable.clone());
                if table(&self.bundle) != table(&bundle) {
                    self.handled = self.handled.max(time);
                }
                self.spec = spec;
                self.bundle = bundle;
            }
            _ => {}
        }
    }
}
