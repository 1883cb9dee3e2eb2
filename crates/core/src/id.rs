//! Names of things. Each is a type of its own, so that none is taken for another.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Timestamp;

/// How many slots there are; a run's slot never changes, whatever partition owns it.
pub const SLOTS: u16 = 16_384;

/// Longest namespace, workflow id, activity id or name, in characters (Temporal's limit).
pub const ID_CHARS_MAX: usize = 1_000;

/// A run of a workflow: the address of one state machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RunKey {
    /// Which namespace it lives in.
    pub namespace: Arc<str>,
    /// The id its caller chose; at most one open run has it.
    pub workflow_id: Arc<str>,
    /// UUIDv7, made when the run was started.
    pub run_id: RunId,
}

impl RunKey {
    /// The slot of the run: equal for all runs of one workflow id.
    pub fn slot(&self) -> Slot {
        Slot::of(&self.namespace, &self.workflow_id)
    }
}

impl fmt::Display for RunKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.workflow_id, self.run_id)
    }
}

/// Id of a run, a UUIDv7 given from outside: `core` draws no random numbers.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RunId(pub Uuid);

impl RunId {
    /// The id of the child that `parent` initiated with event `initiated` at `time`. The same for
    /// every delivery of the same request, so a child cannot be started twice; and a UUIDv7, so
    /// ids stay ordered by time.
    pub fn of_child(parent: Self, initiated: EventId, time: Timestamp) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(parent.0.as_bytes());
        hasher.update(&initiated.0.to_le_bytes());
        let [a, b, c, d, e, f, g, h, i, j, ..] = *hasher.finalize().as_bytes();
        let millis = u64::try_from(time.0 / 1_000_000).unwrap_or(0);
        let random = [a, b, c, d, e, f, g, h, i, j];
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a run is placed: `hash(namespace, workflow id) mod 16384`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Slot(pub u16);

impl Slot {
    /// The slot of a workflow id. BLAKE3, so that it is the same in every version for ever.
    pub fn of(namespace: &str, workflow_id: &str) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(namespace.as_bytes());
        hasher.update(&[0]);
        hasher.update(workflow_id.as_bytes());
        let [low, high, ..] = *hasher.finalize().as_bytes();
        Self(u16::from_le_bytes([low, high]) % SLOTS)
    }
}

/// Number of an event in its history; the first is 1.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct EventId(pub i64);

impl EventId {
    /// The first event of every history.
    pub const FIRST: Self = Self(1);

    /// The event after this one.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names the boot of a process, so that what a dead process held can be told from what a
/// living one holds.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct BootId(pub Uuid);
