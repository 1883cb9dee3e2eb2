//! What runs say to each other.
//!
//! Messages wait in the outbox of the run that sends them, in order for each target, and are
//! delivered at least once; the target's inbox makes that exactly once. The acknowledgement is
//! the reply: [`Command::AckOutbox`](crate::Command::AckOutbox) writes `ChildStarted` or
//! `ExternalSignaled`, [`Command::DeliveryFailed`](crate::Command::DeliveryFailed) the failure.

use std::sync::Arc;

use crate::{
    Ending, EventId, ExternalCancelInitiated, ExternalSignalInitiated, IdReusePolicy, RunId,
    RunKey, Start,
};

/// Whom a message is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// Which namespace.
    pub namespace: Arc<str>,
    /// Which workflow id.
    pub workflow_id: Arc<str>,
    /// Exactly this run; `None`: the current one of the workflow id.
    pub run_id: Option<RunId>,
    /// Only a run of the chain that began with this one.
    pub first_run: Option<RunId>,
}

impl Target {
    /// Exactly one run.
    pub fn run(key: &RunKey) -> Self {
        Self {
            namespace: key.namespace.clone(),
            workflow_id: key.workflow_id.clone(),
            run_id: Some(key.run_id),
            first_run: None,
        }
    }

    /// The current run of the chain that began with `first_run`.
    pub fn chain(namespace: Arc<str>, workflow_id: Arc<str>, first_run: RunId) -> Self {
        Self { namespace, workflow_id, run_id: None, first_run: Some(first_run) }
    }
}

/// A message that is not acknowledged yet.
#[derive(Debug, Clone, PartialEq)]
pub struct Outgoing {
    /// Whom it is for.
    pub target: Target,
    /// What it says.
    pub message: Message,
}

/// What one run says to another.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// Begin: [`Command::Start`](crate::Command::Start) on a draft of `target`'s run id. That the
    /// run exists already is an acknowledgement.
    StartChild {
        /// The sender's `ChildInitiated`.
        initiated: EventId,
        /// What to start.
        start: Arc<Start>,
        /// Whether a closed run of that id stands in its way.
        reuse_policy: IdReusePolicy,
    },
    /// Begin the run that follows the sender in its chain; as [`Message::StartChild`].
    StartNext {
        /// What to start.
        start: Arc<Start>,
    },
    /// The parent has recorded that the child began: the child's first task may be scheduled.
    FirstTask,
    /// A child's chain has ended.
    ChildClosed {
        /// The parent's `ChildInitiated`.
        initiated: EventId,
        /// First run of the child's chain: what the parent knows it by.
        first_run: RunId,
        /// The run that ended.
        run: RunKey,
        /// How.
        ending: Ending,
    },
    /// A signal.
    Signal {
        /// The sender's `ExternalSignalInitiated`.
        initiated: EventId,
        /// What to say.
        signal: Arc<ExternalSignalInitiated>,
    },
    /// A request to end.
    RequestCancel {
        /// The sender's `ExternalCancelInitiated`; 0 when the sender closed and its child is to end.
        initiated: EventId,
        /// What to say; `None` when the sender closed and its child is to end.
        cancel: Option<Arc<ExternalCancelInitiated>>,
    },
    /// The sender closed, or wants no more of its child: it is to be terminated.
    Terminate {
        /// For people.
        reason: Arc<str>,
    },
    /// The parent is paused: start nothing new.
    Pause {
        /// For people.
        reason: Arc<str>,
    },
    /// The parent goes on: so does a child that was paused by it.
    Resume,
}

/// Why a message can never be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryFailure {
    /// There is no such run, or it is closed.
    NotFound,
    /// The child's workflow id is taken.
    AlreadyExists,
    /// There is no such namespace.
    NamespaceNotFound,
    /// The target has taken all the signals it may.
    SignalLimit,
}
