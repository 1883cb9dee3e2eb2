//! A step whose node failed for good is done by another node: the run changes itself.

use reflux_core::Decision;
use serde_json::{Value, json};

use super::Policies;
use super::next::mark;
use crate::alternatives::{Wanted, reads_of};
use crate::canonical;
use crate::graph::{Action, Alternatives, NodeRef, Step};
use crate::progress::{Activation, Failing, Mark, Mutation, Progress};

/// Who changes the graph then.
const AUTHOR: &str = "alternatives";

/// Most characters of a failure that stand in the reason of the change: the failure itself is an
/// event before it.
const MESSAGE_CHARS_MAX: usize = 200;

impl Progress {
    /// The nodes that may take the place of the one that an activation is about to call; noted
    /// with the call, because manifests may have changed when it fails.
    pub(super) fn others(
        &self,
        step: &Step,
        activation: &Activation,
        node: &NodeRef,
        input: &Value,
        nodes: &dyn Policies,
    ) -> Vec<String> {
        let Some(alternatives) = &step.alternatives else { return Vec::new() };
        if activation.compensates || activation.item.is_some() {
            return Vec::new();
        }
        let among = match alternatives {
            Alternatives::Auto => None,
            Alternatives::Listed(nodes) => Some(nodes.as_slice()),
        };
        let reads = reads_of(step, self.readers());
        nodes.alternatives(&Wanted { node, among, input: Some(input), reads: &reads })
    }

    /// The change by which the next node takes the place of one that failed.
    pub(super) fn give_to_another(&self, failing: &Failing) -> Vec<Decision> {
        let step = self.flow().step(failing.activation.step.as_str());
        let (Some(step), Some((next, rest))) = (step, failing.nodes.split_first()) else {
            return Vec::new();
        };
        let mutation = Mutation {
            revision: self.revision().saturating_add(1),
            author: AUTHOR.to_owned(),
            reason: reason(step, &failing.error),
            patch: json!({ "ops": [
                { "set": { "step": step.id, "path": "/node", "value": next } },
                { "set": { "step": step.id, "path": "/alternatives", "value": left(rest) } },
            ] }),
            put: vec![with_node(step, next, rest)],
            removed: Vec::new(),
            answers: Some(failing.activation.to_string()),
        };
        vec![mark(&Mark::Mutation(mutation))]
    }
}

/// The step's document with another node, and the nodes that are left to be tried.
fn with_node(step: &Step, next: &str, rest: &[String]) -> Value {
    let mut document = canonical::step(step);
    if let Some(document) = document.as_object_mut() {
        document.insert("node".to_owned(), json!(next));
        match left(rest) {
            Value::Null => drop(document.remove("alternatives")),
            rest => drop(document.insert("alternatives".to_owned(), rest)),
        }
    }
    document
}

fn left(rest: &[String]) -> Value {
    if rest.is_empty() { Value::Null } else { json!(rest) }
}

fn reason(step: &Step, error: &Value) -> String {
    let node = match &step.action {
        Action::Node { node, .. } => canonical::node_text(node),
        Action::Flow { .. } | Action::Wait(_) | Action::Pass => String::new(),
    };
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let message: String = text("message").chars().take(MESSAGE_CHARS_MAX).collect();
    format!("`{node}` failed: {}: {message}", text("kind"))
}
