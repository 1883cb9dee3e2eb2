//! What can be asked of a partition.

use std::sync::Arc;

use bytes::Bytes;
use reflux_core::{Command, RunId, RunKey, Status};

use crate::{Error, Execution};

/// All runs of one workflow id: decided one after the other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lane {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The workflow id.
    pub workflow_id: Arc<str>,
}

impl Lane {
    /// The lane of a run.
    pub fn of(key: &RunKey) -> Self {
        Self { namespace: key.namespace.clone(), workflow_id: key.workflow_id.clone() }
    }

    /// The run of that id in this lane.
    pub fn run(&self, run_id: RunId) -> RunKey {
        RunKey { namespace: self.namespace.clone(), workflow_id: self.workflow_id.clone(), run_id }
    }
}

/// A request to a partition.
pub struct Request {
    /// Whose run.
    pub lane: Lane,
    /// What is asked.
    pub ask: Ask,
    /// Called once, when the answer is durable.
    pub reply: Reply,
}

/// What is asked.
pub enum Ask {
    /// A new run.
    Start(NewRun),
    /// A run made of another one.
    StartAgain {
        /// The new run.
        new: NewRun,
        /// Signals it is given with its start, as they were recorded of the base.
        signals: Vec<reflux_core::Signal>,
        /// The base, if it is of the same lane, and how many items it had: the start is refused
        /// when it has moved on.
        follows: Option<(RunId, u64)>,
    },
    /// A signal to the open run of the workflow id, or to a new one: one record. The answer is
    /// `existing` when there was one.
    SignalWithStart(NewRun, Box<reflux_core::Signal>),
    /// A command to the run of that id, or to the open or latest one.
    Command {
        /// Which run.
        run_id: Option<RunId>,
        /// Only a run of the chain that began with this one.
        first_run: Option<RunId>,
        /// The command.
        command: Command,
    },
    /// What an operator asks of a flow's run: all of it is one record, or it is refused and nothing
    /// is recorded. A repeated request is answered as done.
    Steer {
        /// Which run.
        run_id: Option<RunId>,
        /// What is asked.
        steer: Box<reflux_flow::Steer>,
        /// Who asks.
        identity: Arc<str>,
        /// Equal for repetitions of one request; empty when there is none.
        request_id: Arc<str>,
    },
    /// A signal to the open run that names a bundle in its header: the bundle is written to the
    /// partition with it.
    Adopt {
        /// The signal.
        signal: Box<reflux_core::Signal>,
        /// The bundle.
        spec: Spec,
    },
    /// Nothing but the answer: whoever asks looks at the run as it is durable.
    Look {
        /// Which run; `None` is the open or latest one.
        run_id: Option<RunId>,
    },
    /// Moves a run on that had more to decide than fits a record.
    Advance {
        /// Which run.
        run_id: RunId,
    },
    /// Sends again what the run's outbox still holds.
    Resend {
        /// Which run.
        run_id: RunId,
    },
    /// Offers again what waits for workers.
    Offer {
        /// Which run.
        run_id: RunId,
    },
    /// First request after a boot: attempts of the last boot are lost, and every effect that
    /// follows from the run's state runs again.
    Revive {
        /// Which run.
        run_id: RunId,
    },
}

/// A run to be started.
pub struct NewRun {
    /// Its id, a UUIDv7.
    pub run_id: RunId,
    /// The start; a flow's bundle is named in its header.
    pub start: Box<reflux_core::Start>,
    /// What happens when an open run has the workflow id.
    pub when_open: WhenOpen,
    /// What happens when a closed run had it.
    pub when_closed: WhenClosed,
    /// The bundle, if the run is a flow's: written to the partition with the first run that
    /// uses it.
    pub spec: Option<Spec>,
}

/// What happens to a start whose workflow id an open run has. A start with the request id of that
/// run is answered with it whatever is said here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenOpen {
    /// The start is refused.
    Refuse,
    /// The start answers with the open run.
    UseExisting,
    /// The open run is terminated; that and the start are one record.
    Terminate,
}

/// What happens to a start whose workflow id a closed run had, as long as that run is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenClosed {
    /// The new run starts.
    Allow,
    /// The new run starts unless the last one completed.
    AllowFailed,
    /// The start is refused.
    Refuse,
}

/// The canonical bytes of a bundle, by digest.
#[derive(Debug, Clone)]
pub struct Spec {
    /// BLAKE3 of the bytes.
    pub digest: [u8; 32],
    /// The bytes.
    pub bytes: Bytes,
}

/// The answer to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The run it concerned.
    pub run: RunKey,
    /// How the run is.
    pub status: Status,
    /// Whether the run was there already (a repeated start).
    pub existing: bool,
    /// How often the definition of a flow's run was changed since it began.
    pub revision: u64,
}

/// Takes the answer and the run as it is durable then; called once, from the partition's thread, so
/// it must not block.
pub type Reply = Box<dyn FnOnce(Result<(&Answer, &Execution), Error>) + Send>;

/// For requests whose answer nobody waits for.
pub fn no_reply() -> Reply {
    Box::new(|_| {})
}
