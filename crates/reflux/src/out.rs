//! Everything that is printed: results to stdout, everything else to stderr.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use reflux_flow::diagnostic::Diagnostic;
use reflux_server::Error;
use reflux_server::clock;
use reflux_server::story::Style;
use serde::Serialize;
use serde_json::json;

use crate::failure::{Failure, OK, USAGE};

/// Where a command prints.
pub struct Out {
    json: bool,
    colour_out: bool,
    colour_err: bool,
}

impl Out {
    /// Output for people, or as JSON.
    pub fn new(json: bool) -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Self {
            json,
            colour_out: wanted && io::stdout().is_terminal(),
            colour_err: wanted && io::stderr().is_terminal(),
        }
    }

    /// Whether a program reads the output.
    pub fn is_json(&self) -> bool {
        self.json
    }

    /// How stdout is written.
    pub fn style(&self) -> Style {
        Style { colour: self.colour_out, now: clock::now() }
    }

    /// How stderr is written.
    pub fn style_err(&self) -> Style {
        Style { colour: self.colour_err, now: clock::now() }
    }

    /// A line of the result.
    pub fn line(&self, text: impl AsRef<str>) {
        // Whoever closed the pipe has read enough.
        let _ = writeln!(io::stdout().lock(), "{}", text.as_ref());
    }

    /// Text of the result that ends with a line break.
    pub fn text(&self, text: impl AsRef<str>) {
        let _ = io::stdout().lock().write_all(text.as_ref().as_bytes());
    }

    /// A result as JSON on several lines.
    pub fn value(&self, value: &impl Serialize) {
        let mut stdout = io::stdout().lock();
        if serde_json::to_writer_pretty(&mut stdout, value).is_ok() {
            let _ = stdout.write_all(b"\n");
        }
    }

    /// Something a person should know.
    pub fn note(&self, text: impl AsRef<str>) {
        let _ = writeln!(io::stderr().lock(), "{}", text.as_ref());
    }

    /// A failure: what happened and what to do. Gives the exit code.
    pub fn failure(&self, failure: &Failure) -> ExitCode {
        match failure {
            Failure::Refused(error) if self.json => self.json_error(&json!({ "error": error })),
            Failure::Refused(error) => self.error(error),
            Failure::Definition { findings, .. } if self.json => self.json_error(&json!({
                "error": { "kind": "invalid", "message": "the definition is wrong", "problems": findings }
            })),
            Failure::Definition { findings, source } => findings.iter().for_each(|finding| self.finding(finding, source)),
        }
        failure.code()
    }

    /// An error for people.
    pub fn error(&self, error: &Error) {
        self.note(format!("{} {error}", self.style_err().paint(31, "error:")));
        if let Some(suggestion) = &error.suggestion {
            self.note(format!("  {suggestion}"));
        }
    }

    /// A finding with the line it is about.
    pub fn finding(&self, finding: &Diagnostic, source: &str) {
        self.note(finding.render(source));
    }

    fn json_error(&self, value: &serde_json::Value) {
        self.note(value.to_string());
    }
}

/// Arguments that cannot be understood, or a request for help.
pub fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    if error.use_stderr() { USAGE.into() } else { OK.into() }
}
