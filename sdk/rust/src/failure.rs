//! Why an attempt failed, in words for a person and in fields for a retry policy.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The failure of one attempt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{kind}: {message}")]
pub struct Failure {
    /// What happened, as dotted words to branch on: `Http.Status`, `Timeout`, `BadInput`.
    pub kind: String,
    /// What happened and what to do next; lower case, without a full stop, without secrets.
    pub message: String,
    /// Facts for a handler, for example `{"status": 503}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<Value>>, // boxed: every result of a call carries its size
    /// Whether another attempt with the same input may succeed.
    pub retryable: bool,
    /// The earliest time for another attempt, when the other side named one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// The kind of [`Failure::bad_input`].
    pub const BAD_INPUT: &'static str = "BadInput";
    /// The kind of [`Failure::cancelled`].
    pub const CANCELLED: &'static str = "Cancelled";
    /// The kind of [`Failure::timeout`].
    pub const TIMEOUT: &'static str = "Timeout";

    /// A failure that another attempt may cure.
    pub fn retryable(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            kind: kind.into(),
            message: message.into(),
            details: None,
            retryable: true,
            retry_after: None,
        }
    }

    /// A failure that every further attempt with the same input would repeat.
    pub fn permanent(kind: impl Into<String>, message: impl Into<String>) -> Self {
        Self { retryable: false, ..Self::retryable(kind, message) }
    }

    /// The input cannot be used; not retryable.
    pub fn bad_input(message: impl Into<String>) -> Self {
        Self::permanent(Self::BAD_INPUT, message)
    }

    /// The attempt was cancelled by its host; not retryable.
    pub fn cancelled() -> Self {
        Self::permanent(Self::CANCELLED, "the attempt was cancelled")
    }

    /// The attempt took longer than it may; retryable.
    pub fn timeout(message: impl Into<String>) -> Self {
        Self::retryable(Self::TIMEOUT, message)
    }

    /// The same failure with facts for a handler.
    #[must_use]
    pub fn with_details(mut self, details: Value) -> Self {
        self.details = Some(Box::new(details));
        self
    }

    /// The same failure with the earliest time for another attempt.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}
