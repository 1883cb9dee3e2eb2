//! What starts runs besides people: requests to a path, times, events.
//!
//! ```text
//! deployed flows ─→ Table ─┬─ webhooks ─→ POST /webhooks/… ─┐
//!                          ├─ events ───→ emit ─────────────┼─→ Engine: a run for each occurrence
//!                          └─ schedules → one run each, whose decider is `flow::schedule`
//! ```
//!
//! Every start carries a request id that follows from its occurrence, so that whoever is not
//! answered asks again and gets the same run.
//!
//! Absent: which flows are deployed; whoever knows says so with [`Triggers::deployed`].

mod emit;
mod fire;
mod list;
mod reload;
mod request;
mod schedules;
mod seen;
mod signature;
mod start;
mod table;
mod webhook;

use std::sync::{Arc, PoisonError, RwLock};

use reflux_engine::Engine;
use reflux_flow::validate;
use tokio::sync::Semaphore;

pub use emit::{Emitted, Event, Started};
pub use list::{Overview, ScheduleState};
pub use reload::{reload, reload_when_told};
pub use table::Deployed;
pub use webhook::router;

use crate::definitions::Definitions;
use crate::host::LocalHost;
use crate::{Error, Project};
use seen::Seen;
use table::Table;

/// Deliveries that are worked on at once, those that wait for an output among them: each holds a
/// connection and its body. Beyond, callers are told to come again.
const DELIVERIES_MAX: usize = 1024;

/// The triggers of a project's flows.
pub struct Triggers {
    engine: Engine,
    host: Arc<LocalHost>,
    project: Project,
    identity: Arc<str>,
    table: RwLock<Option<Arc<Table>>>,
    deliveries: Arc<Semaphore>,
    seen: Seen,
}

impl Triggers {
    /// No triggers yet, over an engine and the host that has the secrets.
    pub fn new(engine: Engine, host: Arc<LocalHost>, project: Project, identity: Arc<str>) -> Self {
        Self {
            engine,
            host,
            project,
            identity,
            table: RwLock::default(),
            deliveries: Arc::new(Semaphore::new(DELIVERIES_MAX)),
            seen: Seen::default(),
        }
    }

    /// Takes up the triggers of exactly these flows: schedules are started, brought up to date, or
    /// ended. Blocks until that is durable. What is wrong with single flows.
    ///
    /// # Errors
    /// The engine does not take it.
    pub fn deployed(&self, flows: Vec<Deployed>) -> Result<Vec<String>, Error> {
        let (table, problems) = Table::of(flows);
        let table = Arc::new(table);
        self.set(table.clone());
        schedules::align(&self.engine, &table, &self.identity)?;
        Ok(problems)
    }

    /// Takes up the triggers of the flows in the project's `flows/`.
    ///
    /// # Errors
    /// As [`Triggers::deployed`].
    pub fn reload(&self) -> Result<Vec<String>, Error> {
        let (flows, mut problems) = self.files();
        problems.extend(self.deployed(flows)?);
        Ok(problems)
    }

    /// The triggers as they are; read from the project's files when nobody has said which there are.
    fn table(&self) -> Arc<Table> {
        let known = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        known.unwrap_or_else(|| {
            let table = Arc::new(Table::of(self.files().0).0);
            self.set(table.clone());
            table
        })
    }

    fn set(&self, table: Arc<Table>) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(table);
    }

    /// The sound flows of `flows/`, and what is wrong with the others.
    fn files(&self) -> (Vec<Deployed>, Vec<String>) {
        let definitions = Definitions::of(&self.project);
        let nodes = self.host.nodes();
        let (mut flows, mut problems) = (Vec::new(), Vec::new());
        for source in definitions.sources() {
            let source = match source {
                Ok(source) => source,
                Err(error) => {
                    problems.push(error.to_string());
                    continue;
                }
            };
            let file = source.file.clone();
            let nodes: &dyn validate::Nodes = &*nodes;
            match definitions.check(source, nodes) {
                Ok(definition) if definition.is_sound() => {
                    if !definition.flow().triggers.is_empty() {
                        flows
                            .push(Deployed::of(&definition.flow().name.clone(), definition.bundle));
                    }
                }
                Ok(_) | Err(_) => {
                    problems.push(format!("{file} is not sound; see `reflux validate {file}`"));
                }
            }
        }
        (flows, problems)
    }
}
