//! The deciders inside the partition: from where a run stands to what it does next.
//!
//! ```text
//! draft's new events ─→ Decider ─→ next decisions ─→ core::decide ─→ draft's new events ─→ …
//! ```
//!
//! It emits the same decisions a worker of code workflows sends, so a flow run is a workflow
//! execution whose decider happens to be in the partition. The loop ends when nothing more can be
//! decided, or when the record is full: then the run goes on in the next one.

mod alternative;
mod caching;
mod close;
mod next;
mod reuse;
mod scope;
mod stop;

use std::sync::Arc;
use std::time::Duration;

use reflux_core::{Command, Context, Draft, EffectClass, Item, Rejection, decide};
use serde_json::Value;

pub use caching::{CacheAsk, CacheHeader, CacheKey, Cached, HEADER_CACHE};
pub(crate) use next::{INPUT_BYTES_MAX, mark};

use crate::alternatives::Wanted;
use crate::decider::Decider;
use crate::graph::{NodeRef, Retry};
use crate::progress::Incoherent;

/// What a flow needs to know of the nodes at the moment a step is scheduled. The answer is
/// recorded, so replay does not ask again.
pub trait Policies {
    /// How the node is called with that rendered input (secrets are not in it); `None` when no
    /// such node is registered. What a call does may depend on its input: a GET reads, a POST acts.
    fn policy(&self, node: &NodeRef, input: &Value) -> Option<NodePolicy>;

    /// The nodes that can take the place of one, the best first, as flows write them: those whose
    /// manifests take its input and give what is read of its output.
    fn alternatives(&self, _: &Wanted<'_>) -> Vec<String> {
        Vec::new()
    }

    /// What there is for a step that would take a result of another run. The answer is recorded,
    /// but for [`Cached::Held`], after which the run is to be advanced again.
    fn cached(&self, _ask: &CacheAsk<'_>) -> Cached {
        Cached::Uncached
    }
}

/// How a node is called.
#[derive(Debug, Clone, PartialEq)]
pub struct NodePolicy {
    /// The exact version that is called.
    pub version: Arc<str>,
    /// Where its workers listen.
    pub task_queue: Arc<str>,
    /// When a failed attempt is tried again; `None`: never.
    pub retry: Option<Retry>,
    /// Limit of one attempt.
    pub timeout: Option<Duration>,
    /// Longest silence of an attempt before its worker counts as lost; `None`: it need not speak.
    pub heartbeat: Option<Duration>,
    /// What running it twice would do.
    pub effects: EffectClass,
}

/// Where a run was left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advance {
    /// It waits for something outside.
    Waiting,
    /// There is more to decide: the record is full.
    More,
}

/// Why a run could not be moved on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The core refused a decision of ours: a bug, or a limit that was reached.
    #[error("the flow's decision was refused: {0}")]
    Refused(#[from] Rejection),
    /// The run's own events do not fit its flow.
    #[error(transparent)]
    Incoherent(#[from] Incoherent),
}

/// Observes what the draft has and decides what follows, until the run waits or the draft's
/// items are over `bytes_max` (estimated).
///
/// # Errors
/// When a decision is refused. Nothing of the draft may then be appended.
pub fn advance(
    draft: &mut Draft,
    decider: &mut Decider,
    ctx: &Context,
    nodes: &dyn Policies,
    observed: &mut usize,
    bytes_max: usize,
) -> Result<Advance, Error> {
    loop {
        observe(draft, decider, observed)?;
        let run = draft.run();
        if !run.is_open() || !run.has_begun() {
            return Ok(Advance::Waiting);
        }
        if draft.bytes() > bytes_max {
            return Ok(Advance::More);
        }
        let decisions = decider.next(run, nodes, ctx.now);
        if decisions.is_empty() {
            return Ok(Advance::Waiting);
        }
        decide(draft, ctx, Command::Decide(decisions))?;
    }
}

fn observe(draft: &Draft, decider: &mut Decider, observed: &mut usize) -> Result<(), Incoherent> {
    for item in draft.items().iter().skip(*observed) {
        *observed += 1;
        if let Item::Event(event) = item {
            decider.observe(event)?;
        }
    }
    Ok(())
}
