//! One step, in the words of either step syntax.

use crate::diagnostic::Diagnostic;
use crate::document::{Doc, Entry, Node};
use crate::graph::{Action, Compensation, ForEach, Join, NodeRef, OutputField, Step, StepId};
use crate::name::{check_node_name, check_step_id, suggest};
use crate::template::Template;

use super::alternatives::alternatives;
use super::caching::caching;
use super::fields::{Fields, Reader};
use super::link::{Bounds, VISITS_MAX};
use super::retry::retry;
use super::route::{on, targets};
use super::wait::wait;

/// Items of a fan-out that run at once when the author does not say.
pub const CONCURRENCY_DEFAULT: u32 = 16;
/// Most items that may run at once: each is a pending activity of the run.
pub const CONCURRENCY_MAX: u32 = 10_000;

/// Reads a step. `None` when it has no usable id.
pub(crate) fn step(doc: &Doc, reader: &mut Reader<'_>) -> Option<(Step, Bounds)> {
    let mut fields = Fields::of(doc, "a step", reader)?;
    let Some(id) = fields.take(&["id"], reader) else {
        reader.error("missing", "a step needs an `id`", doc.span);
        return None;
    };
    let name = reader.text(&id.value, "the id of a step")?;
    if let Err(why) = check_step_id(&name) {
        reader.error("name", format!("the step id `{}` {why}", name.escape_debug()), id.value.span);
        return None;
    }
    let path = format!("steps/{name}");
    reader.spans.put(&path, id.value.span);
    reader.spans.put(format!("{path}/id"), id.value.span);
    let (action, queue) = action(&mut fields, &path, doc, reader);
    let on = on(&mut fields, &path, reader);
    let mut bounds = Bounds::default();
    if let Some(entry) = fields.take(&["max_visits"], reader) {
        bounds.visits = reader.count(&entry.value, "max_visits", 1, VISITS_MAX);
    }
    if let Some(entry) = fields.take(&["max_retries"], reader) {
        bounds.retries = reader.count(&entry.value, "maxRetries", 0, VISITS_MAX);
    }
    let step = Step {
        id: StepId::new(&name),
        action,
        needs: needs(&mut fields, &path, reader),
        join: join(&mut fields, reader),
        routed: false,
        when: fields.take(&["when"], reader).and_then(|e| {
            reader.spans.put(format!("{path}/when"), e.value.span);
            reader.condition(&e.value)
        }),
        for_each: for_each(&mut fields, &path, reader),
        on_success: on.0,
        on_failure: on.1,
        max_visits: 1,
        retry: fields.take(&["retry", "retries"], reader).and_then(|e| retry(&e.value, reader)),
        timeout: fields
            .take(&["timeout"], reader)
            .and_then(|e| reader.limit(&e.value, "a timeout")),
        total_timeout: fields
            .take(&["total_timeout"], reader)
            .and_then(|e| reader.limit(&e.value, "a timeout")),
        heartbeat_timeout: fields
            .take(&["heartbeat", "heartbeat_timeout"], reader)
            .and_then(|e| reader.limit(&e.value, "a heartbeat")),
        task_queue: queue,
        alternatives: fields
            .take(&["alternatives"], reader)
            .and_then(|e| alternatives(&e.value, &path, reader)),
        compensate: fields
            .take(&["compensate"], reader)
            .and_then(|e| compensate(&e.value, &path, reader)),
        outputs: fields
            .take(&["outputs"], reader)
            .map(|e| outputs(&e.value, reader))
            .unwrap_or_default(),
        spawns: fields
            .take(&["spawns"], reader)
            .and_then(|e| reader.boolean(&e.value, "spawns"))
            .unwrap_or(false),
        cache: fields.take(&["cache"], reader).and_then(|e| caching(&e.value, &path, reader)),
    };
    // For people; the graph has no use for them.
    fields.ignore(&["name", "title", "description", "comment"], reader);
    fields.finish(reader);
    Some((step, bounds))
}

fn action(
    fields: &mut Fields<'_>,
    path: &str,
    doc: &Doc,
    reader: &mut Reader<'_>,
) -> (Action, Option<String>) {
    let node = fields.take(&["node", "uses"], reader);
    let flow = fields.take(&["flow"], reader);
    let wait_for = fields.take(&["wait"], reader);
    let pass = fields.take(&["pass"], reader);
    let module = fields.take(&["module"], reader);
    let method = fields.take(&["action"], reader);
    let with = fields.take(&["with", "inputs", "input"], reader);
    let queue = fields
        .take(&["queue", "task_queue"], reader)
        .and_then(|e| reader.text(&e.value, "a task queue"));
    let given: Vec<&Entry> =
        [node, flow, wait_for, pass, module.or(method)].into_iter().flatten().collect();
    match given.as_slice() {
        [] => reader.error(
            "missing",
            "the step does nothing; give it a `node`, a `flow`, `wait`, `pass: true`, or a `module` and an `action`",
            doc.span,
        ),
        [_] => {}
        [first, second, ..] => reader.error(
            "conflict",
            format!("a step does one thing; remove `{}` or `{}`", first.key, second.key),
            second.key_span,
        ),
    }
    let with_path = format!("{path}/with");
    let input = |reader: &mut Reader<'_>| {
        with.map_or_else(
            || Template::literal(serde_json::Value::Object(serde_json::Map::new())),
            |e| reader.template(&e.value, &with_path),
        )
    };
    let action = if let Some(entry) = node {
        reader.spans.put(format!("{path}/node"), entry.value.span);
        node_ref(&entry.value, reader).map(|node| Action::Node { node, with: input(reader) })
    } else if module.is_some() || method.is_some() {
        module_action(module, method, path, doc, reader)
            .map(|node| Action::Node { node, with: input(reader) })
    } else if let Some(entry) = flow {
        reader.spans.put(format!("{path}/flow"), entry.value.span);
        let name = reader.text(&entry.value, "the name of a flow");
        name.map(|flow| Action::Flow { flow, with: input(reader) })
    } else if let Some(entry) = wait_for {
        no_input(with, "waits", reader);
        wait(&entry.value, path, reader).map(Action::Wait)
    } else {
        if let Some(entry) = pass
            && reader.boolean(&entry.value, "pass") == Some(false)
        {
            reader.error(
                "missing",
                "`pass: false` does nothing; say what the step does",
                entry.value.span,
            );
        }
        no_input(with, "passes", reader);
        Some(Action::Pass)
    };
    (action.unwrap_or(Action::Pass), queue)
}

fn no_input(with: Option<&Entry>, does: &str, reader: &mut Reader<'_>) {
    if let Some(entry) = with {
        reader.error(
            "conflict",
            format!("a step that {does} takes no input; remove `{}`", entry.key),
            entry.key_span,
        );
    }
}

fn module_action(
    module: Option<&Entry>,
    method: Option<&Entry>,
    path: &str,
    doc: &Doc,
    reader: &mut Reader<'_>,
) -> Option<NodeRef> {
    let (Some(module), Some(method)) = (module, method) else {
        let missing = if module.is_none() { "module" } else { "action" };
        let place = module.or(method).map_or(doc.span, |e| e.key_span);
        reader.error(
            "missing",
            format!("`module` and `action` belong together; `{missing}` is missing"),
            place,
        );
        return None;
    };
    reader.spans.put(format!("{path}/node"), method.value.span);
    let module = reader.text(&module.value, "a module")?;
    let action = reader.text(&method.value, "an action")?;
    let name = format!("{module}.{action}");
    match check_node_name(&name) {
        Ok(()) => Some(NodeRef { name, version: None }),
        Err(why) => {
            reader.error(
                "name",
                format!("the node name `{}` {why}", name.escape_debug()),
                method.value.span,
            );
            None
        }
    }
}

pub(crate) fn node_ref(doc: &Doc, reader: &mut Reader<'_>) -> Option<NodeRef> {
    let text = reader.text(doc, "the name of a node")?;
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text.as_str(), None),
    };
    let version_ok = version.is_none_or(|v| {
        !v.is_empty()
            && v.len() <= 64
            && v.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+'))
    });
    if let Err(why) = check_node_name(name) {
        reader.error("name", format!("the node name `{}` {why}", name.escape_debug()), doc.span);
        return None;
    }
    if !version_ok {
        reader.error(
            "name",
            format!(
                "`{}` has no proper version; write for example `{name}@1.2.3`",
                text.escape_debug()
            ),
            doc.span,
        );
        return None;
    }
    Some(NodeRef { name: name.to_owned(), version: version.map(str::to_owned) })
}

fn needs(fields: &mut Fields<'_>, path: &str, reader: &mut Reader<'_>) -> Vec<StepId> {
    let Some(entry) = fields.take(&["needs", "depends_on"], reader) else { return Vec::new() };
    reader.spans.put(format!("{path}/needs"), entry.value.span);
    targets(&entry.value, &format!("{path}/needs"), reader)
}

fn join(fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Join {
    let Some(entry) = fields.take(&["join"], reader) else { return Join::All };
    match entry.value.text() {
        Some("all") => Join::All,
        Some("any") => Join::Any,
        _ => {
            reader.error("join", "join is `all` or `any`", entry.value.span);
            Join::All
        }
    }
}

fn for_each(fields: &mut Fields<'_>, path: &str, reader: &mut Reader<'_>) -> Option<ForEach> {
    let entry = fields.take(&["for_each"], reader)?;
    let place = format!("{path}/for_each");
    reader.spans.put(&place, entry.value.span);
    let has_items = entry.value.get("items").is_some();
    if entry.value.entries().is_none() || !has_items && entry.value.get("concurrency").is_none() {
        return Some(ForEach {
            items: items(&entry.value, &place, reader)?,
            concurrency: CONCURRENCY_DEFAULT,
        });
    }
    let mut inner = Fields::of(&entry.value, "for_each", reader)?;
    let list = inner.take(&["items"], reader);
    let concurrency = inner
        .take(&["concurrency"], reader)
        .and_then(|e| reader.count(&e.value, "concurrency", 1, CONCURRENCY_MAX));
    inner.finish(reader);
    let Some(list) = list else {
        reader.error("missing", "`for_each` needs `items`", entry.value.span);
        return None;
    };
    Some(ForEach {
        items: items(&list.value, &place, reader)?,
        concurrency: concurrency.unwrap_or(CONCURRENCY_DEFAULT),
    })
}

fn items(doc: &Doc, place: &str, reader: &mut Reader<'_>) -> Option<Template> {
    let template = reader.template(doc, place);
    let fits = match doc.node {
        Node::List(_) | Node::Map(_) => true,
        // Text with no expression, or mixed with one, is never a list.
        Node::Text(_) => !template.is_literal() && template.is_whole(),
        _ => false,
    };
    if !fits {
        reader.error(
            "for-each",
            format!(
                "`for_each` needs a list such as `{{{{ steps.x.output.items }}}}`, not {}",
                doc.kind()
            ),
            doc.span,
        );
        return None;
    }
    Some(template)
}

fn compensate(doc: &Doc, path: &str, reader: &mut Reader<'_>) -> Option<Compensation> {
    let place = format!("{path}/compensate");
    reader.spans.put(&place, doc.span);
    let empty = || Template::literal(serde_json::Value::Object(serde_json::Map::new()));
    if doc.entries().is_none() {
        return Some(Compensation { node: node_ref(doc, reader)?, with: empty() });
    }
    let mut fields = Fields::of(doc, "compensate", reader)?;
    let node = fields.take(&["node"], reader);
    let module = fields.take(&["module"], reader);
    let action = fields.take(&["action"], reader);
    let with = fields.take(&["with", "inputs"], reader);
    fields.finish(reader);
    let node = match node {
        Some(entry) => {
            reader.spans.put(format!("{place}/node"), entry.value.span);
            node_ref(&entry.value, reader)?
        }
        None if module.is_some() || action.is_some() => {
            module_action(module, action, &place, doc, reader)?
        }
        None => {
            reader.error("missing", "`compensate` needs a `node`", doc.span);
            return None;
        }
    };
    Some(Compensation {
        node,
        with: with.map_or_else(empty, |e| reader.template(&e.value, &format!("{place}/with"))),
    })
}

const OUTPUT_KINDS: &[&str] = &["string", "number", "integer", "boolean", "object", "array", "any"];

fn outputs(doc: &Doc, reader: &mut Reader<'_>) -> Vec<OutputField> {
    let mut out: Vec<OutputField> = Vec::new();
    let mut add = |name: String, kind: String, at: &Doc, reader: &mut Reader<'_>| {
        if !OUTPUT_KINDS.contains(&kind.as_str()) {
            let problem = Diagnostic::error(
                "type",
                format!("unknown type `{}`", kind.escape_debug()),
                at.span,
            );
            reader.problems.push(problem.suggest(suggest(&kind, OUTPUT_KINDS.iter().copied())));
        }
        if out.iter().any(|o| o.name == name) {
            reader.error("duplicate", format!("the output `{name}` is declared twice"), at.span);
        } else {
            out.push(OutputField { name, kind });
        }
    };
    match &doc.node {
        Node::Map(entries) => {
            for entry in entries {
                let kind = match &entry.value.node {
                    Node::Null => Some("any".to_owned()),
                    Node::Map(_) => entry
                        .value
                        .get("type")
                        .map_or(Some("any".to_owned()), |kind| reader.text(kind, "a type")),
                    _ => reader.text(&entry.value, "a type"),
                };
                if let Some(kind) = kind {
                    add(entry.key.clone(), kind, &entry.value, reader);
                }
            }
        }
        Node::List(items) => {
            for item in items {
                if let Some(name) = item.text() {
                    add(name.to_owned(), "any".to_owned(), item, reader);
                    continue;
                }
                let Some(mut fields) = Fields::of(item, "an output", reader) else { continue };
                let name = fields
                    .take(&["name"], reader)
                    .and_then(|e| reader.text(&e.value, "the name of an output"));
                let kind = fields
                    .take(&["type"], reader)
                    .map_or(Some("any".to_owned()), |e| reader.text(&e.value, "a type"));
                fields.ignore(&["properties", "description", "items", "required"], reader);
                fields.finish(reader);
                match (name, kind) {
                    (Some(name), Some(kind)) => add(name, kind, item, reader),
                    (None, _) => reader.error("missing", "an output needs a `name`", item.span),
                    _ => {}
                }
            }
        }
        _ => reader.error(
            "type",
            format!("outputs are a map such as `{{count: number}}` or a list, not {}", doc.kind()),
            doc.span,
        ),
    }
    out
}
