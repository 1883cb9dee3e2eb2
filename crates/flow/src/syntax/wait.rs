//! What a step waits for.

use std::time::Duration;

use crate::document::{Doc, Entry};
use crate::graph::Wait;
use crate::name::check_title;
use crate::template::Template;

use super::fields::{Fields, Reader};

/// Reads `wait`: a duration, or one of `{duration}`, `{until}`, `{signal}`, `{approval}`.
pub(crate) fn wait(doc: &Doc, path: &str, reader: &mut Reader<'_>) -> Option<Wait> {
    let place = format!("{path}/wait");
    reader.spans.put(&place, doc.span);
    if doc.entries().is_none() {
        return duration_template(doc, &place, reader).map(Wait::Duration);
    }
    let mut fields = Fields::of(doc, "wait", reader)?;
    let duration = fields.take(&["duration", "for", "seconds"], reader);
    let until = fields.take(&["until"], reader);
    let signal = fields.take(&["signal"], reader);
    let approval = fields.take(&["approval"], reader);
    let timeout =
        fields.take(&["timeout"], reader).and_then(|e| reader.limit(&e.value, "a timeout"));
    fields.finish(reader);
    let given: Vec<&Entry> = [duration, until, signal, approval].into_iter().flatten().collect();
    if given.len() != 1 {
        reader.error(
            "wait",
            "wait for one of `duration`, `until`, `signal` and `approval`",
            doc.span,
        );
        return None;
    }
    if let Some(entry) = duration {
        return duration_template(&entry.value, &place, reader).map(Wait::Duration);
    }
    if let Some(entry) = until {
        let template = reader.template(&entry.value, &place);
        if let Some(value) = template.as_literal()
            && let Err(why) = crate::duration::moment_of(value)
        {
            reader.error("duration", why, entry.value.span);
        }
        return Some(Wait::Until(template));
    }
    if let Some(entry) = signal {
        let name = reader.text(&entry.value, "the name of a signal")?;
        if let Err(why) = check_title(&name) {
            reader.error("name", format!("the signal name {why}"), entry.value.span);
        }
        return Some(Wait::Signal { name, timeout });
    }
    approval.and_then(|entry| approval_of(&entry.value, timeout, &place, reader))
}

fn approval_of(
    doc: &Doc,
    timeout: Option<Duration>,
    place: &str,
    reader: &mut Reader<'_>,
) -> Option<Wait> {
    if doc.entries().is_none() {
        let title = reader.template(doc, place);
        return Some(Wait::Approval { title, timeout });
    }
    let mut fields = Fields::of(doc, "approval", reader)?;
    let title = fields.take(&["title"], reader);
    let inner = fields.take(&["timeout"], reader).and_then(|e| reader.limit(&e.value, "a timeout"));
    fields.finish(reader);
    let Some(title) = title else {
        reader.error(
            "missing",
            "an approval needs a `title` that says what is to be approved",
            doc.span,
        );
        return None;
    };
    Some(Wait::Approval { title: reader.template(&title.value, place), timeout: inner.or(timeout) })
}

fn duration_template(doc: &Doc, place: &str, reader: &mut Reader<'_>) -> Option<Template> {
    let template = reader.template(doc, place);
    match template.as_literal().map(crate::duration::duration_of) {
        Some(Err(why)) => {
            reader.error("duration", why, doc.span);
            None
        }
        _ => Some(template),
    }
}
