//! What is wrong with a source text, where, and what was probably meant.

use std::fmt;

use serde::Serialize;

use crate::span::Span;

/// Longest source line that an excerpt shows, in characters.
const EXCERPT_WIDTH: usize = 160;

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// Whether it prevents a run.
    pub severity: Severity,
    /// A stable word for programs, such as `unknown-step`.
    pub code: &'static str,
    /// What is wrong and what to do, in lower case without a full stop.
    pub message: String,
    /// Name of the file; `""` when there is none.
    pub file: String,
    /// Where in the file.
    #[serde(flatten)]
    pub span: Span,
    /// The name that was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Prevents a run.
    Error,
    /// Probably not what was meant.
    Warning,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            file: String::new(),
            span,
            suggestion: None,
        }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, message: impl Into<String>, span: Span) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, message, span) }
    }

    /// Adds the name that was probably meant.
    pub fn suggest(mut self, name: Option<String>) -> Self {
        self.suggestion = name;
        self
    }

    /// Adds the name of the file.
    pub fn in_file(mut self, file: &str) -> Self {
        self.file = file.to_owned();
        self
    }

    /// The finding with the source line it is about.
    pub fn render(&self, source: &str) -> String {
        let line_number = usize::try_from(self.span.line).unwrap_or(0);
        let Some(line) = line_number.checked_sub(1).and_then(|at| source.lines().nth(at)) else {
            return self.to_string();
        };
        let column = usize::try_from(self.span.column.max(1)).unwrap_or(1) - 1;
        // A column beyond the width moves the excerpt's start, so that the mark is always shown.
        let skipped = column.saturating_sub(EXCERPT_WIDTH / 2);
        let shown: String = line
            .chars()
            .skip(skipped)
            .take(EXCERPT_WIDTH)
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        let number = self.span.line.to_string();
        let margin = " ".repeat(number.len());
        let mark = " ".repeat(column - skipped);
        format!("{self}\n {margin} |\n {number} | {shown}\n {margin} | {mark}^")
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            write!(f, "{}:", self.file)?;
        }
        if !self.span.is_unknown() {
            write!(f, "{}:{}:", self.span.line, self.span.column)?;
        }
        if !self.file.is_empty() || !self.span.is_unknown() {
            f.write_str(" ")?;
        }
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}: {}", self.message)?;
        match &self.suggestion {
            Some(name) => write!(f, " (did you mean `{name}`?)"),
            None => Ok(()),
        }
    }
}
