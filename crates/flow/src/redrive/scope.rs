//! What of a base runs again whatever its results are.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::Refused;
use super::base::{Base, Past};
use crate::graph::{Flow, StepId};
use crate::name::suggest;
use crate::progress::Activation;

/// What runs again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// What failed or did not end, and what follows from it.
    #[default]
    Rest,
    /// A step, or one visit of it (`step#2`); what follows runs if its inputs change.
    Step(String),
    /// A step or visit and everything that came after it and can be reached from it.
    Branch(String),
    /// One item of a `for_each`: `step[3]`.
    Item(String),
    /// What failed in the sub-run of a step, and what follows from it there.
    SubRun(String),
    /// Everything that began after an event, and what was under way at it.
    Event(i64),
}

impl Scope {
    /// Whether failures that a route handled stay as they were: the way of the run up to the
    /// scope leads through them.
    pub(crate) fn keeps_handled(&self) -> bool {
        *self != Self::Rest
    }

    /// The activations of the base that run again.
    ///
    /// # Errors
    /// The base has no such step, or it did not come there.
    pub(crate) fn forced(&self, base: &Base) -> Result<BTreeSet<String>, Refused> {
        let ids = |wanted: &dyn Fn(&Past) -> bool| -> BTreeSet<String> {
            base.past.iter().filter(|past| wanted(past)).map(|past| past.id.clone()).collect()
        };
        match self {
            Self::Rest => Ok(BTreeSet::new()),
            Self::Step(text) | Self::SubRun(text) => {
                let named = Named::read(text, base)?;
                let mut forced = ids(&|past| named.covers(&past.activation));
                // Items that the base did not have are its too.
                forced.insert(text.clone());
                Ok(forced)
            }
            Self::Item(text) => {
                let named = Named::read(text, base)?;
                if named.item.is_none() {
                    return Err(Refused::new(format!("`{text}` names no item; write `STEP[3]`")));
                }
                Ok(ids(&|past| named.covers(&past.activation)))
            }
            Self::Branch(text) => {
                let named = Named::read(text, base)?;
                let begin = base
                    .past
                    .iter()
                    .filter(|past| named.covers(&past.activation))
                    .map(|past| past.begun)
                    .min();
                let Some(begin) = begin else { return Ok(BTreeSet::new()) };
                let reach = reachable(base.progress.flow(), &named.step);
                Ok(ids(&|past| past.begun >= begin && reach.contains(&past.activation.step)))
            }
            Self::Event(event) => {
                Ok(ids(&|past| past.begun > *event || past.ended.is_none_or(|end| end > *event)))
            }
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rest => f.write_str("what failed and what follows"),
            Self::Step(step) => write!(f, "step `{step}`"),
            Self::Branch(step) => write!(f, "step `{step}` and what comes after it"),
            Self::Item(item) => write!(f, "item `{item}`"),
            Self::SubRun(step) => write!(f, "the sub-run of step `{step}`"),
            Self::Event(event) => write!(f, "everything after event {event}"),
        }
    }
}

/// What a person named: a step, one of its visits, an item.
struct Named {
    step: StepId,
    visit: Option<u32>,
    item: Option<u32>,
}

impl Named {
    fn read(text: &str, base: &Base) -> Result<Self, Refused> {
        let flow = base.progress.flow();
        let activation = Activation::parse(text).filter(|it| !it.compensates);
        let Some(activation) = activation.filter(|it| flow.index.contains_key(&it.step)) else {
            let known = flow.steps.iter().map(|step| step.id.as_str());
            let hint =
                suggest(text, known).map_or(String::new(), |it| format!("; did you mean `{it}`?"));
            return Err(Refused::new(format!(
                "the base has no step `{}`{hint}",
                text.escape_debug()
            )));
        };
        let own = text.rsplit('/').next().unwrap_or(text);
        let visit = own.contains('#').then_some(activation.visit);
        let named = Self { step: activation.step, visit, item: activation.item };
        if base.past.iter().any(|past| named.covers(&past.activation)) {
            return Ok(named);
        }
        Err(Refused::new(format!(
            "`{text}` did not start in the base, so there is nothing to repeat; re-drive without a scope runs what is left"
        )))
    }

    fn covers(&self, activation: &Activation) -> bool {
        activation.step == self.step
            && !activation.compensates
            && self.visit.is_none_or(|visit| visit == activation.visit)
            && (self.item.is_none() || self.item == activation.item)
    }
}

/// The step and every step that data or a route can lead to from it.
fn reachable(flow: &Flow, from: &StepId) -> BTreeSet<StepId> {
    let mut reached = BTreeSet::new();
    let mut next = vec![from.clone()];
    while let Some(id) = next.pop() {
        if !reached.insert(id.clone()) {
            continue;
        }
        let Some(step) = flow.step(id.as_str()) else { continue };
        let rules = [&step.on_success, &step.on_failure, &flow.on_failure];
        let routed =
            rules.into_iter().flatten().flat_map(|rule| rule.then.iter().chain(&rule.otherwise));
        next.extend(routed.cloned());
        let needing = flow.steps.iter().filter(|step| step.needs.contains(&id));
        next.extend(needing.map(|step| step.id.clone()));
        // What it spawned lives under it.
        let below = format!("{id}/");
        let spawned = flow.steps.iter().filter(|step| step.id.as_str().starts_with(&below));
        next.extend(spawned.map(|step| step.id.clone()));
    }
    reached
}
