//! `triggers`, and the steps whose node is one: `trigger.webhook`, `trigger.schedule`,
//! `trigger.event`, `trigger.manual`.

#[cfg(test)]
mod tests;

use std::time::Duration;

use serde_json::{Value, json};

use crate::diagnostic::Diagnostic;
use crate::document::{Doc, Entry, Node};
use crate::duration::format_duration;
use crate::graph::{Action, Flow, Step};
use crate::name::{check_step_id, check_title, suggest};
use crate::span::Span;
use crate::template::Template;
use crate::trigger::{
    CATCH_UP_DEFAULT, EventFilter, IDEMPOTENCY_HEADER, Overlap, REPLY_TIMEOUT_DEFAULT,
    REPLY_TIMEOUT_MAX, Reply, ScheduleSpec, TRIGGERS_MAX, Timetable, Trigger, TriggerKind, Webhook,
};

use super::fields::{Fields, Reader};
use super::parameters;

/// Nodes that stand for what started the run.
const NODES: &[&str] = &["trigger.webhook", "trigger.schedule", "trigger.event", "trigger.manual"];
const TYPES: &[&str] =
    &["cli", "manual", "webhook", "cron", "schedule", "interval", "every", "event"];
const METHODS: &[&str] = &["POST", "PUT", "PATCH", "DELETE", "GET"];
/// Longest path of a webhook, in bytes.
const PATH_BYTES_MAX: usize = 200;
/// What a step of a trigger's node gives: the occurrence.
const OCCURRENCE: &str = "{{ trigger }}";

/// Reads `triggers`; whether parameters were declared there.
pub(crate) fn triggers(doc: &Doc, flow: &mut Flow, reader: &mut Reader<'_>) -> bool {
    let Some(items) = doc.items() else {
        reader.error("type", format!("triggers must be a list, not {}", doc.kind()), doc.span);
        return false;
    };
    if items.len() > TRIGGERS_MAX {
        reader.error(
            "too-large",
            format!("the flow has {} triggers, at most {TRIGGERS_MAX} are allowed", items.len()),
            doc.span,
        );
        return false;
    }
    let mut declared = false;
    for item in items {
        declared |= listed(item, flow, reader).unwrap_or(false);
    }
    declared
}

fn listed(item: &Doc, flow: &mut Flow, reader: &mut Reader<'_>) -> Option<bool> {
    let mut fields = Fields::of(item, "a trigger", reader)?;
    let id = fields.take(&["id"], reader);
    let kind = fields.take(&["type"], reader);
    let named = kind.and_then(|entry| reader.text(&entry.value, "the type of a trigger"));
    if kind.is_some() && named.is_none() {
        return None;
    }
    if let (Some(entry), Some(name)) = (kind, &named)
        && !TYPES.contains(&name.as_str())
    {
        let problem = Diagnostic::error(
            "trigger",
            format!("unknown type of a trigger `{}`", name.escape_debug()),
            entry.value.span,
        );
        reader.problems.push(problem.suggest(suggest(name, TYPES.iter().copied())));
        return None;
    }
    if matches!(named.as_deref(), Some("cli" | "manual")) {
        return Some(by_hand(item, named.as_deref().unwrap_or_default(), fields, flow, reader));
    }
    let place = id.map_or(item.span, |id| id.value.span);
    let path = format!("triggers/{}", flow.triggers.len());
    reader.spans.put(&path, item.span);
    let (default, kind) = kind_of(named.as_deref(), &mut fields, item, &path, reader)?;
    fields.finish(reader);
    let id = match id {
        Some(entry) => reader.text(&entry.value, "the id of a trigger")?,
        None => default.to_owned(),
    };
    add(flow, Trigger { id, kind, source: item.to_value() }, place, reader);
    Some(false)
}

/// A trigger that people pull: its parameters are the flow's.
fn by_hand(
    item: &Doc,
    kind: &str,
    mut fields: Fields<'_>,
    flow: &mut Flow,
    reader: &mut Reader<'_>,
) -> bool {
    let mut source = item.to_value();
    let mut declared = false;
    if let Some(entry) = fields.take(&["params", "parameters", "inputs"], reader) {
        declared = true;
        parameters::parameters(&entry.value, &mut flow.parameters, reader);
        if let Value::Object(map) = &mut source {
            map.shift_remove(&entry.key);
        }
    }
    let id = item.get("id").and_then(Doc::text).unwrap_or(kind).to_owned();
    flow.triggers.push(Trigger { id, kind: TriggerKind::Manual, source });
    declared
}

fn kind_of(
    named: Option<&str>,
    fields: &mut Fields<'_>,
    item: &Doc,
    path: &str,
    reader: &mut Reader<'_>,
) -> Option<(&'static str, TriggerKind)> {
    let webhook_entry = fields.take(&["webhook"], reader);
    let mut own = |kinds: &[&str], names: &[&'static str], key: &'static str| {
        let typed = named.is_some_and(|named| kinds.contains(&named));
        fields.take(&[key], reader).or_else(|| typed.then(|| fields.take(names, reader)).flatten())
    };
    let cron = own(&["cron"], &["schedule", "expression"], "cron");
    let every = own(&[], &[], "every");
    let event = own(&["event"], &["name"], "event");
    let given: Vec<&Entry> = [webhook_entry, cron, every, event].into_iter().flatten().collect();
    if let [first, second, ..] = given.as_slice() {
        reader.error(
            "conflict",
            format!("a trigger is one thing; make two of `{}` and `{}`", first.key, second.key),
            second.key_span,
        );
        return None;
    }
    if let Some(entry) = webhook_entry {
        return Some(("webhook", TriggerKind::Webhook(webhook(&entry.value, path, reader)?)));
    }
    match (named, cron, every, event) {
        (Some("webhook"), None, None, None) => {
            Some(("webhook", TriggerKind::Webhook(webhook_fields(fields, item, path, reader)?)))
        }
        (None | Some("cron" | "schedule"), Some(entry), None, None) => {
            let table = cron_table(entry, fields, reader);
            Some(("cron", schedule(table, fields, path, reader)?))
        }
        (None | Some("every" | "interval" | "schedule"), None, Some(entry), None) => {
            let table = interval(entry, fields, reader);
            Some(("every", schedule(table, fields, path, reader)?))
        }
        (None | Some("event"), None, None, Some(entry)) => {
            Some(("event", TriggerKind::Event(event_filter(entry, fields, path, reader)?)))
        }
        _ => {
            let near = item
                .entries()
                .unwrap_or_default()
                .iter()
                .find_map(|e| suggest(&e.key, ["webhook", "cron", "every", "event"]));
            let problem = Diagnostic::error(
                "missing",
                "a trigger needs `webhook`, `cron`, `every`, `event`, or the `type` `cli`",
                item.span,
            );
            reader.problems.push(problem.suggest(near));
            None
        }
    }
}

/// `webhook: /path`, or a map.
fn webhook(doc: &Doc, path: &str, reader: &mut Reader<'_>) -> Option<Webhook> {
    if let Node::Text(text) = &doc.node {
        let path = route(text, doc.span, reader)?;
        return Some(plain_webhook(path));
    }
    let mut fields = Fields::of(doc, "a webhook", reader)?;
    let webhook = webhook_fields(&mut fields, doc, path, reader);
    fields.finish(reader);
    webhook
}

fn plain_webhook(path: String) -> Webhook {
    Webhook {
        path,
        method: "POST".into(),
        secret: None,
        reply: Reply::Now,
        timeout: REPLY_TIMEOUT_DEFAULT,
        idempotency_header: IDEMPOTENCY_HEADER.into(),
        input: None,
    }
}

fn webhook_fields(
    fields: &mut Fields<'_>,
    doc: &Doc,
    path: &str,
    reader: &mut Reader<'_>,
) -> Option<Webhook> {
    let Some(entry) = fields.take(&["path"], reader) else {
        reader.error("missing", "a webhook needs a `path` such as `/orders`", doc.span);
        return None;
    };
    let text = reader.text(&entry.value, "a path")?;
    reader.spans.put(format!("{path}/path"), entry.value.span);
    let mut webhook = plain_webhook(route(&text, entry.value.span, reader)?);
    if let Some(entry) = fields.take(&["method"], reader) {
        let method = reader.text(&entry.value, "a method")?.to_ascii_uppercase();
        if !METHODS.contains(&method.as_str()) {
            let message = format!("a webhook takes one of {}", METHODS.join(", "));
            reader.error("trigger", message, entry.value.span);
        }
        webhook.method = method;
    }
    if let Some(entry) = fields.take(&["secret"], reader) {
        webhook.secret = Some(secret(entry, reader)?);
    }
    let reply = fields.take(&["reply"], reader);
    if let Some(entry) = reply {
        webhook.reply = match entry.value.text() {
            Some("now") => Reply::Now,
            Some("output") => Reply::Output,
            _ => {
                reader.error("trigger", "reply is `now` or `output`", entry.value.span);
                return None;
            }
        };
    }
    if let Some(entry) = fields.take(&["timeout"], reader) {
        webhook.timeout = reader.limit(&entry.value, "a timeout")?;
        if webhook.timeout > REPLY_TIMEOUT_MAX {
            let most = format_duration(REPLY_TIMEOUT_MAX);
            let message =
                format!("a caller waits {most} at most; answer `now` and let it ask for the run");
            reader.error("range", message, entry.value.span);
        }
        if webhook.reply == Reply::Now {
            reader.error("conflict", "`timeout` is for `reply: output`; remove it", entry.key_span);
        }
    }
    if let Some(entry) = fields.take(&["idempotency_header"], reader) {
        let name = reader.text(&entry.value, "the name of a header")?.to_ascii_lowercase();
        let is_token = !name.is_empty()
            && name.len() <= 100
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'));
        if !is_token {
            reader.error(
                "name",
                "the name of a header has letters a-z, digits, `-` and `_`",
                entry.value.span,
            );
        }
        webhook.idempotency_header = name;
    }
    webhook.input = input(fields, path, reader);
    Some(webhook)
}

/// A path of plain segments, with one slash in front.
fn route(text: &str, span: Span, reader: &mut Reader<'_>) -> Option<String> {
    let trimmed = text.strip_prefix('/').unwrap_or(text);
    let plain = |segment: &str| {
        !segment.is_empty()
            && !segment.chars().all(|c| c == '.')
            && segment.chars().all(|c| c.is_ascii_alphanumeric() || "-._~".contains(c))
    };
    if text.len() > PATH_BYTES_MAX || !trimmed.split('/').all(plain) {
        reader.error(
            "trigger",
            format!("a path such as `/orders/new` has letters a-z, digits, `-`, `.`, `_`, `~` and single slashes, at most {PATH_BYTES_MAX} bytes"),
            span,
        );
        return None;
    }
    Some(format!("/{trimmed}"))
}

/// `{{ secrets.NAME }}` and nothing else: a value would be in every copy of the flow.
fn secret(entry: &Entry, reader: &mut Reader<'_>) -> Option<String> {
    let text = reader.text(&entry.value, "a secret")?;
    let inner = text.trim().strip_prefix("{{").and_then(|t| t.strip_suffix("}}"));
    let name = inner.and_then(|t| t.trim().strip_prefix("secrets.")).unwrap_or_default();
    let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !is_name {
        reader.error(
            "secret",
            "a secret is named as `{{ secrets.NAME }}`; put its value into the project's secrets",
            entry.value.span,
        );
        return None;
    }
    Some(name.to_owned())
}

fn cron_table(
    entry: &Entry,
    fields: &mut Fields<'_>,
    reader: &mut Reader<'_>,
) -> Option<Timetable> {
    let zone = fields.take(&["time_zone", "timezone", "tz"], reader);
    let expression = reader.text(&entry.value, "a cron expression")?;
    let name = match zone {
        Some(zone) => reader.text(&zone.value, "a time zone")?,
        None => "UTC".to_owned(),
    };
    let table = Timetable::cron(&expression, &name).map_err(|why| {
        let about_zone = why.starts_with("unknown time zone");
        let at = zone.filter(|_| about_zone).unwrap_or(entry).value.span;
        reader.error("trigger", why, at);
    });
    table.ok()
}

fn interval(entry: &Entry, fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<Timetable> {
    let offset = fields.take(&["offset"], reader);
    let every = reader.limit(&entry.value, "an interval")?;
    let offset = match offset {
        Some(offset) => reader.duration(&offset.value)?,
        None => Duration::ZERO,
    };
    Timetable::every(every, offset)
        .map_err(|why| reader.error("trigger", why, entry.value.span))
        .ok()
}

fn schedule(
    timetable: Option<Timetable>,
    fields: &mut Fields<'_>,
    path: &str,
    reader: &mut Reader<'_>,
) -> Option<TriggerKind> {
    let length = |names: &[&'static str], fields: &mut Fields<'_>, reader: &mut Reader<'_>| {
        fields.take(names, reader).and_then(|e| reader.duration(&e.value))
    };
    let jitter = length(&["jitter"], fields, reader).unwrap_or_default();
    let catch_up = length(&["catch_up", "catchup"], fields, reader).unwrap_or(CATCH_UP_DEFAULT);
    let mut overlap = Overlap::Skip;
    if let Some(entry) = fields.take(&["overlap"], reader) {
        let name = reader.text(&entry.value, "overlap")?;
        match Overlap::NAMES.iter().find(|(known, _)| *known == name) {
            Some((_, found)) => overlap = *found,
            None => {
                let names: Vec<&str> = Overlap::NAMES.iter().map(|(name, _)| *name).collect();
                let problem = Diagnostic::error(
                    "trigger",
                    format!("overlap is one of {}", names.join(", ")),
                    entry.value.span,
                );
                reader.problems.push(problem.suggest(suggest(&name, names)));
            }
        }
    }
    let input = input(fields, path, reader);
    let timetable = timetable?;
    Some(TriggerKind::Schedule(Box::new(ScheduleSpec {
        timetable,
        jitter,
        overlap,
        catch_up,
        input,
    })))
}

fn event_filter(
    entry: &Entry,
    fields: &mut Fields<'_>,
    path: &str,
    reader: &mut Reader<'_>,
) -> Option<EventFilter> {
    let name = reader.text(&entry.value, "the name of an event");
    let filter = fields.take(&["filter", "when"], reader);
    let filter = filter.and_then(|entry| {
        reader.spans.put(format!("{path}/filter"), entry.value.span);
        reader.condition(&entry.value)
    });
    let input = input(fields, path, reader);
    let name = name?;
    if let Err(why) = check_title(&name) {
        reader.error("name", format!("the name of an event {why}"), entry.value.span);
    }
    Some(EventFilter { name, filter, input })
}

fn input(fields: &mut Fields<'_>, path: &str, reader: &mut Reader<'_>) -> Option<Template> {
    let entry = fields.take(&["input", "with"], reader)?;
    Some(reader.template(&entry.value, &format!("{path}/input")))
}

fn add(flow: &mut Flow, trigger: Trigger, place: Span, reader: &mut Reader<'_>) {
    if let Err(why) = check_step_id(&trigger.id) {
        let id = trigger.id.escape_debug();
        return reader.error("name", format!("the trigger id `{id}` {why}"), place);
    }
    if flow.triggers.iter().any(|known| known.id == trigger.id) {
        let message =
            format!("there is a trigger `{}` already; give each an `id` of its own", trigger.id);
        return reader.error("duplicate", message, place);
    }
    flow.triggers.push(trigger);
}

/// A step whose node is a trigger: what it is given describes the trigger, what it gives is the
/// occurrence that started the run.
pub(crate) fn of_step(
    step: &mut Step,
    with: Option<&Doc>,
    flow: &mut Flow,
    place: Span,
    reader: &mut Reader<'_>,
) {
    let Action::Node { node, with: template } = &mut step.action else { return };
    if !node.name.starts_with("trigger.") || with.and_then(Doc::text) == Some(OCCURRENCE) {
        return;
    }
    if !NODES.contains(&node.name.as_str()) {
        let problem =
            Diagnostic::error("unknown-node", format!("unknown trigger `{}`", node.name), place);
        reader.problems.push(problem.suggest(suggest(&node.name, NODES.iter().copied())));
        return;
    }
    if !step.needs.is_empty() || step.for_each.is_some() || step.when.is_some() {
        let message = format!(
            "`{}` is what starts the run: remove its `needs`, `when` and `for_each`",
            step.id
        );
        reader.error("trigger", message, place);
    }
    if let Ok(whole) = Template::from_value(&json!(OCCURRENCE)) {
        *template = whole;
    }
    let empty = Doc::map(Vec::new(), place);
    let doc = with.unwrap_or(&empty);
    let path = format!("triggers/{}", flow.triggers.len());
    reader.spans.put(&path, place);
    let id = step.id.to_string();
    let (key, kind) = match node.name.as_str() {
        "trigger.webhook" => ("webhook", webhook(doc, &path, reader).map(TriggerKind::Webhook)),
        "trigger.manual" => ("manual", Some(TriggerKind::Manual)),
        name => {
            let Some(mut fields) = Fields::of(doc, "a trigger", reader) else { return };
            let named = name.strip_prefix("trigger.");
            let kind = kind_of(named, &mut fields, doc, &path, reader);
            fields.finish(reader);
            ("", kind.map(|(_, kind)| kind))
        }
    };
    let Some(kind) = kind else { return };
    let mut source = serde_json::Map::from_iter([("id".to_owned(), json!(id))]);
    match (key, doc.to_value()) {
        ("manual", _) => drop(source.insert("type".into(), json!("manual"))),
        ("", Value::Object(fields)) => {
            source.insert("type".into(), json!(node.name.trim_start_matches("trigger.")));
            source.extend(resolved(fields, &kind));
        }
        (key, Value::Object(fields)) => {
            source.insert(key.into(), Value::Object(resolved(fields, &kind)));
        }
        (key, other) => drop(source.insert(key.into(), other)),
    }
    add(flow, Trigger { id, kind, source: Value::Object(source) }, place, reader);
}

/// The fields of a trigger with its expressions as they were compiled: in a canvas they are written
/// with bare names.
fn resolved(
    mut fields: serde_json::Map<String, Value>,
    kind: &TriggerKind,
) -> serde_json::Map<String, Value> {
    let input = match kind {
        TriggerKind::Webhook(webhook) => webhook.input.as_ref(),
        TriggerKind::Schedule(schedule) => schedule.input.as_ref(),
        TriggerKind::Event(event) => event.input.as_ref(),
        TriggerKind::Manual => None,
    };
    for key in ["input", "with"] {
        if let (Some(field), Some(input)) = (fields.get_mut(key), input) {
            *field = input.to_value();
        }
    }
    if let TriggerKind::Event(EventFilter { filter: Some(filter), .. }) = kind {
        for key in ["filter", "when"] {
            if let Some(field) = fields.get_mut(key) {
                *field = json!(filter.to_string());
            }
        }
    }
    fields
}
