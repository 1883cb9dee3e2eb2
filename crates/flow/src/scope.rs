//! What expressions can see of a run. Plain data, built for one evaluation; knows nothing of how
//! a run moves.

use std::collections::BTreeMap;
use std::sync::Arc;

use minijinja::value::Value as EngineValue;
use serde_json::{Value, json};

use crate::expr::view::{spend, spend_json, walk, wrap};
use crate::expr::{ExprError, Path, Segment};
use crate::graph::StepId;
use crate::name::suggest;

/// Root names that every expression may use.
pub const ROOTS: &[&str] = &["input", "trigger", "steps", "item", "index", "workflow"];

/// What an expression can read.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The run's input: `input`, `trigger`.
    pub input: Arc<Value>,
    /// Steps that have a result, by id. A step that is absent reads null.
    pub steps: BTreeMap<StepId, Arc<StepView>>,
    /// The item of a fan-out and its index: `item`, `index`.
    pub item: Option<(Arc<Value>, usize)>,
    /// The run: `workflow`.
    pub workflow: WorkflowView,
}

/// What can be read of a step: `steps.x.output` (also `outputs`), `.status`, `.error`, `.visits`.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StepView {
    /// The output of the latest visit; null without one.
    pub output: Arc<Value>,
    /// `completed`, `failed`, `skipped`…
    pub status: String,
    /// The failure of the latest visit.
    pub error: Option<Arc<Value>>,
    /// How often the step started.
    pub visits: u32,
}

/// What can be read of the run: `workflow.name`, `.id`, `.run_id`, `.status`, `.error`.
#[derive(Debug, Clone, Default)]
pub struct WorkflowView {
    /// Name of the flow.
    pub name: String,
    /// Workflow id.
    pub id: String,
    /// Run id.
    pub run_id: String,
    /// `running`, or `failed` from the first handled failure on.
    pub status: String,
    /// The failure that was handled last.
    pub error: Option<Arc<Value>>,
}

/// Where a path leads before its remaining segments are followed.
enum Found<'a> {
    Shared(&'a Arc<Value>, &'a [Segment]),
    Made(Value, &'a [Segment]),
}

impl Scope {
    /// The value at a path, copied; `left` is charged first.
    pub(crate) fn read(&self, path: &Path, left: &mut usize) -> Result<Value, ExprError> {
        let (root, rest) = match self.find(path)? {
            Found::Shared(root, rest) => (std::borrow::Cow::Borrowed(&**root), rest),
            Found::Made(value, rest) => (std::borrow::Cow::Owned(value), rest),
        };
        match walk(&root, rest) {
            Some(value) => {
                spend_json(value, left)?;
                Ok(value.clone())
            }
            None => spend(left, 4).map(|()| Value::Null),
        }
    }

    /// The value at a path as text is written into `out`; `left` is charged first.
    pub(crate) fn read_text(
        &self,
        path: &Path,
        left: &mut usize,
        out: &mut String,
    ) -> Result<(), ExprError> {
        let (root, rest) = match self.find(path)? {
            Found::Shared(root, rest) => (std::borrow::Cow::Borrowed(&**root), rest),
            Found::Made(value, rest) => (std::borrow::Cow::Owned(value), rest),
        };
        if let Some(value) = walk(&root, rest) {
            spend_json(value, left)?;
            out.push_str(&crate::expr::view::text(value));
        }
        Ok(())
    }

    /// The value at a path as the engine sees it, not copied when it is a list or an object.
    pub(crate) fn engine_value(&self, path: &Path) -> Result<EngineValue, ExprError> {
        Ok(match self.find(path)? {
            Found::Shared(root, rest) => wrap(root, rest),
            Found::Made(value, rest) => wrap(&Arc::new(value), rest),
        })
    }

    fn find<'a>(&'a self, path: &'a Path) -> Result<Found<'a>, ExprError> {
        let second = path.key(1);
        Ok(match path.root() {
            "input" | "trigger" => Found::Shared(&self.input, path.rest(1)),
            "steps" => match second.and_then(|id| self.steps.get(id)) {
                Some(step) => step.find(path),
                None => Found::Made(Value::Null, &[]),
            },
            "item" => match &self.item {
                Some((item, _)) => Found::Shared(item, path.rest(1)),
                None => return Err(outside(path)),
            },
            "index" => match &self.item {
                Some((_, index)) => Found::Made(json!(index), path.rest(1)),
                None => return Err(outside(path)),
            },
            "workflow" => self.workflow.find(path),
            "secrets" => {
                return Err(ExprError::evaluation(
                    "a secret may only be put into text as `{{ secrets.NAME }}`".into(),
                ));
            }
            unknown => return Err(unknown_name(unknown, path.start)),
        })
    }
}

impl StepView {
    fn find<'a>(&'a self, path: &'a Path) -> Found<'a> {
        match path.key(2) {
            Some("output" | "outputs") => Found::Shared(&self.output, path.rest(3)),
            Some("error") => optional(self.error.as_ref(), path.rest(3)),
            Some("status") => Found::Made(Value::from(self.status.as_str()), path.rest(3)),
            Some("visits") => Found::Made(Value::from(self.visits), path.rest(3)),
            Some(_) => Found::Made(Value::Null, &[]),
            None => Found::Made(self.to_json(), path.rest(2)),
        }
    }

    fn to_json(&self) -> Value {
        json!({
            "output": &*self.output,
            "status": self.status,
            "error": self.error.as_deref(),
            "visits": self.visits,
        })
    }
}

impl WorkflowView {
    fn find<'a>(&'a self, path: &'a Path) -> Found<'a> {
        let text = |text: &str| Found::Made(Value::from(text), path.rest(2));
        match path.key(1) {
            Some("name") => text(&self.name),
            Some("id") => text(&self.id),
            Some("run_id") => text(&self.run_id),
            Some("status") => text(&self.status),
            Some("error") => optional(self.error.as_ref(), path.rest(2)),
            Some(_) => Found::Made(Value::Null, &[]),
            None => Found::Made(
                json!({
                    "name": self.name,
                    "id": self.id,
                    "run_id": self.run_id,
                    "status": self.status,
                    "error": self.error.as_deref(),
                }),
                path.rest(1),
            ),
        }
    }
}

fn optional<'a>(value: Option<&'a Arc<Value>>, rest: &'a [Segment]) -> Found<'a> {
    value.map_or(Found::Made(Value::Null, &[]), |value| Found::Shared(value, rest))
}

fn outside(path: &Path) -> ExprError {
    let mut error =
        ExprError::evaluation(format!("`{}` is only known in a step with `for_each`", path.root()));
    error.offset = path.start;
    error
}

fn unknown_name(name: &str, offset: usize) -> ExprError {
    let mut error =
        ExprError::evaluation(format!("unknown name `{name}`; known are {}", ROOTS.join(", ")));
    error.offset = offset;
    error.suggestion = suggest(name, ROOTS.iter().copied());
    error
}
