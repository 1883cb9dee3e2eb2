//! What the decider asks of the progress: the agenda, in the order in which it is taken up.

use std::collections::BTreeSet;
use std::sync::Arc;

use reflux_core::EventId;
use serde_json::Value;

use super::{Activation, Ending, Phase, Progress};
use crate::graph::{Step, StepId};
use crate::planted::Defect;

impl Progress {
    /// Whether something of the agenda can be decided now.
    pub fn has_agenda(&self) -> bool {
        !self.closed
            && (!self.agenda.stale_timers.is_empty()
                || (self.has_starts() && !self.is_ending())
                || (self.is_ending() && self.is_still())
                || self.is_quiet())
    }

    /// Whether something is left to start.
    pub(crate) fn has_starts(&self) -> bool {
        let agenda = &self.agenda;
        !agenda.failing.is_empty()
            || !agenda.spawns.is_empty()
            || !agenda.routes.is_empty()
            || !agenda.skips.is_empty()
            || !agenda.ready.is_empty()
            || !agenda.fanning.is_empty()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    pub(crate) fn is_canceling(&self) -> bool {
        self.canceling
    }

    /// The failure that the run will end with.
    pub(crate) fn failure(&self) -> Option<&Arc<Value>> {
        match &self.ending {
            Some(Ending::Failed(error)) => Some(error),
            Some(Ending::Canceled) | None => None,
        }
    }

    pub(crate) fn undo_errors(&self) -> &[Arc<Value>] {
        &self.undo_errors
    }

    /// Whether the steps of an ending run have ended; what merely waits is left behind.
    pub(crate) fn is_still(&self) -> bool {
        self.open.activities.is_empty()
            && self.open.children.is_empty()
            && self.open.timers.is_empty()
    }

    /// Whether nothing of the run is under way.
    pub(crate) fn is_quiet(&self) -> bool {
        self.is_still() && self.open.signal_waits.is_empty() && self.open.approvals.is_empty()
    }

    pub(crate) fn stale_timer(&self) -> Option<&Arc<str>> {
        let first = self.agenda.stale_timers.first();
        first.filter(|_| !Defect::StaleTimersStay.is_planted())
    }

    pub(crate) fn pending_spawn(&self) -> Option<(&str, &Value)> {
        let (parent, output) = self.agenda.spawns.first_key_value()?;
        Some((parent, output))
    }

    pub(crate) fn pending_route(&self) -> Option<(usize, u32, bool)> {
        self.agenda.routes.first().copied()
    }

    pub(crate) fn pending_skip(&self) -> Option<(usize, usize)> {
        self.agenda.skips.first().copied()
    }

    pub(crate) fn pending_starts(&self) -> impl Iterator<Item = &Step> {
        self.agenda.ready.iter().filter_map(|at| self.step_at(*at))
    }

    /// The steps with an item to start, and the item.
    pub(crate) fn pending_items(&self) -> impl Iterator<Item = (&Step, u32)> {
        self.agenda.fanning.iter().filter_map(|at| {
            let fan = self.steps.get(*at)?.fan.as_ref()?;
            Some((self.step_at(*at)?, u32::try_from(fan.next).ok()?))
        })
    }

    /// Whether something waits to be started that nothing of this run is in the way of.
    pub fn waits_to_start(&self) -> bool {
        !self.closed && !self.is_ending() && self.has_starts()
    }

    /// The succeeded step to be taken back next.
    pub(crate) fn next_undo(&self) -> Option<usize> {
        let newest = self.undoable.last();
        if Defect::OldestUndoneFirst.is_planted() { self.undoable.first() } else { newest }.copied()
    }

    pub(crate) fn activities_to_stop(&self) -> impl Iterator<Item = (EventId, &Activation)> {
        let running = self.open.activities.iter().filter(|(_, activation)| !activation.compensates);
        let running = running.filter(|(id, _)| !self.open.stopping.contains(id));
        running.map(|(id, activation)| (*id, activation))
    }

    pub(crate) fn children_to_stop(&self) -> impl Iterator<Item = &Activation> {
        let children = self.open.children.iter();
        children
            .filter(|(id, _)| !self.open.stopping.contains(id))
            .map(|(_, activation)| activation)
    }

    /// The workflow id of the sub-flow that an activation runs.
    pub(crate) fn child_workflow_id(&self, activation: &Activation) -> Arc<str> {
        format!("{}/{activation}", self.key.workflow_id).into()
    }

    pub(crate) fn timers_to_stop(&self) -> impl Iterator<Item = (&Arc<str>, &Activation)> {
        self.open.timers.iter()
    }

    /// Whether something of that item is open.
    pub(crate) fn runs_item(&self, step: &StepId, item: u32) -> bool {
        let is_it =
            |activation: &Activation| activation.step == *step && activation.item == Some(item);
        let open = &self.open;
        open.activities.values().any(is_it)
            || open.children.values().any(is_it)
            || open.timers.values().any(is_it)
            || open.approvals.values().any(is_it)
            || open.signal_waits.values().flatten().any(is_it)
    }

    /// Open sub-flows that were not told yet that this run is paused.
    pub(crate) fn children_to_pause(&self) -> impl Iterator<Item = EventId> {
        self.open.children.keys().copied().filter(|id| !self.open.suspended.contains(id))
    }

    /// Open sub-flows that this run has paused.
    pub(crate) fn children_to_resume(&self) -> impl Iterator<Item = EventId> {
        self.open.suspended.iter().copied().filter(|id| self.open.children.contains_key(id))
    }

    /// Whether a step of that name was removed from the run.
    pub(crate) fn was_removed(&self, id: &StepId) -> bool {
        self.steering.gone.contains(id)
    }

    /// The steps before which the run pauses.
    pub(crate) fn breakpoints(&self) -> &BTreeSet<StepId> {
        &self.steering.breakpoints
    }

    /// Whether the run pauses before this start because of a breakpoint.
    pub(crate) fn breaks_before(&self, step: &Step, visit: u32, item: Option<u32>) -> bool {
        item.is_none()
            && self.steering.breakpoints.contains(&step.id)
            && !self.steering.passed.contains(&(step.id.clone(), visit))
    }

    /// Whether the run was to pause after so many starts, and they have taken place.
    pub(crate) fn is_out_of_steps(&self) -> bool {
        self.steering.steps_left == Some(0)
    }

    pub(crate) fn step_at(&self, at: usize) -> Option<&Step> {
        self.flow.steps.get(at)
    }

    pub(crate) fn phase(&self, id: &StepId) -> Option<Phase> {
        self.step(id.as_str()).map(|state| state.phase)
    }

    /// The visit that a step is in or about to start.
    pub(crate) fn current(&self, step: &Step) -> Activation {
        let visits = self.step(step.id.as_str()).map_or(1, |state| state.visits.max(1));
        Activation::visit(step.id.clone(), visits)
    }

    /// Whether another step needs this one.
    pub(crate) fn is_needed(&self, at: usize) -> bool {
        self.dependents.get(at).is_some_and(|dependents| !dependents.is_empty())
    }
}
