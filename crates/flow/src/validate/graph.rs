//! The form of the graph: cycles among needs, needs of steps that repeat, steps that never start.

use std::collections::VecDeque;

use crate::graph::{Flow, Join};
use crate::order::{cycles, walk_cycle};
use crate::syntax::link::control_edges;

use super::Check;

pub(super) fn check(check: &mut Check<'_>) {
    let flow = check.flow;
    let needs = need_edges(flow);
    let control = control_edges(flow);
    let in_needs_cycle = needs_cycles(check, &needs);
    needs_out_of_loops(check, &control);
    unreachable(check, &control, &in_needs_cycle);
    for step in &flow.steps {
        let path = format!("steps/{}", step.id);
        if step.join == Join::Any && step.needs.len() < 2 {
            check.warning(
                "join",
                format!("`join: any` of `{}` has no effect with fewer than two needs", step.id),
                &path,
            );
        }
        if step.routed && step.max_visits > 1 && step.compensate.is_some() {
            check.warning(
                "compensate",
                format!(
                    "`{}` may run several times, but only its latest visit is compensated",
                    step.id
                ),
                &format!("{path}/compensate"),
            );
        }
        if let (Some(once), Some(total)) = (step.timeout, step.total_timeout)
            && once > total
        {
            check.error(
                "timeout",
                format!("the `timeout` of `{}` is longer than its `total_timeout`", step.id),
                &path,
            );
        }
    }
}

/// For each step the positions of its needs.
fn need_edges(flow: &Flow) -> Vec<Vec<usize>> {
    flow.steps
        .iter()
        .map(|step| step.needs.iter().filter_map(|id| flow.index.get(id).copied()).collect())
        .collect()
}

fn needs_cycles(check: &mut Check<'_>, needs: &[Vec<usize>]) -> Vec<bool> {
    let mut inside = vec![false; needs.len()];
    for component in cycles(needs) {
        for node in &component {
            if let Some(place) = inside.get_mut(*node) {
                *place = true;
            }
        }
        let walk = walk_cycle(needs, &component);
        let names: Vec<&str> =
            walk.iter().filter_map(|at| check.flow.steps.get(*at)).map(|s| s.id.as_str()).collect();
        let first = names.first().copied().unwrap_or_default();
        check.error(
            "needs-cycle",
            format!("steps wait for each other: {} (each needs the next); remove one of these needs, or use routes for a loop", names.join(" → ")),
            &format!("steps/{first}"),
        );
    }
    inside
}

fn needs_out_of_loops(check: &mut Check<'_>, control: &[Vec<usize>]) {
    let flow = check.flow;
    let mut looping = vec![false; flow.steps.len()];
    for node in cycles(control).into_iter().flatten() {
        if let Some(place) = looping.get_mut(node) {
            *place = true;
        }
    }
    for step in &flow.steps {
        for need in &step.needs {
            let repeats =
                flow.index.get(need).and_then(|at| looping.get(*at)).copied().unwrap_or(false);
            if repeats {
                let path = format!("steps/{}/needs/{need}", step.id);
                check.error(
                    "needs-loop",
                    format!("`{}` needs `{need}`, which repeats in a loop; route to `{}` from the loop's end instead", step.id, step.id),
                    &path,
                );
            }
        }
    }
}

/// A step can start when all of its needs can, or when a step that routes to it can.
fn unreachable(check: &mut Check<'_>, control: &[Vec<usize>], in_needs_cycle: &[bool]) {
    let flow = check.flow;
    let count = flow.steps.len();
    let mut waiting: Vec<usize> =
        flow.steps.iter().map(|s| if s.routed { usize::MAX } else { s.needs.len() }).collect();
    let mut needed_by: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (at, step) in flow.steps.iter().enumerate() {
        for need in step.needs.iter().filter_map(|id| flow.index.get(id)) {
            if let Some(list) = needed_by.get_mut(*need) {
                list.push(at);
            }
        }
    }
    let handlers: Vec<usize> = flow
        .on_failure
        .iter()
        .flat_map(|rule| rule.then.iter().chain(&rule.otherwise))
        .filter_map(|id| flow.index.get(id).copied())
        .collect();
    let mut reached = vec![false; count];
    let mut queue: VecDeque<usize> = (0..count).filter(|at| waiting.get(*at) == Some(&0)).collect();
    queue.extend(handlers);
    while let Some(node) = queue.pop_front() {
        match reached.get_mut(node) {
            Some(seen) if !*seen => *seen = true,
            _ => continue,
        }
        queue.extend(control.get(node).into_iter().flatten());
        for next in needed_by.get(node).into_iter().flatten() {
            if let Some(left) = waiting.get_mut(*next)
                && *left != usize::MAX
            {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    queue.push_back(*next);
                }
            }
        }
    }
    if !reached.contains(&true) {
        return check.error(
            "no-start",
            "no step can start: each is started by a route or waits for another; leave one without",
            "steps",
        );
    }
    for ((step, reached), cyclic) in flow.steps.iter().zip(reached).zip(in_needs_cycle) {
        if !reached && !cyclic {
            let why = if step.routed {
                "only steps that never start route to it"
            } else {
                "it needs a step that never starts"
            };
            check.error(
                "unreachable",
                format!("the step `{}` can never start: {why}", step.id),
                &format!("steps/{}", step.id),
            );
        }
    }
}
