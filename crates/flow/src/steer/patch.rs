//! A change of a flow, operation by operation, on its canonical document. Knows nothing of runs.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{Refused, did_you_mean};
use crate::canonical::step as document_of;
use crate::diagnostic::{Diagnostic, Severity};
use crate::document::Doc;
use crate::graph::{Action, Bundle, Flow, StepId};
use crate::order::cycles;
use crate::progress::Activation;
use crate::span::Spans;
use crate::syntax::link::control_edges;
use crate::syntax::parse_value;
use crate::validate::{AnyNodes, validate, validate_calls};

/// Most operations of one patch: a larger change is another flow.
pub const OPS_MAX: usize = 1_000;

/// A change of a flow.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Patch {
    /// The revision of the run's flow that it was written for; `None`: whichever there is. A run
    /// begins with 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Who changes it. Whoever takes the patch in says who that is.
    #[serde(skip)]
    pub author: String,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The operations, in order.
    pub ops: Vec<Op>,
}

/// One operation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Op {
    /// A new step, in the words of the step syntax; `after` names steps that it needs besides.
    Add(Value),
    /// A step, or one item of a `for_each` as `step[17]`. What needs the step needs what it needed.
    Remove(String),
    /// A step as it is to be, with the id of the one it replaces.
    Replace(Value),
    /// One value within a step.
    Set(Set),
    /// Where a step leads.
    Reroute(Reroute),
    /// A step, whose node is replaced by the next of its alternatives.
    Alternative(String),
}

/// One value within a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Set {
    /// Which step.
    pub step: String,
    /// Where in its canonical document, a JSON pointer such as `/with/url`.
    pub path: String,
    /// The value; null removes what is there.
    pub value: Value,
}

/// Where a step leads; in place of all the routes that it had for that outcome.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reroute {
    /// Which step.
    pub step: String,
    /// After which outcome.
    pub on: On,
    /// The steps that start; none: it leads nowhere.
    pub to: Vec<String>,
    /// Only when this holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
}

/// An outcome that routes are taken on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum On {
    /// The step succeeded.
    Success,
    /// The step failed for good.
    Failure,
}

impl Patch {
    /// Reads a patch, YAML or JSON.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        let doc = Doc::parse(text).map_err(|problems| refuse(&problems))?;
        serde_json::from_value(doc.to_value()).map_err(|error| {
            Refused(format!(
                "the patch cannot be read: {error}; it is a map such as {{revision: 0, reason: \"...\", ops: [{{remove: step}}]}}"
            ))
        })
    }

    /// Whether a text is a patch rather than a flow: it has `ops` and no steps.
    pub fn is_one(text: &str) -> bool {
        let has = |doc: &Doc, key| doc.get(key).is_some();
        Doc::parse(text)
            .is_ok_and(|doc| has(&doc, "ops") && !has(&doc, "steps") && !has(&doc, "nodes"))
    }

    /// A definition with the operations done on one of its flows, which has that revision.
    ///
    /// # Errors
    /// [`Refused`]: as [`Patch::apply`]; it is for another revision, or for a run as it stands.
    pub fn apply_to(&self, bundle: &Bundle, flow: &str, revision: u64) -> Result<Bundle, Refused> {
        if let Some(expected) = self.revision.filter(|expected| *expected != revision) {
            return Err(Refused(format!(
                "the definition is at revision {revision}, not {expected}; look at what has changed and give that revision"
            )));
        }
        if let Some((step, item)) = self.items().next() {
            return Err(Refused(format!(
                "`{step}[{item}]` is an item of a running step, which a definition does not have; remove the operation"
            )));
        }
        let Some(was) = bundle.flows.get(flow) else {
            return Err(Refused(format!("the definition has no flow `{flow}`")));
        };
        let changed = self.apply(was)?;
        check_flows(&changed, bundle)?;
        let mut bundle = bundle.clone();
        bundle.flows.insert(flow.to_owned(), Arc::new(changed));
        Ok(bundle)
    }

    /// The flow with the operations done; steps that were spawned are not part of it.
    ///
    /// # Errors
    /// [`Refused`]: an operation that cannot be done, or what is wrong with the flow it gives.
    pub fn apply(&self, flow: &Flow) -> Result<Flow, Refused> {
        if self.ops.is_empty() {
            return Err(Refused("the patch has no `ops`; say what is to change".into()));
        }
        if self.ops.len() > OPS_MAX {
            return Err(Refused(format!(
                "the patch has {} operations, at most {OPS_MAX} are allowed; deploy another flow",
                self.ops.len()
            )));
        }
        let base = base(flow);
        let mut document = editable(&base);
        for (at, op) in self.ops.iter().enumerate() {
            op.apply(&mut document).map_err(|Refused(why)| {
                Refused(format!("operation {} (`{}`): {why}", at + 1, op.name()))
            })?;
        }
        let changed = parse_value(&document).map_err(|problems| refuse(&problems))?.flow;
        let mut problems = validate(&changed, &AnyNodes, &Spans::default());
        problems.retain(|problem| problem.severity == Severity::Error);
        if !problems.is_empty() {
            return Err(refuse(&problems));
        }
        self.starts_nothing_unasked(&base, &changed)?;
        Ok(changed)
    }

    /// The items of `for_each` steps that it removes.
    pub(crate) fn items(&self) -> impl Iterator<Item = (StepId, u32)> {
        self.ops.iter().filter_map(|op| match op {
            Op::Remove(text) => item_of(text),
            Op::Add(_) | Op::Replace(_) | Op::Set(_) | Op::Reroute(_) | Op::Alternative(_) => None,
        })
    }

    /// A step that no route leads to any more would start at once: nobody asked for that.
    fn starts_nothing_unasked(&self, base: &Flow, changed: &Flow) -> Result<(), Refused> {
        let named: BTreeSet<&str> = self.ops.iter().filter_map(Op::defines).collect();
        for step in &changed.steps {
            let was_routed = base.step(step.id.as_str()).is_some_and(|was| was.routed);
            let is_root = !step.routed && step.needs.is_empty();
            if was_routed && is_root && !named.contains(step.id.as_str()) {
                return Err(Refused(format!(
                    "nothing leads to step `{}` any more, so it would start at once; remove it too, or route to it",
                    step.id
                )));
            }
        }
        Ok(())
    }
}

impl Op {
    fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::Remove(_) => "remove",
            Self::Replace(_) => "replace",
            Self::Set(_) => "set",
            Self::Reroute(_) => "reroute",
            Self::Alternative(_) => "alternative",
        }
    }

    /// The step whose whole definition it gives.
    fn defines(&self) -> Option<&str> {
        match self {
            Self::Add(step) | Self::Replace(step) => step.get("id").and_then(Value::as_str),
            Self::Remove(_) | Self::Set(_) | Self::Reroute(_) | Self::Alternative(_) => None,
        }
    }

    fn apply(&self, document: &mut Value) -> Result<(), Refused> {
        let steps = document.get_mut("steps").and_then(Value::as_array_mut);
        let Some(steps) = steps else { return Err(Refused("the flow has no steps".into())) };
        match self {
            Self::Add(step) => add(steps, step),
            Self::Remove(text) => match item_of(text) {
                Some((step, _)) => place(steps, step.as_str()).map(drop),
                None => remove(steps, text),
            },
            Self::Replace(step) => {
                let at = place(steps, id_of(step)?)?;
                if let Some(place) = steps.get_mut(at) {
                    place.clone_from(step);
                }
                Ok(())
            }
            Self::Set(set) => {
                let at = place(steps, &set.step)?;
                steps.get_mut(at).map_or(Ok(()), |step| put(step, &set.path, &set.value))
            }
            Self::Reroute(reroute) => {
                let at = place(steps, &reroute.step)?;
                if let Some(step) = steps.get_mut(at).and_then(Value::as_object_mut) {
                    lead(step, reroute);
                }
                Ok(())
            }
            Self::Alternative(step) => Err(Refused(format!(
                "only a running flow has nodes to choose from; name the node: {{set: {{step: {step}, path: /node, value: NODE}}}}"
            ))),
        }
    }
}

fn add(steps: &mut Vec<Value>, step: &Value) -> Result<(), Refused> {
    let id = id_of(step)?;
    if place(steps, id).is_ok() {
        return Err(Refused(format!("the step `{id}` is there already; use `replace`")));
    }
    let mut step = step.clone();
    let after = step.as_object_mut().and_then(|step| step.remove("after"));
    for name in names(after.as_ref()) {
        place(steps, &name)?;
        let mut needs = names(step.get("needs"));
        if !needs.contains(&name) {
            needs.push(name);
        }
        if let Some(step) = step.as_object_mut() {
            step.insert("needs".into(), json!(needs));
        }
    }
    steps.push(step);
    Ok(())
}

/// Takes a step out; what needed it needs what it needed.
fn remove(steps: &mut Vec<Value>, id: &str) -> Result<(), Refused> {
    let at = place(steps, id)?;
    let needed = names(steps.remove(at).get("needs"));
    for step in steps {
        let mut needs = names(step.get("needs"));
        let Some(at) = needs.iter().position(|need| need == id) else { continue };
        needs.remove(at);
        let missing: Vec<String> =
            needed.iter().filter(|need| !needs.contains(need)).cloned().collect();
        needs.extend(missing);
        if let Some(step) = step.as_object_mut() {
            step.insert("needs".into(), json!(needs));
        }
    }
    Ok(())
}

/// Puts a value where a JSON pointer leads; maps on the way are made.
fn put(step: &mut Value, path: &str, value: &Value) -> Result<(), Refused> {
    let Some(rest) = path.strip_prefix('/').filter(|rest| !rest.is_empty()) else {
        return Err(Refused(format!(
            "`{path}` is no path; write one such as `/with/url` or `/timeout`"
        )));
    };
    let mut keys: Vec<String> =
        rest.split('/').map(|key| key.replace("~1", "/").replace("~0", "~")).collect();
    if keys.first().is_some_and(|key| key == "id") {
        return Err(Refused("a step keeps its id; remove it and add another".into()));
    }
    let last = keys.pop().unwrap_or_default();
    let mut at = step;
    for key in &keys {
        let missing = || Refused(format!("`{path}` leads nowhere: there is no `{key}`"));
        at = match at {
            Value::Object(map) => {
                let place = map.entry(key.as_str()).or_insert(Value::Null);
                if place.is_null() {
                    *place = Value::Object(Map::new());
                }
                place
            }
            Value::Array(list) => {
                key.parse().ok().and_then(|n: usize| list.get_mut(n)).ok_or_else(missing)?
            }
            _ => return Err(missing()),
        };
    }
    match at {
        Value::Object(map) if value.is_null() => {
            map.remove(&last);
        }
        Value::Object(map) => {
            map.insert(last, value.clone());
        }
        Value::Array(list) if last == "-" => list.push(value.clone()),
        Value::Array(list) => match last.parse().ok().filter(|n| *n < list.len()) {
            Some(n) if value.is_null() => {
                list.remove(n);
            }
            Some(n) => {
                if let Some(place) = list.get_mut(n) {
                    place.clone_from(value);
                }
            }
            None => return Err(Refused(format!("`{path}` leads past the end of a list"))),
        },
        _ => return Err(Refused(format!("`{path}` leads into a value that has no parts"))),
    }
    Ok(())
}

fn lead(step: &mut Map<String, Value>, reroute: &Reroute) {
    let outcomes = [
        (On::Success, "success", ["on_success", "onSuccess"]),
        (On::Failure, "failure", ["on_failure", "onFailure"]),
    ];
    let mut routes = match step.remove("on") {
        Some(Value::Object(on)) => on,
        Some(_) | None => Map::new(),
    };
    for (on, name, others) in outcomes {
        for other in others {
            if let Some(rules) = step.remove(other) {
                routes.insert(name.into(), rules);
            }
        }
        if on == reroute.on {
            let mut rule = Map::from_iter([("then".to_owned(), json!(reroute.to))]);
            if let Some(condition) = &reroute.condition {
                rule.insert("condition".into(), json!(condition));
            }
            let rules = if reroute.to.is_empty() { json!([]) } else { json!([rule]) };
            routes.insert(name.into(), rules);
        }
    }
    step.insert("on".into(), Value::Object(routes));
}

fn id_of(step: &Value) -> Result<&str, Refused> {
    step.get("id").and_then(Value::as_str).ok_or_else(|| Refused("a step needs an `id`".into()))
}

fn place(steps: &[Value], id: &str) -> Result<usize, Refused> {
    let is_it = |step: &Value| step.get("id").and_then(Value::as_str) == Some(id);
    steps.iter().position(is_it).ok_or_else(|| {
        if id.contains('/') {
            return Refused(format!("step `{id}` was spawned; change the step that spawned it"));
        }
        let known = steps.iter().filter_map(|step| step.get("id")?.as_str());
        Refused(format!("unknown step `{}`{}", id.escape_debug(), did_you_mean(id, known)))
    })
}

/// One name or a list of them.
fn names(value: Option<&Value>) -> Vec<String> {
    match value {
        Some(Value::String(name)) => vec![name.clone()],
        Some(Value::Array(list)) => {
            list.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        _ => Vec::new(),
    }
}

/// The step and the number of an item such as `step[17]`.
pub(crate) fn item_of(text: &str) -> Option<(StepId, u32)> {
    let Activation { step, item, .. } = Activation::parse(text)?;
    Some((step, item?))
}

/// The flow without the steps that were spawned.
pub(crate) fn base(flow: &Flow) -> Flow {
    let mut base = flow.clone();
    base.steps.retain(|step| !step.id.as_str().contains('/'));
    base.index = base.steps.iter().enumerate().map(|(at, step)| (step.id.clone(), at)).collect();
    base
}

/// The canonical document without the bounds that follow from the graph: they follow anew from the
/// changed one, and a loop that it has more is not taken for bounded.
fn editable(base: &Flow) -> Value {
    let mut document = base.to_canonical();
    let looping: BTreeSet<usize> = cycles(&control_edges(base)).into_iter().flatten().collect();
    let is_free = |at: usize| !looping.contains(&at);
    let mut bare = document.clone();
    unbind(&mut bare, &is_free);
    let Ok(derived) = parse_value(&bare) else { return document };
    let follows: BTreeMap<usize, bool> = base
        .steps
        .iter()
        .enumerate()
        .map(|(at, step)| {
            let bound = derived.flow.step(step.id.as_str()).map(|step| step.max_visits);
            (at, bound == Some(step.max_visits))
        })
        .collect();
    unbind(&mut document, &|at| is_free(at) && follows.get(&at).copied().unwrap_or(false));
    document
}

fn unbind(document: &mut Value, which: &dyn Fn(usize) -> bool) {
    let steps = document.get_mut("steps").and_then(Value::as_array_mut).into_iter().flatten();
    for (at, step) in steps.enumerate() {
        if let Some(step) = step.as_object_mut().filter(|_| which(at)) {
            step.remove("max_visits");
        }
    }
}

fn refuse(problems: &[Diagnostic]) -> Refused {
    let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
    Refused(format!("the change gives no valid flow: {}", problems.join("; ")))
}

/// What differs from one flow to the other: canonical documents of new and changed steps, and the
/// ids of those that are gone.
pub(crate) fn difference(base: &Flow, changed: &Flow) -> (Vec<Value>, Vec<StepId>) {
    let gone = base.steps.iter().filter(|step| changed.step(step.id.as_str()).is_none());
    let put = changed.steps.iter().filter_map(|step| {
        // Documents, not steps: what was read from other words may mean the same.
        let document = document_of(step);
        let was = base.step(step.id.as_str()).map(document_of);
        (was.as_ref() != Some(&document)).then_some(document)
    });
    (put.collect(), gone.map(|step| step.id.clone()).collect())
}

/// Whether the sub-flows that a flow calls are part of its definition, and take what they are given.
pub(super) fn check_flows(flow: &Flow, bundle: &Bundle) -> Result<(), Refused> {
    for step in &flow.steps {
        if let Action::Flow { flow, .. } = &step.action
            && !bundle.flows.contains_key(flow)
        {
            let meant = did_you_mean(flow, bundle.flows.keys().map(String::as_str));
            return Err(Refused(format!(
                "flow `{flow}` is not part of this run's definition{meant}"
            )));
        }
    }
    let calls = validate_calls(flow, bundle, &Spans::default());
    match calls.iter().find(|problem| problem.severity == Severity::Error) {
        Some(problem) => Err(Refused(problem.to_string())),
        None => Ok(()),
    }
}

/// A flow with the steps of a mutation put in and others taken out, and the spawned steps it had.
///
/// # Errors
/// The documents give no flow.
pub(crate) fn replaced(
    flow: &Flow,
    put: &[Value],
    gone: &dyn Fn(&StepId) -> bool,
) -> Result<Flow, Vec<Diagnostic>> {
    let mut document = base(flow).to_canonical();
    let id = |step: &Value| StepId::new(step.get("id").and_then(Value::as_str).unwrap_or_default());
    let mut left: BTreeMap<StepId, &Value> = put.iter().map(|step| (id(step), step)).collect();
    if let Some(steps) = document.get_mut("steps").and_then(Value::as_array_mut) {
        steps.retain(|step| !gone(&id(step)));
        for step in steps.iter_mut() {
            if let Some(new) = left.remove(&id(step)) {
                *step = new.clone();
            }
        }
        steps.extend(put.iter().filter(|step| left.contains_key(&id(step))).cloned());
    }
    let mut changed = parse_value(&document)?.flow;
    let spawned =
        flow.steps.iter().filter(|step| step.id.as_str().contains('/') && !gone(&step.id));
    for step in spawned {
        changed.index.insert(step.id.clone(), changed.steps.len());
        changed.steps.push(step.clone());
    }
    Ok(changed)
}
