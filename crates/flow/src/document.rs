//! YAML and JSON text to one tree in which every value and key knows its place. The only module
//! that knows the YAML parser. Built from parser events, because serde cannot carry positions
//! through a document of no fixed shape.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Number, Value};

use crate::diagnostic::Diagnostic;
use crate::span::Span;

/// Longest source text in bytes: a flow is written by people; data belongs elsewhere.
pub const SOURCE_BYTES_MAX: usize = 1024 * 1024;
/// Deepest nesting: bounds the stack of everything that walks a document.
pub const DEPTH_MAX: usize = 100;
/// Values and keys after aliases are followed: bounds what small texts can grow to.
pub const NODES_MAX: usize = 200_000;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Doc {
    /// Where it starts.
    pub span: Span,
    /// The value.
    pub node: Node,
    quoted: bool,
}

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// Nothing.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Number(Number),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Doc>),
    /// A map, in its order.
    Map(Vec<Entry>),
}

/// One entry of a map.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// The key; keys that are not text are taken as written.
    pub key: String,
    /// Where the key starts.
    pub key_span: Span,
    /// The value.
    pub value: Doc,
}

impl Doc {
    /// Reads one YAML or JSON document.
    ///
    /// # Errors
    /// What is wrong with the text, at its place. Only the first error of the syntax is found;
    /// duplicate keys are all found.
    pub fn parse(text: &str) -> Result<Self, Vec<Diagnostic>> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        check_text(text).map_err(|d| vec![d])?;
        let mut builder = Builder::default();
        let parser = Parser::new_from_str_with_options(
            text,
            granit_parser::options! {
                // One more than ours, so that ours is the one that speaks.
                flow_nesting_limit: DEPTH_MAX + 1,
                block_nesting_limit: DEPTH_MAX + 1,
                simple_key_max_lookahead: SOURCE_BYTES_MAX,
            },
        );
        for event in parser {
            let step = match event {
                Ok((event, span)) => builder.take(event, place(&span.start)),
                Err(error) => Err(scan_problem(&error)),
            };
            if let Err(problem) = step {
                builder.problems.push(problem);
                return Err(builder.problems);
            }
        }
        if !builder.problems.is_empty() {
            return Err(builder.problems);
        }
        builder.root.ok_or_else(|| {
            vec![Diagnostic::error(
                "syntax",
                "the document is empty; a flow has a `name` and `steps`",
                Span::new(1, 1),
            )]
        })
    }

    /// A value that stands nowhere, from JSON.
    pub fn from_value(value: &Value) -> Self {
        let node = match value {
            Value::Null => Node::Null,
            Value::Bool(b) => Node::Bool(*b),
            Value::Number(n) => Node::Number(n.clone()),
            Value::String(s) => Node::Text(s.clone()),
            Value::Array(items) => Node::List(items.iter().map(Self::from_value).collect()),
            Value::Object(map) => Node::Map(
                map.iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_span: Span::default(),
                        value: Self::from_value(value),
                    })
                    .collect(),
            ),
        };
        Self { span: Span::default(), node, quoted: false }
    }

    /// A map of those entries at a place.
    pub fn map(entries: Vec<Entry>, span: Span) -> Self {
        Self { span, node: Node::Map(entries), quoted: false }
    }

    /// The value without its places.
    pub fn to_value(&self) -> Value {
        match &self.node {
            Node::Null => Value::Null,
            Node::Bool(b) => Value::Bool(*b),
            Node::Number(n) => Value::Number(n.clone()),
            Node::Text(s) => Value::String(s.clone()),
            Node::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Node::Map(entries) => Value::Object(
                entries.iter().map(|e| (e.key.clone(), e.value.to_value())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The value under a key, when it is a map that has the key.
    pub fn get(&self, key: &str) -> Option<&Doc> {
        self.entries()?.iter().find(|e| e.key == key).map(|e| &e.value)
    }

    /// The entries, when it is a map.
    pub fn entries(&self) -> Option<&[Entry]> {
        match &self.node {
            Node::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The items, when it is a list.
    pub fn items(&self) -> Option<&[Doc]> {
        match &self.node {
            Node::List(items) => Some(items),
            _ => None,
        }
    }

    /// The text, when it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.node {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether it is nothing.
    pub fn is_null(&self) -> bool {
        self.node == Node::Null
    }

    /// `a list`, `text`…, for messages.
    pub fn kind(&self) -> &'static str {
        match &self.node {
            Node::Null => "nothing",
            Node::Bool(_) => "a boolean",
            Node::Number(_) => "a number",
            Node::Text(_) => "text",
            Node::List(_) => "a list",
            Node::Map(_) => "a map",
        }
    }

    /// Where its first character stands: after the quote of quoted text.
    pub(crate) fn text_start(&self) -> Span {
        self.span.right(usize::from(self.quoted))
    }
}

fn check_text(text: &str) -> Result<(), Diagnostic> {
    if text.len() > SOURCE_BYTES_MAX {
        return Err(Diagnostic::error(
            "too-large",
            format!(
                "the source has {} bytes, at most {SOURCE_BYTES_MAX} are allowed; move data out of the flow",
                text.len()
            ),
            Span::new(1, 1),
        ));
    }
    for (line, content) in text.lines().enumerate() {
        if let Some(column) =
            content.chars().position(|c| c.is_control() && !matches!(c, '\t' | '\r'))
        {
            let code = content.chars().nth(column).map_or(0, u32::from);
            let span = Span::new(number(line + 1), number(column + 1));
            return Err(Diagnostic::error(
                "syntax",
                format!("the control character U+{code:04X} is not allowed; remove it"),
                span,
            ));
        }
    }
    Ok(())
}

fn scan_problem(error: &granit_parser::ScanError) -> Diagnostic {
    let span = place(error.marker());
    let mut message = error.info().to_lowercase();
    if message.contains("nest") && message.contains("limit")
        || message.contains("too deep")
        || message.contains("recursion")
    {
        return too_deep(span);
    }
    if message.contains("tab") {
        message.push_str("; indent with spaces");
    }
    Diagnostic::error("syntax", message, span)
}

fn too_deep(span: Span) -> Diagnostic {
    Diagnostic::error(
        "too-large",
        format!("the document is nested more than {DEPTH_MAX} deep"),
        span,
    )
}

fn place(marker: &granit_parser::Marker) -> Span {
    Span::new(number(marker.line()), number(marker.col() + 1))
}

fn number(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// Collections that are open, and the finished root.
#[derive(Default)]
struct Builder {
    open: Vec<Open>,
    root: Option<Doc>,
    documents: usize,
    nodes: usize,
    anchors: BTreeMap<usize, Doc>,
    problems: Vec<Diagnostic>,
}

struct Open {
    span: Span,
    anchor: usize,
    content: Content,
}

enum Content {
    List(Vec<Doc>),
    Map { entries: Vec<Entry>, seen: BTreeMap<String, Span>, key: Option<(String, Span)> },
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Diagnostic> {
        match event {
            Event::DocumentStart(..) => {
                self.documents += 1;
                if self.documents > 1 {
                    return Err(Diagnostic::error(
                        "syntax",
                        "the file holds a second document; write one flow per file",
                        span,
                    ));
                }
            }
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(tag) = tag
                    && tag.is_custom()
                {
                    return Err(tag_problem(span));
                }
                let quoted = matches!(style, ScalarStyle::SingleQuoted | ScalarStyle::DoubleQuoted);
                let node = if style == ScalarStyle::Plain {
                    plain(&text, span)?
                } else {
                    Node::Text(text.into_owned())
                };
                let doc = Doc { span, node, quoted };
                let raw = (!quoted).then(|| raw_key(&doc));
                self.finish(doc, anchor, raw)?;
            }
            Event::SequenceStart(_, anchor, tag) => self.start(
                span,
                anchor,
                tag.is_some_and(|t| t.is_custom()),
                Content::List(Vec::new()),
            )?,
            Event::MappingStart(_, anchor, tag) => self.start(
                span,
                anchor,
                tag.is_some_and(|t| t.is_custom()),
                Content::Map { entries: Vec::new(), seen: BTreeMap::new(), key: None },
            )?,
            Event::SequenceEnd | Event::MappingEnd => {
                if let Some(open) = self.open.pop() {
                    let node = match open.content {
                        Content::List(items) => Node::List(items),
                        Content::Map { entries, .. } => Node::Map(entries),
                    };
                    let doc = Doc { span: open.span, node, quoted: false };
                    self.finish(doc, open.anchor, None)?;
                }
            }
            Event::Alias(anchor) => {
                let Some(mut doc) = self.anchors.get(&anchor).cloned() else {
                    return Err(Diagnostic::error(
                        "syntax",
                        "an alias cannot stand inside of what it names",
                        span,
                    ));
                };
                self.nodes += count(&doc);
                if depth(&doc) + self.open.len() > DEPTH_MAX {
                    return Err(too_deep(span));
                }
                doc.span = span;
                self.finish(doc, 0, None)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn start(
        &mut self,
        span: Span,
        anchor: usize,
        tagged: bool,
        content: Content,
    ) -> Result<(), Diagnostic> {
        if tagged {
            return Err(tag_problem(span));
        }
        if self.open.len() >= DEPTH_MAX {
            return Err(too_deep(span));
        }
        self.open.push(Open { span, anchor, content });
        Ok(())
    }

    fn finish(&mut self, doc: Doc, anchor: usize, raw: Option<String>) -> Result<(), Diagnostic> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Diagnostic::error(
                "too-large",
                format!("the document holds more than {NODES_MAX} values"),
                doc.span,
            ));
        }
        if anchor != 0 {
            // The copy counts: nested anchors would hold their inner values many times.
            self.nodes += count(&doc);
            self.anchors.insert(anchor, doc.clone());
        }
        let Some(open) = self.open.last_mut() else {
            self.root = Some(doc);
            return Ok(());
        };
        match &mut open.content {
            Content::List(items) => items.push(doc),
            Content::Map { entries, seen, key } => match key.take() {
                Some((name, key_span)) => {
                    if name == "<<" {
                        return Err(Diagnostic::error(
                            "syntax",
                            "merge keys (`<<`) are not supported; write the fields out",
                            key_span,
                        ));
                    }
                    if let Some(first) = seen.insert(name.clone(), key_span) {
                        self.problems.push(Diagnostic::error(
                            "duplicate-key",
                            format!("the key `{name}` was already given on line {}", first.line),
                            key_span,
                        ));
                    }
                    entries.push(Entry { key: name, key_span, value: doc });
                }
                None => {
                    let name = match doc.node {
                        Node::Text(text) => text,
                        Node::List(_) | Node::Map(_) => {
                            return Err(Diagnostic::error(
                                "syntax",
                                "a key must be text",
                                doc.span,
                            ));
                        }
                        _ => raw.unwrap_or_default(),
                    };
                    *key = Some((name, doc.span));
                }
            },
        }
        Ok(())
    }
}

fn tag_problem(span: Span) -> Diagnostic {
    Diagnostic::error("syntax", "tags (`!name`) are not supported; remove the tag", span)
}

fn raw_key(doc: &Doc) -> String {
    match &doc.node {
        Node::Null => "null".to_owned(),
        Node::Bool(b) => b.to_string(),
        Node::Number(n) => n.to_string(),
        _ => String::new(),
    }
}

fn count(doc: &Doc) -> usize {
    match &doc.node {
        Node::List(items) => 1 + items.iter().map(count).sum::<usize>(),
        Node::Map(entries) => 1 + entries.iter().map(|e| 1 + count(&e.value)).sum::<usize>(),
        _ => 1,
    }
}

fn depth(doc: &Doc) -> usize {
    1 + match &doc.node {
        Node::List(items) => items.iter().map(depth).max().unwrap_or(0),
        Node::Map(entries) => entries.iter().map(|e| depth(&e.value)).max().unwrap_or(0),
        _ => 0,
    }
}

/// The value of unquoted text, by YAML 1.2's core schema.
fn plain(text: &str, span: Span) -> Result<Node, Diagnostic> {
    Ok(match text {
        "" | "~" | "null" | "Null" | "NULL" => Node::Null,
        "true" | "True" | "TRUE" => Node::Bool(true),
        "false" | "False" | "FALSE" => Node::Bool(false),
        ".inf" | "-.inf" | "+.inf" | ".nan" | ".Inf" | "-.Inf" | ".NaN" | ".INF" | ".NAN" => {
            return Err(Diagnostic::error(
                "syntax",
                format!("`{text}` is no number that JSON knows; quote it to mean text"),
                span,
            ));
        }
        _ => match number_of(text) {
            Some(number) => Node::Number(number),
            None => Node::Text(text.to_owned()),
        },
    })
}

fn number_of(text: &str) -> Option<Number> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if let Some(hex) = digits.strip_prefix("0x") {
        return whole(text, i64::from_str_radix(hex, 16).ok()?);
    }
    if let Some(octal) = digits.strip_prefix("0o") {
        return whole(text, i64::from_str_radix(octal, 8).ok()?);
    }
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.')
        || !digits.chars().all(|c| c.is_ascii_digit() || matches!(c, '.' | 'e' | 'E' | '+' | '-'))
    {
        return None;
    }
    if digits.chars().all(|c| c.is_ascii_digit()) {
        let text = text.strip_prefix('+').unwrap_or(text);
        if let Ok(i) = text.parse::<i64>() {
            return Some(i.into());
        }
        if let Ok(u) = text.parse::<u64>() {
            return Some(u.into());
        }
    }
    text.parse::<f64>().ok().and_then(Number::from_f64)
}

fn whole(text: &str, n: i64) -> Option<Number> {
    Some(Number::from(if text.starts_with('-') { n.checked_neg()? } else { n }))
}
