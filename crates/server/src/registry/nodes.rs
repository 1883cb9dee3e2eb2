//! Nodes that workers serve: their manifests.

use std::sync::Arc;

use reflux_engine::Engine;
use reflux_sdk::Manifest;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Registry, read, record, room, write};
use crate::{Error, clock};

pub(super) const KIND: &str = "reflux.node";

/// Most registered versions of nodes: each is a row in memory.
pub const NODES_MAX: usize = 10_000;

/// A node that workers serve. Its JSON is durable: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Registered {
    /// What the node is; its task queue is stated.
    pub manifest: Manifest,
    /// When it was registered, in nanoseconds since 1970.
    pub time: i64,
    /// Why it should no longer be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deprecated: Option<String>,
    /// What to use instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement: Option<String>,
}

impl Registered {
    /// A node as its manifest tells it.
    pub fn of(manifest: Manifest) -> Self {
        Self { manifest, time: 0, deprecated: None, replacement: None }
    }

    fn key(&self) -> (String, String) {
        (self.manifest.name.clone(), self.manifest.version.clone())
    }
}

impl Registry {
    /// Every registered node, by name and version.
    pub fn nodes(&self) -> Vec<Arc<Registered>> {
        read(&self.nodes).values().cloned().collect()
    }

    /// The registered node of that name and version.
    pub fn node(&self, name: &str, version: &str) -> Option<Arc<Registered>> {
        read(&self.nodes).get(&(name.to_owned(), version.to_owned())).cloned()
    }

    /// Makes a node known; whether it was known already and nothing changed. Registering takes a
    /// mark of deprecation away only when the manifest changed.
    ///
    /// # Errors
    /// There are too many, or it is too large.
    pub fn register(
        &self,
        engine: &Engine,
        manifest: Manifest,
    ) -> Result<(Arc<Registered>, bool), Error> {
        let _writing = self.writing();
        let node = Registered { time: clock::now().0, ..Registered::of(manifest) };
        let key = node.key();
        match read(&self.nodes).get(&key) {
            Some(known) if known.manifest == node.manifest => return Ok((known.clone(), true)),
            Some(_) => {}
            None => room("registered nodes", read(&self.nodes).len(), NODES_MAX)?,
        }
        Ok((self.put_node(engine, node)?, false))
    }

    /// Sets or takes away a mark of deprecation.
    ///
    /// # Errors
    /// The node is not registered.
    pub fn deprecate(
        &self,
        engine: &Engine,
        name: &str,
        version: &str,
        reason: Option<String>,
        replacement: Option<String>,
    ) -> Result<Arc<Registered>, Error> {
        let _writing = self.writing();
        let known = self.node(name, version).ok_or_else(|| missing(name, version))?;
        let node = Registered { deprecated: reason, replacement, ..(*known).clone() };
        self.put_node(engine, node)
    }

    /// Forgets a registered version.
    ///
    /// # Errors
    /// The node is not registered.
    pub fn remove_node(&self, engine: &Engine, name: &str, version: &str) -> Result<(), Error> {
        let _writing = self.writing();
        let known = self.node(name, version).ok_or_else(|| missing(name, version))?;
        record::remove(engine, id(&known))?;
        write(&self.nodes).remove(&known.key());
        Ok(())
    }

    fn put_node(&self, engine: &Engine, node: Registered) -> Result<Arc<Registered>, Error> {
        record::put(engine, KIND, id(&node), &node, [])?;
        let node = Arc::new(node);
        write(&self.nodes).insert(node.key(), node.clone());
        Ok(node)
    }

    pub(super) fn take_node(&self, facts: Value) -> Result<(), String> {
        let node: Registered = serde_json::from_value(facts).map_err(|error| error.to_string())?;
        write(&self.nodes).insert(node.key(), Arc::new(node));
        Ok(())
    }
}

fn id(node: &Registered) -> String {
    format!("node/{}/{}", node.manifest.name, node.manifest.version)
}

fn missing(name: &str, version: &str) -> Error {
    Error::not_found(format!("no node `{name}@{version}` is registered"))
        .suggest("only registered nodes can be changed; see the list of nodes")
}
