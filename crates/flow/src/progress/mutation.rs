//! The graph of a run changes under it: states stay with their steps, work that nobody wants any
//! more is forgotten, and what has not begun is counted anew.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::alternative::readers_of;
use super::mark::Mutation;
use super::{Activation, Outcome, Phase, Progress, StepState, handler_steps};
use crate::graph::{Step, StepId};
use crate::steer::patch;

/// How far a step is, as far as a change of it is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It was not reached, or is about to start.
    NotBegun,
    /// Something of it runs.
    Underway,
    /// Its items run.
    Fanning,
    /// The steps run that it spawned.
    Spawning,
    /// It has ended, and where that leads is not decided.
    Routing,
    /// It has ended, and a route may lead to it again.
    Again,
    /// It has ended.
    Ended,
}

impl Standing {
    fn of(progress: &Progress, at: usize) -> Option<Self> {
        let (step, state) = (progress.flow.steps.get(at)?, progress.steps.get(at)?);
        let spawns = || {
            let own = Activation::visit(step.id.clone(), state.visits).to_string();
            state.spawned.is_some() || progress.agenda.spawns.contains_key(&own)
        };
        Some(match state.phase {
            Phase::Idle | Phase::Ready => Self::NotBegun,
            Phase::Running if state.fan.is_some() => Self::Fanning,
            Phase::Running if spawns() => Self::Spawning,
            Phase::Running => Self::Underway,
            Phase::Ended if progress.agenda.routes.iter().any(|(step, ..)| *step == at) => {
                Self::Routing
            }
            Phase::Ended if step.routed && state.visits < step.max_visits => Self::Again,
            Phase::Ended => Self::Ended,
        })
    }
}

/// What a mutation takes away.
pub(crate) struct Removed {
    steps: BTreeSet<StepId>,
    items: BTreeSet<(StepId, u32)>,
}

impl Removed {
    /// Reads step ids and items such as `step[17]`.
    pub(crate) fn of(removed: &[String]) -> Self {
        let mut all = Self { steps: BTreeSet::new(), items: BTreeSet::new() };
        for text in removed {
            match patch::item_of(text) {
                Some(item) => drop(all.items.insert(item)),
                None => drop(all.steps.insert(StepId::new(text))),
            }
        }
        all
    }

    /// Whether the step is gone: itself, or with the step that spawned it.
    pub(crate) fn has(&self, step: &StepId) -> bool {
        let top = step.as_str().split_once('/').map(|(top, _)| top);
        match top.and_then(Activation::parse) {
            Some(parent) => self.steps.contains(&parent.step),
            None => self.steps.contains(step),
        }
    }

    /// Whether what the activation runs is no longer wanted.
    pub(crate) fn ends(&self, activation: &Activation) -> bool {
        let item = activation.item.map(|item| (activation.step.clone(), item));
        self.has(&activation.step) || item.is_some_and(|item| self.items.contains(&item))
    }
}

/// Whether a step that is under way starts again when it is changed like this; else the change
/// counts for what comes after it.
pub(crate) fn restarts(was: &Step, now: &Step) -> bool {
    was.action != now.action
        || was.for_each.is_some() != now.for_each.is_some()
        || was.retry != now.retry
        || was.timeout != now.timeout
        || was.total_timeout != now.total_timeout
        || was.heartbeat_timeout != now.heartbeat_timeout
        || was.task_queue != now.task_queue
}

impl Progress {
    /// How far a step is; `None` when there is no such step.
    pub(crate) fn standing(&self, id: &StepId) -> Option<Standing> {
        Standing::of(self, self.position(id)?)
    }

    pub(super) fn observe_mutation(&mut self, mutation: &Mutation) -> Result<(), String> {
        let removed = Removed::of(&mutation.removed);
        let changed = patch::replaced(&self.flow, &mutation.put, &|id| removed.has(id))
            .map_err(|problems| format!("changed steps: {} problems", problems.len()))?;
        let was = std::mem::replace(&mut self.flow, Arc::new(changed));
        let moved: Vec<Option<usize>> =
            was.steps.iter().map(|step| self.flow.index.get(&step.id).copied()).collect();
        self.move_states(&moved);
        self.move_agenda(&moved);
        self.connect_all();
        self.handlers = handler_steps(&self.flow);
        self.readers = readers_of(&self.flow);
        self.forget(&removed);
        for (step, item) in &removed.items {
            self.drop_item(step, *item);
        }
        let put = mutation.put.iter().filter_map(|step| step.get("id")?.as_str());
        let put: BTreeSet<usize> = put.filter_map(|id| self.flow.index.get(id).copied()).collect();
        for at in put {
            let id = self.flow.steps.get(at).map(|step| step.id.clone());
            let was = id.and_then(|id| was.step(id.as_str()));
            self.revise(at, was);
        }
        self.steering.gone.extend(removed.steps);
        self.steering.revision = mutation.revision;
        if let Some(activation) = &mutation.answers {
            self.goes_on_elsewhere(activation);
        }
        Ok(())
    }

    /// Each state follows its step to the place where that is now.
    fn move_states(&mut self, moved: &[Option<usize>]) {
        let to = |at: usize| moved.get(at).copied().flatten();
        let mut kept: Vec<Option<StepState>> = Vec::new();
        kept.resize_with(self.flow.steps.len(), || None);
        for (at, mut state) in std::mem::take(&mut self.steps).into_iter().enumerate() {
            let place = to(at).and_then(|at| kept.get_mut(at));
            let Some(place) = place else {
                self.done -= u32::from(state.outcome.is_some());
                continue;
            };
            state.need_skipped = state.need_skipped.and_then(to);
            if let Some(spawned) = &mut state.spawned {
                spawned.children = spawned.children.iter().copied().filter_map(to).collect();
            }
            *place = Some(state);
        }
        let states = self.flow.steps.iter().zip(kept);
        self.steps = states.map(|(step, kept)| kept.unwrap_or(StepState::of(step))).collect();
        self.undoable = self.undoable.iter().copied().filter_map(to).collect();
        self.open.parents = self.open.parents.iter().copied().filter_map(to).collect();
    }

    fn move_agenda(&mut self, moved: &[Option<usize>]) {
        let to = |at: &usize| moved.get(*at).copied().flatten();
        let agenda = &mut self.agenda;
        agenda.ready = agenda.ready.iter().filter_map(to).collect();
        agenda.fanning = agenda.fanning.iter().filter_map(to).collect();
        let routes = agenda.routes.iter();
        agenda.routes =
            routes.filter_map(|(at, visit, well)| Some((to(at)?, *visit, *well))).collect();
        let skips = agenda.skips.iter();
        agenda.skips = skips.filter_map(|(at, need)| Some((to(at)?, to(need)?))).collect();
    }

    /// Who needs whom, in the whole graph.
    fn connect_all(&mut self) {
        let flow = self.flow.clone();
        self.dependents = vec![Vec::new(); flow.steps.len()];
        for (at, step) in flow.steps.iter().enumerate() {
            for need in step.needs.iter().filter_map(|need| flow.index.get(need)) {
                if let Some(dependents) = self.dependents.get_mut(*need) {
                    dependents.push(at);
                }
            }
        }
    }

    /// What ran for nothing: its end will concern nobody.
    fn forget(&mut self, removed: &Removed) {
        let stays = |activation: &Activation| !removed.ends(activation);
        let open = &mut self.open;
        open.activities.retain(|_, activation| stays(activation));
        open.others.retain(|event, _| open.activities.contains_key(event));
        open.children.retain(|_, activation| stays(activation));
        open.timers.retain(|_, activation| stays(activation));
        open.approvals.retain(|_, activation| stays(activation));
        open.signal_waits.retain(|_, waits| {
            waits.retain(&stays);
            !waits.is_empty()
        });
        open.restarting.retain(|step| !removed.has(step));
        self.agenda.failing.retain(|step, _| !removed.has(step));
        let spawned = |parent: &str| Activation::parse(parent);
        self.agenda.spawns.retain(|parent, _| spawned(parent).is_some_and(|it| stays(&it)));
        self.steering.breakpoints.retain(|step| !removed.has(step));
        self.steering.passed.retain(|(step, _)| !removed.has(step));
    }

    /// An item of a `for_each` that is not to run, or no longer: its output is null.
    fn drop_item(&mut self, step: &StepId, item: u32) {
        let Some(at) = self.position(step) else { return };
        let Some(fan) = self.steps.get_mut(at).and_then(|state| state.fan.as_mut()) else {
            return;
        };
        let item = item as usize;
        if item >= fan.next {
            fan.skipped.insert(item);
            fan.pass_skipped();
        } else if fan.skipped.insert(item) {
            fan.running = fan.running.saturating_sub(1);
        }
        self.go_on_fanning(at);
    }

    /// A step is new, or other than it was.
    fn revise(&mut self, at: usize, was: Option<&Step>) {
        let flow = self.flow.clone();
        let (Some(step), Some(state)) = (flow.steps.get(at), self.steps.get_mut(at)) else {
            return;
        };
        if let (Some(fan), Some(for_each)) = (&mut state.fan, &step.for_each) {
            fan.concurrency = for_each.concurrency;
            return self.go_on_fanning(at);
        }
        match state.phase {
            Phase::Idle => self.count_needs(at),
            // It may have to wait for more than before; a route that led to it has led to it.
            Phase::Ready if !step.routed && state.visits == 1 => {
                state.phase = Phase::Idle;
                state.visits = 0;
                self.agenda.ready.remove(&at);
                self.count_needs(at);
            }
            Phase::Ready => self.ready_to_start(at),
            Phase::Running if was.is_some_and(|was| restarts(was, step)) => self.restart(at),
            Phase::Running | Phase::Ended => {}
        }
    }

    /// Counts what a step waits for that has not begun, and starts or skips it if that is nothing.
    fn count_needs(&mut self, at: usize) {
        let flow = self.flow.clone();
        let Some(step) = flow.steps.get(at) else { return };
        self.agenda.skips.retain(|(skipped, _)| *skipped != at);
        let (mut unmet, mut succeeded, mut failed, mut skipped) = (0, false, false, None);
        for need in step.needs.iter().filter_map(|need| flow.index.get(need).copied()) {
            match self.steps.get(need).filter(|need| need.released).and_then(|need| need.outcome) {
                Some(Outcome::Succeeded) => succeeded = true,
                Some(Outcome::Failed) => failed = true,
                Some(Outcome::Skipped) => skipped = skipped.or(Some(need)),
                None => unmet += 1,
            }
        }
        if let Some(state) = self.steps.get_mut(at) {
            state.unmet = unmet;
            state.need_succeeded = succeeded;
            state.need_failed = failed;
            state.need_skipped = skipped;
        }
        match (step.routed, step.needs.is_empty()) {
            (true, _) => {}
            (false, true) => self.make_ready(at),
            (false, false) => self.consider(at),
        }
    }

    /// A step that is under way begins anew as it is now: at once if nothing of it is open any
    /// more, else when that has ended without a result.
    fn restart(&mut self, at: usize) {
        let (Some(step), Some(state)) = (self.flow.steps.get(at), self.steps.get(at)) else {
            return;
        };
        let own = Activation::visit(step.id.clone(), state.visits);
        if self.stop_waiting(&own) {
            return self.ready_to_start(at);
        }
        let runs = self.open.activities.values().any(|it| *it == own)
            || self.open.children.values().any(|it| *it == own)
            || self.open.timers.values().any(|it| *it == own);
        if runs {
            self.open.restarting.insert(own.step);
        } else {
            self.ready_to_start(at);
        }
    }
}
