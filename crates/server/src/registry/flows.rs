//! Deployed flows: versions that never change.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;
use reflux_core::Timestamp;
use reflux_engine::Engine;
use reflux_flow::Bundle;
use reflux_flow::graph::{Action, Flow, Rule};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Registry, read, record, room, write};
use crate::{Error, Kind, clock};

pub(super) const KIND: &str = "reflux.flow";

/// Most flows of all namespaces: each latest version is a row in memory.
pub const FLOWS_MAX: usize = 10_000;
/// Most versions of a flow that are kept; the oldest go. Runs keep the definition they began with.
pub const VERSIONS_MAX: usize = 100;
/// Definitions kept in memory; each is some 10 KiB.
const DEFINITIONS_MAX: usize = 256;

/// Versions by number, by namespace and name.
pub(super) type Flows = BTreeMap<(String, String), BTreeMap<u32, Arc<Deployed>>>;

/// A version of a flow. Its JSON is durable: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Deployed {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// From 1, rising.
    pub version: u32,
    /// Of its bundle, 64 hexadecimal digits.
    pub digest: String,
    /// Who deployed it.
    pub author: String,
    /// When, in nanoseconds since 1970.
    pub time: i64,
    /// The file it was read from, as its author named it.
    pub file: String,
    /// Whether it is meant to be cloned rather than run.
    pub template: bool,
    /// For people.
    pub description: String,
    /// For people.
    pub category: String,
    /// The version as its author wrote it.
    pub label: String,
    /// Its inputs.
    pub inputs: Vec<Input>,
    /// How many steps it has.
    pub steps: u32,
    /// How many edges there are between them.
    pub edges: u32,
    /// What starts runs of it besides people.
    pub triggers: Vec<Value>,
    /// The nodes it calls, as it names them.
    pub nodes: Vec<String>,
    /// The flows that travel with it.
    pub sub_flows: Vec<String>,
}

/// An input of a deployed flow.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// Its kind, as it is written.
    pub kind: String,
    /// Whether a start without it is refused.
    pub required: bool,
    /// Taken when the start does not give it.
    pub default: Option<Value>,
    /// For people.
    pub description: String,
}

/// What a deployed version says.
#[derive(Debug, Clone)]
pub struct Definition {
    /// As its author wrote it.
    pub text: String,
    /// What runs pin: the flow and those it calls.
    pub bundle: Arc<Bundle>,
    /// The bundle's canonical bytes.
    pub bytes: Bytes,
}

impl Deployed {
    /// A flow about to be deployed: without a version, an author and a time.
    pub fn of(namespace: &str, flow: &Flow, bundle: &Bundle) -> Self {
        let inputs = flow.parameters.iter().map(|parameter| Input {
            name: parameter.name.clone(),
            kind: parameter.kind.name().to_owned(),
            required: parameter.required,
            default: parameter.default.clone(),
            description: parameter.description.clone(),
        });
        let mut nodes: Vec<String> = bundle.flows.values().flat_map(|flow| nodes(flow)).collect();
        nodes.sort();
        nodes.dedup();
        Self {
            namespace: namespace.to_owned(),
            name: flow.name.clone(),
            version: 0,
            digest: bundle.digest(),
            author: String::new(),
            time: 0,
            file: String::new(),
            template: false,
            description: flow.description.clone(),
            category: flow.category.clone(),
            label: flow.version.clone(),
            inputs: inputs.collect(),
            steps: u32::try_from(flow.steps.len()).unwrap_or(u32::MAX),
            edges: edges(flow),
            triggers: flow.triggers.iter().map(|trigger| trigger.source.clone()).collect(),
            nodes,
            sub_flows: bundle.flows.keys().filter(|name| **name != flow.name).cloned().collect(),
        }
    }

    /// When it was deployed.
    pub fn deployed_at(&self) -> Timestamp {
        Timestamp(self.time)
    }

    fn id(&self) -> String {
        format!("flow/{}/{}/{}", self.namespace, self.name, self.version)
    }
}

impl Registry {
    /// The latest version of every flow, by namespace and name.
    pub fn flows(&self) -> Vec<Arc<Deployed>> {
        let flows = read(&self.flows);
        flows.values().filter_map(|versions| versions.values().next_back().cloned()).collect()
    }

    /// A version of a flow; 0 is the latest.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn flow(&self, namespace: &str, name: &str, version: u32) -> Result<Arc<Deployed>, Error> {
        let flows = read(&self.flows);
        let Some(versions) = flows.get(&(namespace.to_owned(), name.to_owned())) else {
            let known = flows.keys().filter(|(of, _)| of == namespace).map(|(_, name)| &**name);
            let error = Error::not_found(format!("no flow `{}` is deployed", name.escape_debug()));
            return Err(match reflux_flow::name::suggest(name, known) {
                Some(alike) => error.suggest(format!("did you mean `{alike}`?")),
                None => error.suggest("list the deployed flows, or deploy it first"),
            });
        };
        let found = match version {
            0 => versions.values().next_back(),
            version => versions.get(&version),
        };
        found.cloned().ok_or_else(|| {
            let kept: Vec<String> = versions.keys().map(u32::to_string).collect();
            Error::not_found(format!("flow `{name}` has no version {version}"))
                .suggest(format!("these are kept: {}", kept.join(", ")))
        })
    }

    /// The versions of a flow, newest first; none when it is not deployed.
    pub fn versions(&self, namespace: &str, name: &str) -> Vec<Arc<Deployed>> {
        let flows = read(&self.flows);
        let versions = flows.get(&(namespace.to_owned(), name.to_owned()));
        versions.into_iter().flat_map(|versions| versions.values().rev().cloned()).collect()
    }

    /// What a version says.
    ///
    /// # Errors
    /// It cannot be read any more.
    pub fn definition(&self, engine: &Engine, of: &Deployed) -> Result<Arc<Definition>, Error> {
        if let Some(known) = self.definitions().get(&of.id()) {
            return Ok(known.clone());
        }
        let mut content = record::content(engine, of.id())?.into_iter();
        let damaged = |what: &str| Error::new(Kind::Corrupt, format!("{}: {what}", of.id()));
        let (Some(text), Some(bytes)) = (content.next(), content.next()) else {
            return Err(damaged("its definition is missing"));
        };
        let text = serde_json::from_slice(&text).map_err(|error| damaged(&error.to_string()))?;
        let bundle = Bundle::from_bytes(&bytes).map_err(|problems| {
            damaged(&problems.first().map_or_else(String::new, |p| p.to_string()))
        })?;
        let definition = Arc::new(Definition { text, bundle: Arc::new(bundle), bytes });
        self.remember(&of.id(), &definition);
        Ok(definition)
    }

    /// Deploys flows as the next versions of theirs, one after the other; with each whether its
    /// latest version was the same already.
    ///
    /// # Errors
    /// There are too many, or one does not fit. Those before it are deployed.
    pub fn deploy(
        &self,
        engine: &Engine,
        flows: Vec<(Deployed, Definition)>,
    ) -> Result<Vec<(Arc<Deployed>, bool)>, Error> {
        let _writing = self.writing();
        flows
            .into_iter()
            .map(|(flow, definition)| self.deploy_one(engine, flow, definition))
            .collect()
    }

    fn deploy_one(
        &self,
        engine: &Engine,
        mut flow: Deployed,
        definition: Definition,
    ) -> Result<(Arc<Deployed>, bool), Error> {
        let versions = self.versions(&flow.namespace, &flow.name);
        if let Some(latest) = versions.first()
            && (&latest.digest, latest.template) == (&flow.digest, flow.template)
        {
            return Ok((latest.clone(), true));
        }
        if versions.is_empty() {
            room("deployed flows", read(&self.flows).len(), FLOWS_MAX)?;
        }
        flow.version = versions.first().map_or(1, |latest| latest.version.saturating_add(1));
        flow.time = clock::now().0;
        let text = serde_json::to_vec(&definition.text).unwrap_or_default();
        let content = [text.into(), definition.bytes.clone()];
        record::put(engine, KIND, flow.id(), &flow, content)?;
        self.remember(&flow.id(), &Arc::new(definition));
        let flow = Arc::new(flow);
        self.insert(flow.clone());
        for old in versions.iter().skip(VERSIONS_MAX - 1) {
            self.drop_version(engine, old)?;
        }
        Ok((flow, false))
    }

    /// Takes every version of a flow away; how many there were.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn delete_flow(&self, engine: &Engine, namespace: &str, name: &str) -> Result<u32, Error> {
        let _writing = self.writing();
        self.flow(namespace, name, 0)?;
        let versions = self.versions(namespace, name);
        // The latest goes last: until then the flow is there, and deleting it again goes on.
        for version in versions.iter().rev() {
            self.drop_version(engine, version)?;
        }
        Ok(u32::try_from(versions.len()).unwrap_or(u32::MAX))
    }

    fn drop_version(&self, engine: &Engine, version: &Deployed) -> Result<(), Error> {
        record::remove(engine, version.id())?;
        let mut flows = write(&self.flows);
        let key = (version.namespace.clone(), version.name.clone());
        if let Some(versions) = flows.get_mut(&key) {
            versions.remove(&version.version);
            if versions.is_empty() {
                flows.remove(&key);
            }
        }
        Ok(())
    }

    pub(super) fn take_flow(&self, facts: Value) -> Result<(), String> {
        let flow: Deployed = serde_json::from_value(facts).map_err(|error| error.to_string())?;
        self.insert(Arc::new(flow));
        Ok(())
    }

    fn insert(&self, flow: Arc<Deployed>) {
        let key = (flow.namespace.clone(), flow.name.clone());
        write(&self.flows).entry(key).or_default().insert(flow.version, flow);
    }

    fn remember(&self, id: &str, definition: &Arc<Definition>) {
        let mut known = self.definitions();
        if known.len() >= DEFINITIONS_MAX {
            known.pop_first();
        }
        known.insert(id.to_owned(), definition.clone());
    }

    fn definitions(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Arc<Definition>>> {
        self.definitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn nodes(flow: &Flow) -> impl Iterator<Item = String> {
    let called = flow.steps.iter().flat_map(|step| {
        let node = match &step.action {
            Action::Node { node, .. } => Some(node),
            Action::Flow { .. } | Action::Wait(_) | Action::Pass => None,
        };
        node.into_iter().chain(step.compensate.as_ref().map(|undo| &undo.node))
    });
    called.map(|node| match &node.version {
        Some(version) => format!("{}@{version}", node.name),
        None => node.name.clone(),
    })
}

fn edges(flow: &Flow) -> u32 {
    let targets = |rules: &[Rule]| -> usize {
        rules.iter().map(|rule| rule.then.len() + rule.otherwise.len()).sum()
    };
    let edges = flow
        .steps
        .iter()
        .map(|step| step.needs.len() + targets(&step.on_success) + targets(&step.on_failure));
    u32::try_from(edges.sum::<usize>()).unwrap_or(u32::MAX)
}
