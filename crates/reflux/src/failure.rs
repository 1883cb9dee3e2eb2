//! Why a command failed, and with which exit code.

use std::process::ExitCode;

use reflux_flow::diagnostic::Diagnostic;
use reflux_server::{Error, Kind};

/// The run completed, or the command did what it was asked.
pub const OK: u8 = 0;
/// The run failed.
pub const FAILED: u8 = 1;
/// The caller can mend it: arguments, definition, input, a run that is not there.
pub const USAGE: u8 = 2;
/// The run completed after a failure that its flow handled.
pub const HANDLED: u8 = 3;
/// The run was cancelled, terminated or ran out of time.
pub const ENDED: u8 = 4;
/// The data directory cannot be used.
pub const UNUSABLE: u8 = 5;
/// The command was interrupted; the run goes on later.
pub const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// Something was refused.
    Refused(Error),
    /// A definition is wrong: every finding, with the text that it is about.
    Definition { findings: Vec<Diagnostic>, source: String },
}

impl Failure {
    /// The exit code.
    pub fn code(&self) -> ExitCode {
        match self {
            Self::Definition { .. } => USAGE.into(),
            Self::Refused(error) => match error.kind {
                Kind::Invalid
                | Kind::NotFound
                | Kind::Exists
                | Kind::Refused
                | Kind::Exhausted
                | Kind::Unimplemented => USAGE.into(),
                Kind::Unavailable | Kind::Corrupt | Kind::Version => UNUSABLE.into(),
            },
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Refused(error)
    }
}
