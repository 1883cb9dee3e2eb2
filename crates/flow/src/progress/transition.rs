//! What the events mean for the steps: start, end, release, fire.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::step::{Fan, Spawned};
use super::{Activation, Ending, Outcome, Phase, Progress};
use crate::graph::{Action, Join};
use crate::planted::Defect;
use crate::scope::StepView;

impl Progress {
    /// The run has started: every step that waits for nothing is ready.
    pub(super) fn start(&mut self, input: Value) {
        self.input = Arc::new(input);
        self.start_roots(0);
    }

    /// Makes the steps from `from` on ready that no route leads to and that need nothing.
    pub(super) fn start_roots(&mut self, from: usize) {
        let flow = self.flow.clone();
        for (at, step) in flow.steps.iter().enumerate().skip(from) {
            if step.needs.is_empty() && !step.routed {
                self.make_ready(at);
            }
        }
    }

    pub(super) fn make_ready(&mut self, at: usize) {
        let Some(state) = self.steps.get_mut(at) else { return };
        state.visits += 1;
        self.ready_to_start(at);
    }

    /// The visit is to be started; again, if it was under way.
    pub(super) fn ready_to_start(&mut self, at: usize) {
        let flow = self.flow.clone();
        let (Some(step), Some(state)) = (flow.steps.get(at), self.steps.get_mut(at)) else {
            return;
        };
        state.phase = Phase::Ready;
        self.agenda.failing.remove(&step.id);
        // A place where branches meet does nothing: it has ended as soon as it is reached.
        if step.action == Action::Pass && step.when.is_none() && step.for_each.is_none() {
            self.succeed(at, Value::Null);
        } else {
            self.agenda.ready.insert(at);
        }
    }

    /// The visit has begun: it is no longer to be started.
    pub(super) fn begin(&mut self, at: usize) {
        self.agenda.ready.remove(&at);
        self.count_start();
        if let Some(state) = self.state(at) {
            state.phase = Phase::Running;
        }
    }

    fn count_start(&mut self) {
        if let Some(left) = &mut self.steering.steps_left {
            *left = left.saturating_sub(1);
        }
    }

    /// An item of a `for_each` has begun.
    pub(super) fn begin_item(&mut self, at: usize, item: u32) {
        let Some(fan) = self.steps.get_mut(at).and_then(|state| state.fan.as_mut()) else {
            return;
        };
        fan.next = fan.next.max(item as usize + 1);
        fan.pass_skipped();
        fan.running += 1;
        if !fan.has_room() {
            self.agenda.fanning.remove(&at);
        }
        self.count_start();
    }

    /// The `when` of a visit was evaluated.
    pub(super) fn decide_when(&mut self, at: usize, holds: bool) {
        if !holds {
            return self.skip(at);
        }
        if let Some(state) = self.steps.get_mut(at) {
            state.phase = Phase::Running;
        }
        let flow = self.flow.clone();
        let passes = flow
            .steps
            .get(at)
            .is_some_and(|step| step.action == Action::Pass && step.for_each.is_none());
        if passes {
            self.succeed(at, Value::Null);
        }
    }

    /// The list of a `for_each` is known.
    pub(super) fn fan_out(&mut self, at: usize, items: Vec<Value>, concurrency: u32) {
        self.begin(at);
        if items.is_empty() {
            return self.succeed(at, Value::Array(Vec::new()));
        }
        let fan = Fan {
            outputs: vec![Value::Null; items.len()],
            items: items.into_iter().map(Arc::new).collect(),
            next: 0,
            running: 0,
            concurrency,
            error: None,
            skipped: BTreeSet::new(),
        };
        if let Some(state) = self.state(at) {
            state.fan = Some(Box::new(fan));
            self.agenda.fanning.insert(at);
        }
    }

    /// An activation is over, well or not.
    pub(super) fn end(&mut self, activation: &Activation, result: Result<Value, Value>) {
        if activation.compensates {
            return self.undone(result);
        }
        let Some(at) = self.position(&activation.step) else { return };
        if activation.item.is_none()
            && self.open.restarting.remove(&activation.step)
            && result.is_err()
        {
            return self.ready_to_start(at);
        }
        let Some(item) = activation.item else {
            return match result {
                Ok(output) => self.visit_succeeded(at, activation, output),
                Err(error) => self.fail(at, error),
            };
        };
        let Some(fan) = self.steps.get_mut(at).and_then(|state| state.fan.as_mut()) else {
            return;
        };
        fan.running -= 1;
        match result {
            Ok(output) => {
                let came = Defect::OutputsAsTheyCome.is_planted();
                let came = came.then(|| fan.outputs.iter().position(Value::is_null)).flatten();
                if let Some(place) = fan.outputs.get_mut(came.unwrap_or(item as usize)) {
                    *place = output;
                }
            }
            Err(error) => fan.error = fan.error.take().or(Some(Arc::new(error))),
        }
        self.go_on_fanning(at);
    }

    /// Something of a `for_each` has changed: more items may start, or it is over.
    pub(super) fn go_on_fanning(&mut self, at: usize) {
        let Some(fan) = self.steps.get_mut(at).and_then(|state| state.fan.as_mut()) else {
            return;
        };
        if fan.has_room() {
            self.agenda.fanning.insert(at);
        } else {
            self.agenda.fanning.remove(&at);
        }
        if !fan.is_over() {
            return;
        }
        let Some(fan) = self.steps.get_mut(at).and_then(|state| state.fan.take()) else {
            return;
        };
        match fan.error {
            None => self.succeed(at, Value::Array(fan.outputs)),
            Some(error) => self.fail(at, Arc::unwrap_or_clone(error)),
        }
    }

    fn visit_succeeded(&mut self, at: usize, activation: &Activation, output: Value) {
        let flow = self.flow.clone();
        let Some(step) = flow.steps.get(at) else { return };
        let output = step.shape_output(output);
        if step.spawns && output.get("steps").is_some_and(Value::is_array) {
            self.agenda.spawns.insert(activation.to_string(), Arc::new(output));
        } else {
            self.succeed(at, output);
        }
    }

    /// The steps that a visit's output asked for have joined the graph.
    pub(super) fn spawned(&mut self, at: usize, children: Vec<usize>) {
        if children.is_empty() {
            return self.succeed(at, json!({}));
        }
        let first = children.iter().copied().min().unwrap_or_default();
        if let Some(state) = self.state(at) {
            state.spawned = Some(Box::new(Spawned { children }));
            self.open.parents.insert(at);
        }
        self.start_roots(first);
    }

    pub(super) fn succeed(&mut self, at: usize, output: Value) {
        let flow = self.flow.clone();
        let Some(step) = flow.steps.get(at) else { return };
        if step.compensate.is_some() {
            self.undoable.push(at);
        }
        let visit = self.close_visit(at, Outcome::Succeeded, output, None);
        if !step.on_success.is_empty() {
            self.agenda.routes.insert((at, visit, true));
        }
        self.release(at, Outcome::Succeeded);
        self.after_visit(at);
    }

    pub(super) fn fail(&mut self, at: usize, mut error: Value) {
        let flow = self.flow.clone();
        let Some(step) = flow.steps.get(at) else { return };
        if let Some(error) = error.as_object_mut() {
            error.insert("step".into(), Value::String(step.id.to_string()));
        }
        let error = Arc::new(error);
        let visit = self.close_visit(at, Outcome::Failed, Value::Null, Some(error.clone()));
        self.route_failure(at, visit, error);
        self.release(at, Outcome::Failed);
        self.after_visit(at);
    }

    /// A visit ends with a failure that was handled elsewhere.
    pub(super) fn close_failed(&mut self, at: usize, error: Option<Arc<Value>>) {
        self.close_visit(at, Outcome::Failed, Value::Null, error);
        self.release(at, Outcome::Failed);
        self.after_visit(at);
    }

    /// Hands a failure to the step's rules or the flow's handler; without one the run will fail.
    fn route_failure(&mut self, at: usize, visit: u32, error: Arc<Value>) {
        let flow = self.flow.clone();
        let own = flow.steps.get(at).is_some_and(|step| !step.on_failure.is_empty());
        let handler = self.handlers.contains(&at) && !Defect::HandlersHandleThemselves.is_planted();
        let inherited = !flow.on_failure.is_empty() && !handler;
        if own || inherited {
            self.error = Some(error);
            self.agenda.routes.insert((at, visit, false));
        } else {
            self.fail_run(error);
        }
    }

    /// Nothing new starts; when what runs has ended, the run fails with the first error.
    pub(super) fn fail_run(&mut self, error: Arc<Value>) {
        if self.ending.is_none() {
            self.ending = Some(Ending::Failed(error));
        }
    }

    pub(super) fn skip(&mut self, at: usize) {
        self.agenda.ready.remove(&at);
        self.close_visit(at, Outcome::Skipped, Value::Null, None);
        self.release(at, Outcome::Skipped);
        self.after_visit(at);
    }

    fn close_visit(
        &mut self,
        at: usize,
        outcome: Outcome,
        output: Value,
        error: Option<Arc<Value>>,
    ) -> u32 {
        self.agenda.ready.remove(&at);
        self.agenda.fanning.remove(&at);
        self.open.parents.remove(&at);
        let Some(state) = self.steps.get_mut(at) else { return 0 };
        if let Some(step) = self.flow.steps.get(at).filter(|_| !self.steering.passed.is_empty()) {
            self.steering.passed.remove(&(step.id.clone(), state.visits));
        }
        let first = state.outcome.is_none();
        state.phase = Phase::Ended;
        state.outcome = Some(outcome);
        state.fan = None;
        state.spawned = None;
        let status = match outcome {
            Outcome::Succeeded => "completed",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        };
        state.view = Some(Arc::new(StepView {
            output: Arc::new(output),
            status: status.into(),
            error,
            visits: state.visits,
        }));
        self.done += u32::from(first);
        state.visits
    }

    /// Tells the steps that need this one that it has ended; only its first end counts.
    fn release(&mut self, at: usize, outcome: Outcome) {
        match self.state(at) {
            Some(state) if !state.released => state.released = true,
            _ => return,
        }
        let dependents = self.dependents.get(at).cloned().unwrap_or_default();
        for dependent in dependents {
            let Some(state) = self.steps.get_mut(dependent) else { continue };
            state.unmet = state.unmet.saturating_sub(1);
            match outcome {
                Outcome::Succeeded => state.need_succeeded = true,
                Outcome::Failed => state.need_failed = true,
                Outcome::Skipped => state.need_skipped = state.need_skipped.or(Some(at)),
            }
            self.consider(dependent);
        }
    }

    /// Starts or skips a step whose needs have all ended.
    pub(super) fn consider(&mut self, at: usize) {
        let flow = self.flow.clone();
        let (Some(step), Some(state)) = (flow.steps.get(at), self.steps.get(at)) else { return };
        let first = step.join == Join::Any && Defect::AnyJoinsTheFirst.is_planted();
        if (state.unmet > 0 && !first) || state.phase != Phase::Idle {
            return;
        }
        match (step.join, state.need_succeeded, state.need_failed, state.need_skipped) {
            (Join::Any, true, _, _) => self.make_ready(at),
            // A failed need that a route handled leaves the step unreached.
            (Join::Any, false, true, _) | (Join::All, _, true, _) => {}
            (Join::Any, false, false, Some(need)) | (Join::All, _, false, Some(need))
                if !Defect::SkipsStop.is_planted() =>
            {
                self.agenda.skips.insert((at, need));
            }
            (Join::Any, false, false, _) | (Join::All, _, false, _) => self.make_ready(at),
        }
    }

    /// A route leads to the step: a new visit, now or when it has time. Past its bound it fails
    /// with `MaxVisits` instead.
    pub(super) fn fire(&mut self, at: usize) {
        let flow = self.flow.clone();
        let (Some(step), Some(state)) = (flow.steps.get(at), self.steps.get_mut(at)) else {
            return;
        };
        let visits = state.visits.saturating_add(state.queued);
        if visits >= step.max_visits && !Defect::VisitsUnbounded.is_planted() {
            let error = json!({
                "step": step.id.to_string(),
                "kind": "MaxVisits",
                "message": format!(
                    "step `{}` was not started again: it may be visited {} times",
                    step.id, step.max_visits
                ),
            });
            let again = std::mem::replace(&mut state.exhausted, true);
            let visit = step.max_visits.saturating_add(1);
            let error = Arc::new(error);
            return if again { self.fail_run(error) } else { self.route_failure(at, visit, error) };
        }
        match state.phase {
            Phase::Ready | Phase::Running => state.queued += 1,
            Phase::Idle | Phase::Ended => self.make_ready(at),
        }
    }

    /// A visit that was waiting for the step to have time starts.
    fn after_visit(&mut self, at: usize) {
        let Some(state) = self.steps.get_mut(at) else { return };
        if state.queued > 0 && state.phase == Phase::Ended {
            state.queued -= 1;
            self.make_ready(at);
        }
    }

    /// A step was taken back, or could not be.
    fn undone(&mut self, result: Result<Value, Value>) {
        if let Err(error) = result {
            self.undo_errors.push(Arc::new(error));
        }
    }
}
