//! What is deployed and registered: flows in versions, nodes that workers serve, namespaces, limits.
//!
//! ```text
//! put ─→ run in `reflux-system` whose input is the record ─→ log, store, backup
//!  boot ─ open runs of `reflux-system` ─→ Registry ─→ what to start, whom to call
//! ```
//!
//! A record is a run that decides nothing: replacing it starts another run in its place, taking it
//! away terminates it. So records are as durable as runs are, and need no file of their own.
//! Absent: what a flow does, how a node is called.

mod cleared;
mod flows;
mod limits;
mod namespaces;
mod nodes;
mod record;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use reflux_engine::{Opened, Recovered, Subject};

pub use flows::{Definition, Deployed, FLOWS_MAX, Input, VERSIONS_MAX};
pub use limits::Limit;
pub use namespaces::Namespace;
pub use nodes::{NODES_MAX, Registered};

use crate::Error;

/// The namespace of the records. No face shows it, and none lets anybody in.
pub const SYSTEM_NAMESPACE: &str = "reflux-system";

/// What is deployed and registered. Everything in it is durable.
#[derive(Default)]
pub struct Registry {
    flows: RwLock<flows::Flows>,
    nodes: RwLock<BTreeMap<(String, String), Arc<Registered>>>,
    namespaces: RwLock<BTreeMap<String, Arc<Namespace>>>,
    limits: RwLock<BTreeMap<String, Arc<Limit>>>,
    /// Those that were open when the last process ended.
    circuits: RwLock<Vec<(Subject, Opened)>>,
    definitions: Mutex<BTreeMap<String, Arc<Definition>>>,
    /// By namespace.
    cleared: Mutex<BTreeMap<String, cleared::Cleared>>,
    /// Held from reading what is there to the durable change: numbers rise, nothing is doubled.
    writing: Mutex<()>,
}

impl Registry {
    /// Takes up the records of the last process.
    ///
    /// # Errors
    /// The store cannot be read. A record that cannot be is left out, with a word in the log.
    pub fn load(&self, runs: &Recovered<'_>) -> Result<(), reflux_engine::Error> {
        record::load(runs, &mut |id, kind, facts| {
            let taken = match kind {
                flows::KIND => self.take_flow(facts),
                nodes::KIND => self.take_node(facts),
                namespaces::KIND => self.take_namespace(facts),
                limits::LIMIT => self.take_limit(facts),
                limits::CIRCUIT => self.take_circuit(facts),
                cleared::KIND => self.take_cleared(facts, runs),
                other => Err(format!("`{other}` is unknown to this version")),
            };
            if let Err(error) = taken {
                tracing::error!(record = id, %error, "a record of the server cannot be read; it is left out");
            }
        })
    }

    fn cleared(&self) -> MutexGuard<'_, BTreeMap<String, cleared::Cleared>> {
        self.cleared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Refuses what would make more records than there may be.
fn room(what: &str, present: usize, max: usize) -> Result<(), Error> {
    if present < max {
        return Ok(());
    }
    Err(Error::new(crate::Kind::Exhausted, format!("there are {present} {what} already"))
        .suggest("remove those that nobody uses"))
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
