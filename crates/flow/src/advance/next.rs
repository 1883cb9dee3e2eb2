//! What a run does next: one look at its agenda.

use std::sync::Arc;
use std::time::Duration;

use reflux_core::{Decision, Retry, ScheduleActivity, StartChild, Timestamp};
use serde_json::Value;

use super::Policies;
use super::reuse::Standing;
use super::scope::Names;
use crate::canonical::node_text;
use crate::duration;
use crate::expr::ExprError;
use crate::graph::{Action, ForEach, NodeRef, Rule, Step, StepId, Wait};
use crate::payload;
use crate::planted::Defect;
use crate::progress::{
    Activation, Break, Fanout, Mark, Phase, Progress, Route, Skip, StepFailed, WaitFor, When,
};
use crate::redrive::Work;
use crate::template::{Rendered, Template};

/// Longest attempt of a node that states no limit of its own.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3600); // builds and transfers take minutes, a hung node must end

/// Most items of one `for_each`.
pub const FAN_OUT_MAX: usize = 15_000; // each costs three events of the 51,200 a history may have

/// Most bytes a rendered input may have.
pub const INPUT_BYTES_MAX: usize = 2 * 1024 * 1024; // Temporal's blob limit

/// Most steps one output may spawn.
pub const SPAWN_MAX: usize = 1_000; // a list to run over is a `for_each`, not a graph

impl Progress {
    /// The decisions that follow from where the run stands; none when it waits.
    /// Each of them takes what it answers off the agenda when its event is observed.
    pub fn next(&self, nodes: &dyn Policies, now: Timestamp) -> Vec<Decision> {
        if self.is_closed() {
            return Vec::new();
        }
        if let Some(timer_id) = self.stale_timer() {
            return vec![Decision::CancelTimer { timer_id: timer_id.clone() }];
        }
        if self.is_ending() && !(self.has_starts() && Defect::FailuresStopNothing.is_planted()) {
            return self.next_of_ending(nodes);
        }
        if let Some(failing) = self.pending_failing() {
            return self.give_to_another(failing);
        }
        if let Some((parent, output)) = self.pending_spawn() {
            return vec![spawn(parent, output)];
        }
        if let Some((at, visit, succeeded)) = self.pending_route() {
            return self
                .step_at(at)
                .map(|step| self.route(step, visit, succeeded))
                .into_iter()
                .collect();
        }
        if let Some((at, need)) = self.pending_skip() {
            return match (self.step_at(at), self.step_at(need)) {
                (Some(step), Some(need)) => {
                    vec![mark(&Mark::Skip(Skip {
                        step: step.id.clone(),
                        because_of: need.id.clone(),
                    }))]
                }
                _ => Vec::new(),
            };
        }
        // A start that waits for another run's call keeps none of the others waiting.
        for step in self.pending_starts() {
            if let Some(stop) = self.stop_before(step, None) {
                return stop;
            }
            let start = self.start_step(step, nodes, now);
            if !start.is_empty() {
                return start;
            }
        }
        for (step, item) in self.pending_items() {
            if let Some(stop) = self.stop_before(step, Some(item)) {
                return stop;
            }
            let activation = self.current(step).at(item);
            let start = match self.given(&activation) {
                Some(given) => vec![given],
                None => self.act(step, &activation, nodes, now),
            };
            if !start.is_empty() {
                return start;
            }
        }
        if self.is_quiet() && !self.has_starts() { self.close() } else { Vec::new() }
    }

    /// A breakpoint before the step, or the end of single-stepping.
    fn stop_before(&self, step: &Step, item: Option<u32>) -> Option<Vec<Decision>> {
        let visit = self.current(step).visit;
        let reason = if self.breaks_before(step, visit, item) {
            format!("breakpoint before step `{}`", step.id)
        } else if self.is_out_of_steps() {
            format!("single-step before step `{}`", step.id)
        } else {
            return None;
        };
        let stop = Break { step: step.id.clone(), visit, item };
        Some(vec![mark(&Mark::Break(stop)), Decision::Pause { reason: reason.into() }])
    }

    fn route(&self, step: &Step, visit: u32, succeeded: bool) -> Decision {
        let rules = match (succeeded, step.on_failure.is_empty()) {
            (true, _) => &step.on_success,
            (false, false) => &step.on_failure,
            (false, true) => &self.flow().on_failure,
        };
        match self.follow(step, rules) {
            Ok(to) => mark(&Mark::Route(Route { step: step.id.clone(), visit, succeeded, to })),
            Err(error) => failed(&Activation::visit(step.id.clone(), visit), "Condition", &error),
        }
    }

    /// Where the rules lead.
    fn follow(&self, step: &Step, rules: &[Rule]) -> Result<Vec<StepId>, ExprError> {
        let mut to = Vec::new();
        for rule in rules {
            let holds = match &rule.condition {
                None => true,
                Some(_) if Defect::RoutesIgnoreConditions.is_planted() => true,
                Some(condition) => {
                    let names = self.names(&step.id);
                    condition.truth(&names.scope(condition.refs(), None))?
                }
            };
            to.extend(if holds { &rule.then } else { &rule.otherwise }.iter().cloned());
        }
        Ok(to)
    }

    fn start_step(&self, step: &Step, nodes: &dyn Policies, now: Timestamp) -> Vec<Decision> {
        let activation = self.current(step);
        if let (Some(when), Some(Phase::Ready)) = (&step.when, self.phase(&step.id)) {
            let names = self.names(&step.id);
            return vec![match when.truth(&names.scope(when.refs(), None)) {
                Ok(holds) => mark(&Mark::When(When {
                    step: step.id.clone(),
                    visit: activation.visit,
                    holds: holds || Defect::WhenAlwaysHolds.is_planted(),
                })),
                Err(error) => failed(&activation, "Condition", &error),
            }];
        }
        if let Some(given) = self.given(&activation) {
            return vec![given];
        }
        match &step.for_each {
            Some(for_each) => vec![self.fan_out_over(step, for_each, &activation)],
            None => self.act(step, &activation, nodes, now),
        }
    }

    fn fan_out_over(&self, step: &Step, for_each: &ForEach, activation: &Activation) -> Decision {
        let rendered = match self.render(&step.id, &for_each.items, None) {
            Ok(rendered) => rendered,
            Err(error) => return failed(activation, "Expression", &error),
        };
        let items = match rendered.value {
            Value::Array(items) => items,
            Value::Object(map) => map
                .into_iter()
                .map(|(key, value)| serde_json::json!({ "key": key, "value": value }))
                .collect(),
            Value::Null => Vec::new(),
            other => {
                let kind = payload::kind_of(&other);
                let message =
                    format!("`for_each` of step `{}` needs a list, found {kind}", step.id);
                return failure(activation, "Type", message);
            }
        };
        if items.len() > FAN_OUT_MAX {
            let message = format!(
                "`for_each` of step `{}` has {} items, over the limit of {FAN_OUT_MAX}; split the list and run a sub-flow for each part",
                step.id,
                items.len()
            );
            return failure(activation, "TooManyItems", message);
        }
        mark(&Mark::Fanout(Fanout { step: step.id.clone(), visit: activation.visit, items }))
    }

    /// Begins one activation: what it does, with its input rendered. Nothing while it waits for
    /// another run's call.
    fn act(
        &self,
        step: &Step,
        activation: &Activation,
        nodes: &dyn Policies,
        now: Timestamp,
    ) -> Vec<Decision> {
        let result = match &step.action {
            Action::Node { node, with } => self.call(step, activation, node, with, nodes),
            Action::Flow { flow, with } => self.call_flow(step, activation, flow, with),
            Action::Wait(wait) => self.wait(step, activation, wait, now),
            // Reached only with a `for_each`: nothing to do, once per item.
            Action::Pass => Ok(vec![failure(
                activation,
                "Invalid",
                format!("step `{}` has `for_each` but nothing to do", step.id),
            )]),
        };
        result.unwrap_or_else(|error| vec![failed(activation, "Expression", &error)])
    }

    fn call(
        &self,
        step: &Step,
        activation: &Activation,
        node: &NodeRef,
        with: &Template,
        nodes: &dyn Policies,
    ) -> Result<Vec<Decision>, ExprError> {
        let rendered = self.render(&step.id, with, activation.item)?;
        Ok(self.schedule(step, activation, node, &rendered, nodes).into_iter().collect())
    }

    /// The call of a node with that input, or what stands for it; `None` while another run makes
    /// the same call and its result will do.
    pub(super) fn schedule(
        &self,
        step: &Step,
        activation: &Activation,
        node: &NodeRef,
        input: &Rendered,
        nodes: &dyn Policies,
    ) -> Option<Decision> {
        let Some(policy) = nodes.policy(node, &input.value) else {
            let message = format!(
                "no node `{}` is registered; start its worker or declare it in nodes/*.yaml, then resume the run",
                node_text(node)
            );
            return Some(failure(activation, "NodeNotFound", message));
        };
        let payloads = payload::of_input(input);
        let work = Work::Node { name: &node.name, version: &policy.version, input: &payloads };
        if let (Some(kept), false) = (self.taken_over(activation, &work), activation.compensates) {
            return Some(kept);
        }
        let cached = match self.cached(step, activation, node, &policy, input, nodes) {
            Standing::Taken(reuse) => return Some(reuse),
            Standing::Held => return None,
            Standing::Called(cached) => cached,
        };
        let others = self.others(step, activation, node, &input.value, nodes);
        let mut header = payload::node_header(&policy.version, &others);
        header.fields.extend(cached);
        let retry = step.retry.as_ref().or(policy.retry.as_ref());
        Some(Decision::ScheduleActivity(Box::new(ScheduleActivity {
            activity_id: activation.to_string().into(),
            activity_type: node.name.as_str().into(),
            task_queue: step.task_queue.as_deref().map_or(policy.task_queue, Arc::from),
            input: payloads,
            header,
            retry: Some(retry.map_or_else(Retry::never, payload::retry)),
            effects: Some(policy.effects),
            start_to_close: Some(step.timeout.or(policy.timeout).unwrap_or(TIMEOUT_DEFAULT)),
            schedule_to_close: step.total_timeout,
            heartbeat: step.heartbeat_timeout.or(policy.heartbeat),
            ..ScheduleActivity::default()
        })))
    }

    fn call_flow(
        &self,
        step: &Step,
        activation: &Activation,
        flow: &str,
        with: &Template,
    ) -> Result<Vec<Decision>, ExprError> {
        let rendered = self.render(&step.id, with, activation.item)?;
        let Some(definition) = self.bundle().flows.get(flow) else {
            return Ok(vec![failure(
                activation,
                "FlowNotFound",
                format!("flow `{flow}` is not part of this run's definition"),
            )]);
        };
        let given = match rendered.value {
            Value::Null => Value::Object(serde_json::Map::new()),
            value => value,
        };
        let input = match crate::input::check_input(definition, given) {
            Ok(input) => input,
            Err(problems) => {
                let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
                let message = format!("input of flow `{flow}`: {}", problems.join("; "));
                return Ok(vec![failure(activation, "BadInput", message)]);
            }
        };
        let input = payload::of_value(&input);
        let version = self.flow_version(flow);
        let work = Work::Flow { name: flow, version: &version, input: &input };
        if let Some(kept) = self.taken_over(activation, &work) {
            return Ok(vec![kept]);
        }
        Ok(vec![Decision::StartChild(Box::new(StartChild {
            workflow_id: self.child_workflow_id(activation),
            workflow_type: flow.into(),
            input,
            header: self.child_header(activation),
            run_timeout: step.timeout,
            execution_timeout: step.total_timeout,
            ..StartChild::default()
        }))])
    }

    fn wait(
        &self,
        step: &Step,
        activation: &Activation,
        wait: &Wait,
        now: Timestamp,
    ) -> Result<Vec<Decision>, ExprError> {
        let timer = |duration| {
            let duration = self.left_of(activation, duration);
            Decision::StartTimer { timer_id: activation.to_string().into(), duration }
        };
        Ok(match wait {
            Wait::Duration(template) | Wait::Until(template) => {
                let value = self.render(&step.id, template, activation.item)?.value;
                let until = matches!(wait, Wait::Until(_));
                if let Some(kept) =
                    self.taken_over(activation, &Work::Timer { until, value: &value })
                {
                    return Ok(vec![kept]);
                }
                let length = match until {
                    false => duration::duration_of(&value),
                    // A moment that has passed is a timer of no length.
                    true => duration::moment_of(&value).map(|it| Timestamp(it).since(now)),
                };
                match length {
                    Ok(length) => vec![timer(length)],
                    Err(problem) => vec![failure(activation, "Type", problem.to_string())],
                }
            }
            Wait::Signal { name, timeout } => {
                let signal = Some(name.clone());
                self.begin_waiting(activation, signal, None, timeout.map(timer))
            }
            Wait::Approval { title, timeout } => {
                let title = self.render(&step.id, title, activation.item)?.value;
                let title = match title {
                    Value::String(text) => Some(text),
                    Value::Null => None,
                    other => Some(other.to_string()),
                };
                self.begin_waiting(activation, None, title, timeout.map(timer))
            }
        })
    }

    fn begin_waiting(
        &self,
        activation: &Activation,
        signal: Option<String>,
        title: Option<String>,
        timer: Option<Decision>,
    ) -> Vec<Decision> {
        let work = Work::Wait { name: signal.as_deref(), title: title.as_deref() };
        if let Some(kept) = self.taken_over(activation, &work) {
            return vec![kept];
        }
        let wait = WaitFor { activation: activation.to_string(), signal, title };
        timer.into_iter().chain([mark(&Mark::Wait(wait))]).collect()
    }

    /// A template with what the step can see.
    pub(crate) fn render(
        &self,
        step: &StepId,
        template: &Template,
        item: Option<u32>,
    ) -> Result<Rendered, ExprError> {
        let names: Names<'_> = self.names(step);
        template.render(&names.scope(template.refs(), item), INPUT_BYTES_MAX)
    }
}

fn spawn(parent: &str, output: &Value) -> Decision {
    let steps = output.get("steps").and_then(Value::as_array).cloned().unwrap_or_default();
    let activation =
        Activation::parse(parent).unwrap_or_else(|| Activation::visit(StepId::new(parent), 1));
    if steps.len() > SPAWN_MAX {
        let message = format!("{} steps were spawned, over the limit of {SPAWN_MAX}", steps.len());
        return failure(&activation, "Spawn", message);
    }
    match crate::progress::spawned_steps(&steps) {
        Ok(_) => mark(&Mark::Spawn(crate::progress::Spawn { parent: parent.to_owned(), steps })),
        Err(problems) => {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            failure(
                &activation,
                "Spawn",
                format!("the spawned steps are not valid: {}", problems.join("; ")),
            )
        }
    }
}

/// Records a decision as a marker.
pub(crate) fn mark(mark: &Mark) -> Decision {
    Decision::RecordMarker {
        name: mark.name().into(),
        details: payload::marker(mark),
        failure: None,
    }
}

/// The step fails before anything was called.
pub(super) fn failure(activation: &Activation, kind: &str, message: String) -> Decision {
    mark(&Mark::Failed(StepFailed {
        activation: activation.to_string(),
        kind: kind.to_owned(),
        message,
    }))
}

fn failed(activation: &Activation, kind: &str, error: &ExprError) -> Decision {
    failure(activation, kind, error.to_string())
}
