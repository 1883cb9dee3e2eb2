//! What went wrong, in one line, and what to do about it, in another.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Why something did not work. Travels over the socket as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Error {
    /// What a program branches on.
    pub kind: Kind,
    /// What happened; lower case, no full stop.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// What a caller does about an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Ask for something else.
    Invalid,
    /// There is no such thing.
    NotFound,
    /// Something is there already.
    Exists,
    /// The run is not in a state for it.
    Refused,
    /// Try again.
    Unavailable,
    /// Stored bytes are damaged.
    Corrupt,
    /// The two sides speak different versions.
    Version,
    /// There is too much of it already: ask for less, or later.
    Exhausted,
    /// This version cannot do it.
    Unimplemented,
}

impl Error {
    /// An error without a suggestion.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), suggestion: None }
    }

    /// The caller asked for something that cannot be right.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(Kind::Invalid, message)
    }

    /// There is no such thing.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }

    /// Something of the system did not answer.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unavailable, message)
    }

    /// The same with what to do about it.
    #[must_use]
    pub fn suggest(mut self, suggestion: impl Into<String>) -> Self {
        self.suggestion = Some(suggestion.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<reflux_engine::Error> for Error {
    fn from(error: reflux_engine::Error) -> Self {
        use reflux_engine::Error as E;
        let kind = match &error {
            E::NotFound { .. } => Kind::NotFound,
            E::AlreadyStarted { .. } => Kind::Exists,
            E::Rejected(_) => Kind::Refused,
            E::Invalid(_) => Kind::Invalid,
            E::Full | E::Busy | E::Unavailable(_) | E::Stopping => Kind::Unavailable,
            E::Corrupt(_) => Kind::Corrupt,
        };
        // The engine's errors say what to do behind the last `;` or `:`.
        let text = error.to_string();
        match text.rsplit_once("; ") {
            Some((message, advice)) => Self::new(kind, message).suggest(advice),
            None => Self::new(kind, text),
        }
    }
}
