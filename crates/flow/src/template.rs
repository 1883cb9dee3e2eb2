//! Inputs as data with expressions in their texts. A text that is one whole `{{ e }}` keeps the
//! type of its value; within other text a value is written out. Secrets are only named here: the
//! host puts their values in when a node is dispatched.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value};

use crate::diagnostic::Diagnostic;
use crate::document::{Doc, Node};
use crate::expr::view::{spend, text};
use crate::expr::{Expr, ExprError, Refs};
use crate::scope::Scope;
use crate::span::Span;

/// A value with expressions in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    root: Part,
    refs: Refs,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    /// Anything without expressions.
    Literal(Value),
    Whole(Expr),
    Text(Vec<Piece>),
    List(Vec<Part>),
    Map(Vec<(String, Part)>),
}

#[derive(Debug, Clone, PartialEq)]
enum Piece {
    Text(String),
    Value(Expr),
    Secret(String),
}

/// A template's value, with the places where secrets belong.
#[derive(Debug, Clone, PartialEq)]
pub struct Rendered {
    /// The value; at the place of a secret it reads `Bearer {{ secrets.TOKEN }}`, for people.
    pub value: Value,
    /// Where secrets belong. Only this list counts: text in `value` that looks the same is text.
    pub secrets: Vec<SecretSlot>,
}

/// One text of a rendered value that secrets are part of.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct SecretSlot {
    /// JSON pointer of the text.
    pub pointer: String,
    /// What to concatenate.
    pub parts: Vec<SecretPart>,
}

/// A piece of a text with secrets.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretPart {
    /// Text as it is.
    Text(String),
    /// The value of the secret of that name.
    Secret(String),
}

impl Template {
    /// A template without expressions: braces in its texts are just text.
    pub fn literal(value: Value) -> Self {
        Self { root: Part::Literal(value), refs: Refs::default() }
    }

    /// Reads a template out of JSON.
    ///
    /// # Errors
    /// The first expression that does not compile.
    pub fn from_value(value: &Value) -> Result<Self, ExprError> {
        part_of_value(value).map(Self::new)
    }

    /// Reads a template out of a document.
    ///
    /// # Errors
    /// Every expression that does not compile, with its place in the source.
    pub fn from_doc(doc: &Doc) -> Result<Self, Vec<Diagnostic>> {
        Self::from_doc_with(doc, &|source, span| Expr::parse_at(source, span))
    }

    /// As [`Template::from_doc`], with a compiler of its own for the expressions.
    pub(crate) fn from_doc_with(doc: &Doc, compile: &Compile<'_>) -> Result<Self, Vec<Diagnostic>> {
        let mut problems = Vec::new();
        let root = part_of_doc(doc, compile, &mut problems);
        if problems.is_empty() { Ok(Self::new(root)) } else { Err(problems) }
    }

    fn new(root: Part) -> Self {
        let mut refs = Refs::default();
        root.each_expr(&mut |expr| refs.extend(expr.refs()), &mut |_| {});
        let mut secrets = Vec::new();
        root.each_expr(&mut |_| {}, &mut |name| secrets.push(name.to_owned()));
        refs.secrets.extend(secrets);
        Self { root, refs }
    }

    /// What its expressions read, together.
    pub fn refs(&self) -> &Refs {
        &self.refs
    }

    /// Whether it has no expressions and no secrets.
    pub fn is_literal(&self) -> bool {
        matches!(self.root, Part::Literal(_))
    }

    /// Whether it is one whole `{{ e }}`, whose value may be of any type.
    pub fn is_whole(&self) -> bool {
        matches!(self.root, Part::Whole(_))
    }

    /// Its value when that does not depend on anything.
    pub fn as_literal(&self) -> Option<&Value> {
        match &self.root {
            Part::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Every expression in it, in order.
    pub fn exprs(&self) -> Vec<&Expr> {
        let mut out = Vec::new();
        self.root.each_expr(&mut |expr| out.push(expr), &mut |_| {});
        out
    }

    /// The fields of the object that it gives, when it is written as one: name and the literal
    /// value, or `None` for a value that is known only when rendered.
    pub fn fields(&self) -> Option<Vec<(&str, Option<Value>)>> {
        match &self.root {
            Part::Literal(Value::Object(map)) => {
                Some(map.iter().map(|(k, v)| (k.as_str(), Some(v.clone()))).collect())
            }
            Part::Literal(Value::Null) => Some(Vec::new()),
            Part::Map(entries) => Some(
                entries
                    .iter()
                    .map(|(k, part)| match part {
                        Part::Literal(value) => (k.as_str(), Some(value.clone())),
                        Part::Text(_) => (k.as_str(), Some(Value::String(String::new()))),
                        Part::List(_) => (k.as_str(), Some(Value::Array(Vec::new()))),
                        Part::Map(_) => (k.as_str(), Some(Value::Object(Map::new()))),
                        Part::Whole(_) => (k.as_str(), None),
                    })
                    .collect(),
            ),
            _ => None,
        }
    }

    /// The template as it is written, with every expression as `{{ source }}`.
    pub fn to_value(&self) -> Value {
        self.root.to_value()
    }

    /// Its value in a scope, of at most about `budget_bytes` of JSON.
    ///
    /// # Errors
    /// As [`Expr::eval`], and when the budget is exceeded.
    pub fn render(&self, scope: &Scope, budget_bytes: usize) -> Result<Rendered, ExprError> {
        let mut rendering =
            Rendering { scope, left: budget_bytes, pointer: String::new(), secrets: Vec::new() };
        let value = rendering.part(&self.root)?;
        Ok(Rendered { value, secrets: rendering.secrets })
    }
}

impl Part {
    fn each_expr<'a>(&'a self, expr: &mut dyn FnMut(&'a Expr), secret: &mut dyn FnMut(&'a str)) {
        match self {
            Part::Literal(_) => {}
            Part::Whole(e) => expr(e),
            Part::Text(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(_) => {}
                        Piece::Value(e) => expr(e),
                        Piece::Secret(name) => secret(name),
                    }
                }
            }
            Part::List(items) => items.iter().for_each(|item| item.each_expr(expr, secret)),
            Part::Map(entries) => entries.iter().for_each(|(_, part)| part.each_expr(expr, secret)),
        }
    }

    fn to_value(&self) -> Value {
        match self {
            Part::Literal(value) => value.clone(),
            Part::Whole(e) => Value::String(e.to_string()),
            Part::Text(pieces) => Value::String(
                pieces
                    .iter()
                    .map(|piece| match piece {
                        Piece::Text(text) => text.clone(),
                        Piece::Value(e) => e.to_string(),
                        Piece::Secret(name) => secret_text(name),
                    })
                    .collect(),
            ),
            Part::List(items) => Value::Array(items.iter().map(Part::to_value).collect()),
            Part::Map(entries) => Value::Object(
                entries.iter().map(|(k, part)| (k.clone(), part.to_value())).collect(),
            ),
        }
    }
}

struct Rendering<'a> {
    scope: &'a Scope,
    left: usize,
    pointer: String,
    secrets: Vec<SecretSlot>,
}

impl Rendering<'_> {
    fn part(&mut self, part: &Part) -> Result<Value, ExprError> {
        match part {
            Part::Literal(value) => {
                crate::expr::view::spend_json(value, &mut self.left)?;
                Ok(value.clone())
            }
            Part::Whole(expr) => expr.eval_within(self.scope, &mut self.left),
            Part::Text(pieces) => self.text(pieces).map(Value::String),
            Part::List(items) => {
                spend(&mut self.left, 2 + items.len())?;
                let mut out = Vec::with_capacity(items.len());
                for (at, item) in items.iter().enumerate() {
                    out.push(self.below(&at.to_string(), item)?);
                }
                Ok(Value::Array(out))
            }
            Part::Map(entries) => {
                spend(&mut self.left, 2)?;
                let mut out = Map::with_capacity(entries.len());
                for (key, item) in entries {
                    spend(&mut self.left, key.len() + 4)?;
                    let item = self.below(key, item)?;
                    out.insert(key.clone(), item);
                }
                Ok(Value::Object(out))
            }
        }
    }

    fn below(&mut self, key: &str, part: &Part) -> Result<Value, ExprError> {
        let length = self.pointer.len();
        self.pointer.push('/');
        if key.contains(['~', '/']) {
            self.pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        } else {
            self.pointer.push_str(key);
        }
        let value = self.part(part);
        self.pointer.truncate(length);
        value
    }

    fn text(&mut self, pieces: &[Piece]) -> Result<String, ExprError> {
        let mut out = String::new();
        let mut parts: Vec<SecretPart> = Vec::new();
        let mut taken = 0;
        for piece in pieces {
            match piece {
                Piece::Text(text) => {
                    spend(&mut self.left, text.len())?;
                    out.push_str(text);
                }
                Piece::Value(expr) => match expr.as_path() {
                    Some(path) => self.scope.read_text(path, &mut self.left, &mut out)?,
                    None => out.push_str(&text(&expr.eval_within(self.scope, &mut self.left)?)),
                },
                Piece::Secret(name) => {
                    let before = out.get(taken..).unwrap_or_default();
                    if !before.is_empty() {
                        parts.push(SecretPart::Text(before.to_owned()));
                    }
                    parts.push(SecretPart::Secret(name.clone()));
                    out.push_str(&secret_text(name));
                    taken = out.len();
                }
            }
        }
        if !parts.is_empty() {
            let after = out.get(taken..).unwrap_or_default();
            if !after.is_empty() {
                parts.push(SecretPart::Text(after.to_owned()));
            }
            self.secrets.push(SecretSlot { pointer: self.pointer.clone(), parts });
        }
        Ok(out)
    }
}

fn secret_text(name: &str) -> String {
    format!("{{{{ secrets.{name} }}}}")
}

/// Compiles one expression that stands at a place.
pub(crate) type Compile<'a> = dyn Fn(&str, Span) -> Result<Expr, ExprError> + 'a;

fn part_of_value(value: &Value) -> Result<Part, ExprError> {
    Ok(match value {
        Value::String(text) => part_of_text(text, &|source, _| Expr::parse(source))?,
        Value::Array(items) => {
            let parts = items.iter().map(part_of_value).collect::<Result<Vec<_>, _>>()?;
            list(parts)
        }
        Value::Object(map) => {
            let mut entries = Vec::with_capacity(map.len());
            for (key, item) in map {
                check_key(key)?;
                entries.push((key.clone(), part_of_value(item)?));
            }
            object(entries)
        }
        other => Part::Literal(other.clone()),
    })
}

fn part_of_doc(doc: &Doc, compile: &Compile<'_>, problems: &mut Vec<Diagnostic>) -> Part {
    match &doc.node {
        Node::Text(text) => {
            let at = |source: &str, offset: usize| {
                let before = text.get(..offset).unwrap_or_default();
                // Only text on one line keeps its columns in every style of quoting.
                let span = if before.contains('\n') {
                    doc.span
                } else {
                    doc.text_start().right(before.chars().count())
                };
                compile(source, span).map_err(|mut e| {
                    problems.push(expression_problem(&e, source, span));
                    e.message.clear();
                    e
                })
            };
            part_of_text_with(text, at).unwrap_or_else(|e| {
                if !e.message.is_empty() {
                    problems.push(expression_problem(&e, text, doc.span));
                }
                Part::Literal(Value::Null)
            })
        }
        Node::List(items) => {
            list(items.iter().map(|item| part_of_doc(item, compile, problems)).collect())
        }
        Node::Map(entries) => {
            let mut out = Vec::with_capacity(entries.len());
            for entry in entries {
                if let Err(e) = check_key(&entry.key) {
                    problems.push(Diagnostic::error("expression", e.message, entry.key_span));
                }
                out.push((entry.key.clone(), part_of_doc(&entry.value, compile, problems)));
            }
            object(out)
        }
        _ => Part::Literal(doc.to_value()),
    }
}

/// An expression's error as a diagnostic at its place.
pub(crate) fn expression_problem(error: &ExprError, source: &str, span: Span) -> Diagnostic {
    let before = source.get(..error.offset).unwrap_or_default();
    let place = if before.contains('\n') { span } else { span.right(before.chars().count()) };
    Diagnostic::error("expression", error.message.clone(), place).suggest(error.suggestion.clone())
}

fn list(parts: Vec<Part>) -> Part {
    if parts.iter().all(|p| matches!(p, Part::Literal(_))) {
        Part::Literal(parts.into_iter().map(literal).collect())
    } else {
        Part::List(parts)
    }
}

fn object(entries: Vec<(String, Part)>) -> Part {
    if entries.iter().all(|(_, p)| matches!(p, Part::Literal(_))) {
        Part::Literal(Value::Object(entries.into_iter().map(|(k, p)| (k, literal(p))).collect()))
    } else {
        Part::Map(entries)
    }
}

fn literal(part: Part) -> Value {
    match part {
        Part::Literal(value) => value,
        other => other.to_value(),
    }
}

fn check_key(key: &str) -> Result<(), ExprError> {
    if key.contains("{{") {
        return Err(ExprError::syntax(
            0,
            format!("the key `{key}` holds an expression; only values may"),
        ));
    }
    Ok(())
}

fn part_of_text(source: &str, compile: &Compile<'_>) -> Result<Part, ExprError> {
    part_of_text_with(source, |expr, _| compile(expr, Span::default()))
}

fn part_of_text_with(
    source: &str,
    mut compile: impl FnMut(&str, usize) -> Result<Expr, ExprError>,
) -> Result<Part, ExprError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(open) = source.get(at..).and_then(|rest| rest.find("{{")).map(|i| at + i) {
        let text = source.get(at..open).unwrap_or_default();
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        let start = open + 2;
        let length = closing(source.get(start..).unwrap_or_default())
            .ok_or_else(|| ExprError::syntax(open, "`{{` is not closed; add `}}`".into()))?;
        let inner = source.get(start..start + length).unwrap_or_default();
        let expr = compile(inner, start)?;
        pieces.push(piece(expr, start)?);
        at = start + length + 2;
    }
    let tail = source.get(at..).unwrap_or_default();
    if pieces.is_empty() {
        return Ok(Part::Literal(Value::from(source)));
    }
    if !tail.is_empty() {
        pieces.push(Piece::Text(tail.to_owned()));
    }
    match pieces.as_slice() {
        [Piece::Value(_)] => match pieces.pop() {
            Some(Piece::Value(expr)) => Ok(Part::Whole(expr)),
            _ => Ok(Part::Text(pieces)),
        },
        _ => Ok(Part::Text(pieces)),
    }
}

fn piece(expr: Expr, start: usize) -> Result<Piece, ExprError> {
    if expr.refs().secrets.is_empty() {
        return Ok(Piece::Value(expr));
    }
    match expr.as_path().map(|path| (path.segments.len(), path.key(1))) {
        Some((2, Some(name))) => Ok(Piece::Secret(name.to_owned())),
        _ => Err(ExprError::syntax(
            start,
            "a secret can only be put into text as it is: `{{ secrets.NAME }}`, without filters or operators".into(),
        )),
    }
}

/// Length of the expression up to its `}}`, which may not be inside of text or of a `{ }` map.
fn closing(source: &str) -> Option<usize> {
    let bytes = source.as_bytes();
    let mut quote = None;
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(b) = bytes.get(at) {
        match (quote, b) {
            (Some(_), b'\\') => at += 1,
            (Some(q), b) if q == b => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(b),
            (None, b'{') => depth += 1,
            (None, b'}') if depth > 0 => depth -= 1,
            (None, b'}') if bytes.get(at + 1) == Some(&b'}') => return Some(at),
            (None, _) => {}
        }
        at += 1;
    }
    None
}
