//! Folds items into a story, one after the other.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use reflux_core::{
    AttemptOutcome, Delta, Event, EventId, Item, Kind, Run, RunKey, Timestamp, apply,
};
use reflux_flow::graph::{Action, Bundle};
use reflux_flow::payload;
use reflux_flow::progress::{
    APPROVAL_SIGNAL, Activation, Mark, Outcome, Phase as StepPhase, ReuseKind,
};
use reflux_flow::redrive::Redrive;
use reflux_flow::{Decider, Progress};
use serde_json::{Value, json};

use super::{Attempt, Line, RedrivenFrom, StepStatus, StepStory, Story, Visit, Wait};
use crate::protocol::status_name;

/// A story being told.
pub struct Telling {
    pub(super) key: RunKey,
    pub(super) run: Run,
    bundle: Option<Arc<Bundle>>,
    pub(super) progress: Option<Progress>,
    flow: String,
    input: Value,
    output: Option<Value>,
    pub(super) error: Option<Value>,
    handled_failure: bool,
    redriven_from: Option<RedrivenFrom>,
    pub(super) steps: Vec<Told>,
    activities: BTreeMap<EventId, Place>,
    children: BTreeMap<EventId, Place>,
    timers: BTreeMap<Arc<str>, Place>,
    pub(super) waits: Vec<Place>,
    pub(super) tokens: (u64, u64),
    pub(super) cost_usd: f64,
    /// Signals that came before anything waited for them.
    early: BTreeMap<String, VecDeque<Value>>,
}

/// A step while its story is told.
pub(super) struct Told {
    pub(super) id: String,
    node: Option<String>,
    pub(super) visits: Vec<Visit>,
    skipped: Option<String>,
    items: Option<usize>,
}

/// A visit of a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) step: usize,
    pub(super) visit: usize,
}

impl Telling {
    /// The story of a run before its first item. With its definition, steps that have not begun
    /// are told too.
    pub fn new(key: RunKey, bundle: Option<Arc<Bundle>>) -> Self {
        Self {
            run: Run::new(key.clone()),
            key,
            bundle,
            progress: None,
            flow: String::new(),
            input: Value::Null,
            output: None,
            error: None,
            handled_failure: false,
            redriven_from: None,
            steps: Vec::new(),
            activities: BTreeMap::new(),
            children: BTreeMap::new(),
            timers: BTreeMap::new(),
            waits: Vec::new(),
            tokens: (0, 0),
            cost_usd: 0.0,
            early: BTreeMap::new(),
        }
    }

    /// A story from the items of a run.
    pub fn of(key: RunKey, bundle: Option<Arc<Bundle>>, items: &[Item]) -> Story {
        let mut telling = Self::new(key, bundle);
        items.iter().for_each(|item| telling.take(item));
        telling.story()
    }

    /// The digest of the definition that a run's first item names.
    pub fn digest(items: &[Item]) -> Option<String> {
        items.iter().find_map(|item| match item {
            Item::Event(Event { kind: Kind::Started(started), .. }) => {
                Some(crate::service::hex(&payload::spec_of(&started.header)?.data))
            }
            Item::Event(_) | Item::Delta(_) => None,
        })
    }

    /// Whether the run is closed.
    pub fn is_closed(&self) -> bool {
        self.run.closed.is_some()
    }

    /// Goes on with one item. One that does not follow is told as far as it can be.
    pub fn take(&mut self, item: &Item) {
        if let Err(error) = apply(&mut self.run, item) {
            tracing::debug!(%error, "an item does not follow from its run");
        }
        match item {
            Item::Event(event) => {
                self.event(event);
                let followed = self.progress.as_mut().map(|progress| progress.observe(event));
                if let Some(Err(error)) = followed {
                    tracing::debug!(%error, "the story goes on without its definition");
                    self.progress = None;
                }
                self.leave_waits(event.time);
            }
            Item::Delta(delta) => self.delta(delta),
        }
    }

    /// In a changed graph some waits are over without an answer.
    fn leave_waits(&mut self, time: Timestamp) {
        let Some(progress) = self.progress.as_ref().filter(|it| it.revision() > 0) else { return };
        let is_over = |place: &Place| {
            let visit = self.steps.get(place.step).and_then(|step| step.visits.get(place.visit));
            visit.is_some_and(|visit| !progress.awaits(&visit.activation))
        };
        let over: Vec<Place> = self.waits.iter().copied().filter(is_over).collect();
        self.waits.retain(|place| !over.contains(place));
        for place in over {
            self.end(Some(place), time, Err(canceled_error()));
        }
    }

    fn event(&mut self, event: &Event) {
        let time = event.time;
        match &event.kind {
            Kind::Started(started) => {
                self.flow = started.workflow_type.to_string();
                self.input = payload::value_of(&started.input).unwrap_or_default();
                if let Some(Ok(redrive)) = Redrive::of_header(&started.header) {
                    self.redriven(redrive);
                }
                let progress = |bundle: &Arc<Bundle>| {
                    let (key, header) = (self.key.clone(), &started.header);
                    let decider = Decider::new(bundle.clone(), &self.flow, header, key).ok()?;
                    decider.progress().cloned()
                };
                self.progress = self.bundle.as_ref().and_then(progress);
            }
            Kind::ActivityScheduled(scheduled) => {
                let input = payload::value_of(&scheduled.input).ok();
                let place = self.open(&scheduled.activity_id, time);
                if let Some(step) = self.steps.get_mut(place.step) {
                    step.node.get_or_insert_with(|| scheduled.activity_type.to_string());
                }
                if let Some(visit) = self.visit(place) {
                    visit.input = input;
                    visit.scheduled = Some(event.id.0);
                }
                self.activities.insert(event.id, place);
            }
            Kind::ActivityCompleted(done) => {
                let output = payload::value_of(&done.result).unwrap_or_default();
                self.end(self.activities.get(&done.scheduled).copied(), time, Ok(output));
            }
            Kind::ActivityFailed(failed) => {
                let error = payload::error_of(&failed.failure);
                self.end(self.activities.get(&failed.scheduled).copied(), time, Err(error));
            }
            Kind::ActivityTimedOut(timed_out) => {
                let error = payload::error_of(&timed_out.failure);
                self.end(self.activities.get(&timed_out.scheduled).copied(), time, Err(error));
            }
            Kind::ActivityCanceled(canceled) => {
                self.end(
                    self.activities.get(&canceled.scheduled).copied(),
                    time,
                    Err(canceled_error()),
                );
            }
            Kind::TimerStarted(started) => {
                let place = self
                    .waiting_at(&started.timer_id)
                    .unwrap_or_else(|| self.open(&started.timer_id, time));
                let due = time.after(started.duration);
                if let Some(visit) = self.visit(place) {
                    visit.wait.get_or_insert(Wait::Timer { due });
                }
                self.timers.insert(started.timer_id.clone(), place);
            }
            Kind::TimerFired(fired) => {
                let place = self.timers.remove(&fired.timer_id);
                let only_time = place
                    .and_then(|place| self.visit(place))
                    .is_some_and(|visit| matches!(visit.wait, Some(Wait::Timer { .. })));
                let result = if only_time {
                    Ok(Value::Null)
                } else {
                    Err(json!({ "kind": "Timeout", "message": "it waited as long as it may" }))
                };
                self.waits.retain(|waiting| Some(*waiting) != place);
                self.end(place, time, result);
            }
            Kind::TimerCanceled(canceled) => {
                let place = self.timers.remove(&canceled.timer_id);
                let changed = self.progress.as_ref().is_some_and(|it| it.revision() > 0);
                let only_time = place
                    .and_then(|place| self.visit(place))
                    .is_some_and(|visit| matches!(visit.wait, Some(Wait::Timer { .. })));
                if changed && only_time {
                    self.end(place, time, Err(canceled_error()));
                }
            }
            Kind::ChildInitiated(child) => {
                let prefix = format!("{}/", self.key.workflow_id);
                let activation = child
                    .workflow_id
                    .strip_prefix(&prefix)
                    .unwrap_or(&child.workflow_id)
                    .to_owned();
                let place = self.open(&activation, time);
                if let Some(visit) = self.visit(place) {
                    visit.input = payload::value_of(&child.input).ok();
                    visit.wait = Some(Wait::SubFlow {
                        flow: child.workflow_type.to_string(),
                        workflow_id: child.workflow_id.to_string(),
                    });
                }
                self.children.insert(event.id, place);
            }
            Kind::ChildCompleted(child) => {
                let output = payload::value_of(&child.result).unwrap_or_default();
                self.end(self.children.get(&child.child.initiated).copied(), time, Ok(output));
            }
            Kind::ChildFailed(child) => {
                let error = payload::error_of(&child.failure);
                self.end(self.children.get(&child.child.initiated).copied(), time, Err(error));
            }
            Kind::ChildCanceled(child) => self.lost_child(
                child.child.initiated,
                time,
                "Canceled",
                "the sub-flow was cancelled",
            ),
            Kind::ChildTimedOut(child) => self.lost_child(
                child.child.initiated,
                time,
                "Timeout",
                "the sub-flow ran out of time",
            ),
            Kind::ChildTerminated(child) => {
                self.lost_child(
                    child.child.initiated,
                    time,
                    "Terminated",
                    "the sub-flow was terminated",
                );
            }
            Kind::ChildStartFailed(child) => {
                self.lost_child(
                    child.initiated,
                    time,
                    "StartFailed",
                    "a run with the sub-flow's workflow id is already open",
                );
            }
            Kind::Signaled(signaled) => {
                let value = payload::value_of(&signaled.input).unwrap_or_default();
                self.signaled(&signaled.name, value, time);
            }
            Kind::Marker(marker) => {
                if let Ok(Some(mark)) = Mark::read(&marker.name, payload::marker_json(marker)) {
                    self.mark(mark, time);
                }
            }
            Kind::Completed(completed) => {
                self.output = payload::value_of(&completed.result).ok();
                self.handled_failure = payload::is_handled_failure(&completed.result);
            }
            Kind::Failed(failed) => self.error = Some(payload::error_of(&failed.failure)),
            Kind::TimedOut(_) => {
                self.error = Some(
                    json!({ "kind": "Timeout", "message": "the run took longer than it may" }),
                );
            }
            Kind::Terminated(terminated) => {
                let reason = match &*terminated.reason {
                    "" => format!("it was terminated by {}", terminated.identity),
                    reason => format!("it was terminated by {}: {reason}", terminated.identity),
                };
                self.error = Some(json!({ "kind": "Terminated", "message": reason }));
            }
            // The rest says nothing about steps.
            _ => {}
        }
    }

    fn mark(&mut self, mark: Mark, time: Timestamp) {
        match mark {
            Mark::Wait(wait) => {
                let place = match self.waiting_at(&wait.activation) {
                    Some(place) => place,
                    None => self.open(&wait.activation, time),
                };
                let name = wait.signal.as_deref().unwrap_or(APPROVAL_SIGNAL).to_owned();
                let early = self.early.get_mut(&name).and_then(|queue| {
                    let at = queue.iter().position(|value| {
                        wait.signal.is_some() || decides(value, &wait.activation)
                    })?;
                    queue.remove(at)
                });
                if let Some(visit) = self.visit(place) {
                    visit.wait = Some(match wait.signal {
                        Some(name) => Wait::Signal { name },
                        None => Wait::Approval { title: wait.title },
                    });
                }
                match early {
                    Some(value) => self.answered(place, value, time),
                    None => self.waits.push(place),
                }
            }
            Mark::When(when) if !when.holds => {
                let step = self.step(when.step.as_str());
                if let Some(step) = self.steps.get_mut(step) {
                    step.skipped = Some("its condition did not hold".to_owned());
                }
            }
            Mark::When(_) => {}
            Mark::Skip(skip) => {
                let step = self.step(skip.step.as_str());
                if let Some(step) = self.steps.get_mut(step) {
                    step.skipped =
                        Some(format!("`{}`, which it needs, was skipped", skip.because_of));
                }
            }
            Mark::Fanout(fanout) => {
                let step = self.step(fanout.step.as_str());
                if let Some(step) = self.steps.get_mut(step) {
                    step.items = Some(fanout.items.len());
                }
            }
            Mark::Route(route) => {
                let at = self.step(route.step.as_str());
                let visit = self.steps.get_mut(at).and_then(|step| {
                    step.visits.iter_mut().rev().find(|visit| {
                        visit.item.is_none()
                            && Activation::parse(&visit.activation)
                                .is_some_and(|a| a.visit == route.visit)
                    })
                });
                if let Some(visit) = visit {
                    visit.led_to = Some(route.to.iter().map(ToString::to_string).collect());
                    if let (false, Some(error)) = (route.succeeded, &visit.error) {
                        self.error = Some(error.clone());
                    }
                }
            }
            Mark::Failed(failed) => {
                let place = self
                    .waiting_at(&failed.activation)
                    .unwrap_or_else(|| self.open(&failed.activation, time));
                self.end(
                    Some(place),
                    time,
                    Err(json!({ "kind": failed.kind, "message": failed.message })),
                );
            }
            Mark::Reuse(reuse) => {
                let place = self.open(&reuse.activation, time);
                if let Some(visit) = self.visit(place) {
                    visit.kept = Some(match (reuse.kind, &reuse.from) {
                        (ReuseKind::Reuse, Some(from)) => {
                            format!("run {}, event {}", from.run_id, from.event)
                        }
                        (ReuseKind::Reuse, None) => "an earlier run".to_owned(),
                        (ReuseKind::Override, _) => "a person".to_owned(),
                        (ReuseKind::Cache, Some(from)) => {
                            format!("the cache: run {}, event {}", from.run_id, from.event)
                        }
                        (ReuseKind::Cache, None) => "the cache".to_owned(),
                    });
                }
                self.end(Some(place), time, reuse.error.map_or(Ok(reuse.output), Err));
            }
            // What they changed is told by the progress.
            Mark::Spawn(_)
            | Mark::Mutation(_)
            | Mark::Breakpoints(_)
            | Mark::Stepping(_)
            | Mark::Break(_) => {}
        }
    }

    fn delta(&mut self, delta: &Delta) {
        match delta {
            Delta::AttemptStarted(begun) => {
                let Some(place) = self.activities.get(&begun.scheduled).copied() else { return };
                let Some(visit) = self.visit(place) else { return };
                visit.attempts.push(Attempt {
                    number: begun.attempt,
                    worker: begun.worker.identity.to_string(),
                    started: begun.time,
                    ended: None,
                    outcome: None,
                    error: None,
                    next_attempt: None,
                    logs: Vec::new(),
                    logs_dropped: 0,
                    metrics: BTreeMap::new(),
                    tokens: (0, 0),
                    cost_usd: 0.0,
                });
            }
            Delta::AttemptEnded(ended) => {
                if let Some(report) = &ended.report {
                    self.tokens.0 = self.tokens.0.saturating_add(report.tokens_in);
                    self.tokens.1 = self.tokens.1.saturating_add(report.tokens_out);
                    self.cost_usd += report.cost_usd;
                }
                let Some(place) = self.activities.get(&ended.scheduled).copied() else { return };
                let Some(attempt) = self.visit(place).and_then(|visit| visit.attempts.last_mut())
                else {
                    return;
                };
                attempt.started = ended.started;
                attempt.ended = Some(ended.ended);
                attempt.outcome = Some(outcome(ended.outcome));
                attempt.error = ended.failure.as_ref().map(|failure| payload::error_of(failure));
                attempt.next_attempt = ended.next_attempt;
                if let Some(report) = &ended.report {
                    let line = |line: &reflux_core::LogLine| Line {
                        time: Timestamp(line.time),
                        level: line.level.clone(),
                        text: line.text.clone(),
                    };
                    attempt.logs = report.logs.iter().map(line).collect();
                    attempt.logs_dropped = report.logs_dropped;
                    attempt.metrics = report.metrics.clone().into_iter().collect();
                    attempt.tokens = (report.tokens_in, report.tokens_out);
                    attempt.cost_usd = report.cost_usd;
                }
            }
            Delta::Unclaimed { scheduled, .. } => {
                let place = self.activities.get(scheduled).copied();
                if let Some(visit) = place.and_then(|place| self.visit(place)) {
                    visit.attempts.pop(); // it never began
                }
            }
            // The rest is bookkeeping.
            _ => {}
        }
    }

    fn signaled(&mut self, name: &str, value: Value, time: Timestamp) {
        let at = self.waits.iter().position(|place| {
            let visit = self.steps.get(place.step).and_then(|step| step.visits.get(place.visit));
            visit.is_some_and(|visit| match &visit.wait {
                Some(Wait::Approval { .. }) => {
                    name == APPROVAL_SIGNAL && decides(&value, &visit.activation)
                }
                Some(Wait::Signal { name: awaited }) => awaited == name,
                Some(Wait::Timer { .. } | Wait::SubFlow { .. }) | None => false,
            })
        });
        match at {
            Some(at) => {
                let place = self.waits.remove(at);
                self.answered(place, value, time);
            }
            None => self.early.entry(name.to_owned()).or_default().push_back(value),
        }
    }

    fn redriven(&mut self, redrive: Redrive) {
        for signal in redrive.memo.signals {
            self.early.entry(signal.name).or_default().push_back(signal.value);
        }
        self.redriven_from = Some(RedrivenFrom {
            run_id: redrive.of.to_string(),
            workflow_id: redrive.of_workflow,
            epoch: redrive.epoch,
            by: redrive.by,
            reason: redrive.reason,
            scope: redrive.scope.to_string(),
        });
    }

    fn answered(&mut self, place: Place, value: Value, time: Timestamp) {
        let approval =
            matches!(self.visit(place).map(|visit| &visit.wait), Some(Some(Wait::Approval { .. })));
        let approved = value.get("approved").and_then(Value::as_bool).unwrap_or(false);
        if !approval || approved {
            return self.end(Some(place), time, Ok(value));
        }
        let by = value.get("by").and_then(Value::as_str).unwrap_or("somebody");
        let comment =
            value.get("comment").and_then(Value::as_str).filter(|comment| !comment.is_empty());
        let message = comment
            .map_or(format!("rejected by {by}"), |comment| format!("rejected by {by}: {comment}"));
        self.end(Some(place), time, Err(json!({ "kind": "Rejected", "message": message })));
    }

    fn lost_child(&mut self, initiated: EventId, time: Timestamp, kind: &str, message: &str) {
        let place = self.children.get(&initiated).copied();
        self.end(place, time, Err(json!({ "kind": kind, "message": message })));
    }

    fn end(&mut self, place: Option<Place>, time: Timestamp, result: Result<Value, Value>) {
        let Some(visit) = place.and_then(|place| self.visit(place)) else { return };
        visit.ended = Some(time);
        match result {
            Ok(output) => visit.output = Some(output),
            Err(error) => visit.error = Some(error),
        }
    }

    /// A new visit of the step that an activation id names.
    fn open(&mut self, activation: &str, time: Timestamp) -> Place {
        let parsed = Activation::parse(activation);
        let step = self.step(parsed.as_ref().map_or(activation, |a| a.step.as_str()));
        let visit = Visit {
            activation: activation.to_owned(),
            item: parsed.as_ref().and_then(|a| a.item),
            compensates: parsed.is_some_and(|a| a.compensates),
            started: time,
            ended: None,
            input: None,
            output: None,
            error: None,
            attempts: Vec::new(),
            wait: None,
            led_to: None,
            kept: None,
            scheduled: None,
        };
        let Some(told) = self.steps.get_mut(step) else { return Place { step, visit: 0 } };
        told.skipped = None;
        told.visits.push(visit);
        Place { step, visit: told.visits.len() - 1 }
    }

    /// The visit of that activation that has not ended.
    fn waiting_at(&self, activation: &str) -> Option<Place> {
        self.steps.iter().enumerate().find_map(|(step, told)| {
            let visit =
                told.visits.iter().position(|v| v.activation == activation && v.ended.is_none())?;
            Some(Place { step, visit })
        })
    }

    fn visit(&mut self, place: Place) -> Option<&mut Visit> {
        self.steps.get_mut(place.step)?.visits.get_mut(place.visit)
    }

    fn step(&mut self, id: &str) -> usize {
        if let Some(at) = self.steps.iter().position(|step| step.id == id) {
            return at;
        }
        self.steps.push(Told {
            id: id.to_owned(),
            node: None,
            visits: Vec::new(),
            skipped: None,
            items: None,
        });
        self.steps.len() - 1
    }

    /// The story so far.
    pub fn story(&self) -> Story {
        let closed = self.run.closed.as_ref();
        Story {
            workflow_id: self.key.workflow_id.to_string(),
            run_id: self.key.run_id.to_string(),
            flow: self.flow.clone(),
            status: status_name(self.run.status).to_owned(),
            handled_failure: self.handled_failure,
            started: self.run.started_at,
            closed: closed.map(|close| close.time),
            paused: self.run.paused.as_ref().filter(|_| closed.is_none()).map(|paused| {
                match (&*paused.reason, &*paused.identity) {
                    ("", "") => "no reason was given".to_owned(),
                    ("", who) => format!("by {who}, without a reason"),
                    (reason, _) => reason.to_owned(),
                }
            }),
            cancel_requested: self.run.cancel_requested.is_some(),
            input: self.input.clone(),
            output: self.output.clone(),
            error: self.error.clone().filter(|_| closed.is_some() || self.handled_failure),
            steps: self.told_steps(),
            waits_for: if closed.is_some() { Vec::new() } else { self.waits_for() },
            revision: self.progress.as_ref().map_or(0, Progress::revision),
            redriven_from: self.redriven_from.clone(),
        }
    }

    fn told_steps(&self) -> Vec<StepStory> {
        let Some(progress) = &self.progress else {
            return self.steps.iter().map(|told| self.told(told, told.status())).collect();
        };
        let steps = progress.steps().map(|(step, state)| {
            let told = self.steps.iter().find(|told| told.id == step.id.as_str());
            let status = match (state.phase, state.outcome) {
                (StepPhase::Ended, Some(Outcome::Succeeded)) => StepStatus::Succeeded,
                (StepPhase::Ended, Some(Outcome::Failed)) => StepStatus::Failed,
                (StepPhase::Ended, Some(Outcome::Skipped)) => StepStatus::Skipped,
                (StepPhase::Running, _) if self.run.closed.is_none() => {
                    told.map_or(StepStatus::Running, Told::status)
                }
                (StepPhase::Running, _) => StepStatus::Failed, // the run was ended over it
                (StepPhase::Idle | StepPhase::Ready | StepPhase::Ended, _) => match self.run.closed
                {
                    Some(_) => StepStatus::Unreached,
                    None => StepStatus::Pending,
                },
            };
            let node = match &step.action {
                Action::Node { node, .. } => Some(node.name.clone()),
                Action::Flow { flow, .. } => Some(format!("flow {flow}")),
                Action::Wait(_) | Action::Pass => None,
            };
            let mut story = match told {
                Some(told) => self.told(told, status),
                None => StepStory {
                    id: step.id.to_string(),
                    node: None,
                    status,
                    reason: None,
                    visits: Vec::new(),
                    items: None,
                },
            };
            story.node = story.node.or(node);
            story
        });
        steps.collect()
    }

    fn told(&self, told: &Told, status: StepStatus) -> StepStory {
        let done = told
            .visits
            .iter()
            .filter(|visit| visit.item.is_some() && visit.ended.is_some())
            .count();
        StepStory {
            id: told.id.clone(),
            node: told.node.clone(),
            status,
            reason: told.skipped.clone().filter(|_| status == StepStatus::Skipped),
            visits: told.visits.clone(),
            items: told.items.map(|all| (done, all)),
        }
    }
}

impl Told {
    /// Where the step stands by what was seen of it.
    fn status(&self) -> StepStatus {
        if self.skipped.is_some() {
            return StepStatus::Skipped;
        }
        let open: Vec<&Visit> = self.visits.iter().filter(|visit| visit.ended.is_none()).collect();
        if !open.is_empty() {
            let rests = |visit: &&Visit| {
                visit.wait.is_some()
                    || visit
                        .attempts
                        .last()
                        .is_some_and(|a| a.ended.is_some() && a.outcome != Some("completed"))
            };
            return if open.iter().all(rests) { StepStatus::Waiting } else { StepStatus::Running };
        }
        match self.visits.last() {
            Some(visit) if visit.error.is_some() => StepStatus::Failed,
            Some(_) => StepStatus::Succeeded,
            None => StepStatus::Pending,
        }
    }
}

fn outcome(outcome: AttemptOutcome) -> &'static str {
    match outcome {
        AttemptOutcome::Completed => "completed",
        AttemptOutcome::Failed => "failed",
        AttemptOutcome::TimedOut => "timed_out",
        AttemptOutcome::Canceled => "canceled",
        AttemptOutcome::WorkerLost => "worker_lost",
        AttemptOutcome::Unspecified => "unknown",
    }
}

/// Whether an approval is meant for that activation: it names it, or names none.
fn decides(value: &Value, activation: &str) -> bool {
    value.get("step").and_then(Value::as_str).is_none_or(|step| step == activation)
}

fn canceled_error() -> Value {
    json!({ "kind": "Canceled", "message": "it was cancelled" })
}
