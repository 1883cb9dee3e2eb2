//! Which nodes can do the work of another one, by their manifests. Knows nothing of runs.

use std::sync::Arc;

use reflux_flow::alternatives::{Reads, Wanted};
use reflux_flow::canonical::node_text;
use reflux_flow::validate::Property;
use reflux_sdk::{Manifest, Node};
use serde_json::Value;

use crate::catalogue::{Nodes, properties};

impl Nodes {
    /// The nodes that can take the place of one, the best first: those that its manifest names,
    /// then those whose manifests name it. Each as flows write it.
    pub fn instead_of(&self, manifest: &Manifest) -> Vec<(String, Arc<dyn Node>)> {
        let named = manifest.alternatives.iter();
        let mut found: Vec<(String, Arc<dyn Node>)> =
            named.filter_map(|name| Some((name.clone(), self.find(name)?.clone()))).collect();
        for other in self.all() {
            let other = other.manifest();
            let is_it = |name: &String| name.split('@').next() == Some(manifest.name.as_str());
            let is_known = found.iter().any(|(_, node)| node.manifest().name == other.name);
            if other.name != manifest.name && !is_known && other.alternatives.iter().any(is_it) {
                found.extend(self.find(&other.name).map(|node| (other.name.clone(), node.clone())));
            }
        }
        found
    }

    /// Those of them, or of the named ones, that can do the work of a step.
    pub(crate) fn alternatives(&self, wanted: &Wanted<'_>) -> Vec<String> {
        let Some(node) = self.get(wanted.node).map(|node| node.manifest()) else {
            return Vec::new();
        };
        let come_into_question = match wanted.among {
            None => self.instead_of(node),
            Some(nodes) => {
                let named = nodes.iter().map(node_text);
                named.filter_map(|name| Some((name.clone(), self.find(&name)?.clone()))).collect()
            }
        };
        let fits = |other: &Manifest| {
            other.reference() != node.reference()
                && wanted.input.is_none_or(|input| takes(other, input))
                && gives(other, node, wanted.reads)
        };
        let fitting = come_into_question.into_iter().filter(|(_, other)| fits(other.manifest()));
        fitting.map(|(name, _)| name).collect()
    }
}

/// Whether a node takes an input: the right types, nothing missing, nothing that it does not know.
fn takes(node: &Manifest, input: &Value) -> bool {
    let given = input.as_object().into_iter().flatten().map(|(name, _)| name);
    let knows = |known: Vec<Property>| given.into_iter().all(|name| has(&known, name));
    node.inputs.check(input).is_ok() && properties(&node.inputs).is_none_or(knows)
}

/// Whether a node gives what is read of another one's output. One that does not say what it gives is
/// taken at its word: somebody named it as an alternative.
fn gives(node: &Manifest, instead_of: &Manifest, reads: &Reads) -> bool {
    let Some(given) = properties(&node.outputs) else { return true };
    let before = properties(&instead_of.outputs).unwrap_or_default();
    let kept =
        before.iter().filter(|it| reads.fields.contains(&it.name) || (reads.whole && it.required));
    let same_kind = |it: &Property| {
        let now = given.iter().find(|now| now.name == it.name);
        now.is_some_and(|now| it.kind.takes(now.kind))
    };
    kept.into_iter().all(same_kind) && reads.fields.iter().all(|name| has(&given, name))
}

fn has(fields: &[Property], name: &str) -> bool {
    fields.iter().any(|field| field.name == name)
}

#[cfg(test)]
mod tests {
    use reflux_flow::graph::NodeRef;
    use reflux_sdk::{Catalogue, Failure};
    use serde_json::json;

    use super::*;

    fn nodes() -> Nodes {
        let mut catalogue = Catalogue::new();
        for mut manifest in [
            json!({"name": "fx.bank", "inputs": {"pair": "string"},
                "outputs": {"rate": "number", "at": "string"},
                "alternatives": ["fx.text", "fx.feed", "fx.gone"]}),
            json!({"name": "fx.feed", "inputs": {"pair": "string"}, "outputs": {"rate": "number"}}),
            json!({"name": "fx.text", "inputs": {"pair": "string"}, "outputs": {"rate": "string"}}),
            json!({"name": "fx.file", "inputs": {"file": "string"}, "alternatives": ["fx.bank"]}),
            json!({"name": "fx.free", "alternatives": ["fx.bank@1.0.0"]}),
        ] {
            manifest["version"] = json!("1.0.0");
            let manifest = Manifest::from_json(&manifest.to_string()).unwrap();
            let run = |_: reflux_sdk::Context, input: Value| async move { Ok::<_, Failure>(input) };
            catalogue.insert(Arc::new(reflux_sdk::node(manifest, run)));
        }
        Nodes::of(catalogue)
    }

    fn found(input: Option<Value>, fields: &[&str], whole: bool, among: Option<&[&str]>) -> String {
        let node = |name: &str| NodeRef { name: name.to_owned(), version: None };
        let fields = fields.iter().map(|name| (*name).to_owned()).collect();
        let among: Option<Vec<NodeRef>> =
            among.map(|names| names.iter().map(|it| node(it)).collect());
        let wanted = Wanted {
            node: &node("fx.bank"),
            among: among.as_deref(),
            input: input.as_ref(),
            reads: &Reads { whole, fields },
        };
        nodes().alternatives(&wanted).join(" ")
    }

    #[test]
    fn a_node_takes_the_place_if_it_takes_the_input_and_gives_what_is_read() {
        let pair = || Some(json!({"pair": "EUR"}));
        for (input, fields, whole, fitting) in [
            (pair(), &[][..], false, "fx.text fx.feed fx.free"),
            (pair(), &["rate"], false, "fx.feed fx.free"),
            (pair(), &["rate", "at"], false, "fx.free"),
            (pair(), &[], true, "fx.free"),
            (None, &["rate"], false, "fx.feed fx.file fx.free"),
            (Some(json!({"file": "x"})), &[], false, "fx.file fx.free"),
            (Some(json!({"pair": 1})), &[], false, "fx.free"),
        ] {
            assert_eq!(found(input, fields, whole, None), fitting, "{fields:?} {whole}");
        }
    }

    #[test]
    fn nodes_that_are_named_are_tried_in_that_order() {
        let named = ["fx.free", "fx.feed", "fx.bank", "fx.nobody", "fx.file"];
        let input = Some(json!({"pair": "EUR"}));
        assert_eq!(found(input, &["rate"], false, Some(&named)), "fx.free fx.feed");
    }
}
