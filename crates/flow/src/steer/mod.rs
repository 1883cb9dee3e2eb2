//! What an operator asks of a running flow: checked against graph and state before anything is
//! recorded.
//!
//! ```text
//! Steer ─→ check ─→ decisions: one marker, and the ends of work that is no longer wanted
//!            └────→ Refused: nothing is recorded
//! ```
//!
//! The markers are folded in by the progress like every other event, so replay needs nothing of
//! what stands here. Knows nothing of who may ask.

mod alternative;
mod mutate;
pub mod patch;
#[cfg(test)]
mod tests;

use reflux_core::{Decision, Run};

use mutate::check_nodes;
pub use patch::Patch;

use crate::advance::{Policies, mark};
use crate::decider::Decider;
use crate::graph::{Action, Flow, StepId};
use crate::name::suggest;
use crate::progress::{Breakpoints, Mark, Progress, Stepping};

/// Most breakpoints of one run: more than a person sets, few enough for one marker.
pub const BREAKPOINTS_MAX: usize = 1_000;

/// Most starts of one single-step; who wants more resumes.
pub const STEPS_AT_ONCE_MAX: u32 = 10_000;

/// What an operator asks of a running flow.
#[derive(Debug, Clone, PartialEq)]
pub enum Steer {
    /// Change the graph.
    Mutate(Patch),
    /// Pause before these steps start.
    Breakpoints {
        /// Steps that get one.
        add: Vec<String>,
        /// Steps that lose theirs.
        remove: Vec<String>,
    },
    /// Go on, and pause again after so many starts of steps and items.
    Step {
        /// How many, at least 1.
        count: u32,
    },
}

/// Why nothing was changed, and what to ask instead.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The nodes that one flow calls and another one does not have to be there.
///
/// # Errors
/// [`Refused`] names the step and the node.
pub fn check_new_nodes(was: &Flow, now: &Flow, nodes: &dyn Policies) -> Result<(), Refused> {
    now.steps.iter().try_for_each(|step| check_nodes(was.step(step.id.as_str()), step, nodes))
}

impl Decider {
    /// What follows from an operator's wish; a wish that makes no sense is refused.
    ///
    /// # Errors
    /// [`Refused`]: the reason, and what to ask instead.
    pub fn steer(
        &self,
        run: &Run,
        steer: &Steer,
        nodes: &dyn Policies,
    ) -> Result<Vec<Decision>, Refused> {
        let Some(progress) = self.progress() else {
            return Err(Refused("a schedule has no steps; name a run of its flow".into()));
        };
        if !run.is_open() {
            return Err(Refused("this run is closed; re-drive it instead".into()));
        }
        match steer {
            Steer::Mutate(patch) => progress.decide_mutation(patch, nodes),
            Steer::Breakpoints { add, remove } => progress.decide_breakpoints(add, remove),
            Steer::Step { count } => progress.decide_stepping(*count),
        }
    }
}

impl Progress {
    fn decide_breakpoints(
        &self,
        add: &[String],
        remove: &[String],
    ) -> Result<Vec<Decision>, Refused> {
        let mut set = self.breakpoints().clone();
        for id in remove {
            if !set.remove(id.as_str()) {
                let known = set.iter().map(StepId::as_str);
                let meant = did_you_mean(id, known);
                return Err(Refused(format!("step `{id}` has no breakpoint{meant}")));
            }
        }
        for id in add {
            let step = self.flow().step(id).ok_or_else(|| self.unknown(id))?;
            if step.action == Action::Pass && step.when.is_none() {
                return Err(Refused(format!(
                    "step `{id}` does nothing, so nothing of it starts; set the breakpoint before a step behind it"
                )));
            }
            set.insert(step.id.clone());
        }
        if set.len() > BREAKPOINTS_MAX {
            return Err(Refused(format!(
                "{} breakpoints are more than the {BREAKPOINTS_MAX} a run may have; remove some",
                set.len()
            )));
        }
        if set == *self.breakpoints() {
            return Err(Refused("the breakpoints are set like that already".into()));
        }
        Ok(vec![mark(&Mark::Breakpoints(Breakpoints { set: set.into_iter().collect() }))])
    }

    fn decide_stepping(&self, count: u32) -> Result<Vec<Decision>, Refused> {
        if self.is_ending() {
            return Err(Refused("this run is ending and starts no step any more".into()));
        }
        if !(1..=STEPS_AT_ONCE_MAX).contains(&count) {
            return Err(Refused(format!(
                "{count} steps at once; give a number from 1 to {STEPS_AT_ONCE_MAX}"
            )));
        }
        Ok(vec![mark(&Mark::Stepping(Stepping { count }))])
    }

    fn unknown(&self, id: &str) -> Refused {
        let known = self.flow().steps.iter().map(|step| step.id.as_str());
        Refused(format!("unknown step `{}`{}", id.escape_debug(), did_you_mean(id, known)))
    }
}

fn did_you_mean<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    suggest(wrong, known).map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default()
}
