//! What can be asked of a partition.

use std::sync::Arc;

use bytes::Bytes;
use reflux_core::{Command, RunId, RunKey, Status};

use crate::Error;

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
    Start {
        /// Its id.
        run_id: RunId,
        /// The start; the flow's bundle is named in its header.
        command: Box<reflux_core::Start>,
        /// What happens when the workflow id is taken by an open run.
        when_open: WhenOpen,
        /// The bundle, if the run is a flow's: written to the partition with the first run that
        /// uses it.
        spec: Option<Spec>,
    },
    /// A command to the run of that id, or to the open or latest one.
    Command {
        /// Which run.
        run_id: Option<RunId>,
        /// Only a run of the chain that began with this one.
        first_run: Option<RunId>,
        /// The command.
        command: Command,
    },
    /// A signal to the open run that names a bundle in its header: the bundle is written to the
    /// partition with it.
    Adopt {
        /// The signal.
        signal: Box<reflux_core::Signal>,
        /// The bundle.
        spec: Spec,
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
    /// First request after a boot: attempts of the last boot are lost, and every effect that
    /// follows from the run's state runs again.
    Revive {
        /// Which run.
        run_id: RunId,
    },
}

/// What happens when a workflow id is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenOpen {
    /// The start is refused.
    Refuse,
    /// The start answers with the open run.
    UseExisting,
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
}

/// Takes the answer; called once, from the partition's thread, so it must not block.
pub type Reply = Box<dyn FnOnce(Result<Answer, Error>) + Send>;

/// For requests whose answer nobody waits for.
pub fn no_reply() -> Reply {
    Box::new(|_| {})
}
