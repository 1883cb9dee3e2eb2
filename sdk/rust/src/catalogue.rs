//! Nodes by name and version.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use semver::Version;

use crate::{Manifest, Node};

/// How alike two names must be (1 is equal) to be suggested.
const ALIKE_MIN: f64 = 0.8;
/// More suggestions than this help nobody.
const SUGGESTIONS_MAX: usize = 3;

/// The nodes a host can call. Cheap to clone: nodes are shared.
#[derive(Clone, Default)]
pub struct Catalogue {
    nodes: BTreeMap<String, BTreeMap<Key, Arc<dyn Node>>>,
}

/// Versions in the order of semver; one that cannot be read comes before all others.
type Key = (Option<Version>, String);

impl Catalogue {
    /// A catalogue without nodes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Add a node; returns the one of the same name and version that it replaces.
    pub fn insert(&mut self, node: Arc<dyn Node>) -> Option<Arc<dyn Node>> {
        let Manifest { name, version, .. } = node.manifest();
        let key = (Version::parse(version).ok(), version.clone());
        self.nodes.entry(name.clone()).or_default().insert(key, node)
    }

    /// A node by name: the stated version, or else the newest release, or else the newest draft.
    pub fn get(&self, name: &str, version: Option<&str>) -> Option<&Arc<dyn Node>> {
        let versions = self.nodes.get(name)?;
        let newest_first = || versions.iter().rev();
        let found = match version {
            Some(wanted) => newest_first().find(|((_, version), _)| version == wanted),
            None => newest_first()
                .find(|((version, _), _)| version.as_ref().is_some_and(|v| v.pre.is_empty()))
                .or_else(|| newest_first().next()),
        };
        found.map(|(_, node)| node)
    }

    /// A node as flows write it: `name` or `name@version`.
    pub fn find(&self, reference: &str) -> Option<&Arc<dyn Node>> {
        match reference.split_once('@') {
            Some((name, version)) => self.get(name, Some(version)),
            None => self.get(reference, None),
        }
    }

    /// Every name, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.nodes.keys().map(String::as_str)
    }

    /// The versions of a name, oldest first.
    pub fn versions(&self, name: &str) -> impl Iterator<Item = &str> {
        let versions = self.nodes.get(name).into_iter().flatten();
        versions.map(|((_, version), _)| version.as_str())
    }

    /// Every node of every version, by name, then oldest first.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<dyn Node>> {
        self.nodes.values().flat_map(BTreeMap::values)
    }

    /// Names like a misspelt one, the likeliest first.
    pub fn suggestions(&self, misspelt: &str) -> Vec<&str> {
        let mut alike: Vec<(f64, &str)> = self
            .names()
            .map(|name| (likeness(name, misspelt), name))
            .filter(|(likeness, _)| *likeness >= ALIKE_MIN)
            .collect();
        alike.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        alike.truncate(SUGGESTIONS_MAX);
        alike.into_iter().map(|(_, name)| name).collect()
    }
}

/// Alike as a whole, or in the part after the module: `fetch.request` is like `http.request`.
fn likeness(name: &str, misspelt: &str) -> f64 {
    let last = |s: &str| s.rsplit('.').next().unwrap_or_default().to_lowercase();
    let whole = strsim::jaro_winkler(&name.to_lowercase(), &misspelt.to_lowercase());
    let same_action = last(name) == last(misspelt);
    if same_action { whole.max(ALIKE_MIN) } else { whole }
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}
