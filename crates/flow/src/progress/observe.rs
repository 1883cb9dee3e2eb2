//! Folds one event of the history into the progress.

use std::sync::Arc;

use reflux_core::{Event, Kind, Told, told_child};
use serde_json::{Value, json};

use super::alternative::Ended;
use super::{
    APPROVAL_SIGNAL, Activation, Ending, Mark, Phase, Progress, SIGNALS_KEPT_MAX, WaitFor,
};
use crate::graph::{Action, StepId, Wait};
use crate::payload;
use crate::planted::Defect;
use crate::redrive::Work;

/// An event that does not fit the flow: a damaged history, or a bug of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "event {event}: {problem}; the run's history does not fit its flow, restore it from a backup"
)]
pub struct Incoherent {
    /// The event's number.
    pub event: i64,
    /// What does not fit.
    pub problem: String,
}

impl Progress {
    /// Folds one event in.
    ///
    /// # Errors
    /// The event cannot follow from this flow.
    pub fn observe(&mut self, event: &Event) -> Result<(), Incoherent> {
        let incoherent = |problem: String| Incoherent { event: event.id.0, problem };
        match &event.kind {
            Kind::Started(started) => {
                self.spec = payload::sub_flow_header(&started.header);
                let input = payload::value_of(&started.input);
                self.start(input.map_err(|error| incoherent(format!("input: {error}")))?);
                let handed_on = self.redrive().map(|redrive| redrive.memo.signals.clone());
                for signal in handed_on.unwrap_or_default() {
                    self.signaled(&signal.name, Arc::new(signal.value));
                }
            }
            Kind::ActivityScheduled(scheduled) => {
                let activation = self.known(&scheduled.activity_id).ok_or_else(|| {
                    incoherent(format!("unknown activity `{}`", scheduled.activity_id))
                })?;
                let version = payload::node_version(&scheduled.header);
                let (name, input) = (&scheduled.activity_type, &scheduled.input);
                self.note_work(&activation, &Work::Node { name, version: &version, input });
                self.begin_activation(&activation);
                self.note_others(event.id, scheduled);
                self.open.activities.insert(event.id, activation);
            }
            Kind::ActivityCompleted(completed) => {
                self.open.others.remove(&completed.scheduled);
                if let Some(activation) = self.open.activities.remove(&completed.scheduled) {
                    let output = payload::value_of(&completed.result);
                    self.end(&activation, output.map_err(|error| bad_output(&error)));
                }
            }
            Kind::ActivityFailed(failed) => {
                let error = payload::error_of(&failed.failure);
                self.call_failed(failed.scheduled, Ended::Failed, error);
            }
            Kind::ActivityTimedOut(timed_out) => {
                let error = payload::error_of(&timed_out.failure);
                self.call_failed(timed_out.scheduled, Ended::TimedOut, error);
            }
            Kind::ActivityCancelRequested(requested) => {
                self.open.stopping.insert(requested.scheduled);
            }
            Kind::ActivityCanceled(canceled) => {
                self.open.others.remove(&canceled.scheduled);
                if let Some(activation) = self.open.activities.remove(&canceled.scheduled) {
                    self.end(&activation, Err(canceled_error()));
                }
            }
            Kind::TimerStarted(started) => {
                let activation = self
                    .known(&started.timer_id)
                    .ok_or_else(|| incoherent(format!("unknown timer `{}`", started.timer_id)))?;
                if !self.is_bounded_wait(&activation) {
                    self.note_timer(&activation);
                    self.begin_activation(&activation);
                }
                self.open.timers.insert(started.timer_id.clone(), activation);
            }
            Kind::TimerFired(fired) => self.timer_fired(&fired.timer_id),
            Kind::TimerCanceled(canceled) => {
                self.agenda.stale_timers.remove(&canceled.timer_id);
                let activation = self.open.timers.remove(&canceled.timer_id);
                let step = activation.filter(|it| self.open.restarting.remove(&it.step));
                if let Some(at) = step.and_then(|activation| self.position(&activation.step)) {
                    self.ready_to_start(at);
                }
            }
            Kind::Signaled(signaled) => {
                let value = payload::value_of(&signaled.input).unwrap_or(Value::Null);
                self.signaled(&signaled.name, Arc::new(value));
            }
            Kind::ChildInitiated(initiated) => {
                let activation =
                    self.child_activation(&initiated.workflow_id).ok_or_else(|| {
                        incoherent(format!("unknown child `{}`", initiated.workflow_id))
                    })?;
                self.note_flow(&activation, &initiated.workflow_type, &initiated.input);
                self.begin_activation(&activation);
                self.open.children.insert(event.id, activation);
            }
            Kind::ChildCompleted(completed) => {
                if let Some(activation) = self.open.children.remove(&completed.child.initiated) {
                    let output = payload::value_of(&completed.result);
                    self.end(&activation, output.map_err(|error| bad_output(&error)));
                }
            }
            Kind::ChildFailed(failed) => {
                if let Some(activation) = self.open.children.remove(&failed.child.initiated) {
                    self.end(&activation, Err(payload::error_of(&failed.failure)));
                }
            }
            Kind::ChildCanceled(child) => self.child_lost(child.child.initiated, canceled_error()),
            Kind::ChildTimedOut(child) => {
                self.child_lost(
                    child.child.initiated,
                    json!({ "kind": "Timeout", "message": "the sub-flow ran out of time" }),
                );
            }
            Kind::ChildTerminated(child) => {
                self.child_lost(
                    child.child.initiated,
                    json!({ "kind": "Terminated", "message": "the sub-flow was terminated" }),
                );
            }
            Kind::ChildStartFailed(child) => {
                self.child_lost(
                    child.initiated,
                    json!({ "kind": "StartFailed", "message": "a run with the sub-flow's workflow id is already open" }),
                );
            }
            Kind::ExternalCancelInitiated(initiated) => {
                let tail = self.child_activation(&initiated.target.workflow_id);
                let children = self.open.children.iter();
                let child =
                    children.filter(|(_, child)| Some(*child) == tail.as_ref()).map(|(id, _)| *id);
                self.open.stopping.extend(child.collect::<Vec<_>>());
            }
            Kind::CancelRequested(_) => {
                self.canceling = true;
                self.ending = self.ending.take().or(Some(Ending::Canceled));
                self.leave_waits();
            }
            // Who resumes without a word on steps wants no more single-stepping.
            Kind::Paused(_) => self.steering.steps_left = None,
            Kind::Marker(marker) if told_child(marker).is_some() => match told_child(marker) {
                Some((Told::Pause, child)) => drop(self.open.suspended.insert(child)),
                Some((Told::Resume, child)) => drop(self.open.suspended.remove(&child)),
                Some((Told::Terminate, _)) | None => {}
            },
            Kind::Marker(marker) => self
                .observe_marker(&marker.name, payload::marker_json(marker))
                .map_err(incoherent)?,
            Kind::Completed(_)
            | Kind::Failed(_)
            | Kind::TimedOut(_)
            | Kind::Canceled(_)
            | Kind::Terminated(_)
            | Kind::ContinuedAsNew(_) => self.closed = true,
            // An attempt's start, a child's start and what concerns other runs move no step.
            _ => {}
        }
        if self.ending.is_some() {
            self.leave_waits();
        } else {
            self.end_parents();
        }
        Ok(())
    }

    fn observe_marker(&mut self, name: &str, json: &[u8]) -> Result<(), String> {
        let Some(mark) =
            Mark::read(name, json).map_err(|error| format!("marker `{name}`: {error}"))?
        else {
            return Ok(());
        };
        let at = |progress: &Self, step: &StepId| {
            progress.position(step).ok_or_else(|| format!("marker `{name}`: unknown step `{step}`"))
        };
        match mark {
            Mark::Route(route) => {
                let from = at(self, &route.step)?;
                self.agenda.routes.remove(&(from, route.visit, route.succeeded));
                if route.to.is_empty() && !route.succeeded {
                    let error = self.error.clone().unwrap_or_default();
                    self.fail_run(error);
                }
                for target in &route.to {
                    let target = at(self, target)?;
                    self.note_route(&route.step, route.visit, target);
                    self.fire(target);
                }
            }
            Mark::When(when) => {
                let at = at(self, &when.step)?;
                self.decide_when(at, when.holds);
            }
            Mark::Skip(skip) => {
                let at = at(self, &skip.step)?;
                self.agenda.skips.retain(|(step, _)| *step != at);
                self.skip(at);
            }
            Mark::Fanout(fanout) => {
                let at = at(self, &fanout.step)?;
                let flow = self.flow.clone();
                let step = flow.steps.get(at);
                let concurrency =
                    step.and_then(|step| step.for_each.as_ref()).map_or(1, |each| each.concurrency);
                let activation = Activation::visit(fanout.step, fanout.visit);
                self.note_work(&activation, &Work::Items(&fanout.items));
                self.fan_out(at, fanout.items, concurrency);
            }
            Mark::Wait(wait) => self.begin_wait(wait)?,
            Mark::Reuse(reuse) => {
                let activation = self.known(&reuse.activation).ok_or_else(|| {
                    format!("marker `{name}`: unknown activation `{}`", reuse.activation)
                })?;
                match (&reuse.version, reuse.key) {
                    (Some(version), None) => self.note_cached(&activation, version),
                    (_, key) => self.note_reuse(&activation, key),
                }
                self.begin_activation(&activation);
                self.end(&activation, reuse.error.map_or(Ok(reuse.output), Err));
            }
            Mark::Failed(failed) => {
                let activation = self.known(&failed.activation).ok_or_else(|| {
                    format!("marker `{name}`: unknown activation `{}`", failed.activation)
                })?;
                let error = json!({ "kind": failed.kind, "message": failed.message });
                self.failed_before_start(&activation, error);
            }
            Mark::Spawn(spawn) => {
                let mut steps = super::spawned_steps(&spawn.steps)
                    .map_err(|problems| format!("spawned steps: {} problems", problems.len()))?;
                let siblings: Vec<StepId> = steps.iter().map(|step| step.id.clone()).collect();
                for step in &mut steps {
                    super::spawn::adopt(step, &spawn.parent, &siblings);
                }
                self.observe_spawn(&spawn, steps);
            }
            Mark::Mutation(mutation) => self.observe_mutation(&mutation)?,
            Mark::Breakpoints(breakpoints) => {
                self.steering.breakpoints = breakpoints.set.into_iter().collect();
            }
            Mark::Stepping(stepping) => self.steering.steps_left = Some(stepping.count),
            Mark::Break(stop) => drop(self.steering.passed.insert((stop.step, stop.visit))),
        }
        Ok(())
    }

    /// The activation that a child's workflow id names.
    fn child_activation(&self, workflow_id: &str) -> Option<Activation> {
        self.known(workflow_id.strip_prefix(&*self.key.workflow_id)?.strip_prefix('/')?)
    }

    /// The activation of that name, if its step is in the graph.
    fn known(&self, text: &str) -> Option<Activation> {
        Activation::parse(text).filter(|activation| self.flow.index.contains_key(&activation.step))
    }

    fn begin_activation(&mut self, activation: &Activation) {
        if activation.compensates {
            self.undoable.pop();
            return;
        }
        let Some(at) = self.position(&activation.step) else { return };
        match activation.item {
            Some(item) => self.begin_item(at, item),
            None => self.begin(at),
        }
    }

    fn failed_before_start(&mut self, activation: &Activation, error: Value) {
        let Some(at) = self.position(&activation.step) else { return };
        let routing = (at, activation.visit, true);
        if self.agenda.routes.remove(&routing)
            || self.agenda.routes.remove(&(at, activation.visit, false))
        {
            // A condition that cannot be evaluated leads nowhere: the run fails.
            let mut error = error;
            if let Some(error) = error.as_object_mut() {
                error.insert("step".into(), Value::String(activation.step.to_string()));
            }
            return self.fail_run(Arc::new(error));
        }
        self.agenda.spawns.remove(&activation.to_string());
        let over = activation.compensates || activation.item.is_some();
        if over || self.steps.get(at).is_some_and(|state| state.phase != Phase::Running) {
            self.begin_activation(activation);
        }
        self.end(activation, Err(error));
    }

    /// Whether a timer of this activation limits a wait instead of being it.
    pub(super) fn is_bounded_wait(&self, activation: &Activation) -> bool {
        let step = self.position(&activation.step).and_then(|at| self.flow.steps.get(at));
        matches!(
            step.map(|step| &step.action),
            Some(Action::Wait(Wait::Signal { .. } | Wait::Approval { .. }))
        )
    }

    fn timer_fired(&mut self, timer_id: &Arc<str>) {
        self.agenda.stale_timers.remove(timer_id);
        let Some(activation) = self.open.timers.remove(timer_id) else { return };
        if !self.is_bounded_wait(&activation) {
            return self.end(&activation, Ok(Value::Null));
        }
        if self.stop_waiting(&activation) {
            let message = format!("step `{}` waited as long as it may", activation.step);
            self.end(&activation, Err(json!({ "kind": "Timeout", "message": message })));
        }
    }

    fn begin_wait(&mut self, wait: WaitFor) -> Result<(), String> {
        let activation = self
            .known(&wait.activation)
            .ok_or_else(|| format!("unknown activation `{}`", wait.activation))?;
        let (name, title) = (wait.signal.as_deref(), wait.title.as_deref());
        self.note_work(&activation, &Work::Wait { name, title });
        self.begin_activation(&activation);
        let name = wait.signal.as_deref().unwrap_or(APPROVAL_SIGNAL);
        let early = self.signals.get_mut(name).and_then(|queue| {
            let at = match wait.signal {
                Some(_) if Defect::NewestSignalFirst.is_planted() => queue.len().checked_sub(1)?,
                Some(_) => 0,
                None => queue.iter().position(|value| decides(value, &wait.activation))?,
            };
            queue.remove(at)
        });
        match (early, wait.signal) {
            (Some(value), Some(_)) => self.wait_over(&activation, Ok((*value).clone())),
            (Some(value), None) => self.wait_over(&activation, decision(&value)),
            (None, Some(name)) => {
                self.open.signal_waits.entry(name).or_default().push_back(activation)
            }
            (None, None) => {
                self.open.approvals.insert(wait.activation, activation);
            }
        }
        Ok(())
    }

    fn signaled(&mut self, name: &str, value: Arc<Value>) {
        if name == APPROVAL_SIGNAL {
            let decided =
                self.open.approvals.keys().find(|waiting| decides(&value, waiting)).cloned();
            if let Some(activation) = decided.and_then(|id| self.open.approvals.remove(&id)) {
                return self.wait_over(&activation, decision(&value));
            }
        } else if let Some(waits) = self.open.signal_waits.get_mut(name) {
            let first = waits.pop_front();
            if waits.is_empty() {
                self.open.signal_waits.remove(name);
            }
            if let Some(activation) = first {
                return self.wait_over(&activation, Ok((*value).clone()));
            }
        }
        let queue = self.signals.entry(name.to_owned()).or_default();
        if queue.len() < SIGNALS_KEPT_MAX {
            queue.push_back(value);
        }
    }

    /// What was waited for has come: its time limit is no longer needed.
    fn wait_over(&mut self, activation: &Activation, result: Result<Value, Value>) {
        self.note_wait_over(activation, &result);
        let timer_id: Arc<str> = activation.to_string().into();
        if self.open.timers.contains_key(&timer_id) {
            self.agenda.stale_timers.insert(timer_id);
        }
        self.end(activation, result);
    }

    /// Takes the activation out of what is waited for; `false` when it was not there.
    pub(super) fn stop_waiting(&mut self, activation: &Activation) -> bool {
        if self.open.approvals.remove(&activation.to_string()).is_some() {
            return true;
        }
        let mut found = false;
        self.open.signal_waits.retain(|_, waits| {
            waits.retain(|waiting| {
                found |= waiting == activation;
                waiting != activation
            });
            !waits.is_empty()
        });
        found
    }

    /// An ending run waits for nobody: its timers are called off, its waits left.
    fn leave_waits(&mut self) {
        self.open.signal_waits.clear();
        self.open.approvals.clear();
    }

    fn child_lost(&mut self, initiated: reflux_core::EventId, error: Value) {
        if let Some(activation) = self.open.children.remove(&initiated) {
            self.end(&activation, Err(error));
        }
    }
}

/// Whether an approval signal is meant for that activation: it names it, or names none.
pub(crate) fn decides(value: &Value, activation: &str) -> bool {
    match value.get("step").and_then(Value::as_str) {
        Some(step) => step == activation || Defect::ApprovalsForAnyStep.is_planted(),
        None => true,
    }
}

fn decision(value: &Value) -> Result<Value, Value> {
    let field = |name: &str| value.get(name).cloned().unwrap_or(Value::Null);
    let approved = value.get("approved").and_then(Value::as_bool).unwrap_or(false);
    let output = json!({ "approved": approved, "by": field("by"), "comment": field("comment") });
    if approved || Defect::RefusalsApprove.is_planted() {
        return Ok(output);
    }
    let by = value.get("by").and_then(Value::as_str).unwrap_or("somebody");
    let comment = value.get("comment").and_then(Value::as_str).unwrap_or("");
    let separator = if comment.is_empty() { "" } else { ": " };
    Err(json!({
        "kind": "Rejected",
        "message": format!("rejected by {by}{separator}{comment}"),
        "details": output,
    }))
}

fn canceled_error() -> Value {
    json!({ "kind": "Canceled", "message": "it was cancelled" })
}

fn bad_output(error: &serde_json::Error) -> Value {
    json!({ "kind": "BadOutput", "message": format!("the output is not JSON: {error}") })
}
