//! Where a step leads when it is over.

use crate::diagnostic::Diagnostic;
use crate::document::{Doc, Node};
use crate::graph::{Rule, StepId};

use super::fields::{Fields, Reader};

/// Routes on success and on failure.
pub(super) fn on(
    fields: &mut Fields<'_>,
    path: &str,
    reader: &mut Reader<'_>,
) -> (Vec<Rule>, Vec<Rule>) {
    let mut success = fields.take(&["on_success"], reader).map(|e| &e.value);
    let mut failure = fields.take(&["on_failure", "on_error"], reader).map(|e| &e.value);
    if let Some(entry) = fields.take(&["on"], reader)
        && let Some(mut inner) = Fields::of(&entry.value, "on", reader)
    {
        let places = [
            ("on_success", &mut success, inner.take(&["success"], reader)),
            ("on_failure", &mut failure, inner.take(&["failure", "error"], reader)),
        ];
        for (name, place, found) in places {
            match (place.is_some(), found) {
                (true, Some(found)) => reader.error(
                    "duplicate-key",
                    format!("`on` and `{name}` say the same; keep one"),
                    found.key_span,
                ),
                (false, Some(found)) => *place = Some(&found.value),
                (_, None) => {}
            }
        }
        inner.finish(reader);
    }
    let read = |doc: Option<&Doc>, name: &str, reader: &mut Reader<'_>| {
        doc.map(|doc| rules(doc, &format!("{path}/{name}"), reader)).unwrap_or_default()
    };
    (read(success, "on_success", reader), read(failure, "on_failure", reader))
}

/// `step`, `[step, …]`, `{condition, then, else}`, or a list of these.
pub(crate) fn rules(doc: &Doc, path: &str, reader: &mut Reader<'_>) -> Vec<Rule> {
    reader.spans.put(path, doc.span);
    match &doc.node {
        Node::List(items) => {
            let mut out: Vec<Rule> = Vec::new();
            for item in items {
                let joined = out.last_mut().filter(|rule| rule.condition.is_none());
                match (&item.node, joined) {
                    (Node::Text(_), Some(rule)) => rule.then.extend(
                        targets(item, path, reader)
                            .into_iter()
                            .filter(|t| !rule.then.contains(t))
                            .collect::<Vec<_>>(),
                    ),
                    _ => out.extend(rule(item, path, reader)),
                }
            }
            out
        }
        _ => rule(doc, path, reader),
    }
}

fn rule(doc: &Doc, path: &str, reader: &mut Reader<'_>) -> Vec<Rule> {
    if doc.entries().is_none() {
        let then = targets(doc, path, reader);
        let rule = Rule { condition: None, then, otherwise: Vec::new() };
        return if rule.then.is_empty() { Vec::new() } else { vec![rule] };
    }
    let mut rules = Vec::new();
    branch(doc, path, None, &mut rules, reader);
    rules
}

/// `{condition, then, else}`. An `else` that is such a branch itself becomes a rule of its own, whose
/// condition says that none of those `before` it held: the graph knows no nested rules.
fn branch(
    doc: &Doc,
    path: &str,
    before: Option<&str>,
    rules: &mut Vec<Rule>,
    reader: &mut Reader<'_>,
) {
    let Some(mut fields) = Fields::of(doc, "a route", reader) else { return };
    let condition = fields.take(&["condition", "if", "when"], reader);
    let then = fields
        .take(&["then", "to"], reader)
        .map(|e| targets(&e.value, path, reader))
        .unwrap_or_default();
    let otherwise = fields.take(&["else", "otherwise"], reader);
    if let (None, Some(entry)) = (condition, otherwise) {
        reader.error("route", "`else` needs a `condition`", entry.key_span);
    }
    let nested = otherwise.filter(|e| e.value.entries().is_some());
    let plain = otherwise.filter(|e| e.value.entries().is_none());
    let plain = plain.map(|e| targets(&e.value, path, reader)).unwrap_or_default();
    let stated = condition.map(|e| (reader.condition(&e.value), e.value.span));
    fields.finish(reader);
    if then.is_empty() && plain.is_empty() && nested.is_none() {
        reader.error("route", "a route needs `then` or `else`", doc.span);
    }
    if let (true, Some(nested)) = (then.is_empty(), nested) {
        let what = "a route with an `else` of conditions needs `then`; turn the condition round";
        reader.error("route", what, nested.key_span);
    }
    let (own, span) = match stated {
        // A condition that did not compile was reported; without it the rule would always hold.
        Some((None, _)) => return,
        Some((Some(expr), span)) => (Some(expr), span),
        None => (None, doc.span),
    };
    let Some(own) = own else {
        let condition = before.and_then(|before| reader.expression(before, span));
        return rules.push(Rule { condition, then, otherwise: plain });
    };
    let (held, failed) = match before {
        None => (own.source().to_owned(), format!("not ({})", own.source())),
        Some(before) => (
            format!("{before} and ({})", own.source()),
            format!("{before} and not ({})", own.source()),
        ),
    };
    if nested.is_none() && before.is_none() {
        return rules.push(Rule { condition: Some(own), then, otherwise: plain });
    }
    rules.push(Rule { condition: reader.expression(&held, span), then, otherwise: Vec::new() });
    if !plain.is_empty() {
        let condition = reader.expression(&failed, span);
        rules.push(Rule { condition, then: plain, otherwise: Vec::new() });
    }
    if let Some(nested) = nested {
        branch(&nested.value, path, Some(&failed), rules, reader);
    }
}

/// One step name or a list of them; each is remembered under `path/name`.
pub(super) fn targets(doc: &Doc, path: &str, reader: &mut Reader<'_>) -> Vec<StepId> {
    let items = match &doc.node {
        Node::List(items) => items.as_slice(),
        _ => std::slice::from_ref(doc),
    };
    let mut out: Vec<StepId> = Vec::new();
    for item in items {
        let Some(name) = reader.text(item, "the name of a step") else { continue };
        reader.spans.put(format!("{path}/{name}"), item.span);
        let id = StepId::new(&name);
        if out.contains(&id) {
            reader.warnings.push(Diagnostic::warning(
                "duplicate",
                format!("`{}` is listed twice", name.escape_debug()),
                item.span,
            ));
        } else {
            out.push(id);
        }
    }
    out
}
