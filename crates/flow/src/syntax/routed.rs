//! What is particular to the outcome-routed syntax: that the first step starts.

use crate::diagnostic::Diagnostic;
use crate::document::Doc;
use crate::graph::{Action, Flow, Join, Rule, Step, StepId};

use super::fields::Reader;
use super::link::{Bounds, control_edges};

/// Whether a flow is written in the words of this syntax, and in no others.
pub(crate) fn is_routed(doc: &Doc) -> bool {
    const WORDS: &[&str] = &["module", "action", "onSuccess", "onFailure", "maxRetries"];
    const OTHERS: &[&str] = &["node", "flow", "wait", "needs"];
    let steps = doc.get("steps").and_then(Doc::items).unwrap_or_default();
    let has = |words: &[&str]| {
        let mut keys = steps.iter().filter_map(Doc::entries).flatten().map(|e| e.key.as_str());
        keys.any(|key| words.contains(&key))
    };
    has(WORDS) && !has(OTHERS)
}

/// The first step starts a run. When something routes back to it, it would start only by that
/// route: an empty step in front of it starts it then.
pub(crate) fn start(flow: &mut Flow, bounds: &mut Vec<Bounds>) {
    flow.index = flow.steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
    let routed_to = control_edges(flow).iter().any(|targets| targets.contains(&0));
    let Some(first) = flow.steps.first().map(|step| step.id.clone()).filter(|_| routed_to) else {
        return;
    };
    let mut id = StepId::new("start");
    let mut number = 1;
    while flow.index.contains_key(&id) {
        number += 1;
        id = StepId::new(format!("start-{number}"));
    }
    let step = pass(id, vec![Rule { condition: None, then: vec![first], otherwise: Vec::new() }]);
    flow.steps.insert(0, step);
    bounds.insert(0, Bounds::default());
}

/// A step that does nothing but route on.
pub(crate) fn pass(id: StepId, on_success: Vec<Rule>) -> Step {
    Step {
        id,
        action: Action::Pass,
        needs: Vec::new(),
        join: Join::All,
        routed: false,
        when: None,
        for_each: None,
        on_success,
        on_failure: Vec::new(),
        max_visits: 1,
        retry: None,
        timeout: None,
        total_timeout: None,
        heartbeat_timeout: None,
        task_queue: None,
        alternatives: None,
        compensate: None,
        outputs: Vec::new(),
        spawns: false,
        cache: None,
    }
}

/// Warns of steps that start beside the first one because nothing leads to them.
pub(crate) fn warn_forgotten(flow: &Flow, reader: &mut Reader<'_>) {
    let Some(first) = flow.steps.first() else { return };
    for step in flow.steps.iter().skip(1) {
        if !step.routed && step.needs.is_empty() {
            reader.warnings.push(Diagnostic::warning(
                "no-route",
                format!("nothing leads to the step `{}`, so it starts at once beside `{}`; route to it or give it `needs`", step.id, first.id),
                reader.spans.find(&format!("steps/{}", step.id)),
            ));
        }
    }
}
