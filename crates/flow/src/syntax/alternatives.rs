//! Which nodes take the place of a step's.

use crate::document::{Doc, Node};
use crate::graph::Alternatives;

use super::fields::Reader;
use super::step::node_ref;

/// Most nodes that a step may name: each is tried once, with all of its retries.
const ALTERNATIVES_MAX: usize = 16;

/// Reads `alternatives`: `auto`, a node, or a list of nodes in the order in which they are tried.
pub(super) fn alternatives(doc: &Doc, path: &str, reader: &mut Reader<'_>) -> Option<Alternatives> {
    reader.spans.put(format!("{path}/alternatives"), doc.span);
    let nodes = match &doc.node {
        Node::Text(_) if doc.text() == Some("auto") => return Some(Alternatives::Auto),
        Node::Text(_) => vec![node_ref(doc, reader)?],
        Node::List(items) if (1..=ALTERNATIVES_MAX).contains(&items.len()) => {
            items.iter().map(|item| node_ref(item, reader)).collect::<Option<_>>()?
        }
        _ => {
            reader.error(
                "alternatives",
                format!(
                    "alternatives are `auto` or a list of 1 to {ALTERNATIVES_MAX} nodes such as `[http.request, shop.fetch]`"
                ),
                doc.span,
            );
            return None;
        }
    };
    Some(Alternatives::Listed(nodes))
}
