//! What went wrong, in one line, and what to do about it, in another.

use std::fmt;
use std::time::Duration;

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
    /// How long to wait before the next try, in milliseconds, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
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
        Self { kind, message: message.into(), suggestion: None, retry_after_ms: None }
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

    /// The wait before the next try in whole seconds, which are all that an HTTP header has; 1 when
    /// it is not known.
    pub fn retry_after_s(&self) -> u64 {
        self.retry_after_ms.map_or(1, |wait| wait.div_ceil(1000).max(1))
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
            E::Exhausted { .. } => Kind::Exhausted,
            E::Corrupt(_) => Kind::Corrupt,
        };
        let retry_after_ms = match &error {
            E::Exhausted { retry_after: Some(wait), .. } => Some(whole_ms(*wait)),
            _ => None,
        };
        // The engine's errors say what to do behind the last `;` or `:`.
        let text = error.to_string();
        let told = match text.rsplit_once("; ") {
            Some((message, advice)) => Self::new(kind, message).suggest(advice),
            None => Self::new(kind, text),
        };
        Self { retry_after_ms, ..told }
    }
}

/// A wait in milliseconds: who comes back then is not too early.
pub(crate) fn whole_ms(wait: Duration) -> u64 {
    u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
