//! Nodes and sub-flows: whether they exist and whether what they are given fits.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::canonical::node_text;
use crate::diagnostic::Diagnostic;
use crate::expr::json_kind;
use crate::graph::{Action, Alternatives, Bundle, Flow, NodeRef, Step};
use crate::input::fits;
use crate::name::suggest;
use crate::span::Spans;
use crate::template::Template;

use super::{Check, NodeShape, Property};

pub(super) fn check(check: &mut Check<'_>) {
    let flow = check.flow;
    let mut shapes: BTreeMap<String, Option<NodeShape>> = BTreeMap::new();
    for step in &flow.steps {
        let path = format!("steps/{}", step.id);
        if let Action::Node { node, with } = &step.action {
            check_node(check, node, with, &path, &mut shapes);
            if let Some(Alternatives::Listed(nodes)) = &step.alternatives {
                let path = format!("{path}/alternatives");
                nodes.iter().for_each(|node| check_node(check, node, with, &path, &mut shapes));
            }
        }
        if let (Some(_), Some(problem)) = (&step.alternatives, without_alternatives(step)) {
            let path = format!("{path}/alternatives");
            check.error("alternatives", format!("the step `{}` {problem}", step.id), &path);
        }
        if let Some(compensate) = &step.compensate {
            check_node(
                check,
                &compensate.node,
                &compensate.with,
                &format!("{path}/compensate"),
                &mut shapes,
            );
        }
        if let Some(for_each) = &step.for_each
            && let Some(value) = for_each.items.as_literal()
            && !value.is_array()
            && !value.is_object()
        {
            check.error(
                "for-each",
                format!("`for_each` of `{}` needs a list, not {}", step.id, json_kind(value)),
                &format!("{path}/for_each"),
            );
        }
    }
}

/// Why a step cannot have alternatives, if it cannot.
fn without_alternatives(step: &Step) -> Option<&'static str> {
    match (&step.action, &step.for_each) {
        (Action::Node { .. }, None) => None,
        (Action::Node { .. }, Some(_)) => Some(
            "runs over a list and so can have no alternatives; let it run a sub-flow whose step has them",
        ),
        _ => Some("calls no node that could have alternatives; remove `alternatives`"),
    }
}

fn check_node(
    check: &mut Check<'_>,
    node: &NodeRef,
    with: &Template,
    path: &str,
    shapes: &mut BTreeMap<String, Option<NodeShape>>,
) {
    let name = node_text(node);
    let shape = shapes.entry(name.clone()).or_insert_with(|| check.nodes.find(node)).clone();
    let Some(shape) = shape else {
        let all = check.nodes.names();
        let unversioned = NodeRef { name: node.name.clone(), version: None };
        let span = check.spans.find(&format!("{path}/node"));
        if node.version.is_some() && check.nodes.find(&unversioned).is_some() {
            return check.error_at(
                "unknown-node",
                format!(
                    "the node `{}` has no version {}",
                    node.name,
                    node.version.as_deref().unwrap_or_default()
                ),
                span,
                None,
            );
        }
        let near = suggest(&node.name, all.iter().map(String::as_str));
        return check.error_at("unknown-node", format!("unknown node `{name}`"), span, near);
    };
    if let Some(inputs) = &shape.inputs {
        for problem in problems(
            &format!("the node `{name}`"),
            inputs,
            with,
            &format!("{path}/with"),
            check.spans,
        ) {
            check.report(problem.clone(), problem.suggestion);
        }
    }
}

/// Checks the inputs that a flow gives to the sub-flows of its bundle.
pub(super) fn check_calls(flow: &Flow, bundle: &Bundle, spans: &Spans) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for step in &flow.steps {
        let Action::Flow { flow: name, with } = &step.action else { continue };
        let path = format!("steps/{}", step.id);
        let Some(target) = bundle.flows.get(name) else {
            let near = suggest(name, bundle.flows.keys().map(String::as_str));
            let span = spans.find(&format!("{path}/flow"));
            found.push(
                Diagnostic::error(
                    "unknown-flow",
                    format!("unknown flow `{}`", name.escape_debug()),
                    span,
                )
                .suggest(near),
            );
            continue;
        };
        let mut properties: Vec<Property> = target
            .parameters
            .iter()
            .map(|p| Property { name: p.name.clone(), kind: p.kind, required: p.required })
            .collect();
        if target.refs().whole_input {
            // It takes further inputs: only what is declared can be checked.
            let given = with.fields().unwrap_or_default();
            let further =
                given.iter().filter(|(name, _)| !properties.iter().any(|p| p.name == *name));
            let further: Vec<Property> = further
                .map(|(name, _)| Property {
                    name: (*name).to_owned(),
                    kind: crate::graph::ParameterKind::Any,
                    required: false,
                })
                .collect();
            properties.extend(further);
        }
        found.extend(problems(
            &format!("the flow `{name}`"),
            &properties,
            with,
            &format!("{path}/with"),
            spans,
        ));
    }
    found
}

/// Names, types and missing fields of what is given; a template's value is not known yet.
fn problems(
    what: &str,
    wanted: &[Property],
    with: &Template,
    path: &str,
    spans: &Spans,
) -> Vec<Diagnostic> {
    let mut out = Vec::new();
    let Some(given) = with.fields() else {
        if let Some(value) = with.as_literal() {
            out.push(Diagnostic::error(
                "input",
                format!("{what} takes an object, not {}", json_kind(value)),
                spans.find(path),
            ));
        }
        return out;
    };
    for (name, value) in &given {
        let place = format!("{path}/{name}");
        let Some(property) = wanted.iter().find(|p| p.name == *name) else {
            let free: Vec<&str> = wanted.iter().map(|p| p.name.as_str()).collect();
            let near = suggest(name, free.iter().copied());
            let known = if free.is_empty() {
                "takes no inputs".to_owned()
            } else {
                format!("takes {}", free.join(", "))
            };
            let span = spans.find(&format!("{place}#key"));
            out.push(
                Diagnostic::error(
                    "input",
                    format!("{what} has no input `{}`; it {known}", name.escape_debug()),
                    span,
                )
                .suggest(near),
            );
            continue;
        };
        match value {
            Some(Value::Null) if !property.required => {}
            Some(value) if !fits(property.kind, value) => out.push(Diagnostic::error(
                "input",
                format!(
                    "the input `{name}` of {what} must be {}, not {}",
                    property.kind.article(),
                    json_kind(value)
                ),
                spans.find(&place),
            )),
            _ => {}
        }
    }
    for property in wanted.iter().filter(|p| p.required) {
        if !given.iter().any(|(name, _)| *name == property.name) {
            out.push(Diagnostic::error(
                "input",
                format!("{what} needs the input `{}` ({})", property.name, property.kind.name()),
                spans.find(path),
            ));
        }
    }
    out
}
