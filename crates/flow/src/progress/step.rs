//! Where one step stands.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::graph::Step;
use crate::planted::Defect;
use crate::scope::StepView;

/// Where one step stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StepState {
    /// What it is doing.
    pub phase: Phase,
    /// How its latest visit ended.
    pub outcome: Option<Outcome>,
    /// How often it was started.
    pub visits: u32,
    /// Routes that fired while it was busy; each becomes a visit.
    pub(super) queued: u32,
    /// Whether a route came after its last visit; a second one fails the run, so that two
    /// exhausted steps cannot hand a failure to each other for ever.
    pub(super) exhausted: bool,
    /// Needs that have not ended.
    pub(super) unmet: usize,
    pub(super) need_succeeded: bool,
    pub(super) need_failed: bool,
    pub(super) need_skipped: Option<usize>,
    /// Whether the steps that need it were told of its end: only its first end counts.
    pub(super) released: bool,
    /// What expressions see of its latest visit that ended.
    pub(super) view: Option<Arc<StepView>>,
    pub(super) fan: Option<Box<Fan>>,
    pub(super) spawned: Option<Box<Spawned>>,
}

/// What a step is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It was not reached.
    Idle,
    /// It is about to start.
    Ready,
    /// It has started.
    Running,
    /// Its latest visit is over.
    Ended,
}

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It has an output.
    Succeeded,
    /// It has an error.
    Failed,
    /// Its `when` did not hold, or a step it needs was skipped.
    Skipped,
}

/// A `for_each` that is under way.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Fan {
    pub items: Vec<Arc<Value>>,
    /// The next item to be started.
    pub next: usize,
    pub running: u32,
    pub concurrency: u32,
    pub outputs: Vec<Value>,
    pub error: Option<Arc<Value>>,
    /// Items that are not to run: their output is null.
    pub skipped: BTreeSet<usize>,
}

impl Fan {
    /// Passes the items by that are not to run.
    pub fn pass_skipped(&mut self) {
        while self.skipped.contains(&self.next) {
            self.next += 1;
        }
    }

    /// Whether another item may start now.
    pub fn has_room(&self) -> bool {
        let has_room = self.running < self.concurrency || Defect::ItemsUnbounded.is_planted();
        self.error.is_none() && has_room && self.next < self.items.len()
    }

    /// Whether nothing of it is left to wait for.
    pub fn is_over(&self) -> bool {
        self.running == 0 && (self.error.is_some() || self.next >= self.items.len())
    }
}

/// The steps that a visit spawned and that it waits for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spawned {
    pub children: Vec<usize>,
}

impl StepState {
    pub(super) fn of(step: &Step) -> Self {
        Self {
            phase: Phase::Idle,
            outcome: None,
            visits: 0,
            queued: 0,
            exhausted: false,
            unmet: step.needs.len(),
            need_succeeded: false,
            need_failed: false,
            need_skipped: None,
            released: false,
            view: None,
            fan: None,
            spawned: None,
        }
    }

    /// What expressions see of it; `None` before its first visit ended.
    pub fn view(&self) -> Option<&Arc<StepView>> {
        self.view.as_ref()
    }

    /// Whether it neither runs nor is about to.
    pub(super) fn rests(&self) -> bool {
        matches!(self.phase, Phase::Idle | Phase::Ended) && self.queued == 0
    }

    /// Items done and items in all, while a `for_each` is under way.
    pub fn items(&self) -> Option<(usize, usize)> {
        let fan = self.fan.as_ref()?;
        Some((fan.next - fan.running as usize, fan.items.len()))
    }

    /// Whether the item of that number has begun, while a `for_each` is under way; `None` when
    /// there is no such item.
    pub(crate) fn has_begun(&self, item: u32) -> Option<bool> {
        let fan = self.fan.as_ref()?;
        let item = item as usize;
        (item < fan.items.len()).then_some(item < fan.next)
    }

    /// Whether the item of that number is not to run.
    pub(crate) fn is_skipped(&self, item: u32) -> bool {
        self.fan.as_ref().is_some_and(|fan| fan.skipped.contains(&(item as usize)))
    }

    /// The item of that number, while a `for_each` is under way.
    pub(crate) fn item(&self, item: u32) -> Option<&Arc<Value>> {
        self.fan.as_ref()?.items.get(item as usize)
    }
}
