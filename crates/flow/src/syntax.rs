//! Source text to a [`Flow`], in three syntaxes that are told apart by their keys.
//!
//! ```text
//! steps with node/with            ─┐
//! steps with module/action,        ├─→ link ─→ Flow
//!       onSuccess/onFailure        │
//! nodes and edges (canvas)        ─┘
//! ```

mod alternatives;
mod caching;
mod canvas;
mod fields;
pub(crate) mod link;
mod parameters;
mod reflux;
mod retry;
mod route;
mod routed;
mod step;
#[cfg(test)]
mod tests;
mod triggers;
mod wait;

use crate::diagnostic::{Diagnostic, Severity};
use crate::document::Doc;
use crate::expr::Expr;
use crate::graph::Flow;
use crate::span::Spans;

pub use self::link::VISITS_MAX;
pub use self::step::{CONCURRENCY_DEFAULT, CONCURRENCY_MAX};

/// Most steps of one flow: validation and the console stay quick; more work belongs into
/// `for_each` or sub-flows.
pub const STEPS_MAX: usize = 10_000;

/// A flow that was read, with what is needed to speak about its source.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The flow.
    pub flow: Flow,
    /// The sub-flows that stand in the same file under `flows`.
    pub embedded: Vec<Parsed>,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// Where its parts stand.
    pub spans: Spans,
}

/// Reads a flow.
///
/// # Errors
/// Everything that is wrong with the text, at its place and in order.
pub fn parse(file: &str, text: &str) -> Result<Parsed, Vec<Diagnostic>> {
    let doc = Doc::parse(text).map_err(|problems| in_file(problems, file))?;
    parse_doc(file, &doc)
}

/// Reads a flow out of JSON, such as a canonical document.
///
/// # Errors
/// As [`parse`], without places.
pub fn parse_value(value: &serde_json::Value) -> Result<Parsed, Vec<Diagnostic>> {
    parse_doc("", &Doc::from_value(value))
}

fn parse_doc(file: &str, doc: &Doc) -> Result<Parsed, Vec<Diagnostic>> {
    let mut parsed = if canvas::is_canvas(doc) {
        canvas::parse(file, doc)
    } else {
        let mut reader = fields::Reader {
            problems: Vec::new(),
            warnings: Vec::new(),
            spans: Spans::of_file(file),
            compile: &|source, span| Expr::parse_at(source, span),
        };
        reflux::parse(doc, None, &mut reader).map_err(|()| std::mem::take(&mut reader.problems))
    }
    .map_err(|problems| in_file(problems, file))?;
    parsed.warnings = in_file(std::mem::take(&mut parsed.warnings), file);
    Ok(parsed)
}

fn in_file(mut problems: Vec<Diagnostic>, file: &str) -> Vec<Diagnostic> {
    for problem in &mut problems {
        problem.file = file.to_owned();
    }
    problems.sort_by_key(|p| (p.span, p.severity != Severity::Error));
    problems
}
