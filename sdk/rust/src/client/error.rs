//! Why a call has no answer.

use std::fmt;

use serde_json::Value;

use super::Run;

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// The server refused the request, or there is none.
    #[error(transparent)]
    Refused(Refusal),
    /// A run that was waited for ended without an output.
    #[error(transparent)]
    Run(Box<RunFailed>),
}

/// What the server answered instead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// A stable word: `not_found`, `invalid_argument`, `unavailable`.
    pub code: String,
    /// What is wrong.
    pub message: String,
    /// What to do next; may be empty.
    pub suggestion: String,
}

/// A run that ended without an output.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFailed {
    /// How it ended.
    pub run: Run,
    /// `{"kind", "message", …}`; null if it did not fail but was ended.
    pub error: Value,
}

impl Error {
    /// Whether the same request may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Refused(refusal) if ["unavailable", "resource_exhausted"].contains(&refusal.code.as_str()))
    }

    pub(super) fn refused(code: &str, message: String) -> Self {
        Self::Refused(Refusal { code: code.to_owned(), message, suggestion: String::new() })
    }

    /// The error that an answer's body tells of; `code` unless it names one.
    pub(super) fn of(body: &Value, code: &str) -> Self {
        let told = |field: &str| {
            let told = body.get("error").and_then(|error| error.get(field)).and_then(Value::as_str);
            told.filter(|told| !told.is_empty()).map(str::to_owned)
        };
        Self::Refused(Refusal {
            code: told("code").unwrap_or_else(|| code.to_owned()).to_lowercase(),
            message: told("message").unwrap_or_else(|| format!("the server answered {code}")),
            suggestion: told("suggestion").unwrap_or_default(),
        })
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.suggestion.is_empty() { Ok(()) } else { write!(f, "; {}", self.suggestion) }
    }
}

impl std::error::Error for Refusal {}

impl fmt::Display for RunFailed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Run { run_id, flow, status, error, .. } = &self.run;
        write!(f, "run {run_id} of {flow} is {status}")?;
        if error.is_empty() { Ok(()) } else { write!(f, ": {error}") }
    }
}

impl std::error::Error for RunFailed {}
