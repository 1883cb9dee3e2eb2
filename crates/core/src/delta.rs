//! What happens to a run outside its history. Mirrors `reflux.v1.Delta` one to one.

use std::sync::Arc;
use std::time::Duration;

pub use reflux_proto::reflux::v1::attempt_ended::Outcome as AttemptOutcome;
pub use reflux_proto::reflux::v1::transient_task::State as TransientState;
pub use reflux_proto::reflux::v1::{LogLine, Report};

use crate::{BootId, Event, EventId, Failure, Payloads, RunKey, Timestamp};

/// What happens to a run outside its history.
#[derive(Debug, Clone, PartialEq)]
pub enum Delta {
    /// A worker took an attempt of an activity.
    AttemptStarted(AttemptStarted),
    /// An attempt is over.
    AttemptEnded(Box<AttemptEnded>),
    /// The wait before an attempt is over: it may be handed out.
    AttemptDue {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// The attempt that may begin.
        attempt: u32,
    },
    /// An attempt told that it is alive.
    Heartbeat {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// The attempt that told it.
        attempt: u32,
        /// When.
        time: Timestamp,
        /// Handed to the next attempt.
        details: Payloads,
    },
    /// A message was taken in: nothing up to `seq` is taken again.
    InboxMark {
        /// Whose message.
        source: RunKey,
        /// Its number.
        seq: u64,
    },
    /// A message was taken in by its target, or can never be.
    OutboxAcked {
        /// Its number.
        seq: u64,
    },
    /// A claim was given back before the worker could have seen it.
    Unclaimed {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// The attempt that did not begin after all.
        attempt: u32,
    },
    /// An event that waits for the started workflow task to end.
    Buffered(Box<Event>),
    /// A workflow task that is not in the history until it completes.
    TransientTask(TransientTask),
    /// A request was taken in: when the same id comes again, nothing happens.
    Requested {
        /// As its sender chose it.
        request_id: Arc<str>,
    },
    /// Workflow tasks go to one worker's own queue.
    Sticky {
        /// That queue.
        task_queue: Arc<str>,
        /// How long a task waits there.
        schedule_to_start: Duration,
    },
    /// The run leaves the store and the next snapshot.
    Retired,
}

/// Who runs an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Worker {
    /// For people.
    pub identity: Arc<str>,
    /// The boot of the process that runs it as part of the partition; nil for a worker that is a
    /// process of its own.
    pub boot: BootId,
}

impl Worker {
    /// A worker that is a process of its own.
    pub fn remote(identity: impl Into<Arc<str>>) -> Self {
        Self { identity: identity.into(), boot: BootId::default() }
    }

    /// Whether attempts run inside the process that owns the partition.
    pub fn is_local(&self) -> bool {
        !self.boot.0.is_nil()
    }
}

/// A worker took an attempt of an activity.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptStarted {
    /// Its `ActivityScheduled`.
    pub scheduled: EventId,
    /// From 1; lost attempts count here.
    pub attempt: u32,
    /// Who took it.
    pub worker: Worker,
    /// When.
    pub time: Timestamp,
}

/// An attempt is over: with its result, to be tried again, or for good.
///
/// A lost worker's attempt without a next one waits for a person: its outcome is unknown.
#[derive(Debug, Clone, PartialEq)]
pub struct AttemptEnded {
    /// Its `ActivityScheduled`.
    pub scheduled: EventId,
    /// Which attempt.
    pub attempt: u32,
    /// How it ended.
    pub outcome: AttemptOutcome,
    /// When it really began to run.
    pub started: Timestamp,
    /// When it ended.
    pub ended: Timestamp,
    /// Why it failed.
    pub failure: Option<Arc<Failure>>,
    /// When the next attempt is due.
    pub next_attempt: Option<Timestamp>,
    /// What it told about itself.
    pub report: Option<Box<Report>>,
    /// Whether it is left out of the retry policy's count.
    pub uncounted: bool,
}

/// A workflow task that is not in the history until it completes.
#[derive(Debug, Clone, PartialEq)]
pub struct TransientTask {
    /// What became of it.
    pub state: TransientState,
    /// From 2.
    pub attempt: u32,
    /// When.
    pub time: Timestamp,
    /// Which worker.
    pub identity: Arc<str>,
    /// Of the poll that took it.
    pub request_id: Arc<str>,
}
