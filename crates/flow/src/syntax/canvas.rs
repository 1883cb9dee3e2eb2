//! The canvas: `nodes` and `edges` as React Flow saves them. What the editor keeps for itself
//! (positions, sizes, selection) is ignored.

use std::collections::{BTreeMap, BTreeSet};

use crate::diagnostic::Diagnostic;
use crate::document::{Doc, Entry, Node};
use crate::expr::lex::rewrite_roots;
use crate::expr::{Expr, ExprError};
use crate::graph::{Action, Flow, Join, NodeRef, Rule, Step, StepId, Wait};
use crate::name::{check_node_name, check_step_id, suggest};
use crate::scope::ROOTS;
use crate::span::{Span, Spans};
use crate::template::Template;

use super::caching::caching;
use super::fields::{Fields, Reader};
use super::link::Bounds;
use super::wait::wait;
use super::{Parsed, STEPS_MAX, parameters, reflux, routed, triggers};

/// Node types that only mark where branches begin, split or meet.
const PASS_TYPES: &[&str] =
    &["start", "end", "parallel", "merge", "join", "input", "output", "default", "group"];
/// Node types whose outgoing edges depend on a condition.
const CHOICE_TYPES: &[&str] = &["if", "condition", "ifelse", "if_else", "if-else"];

pub(crate) fn is_canvas(doc: &Doc) -> bool {
    doc.get("nodes").is_some_and(|n| n.items().is_some()) && doc.get("steps").is_none()
}

pub(crate) fn parse(file: &str, doc: &Doc) -> Result<Parsed, Vec<Diagnostic>> {
    let nodes = doc.get("nodes").and_then(Doc::items).unwrap_or_default();
    let ids: BTreeSet<String> =
        nodes.iter().filter_map(|n| n.get("id")).filter_map(node_id).collect();
    let mut plain = Reader {
        problems: Vec::new(),
        warnings: Vec::new(),
        spans: Spans::of_file(file),
        compile: &|source, span| Expr::parse_at(source, span),
    };
    let Some(mut fields) = Fields::of(doc, "a flow", &mut plain) else {
        return Err(plain.problems);
    };
    let mut flow = reflux::head(&mut fields, None, doc, &mut plain);
    let mut declared = false;
    for names in [&["parameters"][..], &["input", "inputs"], &["params"]] {
        if let Some(entry) = fields.take(names, &mut plain) {
            declared = true;
            parameters::parameters(&entry.value, &mut flow.parameters, &mut plain);
        }
    }
    if let Some(entry) = fields.take(&["triggers"], &mut plain) {
        declared |= triggers::triggers(&entry.value, &mut flow, &mut plain);
    }
    collisions(&flow, &ids, &mut plain);
    let inputs: Option<BTreeSet<String>> =
        declared.then(|| flow.parameters.iter().map(|p| p.name.clone()).collect());
    let compile = |source: &str, span: Span| compile(source, span, &ids, inputs.as_ref());
    let mut reader = Reader {
        problems: plain.problems,
        warnings: plain.warnings,
        spans: plain.spans,
        compile: &compile,
    };
    flow.output = fields
        .take(&["output", "outputs"], &mut reader)
        .map(|e| reader.template(&e.value, "output"));
    if let Some(entry) = fields.take(&["nodes"], &mut reader) {
        reader.spans.put("steps", entry.key_span);
    }
    let edges = fields.take(&["edges"], &mut reader).map(|e| &e.value);
    fields.ignore(&["$schema", "id", "viewport", "tags", "author", "metadata"], &mut reader);
    fields.finish(&mut reader);
    let mut canvas = Canvas { flow, choices: BTreeMap::new(), edges: Vec::new() };
    canvas.nodes(doc, nodes, &mut reader);
    if let Some(edges) = edges {
        canvas.edges(edges, &mut reader);
    }
    canvas.connect(&mut reader);
    let mut flow = canvas.flow;
    if !declared {
        reflux::infer_parameters(&mut flow);
    }
    let bounds = vec![Bounds::default(); flow.steps.len()];
    reflux::finish(flow, Vec::new(), &bounds, false, &mut reader)
        .map_err(|()| std::mem::take(&mut reader.problems))
}

fn node_id(doc: &Doc) -> Option<String> {
    match &doc.node {
        Node::Text(text) => Some(text.clone()),
        Node::Number(n) => Some(n.to_string()),
        _ => None,
    }
}

/// Bare names stand for nodes and parameters, so one name may not be both.
fn collisions(flow: &Flow, ids: &BTreeSet<String>, reader: &mut Reader<'_>) {
    for parameter in &flow.parameters {
        let place = reader.spans.find(&format!("parameters/{}", parameter.name));
        if ids.contains(&parameter.name) {
            reader.error(
                "name",
                format!("`{}` names a parameter and a node; rename one", parameter.name),
                place,
            );
        } else if ROOTS.contains(&parameter.name.as_str()) || parameter.name == "secrets" {
            reader.error(
                "name",
                format!("a parameter cannot be called `{}`; rename it", parameter.name),
                place,
            );
        }
    }
}

/// Compiles with bare names: `{{ caption.document_id }}` is `steps.caption.output.document_id`.
fn compile(
    source: &str,
    span: Span,
    ids: &BTreeSet<String>,
    inputs: Option<&BTreeSet<String>>,
) -> Result<Expr, ExprError> {
    let resolved = rewrite_roots(source, &|name| {
        if ROOTS.contains(&name) || name == "secrets" {
            return Some(name.to_owned());
        }
        if ids.contains(name) {
            return Some(format!("steps.{name}.output"));
        }
        match inputs {
            Some(known) => known.contains(name).then(|| format!("input.{name}")),
            // Nothing is declared: what is no node is an input.
            None => (!name.contains('-')).then(|| format!("input.{name}")),
        }
    })?;
    let expr = Expr::parse_at(&resolved, span)?;
    if let Some(path) =
        expr.paths().iter().find(|p| !ROOTS.contains(&p.root()) && p.root() != "secrets")
    {
        let mut error = ExprError::syntax(
            source.find(path.root()).unwrap_or(0),
            format!("`{}` is neither a node nor a parameter", path.root()),
        );
        let known = ids.iter().chain(inputs.into_iter().flatten()).map(String::as_str);
        error.suggestion = suggest(path.root(), known);
        return Err(error);
    }
    Ok(expr)
}

struct Canvas {
    flow: Flow,
    choices: BTreeMap<StepId, Choice>,
    edges: Vec<Edge>,
}

/// What the edges out of a node depend on.
enum Choice {
    If(Expr),
    Switch(Expr),
}

struct Edge {
    from: StepId,
    to: StepId,
    handle: Option<String>,
    condition: Option<Expr>,
    span: Span,
}

impl Canvas {
    fn nodes(&mut self, doc: &Doc, nodes: &[Doc], reader: &mut Reader<'_>) {
        if nodes.is_empty() {
            return reader.error("missing", "a flow needs at least one node", doc.span);
        }
        if nodes.len() > STEPS_MAX {
            return reader.error(
                "too-large",
                format!("the flow has {} nodes, at most {STEPS_MAX} are allowed", nodes.len()),
                doc.span,
            );
        }
        let mut seen = BTreeSet::new();
        for node in nodes {
            let Some(mut step) = self.node(node, reader) else { continue };
            let with = inputs_of(node.get("data"));
            let place = node.get("id").map_or(node.span, |id| id.span);
            triggers::of_step(&mut step, with.as_ref(), &mut self.flow, place, reader);
            if !seen.insert(step.id.clone()) {
                reader.error(
                    "duplicate",
                    format!("the node `{}` is defined twice", step.id),
                    node.span,
                );
                continue;
            }
            self.flow.steps.push(step);
        }
    }

    fn node(&mut self, doc: &Doc, reader: &mut Reader<'_>) -> Option<Step> {
        if doc.entries().is_none() {
            reader.error("type", format!("a node must be a map, not {}", doc.kind()), doc.span);
            return None;
        }
        let Some((name, place)) = doc.get("id").and_then(|id| Some((node_id(id)?, id.span))) else {
            reader.error("missing", "a node needs an `id`", doc.span);
            return None;
        };
        if let Err(why) = check_step_id(&name) {
            reader.error("name", format!("the node id `{}` {why}", name.escape_debug()), place);
            return None;
        }
        let path = format!("steps/{name}");
        reader.spans.put(&path, place);
        let Some(kind) = doc.get("type").and_then(Doc::text) else {
            reader.error("missing", format!("the node `{name}` needs a `type`"), doc.span);
            return None;
        };
        let type_place = doc.get("type").map_or(place, |t| t.span);
        reader.spans.put(format!("{path}/node"), type_place);
        let id = StepId::new(&name);
        let data = doc.get("data").filter(|d| !d.is_null());
        let mut step = routed::pass(id.clone(), Vec::new());
        if CHOICE_TYPES.contains(&kind) || kind == "switch" {
            let choice = self.choice(kind, data, doc, &path, reader)?;
            self.choices.insert(id, choice);
        } else if !PASS_TYPES.contains(&kind) {
            step.action = action(kind, data, &path, type_place, doc, reader)?;
        }
        // Beside `data`, which is the input.
        if let Some(given) = doc.get("cache").filter(|given| !given.is_null()) {
            step.cache = caching(given, &path, reader);
        }
        Some(step)
    }

    fn choice(
        &self,
        kind: &str,
        data: Option<&Doc>,
        doc: &Doc,
        path: &str,
        reader: &mut Reader<'_>,
    ) -> Option<Choice> {
        let field = if kind == "switch" { "value" } else { "condition" };
        let Some(found) = data.and_then(|d| d.get(field).or_else(|| d.get("expression"))) else {
            reader.error(
                "missing",
                format!("a node of type `{kind}` needs `{field}` in its `data`"),
                doc.span,
            );
            return None;
        };
        reader.spans.put(format!("{path}/on_success"), found.span);
        let expr = reader.condition(found)?;
        Some(if kind == "switch" { Choice::Switch(expr) } else { Choice::If(expr) })
    }

    fn edges(&mut self, doc: &Doc, reader: &mut Reader<'_>) {
        let Some(items) = doc.items() else {
            return reader.error(
                "type",
                format!("edges must be a list, not {}", doc.kind()),
                doc.span,
            );
        };
        let known: Vec<String> = self.flow.steps.iter().map(|s| s.id.to_string()).collect();
        let set: BTreeSet<&str> = known.iter().map(String::as_str).collect();
        for item in items {
            let end = |name: &str, reader: &mut Reader<'_>| {
                let Some(found) = item.get(name) else {
                    reader.error("missing", format!("an edge needs a `{name}`"), item.span);
                    return None;
                };
                let id = node_id(found)?;
                if !set.contains(id.as_str()) {
                    let problem = Diagnostic::error(
                        "unknown-step",
                        format!("unknown node `{}`", id.escape_debug()),
                        found.span,
                    );
                    reader
                        .problems
                        .push(problem.suggest(suggest(&id, known.iter().map(String::as_str))));
                    return None;
                }
                Some(StepId::new(id))
            };
            let (from, to) = (end("source", reader), end("target", reader));
            let (Some(from), Some(to)) = (from, to) else { continue };
            let condition = item
                .get("condition")
                .or_else(|| item.get("data").and_then(|d| d.get("condition")))
                .filter(|c| !c.is_null())
                .and_then(|c| reader.condition(c));
            self.edges.push(Edge {
                from,
                to,
                handle: item.get("sourceHandle").and_then(node_id),
                condition,
                span: item.span,
            });
        }
    }

    /// Makes needs and routes of the edges.
    fn connect(&mut self, reader: &mut Reader<'_>) {
        let edges = std::mem::take(&mut self.edges);
        let mut incoming: BTreeMap<&StepId, usize> = BTreeMap::new();
        for edge in &edges {
            *incoming.entry(&edge.to).or_default() += 1;
        }
        let mut meant: Vec<(&Edge, Meaning)> = Vec::new();
        for edge in &edges {
            match self.meaning(edge, &edges) {
                Ok(meaning) => meant.push((edge, meaning)),
                Err(message) => reader.error("route", message, edge.span),
            }
        }
        let looping = self.looping(&edges);
        let mut routed: BTreeSet<&StepId> = BTreeSet::new();
        for (edge, meaning) in &meant {
            let alone = incoming.get(&edge.to) == Some(&1) && !looping.contains(&edge.to);
            let is_route = match meaning {
                Meaning::Follow => false,
                // A branch with one way in becomes a `when`: the branch not taken is skipped, so
                // what comes after both branches can still start.
                Meaning::Holds(_) => !alone,
                Meaning::Failed | Meaning::Succeeded => true,
            };
            if is_route {
                routed.insert(&edge.to);
            }
        }
        let mut conditional: BTreeSet<StepId> = BTreeSet::new();
        for (edge, meaning) in &meant {
            if routed.contains(&edge.to) {
                self.add_route(edge, meaning);
            } else {
                self.add_need(edge, meaning, &mut conditional);
            }
        }
        self.join_branches(conditional);
    }

    fn meaning(&self, edge: &Edge, edges: &[Edge]) -> Result<Meaning, String> {
        if let Some(condition) = &edge.condition {
            return Ok(Meaning::Holds(condition.clone()));
        }
        let handle = edge.handle.as_deref().map(str::to_ascii_lowercase);
        let made = |source: String| Expr::parse(&source).map(Meaning::Holds).map_err(|e| e.message);
        match (self.choices.get(&edge.from), handle.as_deref()) {
            (Some(Choice::If(e)), None | Some("true" | "yes" | "then" | "success")) => {
                Ok(Meaning::Holds(e.clone()))
            }
            (Some(Choice::If(e)), Some("false" | "no" | "else" | "failure")) => {
                made(format!("not ({})", e.source()))
            }
            (Some(Choice::If(_)), Some(_)) => Err(format!(
                "an edge out of `{}` starts at the handle `true` or `false`",
                edge.from
            )),
            (Some(Choice::Switch(e)), None | Some("default" | "else")) => {
                let cases: Vec<String> = edges
                    .iter()
                    .filter(|other| other.from == edge.from)
                    .filter_map(|other| other.handle.as_deref())
                    .filter(|h| !matches!(h.to_ascii_lowercase().as_str(), "default" | "else"))
                    .map(quoted)
                    .collect();
                made(format!("({})|string not in [{}]", e.source(), cases.join(", ")))
            }
            (Some(Choice::Switch(e)), Some(_)) => {
                let case = quoted(edge.handle.as_deref().unwrap_or_default());
                made(format!("({})|string == {case}", e.source()))
            }
            (None, Some("failure" | "error" | "onfailure")) => Ok(Meaning::Failed),
            (None, Some("success" | "onsuccess")) => Ok(Meaning::Succeeded),
            (None, Some("true" | "false")) => Err(format!(
                "`{}` has no condition, so it has no handle `true` or `false`",
                edge.from
            )),
            (None, _) => Ok(Meaning::Follow),
        }
    }

    /// Nodes that lie on a cycle of edges.
    fn looping(&self, edges: &[Edge]) -> BTreeSet<StepId> {
        let position: BTreeMap<&StepId, usize> =
            self.flow.steps.iter().enumerate().map(|(at, s)| (&s.id, at)).collect();
        let mut targets = vec![Vec::new(); self.flow.steps.len()];
        for edge in edges {
            if let (Some(from), Some(to)) = (position.get(&edge.from), position.get(&edge.to))
                && let Some(list) = targets.get_mut(*from)
            {
                list.push(*to);
            }
        }
        let inside = crate::order::cycles(&targets).into_iter().flatten();
        inside.filter_map(|at| self.flow.steps.get(at)).map(|s| s.id.clone()).collect()
    }

    fn add_route(&mut self, edge: &Edge, meaning: &Meaning) {
        let Some(step) = self.flow.steps.iter_mut().find(|s| s.id == edge.from) else { return };
        let (rules, condition) = match meaning {
            Meaning::Failed => (&mut step.on_failure, None),
            Meaning::Follow | Meaning::Succeeded => (&mut step.on_success, None),
            Meaning::Holds(condition) => (&mut step.on_success, Some(condition.clone())),
        };
        match rules.iter_mut().find(|rule| rule.condition == condition) {
            Some(rule) if rule.then.contains(&edge.to) => {}
            Some(rule) => rule.then.push(edge.to.clone()),
            None => {
                rules.push(Rule { condition, then: vec![edge.to.clone()], otherwise: Vec::new() })
            }
        }
    }

    fn add_need(&mut self, edge: &Edge, meaning: &Meaning, conditional: &mut BTreeSet<StepId>) {
        let Some(step) = self.flow.steps.iter_mut().find(|s| s.id == edge.to) else { return };
        if !step.needs.contains(&edge.from) && edge.from != edge.to {
            step.needs.push(edge.from.clone());
        }
        if let Meaning::Holds(condition) = meaning {
            step.when = Some(condition.clone());
            conditional.insert(step.id.clone());
        }
    }

    /// A step where branches meet that may be skipped goes on with those that were taken.
    fn join_branches(&mut self, mut skippable: BTreeSet<StepId>) {
        if skippable.is_empty() {
            return;
        }
        // As far as a skip can travel: in rounds, because nodes stand in any order.
        loop {
            let before = skippable.len();
            for step in &mut self.flow.steps {
                let touched = step.needs.iter().filter(|id| skippable.contains(*id)).count();
                if touched > 0 && step.needs.len() > 1 && step.when.is_none() {
                    step.join = Join::Any;
                }
                if touched == step.needs.len() && touched > 0 {
                    skippable.insert(step.id.clone());
                }
            }
            if skippable.len() == before {
                return;
            }
        }
    }
}

enum Meaning {
    /// Starts after the source.
    Follow,
    Succeeded,
    Failed,
    Holds(Expr),
}

fn action(
    kind: &str,
    data: Option<&Doc>,
    path: &str,
    place: Span,
    doc: &Doc,
    reader: &mut Reader<'_>,
) -> Option<Action> {
    let input = inputs_of(data);
    match kind {
        "wait" | "delay_until" => {
            let Some(input) = input else {
                reader.error("missing", "a node of type `wait` needs `duration`, `until`, `signal` or `approval` in its `data`", doc.span);
                return None;
            };
            wait(&input, path, reader).map(Action::Wait)
        }
        "approval" => {
            let title = data.and_then(|d| d.get("title").or_else(|| d.get("label")));
            let title = title.map_or_else(
                || Template::literal(serde_json::Value::from("Continue?")),
                |t| reader.template(t, &format!("{path}/wait")),
            );
            let timeout =
                data.and_then(|d| d.get("timeout")).and_then(|t| reader.limit(t, "a timeout"));
            Some(Action::Wait(Wait::Approval { title, timeout }))
        }
        "flow" => {
            let Some(flow) = data.and_then(|d| d.get("flow")).and_then(Doc::text) else {
                reader.error(
                    "missing",
                    "a node of type `flow` needs the name of a `flow` in its `data`",
                    doc.span,
                );
                return None;
            };
            let with = data.and_then(|d| d.get("with").or_else(|| d.get("input")));
            Some(Action::Flow { flow: flow.to_owned(), with: template_of(with, path, reader) })
        }
        _ => {
            if let Err(why) = check_node_name(kind) {
                reader.error(
                    "name",
                    format!("the node type `{}` {why}", kind.escape_debug()),
                    place,
                );
                return None;
            }
            Some(Action::Node {
                node: NodeRef { name: kind.to_owned(), version: None },
                with: template_of(input.as_ref(), path, reader),
            })
        }
    }
}

fn template_of(doc: Option<&Doc>, path: &str, reader: &mut Reader<'_>) -> Template {
    match doc {
        Some(doc) => reader.template(doc, &format!("{path}/with")),
        None => Template::literal(serde_json::Value::Object(serde_json::Map::new())),
    }
}

/// A node's data without its label, which is for the eye.
fn inputs_of(data: Option<&Doc>) -> Option<Doc> {
    let data = data?;
    let entries: Vec<Entry> =
        data.entries()?.iter().filter(|e| e.key != "label").cloned().collect();
    Some(Doc::map(entries, data.span))
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}
