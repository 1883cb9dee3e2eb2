//! The nodes of a project: built in, and declared in `nodes/`. Says what flows need to know of them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use reflux_core::EffectClass;
use reflux_flow::advance::NodePolicy;
use reflux_flow::graph::{NodeRef, ParameterKind, Retry};
use reflux_flow::validate::{NodeShape, Property};
use reflux_nodes::{Problem, builtin, load_dir};
use reflux_sdk::{Catalogue, Effects, Manifest, Node, Schema, Served};
use serde_json::Value;

use crate::registry::Registered;
use crate::{Config, Project};

/// The nodes of a project.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    catalogue: Catalogue,
    /// Names of those that are not the project's.
    built_in: BTreeSet<String>,
    registered: BTreeSet<String>,
}

/// Where a node comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Of this program.
    BuiltIn,
    /// Of the project's files.
    Project,
    /// Of a worker.
    Registered,
}

impl Nodes {
    /// The nodes of a catalogue.
    pub fn of(catalogue: Catalogue) -> Self {
        Self { catalogue, ..Self::default() }
    }

    /// The built-in nodes and those of the project's `nodes/`.
    ///
    /// # Errors
    /// Everything that is wrong with the node files.
    pub fn load(project: &Project, config: &Config) -> Result<Self, Vec<Problem>> {
        let config = config.nodes(project);
        let mut catalogue = builtin(&config);
        let built_in = catalogue.names().map(str::to_owned).collect();
        for node in load_dir(&project.nodes(), &config)? {
            catalogue.insert(node);
        }
        Ok(Self { catalogue, built_in, registered: BTreeSet::new() })
    }

    /// These and the registered ones. A name that is here already keeps its meaning.
    #[must_use]
    pub fn join(mut self, registered: &[Arc<Registered>]) -> Self {
        let own: BTreeSet<String> = self.catalogue.names().map(str::to_owned).collect();
        for node in registered {
            let name = &node.manifest.name;
            if own.contains(name) {
                tracing::warn!(%name, "a registered node has the name of one in the project, which is called instead");
                continue;
            }
            self.registered.insert(name.clone());
            self.catalogue.insert(Arc::new(Served::new(node.manifest.clone())));
        }
        self
    }

    /// Where the nodes of a name come from.
    pub fn origin(&self, name: &str) -> Origin {
        match (self.built_in.contains(name), self.registered.contains(name)) {
            (true, _) => Origin::BuiltIn,
            (false, true) => Origin::Registered,
            (false, false) => Origin::Project,
        }
    }

    /// Every node of every version.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Node>> {
        self.catalogue.nodes()
    }

    /// A node as flows write it.
    pub fn find(&self, reference: &str) -> Option<&Arc<dyn Node>> {
        self.catalogue.find(reference)
    }

    /// Names like a misspelt one.
    pub fn suggestions(&self, misspelt: &str) -> Vec<&str> {
        self.catalogue.suggestions(misspelt)
    }

    /// The node of a recorded version. That of a local command is the digest of its files, which
    /// may have been mended since: the command of now is called.
    pub fn recorded(&self, name: &str, version: &str) -> Option<&Arc<dyn Node>> {
        self.by_name(name, Some(version)).or_else(|| {
            let now = self.by_name(name, None)?;
            (version.is_empty() || now.version_digest().is_some()).then_some(now)
        })
    }

    pub(crate) fn get(&self, node: &NodeRef) -> Option<&Arc<dyn Node>> {
        self.by_name(&node.name, node.version.as_deref())
    }

    /// The node of that name. A canvas names actions without their module: then it is the action of
    /// that name, if only one module has it.
    fn by_name(&self, name: &str, version: Option<&str>) -> Option<&Arc<dyn Node>> {
        self.catalogue.get(name, version).or_else(|| {
            let is_it =
                |full: &&str| full.rsplit_once('.').is_some_and(|(_, action)| action == name);
            let mut found = self.catalogue.names().filter(is_it);
            match (found.next(), found.next()) {
                (Some(only), None) => self.catalogue.get(only, version),
                _ => None,
            }
        })
    }

    /// How a node is called with that rendered input.
    pub fn policy(&self, node: &NodeRef, input: &Value) -> Option<NodePolicy> {
        let found = self.get(node)?;
        let manifest = found.manifest();
        let effects = found.effects(input);
        let version = found.version_digest().unwrap_or_else(|| manifest.version.clone());
        let queue = found.task_queue();
        Some(NodePolicy {
            version: version.into(),
            task_queue: queue.as_deref().unwrap_or(reflux_engine::LOCAL_QUEUE).into(),
            retry: retry(manifest, effects, queue.is_some()),
            timeout: manifest.policies.timeout,
            heartbeat: manifest.policies.heartbeat.filter(|_| queue.is_some()), // a call in process is lost with the process
            effects: class_of(effects),
        })
    }
}

fn class_of(effects: Effects) -> EffectClass {
    match effects {
        Effects::Pure => EffectClass::Pure,
        Effects::Reads => EffectClass::Reads,
        Effects::Idempotent => EffectClass::Idempotent,
        Effects::Unsafe => EffectClass::Unsafe,
    }
}

impl reflux_flow::validate::Nodes for Nodes {
    fn find(&self, node: &NodeRef) -> Option<NodeShape> {
        let manifest = self.get(node)?.manifest();
        Some(NodeShape {
            inputs: properties(&manifest.inputs),
            outputs: properties(&manifest.outputs),
        })
    }

    fn names(&self) -> Vec<String> {
        self.catalogue.names().map(str::to_owned).collect()
    }

    fn effects(&self, node: &NodeRef, input: &Value) -> Option<EffectClass> {
        self.get(node).map(|found| class_of(found.effects(input)))
    }
}

/// What a node that says nothing gets: none for one that may not be repeated unasked. A pure node gives
/// the same again; but its worker can be lost.
fn retry(manifest: &Manifest, effects: Effects, by_worker: bool) -> Option<Retry> {
    match (&manifest.policies.retries, effects) {
        (Some(waits), _) => Some(Retry::Intervals(waits.clone())),
        (None, Effects::Pure) if !by_worker => None,
        (None, Effects::Pure | Effects::Reads | Effects::Idempotent) => {
            Some(Retry::Intervals([1, 3, 10].map(Duration::from_secs).to_vec())) // outlasts a hiccup, not an outage
        }
        (None, Effects::Unsafe) => None,
    }
}

/// The fields of a schema; `None` when it has none and so takes anything.
pub(crate) fn properties(schema: &Schema) -> Option<Vec<Property>> {
    let open = schema.json().get("additionalProperties").is_some_and(|more| more != false);
    let properties: Vec<Property> = schema
        .properties()
        .map(|(name, kind, required)| Property {
            name: name.to_owned(),
            kind: kind_of(kind),
            required,
        })
        .collect();
    (!properties.is_empty() && !open).then_some(properties)
}

fn kind_of(name: &str) -> ParameterKind {
    match name {
        "string" => ParameterKind::String,
        "number" => ParameterKind::Number,
        "integer" => ParameterKind::Integer,
        "boolean" => ParameterKind::Boolean,
        "array" => ParameterKind::Array,
        "object" => ParameterKind::Object,
        _ => ParameterKind::Any,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn nodes(names: &[&str]) -> Nodes {
        let mut catalogue = Catalogue::new();
        for name in names {
            let manifest = Manifest::new(*name, "1.0.0").unwrap();
            let run = |_: reflux_sdk::Context, input: Value| async move {
                Ok::<_, reflux_sdk::Failure>(input)
            };
            catalogue.insert(Arc::new(reflux_sdk::node(manifest, run)));
        }
        Nodes::of(catalogue)
    }

    #[test]
    fn an_action_is_found_without_its_module_if_only_one_module_has_it() {
        let nodes = nodes(&["a.copy", "a.paint", "b.paint", "paint.copier"]);
        for (name, found) in [
            ("a.copy", Some("a.copy")),
            ("copy", Some("a.copy")),
            ("paint", None),
            ("b.paint", Some("b.paint")),
            ("py", None),
            ("copier", Some("paint.copier")),
        ] {
            let node = nodes.get(&NodeRef { name: name.into(), version: None });
            assert_eq!(node.map(|node| node.manifest().name.as_str()), found, "{name}");
        }
    }

    #[test]
    fn what_may_do_harm_is_not_retried_unasked() {
        for (effects, retries, by_worker, waits) in [
            (json!("unsafe"), json!(null), false, None),
            (json!("unsafe"), json!(null), true, None),
            (json!("pure"), json!(null), false, None),
            (json!("pure"), json!(null), true, Some(3)),
            (json!("reads"), json!(null), false, Some(3)),
            (json!("unsafe"), json!([1, 2]), false, Some(2)),
        ] {
            let manifest = json!({"name": "n", "version": "1.0.0", "effects": effects, "policies": {"retries": retries}});
            let manifest = Manifest::from_json(&manifest.to_string()).unwrap();
            let found = retry(&manifest, manifest.effects, by_worker).map(|retry| match retry {
                Retry::Intervals(waits) => waits.len(),
                Retry::Exponential { .. } => 0,
            });
            assert_eq!(found, waits, "{effects} {retries}");
        }
    }
}
