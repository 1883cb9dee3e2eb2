//! Whether results of other runs are taken: `true`, or `{ttl: 1h, scope: flow}`.

use crate::document::{Doc, Node};
use crate::graph::{CacheScope, Caching};
use crate::name::suggest;

use super::fields::{Fields, Reader};

const SCOPES: &[&str] = &["flow", "namespace"];

/// Reads what a step says of results of other runs; `None` when it takes none.
pub(super) fn caching(doc: &Doc, path: &str, reader: &mut Reader<'_>) -> Option<Caching> {
    reader.spans.put(format!("{path}/cache"), doc.span);
    let mut caching = Caching { ttl: None, scope: CacheScope::Namespace };
    if let Node::Bool(takes) = doc.node {
        return takes.then_some(caching);
    }
    if doc.entries().is_none() {
        let kind = doc.kind();
        reader.error(
            "type",
            format!("`cache` is `true` or a map such as `{{ttl: 1h, scope: flow}}`, not {kind}"),
            doc.span,
        );
        return None;
    }
    let mut fields = Fields::of(doc, "cache", reader)?;
    caching.ttl = fields.take(&["ttl"], reader).and_then(|e| reader.limit(&e.value, "a ttl"));
    if let Some(entry) = fields.take(&["scope"], reader) {
        match entry.value.text() {
            Some("flow") => caching.scope = CacheScope::Flow,
            Some("namespace") => caching.scope = CacheScope::Namespace,
            other => {
                let near = other.and_then(|text| suggest(text, SCOPES.iter().copied()));
                let hint = near.map_or(String::new(), |near| format!("; did you mean `{near}`?"));
                reader.error(
                    "cache",
                    format!("the scope of `cache` is `flow` or `namespace`{hint}"),
                    entry.value.span,
                );
            }
        }
    }
    fields.finish(reader);
    Some(caching)
}
