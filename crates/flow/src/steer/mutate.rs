//! Whether a patch fits the run as it stands, and what it does to it.

use std::collections::BTreeSet;

use reflux_core::Decision;
use serde_json::Value;

use super::Refused;
use super::patch::{Patch, base, check_flows, difference};
use crate::advance::{Policies, mark};
use crate::canonical::{node_text, step as document_of};
use crate::graph::{Action, Alternatives, NodeRef, Step, StepId};
use crate::progress::{Activation, Mark, Mutation, Progress, Removed, Standing, restarts};

impl Progress {
    /// The marker of a mutation, and the ends of the work that it leaves without a purpose.
    pub(super) fn decide_mutation(
        &self,
        patch: &Patch,
        nodes: &dyn Policies,
    ) -> Result<Vec<Decision>, Refused> {
        if self.is_ending() {
            return Err(Refused(
                "this run is ending and starts no step any more; re-drive it instead".into(),
            ));
        }
        let revision = self.revision();
        if let Some(expected) = patch.revision.filter(|expected| *expected != revision) {
            return Err(Refused(format!(
                "the flow of this run is at revision {revision}, not {expected}; look at what has changed and give that revision"
            )));
        }
        let was = base(self.flow());
        let now = self.with_alternatives(patch, nodes)?.apply(self.flow())?;
        let (put, gone) = difference(&was, &now);
        let mut removed: Vec<String> = gone.iter().map(ToString::to_string).collect();
        for id in &gone {
            self.check_removal(id)?;
        }
        for (step, item) in patch.items() {
            self.check_item(&step, item)?;
            removed.push(Activation::visit(step, 1).at(item).to_string());
        }
        if put.is_empty() && removed.is_empty() {
            return Err(Refused("the patch changes nothing".into()));
        }
        let mut again = BTreeSet::new();
        for step in put.iter().filter_map(|step| now.step(step.get("id")?.as_str()?)) {
            let before = was.step(step.id.as_str());
            self.check_change(before, step)?;
            check_nodes(before, step, nodes)?;
            let underway = self.standing(&step.id) == Some(Standing::Underway);
            if underway && before.is_some_and(|before| restarts(before, step)) {
                again.insert(step.id.clone());
            }
        }
        check_flows(&now, self.bundle())?;
        let ends = Removed::of(&removed);
        let marker = mark(&Mark::Mutation(Mutation {
            revision: revision.saturating_add(1),
            author: patch.author.clone(),
            reason: patch.reason.clone(),
            patch: serde_json::to_value(patch).unwrap_or_default(),
            put,
            removed,
            answers: None,
        }));
        let unwanted = |activation: &Activation| {
            ends.ends(activation) || (activation.item.is_none() && again.contains(&activation.step))
        };
        let stops = self.stop(&unwanted, "the flow was changed");
        Ok(std::iter::once(marker).chain(stops).collect())
    }

    fn check_removal(&self, id: &StepId) -> Result<(), Refused> {
        let ended = self.step(id.as_str()).is_some_and(|state| state.outcome.is_some());
        match self.standing(id) {
            Some(
                Standing::NotBegun | Standing::Underway | Standing::Fanning | Standing::Spawning,
            ) if !ended => Ok(()),
            _ => Err(has_ended(id)),
        }
    }

    fn check_item(&self, step: &StepId, item: u32) -> Result<(), Refused> {
        let Some(state) = self.step(step.as_str()).filter(|state| state.items().is_some()) else {
            return Err(Refused(format!(
                "no items of step `{step}` are under way; remove one while they are"
            )));
        };
        let all = state.items().map_or(0, |(_, all)| all);
        let is_open = !state.is_skipped(item);
        match state.has_begun(item) {
            Some(false) if is_open => Ok(()),
            Some(true) if is_open && self.runs_item(step, item) => Ok(()),
            Some(_) => Err(Refused(format!("item {item} of step `{step}` has ended"))),
            None => Err(Refused(format!("step `{step}` has {all} items, numbered from 0"))),
        }
    }

    /// Whether the change of a step still makes a difference, and can be made.
    fn check_change(&self, was: Option<&Step>, now: &Step) -> Result<(), Refused> {
        let id = &now.id;
        if was.is_none() && self.was_removed(id) {
            return Err(Refused(format!(
                "step `{id}` was removed from this run, and what it ran may not have stopped; use another id"
            )));
        }
        let (Some(was), Some(standing)) = (was, self.standing(id)) else { return Ok(()) };
        match standing {
            Standing::NotBegun | Standing::Underway | Standing::Again => Ok(()),
            Standing::Fanning if now.for_each.is_some() => Ok(()),
            Standing::Fanning => Err(Refused(format!(
                "items of step `{id}` are under way, so it keeps its `for_each`"
            ))),
            Standing::Spawning if restarts(was, now) => Err(Refused(format!(
                "step `{id}` waits for the steps it has spawned; remove it, or wait for its end"
            ))),
            Standing::Spawning => Ok(()),
            Standing::Routing if differs_only_in(was, now, &["on", "max_visits"]) => Ok(()),
            Standing::Ended if differs_only_in(was, now, &["max_visits"]) => Ok(()),
            Standing::Routing | Standing::Ended => Err(has_ended(id)),
        }
    }
}

fn has_ended(id: &StepId) -> Refused {
    Refused(format!("step `{id}` has ended and stays as it was; re-drive the run from it instead"))
}

fn differs_only_in(was: &Step, now: &Step, keys: &[&str]) -> bool {
    let without = |step: &Step| {
        let mut document = document_of(step);
        if let Some(map) = document.as_object_mut() {
            keys.iter().for_each(|key| drop(map.remove(*key)));
        }
        document
    };
    without(was) == without(now)
}

/// The nodes that a change brings have to be there.
pub(super) fn check_nodes(
    was: Option<&Step>,
    now: &Step,
    nodes: &dyn Policies,
) -> Result<(), Refused> {
    let called = |step: &Step| -> Vec<NodeRef> {
        let action = match &step.action {
            Action::Node { node, .. } => Some(node),
            Action::Flow { .. } | Action::Wait(_) | Action::Pass => None,
        };
        let undo = step.compensate.as_ref().map(|compensation| &compensation.node);
        let others = match &step.alternatives {
            Some(Alternatives::Listed(nodes)) => nodes.as_slice(),
            Some(Alternatives::Auto) | None => &[],
        };
        action.into_iter().chain(undo).chain(others).cloned().collect()
    };
    let known = was.map(called).unwrap_or_default();
    for node in called(now) {
        if !known.contains(&node) && nodes.policy(&node, &Value::Null).is_none() {
            return Err(Refused(format!(
                "step `{}` calls node `{}`, which is not registered; start its worker or declare it in nodes/*.yaml",
                now.id,
                node_text(&node)
            )));
        }
    }
    Ok(())
}
