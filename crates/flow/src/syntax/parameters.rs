//! Declared inputs: `{url: string, "n?": number}`, a list of parameters, or a JSON Schema object.

use crate::diagnostic::Diagnostic;
use crate::document::{Doc, Node};
use crate::graph::{Parameter, ParameterKind};
use crate::input::fits;
use crate::name::{check_parameter_name, suggest};
use crate::span::Span;

use super::fields::{Fields, Reader};

const KINDS: &[(&str, ParameterKind)] = &[
    ("string", ParameterKind::String),
    ("text", ParameterKind::String),
    ("number", ParameterKind::Number),
    ("float", ParameterKind::Number),
    ("integer", ParameterKind::Integer),
    ("int", ParameterKind::Integer),
    ("boolean", ParameterKind::Boolean),
    ("bool", ParameterKind::Boolean),
    ("array", ParameterKind::Array),
    ("list", ParameterKind::Array),
    ("object", ParameterKind::Object),
    ("map", ParameterKind::Object),
    ("any", ParameterKind::Any),
];

impl ParameterKind {
    /// The kind of that name, as flows and manifests write it.
    pub fn named(name: &str) -> Option<Self> {
        KINDS.iter().find(|(n, _)| *n == name).map(|(_, kind)| *kind)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Integer => "integer",
            Self::Boolean => "boolean",
            Self::Array => "array",
            Self::Object => "object",
            Self::Any => "any",
        }
    }
}

/// Reads a section of parameters and adds them to `out`.
pub(crate) fn parameters(doc: &Doc, out: &mut Vec<Parameter>, reader: &mut Reader<'_>) {
    match &doc.node {
        Node::Null => {}
        Node::List(items) => {
            for item in items {
                match &item.node {
                    Node::Text(name) => {
                        let (name, required) = optional(name);
                        add(out, plain(name, ParameterKind::Any, required), item.span, reader);
                    }
                    _ => listed(item, out, reader),
                }
            }
        }
        Node::Map(entries) => {
            if let Some(properties) = schema_properties(doc) {
                return schema(doc, properties, out, reader);
            }
            for entry in entries {
                let (name, required) = optional(&entry.key);
                if let Some(parameter) = described(name, required, &entry.value, reader) {
                    add(out, parameter, entry.key_span, reader);
                }
            }
        }
        _ => reader.error(
            "type",
            format!(
                "inputs are a map such as `{{url: string}}` or a list of parameters, not {}",
                doc.kind()
            ),
            doc.span,
        ),
    }
}

fn schema_properties(doc: &Doc) -> Option<&Doc> {
    let is_schema = doc.get("type").and_then(Doc::text) == Some("object");
    doc.get("properties").filter(|p| is_schema && p.entries().is_some())
}

fn schema(doc: &Doc, properties: &Doc, out: &mut Vec<Parameter>, reader: &mut Reader<'_>) {
    let required: Vec<&str> = doc
        .get("required")
        .and_then(Doc::items)
        .unwrap_or_default()
        .iter()
        .filter_map(Doc::text)
        .collect();
    for entry in properties.entries().unwrap_or_default() {
        if let Some(mut parameter) = described(&entry.key, false, &entry.value, reader) {
            parameter.required = required.contains(&entry.key.as_str());
            add(out, parameter, entry.key_span, reader);
        }
    }
}

/// `name: type`, `name: {type, default…}` or `name:`.
fn described(name: &str, required: bool, doc: &Doc, reader: &mut Reader<'_>) -> Option<Parameter> {
    match &doc.node {
        Node::Null => Some(plain(name, ParameterKind::Any, required)),
        Node::Text(text) => {
            let (text, optional_kind) = optional(text);
            Some(plain(name, kind(text, doc, reader)?, required && optional_kind))
        }
        Node::Map(_) => {
            let mut fields = Fields::of(doc, "a parameter", reader)?;
            let parameter = body(name.to_owned(), &mut fields, reader);
            fields.finish(reader);
            parameter
        }
        _ => {
            reader.error(
                "type",
                format!("the input `{name}` needs a type such as `string`, not {}; give a default as `{{default: …}}`", doc.kind()),
                doc.span,
            );
            None
        }
    }
}

fn listed(item: &Doc, out: &mut Vec<Parameter>, reader: &mut Reader<'_>) {
    let Some(mut fields) = Fields::of(item, "a parameter", reader) else { return };
    let Some(name) = fields.take(&["name", "id"], reader) else {
        return reader.error("missing", "a parameter needs a `name`", item.span);
    };
    let Some(name) = reader.text(&name.value, "the name of a parameter") else { return };
    let (name, may_miss) = optional(&name);
    let parameter = body(name.to_owned(), &mut fields, reader);
    fields.finish(reader);
    if let Some(mut parameter) = parameter {
        parameter.required &= may_miss;
        add(out, parameter, item.span, reader);
    }
}

fn body(name: String, fields: &mut Fields<'_>, reader: &mut Reader<'_>) -> Option<Parameter> {
    let mut parameter = plain(&name, ParameterKind::Any, false);
    if let Some(entry) = fields.take(&["type", "kind"], reader) {
        let text = reader.text(&entry.value, "a type")?;
        parameter.kind = kind(&text, &entry.value, reader)?;
    }
    if let Some(entry) = fields.take(&["required"], reader) {
        parameter.required = reader.boolean(&entry.value, "required")?;
    }
    if let Some(entry) = fields.take(&["description", "label"], reader) {
        parameter.description = reader.text(&entry.value, "a description")?;
    }
    if let Some(entry) = fields.take(&["default"], reader) {
        let value = entry.value.to_value();
        if !fits(parameter.kind, &value) {
            reader.error(
                "type",
                format!(
                    "the default of `{name}` must be {}, not {}",
                    parameter.kind.article(),
                    entry.value.kind()
                ),
                entry.value.span,
            );
        }
        parameter.required = false;
        parameter.default = Some(value);
    }
    fields.ignore(
        &["items", "properties", "enum", "format", "placeholder", "options", "example"],
        reader,
    );
    Some(parameter)
}

fn kind(text: &str, doc: &Doc, reader: &mut Reader<'_>) -> Option<ParameterKind> {
    let found = ParameterKind::named(text);
    if found.is_none() {
        let problem = Diagnostic::error(
            "type",
            format!(
                "unknown type `{text}`; known are string, number, integer, boolean, array, object and any"
            ),
            doc.span,
        );
        reader.problems.push(problem.suggest(suggest(text, KINDS.iter().map(|(n, _)| *n))));
    }
    found
}

fn optional(name: &str) -> (&str, bool) {
    name.strip_suffix('?').map_or((name, true), |name| (name, false))
}

pub(crate) fn plain(name: &str, kind: ParameterKind, required: bool) -> Parameter {
    Parameter { name: name.to_owned(), kind, required, default: None, description: String::new() }
}

fn add(out: &mut Vec<Parameter>, parameter: Parameter, at: Span, reader: &mut Reader<'_>) {
    if let Err(why) = check_parameter_name(&parameter.name) {
        return reader.error(
            "name",
            format!("the input name `{}` {why}", parameter.name.escape_debug()),
            at,
        );
    }
    if out.iter().any(|p| p.name == parameter.name) {
        return reader.error(
            "duplicate",
            format!("the input `{}` is declared twice", parameter.name),
            at,
        );
    }
    reader.spans.put(format!("parameters/{}", parameter.name), at);
    out.push(parameter);
}
