//! What the decider asks of the progress: the agenda, in the order in which it is taken up.

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
        !agenda.spawns.is_empty()
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

    pub(crate) fn pending_start(&self) -> Option<&Step> {
        self.step_at(*self.agenda.ready.first()?)
    }

    /// A step with an item to start, and the item.
    pub(crate) fn pending_item(&self) -> Option<(&Step, u32)> {
        let at = *self.agenda.fanning.first()?;
        let fan = self.steps.get(at)?.fan.as_ref()?;
        Some((self.step_at(at)?, u32::try_from(fan.next).ok()?))
    }

    /// The succeeded step to be taken back next.
    pub(crate) fn next_undo(&self) -> Option<usize> {
        let newest = self.undoable.last();
        if Defect::OldestUndoneFirst.is_planted() { self.undoable.first() } else { newest }.copied()
    }

    pub(crate) fn activities_to_stop(&self) -> impl Iterator<Item = EventId> {
        let running = self.open.activities.iter().filter(|(_, activation)| !activation.compensates);
        running.map(|(id, _)| *id).filter(|id| !self.open.stopping.contains(id))
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

    pub(crate) fn timers_to_stop(&self) -> impl Iterator<Item = Arc<str>> {
        self.open.timers.keys().cloned()
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
