//! A flow as a drawing: the nodes and edges that React Flow saves.
//!
//! The canvas has no words for some of the language, so a drawing is read back, and given only if it
//! is the same flow. Places are worked out: a column for each step that must come before.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::canonical;
use crate::expr::Expr;
use crate::graph::{Action, Flow, Rule, Step, StepId};
use crate::syntax::parse_value;

/// Distances between the places of two nodes, in the canvas's units.
const COLUMN: usize = 260;
const ROW: usize = 120;

/// The flow as nodes and edges. Reading them gives the flow, but that the two ways of a condition are
/// conditions of their own.
///
/// # Errors
/// The steps for which a canvas has no words; none when it is the flow as a whole.
pub fn to_canvas(flow: &Flow) -> Result<Value, Vec<StepId>> {
    let flow = unfolded(flow);
    let drawing = draw(&flow);
    let Ok(read) = parse_value(&drawing) else { return Err(Vec::new()) };
    if read.flow == flow {
        return Ok(drawing);
    }
    let differs = |step: &&Step| read.flow.step(step.id.as_str()) != Some(*step);
    Err(flow.steps.iter().filter(differs).map(|step| step.id.clone()).collect())
}

/// The same flow with one way for each condition.
fn unfolded(flow: &Flow) -> Flow {
    let mut flow = flow.clone();
    for step in &mut flow.steps {
        step.on_success = step.on_success.drain(..).flat_map(ways).collect();
    }
    flow
}

fn ways(rule: Rule) -> Vec<Rule> {
    let not = match (&rule.condition, rule.otherwise.is_empty()) {
        (Some(condition), false) => Expr::parse(&format!("not ({})", condition.source())).ok(),
        _ => None,
    };
    match not {
        None => vec![rule],
        Some(not) => {
            let other = Rule { condition: Some(not), then: rule.otherwise, otherwise: Vec::new() };
            vec![Rule { otherwise: Vec::new(), ..rule }, other]
        }
    }
}

fn draw(flow: &Flow) -> Value {
    let mut drawing = Map::new();
    if let Value::Object(whole) = flow.to_canonical() {
        let head = ["name", "version", "description", "category", "input", "triggers", "output"];
        drawing.extend(whole.into_iter().filter(|(key, _)| head.contains(&key.as_str())));
    }
    let columns = columns(flow);
    let mut rows: BTreeMap<usize, usize> = BTreeMap::new();
    let nodes = flow.steps.iter().map(|step| {
        let column = columns.get(&step.id).copied().unwrap_or_default();
        let row = rows.entry(column).or_default();
        let (kind, data) = node(&step.action);
        let place = json!({ "x": column * COLUMN, "y": *row * ROW });
        *row += 1;
        let mut node = json!({ "id": step.id, "type": kind, "position": place, "data": data });
        if let (Some(node), Some(caching)) = (node.as_object_mut(), &step.cache) {
            node.insert("cache".into(), canonical::caching(caching));
        }
        node
    });
    drawing.insert("nodes".into(), nodes.collect());
    let edges = flow.steps.iter().flat_map(|step| ways_in(step).chain(ways_out(step)));
    let numbered = edges.enumerate().map(|(at, mut edge)| {
        edge.insert("id".into(), json!(format!("e{}", at + 1)));
        Value::Object(edge)
    });
    drawing.insert("edges".into(), numbered.collect());
    Value::Object(drawing)
}

/// What a node is called and what it is given.
fn node(action: &Action) -> (String, Value) {
    match action {
        Action::Node { node, with } => (canonical::node_text(node), with.to_value()),
        Action::Flow { flow, with } => {
            ("flow".to_owned(), json!({ "flow": flow, "with": with.to_value() }))
        }
        Action::Wait(wait) => ("wait".to_owned(), canonical::wait_value(wait)),
        Action::Pass => ("default".to_owned(), json!({})),
    }
}

/// The edges of what a step needs; its `when` is the condition of the only one.
fn ways_in(step: &Step) -> impl Iterator<Item = Map<String, Value>> {
    step.needs.iter().map(|need| {
        let mut edge = edge(need, &step.id);
        if let Some(when) = &step.when {
            edge.insert("condition".into(), json!(when.to_string()));
        }
        edge
    })
}

/// The edges of where a step leads.
fn ways_out(step: &Step) -> impl Iterator<Item = Map<String, Value>> {
    let sides = [("success", &step.on_success), ("failure", &step.on_failure)];
    sides.into_iter().flat_map(move |(handle, rules)| {
        rules.iter().flat_map(move |rule| {
            rule.then.iter().map(move |to| {
                let mut edge = edge(&step.id, to);
                match &rule.condition {
                    Some(condition) => {
                        edge.insert("condition".into(), json!(condition.to_string()))
                    }
                    None => edge.insert("sourceHandle".into(), json!(handle)),
                };
                edge
            })
        })
    })
}

fn edge(from: &StepId, to: &StepId) -> Map<String, Value> {
    Map::from_iter([("source".to_owned(), json!(from)), ("target".to_owned(), json!(to))])
}

/// How many steps must come before each; a way back counts for nothing.
fn columns(flow: &Flow) -> BTreeMap<StepId, usize> {
    let mut columns: BTreeMap<StepId, usize> = BTreeMap::new();
    for step in &flow.steps {
        let routed = flow.steps.iter().filter(|from| {
            let rules = from.on_success.iter().chain(&from.on_failure);
            rules.into_iter().any(|rule| rule.then.contains(&step.id))
        });
        let before = step.needs.iter().chain(routed.map(|from| &from.id));
        let column = before.filter_map(|id| columns.get(id)).max().map_or(0, |column| column + 1);
        columns.insert(step.id.clone(), column);
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse;

    fn flow(name: &str, text: &str) -> Flow {
        parse(name, text).unwrap_or_else(|problems| panic!("{}", problems[0])).flow
    }

    #[test]
    fn a_flow_reads_back_from_its_drawing() {
        let canvas = include_str!("../../tests/sources/campaign.canvas.json");
        for (name, text) in [
            ("campaign.canvas.json", canvas),
            (
                "row.yaml",
                "name: f\nsteps:\n- {id: a, node: n}\n- {id: b, node: n, with: {x: '{{ steps.a.output.y }}'}}\n",
            ),
            (
                "when.yaml",
                "name: f\ninput: {go: boolean}\nsteps:\n- {id: a, node: n}\n- {id: b, flow: g, needs: [a], when: '{{ input.go }}', with: {n: 1}}\n",
            ),
            (
                "waits.yaml",
                "name: f\nsteps:\n- {id: a, wait: {signal: s, timeout: 1h}}\n- {id: b, wait: {approval: Sure?}, needs: [a]}\n- {id: c, wait: 5m, needs: [b]}\noutput: '{{ steps.a.output }}'\n",
            ),
            (
                "routes.yaml",
                "name: f\nsteps:\n- {id: a, node: n, on: {success: b, failure: c}}\n- {id: b, node: n}\n- {id: c, node: n}\n",
            ),
        ] {
            let flow = flow(name, text);
            let drawing = to_canvas(&flow).unwrap_or_else(|odd| panic!("{name}: {odd:?}"));
            assert_eq!(parse_value(&drawing).unwrap().flow, flow, "{drawing:#}");
        }
    }

    #[test]
    fn steps_for_which_there_are_no_words_are_named() {
        for (text, odd) in [
            (
                "name: f\nsteps:\n- {id: a, node: n}\n- {id: b, node: n, needs: [a], retry: [1s]}\n",
                &["b"][..],
            ),
            (
                "name: f\nsteps:\n- {id: a, node: n, for_each: [1, 2]}\n- {id: b, node: n, timeout: 5s}\n",
                &["a", "b"],
            ),
            ("name: f\nsteps:\n- {id: a, node: n}\n- {id: b, node: n}\non_failure: b\n", &["b"]),
        ] {
            let told = to_canvas(&flow("f.yaml", text)).unwrap_err();
            let told: Vec<&str> = told.iter().map(StepId::as_str).collect();
            assert_eq!(told, odd, "{text}");
        }
    }

    #[test]
    fn nodes_stand_behind_what_comes_before_them() {
        let text = "name: f\nsteps:\n- {id: a, node: n}\n- {id: b, node: n, needs: [a]}\n- {id: c, node: n, needs: [a]}\n";
        let drawing = to_canvas(&flow("f.yaml", text)).unwrap();
        let places: Vec<&Value> = (0..3).map(|at| &drawing["nodes"][at]["position"]).collect();
        assert_eq!(
            places,
            [&json!({"x": 0, "y": 0}), &json!({"x": 260, "y": 0}), &json!({"x": 260, "y": 120})]
        );
    }
}
