//! The two doors of a partition: requests from outside, which wait when it is full, and word from
//! its own engine, which never waits.

use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use reflux_core::RunKey;
use reflux_log::{AppendError, Seq};

use crate::matching::Refill;
use crate::request::Request;

/// Requests that wait for a partition. Past it callers wait.
pub(crate) const REQUESTS_MAX: usize = 4096; // a few milliseconds of work

/// Word from the engine's own parts. What sends it is bounded: appends by the partition's window,
/// deliveries by the outboxes of runs, completions by the attempts under way, refills by the
/// queues, claims given back by the polls.
pub(crate) enum Internal {
    /// An append is over.
    Appended { expected: Seq, result: Result<Seq, AppendError> },
    /// Records up to this one are in the store.
    Materialised(u64),
    /// The store cannot be written.
    StoreFailed(String),
    /// A request of the engine's own.
    Request(Request),
    /// Called when everything that is durable now is in the store.
    Barrier(Box<dyn FnOnce() + Send>),
    /// Decide nothing until `resume` ends; `paused` is called when everything durable is in the
    /// store and nothing is under way.
    Pause { paused: Box<dyn FnOnce() + Send>, resume: Receiver<()> },
    /// A message of this run could not be delivered: try again later.
    Stalled(RunKey),
    /// A queue of tasks runs low: offer again what the store says waits in it.
    Refill(Refill),
    /// Stop when what is under way is durable.
    Stop,
}

/// The senders' side.
#[derive(Clone)]
pub(crate) struct Mailbox {
    pub requests: Sender<Request>,
    pub internal: Sender<Internal>,
}

/// The partition's side.
pub(crate) struct Inbox {
    pub requests: Receiver<Request>,
    pub internal: Receiver<Internal>,
}

pub(crate) fn mailbox() -> (Mailbox, Inbox) {
    let (requests, requests_in) = bounded(REQUESTS_MAX);
    let (internal, internal_in) = unbounded();
    (Mailbox { requests, internal }, Inbox { requests: requests_in, internal: internal_in })
}
