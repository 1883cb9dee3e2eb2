//! Keys of what a run did, and what it may take over from the run it is a re-drive of. Kept only
//! for runs that are re-drives, and while the history of a base is read: nobody else pays for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reflux_core::Payloads;
use serde_json::Value;

use super::{Activation, Progress, Reuse};
use crate::graph::{Action, Bundle, Flow, StepId};
use crate::payload;
use crate::redrive::{Kept, Key, Redrive, Work};

/// Keys of what a run did.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Ledger {
    /// Of the visits, by what they did.
    visits: BTreeMap<(StepId, u32), Key>,
    /// Of the visits whose route led to a visit.
    causes: BTreeMap<(StepId, u32), Key>,
    /// By activation.
    keys: BTreeMap<String, Key>,
    /// Digests of the flows that can be called.
    flows: BTreeMap<String, Arc<str>>,
    /// A wait that was over with the last event, and what it gave.
    wait_over: Option<(Activation, Result<Value, Value>)>,
    redrive: Option<Arc<Redrive>>,
    /// Results that were not taken over yet: positions in the memo.
    left: BTreeMap<Key, BTreeSet<usize>>,
    /// Where the memo has the result of an activation.
    own: BTreeMap<String, usize>,
}

impl Ledger {
    fn of(bundle: &Bundle, flow: &Flow) -> Self {
        let called = flow.steps.iter().filter_map(|step| match &step.action {
            Action::Flow { flow, .. } => Some(flow.clone()),
            _ => None,
        });
        let flows = called.map(|name| (name.clone(), flow_version(bundle, &name))).collect();
        Self { flows, ..Self::default() }
    }

    fn key(&self, activation: &Activation, work: &Work<'_>) -> Key {
        let at = (activation.step.clone(), activation.visit);
        Key::of(work, activation.visit, self.causes.get(&at).copied())
    }

    /// The key of a visit; one that called nothing is told by the way to it.
    fn visit(&self, step: &StepId, visit: u32) -> Key {
        let known = self.visits.get(&(step.clone(), visit)).copied();
        known.unwrap_or_else(|| self.key(&Activation::visit(step.clone(), visit), &Work::Pass))
    }

    fn note(&mut self, activation: &Activation, key: Key) {
        self.keys.insert(activation.to_string(), key);
        if activation.item.is_none() {
            self.visits.insert((activation.step.clone(), activation.visit), key);
        }
    }

    /// The result for a key: the activation's own, else the oldest that nobody else has a better
    /// right to: of another item of the same visit, or of a step that `flow` no longer has.
    fn find(&self, flow: &Flow, activation: &Activation, key: Key) -> Option<(usize, &Kept)> {
        let memo = &self.redrive.as_ref()?.memo;
        let id = activation.to_string();
        if memo.forced.contains(&id) {
            return None;
        }
        let left = self.left.get(&key)?;
        if let Some(own) = self.own.get(&id).filter(|at| left.contains(at)) {
            return Some((*own, memo.results.get(*own)?));
        }
        left.iter().find_map(|at| {
            let kept = memo.results.get(*at)?;
            let from = Activation::parse(&kept.activation)?;
            let sibling = activation.item.is_some()
                && from.item.is_some()
                && (&from.step, from.visit) == (&activation.step, activation.visit);
            (sibling || !is_known(flow, &from.step)).then_some((*at, kept))
        })
    }
}

impl Progress {
    /// Remembers the keys of what it does, for a memo.
    pub(crate) fn with_ledger(mut self) -> Self {
        if self.ledger.is_none() {
            self.ledger = Some(Box::new(Ledger::of(&self.bundle, &self.flow)));
        }
        self
    }

    /// Takes over what a memo has.
    pub(crate) fn redriven(self, redrive: Redrive) -> Self {
        let mut progress = self.with_ledger();
        if let Some(ledger) = &mut progress.ledger {
            for (at, kept) in redrive.memo.results.iter().enumerate() {
                ledger.left.entry(kept.key).or_default().insert(at);
                ledger.own.insert(kept.activation.clone(), at);
            }
            ledger.redrive = Some(Arc::new(redrive));
        }
        progress
    }

    /// What this run is a re-drive of; `None` when it is none.
    pub fn redrive(&self) -> Option<&Redrive> {
        self.ledger.as_ref()?.redrive.as_deref()
    }

    /// The key of what an activation did or took over.
    pub(crate) fn key_of(&self, activation: &str) -> Option<Key> {
        self.ledger.as_ref()?.keys.get(activation).copied()
    }

    /// A result that an activation about to begin may take over.
    pub(crate) fn kept(&self, activation: &Activation, work: &Work<'_>) -> Option<Reuse> {
        let ledger = self.ledger.as_ref()?;
        let redrive = ledger.redrive.as_ref()?;
        let key = ledger.key(activation, work);
        let (_, kept) = ledger.find(&self.flow, activation, key)?;
        Some(Reuse::of(activation, key, kept, redrive.of))
    }

    /// The exact version of a flow that is called; empty when nobody asks.
    pub(crate) fn flow_version(&self, name: &str) -> Arc<str> {
        let Some(ledger) = &self.ledger else { return "".into() };
        ledger.flows.get(name).cloned().unwrap_or_else(|| flow_version(&self.bundle, name))
    }

    /// A wait that was over with the last event, and what it gave.
    pub(crate) fn take_wait_over(&mut self) -> Option<(Activation, Result<Value, Value>)> {
        self.ledger.as_mut()?.wait_over.take()
    }

    pub(super) fn note_wait_over(
        &mut self,
        activation: &Activation,
        result: &Result<Value, Value>,
    ) {
        if let Some(ledger) = &mut self.ledger {
            ledger.wait_over = Some((activation.clone(), result.clone()));
        }
    }

    pub(super) fn note_work(&mut self, activation: &Activation, work: &Work<'_>) {
        if let (Some(ledger), false) = (&mut self.ledger, activation.compensates) {
            let key = ledger.key(activation, work);
            ledger.note(activation, key);
        }
    }

    pub(super) fn note_flow(&mut self, activation: &Activation, name: &str, input: &Payloads) {
        if self.ledger.is_some() {
            let version = self.flow_version(name);
            self.note_work(activation, &Work::Flow { name, version: &version, input });
        }
    }

    pub(super) fn note_timer(&mut self, activation: &Activation) {
        if self.ledger.is_some()
            && let Some((until, value)) = self.timer_value(activation)
        {
            self.note_work(activation, &Work::Timer { until, value: &value });
        }
    }

    /// The result of another run stands for a call that is about to begin: what would have been
    /// called is worked out again, because only who asks for keys needs it.
    pub(super) fn note_cached(&mut self, activation: &Activation, version: &str) {
        if self.ledger.is_none() {
            return;
        }
        let flow = self.flow.clone();
        let step = flow.step(activation.step.as_str());
        let Some((Action::Node { node, with }, id)) = step.map(|step| (&step.action, &step.id))
        else {
            return;
        };
        let Ok(input) = self.render(id, with, activation.item) else { return };
        let input = payload::of_input(&input);
        self.note_work(activation, &Work::Node { name: &node.name, version, input: &input });
    }

    /// A route of a visit is about to lead to a step.
    pub(super) fn note_route(&mut self, from: &StepId, visit: u32, to: usize) {
        let (Some(step), Some(state)) = (self.flow.steps.get(to), self.steps.get(to)) else {
            return;
        };
        if let Some(ledger) = &mut self.ledger {
            let next = state.visits.saturating_add(state.queued).saturating_add(1);
            let cause = ledger.visit(from, visit);
            ledger.causes.insert((step.id.clone(), next), cause);
        }
    }

    /// An activation took over a result: it is nobody else's.
    pub(super) fn note_reuse(&mut self, activation: &Activation, key: Option<Key>) {
        let Some(ledger) = &mut self.ledger else { return };
        // What a person gave stands for a visit that called nothing.
        let Some(key) = key else { return };
        if let Some((at, _)) = ledger.find(&self.flow, activation, key)
            && let Some(left) = ledger.left.get_mut(&key)
        {
            left.remove(&at);
        }
        ledger.note(activation, key);
    }
}

/// Whether a flow has the step, or the step that spawned it.
fn is_known(flow: &Flow, step: &StepId) -> bool {
    let root = step.as_str().split(['/', '#', '[']).next().unwrap_or_default();
    flow.index.contains_key(step) || flow.index.contains_key(root)
}

/// Digest of a flow of a bundle with all that it can call.
fn flow_version(bundle: &Bundle, name: &str) -> Arc<str> {
    let Some(flow) = bundle.flows.get(name) else { return "".into() };
    let lookup = |name: &str| bundle.flows.get(name).map(|flow| (**flow).clone());
    Bundle::collect(flow, lookup).map_or_else(|_| "".into(), |bundle| bundle.digest().into())
}
