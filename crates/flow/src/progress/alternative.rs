//! Steps whose node failed for good and whose work another node is to do.

use std::sync::Arc;

use reflux_core::{ActivityScheduled, EffectClass, EventId};
use serde_json::Value;

use super::{Activation, Phase, Progress};
use crate::alternatives::{Readers, readers};
use crate::canonical::node_text;
use crate::graph::{Alternatives, Flow, Step};
use crate::payload;

/// Kinds of failures that mean the input, or the will of somebody, and not the node: another one
/// would do no better.
const NOT_OF_THE_NODE: &[&str] = &["BadInput", "Cancelled", "Canceled", "Terminated"];

/// The nodes that may do the work of an open activity if its own fails.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Others {
    nodes: Vec<String>,
    /// Whether the work may be done twice: a call of which nothing was heard may have done it.
    may_repeat: bool,
}

/// A failure that is not the step's yet: the next of these nodes takes it up.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Failing {
    /// What failed.
    pub(crate) activation: Activation,
    /// How.
    pub(crate) error: Value,
    /// The nodes that are left, in order; never empty.
    pub(crate) nodes: Vec<String>,
}

/// How a call ended without a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// The node says that it failed.
    Failed,
    /// Nothing was heard of it in time.
    TimedOut,
}

impl Progress {
    /// What is read of the steps, if one has alternatives.
    pub(crate) fn readers(&self) -> &Readers {
        &self.readers
    }

    /// A failure that another node is to answer.
    pub(crate) fn pending_failing(&self) -> Option<&Failing> {
        self.agenda.failing.first_key_value().map(|(_, failing)| failing)
    }

    pub(super) fn note_others(&mut self, event: EventId, scheduled: &ActivityScheduled) {
        let nodes = payload::alternatives(&scheduled.header);
        if !nodes.is_empty() {
            let may_repeat = scheduled.effects != Some(EffectClass::Unsafe);
            self.open.others.insert(event, Others { nodes, may_repeat });
        }
    }

    /// A call has ended without a result: another node takes it up, or that is how it ended.
    pub(super) fn call_failed(&mut self, scheduled: EventId, ended: Ended, error: Value) {
        let others = self.open.others.remove(&scheduled);
        let Some(activation) = self.open.activities.remove(&scheduled) else { return };
        let nodes = others
            .filter(|_| !self.is_ending() && !self.open.restarting.contains(&activation.step))
            .map_or(Vec::new(), |others| self.left(&activation, others, ended, &error));
        if nodes.is_empty() {
            return self.end(&activation, Err(error));
        }
        let failing = Failing { activation, error, nodes };
        self.agenda.failing.insert(failing.activation.step.clone(), failing);
    }

    /// The nodes that may still be tried, as the step stands now.
    fn left(
        &self,
        activation: &Activation,
        others: Others,
        ended: Ended,
        error: &Value,
    ) -> Vec<String> {
        let kind = error.get("kind").and_then(Value::as_str).unwrap_or_default();
        if NOT_OF_THE_NODE.contains(&kind) || (ended == Ended::TimedOut && !others.may_repeat) {
            return Vec::new();
        }
        let step = self.flow.step(activation.step.as_str());
        match step.and_then(|step| step.alternatives.as_ref()) {
            None => Vec::new(),
            Some(Alternatives::Auto) => others.nodes,
            Some(Alternatives::Listed(listed)) => {
                let listed: Vec<String> = listed.iter().map(node_text).collect();
                others.nodes.into_iter().filter(|node| listed.contains(node)).collect()
            }
        }
    }

    /// Another node has taken the step up: its condition has been looked at.
    pub(super) fn goes_on_elsewhere(&mut self, activation: &str) {
        let Some(activation) = Activation::parse(activation) else { return };
        let Some(at) = self.position(&activation.step) else { return };
        if let Some(state) = self.state(at).filter(|state| state.phase == Phase::Ready) {
            state.phase = Phase::Running;
        }
    }
}

/// What is read of the steps of a flow; nothing where nobody asks.
pub(super) fn readers_of(flow: &Flow) -> Arc<Readers> {
    let asks = |step: &Step| step.alternatives.is_some();
    Arc::new(if flow.steps.iter().any(asks) { readers(flow) } else { Readers::new() })
}
