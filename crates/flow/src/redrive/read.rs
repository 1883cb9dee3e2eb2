//! A history read into a base: every activation with its key, its result, and who took which
//! signal.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use reflux_core::{ActivityScheduled, ChildRef, Event, EventId, Kind, RunKey, Signal, Timestamp};
use serde_json::{Value, json};

use super::base::{Base, Past, PastWork, Received};
use super::{Redrive, Refused, Untaken, input_digest};
use crate::graph::{Action, Bundle};
use crate::payload;
use crate::progress::{APPROVAL_SIGNAL, Activation, Mark, Progress, decides};

/// Where the activations that are under way stand in `past`.
#[derive(Default)]
struct Open {
    activities: BTreeMap<EventId, usize>,
    children: BTreeMap<EventId, usize>,
    timers: BTreeMap<Arc<str>, usize>,
    waits: BTreeMap<String, usize>,
    /// Timers that limit a wait: when they are due, how long they were.
    limits: BTreeMap<String, (Timestamp, u64)>,
    /// Signals that nothing has taken: positions.
    untaken: VecDeque<usize>,
}

impl Base {
    /// Reads a history. `bundle` is the one that its start names.
    ///
    /// # Errors
    /// It is not the history of a flow's run, or does not fit the bundle.
    pub fn read<'a>(
        key: RunKey,
        bundle: Arc<Bundle>,
        events: impl IntoIterator<Item = &'a Event>,
    ) -> Result<Self, Refused> {
        let mut events = events.into_iter().peekable();
        let Some(Event { kind: Kind::Started(started), .. }) = events.peek() else {
            return Err(Refused::new("the run has no start; restore its history from a backup"));
        };
        let started = started.clone();
        let progress = Progress::new(bundle, &started.workflow_type, key).ok_or_else(|| {
            Refused::new(format!("the definition has no flow `{}`", started.workflow_type))
        })?;
        let (progress, epoch) = match Redrive::of_header(&started.header) {
            None => (progress.with_ledger(), 0),
            Some(Ok(redrive)) => {
                let epoch = redrive.epoch;
                (progress.redriven(redrive), epoch)
            }
            Some(Err(error)) => return Err(Refused::new(format!("the run's start: {error}"))),
        };
        let mut base = Self {
            progress,
            past: Vec::new(),
            signals: Vec::new(),
            input: started.input.clone(),
            first_run: started.first_run_id,
            epoch,
            handled: BTreeSet::new(),
            taken_back: BTreeSet::new(),
            times: BTreeMap::new(),
            closed: None,
        };
        let mut open = Open::default();
        let handed_on = base.progress.redrive().map(|redrive| redrive.memo.signals.clone());
        for Untaken { name, value } in handed_on.unwrap_or_default() {
            let (name, input) = (name.as_str().into(), payload::of_value(&value));
            base.received(0, Signal { name, input, ..Signal::default() }, value, &mut open);
        }
        for event in events {
            base.progress.observe(event).map_err(|error| Refused::new(error.to_string()))?;
            base.times.insert(event.id.0, event.time);
            base.take_up(event, &mut open);
        }
        base.limits(&open);
        Ok(base)
    }

    /// Notes what an observed event did.
    fn take_up(&mut self, event: &Event, open: &mut Open) {
        match &event.kind {
            Kind::ActivityScheduled(scheduled) => self.scheduled(event.id, scheduled, open),
            Kind::ActivityCompleted(it) => {
                let output =
                    payload::value_of(&it.result).map_err(|error| json!(error.to_string()));
                self.end(event, open.activities.remove(&it.scheduled), output);
            }
            Kind::ActivityFailed(it) => {
                let error = payload::error_of(&it.failure);
                self.end(event, open.activities.remove(&it.scheduled), Err(error));
            }
            Kind::ActivityTimedOut(it) => {
                let error = payload::error_of(&it.failure);
                self.end(event, open.activities.remove(&it.scheduled), Err(error));
            }
            Kind::ActivityCanceled(it) => {
                self.end(event, open.activities.remove(&it.scheduled), Err(Value::Null));
            }
            Kind::TimerStarted(it) => self.timer_started(event, &it.timer_id, it.duration, open),
            Kind::TimerFired(it) => {
                open.limits.remove(&*it.timer_id);
                self.end(event, open.timers.remove(&it.timer_id), Ok(Value::Null));
            }
            Kind::TimerCanceled(it) => {
                open.limits.remove(&*it.timer_id);
                open.timers.remove(&it.timer_id);
            }
            Kind::ChildInitiated(it) => {
                let id = it.workflow_id.rsplit_once('/').map_or("", |(_, id)| id);
                let prefix = format!("{}/", self.progress.key().workflow_id);
                let id = it.workflow_id.strip_prefix(&*prefix).unwrap_or(id);
                let input = input_digest(&it.input);
                let version = self.progress.flow_version(&it.workflow_type);
                let work = PastWork::Flow { version, input, run: None };
                let at = self.begin(event.id.0, id, work);
                open.children.extend(at.map(|at| (event.id, at)));
            }
            Kind::ChildStarted(it) => self.child_started(&it.child, open),
            Kind::ChildCompleted(it) => {
                let output =
                    payload::value_of(&it.result).map_err(|error| json!(error.to_string()));
                self.end(event, open.children.remove(&it.child.initiated), output);
            }
            Kind::ChildFailed(it) => {
                let error = payload::error_of(&it.failure);
                self.end(event, open.children.remove(&it.child.initiated), Err(error));
            }
            Kind::ChildCanceled(it) => self.lost(event, &it.child, open),
            Kind::ChildTimedOut(it) => self.lost(event, &it.child, open),
            Kind::ChildTerminated(it) => self.lost(event, &it.child, open),
            Kind::Signaled(it) => {
                let signal = Signal {
                    name: it.name.clone(),
                    input: it.input.clone(),
                    header: it.header.clone(),
                    identity: it.identity.clone(),
                    request_id: it.request_id.clone(),
                };
                let value = payload::value_of(&it.input).unwrap_or(Value::Null);
                self.received(event.id.0, signal, value, open);
            }
            Kind::Marker(marker) => {
                if let Ok(Some(mark)) = Mark::read(&marker.name, payload::marker_json(marker)) {
                    self.marked(event, mark, open);
                }
            }
            Kind::Completed(_)
            | Kind::Failed(_)
            | Kind::TimedOut(_)
            | Kind::Canceled(_)
            | Kind::Terminated(_)
            | Kind::ContinuedAsNew(_) => self.closed = Some(event.time),
            // An attempt's start and what concerns other runs change no result.
            _ => {}
        }
        if let Some((activation, result)) = self.progress.take_wait_over() {
            self.wait_over(event, &activation, result, open);
        }
    }

    fn received(&mut self, event: i64, signal: Signal, value: Value, open: &mut Open) {
        open.untaken.push_back(self.signals.len());
        self.signals.push(Received { event, signal, value, taken: None });
    }

    fn marked(&mut self, event: &Event, mark: Mark, open: &mut Open) {
        match mark {
            Mark::Route(route) if !route.succeeded && !route.to.is_empty() => {
                self.handled.insert((route.step, route.visit));
            }
            Mark::Wait(wait) => {
                let at = self.begin(event.id.0, &wait.activation, PastWork::Wait);
                open.waits.extend(at.map(|at| (wait.activation, at)));
            }
            Mark::Reuse(reuse) => {
                let work = PastWork::Reuse { version: reuse.version };
                let at = self.begin(event.id.0, &reuse.activation, work);
                self.end(event, at, reuse.error.map_or(Ok(reuse.output), Err));
            }
            Mark::Route(_)
            | Mark::When(_)
            | Mark::Skip(_)
            | Mark::Fanout(_)
            | Mark::Failed(_)
            | Mark::Spawn(_)
            | Mark::Mutation(_)
            | Mark::Breakpoints(_)
            | Mark::Stepping(_)
            | Mark::Break(_) => {}
        }
    }

    fn scheduled(&mut self, event: EventId, what: &ActivityScheduled, open: &mut Open) {
        let work = PastWork::Node {
            name: what.activity_type.clone(),
            version: payload::node_version(&what.header),
            input: input_digest(&what.input),
            effects: what.effects,
        };
        if let Some(activation) = Activation::parse(&what.activity_id)
            && activation.compensates
        {
            self.taken_back.insert(activation.step);
            return;
        }
        let at = self.begin(event.0, &what.activity_id, work);
        open.activities.extend(at.map(|at| (event, at)));
    }

    fn timer_started(
        &mut self,
        event: &Event,
        id: &Arc<str>,
        length: std::time::Duration,
        open: &mut Open,
    ) {
        let whole = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        let due = event.time.after(length);
        if self.progress.key_of(id).is_none() {
            open.limits.insert(id.to_string(), (due, whole));
            return;
        }
        let at = self.begin(event.id.0, id, PastWork::Timer { due, whole });
        open.timers.extend(at.map(|at| (id.clone(), at)));
    }

    fn child_started(&mut self, child: &ChildRef, open: &Open) {
        let at = open.children.get(&child.initiated).copied();
        let past = at.and_then(|at| self.past.get_mut(at));
        if let Some(Past { work: PastWork::Flow { run, .. }, .. }) = past {
            *run = Some(RunKey {
                namespace: child.namespace.clone(),
                workflow_id: child.execution.workflow_id.clone(),
                run_id: child.execution.run_id,
            });
        }
    }

    fn lost(&mut self, event: &Event, child: &ChildRef, open: &mut Open) {
        self.end(event, open.children.remove(&child.initiated), Err(Value::Null));
    }

    /// A wait is over because of a signal: the one that came, or the oldest that waited for it.
    fn wait_over(
        &mut self,
        event: &Event,
        activation: &Activation,
        result: Result<Value, Value>,
        open: &mut Open,
    ) {
        let id = activation.to_string();
        let step = self.progress.flow().step(activation.step.as_str());
        let name = match step.map(|step| &step.action) {
            Some(Action::Wait(crate::graph::Wait::Signal { name, .. })) => name.clone(),
            _ => APPROVAL_SIGNAL.to_owned(),
        };
        let is_it = |at: &usize| {
            let received = self.signals.get(*at);
            received.is_some_and(|it| {
                *it.signal.name == *name && (name != APPROVAL_SIGNAL || decides(&it.value, &id))
            })
        };
        let taken = match &event.kind {
            Kind::Signaled(_) => open.untaken.len().checked_sub(1),
            _ => open.untaken.iter().position(is_it),
        };
        let taken = taken.and_then(|at| open.untaken.remove(at));
        if let Some(received) = taken.and_then(|at| self.signals.get_mut(at)) {
            received.taken = Some(id.clone());
        }
        open.limits.remove(&id);
        self.end(event, open.waits.remove(&id), result);
    }

    fn begin(&mut self, event: i64, id: &str, work: PastWork) -> Option<usize> {
        let activation = Activation::parse(id)?;
        self.past.push(Past {
            id: id.to_owned(),
            activation,
            work,
            key: self.progress.key_of(id),
            begun: event,
            ended: None,
            result: None,
        });
        Some(self.past.len() - 1)
    }

    fn end(&mut self, event: &Event, at: Option<usize>, result: Result<Value, Value>) {
        if let Some(past) = at.and_then(|at| self.past.get_mut(at)) {
            past.ended = Some(event.id.0);
            past.result = Some(result);
        }
    }

    /// What is left of the time that waits may take counts as a timer.
    fn limits(&mut self, open: &Open) {
        for (id, (due, whole)) in &open.limits {
            let Some(activation) = Activation::parse(id) else { continue };
            let begun = self.past_of(id).map_or(i64::MAX, |past| past.begun);
            self.past.push(Past {
                id: id.clone(),
                activation,
                work: PastWork::Timer { due: *due, whole: *whole },
                key: None,
                begun,
                ended: None,
                result: None,
            });
        }
    }
}
