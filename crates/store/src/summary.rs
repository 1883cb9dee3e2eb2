//! What the store knows of a run without folding its items.

use std::sync::Arc;

use reflux_core::{RunId, RunKey, Status, Timestamp};
use serde::{Deserialize, Serialize};

use crate::tally::Counted;

/// BLAKE3 of a payload or a spec.
pub type Digest = [u8; 32];

/// Longest error text in a summary, in bytes; a longer one is cut when it is written.
pub const ERROR_BYTES_MAX: usize = 1 << 10;

/// A run in one row: what lists show, and what indexes are made of. Derived from the run by the
/// engine, written with its items.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Which run.
    pub key: RunKey,
    /// Name of the workflow or flow.
    pub workflow_type: Arc<str>,
    /// How it is or how it ended.
    #[serde(with = "status")]
    pub status: Status,
    /// When it was started; never changes.
    pub started: Timestamp,
    /// When it closed; `None` while it is open.
    pub closed: Option<Timestamp>,
    /// The run that started it as a child.
    pub parent: Option<RunKey>,
    /// The first run of its chain (continue-as-new, retry, cron).
    pub first_run_id: RunId,
    /// Request id of its start, to recognise a repeated one.
    pub request_id: Arc<str>,
    /// When it has to be woken next.
    pub due: Option<Timestamp>,
    /// Whether it has effects to run again after a boot.
    pub working: bool,
    /// Which queues' workers it waits for: at most [`WAITING_MAX`], sorted, each queue and rank once.
    pub waiting: Vec<Waiting>,
    /// When its retention is over; set once it has closed.
    pub expires: Option<Timestamp>,
    /// How many items it has: the ordinal of the next one.
    pub items: u64,
    /// Bytes of its encoded items, or of its history where that is more: long payloads stand
    /// elsewhere.
    pub bytes: u64,
    /// Events in its history.
    pub events: u64,
    /// Steps that are over.
    pub steps_done: u32,
    /// Steps known so far.
    pub steps_total: u32,
    /// Why it failed, at most [`ERROR_BYTES_MAX`].
    pub error: Option<String>,
    /// Digest of the spec it is pinned to, for a flow.
    pub spec: Option<Digest>,
    /// The run whose results it started with.
    pub redrive_of: Option<RunId>,
}

impl Summary {
    /// Whether the run has not closed.
    pub fn is_open(&self) -> bool {
        self.closed.is_none()
    }

    /// The rows that point to this run, for [`RunChange::previous`](crate::RunChange).
    pub fn indexed(&self) -> Indexed {
        Indexed {
            due: self.due,
            working: self.working,
            expires: self.expires,
            waiting: self.waiting.clone(),
            counted: Some(self.counted()),
        }
    }

    /// What it adds to the tally of its namespace.
    pub fn counted(&self) -> Counted {
        Counted { open: self.is_open(), bytes: self.bytes }
    }
}

/// Which index rows a run has: what the next commit has to take away.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Indexed {
    /// See [`Summary::due`].
    pub due: Option<Timestamp>,
    /// See [`Summary::working`].
    pub working: bool,
    /// See [`Summary::expires`].
    pub expires: Option<Timestamp>,
    /// See [`Summary::waiting`].
    pub waiting: Vec<Waiting>,
    /// What it adds to the tally of its namespace; nothing before it is there.
    pub counted: Option<Counted>,
}

/// Names a queue: a digest of its namespace, kind and name.
pub type QueueDigest = [u8; 16];

/// Queues in one summary: a row holds 64 KiB, one of these takes some 30 bytes.
pub const WAITING_MAX: usize = 1_000;

/// That a run waits for the workers of a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Waiting {
    /// Which queue.
    pub queue: QueueDigest,
    /// Order within the queue: lower comes first.
    pub rank: u8,
    /// Since when it has waited for the longest.
    pub since: Timestamp,
}

/// The current run of a workflow id: the open one, else the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Which run.
    pub run_id: RunId,
    /// Whether it has not closed.
    pub open: bool,
    /// How it is or how it ended.
    pub status: Status,
    /// The first run of its chain.
    pub first_run_id: RunId,
    /// When it was started.
    pub started: Timestamp,
    /// When it closed.
    pub closed: Option<Timestamp>,
    /// Request id of its start.
    pub request_id: Arc<str>,
}

/// Numbers of statuses: independent of the order in which `core` declares them.
pub(crate) mod status {
    use reflux_core::Status;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(crate) const fn code(status: Status) -> u8 {
        match status {
            Status::Running => 1,
            Status::Completed => 2,
            Status::Failed => 3,
            Status::Canceled => 4,
            Status::Terminated => 5,
            Status::ContinuedAsNew => 6,
            Status::TimedOut => 7,
        }
    }

    const fn of_code(code: u8) -> Option<Status> {
        Some(match code {
            1 => Status::Running,
            2 => Status::Completed,
            3 => Status::Failed,
            4 => Status::Canceled,
            5 => Status::Terminated,
            6 => Status::ContinuedAsNew,
            7 => Status::TimedOut,
            _ => return None,
        })
    }

    pub(super) fn serialize<S: Serializer>(status: &Status, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u8(code(*status))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Status, D::Error> {
        let code = u8::deserialize(from)?;
        of_code(code).ok_or_else(|| D::Error::custom(format!("unknown status {code}")))
    }
}
