//! A recorded run, looked at again: how it stood at an event, and whether its definition would
//! decide today what was recorded.
//!
//! ```text
//! items ─→ Replay (run + decider) ─┬─→ StateAt
//!                                  └─→ verify: recorded event against decision ─→ Divergence
//! ```
//!
//! Nothing is called and nothing is appended: what nodes gave is in the record, and how they are
//! called too, so a change of configuration is no divergence. Absent: code, whose decider is a
//! worker (its SDK replays it).

mod facts;
mod short;
mod state;
mod verify;

use std::sync::Arc;

use reflux_core::{Item, Kind, Payload, Run, RunKey};
use serde_json::Value;

pub use facts::{Difference, differences};
pub use short::{VALUE_BYTES, short};
pub use state::{
    ItemsAt, OpenActivity, OpenAt, OpenChild, OpenTimer, StateAt, StepAt, View, state_at,
};
pub use verify::{Divergence, Verified, verify};

use crate::decider::Decider;
use crate::graph::Bundle;
use crate::payload;

/// Gives the bundle of a digest, or another one to look at the run with.
pub type Bundles<'a> = dyn Fn(&Payload) -> Option<Arc<Bundle>> + 'a;

/// Marker of an operator's change, with the number of the revision it makes.
pub(crate) const MARKER_MUTATION: &str = "reflux.mutation";

/// Why a run cannot be replayed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// A worker decides.
    #[error(
        "the run is code: verify it with the replayer of its SDK and the run's history in Temporal's JSON"
    )]
    Code,
    /// Nobody decides.
    #[error("the run is a record of the server's own: there is no definition to verify it with")]
    Record,
    /// Its definition is not there.
    #[error("the definition {0} is missing; restore the data directory from a backup")]
    NoDefinition(String),
    /// The definition has no such flow.
    #[error("{0}")]
    Unfit(String),
    /// The items contradict each other or the definition.
    #[error("{0}")]
    Broken(String),
}

/// A run while its items are folded again.
#[derive(Clone)]
pub struct Replay<'a> {
    run: Run,
    decider: Option<Decider>,
    revision: u64,
    bundles: &'a Bundles<'a>,
}

impl<'a> Replay<'a> {
    /// A run before its first item.
    pub fn new(key: RunKey, bundles: &'a Bundles<'a>) -> Self {
        Self { run: Run::new(key), decider: None, revision: 0, bundles }
    }

    /// The state machine.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Who decides; `None` before the start, and for code.
    pub fn decider(&self) -> Option<&Decider> {
        self.decider.as_ref()
    }

    /// How often the definition was changed while it ran.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Folds one item in.
    ///
    /// # Errors
    /// [`Problem::Broken`] when it does not follow, [`Problem::NoDefinition`] and
    /// [`Problem::Unfit`] at the start.
    pub fn absorb(&mut self, item: &Item) -> Result<(), Problem> {
        let broken = |error: &dyn std::fmt::Display| Problem::Broken(error.to_string());
        reflux_core::apply(&mut self.run, item).map_err(|error| broken(&error))?;
        let Item::Event(event) = item else { return Ok(()) };
        match &event.kind {
            Kind::Started(started) => {
                if let Some(spec) = payload::spec_of(&started.header) {
                    let bundle = self.bundle(spec)?;
                    let key = self.run.key.clone();
                    let decider =
                        Decider::new(bundle, &started.workflow_type, &started.header, key);
                    self.decider =
                        Some(decider.map_err(|error| Problem::Unfit(error.to_string()))?);
                }
            }
            Kind::Marker(marker) if &*marker.name == MARKER_MUTATION => {
                let mark: Option<Value> = serde_json::from_slice(payload::marker_json(marker)).ok();
                let revision = mark.as_ref().and_then(|mark| mark.get("revision")?.as_u64());
                self.revision = revision.unwrap_or(self.revision);
            }
            _ => {}
        }
        let wanted = self.decider.as_ref().and_then(|decider| decider.wants(&event.kind));
        if let Some(spec) = wanted.cloned() {
            let bundle = self.bundle(&spec)?;
            if let Some(decider) = &mut self.decider {
                decider.offer(&spec, bundle);
            }
        }
        match &mut self.decider {
            Some(decider) => decider.observe(event).map_err(|error| broken(&error)),
            None => Ok(()),
        }
    }

    fn bundle(&self, spec: &Payload) -> Result<Arc<Bundle>, Problem> {
        (self.bundles)(spec).ok_or_else(|| {
            Problem::NoDefinition(spec.data.iter().map(|byte| format!("{byte:02x}")).collect())
        })
    }
}
