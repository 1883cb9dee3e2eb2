//! What a run need not do: results that other runs had for the same call, and in a re-drive the
//! results that its base had, outputs that a person gave, the time that a timer has run already.

use std::time::Duration;

use reflux_core::{Decision, HEADER_REDRIVE, Header, Payload};
use serde_json::Value;

use super::caching::{CacheAsk, CacheHeader, CacheKey, Cached, HEADER_CACHE};
use super::next::mark;
use super::{NodePolicy, Policies};
use crate::graph::{Action, NodeRef, Step, Wait};
use crate::progress::{Activation, Mark, Progress, Reuse};
use crate::redrive::Work;
use crate::template::Rendered;

/// What stands for a call.
pub(super) enum Standing {
    /// A result of another run.
    Taken(Decision),
    /// The same call of another run, which has not ended.
    Held,
    /// Nothing: it is made, with this in its header.
    Called(Option<(String, Payload)>),
}

impl Progress {
    /// Whether a result of another run stands for a call.
    pub(super) fn cached(
        &self,
        step: &Step,
        activation: &Activation,
        node: &NodeRef,
        policy: &NodePolicy,
        input: &Rendered,
        nodes: &dyn Policies,
    ) -> Standing {
        let Some(caching) = step.cache.as_ref().filter(|_| !activation.compensates) else {
            return Standing::Called(None);
        };
        let (namespace, flow) = (&self.key().namespace, &self.flow().name);
        let key = CacheKey::of(namespace, flow, caching, node, &policy.version, input);
        let Some(key) = key else { return Standing::Called(None) };
        let id = activation.to_string();
        let forced = self.redrive().is_some_and(|redrive| redrive.memo.forced.contains(&id));
        let ask = CacheAsk {
            key,
            activation,
            node: &node.name,
            effects: policy.effects,
            ttl: caching.ttl,
            fresh: forced,
        };
        match nodes.cached(&ask) {
            Cached::Found { output, from } => {
                let reuse = Reuse::cached(activation, output, from, &policy.version, key);
                Standing::Taken(mark(&Mark::Reuse(reuse)))
            }
            Cached::Held => Standing::Held,
            Cached::Call => {
                let header = CacheHeader::new(key, caching.ttl);
                Standing::Called(Some((HEADER_CACHE.to_owned(), header.to_payload())))
            }
            Cached::Uncached => Standing::Called(None),
        }
    }

    /// The result that is taken over instead of doing the work.
    pub(super) fn taken_over(&self, activation: &Activation, work: &Work<'_>) -> Option<Decision> {
        self.kept(activation, work).map(|kept| mark(&Mark::Reuse(kept)))
    }

    /// The output that a person gave for the activation.
    pub(super) fn given(&self, activation: &Activation) -> Option<Decision> {
        let output = self.redrive()?.memo.overrides.get(&activation.to_string())?;
        Some(mark(&Mark::Reuse(Reuse::given(activation, output.clone()))))
    }

    /// How long a timer still has to run.
    pub(super) fn left_of(&self, activation: &Activation, whole: Duration) -> Duration {
        let id = activation.to_string();
        let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
        let left = self.redrive().and_then(|redrive| {
            redrive.memo.timers.iter().find(|timer| timer.activation == id && timer.whole == nanos)
        });
        left.map_or(whole, |timer| Duration::from_nanos(timer.left).min(whole))
    }

    /// The header of a sub-run: a re-drive of the one that the base had, if that did not end well.
    pub(super) fn child_header(&self, activation: &Activation) -> Header {
        let mut header = self.spec_header();
        let id = activation.to_string();
        if let Some(child) = self.redrive().and_then(|redrive| redrive.memo.children.get(&id)) {
            header.fields.insert(HEADER_REDRIVE.to_owned(), child.to_payload());
        }
        header
    }

    /// What the template of a timer gives now: whether it is a moment, and the value. `None` when
    /// the activation is no timer, or the template gives nothing.
    pub(crate) fn timer_value(&self, activation: &Activation) -> Option<(bool, Value)> {
        let step = self.flow().step(activation.step.as_str())?;
        let (until, template) = match &step.action {
            Action::Wait(Wait::Duration(template)) => (false, template),
            Action::Wait(Wait::Until(template)) => (true, template),
            _ => return None,
        };
        let rendered = self.render(&step.id, template, activation.item).ok()?;
        Some((until, rendered.value))
    }
}
