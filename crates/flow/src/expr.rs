//! Expressions: `{{ steps.fetch.output.items[0].name|upper }}`.
//!
//! ```text
//! source ─ lex ─ parse ─→ tree ─→ what it reads (Refs)
//!                          └─ emit ─→ engine ─→ value
//! ```
//!
//! A pure function of a [`Scope`], bounded in operations and bytes. There is no clock, no
//! randomness, no method call, and no access to anything but the scope's names. A plain path is
//! looked up without the engine.

mod emit;
mod engine;
pub(crate) mod lex;
mod parse;
#[cfg(test)]
mod tests;
pub(crate) mod view;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use minijinja::value::{Object, Value as EngineValue};
use serde_json::Value;

pub use self::view::json_kind;
use crate::graph::StepId;
use crate::scope::Scope;
use crate::span::Span;

/// Bytes that one evaluation may make in all. Larger data belongs into a payload that a node
/// reads, not into an expression.
pub const EVALUATION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A compiled expression. Cheap to clone; two are equal when their source texts are.
#[derive(Clone)]
pub struct Expr(Arc<Inner>);

struct Inner {
    source: String,
    span: Span,
    program: Program,
    paths: Vec<Path>,
    constants: Vec<EngineValue>,
    refs: Refs,
}

enum Program {
    /// One path and nothing else.
    Path,
    Engine(minijinja::Expression<'static, 'static>),
}

/// A path of literal names within an expression, such as `steps.fetch.output.items[0]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    /// The root name and what follows it; never empty.
    pub segments: Vec<Segment>,
    /// Where it starts in the expression's source, in bytes.
    pub start: usize,
    /// Where it ends, in bytes.
    pub end: usize,
}

impl Path {
    /// The root name: `steps`, `input`…
    pub fn root(&self) -> &str {
        self.key(0).unwrap_or_default()
    }

    /// The name at a position, if there is a name.
    pub fn key(&self, at: usize) -> Option<&str> {
        match self.segments.get(at) {
            Some(Segment::Key(key)) => Some(key),
            _ => None,
        }
    }

    /// The segments from a position on.
    pub fn rest(&self, from: usize) -> &[Segment] {
        self.segments.get(from..).unwrap_or_default()
    }
}

/// One piece of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// `.name` or `['name']`.
    Key(Arc<str>),
    /// `[0]`; negative from the end.
    Index(i64),
}

/// What an expression or a template reads.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refs {
    /// Steps: `steps.x`.
    pub steps: BTreeSet<StepId>,
    /// Fields of the flow's input: `input.x`, `trigger.x`.
    pub inputs: BTreeSet<String>,
    /// Whether the input is read as a whole.
    pub whole_input: bool,
    /// Whether `item` or `index` is read.
    pub item: bool,
    /// Whether anything of `workflow` is read.
    pub workflow: bool,
    /// Secrets by name.
    pub secrets: BTreeSet<String>,
    /// All root names, known or not.
    pub roots: BTreeSet<String>,
}

impl Refs {
    /// Adds what another one reads.
    pub fn extend(&mut self, other: &Refs) {
        self.steps.extend(other.steps.iter().cloned());
        self.inputs.extend(other.inputs.iter().cloned());
        self.whole_input |= other.whole_input;
        self.item |= other.item;
        self.workflow |= other.workflow;
        self.secrets.extend(other.secrets.iter().cloned());
        self.roots.extend(other.roots.iter().cloned());
    }

    fn of(paths: &[Path]) -> Self {
        let mut refs = Self::default();
        for path in paths {
            refs.roots.insert(path.root().to_owned());
            let second = path.key(1);
            match path.root() {
                "steps" => refs.steps.extend(second.map(StepId::new)),
                "secrets" => refs.secrets.extend(second.map(str::to_owned)),
                "input" | "trigger" => match second {
                    Some(name) => {
                        refs.inputs.insert(name.to_owned());
                    }
                    None => refs.whole_input = true,
                },
                "item" | "index" => refs.item = true,
                "workflow" => refs.workflow = true,
                _ => {}
            }
        }
        refs
    }
}

/// Why an expression does not compile or has no value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ExprError {
    /// Which kind of failure.
    pub kind: ExprErrorKind,
    /// What is wrong and what to do, in lower case without a full stop.
    pub message: String,
    /// Where in the source text, in bytes.
    pub offset: usize,
    /// The name that was probably meant.
    pub suggestion: Option<String>,
}

/// Kinds of [`ExprError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExprErrorKind {
    /// The source text does not compile.
    Syntax,
    /// The values do not fit the operation.
    Evaluation,
    /// The result or an intermediate value is too large.
    Budget,
}

impl ExprError {
    pub(crate) fn syntax(offset: usize, message: String) -> Self {
        Self { kind: ExprErrorKind::Syntax, message, offset, suggestion: None }
    }

    pub(crate) fn evaluation(message: String) -> Self {
        Self { kind: ExprErrorKind::Evaluation, message, offset: 0, suggestion: None }
    }

    pub(crate) fn budget() -> Self {
        Self {
            kind: ExprErrorKind::Budget,
            message: "the value is too large; keep large data in a file or an object and pass its address".into(),
            offset: 0,
            suggestion: None,
        }
    }

    pub(crate) fn from_engine(error: minijinja::Error) -> Self {
        let message = engine::message_of(&error);
        if message == Self::budget().message { Self::budget() } else { Self::evaluation(message) }
    }

    fn within(mut self, source: &str) -> Self {
        let shown: String = source.chars().take(120).collect();
        self.message = format!("{} (in `{}`)", self.message, shown.trim());
        self
    }
}

impl Expr {
    /// Compiles a source text (without the braces).
    ///
    /// # Errors
    /// [`ExprErrorKind::Syntax`] with the offset of what is wrong.
    pub fn parse(source: &str) -> Result<Self, ExprError> {
        Self::parse_at(source, Span::default())
    }

    /// Compiles a source text that stands at a place of a file.
    ///
    /// # Errors
    /// [`ExprErrorKind::Syntax`] with the offset of what is wrong.
    pub fn parse_at(source: &str, span: Span) -> Result<Self, ExprError> {
        let trimmed = source.trim();
        let skipped = source.len() - source.trim_start().len();
        Self::compile(trimmed, span.right(source.chars().take_while(|c| c.is_whitespace()).count()))
            .map_err(|mut error| {
                error.offset += skipped;
                error
            })
    }

    fn compile(source: &str, span: Span) -> Result<Self, ExprError> {
        let tree = parse::parse(source, &engine::LIBRARY)?;
        let program = match (&tree.root, tree.paths.as_slice()) {
            (parse::Node::Path(_), [_]) => Program::Path,
            _ => Program::Engine(
                engine::ENGINE
                    .compile_expression_owned(emit::emit(&tree))
                    .map_err(|e| ExprError::syntax(0, engine::message_of(&e)))?,
            ),
        };
        let refs = Refs::of(&tree.paths);
        if let Some(path) = tree
            .paths
            .iter()
            .find(|p| matches!(p.root(), "steps" | "secrets") && p.key(1).is_none())
        {
            return Err(ExprError::syntax(
                path.start,
                format!(
                    "`{}` must be followed by a name, such as `{}.fetch`",
                    path.root(),
                    path.root()
                ),
            ));
        }
        Ok(Self(Arc::new(Inner {
            source: source.to_owned(),
            span,
            program,
            constants: tree
                .constants
                .iter()
                .map(|c| EngineValue::from(c.as_str().unwrap_or_default()))
                .collect(),
            paths: tree.paths,
            refs,
        })))
    }

    /// The source text, without surrounding space.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Where the source text starts in its file.
    pub fn span(&self) -> Span {
        self.0.span
    }

    /// What it reads.
    pub fn refs(&self) -> &Refs {
        &self.0.refs
    }

    /// Every path that it reads, in order.
    pub fn paths(&self) -> &[Path] {
        &self.0.paths
    }

    /// The path, when it is nothing but one.
    pub fn as_path(&self) -> Option<&Path> {
        match self.0.program {
            Program::Path => self.0.paths.first(),
            Program::Engine(_) => None,
        }
    }

    /// Its value.
    ///
    /// # Errors
    /// [`ExprErrorKind::Evaluation`] when values do not fit their operation,
    /// [`ExprErrorKind::Budget`] when something grows beyond [`EVALUATION_BYTES_MAX`].
    pub fn eval(&self, scope: &Scope) -> Result<Value, ExprError> {
        self.eval_within(scope, &mut { EVALUATION_BYTES_MAX })
    }

    /// Its value, which must be a boolean.
    ///
    /// # Errors
    /// As [`Expr::eval`]; and when the value is no boolean, saying what it is.
    pub fn truth(&self, scope: &Scope) -> Result<bool, ExprError> {
        match self.eval(scope)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(ExprError::evaluation(format!(
                "a condition must be true or false, but this is {}; compare it, for example with `== true` or `is defined`",
                shown(&other)
            ))
            .within(self.source())),
        }
    }

    /// Its value; `left` is what it may still cost in bytes.
    pub(crate) fn eval_within(&self, scope: &Scope, left: &mut usize) -> Result<Value, ExprError> {
        self.eval_raw(scope, left).map_err(|e| e.within(self.source()))
    }

    fn eval_raw(&self, scope: &Scope, left: &mut usize) -> Result<Value, ExprError> {
        match &self.0.program {
            Program::Path => match self.0.paths.first() {
                Some(path) => scope.read(path, left),
                None => Ok(Value::Null),
            },
            Program::Engine(program) => {
                let mut values = Vec::with_capacity(self.0.paths.len());
                for path in &self.0.paths {
                    values.push(scope.engine_value(path)?);
                }
                let context = Context { values, expr: self.clone() };
                let value = program
                    .eval(EngineValue::from_object(context))
                    .map_err(ExprError::from_engine)?;
                view::to_json(&value, left)
            }
        }
    }
}

impl PartialEq for Expr {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

impl Eq for Expr {}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Expr({})", self.0.source)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{{ {} }}}}", self.0.source)
    }
}

/// The variables `v0`, `v1`… of one evaluation.
struct Context {
    values: Vec<EngineValue>,
    expr: Expr,
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Context")
    }
}

impl Object for Context {
    fn get_value(self: &Arc<Self>, key: &EngineValue) -> Option<EngineValue> {
        self.get_value_by_str(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<EngineValue> {
        let index: usize = key.strip_prefix('v')?.parse().ok()?;
        match index.checked_sub(self.values.len()) {
            None => self.values.get(index).cloned(),
            Some(constant) => self.expr.0.constants.get(constant).cloned(),
        }
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => format!("the text {:?}", text.chars().take(40).collect::<String>()),
        Value::Number(n) => format!("the number {n}"),
        other => json_kind(other).to_owned(),
    }
}
