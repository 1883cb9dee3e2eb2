//! What a schedule records beside Temporal's events. Its JSON is durable for ever.

use serde::{Deserialize, Serialize};

/// Name of the marker.
pub(super) const NAME: &str = "reflux.tick";

/// `reflux.tick`: times that were dealt with. The children that follow it in the same decision are
/// the runs that start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tick {
    /// Every time until then is dealt with, RFC 3339; empty when a person asked for a start.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub up_to: String,
    /// How many starts somebody asked for are dealt with.
    #[serde(skip_serializing_if = "is_zero")]
    pub fired: u64,
    /// Times without a run because one was open, or because a newer time was due too.
    #[serde(skip_serializing_if = "is_zero")]
    pub skipped: u64,
    /// Times without a run because they were over too long ago.
    #[serde(skip_serializing_if = "is_zero")]
    pub missed: u64,
    /// Whether there were more missed times than are counted.
    #[serde(skip_serializing_if = "is_false")]
    pub more: bool,
    /// Why no run could be started.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// What a schedule has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// Runs that were started.
    pub started: u64,
    /// Times without a run because one was open, or because a newer time was due too.
    pub skipped: u64,
    /// Times without a run because they were over too long ago, at least.
    pub missed: u64,
    /// Runs that could not be started.
    pub failed: u64,
    /// Why the last of them could not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The workflow id of the run that was started last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last: Option<String>,
}

/// Where the next run of a schedule's chain goes on: its input.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Resume {
    /// Every time until then is dealt with, RFC 3339.
    pub after: String,
    /// What was done so far.
    pub counts: Counts,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn is_false(value: &bool) -> bool {
    !*value
}
