//! Why a command changes nothing.

use std::sync::Arc;

use crate::{EventId, IllegalItem, Timestamp};

/// Why a command changed nothing, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// What the command names does not exist or is over.
    #[error("{0} is not open in this run: list what is pending and name one of those")]
    NotFound(Arc<str>),
    /// The run has not been started.
    #[error("this run has not been started: start it first")]
    NotStarted,
    /// The run exists already, made by another request.
    #[error("this run was started by another request: use a new run id")]
    AlreadyStarted,
    /// The run is closed.
    #[error("this run is closed: start a new one or re-drive it")]
    AlreadyClosed,
    /// It was done before; nothing is left to do.
    #[error("{0}: nothing is left to do")]
    AlreadyDone(&'static str),
    /// The command speaks for an attempt or a task that is over.
    #[error("attempt {given} is over, {what} is at attempt {current}: drop the result")]
    Stale {
        /// What it is an attempt of.
        what: Arc<str>,
        /// The attempt in the command.
        given: u32,
        /// The attempt of the run.
        current: u32,
    },
    /// What it names is not in a state for it.
    #[error("{what} {state}: {advice}")]
    WrongState {
        /// What the command names.
        what: Arc<str>,
        /// What it is instead.
        state: &'static str,
        /// What to do.
        advice: &'static str,
    },
    /// The attempt is not due yet.
    #[error("activity {scheduled} waits until {due}: claim it then")]
    TooEarly {
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// When it is due.
        due: Timestamp,
    },
    /// A bound would be exceeded.
    #[error("{what}: {given} is more than the {max} allowed: {advice}")]
    LimitExceeded {
        /// What is bounded.
        what: &'static str,
        /// What it would be.
        given: u64,
        /// What is allowed.
        max: u64,
        /// What to do.
        advice: &'static str,
    },
    /// The command contradicts itself or the run.
    #[error("{0}")]
    Invalid(Arc<str>),
    /// What an operator asks of the run makes no sense as it stands.
    #[error("{0}")]
    Refused(Arc<str>),
    /// The run is paused.
    #[error("this run is paused: resume it first")]
    Paused,
    /// An item contradicts the run: a defect of ours. Forget the draft and load the run again.
    #[error("{0}: the draft is void, load the run again")]
    Illegal(#[from] IllegalItem),
    /// An earlier command left the draft void.
    #[error("an earlier command left this draft void: load the run again")]
    Poisoned,
}

impl Rejection {
    pub(crate) fn invalid(text: impl Into<Arc<str>>) -> Self {
        Self::Invalid(text.into())
    }

    pub(crate) fn not_found(text: impl Into<Arc<str>>) -> Self {
        Self::NotFound(text.into())
    }
}
