//! Turns separate steps into a graph: who is routed to, who needs whom, how often a step may start.

use std::collections::BTreeMap;

use crate::diagnostic::Diagnostic;
use crate::graph::{Action, Flow, Retry, Rule, Step, StepId, Wait};
use crate::order::{cycles, walk_cycle};
use crate::span::Spans;

/// Highest bound that is worked out for a step: a run with more visits than this is a mistake.
pub const VISITS_MAX: u32 = 1_000_000;

/// What the author said about how often a step starts.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bounds {
    /// `max_visits`.
    pub visits: Option<u32>,
    /// `maxRetries`: visits in a loop, attempts elsewhere.
    pub retries: Option<u32>,
}

/// Completes a flow whose steps are read. Bounds go by position.
pub(crate) fn link(
    flow: &mut Flow,
    bounds: &[Bounds],
    spans: &Spans,
    problems: &mut Vec<Diagnostic>,
) {
    flow.index = flow.steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
    let control = control_edges(flow);
    mark_routed(flow, &control);
    infer_needs(flow, spans, problems);
    let bounded = apply_bounds(flow, bounds, &control);
    bound_visits(flow, &control, &bounded, spans, problems);
}

/// Targets of each step's own routes, by position; a target occurs once for each rule that can
/// start it, on the outcome where it occurs more often.
pub(crate) fn control_edges(flow: &Flow) -> Vec<Vec<usize>> {
    flow.steps
        .iter()
        .map(|step| {
            let success = rule_targets(flow, &step.on_success);
            let failure = rule_targets(flow, &step.on_failure);
            let mut counts: BTreeMap<usize, (usize, usize)> = BTreeMap::new();
            for target in success {
                counts.entry(target).or_default().0 += 1;
            }
            for target in failure {
                counts.entry(target).or_default().1 += 1;
            }
            counts
                .into_iter()
                .flat_map(|(target, (s, f))| std::iter::repeat_n(target, s.max(f)))
                .collect()
        })
        .collect()
}

fn rule_targets(flow: &Flow, rules: &[Rule]) -> Vec<usize> {
    let mut out = Vec::new();
    for rule in rules {
        let mut targets: Vec<usize> = rule
            .then
            .iter()
            .chain(&rule.otherwise)
            .filter_map(|id| flow.index.get(id).copied())
            .collect();
        targets.sort_unstable();
        targets.dedup();
        out.extend(targets);
    }
    out
}

fn mark_routed(flow: &mut Flow, control: &[Vec<usize>]) {
    let handlers = rule_targets(flow, &flow.on_failure);
    for step in &mut flow.steps {
        step.routed = false;
    }
    for target in control.iter().flatten().chain(&handlers) {
        if let Some(step) = flow.steps.get_mut(*target) {
            step.routed = true;
        }
    }
}

fn infer_needs(flow: &mut Flow, spans: &Spans, problems: &mut Vec<Diagnostic>) {
    let Flow { steps, index, .. } = flow;
    for step in steps {
        if step.routed {
            if !step.needs.is_empty() {
                problems.push(Diagnostic::error(
                    "needs",
                    format!("`{}` is started by a route, so it cannot have `needs`; remove them, or the route to it", step.id),
                    spans.find(&format!("steps/{}/needs", step.id)),
                ));
                step.needs.clear();
            }
            continue;
        }
        for id in reads(step) {
            if id != step.id && index.contains_key(&id) && !step.needs.contains(&id) {
                step.needs.push(id);
            }
        }
    }
}

/// The steps that a step reads before it runs, by id.
pub(crate) fn reads(step: &Step) -> Vec<StepId> {
    let mut refs = crate::expr::Refs::default();
    for template in templates(step) {
        refs.extend(template.refs());
    }
    if let Some(when) = &step.when {
        refs.extend(when.refs());
    }
    refs.steps.into_iter().collect()
}

/// The templates that are rendered when a step starts.
pub(crate) fn templates(step: &Step) -> Vec<&crate::template::Template> {
    let mut out = Vec::new();
    match &step.action {
        Action::Node { with, .. } | Action::Flow { with, .. } => out.push(with),
        Action::Wait(Wait::Duration(t) | Wait::Until(t) | Wait::Approval { title: t, .. }) => {
            out.push(t)
        }
        Action::Wait(Wait::Signal { .. }) | Action::Pass => {}
    }
    out.extend(step.for_each.as_ref().map(|f| &f.items));
    out
}

/// Which steps have a bound of their author's, by position.
fn apply_bounds(flow: &mut Flow, bounds: &[Bounds], control: &[Vec<usize>]) -> Vec<bool> {
    let mut in_cycle = vec![false; flow.steps.len()];
    for node in cycles(control).into_iter().flatten() {
        if let Some(place) = in_cycle.get_mut(node) {
            *place = true;
        }
    }
    let mut bounded = Vec::with_capacity(flow.steps.len());
    for ((step, loops), bound) in flow.steps.iter_mut().zip(in_cycle).zip(bounds) {
        let mut visits = bound.visits;
        match bound.retries {
            Some(retries) if loops => visits = visits.or(Some(retries.max(1))),
            Some(retries) if step.retry.is_none() => step.retry = Some(Retry::times(retries)),
            _ => {}
        }
        step.max_visits = visits.unwrap_or(1);
        bounded.push(visits.is_some());
    }
    bounded
}

/// Works out how often the other steps can start at most: once for a step that nothing routes
/// to, else as often as the steps that route to it. Only a loop without a bound has no answer.
fn bound_visits(
    flow: &mut Flow,
    control: &[Vec<usize>],
    bounded: &[bool],
    spans: &Spans,
    problems: &mut Vec<Diagnostic>,
) {
    let is_bounded = |node: usize| bounded.get(node).copied().unwrap_or(false);
    let mut edges: Vec<Vec<usize>> = control.to_vec();
    add_failure_edges(flow, &mut edges);
    for targets in &mut edges {
        targets.retain(|target| !is_bounded(*target));
    }
    let loops = cycles(&edges);
    for component in &loops {
        report_loop(flow, &walk_cycle(&edges, component), spans, problems);
    }
    if !loops.is_empty() {
        return;
    }
    let mut waiting = vec![0_usize; edges.len()];
    for target in edges.iter().flatten() {
        if let Some(count) = waiting.get_mut(*target) {
            *count += 1;
        }
    }
    let mut visits: Vec<u64> = flow
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| match (is_bounded(at), step.routed) {
            (true, _) => u64::from(step.max_visits),
            (false, true) => 0,
            (false, false) => 1,
        })
        .collect();
    let mut ready: Vec<usize> =
        (0..edges.len()).filter(|node| waiting.get(*node) == Some(&0)).collect();
    while let Some(node) = ready.pop() {
        let from = visits.get(node).copied().unwrap_or(0);
        for target in edges.get(node).into_iter().flatten() {
            if let (Some(count), Some(left)) = (visits.get_mut(*target), waiting.get_mut(*target)) {
                *count = count.saturating_add(from).min(u64::from(VISITS_MAX));
                *left -= 1;
                if *left == 0 {
                    ready.push(*target);
                }
            }
        }
    }
    for (step, count) in flow.steps.iter_mut().zip(visits) {
        step.max_visits = u32::try_from(count).unwrap_or(VISITS_MAX).max(1);
    }
}

/// The flow's own `on_failure` starts its handlers from every step that has no route of its own,
/// except from the handlers and what follows them: a failing handler fails the run.
fn add_failure_edges(flow: &Flow, edges: &mut [Vec<usize>]) {
    let handlers = rule_targets(flow, &flow.on_failure);
    let mut behind = vec![false; edges.len()];
    let mut open = handlers.clone();
    while let Some(node) = open.pop() {
        if let Some(seen) = behind.get_mut(node)
            && !std::mem::replace(seen, true)
        {
            open.extend(edges.get(node).into_iter().flatten());
        }
    }
    for ((step, targets), behind) in flow.steps.iter().zip(edges).zip(behind) {
        if step.on_failure.is_empty() && !behind {
            targets.extend(&handlers);
        }
    }
}

fn report_loop(flow: &Flow, walk: &[usize], spans: &Spans, problems: &mut Vec<Diagnostic>) {
    let names: Vec<&str> =
        walk.iter().filter_map(|at| flow.steps.get(*at)).map(|s| s.id.as_str()).collect();
    let first = names.first().copied().unwrap_or_default();
    problems.push(Diagnostic::error(
        "unbounded-loop",
        format!("the loop {} has no bound; give one of its steps `max_visits`", names.join(" → ")),
        spans.find(&format!("steps/{first}")),
    ));
}
