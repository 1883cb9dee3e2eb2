//! Steps that a step's output asked for. They live under their parent and end before it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::mark::Spawn;
use super::{Activation, Outcome, Progress, StepState};
use crate::diagnostic::Diagnostic;
use crate::graph::{Rule, Step, StepId};
use crate::span::Span;
use crate::syntax;

impl Progress {
    /// Adds the spawned steps to the graph and starts those that wait for nothing.
    pub(super) fn observe_spawn(&mut self, spawn: &Spawn, steps: Vec<Step>) {
        self.agenda.spawns.remove(&spawn.parent);
        let Some(parent) = Activation::parse(&spawn.parent) else { return };
        let Some(at) = self.position(&parent.step) else { return };
        let from = self.steps.len();
        let flow = Arc::make_mut(&mut self.flow);
        for step in steps {
            flow.index.insert(step.id.clone(), flow.steps.len());
            flow.steps.push(step);
        }
        let children = (from..flow.steps.len()).collect();
        self.connect(from);
        self.spawned(at, children);
    }

    /// A step that spawned others is over when nothing under it runs or is left to start.
    pub(super) fn end_parents(&mut self) {
        while let Some(at) = self.open.parents.iter().rev().find(|at| self.is_over(**at)).copied() {
            let Some(state) = self.steps.get_mut(at) else { return };
            let children = state.spawned.take().map(|spawned| spawned.children);
            self.end_parent(at, &children.unwrap_or_default());
        }
    }

    fn is_over(&self, parent: usize) -> bool {
        let children = self.steps.get(parent).and_then(|state| state.spawned.as_ref());
        let is_still = |at: &usize| {
            let rests = self.steps.get(*at).is_none_or(StepState::rests);
            let routes = self.agenda.routes.iter().any(|(step, ..)| step == at);
            rests && !routes && !self.agenda.skips.iter().any(|(step, _)| step == at)
        };
        children.is_none_or(|spawned| spawned.children.iter().all(is_still))
    }

    fn end_parent(&mut self, at: usize, children: &[usize]) {
        let mut output = Map::new();
        for child in children {
            let (Some(step), Some(state)) = (self.flow.steps.get(*child), self.steps.get(*child))
            else {
                continue;
            };
            // Somebody else handled it: there is nothing that the parent could give.
            if state.outcome == Some(Outcome::Failed) && step.on_failure.is_empty() {
                let error = state.view().and_then(|view| view.error.clone());
                return self.close_failed(at, error);
            }
            let name = step.id.as_str().rsplit('/').next().unwrap_or_default();
            let value = state.view().map_or(Value::Null, |view| (*view.output).clone());
            output.insert(name.to_owned(), value);
        }
        self.succeed(at, Value::Object(output));
    }
}

/// Reads the steps that an output asks for.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn spawned_steps(steps: &[Value]) -> Result<Vec<Step>, Vec<Diagnostic>> {
    let flow = json!({ "name": "spawned", "steps": steps });
    let steps = syntax::parse_value(&flow)?.flow.steps;
    match steps.iter().find(|step| step.alternatives.is_some()) {
        None => Ok(steps),
        Some(step) => Err(vec![Diagnostic::error(
            "alternatives",
            format!(
                "the step `{}` is spawned and so can have no alternatives; spawn a sub-flow whose step has them",
                step.id
            ),
            Span::default(),
        )]),
    }
}

/// Puts a step under its parent: its own id, and what it says of its siblings.
pub(crate) fn adopt(step: &mut Step, parent: &str, siblings: &[StepId]) {
    let under = |id: &StepId| {
        if siblings.contains(id) { StepId::new(format!("{parent}/{id}")) } else { id.clone() }
    };
    step.needs = step.needs.iter().map(under).collect();
    for rules in [&mut step.on_success, &mut step.on_failure] {
        for Rule { then, otherwise, .. } in rules {
            *then = then.iter().map(under).collect();
            *otherwise = otherwise.iter().map(under).collect();
        }
    }
    step.id = StepId::new(format!("{parent}/{}", step.id));
}
