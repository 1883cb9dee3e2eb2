//! What happened in a run, why, and what it waits for: a fold over its items. Pure.
//!
//! ```text
//! items ─→ Telling ─→ Story { steps: [{ visits: [{ attempts }] }], waits_for } ─→ tree, JSON
//! ```

mod fold;
mod glance;
mod render;
#[cfg(test)]
mod tests;
mod waits;

use std::collections::BTreeMap;

use reflux_core::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::Value;

pub use fold::Telling;
pub use glance::Glance;
pub use render::{Style, render};

use crate::clock;

/// What happened in a run. Its JSON is what `show --json` prints: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Story {
    /// The workflow id.
    pub workflow_id: String,
    /// The run.
    pub run_id: String,
    /// Name of the flow.
    pub flow: String,
    /// `running`, `completed`, `failed`…
    pub status: String,
    /// Whether a failure was handled on the way to a result.
    pub handled_failure: bool,
    /// When it began.
    #[serde(serialize_with = "moment")]
    pub started: Timestamp,
    /// When it closed.
    #[serde(serialize_with = "optional_moment")]
    pub closed: Option<Timestamp>,
    /// Why it is paused.
    pub paused: Option<String>,
    /// Whether it was asked to end.
    pub cancel_requested: bool,
    /// What it was started with.
    pub input: Value,
    /// What it gave.
    pub output: Option<Value>,
    /// Why it failed, or which failure was handled.
    pub error: Option<Value>,
    /// Its steps, in the order of the definition.
    pub steps: Vec<StepStory>,
    /// What it waits for; empty when it is closed.
    pub waits_for: Vec<WaitsFor>,
    /// How often its graph was changed since it began: what a patch for it names.
    pub revision: u64,
    /// What it is a re-drive of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redriven_from: Option<RedrivenFrom>,
}

/// Which run a run was made of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RedrivenFrom {
    /// The base.
    pub run_id: String,
    /// Its workflow id.
    pub workflow_id: String,
    /// How many re-drives lie behind the run.
    pub epoch: u32,
    /// Who wanted it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// What was to run again, in words.
    pub scope: String,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepStory {
    /// Its id.
    pub id: String,
    /// What it calls.
    pub node: Option<String>,
    /// Where it stands.
    pub status: StepStatus,
    /// Why it did not run.
    pub reason: Option<String>,
    /// Each time it was started, or each item of its list.
    pub visits: Vec<Visit>,
    /// Items done and items in all, of a `for_each`.
    pub items: Option<(usize, usize)>,
}

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It may still start.
    Pending,
    /// A node is at work.
    Running,
    /// It waits for something outside.
    Waiting,
    /// It has an output.
    Succeeded,
    /// It has an error.
    Failed,
    /// Its condition did not hold, or a step it needs was skipped.
    Skipped,
    /// The run ended before it could start.
    Unreached,
}

/// One execution of a step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Visit {
    /// `step`, `step#2`, `step[3]`.
    pub activation: String,
    /// Its item of a `for_each`.
    pub item: Option<u32>,
    /// Whether the step is taken back.
    pub compensates: bool,
    /// When it was scheduled.
    #[serde(serialize_with = "moment")]
    pub started: Timestamp,
    /// When it ended.
    #[serde(serialize_with = "optional_moment")]
    pub ended: Option<Timestamp>,
    /// Its input, secrets as names.
    pub input: Option<Value>,
    /// What it gave.
    pub output: Option<Value>,
    /// Why it failed.
    pub error: Option<Value>,
    /// The attempts at it.
    pub attempts: Vec<Attempt>,
    /// What it waits, or waited, for.
    pub wait: Option<Wait>,
    /// The steps that its end led to; `None` when no route was evaluated.
    pub led_to: Option<Vec<String>>,
    /// Whose result it is when nothing was called: `run RUN, event 7`, or `a person`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// The event that scheduled its node.
    #[serde(skip)]
    pub scheduled: Option<i64>,
}

/// One attempt.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// Who made it.
    pub worker: String,
    /// When it began.
    #[serde(serialize_with = "moment")]
    pub started: Timestamp,
    /// When it ended.
    #[serde(serialize_with = "optional_moment")]
    pub ended: Option<Timestamp>,
    /// `completed`, `failed`, `timed_out`, `canceled`, `worker_lost`; `None` while it runs.
    pub outcome: Option<&'static str>,
    /// Why it failed.
    pub error: Option<Value>,
    /// When the next one is due.
    #[serde(serialize_with = "optional_moment")]
    pub next_attempt: Option<Timestamp>,
    /// The tail of its log.
    pub logs: Vec<Line>,
    /// Lines that were dropped in front of the tail.
    pub logs_dropped: u64,
    /// What it measured.
    pub metrics: std::collections::BTreeMap<String, f64>,
    /// Tokens read and written.
    pub tokens: (u64, u64),
    /// What it cost.
    pub cost_usd: f64,
}

/// One line of a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// When it was written.
    #[serde(serialize_with = "moment")]
    pub time: Timestamp,
    /// `debug`, `info`, `warn`, `error`.
    pub level: String,
    /// The text.
    pub text: String,
}

/// What a waiting step waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "for", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Wait {
    Timer {
        #[serde(serialize_with = "moment")]
        due: Timestamp,
    },
    Signal {
        name: String,
    },
    Approval {
        title: Option<String>,
    },
    SubFlow {
        flow: String,
        workflow_id: String,
    },
}

/// What an open run waits for, and what a person can do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WaitsFor {
    /// Which execution of which step; `None` for the run as a whole.
    pub activation: Option<String>,
    /// `approval`, `signal`, `timer`, `retry`, `node`, `limit`, `sub_flow`, `resolution`, `resume`.
    pub kind: &'static str,
    /// In words.
    pub text: String,
    /// The command that answers it.
    pub command: Option<String>,
    /// Node and queue of an attempt that waits to begin, as limits name them.
    #[serde(skip)]
    pub on: Vec<String>,
}

impl Story {
    /// Says of each attempt that waits to begin whether a limit holds it: `holds` are the subjects
    /// that hold something now, each with the reason and until when.
    pub fn hold(&mut self, holds: &BTreeMap<String, (String, String)>) {
        for wait in &mut self.waits_for {
            let held = wait.on.iter().find_map(|subject| holds.get(subject));
            if let (Some((why, until)), Some(activation)) = (held, &wait.activation) {
                wait.kind = "limit";
                wait.text = format!("`{activation}` waits until {until} at least: {why}");
            }
        }
    }
}

impl WaitsFor {
    /// Whether nothing happens before a person acts.
    pub fn is_for_a_person(&self) -> bool {
        matches!(self.kind, "approval" | "signal" | "resolution" | "resume")
    }
}

impl StepStatus {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Unreached => "unreached",
        }
    }

    /// Whether nothing more happens to it by itself.
    pub fn is_over(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Skipped | Self::Unreached)
    }
}

fn moment<S: Serializer>(at: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(&clock::rfc3339(*at))
}

fn optional_moment<S: Serializer>(at: &Option<Timestamp>, to: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => moment(at, to),
        None => to.serialize_none(),
    }
}
