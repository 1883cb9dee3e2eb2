//! The one internal graph that every syntax becomes.
//!
//! ```text
//! YAML / JSON steps ─┐
//! outcome-routed     ├─→ Flow { parameters, steps, output } ─→ Progress
//! canvas             ┘
//! ```
//!
//! A graph knows nothing of runs: no state, no results, no time.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::expr::Expr;
use crate::template::Template;
use crate::trigger::Trigger;

/// Name of a step: `[A-Za-z0-9_-]{1,200}`; a spawned step is `parent/step`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StepId(std::sync::Arc<str>);

impl StepId {
    /// Takes the text as it is; the parsers have checked it.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().into())
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for StepId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Flows that travel together: an entry and every sub-flow it can reach, by name.
/// A run pins the digest of its bundle, so recovery needs no catalogue.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Bundle {
    /// Flows by name.
    pub flows: BTreeMap<String, std::sync::Arc<Flow>>,
}

/// One flow definition.
#[derive(Debug, Clone, PartialEq)]
pub struct Flow {
    /// Name, 1 to 200 characters; becomes the workflow type of its runs.
    pub name: String,
    /// Version as its author wrote it; `""` when absent.
    pub version: String,
    /// For people; `""` when absent.
    pub description: String,
    /// For people; `""` when absent (canvas: `category`).
    pub category: String,
    /// Declared inputs, in order of declaration.
    pub parameters: Vec<Parameter>,
    /// Steps in order of declaration.
    pub steps: Vec<Step>,
    /// Where each step stands in `steps`.
    pub index: BTreeMap<StepId, usize>,
    /// The run's output; without it, the outputs of the steps that nothing follows, by step id.
    pub output: Option<Template>,
    /// Where a failure goes that its step does not route itself.
    pub on_failure: Vec<Rule>,
    /// What starts runs besides people.
    pub triggers: Vec<Trigger>,
}

impl Flow {
    /// The step of that name.
    pub fn step(&self, id: &str) -> Option<&Step> {
        self.index.get(id).and_then(|at| self.steps.get(*at))
    }
}

/// A declared input of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameter {
    /// Name, `[A-Za-z_][A-Za-z0-9_-]*`.
    pub name: String,
    /// What is accepted.
    pub kind: ParameterKind,
    /// Whether a start without it is refused.
    pub required: bool,
    /// Taken when the start does not give it.
    pub default: Option<Value>,
    /// For people.
    pub description: String,
}

/// What a parameter accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParameterKind {
    /// Text.
    String,
    /// Any JSON number.
    Number,
    /// A JSON number without a fraction.
    Integer,
    /// `true` or `false`.
    Boolean,
    /// A JSON array.
    Array,
    /// A JSON object.
    Object,
    /// Anything.
    Any,
}

impl ParameterKind {
    /// Whether a value of another kind can be one of this.
    pub fn takes(self, other: Self) -> bool {
        self == other
            || self == Self::Any
            || other == Self::Any
            || (self == Self::Number && other == Self::Integer)
    }
}

/// One step of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// Its name within the flow.
    pub id: StepId,
    /// What it does.
    pub action: Action,
    /// Data edges: the steps that must have ended before it starts, stated or inferred from
    /// references. Empty for a routed step.
    pub needs: Vec<StepId>,
    /// Whether all of its needs must have succeeded, or any.
    pub join: Join,
    /// Whether a route (or the flow's `on_failure`) can lead here. Derived.
    pub routed: bool,
    /// Evaluated on activation; `false` skips the step.
    pub when: Option<Expr>,
    /// Runs the action once for every item.
    pub for_each: Option<ForEach>,
    /// Control edges taken on success.
    pub on_success: Vec<Rule>,
    /// Control edges taken on failure.
    pub on_failure: Vec<Rule>,
    /// How often a routed step may start. At least 1.
    pub max_visits: u32,
    /// Overrides the node's retry policy.
    pub retry: Option<Retry>,
    /// Overrides the node's time-out of one attempt (start to close).
    pub timeout: Option<Duration>,
    /// Limit over all attempts (schedule to close).
    pub total_timeout: Option<Duration>,
    /// Longest silence of a started attempt.
    pub heartbeat_timeout: Option<Duration>,
    /// Task queue whose workers serve the node; `None`: where the node is registered.
    pub task_queue: Option<String>,
    /// Which nodes take the place of the step's when that has failed for good.
    pub alternatives: Option<Alternatives>,
    /// What takes the step back when the run fails or is cancelled after it succeeded.
    pub compensate: Option<Compensation>,
    /// Declared outputs.
    pub outputs: Vec<OutputField>,
    /// Whether the node's output may hold `steps` to be spawned under this one.
    pub spawns: bool,
    /// Whether a result that another run had for the same call is taken instead of calling.
    pub cache: Option<Caching>,
}

/// Which results of other runs a step takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caching {
    /// How old they may be; `None`: as old as they are kept.
    pub ttl: Option<Duration>,
    /// Whose they may be.
    pub scope: CacheScope,
}

/// Whose results a step takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheScope {
    /// Those of runs of the same flow.
    Flow,
    /// Those of every run of the namespace.
    Namespace,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Calls a node.
    Node {
        /// Which node.
        node: NodeRef,
        /// Its input.
        with: Template,
    },
    /// Runs a flow of the same bundle as a child.
    Flow {
        /// Name of the flow.
        flow: String,
        /// Its input.
        with: Template,
    },
    /// Waits.
    Wait(Wait),
    /// Nothing: a place where branches split or meet (`start`, `end`, `parallel`).
    Pass,
}

/// A node by name, with the version if the author pinned one (`name@1.2.3`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeRef {
    /// `http.request`; in the outcome-routed syntax `module.action`.
    pub name: String,
    /// Exact version, or `None` for the newest.
    pub version: Option<String>,
}

/// What a waiting step waits for.
#[derive(Debug, Clone, PartialEq)]
pub enum Wait {
    /// For a length of time: a template giving seconds or text such as `1h30m`.
    Duration(Template),
    /// Until a moment: a template giving RFC 3339 text or Unix seconds.
    Until(Template),
    /// For a signal; its payload is the step's output.
    Signal {
        /// Name of the signal.
        name: String,
        /// Fails the step with `Timeout` when nothing came.
        timeout: Option<Duration>,
    },
    /// For a person's decision: output `{"approved": bool, "by": text, "comment": text}`;
    /// a refusal fails the step with `Rejected`.
    Approval {
        /// What is to be approved, for people.
        title: Template,
        /// Fails the step with `Timeout` when nobody decided.
        timeout: Option<Duration>,
    },
}

/// When a step with several needs starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Join {
    /// When all have succeeded; one skipped need skips the step.
    All,
    /// When all have ended and at least one succeeded.
    Any,
}

/// Fan-out over a list.
#[derive(Debug, Clone, PartialEq)]
pub struct ForEach {
    /// Gives the list; an object gives its `{key, value}` pairs.
    pub items: Template,
    /// How many items run at once. At least 1.
    pub concurrency: u32,
}

/// Control edges with one condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// `None` is always true.
    pub condition: Option<Expr>,
    /// Started when the condition holds.
    pub then: Vec<StepId>,
    /// Started when it does not.
    pub otherwise: Vec<StepId>,
}

/// When a failed attempt is tried again.
#[derive(Debug, Clone, PartialEq)]
pub enum Retry {
    /// One wait before each further attempt: `[1s, 3s, 10s]` makes four attempts.
    Intervals(Vec<Duration>),
    /// Waits that grow.
    Exponential {
        /// Attempts in all; 0 is without a bound.
        attempts: u32,
        /// First wait.
        initial: Duration,
        /// Factor from one wait to the next; at least 1.
        coefficient: f64,
        /// Longest wait.
        maximum: Duration,
    },
}

/// Which nodes take the place of a step's when that has failed for good, each of them once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Alternatives {
    /// Those that its manifest names, then those whose manifests name it.
    Auto,
    /// These, in order.
    Listed(Vec<NodeRef>),
}

/// The call that takes a step back.
#[derive(Debug, Clone, PartialEq)]
pub struct Compensation {
    /// Which node.
    pub node: NodeRef,
    /// Its input.
    pub with: Template,
}

/// A declared output of a step.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputField {
    /// Name under `steps.x.outputs`.
    pub name: String,
    /// `string`, `number`, `boolean`, `object`, `array` or `any`, as written.
    pub kind: String,
}
