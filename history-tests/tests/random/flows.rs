//! Random flows: needs, joins, conditions, routes, loops, lists, waits, sub-flows, spawned steps.

use reflux_flow::Bundle;
use reflux_flow::diagnostic::Severity;
use reflux_flow::syntax::parse_value;
use reflux_flow::validate::{AnyNodes, validate_bundle};
use serde_json::{Map, Value, json};

use crate::dice::Dice;

/// Most steps of one flow.
const STEPS_MAX: u64 = 10;
/// Flows that are thrown away because their needs make a cycle, before the seed is given up.
const TRIES: usize = 200;

/// A flow that is valid, with a sub-flow it may call.
pub fn random(dice: &mut Dice) -> Bundle {
    for _ in 0..TRIES {
        let document = flow(dice);
        if let Ok(parsed) = parse_value(&document)
            && let Ok(bundle) = Bundle::collect_parsed(&parsed, |_| None)
        {
            return bundle;
        }
    }
    panic!("no random flow was valid: {:#}", flow(dice));
}

/// One in which validation finds nothing wrong.
pub fn valid(dice: &mut Dice) -> Bundle {
    let is_right = |bundle: &Bundle| {
        let problems = validate_bundle(bundle, &AnyNodes);
        problems.iter().all(|problem| problem.severity != Severity::Error)
    };
    (0..TRIES).map(|_| random(dice)).find(is_right).expect("a valid flow")
}

/// What a node gives.
pub fn output(dice: &mut Dice) -> Value {
    match dice.roll(8) {
        0 => json!({ "steps": [
            { "id": "p", "node": "n.p" },
            { "id": "q", "node": "n.q", "with": { "x": "{{ steps.p.output }}" } },
        ] }),
        1 => Value::Null,
        n => json!({ "n": n, "ok": n > 4 }),
    }
}

/// A list to run over.
pub fn list(dice: &mut Dice) -> Value {
    (0..dice.roll(7)).map(Value::from).collect()
}

fn flow(dice: &mut Dice) -> Value {
    let count = 2 + dice.roll(STEPS_MAX - 1);
    let routes: Vec<Map<String, Value>> = (0..count).map(|_| routes(dice, count)).collect();
    let routed: Vec<String> = routes.iter().flat_map(targets).collect();
    let steps: Vec<Value> = routes
        .into_iter()
        .enumerate()
        .map(|(at, routes)| step(dice, u64::try_from(at).unwrap(), routes, &routed))
        .collect();
    let mut flow = json!({
        "name": "main",
        "input": { "flag": "boolean", "list": "array" },
        "steps": steps,
        "flows": { "sub": { "steps": [{ "id": "one", "node": "n.one" }] } },
    });
    if dice.one_in(5) {
        let handler = format!("s{}", count - 1);
        flow["on_failure"] = handler.as_str().into();
        let last = usize::try_from(count - 1).unwrap();
        let step = flow["steps"][last].as_object_mut().unwrap();
        step.remove("needs");
        step.insert("max_visits".to_owned(), json!(2));
    }
    flow
}

fn step(dice: &mut Dice, at: u64, routes: Map<String, Value>, routed: &[String]) -> Value {
    let id = format!("s{at}");
    let is_routed = routed.contains(&id);
    let mut step = action(dice);
    step.insert("id".to_owned(), id.into());
    if is_routed {
        step.insert("max_visits".to_owned(), json!(1 + dice.roll(3)));
    } else {
        let needs: Vec<String> =
            (0..at).filter(|_| dice.one_in(3)).map(|need| format!("s{need}")).collect();
        if needs.len() > 1 && dice.one_in(2) {
            step.insert("join".to_owned(), "any".into());
        }
        if !needs.is_empty() {
            step.insert("needs".to_owned(), json!(needs));
        }
    }
    if dice.one_in(5) {
        let when = if dice.one_in(2) { "{{ input.flag }}" } else { "{{ not input.flag }}" };
        step.insert("when".to_owned(), when.into());
    }
    if !routes.is_empty() {
        step.insert("on".to_owned(), routes.into());
    }
    step.into()
}

fn action(dice: &mut Dice) -> Map<String, Value> {
    let action = match dice.roll(20) {
        0 => json!({ "wait": dice.roll(20) }),
        1 => json!({ "wait": { "until": "2026-01-01T00:00:10Z" } }),
        2 => json!({ "wait": { "signal": "go", "timeout": 5 } }),
        3 => json!({ "wait": { "signal": "go" } }),
        4 => json!({ "wait": { "approval": "really?", "timeout": 5 } }),
        5 => json!({ "wait": { "approval": "really?" } }),
        6 => json!({ "pass": true }),
        7 => json!({ "flow": "sub" }),
        8 | 9 => json!({
            "node": "n.each",
            "for_each": { "items": "{{ input.list }}", "concurrency": 1 + dice.roll(3) },
            "with": { "x": "{{ item }}" },
        }),
        10 => json!({ "node": "n.spawn", "spawns": true }),
        11 if dice.one_in(3) => json!({ "node": "missing.node" }),
        12 => json!({ "node": "unsafe.node" }),
        13 => json!({ "node": "remote.node", "retry": [1], "timeout": 10 }),
        14 => json!({ "node": "n.retry", "retry": [0, 2] }),
        _ => json!({ "node": "n.plain" }),
    };
    let mut action = action.as_object().unwrap().clone();
    if action.contains_key("node") && dice.one_in(4) {
        action.insert("compensate".to_owned(), json!({ "node": "n.undo" }));
    }
    action
}

/// Where the outcomes of a step lead.
fn routes(dice: &mut Dice, count: u64) -> Map<String, Value> {
    let mut routes = Map::new();
    for (outcome, rarity) in [("success", 4), ("failure", 8)] {
        if !dice.one_in(rarity) {
            continue;
        }
        // Nothing leads to the first step, so that something starts.
        let to = format!("s{}", 1 + dice.roll(count - 1));
        let other = format!("s{}", 1 + dice.roll(count - 1));
        let rule = match dice.roll(3) {
            0 => json!({ "condition": "{{ input.flag }}", "then": to, "else": other }),
            1 => json!({ "condition": "{{ input.flag }}", "then": to }),
            _ => json!(to),
        };
        routes.insert(outcome.to_owned(), rule);
    }
    routes
}

fn targets(routes: &Map<String, Value>) -> Vec<String> {
    routes
        .values()
        .flat_map(|rule| [rule, &rule["then"], &rule["else"]])
        .filter_map(|target| target.as_str().map(str::to_owned))
        .collect()
}
