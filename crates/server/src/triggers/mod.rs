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

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use reflux_engine::{Engine, Spec};
use reflux_flow::validate;
use tokio::sync::Semaphore;

pub use emit::{Emitted, Event, Started};
pub use list::{Overview, ScheduleState};
pub use reload::{reload, reload_when_told};
pub use table::Deployed;
pub use webhook::router;

use crate::definitions::Definitions;
use crate::host::LocalHost;
use crate::protocol::NAMESPACE;
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
    /// Held while the schedules are made what the table says.
    aligning: Mutex<()>,
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
            aligning: Mutex::default(),
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
        let _aligning = self.aligning.lock().unwrap_or_else(PoisonError::into_inner);
        let (table, problems) = Table::of(flows);
        let table = Arc::new(table);
        self.set(table.clone());
        schedules::align(&self.engine, &table, &self.identity)?;
        Ok(problems)
    }

    /// Takes up the triggers of the flows that are deployed, and of those in the project's `flows/`
    /// that are not.
    ///
    /// # Errors
    /// As [`Triggers::deployed`].
    pub fn reload(&self) -> Result<Vec<String>, Error> {
        let (flows, mut problems) = self.flows()?;
        problems.extend(self.deployed(flows)?);
        Ok(problems)
    }

    /// The triggers as they are; read from registry and files when nobody has said which there are.
    fn table(&self) -> Result<Arc<Table>, Error> {
        let known = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(table) = known {
            return Ok(table);
        }
        let table = Arc::new(Table::of(self.flows()?.0).0);
        self.set(table.clone());
        Ok(table)
    }

    fn set(&self, table: Arc<Table>) {
        *self.table.write().unwrap_or_else(PoisonError::into_inner) = Some(table);
    }

    /// The latest versions of deployed flows and the files that are not deployed, as far as they
    /// have triggers; and what is wrong with the others.
    fn flows(&self) -> Result<(Vec<Deployed>, Vec<String>), Error> {
        let registry = self.host.registry();
        let (mut flows, mut names) = (Vec::new(), BTreeSet::new());
        for latest in registry.flows() {
            if latest.namespace == NAMESPACE {
                names.insert(latest.name.clone());
            }
            // A template is there to be cloned.
            if latest.template || latest.triggers.is_empty() {
                continue;
            }
            let definition = registry.definition(&self.engine, &latest)?;
            flows.push(Deployed {
                namespace: latest.namespace.as_str().into(),
                flow: latest.name.as_str().into(),
                bundle: definition.bundle.clone(),
                spec: Spec {
                    digest: *blake3::hash(&definition.bytes).as_bytes(),
                    bytes: definition.bytes.clone(),
                },
            });
        }
        let (files, problems) = self.files();
        flows.extend(files.into_iter().filter(|file| !names.contains(&*file.flow)));
        Ok((flows, problems))
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
