//! Triggers: what their expressions read, whether what they give fits the flow, whose path is whose.

use std::collections::BTreeMap;

use crate::expr::Expr;
use crate::input::check_input;
use crate::name::suggest;
use crate::template::Template;
use crate::trigger::{Trigger, TriggerKind};

use super::Check;

pub(super) fn check(check: &mut Check<'_>) {
    let flow = check.flow;
    let mut routes: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    for (at, trigger) in flow.triggers.iter().enumerate() {
        let path = format!("triggers/{at}");
        let input = match &trigger.kind {
            TriggerKind::Webhook(webhook) => {
                let route = (webhook.method.as_str(), webhook.path.as_str());
                if let Some(first) = routes.insert(route, &trigger.id) {
                    let (method, route) = route;
                    check.error(
                        "trigger",
                        format!("{method} {route} is taken by the trigger `{first}`; choose another path"),
                        &format!("{path}/path"),
                    );
                }
                &webhook.input
            }
            TriggerKind::Schedule(schedule) => &schedule.input,
            TriggerKind::Event(event) => {
                if let Some(filter) = &event.filter {
                    expression(check, trigger, filter, &format!("{path}/filter"));
                }
                &event.input
            }
            TriggerKind::Manual => continue,
        };
        match input {
            Some(input) => given(check, trigger, input, &format!("{path}/input")),
            None => required(check, trigger, &path),
        }
    }
}

fn given(check: &mut Check<'_>, trigger: &Trigger, input: &Template, path: &str) {
    for expr in input.exprs() {
        expression(check, trigger, expr, path);
    }
    if !input.refs().secrets.is_empty() {
        check.error(
            "secret",
            "a secret can only be given to a node, in the `with` of a step",
            path,
        );
    }
    let Some(literal) = input.as_literal() else { return };
    for problem in check_input(check.flow, literal.clone()).err().unwrap_or_default() {
        let span = check.spans.find(&format!("{path}/{}", problem.input));
        check.error_at("trigger-input", problem.message, span, problem.suggestion);
    }
}

/// Without an `input`, the run gets what the flow declares of the occurrence.
fn required(check: &mut Check<'_>, trigger: &Trigger, path: &str) {
    let fields = trigger.fields();
    let missing = check.flow.parameters.iter().find(|parameter| {
        parameter.required
            && parameter.default.is_none()
            && !fields.contains(&parameter.name.as_str())
    });
    if let Some(parameter) = missing {
        check.error(
            "trigger-input",
            format!(
                "the trigger `{}` gives no `{}`, which the flow needs; give it an `input`",
                trigger.id, parameter.name
            ),
            path,
        );
    }
}

fn expression(check: &mut Check<'_>, trigger: &Trigger, expr: &Expr, path: &str) {
    let span = if expr.span().is_unknown() { check.spans.find(path) } else { expr.span() };
    let fields = trigger.fields();
    for found in expr.paths() {
        match (found.root(), found.key(1)) {
            ("trigger" | "input", None) => {}
            ("trigger" | "input", Some(field)) if fields.contains(&field) => {}
            ("trigger" | "input", Some(field)) => {
                let near = suggest(field, fields.iter().copied());
                let known = fields.join(", ");
                check.error_at(
                    "unknown-field",
                    format!("what starts a run here has no `{field}`; it has {known}"),
                    span,
                    near,
                );
            }
            (root, _) => check.error_at(
                "unknown-name",
                format!("`{root}` is not known before the run; a trigger reads `trigger`"),
                span,
                suggest(root, ["trigger"]),
            ),
        }
    }
}
