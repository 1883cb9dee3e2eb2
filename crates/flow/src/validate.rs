//! Everything that can be known to be wrong before a run starts.

mod caching;
mod graph;
mod inputs;
mod names;
#[cfg(test)]
mod tests;
mod triggers;

use reflux_core::EffectClass;
use serde_json::Value;

use crate::diagnostic::{Diagnostic, Severity};
use crate::graph::{Bundle, Flow, NodeRef, ParameterKind};
use crate::span::{Span, Spans};
use crate::syntax::Parsed;

/// The nodes that are there to be called.
pub trait Nodes {
    /// The form of a node; `None` when it, or that version of it, is not known.
    fn find(&self, node: &NodeRef) -> Option<NodeShape>;
    /// All names, for suggestions.
    fn names(&self) -> Vec<String>;
    /// What a call does with an input as the flow has it, expressions as they are written; `None`
    /// when nobody knows.
    fn effects(&self, _node: &NodeRef, _input: &Value) -> Option<EffectClass> {
        None
    }
}

/// What a node takes and gives, out of its manifest.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NodeShape {
    /// Its inputs; `None` when it takes anything.
    pub inputs: Option<Vec<Property>>,
    /// Its outputs; `None` when they are not declared.
    pub outputs: Option<Vec<Property>>,
}

/// One field of a node's input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// Its name.
    pub name: String,
    /// What it accepts.
    pub kind: ParameterKind,
    /// Whether a call without it fails.
    pub required: bool,
}

/// No knowledge of nodes: every name is accepted with any input.
#[derive(Debug, Clone, Copy)]
pub struct AnyNodes;

impl Nodes for AnyNodes {
    fn find(&self, _: &NodeRef) -> Option<NodeShape> {
        Some(NodeShape::default())
    }

    fn names(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Validates a flow; `spans` gives findings their places ([`Spans::default`] when there are none).
pub fn validate(flow: &Flow, nodes: &dyn Nodes, spans: &Spans) -> Vec<Diagnostic> {
    let mut check = Check { flow, nodes, spans, found: Vec::new() };
    names::check(&mut check);
    graph::check(&mut check);
    inputs::check(&mut check);
    caching::check(&mut check);
    triggers::check(&mut check);
    let mut found = check.found;
    found.sort_by_key(|d| (d.severity == Severity::Warning, d.span));
    found
}

/// Validates a flow that was just read, with the sub-flows in its file.
pub fn validate_parsed(parsed: &Parsed, nodes: &dyn Nodes) -> Vec<Diagnostic> {
    let mut found = validate(&parsed.flow, nodes, &parsed.spans);
    found.extend(parsed.warnings.iter().cloned());
    for inner in &parsed.embedded {
        found.extend(validate_parsed(inner, nodes));
    }
    found
}

/// Validates every flow of a bundle, and the inputs that they give each other.
pub fn validate_bundle(bundle: &Bundle, nodes: &dyn Nodes) -> Vec<Diagnostic> {
    let spans = Spans::default();
    let mut found = Vec::new();
    for flow in bundle.flows.values() {
        let problems = validate(flow, nodes, &spans)
            .into_iter()
            .chain(inputs::check_calls(flow, bundle, &spans));
        found.extend(problems.map(|mut problem| {
            problem.message = format!("flow `{}`: {}", flow.name, problem.message);
            problem
        }));
    }
    found
}

/// Validates the inputs that a flow gives to the sub-flows of its bundle.
pub fn validate_calls(flow: &Flow, bundle: &Bundle, spans: &Spans) -> Vec<Diagnostic> {
    inputs::check_calls(flow, bundle, spans)
}

struct Check<'a> {
    flow: &'a Flow,
    nodes: &'a dyn Nodes,
    spans: &'a Spans,
    found: Vec<Diagnostic>,
}

impl Check<'_> {
    fn error(&mut self, code: &'static str, message: impl Into<String>, path: &str) {
        let span = self.spans.find(path);
        self.report(Diagnostic::error(code, message, span), None);
    }

    fn error_at(
        &mut self,
        code: &'static str,
        message: impl Into<String>,
        span: Span,
        suggestion: Option<String>,
    ) {
        self.report(Diagnostic::error(code, message, span), suggestion);
    }

    fn warning(&mut self, code: &'static str, message: impl Into<String>, path: &str) {
        let span = self.spans.find(path);
        self.report(Diagnostic::warning(code, message, span), None);
    }

    fn report(&mut self, diagnostic: Diagnostic, suggestion: Option<String>) {
        self.found.push(diagnostic.suggest(suggestion).in_file(self.spans.file()));
    }
}
