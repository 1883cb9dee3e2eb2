//! A run as the API tells of it.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

/// What else a start may say.
#[derive(Debug, Clone, Default)]
pub struct Start {
    /// At most one open run has it; empty: one is made.
    pub workflow_id: String,
    /// Which deployed version; 0 is the latest.
    pub version: u32,
    /// The same for repetitions of one request by several processes; absent: one is made.
    pub request_id: Option<String>,
    /// Whether an open run that has the workflow id is the answer instead of an error.
    pub use_existing: bool,
}

/// How a run stands.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Run {
    /// Its namespace.
    pub namespace: String,
    /// The workflow id; at most one open run of a namespace has it.
    pub workflow_id: String,
    /// The run's own id.
    pub run_id: String,
    /// Name of the flow, or type of the workflow.
    pub flow: String,
    /// How it stands or ended.
    pub status: RunStatus,
    /// When it was started, RFC 3339.
    pub started: Option<String>,
    /// When it closed, RFC 3339; absent while it is open.
    pub closed: Option<String>,
    /// Steps that are over, of those known so far, from 0 to 100.
    pub progress_percent: u32,
    /// Steps that are over.
    pub steps_done: u32,
    /// Steps known so far.
    pub steps_total: u32,
    /// Why it failed; empty otherwise.
    pub error: String,
}

/// How a run stands or ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub enum RunStatus {
    /// It is open.
    #[serde(rename = "RUN_STATUS_RUNNING")]
    Running,
    /// It gave a result, maybe after a handled failure.
    #[serde(rename = "RUN_STATUS_COMPLETED")]
    Completed,
    /// It ended with an error.
    #[serde(rename = "RUN_STATUS_FAILED")]
    Failed,
    /// It was asked to end and did.
    #[serde(rename = "RUN_STATUS_CANCELED")]
    Canceled,
    /// It was ended from outside.
    #[serde(rename = "RUN_STATUS_TERMINATED")]
    Terminated,
    /// It took longer than it may.
    #[serde(rename = "RUN_STATUS_TIMED_OUT")]
    TimedOut,
    /// Another run took over.
    #[serde(rename = "RUN_STATUS_CONTINUED_AS_NEW")]
    ContinuedAsNew,
    /// A status that this version does not know.
    #[default]
    #[serde(other)]
    Unknown,
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Canceled => "canceled",
            Self::Terminated => "terminated",
            Self::TimedOut => "timed out",
            Self::ContinuedAsNew => "continued as new",
            Self::Unknown => "unknown",
        })
    }
}

/// What happened in a run, and how it stands then.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct Update {
    /// Where to go on after the stream broke.
    pub sequence: u32,
    /// What happened, in order: objects with `type`, `time`, `facts`.
    pub entries: Vec<Value>,
    /// How the run stands behind the entries.
    pub run: Run,
    /// Ids of the steps that are at work or wait.
    pub current_steps: Vec<String>,
    /// Whether this is the last update.
    pub closed: bool,
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// The token of the next page; empty behind the last.
    pub next: String,
}
