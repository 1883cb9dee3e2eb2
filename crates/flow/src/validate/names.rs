//! Names within expressions: steps, inputs, `item`, secrets, declared outputs.

use std::collections::BTreeSet;

use crate::expr::{Expr, Path};
use crate::graph::{Action, Step};
use crate::name::suggest;
use crate::scope::ROOTS;
use crate::span::Span;
use crate::walk::{Role, each};

use super::{Check, NodeShape, Nodes};

const STEP_FIELDS: &[&str] = &["output", "outputs", "status", "error", "visits"];
const WORKFLOW_FIELDS: &[&str] = &["name", "id", "run_id", "status", "error"];

pub(super) fn check(check: &mut Check<'_>) {
    let flow = check.flow;
    let mut found: Vec<(Option<&Step>, Role, &Expr, Span)> = Vec::new();
    let mut secrets: Vec<(Role, Span, bool)> = Vec::new();
    let spans = check.spans;
    each(flow, &mut |step, path, role, item| {
        let place = spans.find(path);
        for expr in item.exprs() {
            let span = if expr.span().is_unknown() { place } else { expr.span() };
            found.push((step, role, expr, span));
        }
        // A condition's secrets are reported with their paths.
        if role != Role::Condition && !item.refs().secrets.is_empty() {
            secrets.push((role, place, step.is_some()));
        }
    });
    let names = Names::of(check);
    for (step, role, expr, span) in found {
        for path in expr.paths() {
            let before =
                expr.source().get(..path.start.min(expr.source().len())).unwrap_or_default();
            let place =
                if before.contains('\n') { span } else { span.right(before.chars().count()) };
            names.path(check, step, role, path, place);
        }
    }
    for (role, place, in_step) in secrets {
        if role != Role::Input || !in_step {
            check.error_at(
                "secret",
                "a secret can only be given to a node, in the `with` of a step",
                place,
                None,
            );
        }
    }
}

/// The names that a flow's expressions may use.
struct Names<'a> {
    steps: Vec<&'a str>,
    inputs: BTreeSet<&'a str>,
}

impl<'a> Names<'a> {
    fn of(check: &Check<'a>) -> Self {
        Self {
            steps: check.flow.steps.iter().map(|s| s.id.as_str()).collect(),
            inputs: check.flow.parameters.iter().map(|p| p.name.as_str()).collect(),
        }
    }

    fn path(
        &self,
        check: &mut Check<'_>,
        step: Option<&Step>,
        role: Role,
        path: &Path,
        place: Span,
    ) {
        match path.root() {
            "steps" => self.step(check, path, place),
            "input" | "trigger" => {
                if let Some(name) = path.key(1)
                    && !self.inputs.contains(name)
                {
                    let near = suggest(name, self.inputs.iter().copied());
                    let known =
                        if self.inputs.is_empty() { "; the flow declares no inputs" } else { "" };
                    check.error_at(
                        "unknown-input",
                        format!("unknown input `{name}`{known}"),
                        place,
                        near,
                    );
                }
            }
            "item" | "index" => {
                let fans_out = step.is_some_and(|s| s.for_each.is_some());
                if !fans_out || role == Role::Condition {
                    check.error_at(
                        "item",
                        format!(
                            "`{}` is only known in the `with` of a step with `for_each`",
                            path.root()
                        ),
                        place,
                        None,
                    );
                }
            }
            "workflow" => {
                if let Some(field) = path.key(1)
                    && !WORKFLOW_FIELDS.contains(&field)
                {
                    let near = suggest(field, WORKFLOW_FIELDS.iter().copied());
                    check.error_at(
                        "unknown-field",
                        format!(
                            "`workflow` has no `{field}`; it has {}",
                            WORKFLOW_FIELDS.join(", ")
                        ),
                        place,
                        near,
                    );
                }
            }
            "secrets" if role == Role::Condition => {
                check.error_at("secret", "a condition cannot read a secret", place, None);
            }
            "secrets" => {}
            unknown => {
                let near = suggest(unknown, ROOTS.iter().copied())
                    .or_else(|| self.steps.contains(&unknown).then(|| format!("steps.{unknown}")))
                    .or_else(|| self.inputs.contains(unknown).then(|| format!("input.{unknown}")));
                check.error_at(
                    "unknown-name",
                    format!("unknown name `{unknown}`; known are {}", ROOTS.join(", ")),
                    place,
                    near,
                );
            }
        }
    }

    fn step(&self, check: &mut Check<'_>, path: &Path, place: Span) {
        let id = path.key(1).unwrap_or_default();
        let Some(target) = check.flow.step(id) else {
            let near = suggest(id, self.steps.iter().copied());
            return check.error_at("unknown-step", format!("unknown step `{id}`"), place, near);
        };
        let Some(field) = path.key(2) else { return };
        if !STEP_FIELDS.contains(&field) {
            let near = if declared(target, check.nodes)
                .is_some_and(|names| names.iter().any(|n| n == field))
            {
                Some(format!("steps.{id}.output.{field}"))
            } else {
                suggest(field, STEP_FIELDS.iter().copied())
            };
            return check.error_at(
                "unknown-field",
                format!("a step has no `{field}`; it has {}", STEP_FIELDS.join(", ")),
                place,
                near,
            );
        }
        if !matches!(field, "output" | "outputs") {
            return;
        }
        if let Some(name) = path.key(3)
            && target.for_each.is_none()
            && let Some(names) = declared(target, check.nodes)
            && !names.iter().any(|n| n == name)
        {
            let near = suggest(name, names.iter().map(String::as_str));
            check.error_at(
                "unknown-output",
                format!(
                    "the step `{id}` declares no output `{name}`; it declares {}",
                    names.join(", ")
                ),
                place,
                near,
            );
        }
    }
}

/// The outputs that a step declares itself, or else its node's manifest.
fn declared(step: &Step, nodes: &dyn Nodes) -> Option<Vec<String>> {
    if !step.outputs.is_empty() {
        return Some(step.outputs.iter().map(|o| o.name.clone()).collect());
    }
    let Action::Node { node, .. } = &step.action else { return None };
    let NodeShape { outputs, .. } = nodes.find(node)?;
    outputs.filter(|list| !list.is_empty()).map(|list| list.into_iter().map(|p| p.name).collect())
}
