//! Namespaces: rooms whose runs and flows do not see each other.

use std::collections::BTreeMap;
use std::sync::Arc;

use reflux_engine::Engine;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Registry, SYSTEM_NAMESPACE, read, record, room, write};
use crate::protocol::NAMESPACE;
use crate::{Error, Kind, clock};

pub(super) const KIND: &str = "reflux.namespace";

/// Most namespaces: each is a row in memory.
const NAMESPACES_MAX: usize = 10_000;
/// Most characters of a name: it is part of every key.
const NAME_CHARS_MAX: usize = 200;

/// A namespace. Its JSON is durable: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Namespace {
    /// Its name: letters, digits, `_`, `-` and `.`.
    pub name: String,
    /// The same for ever: a UUID.
    pub id: String,
    /// For people.
    #[serde(default)]
    pub description: String,
    /// For people.
    #[serde(default)]
    pub owner: String,
    /// How long closed runs are wanted, in seconds; absent takes the server's setting.
    #[serde(default)]
    pub retention_s: Option<u64>,
    /// What its owner noted.
    #[serde(default)]
    pub data: BTreeMap<String, String>,
    /// When it was made, in nanoseconds since 1970.
    #[serde(default)]
    pub time: i64,
}

impl Namespace {
    /// A namespace of that name, with nothing said about it.
    pub fn named(name: &str) -> Self {
        // The same on every server: a client may have noted it.
        let hash = blake3::hash(format!("namespace/{name}").as_bytes());
        let bytes = hash.as_bytes().first_chunk::<16>().copied().unwrap_or_default();
        Self {
            name: name.to_owned(),
            id: uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string(),
            description: String::new(),
            owner: String::new(),
            retention_s: None,
            data: BTreeMap::new(),
            time: 0,
        }
    }
}

impl Registry {
    /// Every namespace, by name; `default` is always there, that of the records never.
    pub fn namespaces(&self) -> Vec<Arc<Namespace>> {
        let registered = read(&self.namespaces);
        let implied =
            (!registered.contains_key(NAMESPACE)).then(|| Arc::new(Namespace::named(NAMESPACE)));
        let mut all: Vec<_> = registered.values().cloned().chain(implied).collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The namespace of that name.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn namespace(&self, name: &str) -> Result<Arc<Namespace>, Error> {
        if let Some(known) = read(&self.namespaces).get(name) {
            return Ok(known.clone());
        }
        if name == NAMESPACE {
            return Ok(Arc::new(Namespace::named(NAMESPACE)));
        }
        Err(Error::not_found(format!("no namespace `{}`", name.escape_debug()))
            .suggest("register it first, or use `default`"))
    }

    /// Makes a namespace.
    ///
    /// # Errors
    /// [`Kind::Exists`], or the name cannot be used.
    pub fn register_namespace(
        &self,
        engine: &Engine,
        mut wanted: Namespace,
    ) -> Result<Arc<Namespace>, Error> {
        let _writing = self.writing();
        check(&wanted.name)?;
        if wanted.name == NAMESPACE || read(&self.namespaces).contains_key(&wanted.name) {
            return Err(Error::new(
                Kind::Exists,
                format!("there is a namespace `{}`", wanted.name),
            )
            .suggest("use it, or register another name"));
        }
        room("namespaces", read(&self.namespaces).len(), NAMESPACES_MAX)?;
        wanted.time = clock::now().0;
        self.put_namespace(engine, wanted)
    }

    /// Changes what is said about a namespace; its name and id stay.
    ///
    /// # Errors
    /// [`Kind::NotFound`].
    pub fn update_namespace(
        &self,
        engine: &Engine,
        wanted: Namespace,
    ) -> Result<Arc<Namespace>, Error> {
        let _writing = self.writing();
        let known = self.namespace(&wanted.name)?;
        self.put_namespace(engine, Namespace { id: known.id.clone(), time: known.time, ..wanted })
    }

    fn put_namespace(&self, engine: &Engine, wanted: Namespace) -> Result<Arc<Namespace>, Error> {
        record::put(engine, KIND, format!("namespace/{}", wanted.name), &wanted, [])?;
        let namespace = Arc::new(wanted);
        write(&self.namespaces).insert(namespace.name.clone(), namespace.clone());
        Ok(namespace)
    }

    pub(super) fn take_namespace(&self, facts: Value) -> Result<(), String> {
        let namespace: Namespace =
            serde_json::from_value(facts).map_err(|error| error.to_string())?;
        write(&self.namespaces).insert(namespace.name.clone(), Arc::new(namespace));
        Ok(())
    }
}

fn check(name: &str) -> Result<(), Error> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name == SYSTEM_NAMESPACE {
        return Err(Error::invalid(format!("`{name}` is the server's own"))
            .suggest("register another name"));
    }
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.chars().all(legal) {
        return Err(Error::invalid(format!(
            "a namespace is named with 1 to {NAME_CHARS_MAX} letters, digits, `_`, `-` and `.`"
        )));
    }
    Ok(())
}
