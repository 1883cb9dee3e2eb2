//! What a run asked of the results while a record was decided. Calls that it was given and that are
//! not durable in the end are given back when this is dropped.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use reflux_core::{RunKey, Timestamp};
use reflux_flow::Policies;
use reflux_flow::advance::{CacheAsk, CacheKey, Cached, NodePolicy};
use reflux_flow::alternatives::Wanted;
use reflux_flow::graph::NodeRef;
use serde_json::Value;

use super::Results;
use crate::metrics;

/// What a run asked, and what it was given.
pub(crate) struct Asked {
    results: Arc<Results>,
    run: RunKey,
    /// Calls that it may make.
    taken: Vec<(CacheKey, Arc<str>)>,
    /// Results that it took, with the node they stand for.
    hits: Vec<(CacheKey, Arc<str>)>,
    /// The nodes of the calls it may make.
    misses: Vec<Arc<str>>,
}

impl Asked {
    /// Of a run that has asked nothing.
    pub fn by(run: RunKey, results: Arc<Results>) -> Self {
        Self { results, run, taken: Vec::new(), hits: Vec::new(), misses: Vec::new() }
    }

    fn ask(&mut self, ask: &CacheAsk<'_>, now: Timestamp) -> Cached {
        let activation: Arc<str> = ask.activation.to_string().into();
        let cached = self.results.ask(&self.run, &activation, ask, now);
        match &cached {
            Cached::Found { .. } => self.hits.push((ask.key, ask.node.into())),
            Cached::Call => {
                self.misses.push(ask.node.into());
                self.taken.push((ask.key, activation));
            }
            Cached::Held | Cached::Uncached => {}
        }
        cached
    }

    /// What was decided is durable; of the calls, these began.
    pub fn durable(mut self, began: &[(CacheKey, Arc<str>)]) {
        self.taken.retain(|call| !began.contains(call));
        for (key, node) in std::mem::take(&mut self.hits) {
            self.results.lock().entries.hit(&key);
            metrics::result_looked_up(&node, true);
        }
        self.misses.iter().for_each(|node| metrics::result_looked_up(node, false));
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        for (key, activation) in std::mem::take(&mut self.taken) {
            self.results.release(&key, &self.run, &activation);
        }
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("run", &self.run).field("taken", &self.taken).finish()
    }
}

/// The nodes, and the results of other runs, for a run whose record is decided.
pub(crate) struct Oracle<'a> {
    nodes: &'a dyn Policies,
    asked: RefCell<&'a mut Asked>,
    now: Timestamp,
}

impl<'a> Oracle<'a> {
    pub fn new(nodes: &'a dyn Policies, asked: &'a mut Asked, now: Timestamp) -> Self {
        Self { nodes, asked: RefCell::new(asked), now }
    }
}

impl Policies for Oracle<'_> {
    fn policy(&self, node: &NodeRef, input: &Value) -> Option<NodePolicy> {
        self.nodes.policy(node, input)
    }

    fn alternatives(&self, wanted: &Wanted<'_>) -> Vec<String> {
        self.nodes.alternatives(wanted)
    }

    fn cached(&self, ask: &CacheAsk<'_>) -> Cached {
        self.asked.borrow_mut().ask(ask, self.now)
    }
}
