//! Decisions that Temporal has no event for, as markers. Their JSON is durable for ever.

use std::sync::Arc;

use reflux_core::RunId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Activation;
use crate::advance::CacheKey;
use crate::graph::StepId;
use crate::redrive::{Kept, Key};

/// What a decider of flows records beside Temporal's events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Mark {
    /// Where an ended visit led.
    Route(Route),
    /// What a `when` gave.
    When(When),
    /// A step that will not run.
    Skip(Skip),
    /// The list of a `for_each`.
    Fanout(Fanout),
    /// A step began to wait for a signal or an approval.
    Wait(WaitFor),
    /// A step failed before anything was called.
    Failed(StepFailed),
    /// A step's output became steps.
    Spawn(Spawn),
    /// Somebody changed the graph.
    Mutation(Mutation),
    /// Somebody set or removed breakpoints.
    Breakpoints(Breakpoints),
    /// Somebody lets the run go on for some starts.
    Stepping(Stepping),
    /// The run pauses before a start.
    Break(Break),
    /// A result was taken over from another run, or given by a person.
    Reuse(Reuse),
}

/// `reflux.route`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    /// The step that ended.
    pub step: StepId,
    /// Its visit.
    pub visit: u32,
    /// Whether it had succeeded.
    pub succeeded: bool,
    /// The steps that start, in order.
    pub to: Vec<StepId>,
}

/// `reflux.when`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The step.
    pub step: StepId,
    /// Its visit.
    pub visit: u32,
    /// What its condition gave.
    pub holds: bool,
}

/// `reflux.skip`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skip {
    /// The step.
    pub step: StepId,
    /// The need whose skip travelled here.
    pub because_of: StepId,
}

/// `reflux.fanout`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fanout {
    /// The step.
    pub step: StepId,
    /// Its visit.
    pub visit: u32,
    /// What it runs over.
    pub items: Vec<Value>,
}

/// `reflux.wait`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WaitFor {
    /// The activation that waits.
    pub activation: String,
    /// The signal it waits for; `None`: an approval.
    pub signal: Option<String>,
    /// What is to be approved.
    pub title: Option<String>,
}

/// `reflux.failed`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepFailed {
    /// The activation that failed.
    pub activation: String,
    /// Its kind, such as `Expression`.
    pub kind: String,
    /// What happened and what to do.
    pub message: String,
}

/// `reflux.spawn`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spawn {
    /// The activation whose output they are.
    pub parent: String,
    /// Steps in the canonical form, with the ids they have in the run.
    pub steps: Vec<Value>,
}

/// `reflux.mutation`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mutation {
    /// The revision of the run's flow from here on; the first mutation makes 1.
    pub revision: u64,
    /// Who changed it.
    #[serde(default)]
    pub author: String,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
    /// The operations as they were given, for people: what counts is below.
    #[serde(default)]
    pub patch: Value,
    /// Steps as they are from here on, in the canonical form.
    pub put: Vec<Value>,
    /// Steps that are gone, and items (`step[17]`) that are not to run.
    pub removed: Vec<String>,
    /// The activation whose failure the run answers with this change of itself; `None` when
    /// somebody asked for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<String>,
}

/// `reflux.breakpoints`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Breakpoints {
    /// All that are set from here on.
    pub set: Vec<StepId>,
}

/// `reflux.stepping`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stepping {
    /// How many starts of steps and items there are before the run pauses.
    pub count: u32,
}

/// `reflux.break`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Break {
    /// The step that would have started.
    pub step: StepId,
    /// Its visit.
    pub visit: u32,
    /// Its item, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub item: Option<u32>,
}

/// `reflux.reuse`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reuse {
    /// The activation that has it.
    pub activation: String,
    /// The result.
    #[serde(default)]
    pub output: Value,
    /// How it failed, if the failure is what is taken over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Origin>,
    /// What it was found by; `None` when a person gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
    /// The exact version of the node, or of the flow, whose result it is: with it the key can be
    /// worked out again. `None` when nothing was called, and in records of before it was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// What it was found by when it is that of any run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CacheKey>,
    /// Whose it is.
    pub kind: ReuseKind,
}

/// The event in which a result came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The run.
    pub run_id: RunId,
    /// Its event.
    pub event: i64,
    /// The activation there.
    pub activation: String,
}

/// Whose a result is that nothing was called for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReuseKind {
    /// That of the run this one is a re-drive of.
    Reuse,
    /// A person's.
    Override,
    /// That of any run which made the same call.
    Cache,
}

impl Reuse {
    pub(crate) fn of(activation: &Activation, key: Key, kept: &Kept, run_id: RunId) -> Self {
        let from = Origin { run_id, event: kept.event, activation: kept.activation.clone() };
        Self {
            activation: activation.to_string(),
            output: kept.output.clone(),
            error: kept.error.clone(),
            from: Some(from),
            key: Some(key),
            version: kept.version.clone(),
            call: None,
            kind: ReuseKind::Reuse,
        }
    }

    pub(crate) fn cached(
        activation: &Activation,
        output: Value,
        from: Origin,
        version: &Arc<str>,
        call: CacheKey,
    ) -> Self {
        Self {
            activation: activation.to_string(),
            output,
            error: None,
            from: Some(from),
            key: None,
            version: Some(version.clone()),
            call: Some(call),
            kind: ReuseKind::Cache,
        }
    }

    pub(crate) fn given(activation: &Activation, output: Value) -> Self {
        Self {
            activation: activation.to_string(),
            output,
            error: None,
            from: None,
            key: None,
            version: None,
            call: None,
            kind: ReuseKind::Override,
        }
    }
}

impl Mark {
    /// The marker's name in the history.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Route(_) => "reflux.route",
            Self::When(_) => "reflux.when",
            Self::Skip(_) => "reflux.skip",
            Self::Fanout(_) => "reflux.fanout",
            Self::Wait(_) => "reflux.wait",
            Self::Failed(_) => "reflux.failed",
            Self::Spawn(_) => "reflux.spawn",
            Self::Mutation(_) => "reflux.mutation",
            Self::Breakpoints(_) => "reflux.breakpoints",
            Self::Stepping(_) => "reflux.stepping",
            Self::Break(_) => "reflux.break",
            Self::Reuse(_) => "reflux.reuse",
        }
    }

    /// Reads a marker of that name; `None` when the name is not one of ours.
    ///
    /// # Errors
    /// The JSON is not what a marker of that name holds.
    pub fn read(name: &str, json: &[u8]) -> Result<Option<Self>, serde_json::Error> {
        Ok(Some(match name {
            "reflux.route" => Self::Route(serde_json::from_slice(json)?),
            "reflux.when" => Self::When(serde_json::from_slice(json)?),
            "reflux.skip" => Self::Skip(serde_json::from_slice(json)?),
            "reflux.fanout" => Self::Fanout(serde_json::from_slice(json)?),
            "reflux.wait" => Self::Wait(serde_json::from_slice(json)?),
            "reflux.failed" => Self::Failed(serde_json::from_slice(json)?),
            "reflux.spawn" => Self::Spawn(serde_json::from_slice(json)?),
            "reflux.mutation" => Self::Mutation(serde_json::from_slice(json)?),
            "reflux.breakpoints" => Self::Breakpoints(serde_json::from_slice(json)?),
            "reflux.stepping" => Self::Stepping(serde_json::from_slice(json)?),
            "reflux.break" => Self::Break(serde_json::from_slice(json)?),
            "reflux.reuse" => Self::Reuse(serde_json::from_slice(json)?),
            _ => return Ok(None),
        }))
    }
}
