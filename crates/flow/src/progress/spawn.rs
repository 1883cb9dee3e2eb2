//! Steps that a step's output asked for. They live under their parent and end before it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::mark::Spawn;
use super::{Activation, Outcome, Phase, Progress};
use crate::diagnostic::Diagnostic;
use crate::graph::{Rule, Step, StepId};
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

    /// A spawned step has ended for the first time: its parent may be over.
    pub(super) fn child_ended(&mut self, at: usize, outcome: Outcome) {
        let Some(parent) = self.parent_of(at) else { return };
        if outcome == Outcome::Failed {
            return;
        }
        let Some(spawned) = self.steps.get_mut(parent).and_then(|state| state.spawned.as_mut())
        else {
            return;
        };
        spawned.open = spawned.open.saturating_sub(1);
        if spawned.open > 0 {
            return;
        }
        let children = std::mem::take(&mut spawned.children);
        let mut output = Map::new();
        for child in children {
            let (Some(step), Some(state)) = (self.flow.steps.get(child), self.steps.get(child))
            else {
                continue;
            };
            let name = step.id.as_str().rsplit('/').next().unwrap_or_default();
            let value = state.view().map_or(Value::Null, |view| (*view.output).clone());
            output.insert(name.to_owned(), value);
        }
        self.succeed(parent, Value::Object(output));
    }

    fn parent_of(&self, at: usize) -> Option<usize> {
        let id = &self.flow.steps.get(at)?.id;
        let parent = id.as_str().rsplit_once('/')?.0;
        let parent = self.position(&Activation::parse(parent)?.step)?;
        let running = self.steps.get(parent)?.phase == Phase::Running;
        running.then_some(parent)
    }
}

/// Reads the steps that an output asks for.
///
/// # Errors
/// What is wrong with them.
pub(crate) fn spawned_steps(steps: &[Value]) -> Result<Vec<Step>, Vec<Diagnostic>> {
    let flow = json!({ "name": "spawned", "steps": steps });
    Ok(syntax::parse_value(&flow)?.flow.steps)
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
