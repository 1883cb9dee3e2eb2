//! Why the engine refused, and what the caller does next.

use std::sync::Arc;
use std::time::Duration;

use reflux_core::{Rejection, RunId};

/// Why a request failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// There is no such run.
    #[error("no run of workflow `{workflow_id}`{}; list runs to see what there is", of_run(.run_id))]
    NotFound {
        /// The workflow id that was asked for.
        workflow_id: String,
        /// The run that was asked for.
        run_id: Option<RunId>,
    },
    /// The workflow id is taken.
    #[error(
        "workflow `{workflow_id}` {} {run_id}; use another workflow id{}",
        if *.open { "is already running as" } else { "has run as" },
        if *.open { " or wait for it" } else { "" }
    )]
    AlreadyStarted {
        /// The workflow id.
        workflow_id: String,
        /// Its run.
        run_id: RunId,
        /// The request that started that run; empty when it had no id.
        request_id: Arc<str>,
        /// Whether that run is open: a closed one stands in the way of a start that allows none.
        open: bool,
    },
    /// The run does not allow it.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The input is at fault.
    #[error("{0}")]
    Invalid(String),
    /// The disk is full: only cancelling and terminating go on.
    #[error("the disk is full; free some space and try again, nothing was changed")]
    Full,
    /// The partition has as many requests as it may: try again after a while.
    #[error("too many requests are waiting; nothing was changed, try again in a moment")]
    Busy,
    /// A quota is used up.
    #[error("{text}")]
    Exhausted {
        /// Which, with the figure and the bound, and behind a `;` when to try again.
        text: Arc<str>,
        /// How long to wait, if that is known.
        retry_after: Option<Duration>,
    },
    /// Try again.
    #[error("{0}; nothing was changed, try again")]
    Unavailable(String),
    /// Stored bytes are damaged.
    #[error("{0}")]
    Corrupt(String),
    /// The engine is stopping.
    #[error("the engine is stopping; try again when it is back")]
    Stopping,
}

impl Error {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Full
            | Self::Busy
            | Self::Exhausted { .. }
            | Self::Unavailable(_)
            | Self::Stopping => true,
            Self::NotFound { .. }
            | Self::AlreadyStarted { .. }
            | Self::Rejected(_)
            | Self::Invalid(_)
            | Self::Corrupt(_) => false,
        }
    }
}

impl From<reflux_store::Error> for Error {
    fn from(error: reflux_store::Error) -> Self {
        use reflux_store::Error as Store;
        match error {
            Store::Retry(text) => Self::Unavailable(text),
            Store::Corrupt(text) | Store::Rebuild(text) => Self::Corrupt(text),
            Store::Invalid(text) | Store::NotFound(text) => Self::Invalid(text),
        }
    }
}

impl From<reflux_log::Error> for Error {
    fn from(error: reflux_log::Error) -> Self {
        use reflux_log::Kind;
        match error.kind() {
            Kind::Retry | Kind::Conflict => Self::Unavailable(error.to_string()),
            Kind::Invalid => Self::Invalid(error.to_string()),
            Kind::NotFound | Kind::Corrupt => Self::Corrupt(error.to_string()),
        }
    }
}

fn of_run(run_id: &Option<RunId>) -> String {
    run_id.map(|id| format!(" with run id {id}")).unwrap_or_default()
}
