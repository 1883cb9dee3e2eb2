//! Reads the fields of a map: accepts `snake_case` and `camelCase`, and reports what nobody asked for.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::diagnostic::Diagnostic;
use crate::document::{Doc, Entry, Node};
use crate::duration::duration_of;
use crate::expr::Expr;
use crate::name::suggest;
use crate::span::{Span, Spans};
use crate::template::{Compile, Template, expression_problem};

/// What a parser collects while it reads.
pub(crate) struct Reader<'c> {
    pub problems: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
    pub spans: Spans,
    pub compile: &'c Compile<'c>,
}

impl Reader<'_> {
    pub(crate) fn error(&mut self, code: &'static str, message: impl Into<String>, span: Span) {
        self.problems.push(Diagnostic::error(code, message, span));
    }

    /// A text, of which numbers and booleans are taken as written.
    pub(crate) fn text(&mut self, doc: &Doc, what: &str) -> Option<String> {
        match &doc.node {
            Node::Text(text) => Some(text.clone()),
            Node::Number(n) => Some(n.to_string()),
            _ => {
                self.error("type", format!("{what} must be text, not {}", doc.kind()), doc.span);
                None
            }
        }
    }

    pub(crate) fn boolean(&mut self, doc: &Doc, what: &str) -> Option<bool> {
        match &doc.node {
            Node::Bool(b) => Some(*b),
            _ => {
                self.error(
                    "type",
                    format!("{what} must be true or false, not {}", doc.kind()),
                    doc.span,
                );
                None
            }
        }
    }

    /// A whole number within bounds.
    pub(crate) fn count(&mut self, doc: &Doc, what: &str, least: u32, most: u32) -> Option<u32> {
        let number = match &doc.node {
            Node::Number(n) => n.as_u64().and_then(|n| u32::try_from(n).ok()),
            _ => None,
        };
        match number.filter(|n| (least..=most).contains(n)) {
            Some(n) => Some(n),
            None => {
                self.error(
                    "range",
                    format!("{what} must be a whole number from {least} to {most}"),
                    doc.span,
                );
                None
            }
        }
    }

    pub(crate) fn duration(&mut self, doc: &Doc) -> Option<Duration> {
        match duration_of(&doc.to_value()) {
            Ok(duration) => Some(duration),
            Err(message) => {
                self.error("duration", message, doc.span);
                None
            }
        }
    }

    /// A duration that is not zero.
    pub(crate) fn limit(&mut self, doc: &Doc, what: &str) -> Option<Duration> {
        let duration = self.duration(doc)?;
        if duration.is_zero() {
            self.error("duration", format!("{what} must be longer than 0"), doc.span);
            return None;
        }
        Some(duration)
    }

    /// A condition: `{{ e }}`, or `e` alone, or `true`.
    pub(crate) fn condition(&mut self, doc: &Doc) -> Option<Expr> {
        let (source, span) = match &doc.node {
            Node::Bool(b) => (b.to_string(), doc.span),
            Node::Text(text) => {
                let start = text.chars().take_while(|c| c.is_whitespace()).count();
                let trimmed = text.trim();
                match trimmed.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")) {
                    Some(inner) if !inner.contains("{{") => {
                        (inner.to_owned(), doc.text_start().right(start + 2))
                    }
                    _ => (trimmed.to_owned(), doc.text_start().right(start)),
                }
            }
            _ => {
                self.error("type", format!("a condition is an expression such as `{{{{ steps.test.output.passed }}}}`, not {}", doc.kind()), doc.span);
                return None;
            }
        };
        self.expression(&source, span)
    }

    /// An expression whose text stands at `span`, or was put together from what stands there.
    pub(crate) fn expression(&mut self, source: &str, span: Span) -> Option<Expr> {
        match (self.compile)(source, span) {
            Ok(expr) => Some(expr),
            Err(error) => {
                self.problems.push(expression_problem(&error, source, span));
                None
            }
        }
    }

    pub(crate) fn template(&mut self, doc: &Doc, path: &str) -> Template {
        self.remember(doc, path);
        match Template::from_doc_with(doc, self.compile) {
            Ok(template) => template,
            Err(problems) => {
                self.problems.extend(problems);
                Template::literal(serde_json::Value::Null)
            }
        }
    }

    /// Remembers the places of a value and its fields.
    pub(crate) fn remember(&mut self, doc: &Doc, path: &str) {
        self.spans.put(path, doc.span);
        if let Some(entries) = doc.entries() {
            for entry in entries {
                let below = format!("{path}/{}", entry.key);
                self.spans.put(format!("{below}#key"), entry.key_span);
                self.remember(&entry.value, &below);
            }
        }
    }
}

/// The fields of one map.
pub(crate) struct Fields<'a> {
    entries: &'a [Entry],
    taken: BTreeSet<&'a str>,
    known: BTreeSet<&'static str>,
    what: &'static str,
}

impl<'a> Fields<'a> {
    /// The fields of a map; an error when it is none.
    pub(crate) fn of(doc: &'a Doc, what: &'static str, reader: &mut Reader<'_>) -> Option<Self> {
        match doc.entries() {
            Some(entries) => {
                Some(Self { entries, taken: BTreeSet::new(), known: BTreeSet::new(), what })
            }
            None => {
                reader.error("type", format!("{what} must be a map, not {}", doc.kind()), doc.span);
                None
            }
        }
    }

    /// The field under the first of these names, written in any case; nothing counts as absent.
    pub(crate) fn take(
        &mut self,
        names: &[&'static str],
        reader: &mut Reader<'_>,
    ) -> Option<&'a Entry> {
        self.known.extend(names);
        let mut found: Option<&'a Entry> = None;
        for entry in self.entries {
            if !names.iter().any(|name| *name == entry.key || is_camel_of(&entry.key, name)) {
                continue;
            }
            self.taken.insert(&entry.key);
            match found {
                Some(first) => reader.error(
                    "duplicate-key",
                    format!("`{}` and `{}` mean the same; keep one", first.key, entry.key),
                    entry.key_span,
                ),
                None => found = Some(entry),
            }
        }
        found.filter(|entry| !entry.value.is_null())
    }

    /// Accepts fields and leaves them alone.
    pub(crate) fn ignore(&mut self, names: &[&'static str], reader: &mut Reader<'_>) {
        for name in names {
            self.take(&[name], reader);
        }
    }

    /// Reports the fields that were not taken.
    pub(crate) fn finish(self, reader: &mut Reader<'_>) {
        for entry in self.entries {
            if !self.taken.contains(entry.key.as_str()) {
                let near = suggest(&to_snake(&entry.key), self.known.iter().copied());
                let problem = Diagnostic::error(
                    "unknown-key",
                    format!("unknown key `{}` in {}", entry.key, self.what),
                    entry.key_span,
                );
                reader.problems.push(problem.suggest(near));
            }
        }
    }
}

fn is_camel_of(key: &str, snake: &str) -> bool {
    key.contains(|c: char| c.is_ascii_uppercase()) && to_snake(key) == snake
}

fn to_snake(key: &str) -> String {
    let mut out = String::with_capacity(key.len() + 2);
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            out.push('_');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}
