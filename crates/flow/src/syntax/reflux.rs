//! The two syntaxes with `steps`: they share their keys and may be mixed step by step.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::document::Doc;
use crate::graph::{Flow, ParameterKind, Step, StepId};
use crate::name::{check_title, suggest};
use crate::span::{Span, Spans};

use super::fields::{Fields, Reader};
use super::link::{Bounds, link};
use super::route::rules;
use super::{Parsed, STEPS_MAX, parameters, routed, step, triggers};

/// Reads a flow; problems stay in the reader. `name` is what an embedded flow is called.
pub(crate) fn parse(doc: &Doc, name: Option<&str>, reader: &mut Reader<'_>) -> Result<Parsed, ()> {
    let mut fields = Fields::of(doc, "a flow", reader).ok_or(())?;
    let mut flow = head(&mut fields, name, doc, reader);
    let mut declared = false;
    for names in [&["input", "inputs"][..], &["parameters"], &["params"]] {
        if let Some(entry) = fields.take(names, reader) {
            declared = true;
            parameters::parameters(&entry.value, &mut flow.parameters, reader);
        }
    }
    if let Some(entry) = fields.take(&["triggers"], reader) {
        declared |= triggers::triggers(&entry.value, &mut flow, reader);
    }
    let mut bounds = Vec::new();
    match fields.take(&["steps"], reader) {
        Some(entry) => {
            reader.spans.put("steps", entry.key_span);
            steps(&entry.value, &mut flow, &mut bounds, reader);
        }
        None => reader.error("missing", "a flow needs `steps` (or `nodes` and `edges`)", doc.span),
    }
    flow.output =
        fields.take(&["output", "outputs"], reader).map(|e| reader.template(&e.value, "output"));
    if let Some(entry) = fields.take(&["on_failure", "on_error"], reader) {
        flow.on_failure = rules(&entry.value, "on_failure", reader);
    }
    let embedded =
        fields.take(&["flows"], reader).map(|e| flows(&e.value, reader)).unwrap_or_default();
    fields.ignore(&["$schema", "id", "tags", "author", "metadata"], reader);
    fields.finish(reader);
    if routed::is_routed(doc) {
        routed::start(&mut flow, &mut bounds);
    }
    if !declared {
        infer_parameters(&mut flow);
    }
    finish(flow, embedded, &bounds, routed::is_routed(doc), reader)
}

/// Name, version and so on, which the canvas has too.
pub(crate) fn head(
    fields: &mut Fields<'_>,
    name: Option<&str>,
    doc: &Doc,
    reader: &mut Reader<'_>,
) -> Flow {
    let mut text = |names: &[&'static str], reader: &mut Reader<'_>| {
        fields.take(names, reader).and_then(|e| {
            reader
                .text(&e.value, names.first().copied().unwrap_or_default())
                .map(|t| (t, e.value.span))
        })
    };
    let found = text(&["name"], reader).or_else(|| name.map(|n| (n.to_owned(), doc.span)));
    let (name, place) = found.unwrap_or_else(|| {
        reader.error("missing", "a flow needs a `name`", doc.span);
        ("unnamed".into(), doc.span)
    });
    if let Err(why) = check_title(&name) {
        reader.error("name", format!("the flow name {why}"), place);
    }
    reader.spans.put("name", place);
    Flow {
        name,
        version: text(&["version"], reader).map(|t| t.0).unwrap_or_default(),
        description: text(&["description"], reader).map(|t| t.0).unwrap_or_default(),
        category: text(&["category"], reader).map(|t| t.0).unwrap_or_default(),
        parameters: Vec::new(),
        steps: Vec::new(),
        index: BTreeMap::new(),
        output: None,
        on_failure: Vec::new(),
        triggers: Vec::new(),
    }
}

/// Links the steps and closes the reading.
pub(crate) fn finish(
    mut flow: Flow,
    embedded: Vec<Parsed>,
    bounds: &[Bounds],
    is_routed: bool,
    reader: &mut Reader<'_>,
) -> Result<Parsed, ()> {
    check_names(&mut flow, reader);
    let mut problems = Vec::new();
    link(&mut flow, bounds, &reader.spans, &mut problems);
    reader.problems.append(&mut problems);
    if is_routed {
        routed::warn_forgotten(&flow, reader);
    }
    if !reader.problems.is_empty() {
        return Err(());
    }
    Ok(Parsed {
        flow,
        embedded,
        warnings: std::mem::take(&mut reader.warnings),
        spans: std::mem::take(&mut reader.spans),
    })
}

fn steps(doc: &Doc, flow: &mut Flow, bounds: &mut Vec<Bounds>, reader: &mut Reader<'_>) {
    let Some(items) = doc.items() else {
        return reader.error("type", format!("steps must be a list, not {}", doc.kind()), doc.span);
    };
    if items.is_empty() {
        return reader.error("missing", "a flow needs at least one step", doc.span);
    }
    if items.len() > STEPS_MAX {
        return reader.error(
            "too-large",
            format!("the flow has {} steps, at most {STEPS_MAX} are allowed; use `for_each` or sub-flows", items.len()),
            doc.span,
        );
    }
    let mut seen: BTreeMap<StepId, Span> = BTreeMap::new();
    for item in items {
        let Some((mut step, bound)) = step::step(item, reader) else { continue };
        let place = item.get("id").map_or(item.span, |id| id.span);
        let with = ["with", "inputs", "input"].iter().find_map(|key| item.get(key));
        triggers::of_step(&mut step, with, flow, place, reader);
        if let Some(first) = seen.insert(step.id.clone(), place) {
            reader.error(
                "duplicate",
                format!("the step `{}` is already defined on line {}", step.id, first.line),
                place,
            );
            continue;
        }
        flow.steps.push(step);
        bounds.push(bound);
    }
}

/// Refuses steps that nobody defines, in `needs` and in routes.
fn check_names(flow: &mut Flow, reader: &mut Reader<'_>) {
    let known: Vec<StepId> = flow.steps.iter().map(|step| step.id.clone()).collect();
    let set: std::collections::BTreeSet<&StepId> = known.iter().collect();
    let mut unknown = |id: &StepId, path: &str, spans: &Spans| {
        if set.contains(id) {
            return;
        }
        let problem = Diagnostic::error(
            "unknown-step",
            format!("unknown step `{}`", id.as_str().escape_debug()),
            spans.find(&format!("{path}/{id}")),
        );
        reader
            .problems
            .push(problem.suggest(suggest(id.as_str(), known.iter().map(StepId::as_str))));
    };
    let spans = reader.spans.clone();
    for step in &flow.steps {
        let path = format!("steps/{}", step.id);
        step.needs.iter().for_each(|id| {
            unknown(id, &format!("{path}/needs"), &spans);
        });
        for (rules, name) in [(&step.on_success, "on_success"), (&step.on_failure, "on_failure")] {
            for id in rules.iter().flat_map(|rule| rule.then.iter().chain(&rule.otherwise)) {
                unknown(id, &format!("{path}/{name}"), &spans);
            }
        }
    }
    for id in flow.on_failure.iter().flat_map(|rule| rule.then.iter().chain(&rule.otherwise)) {
        unknown(id, "on_failure", &spans);
    }
    let known: std::collections::BTreeSet<StepId> = known.into_iter().collect();
    let selfish = |step: &Step| step.needs.contains(&step.id);
    for step in flow.steps.iter_mut() {
        if selfish(step) {
            reader.problems.push(Diagnostic::error(
                "needs",
                format!("the step `{}` needs itself; remove it from its `needs`", step.id),
                spans.find(&format!("steps/{}/needs/{}", step.id, step.id)),
            ));
        }
        let own = step.id.clone();
        step.needs.retain(|id| known.contains(id) && *id != own);
    }
}

fn flows(doc: &Doc, reader: &mut Reader<'_>) -> Vec<Parsed> {
    let mut out: Vec<Parsed> = Vec::new();
    let named: Vec<(Option<&str>, &Doc)> = match (doc.entries(), doc.items()) {
        (Some(entries), _) => entries.iter().map(|e| (Some(e.key.as_str()), &e.value)).collect(),
        (_, Some(items)) => items.iter().map(|item| (None, item)).collect(),
        _ => {
            reader.error(
                "type",
                format!("flows must be a map of flows by name, not {}", doc.kind()),
                doc.span,
            );
            return out;
        }
    };
    for (name, doc) in named {
        let mut inner = Reader {
            problems: Vec::new(),
            warnings: Vec::new(),
            spans: Spans::of_file(reader.spans.file()),
            compile: reader.compile,
        };
        match parse(doc, name, &mut inner) {
            Ok(mut parsed) => {
                reader.warnings.append(&mut parsed.warnings);
                if out.iter().any(|p| p.flow.name == parsed.flow.name) {
                    reader.error(
                        "duplicate",
                        format!("the flow `{}` is defined twice", parsed.flow.name),
                        doc.span,
                    );
                }
                out.push(parsed);
            }
            Err(()) => reader.problems.append(&mut inner.problems),
        }
    }
    out
}

/// A flow that declares no inputs takes whatever it reads.
pub(crate) fn infer_parameters(flow: &mut Flow) {
    for name in flow.refs().inputs {
        flow.parameters.push(parameters::plain(&name, ParameterKind::Any, true));
    }
}
