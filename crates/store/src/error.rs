//! What can go wrong with the store, by what its caller does next.

use thiserror::Error;

/// Why the store did not do what was asked. The text names the place and the next act.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Error {
    /// The disk or the object store did not answer; the same call may succeed later.
    #[error("{0}")]
    Retry(String),
    /// Bytes are not what was written.
    #[error("{0}")]
    Corrupt(String),
    /// The caller asked for something that cannot be right.
    #[error("{0}")]
    Invalid(String),
    /// What was named does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The rows were written in another format: rebuild them from snapshot and log.
    #[error("{0}")]
    Rebuild(String),
}

impl Error {
    /// A row that does not decode: the store is rebuilt, nothing is lost.
    pub(crate) fn corrupt_row(what: &str, detail: impl std::fmt::Display) -> Self {
        Self::Corrupt(format!(
            "store row {what}: {detail}; stop the server, delete its store directory and start \
             again: it is rebuilt from the log"
        ))
    }
}
