//! What a simulation found, and the command that shows it again.

use std::fmt;

/// A promise that was broken.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What was broken, for people.
    pub what: String,
    /// The last steps before it.
    pub trace: Vec<String>,
    /// Runs it again.
    pub command: String,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.trace {
            writeln!(f, "    {line}")?;
        }
        writeln!(f, "{}", self.what)?;
        write!(f, "again: {}", self.command)
    }
}

impl std::error::Error for Failure {}
