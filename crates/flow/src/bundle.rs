//! Flows that travel together, as bytes with a digest.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::diagnostic::Diagnostic;
use crate::graph::{Action, Bundle, Flow};
use crate::name::suggest;
use crate::span::{Span, Spans};
use crate::syntax::Parsed;

/// Number of the byte format. Bytes of every earlier format must stay readable.
const FORMAT: u64 = 1;
/// Most flows of one bundle: bounds what one run pins.
pub const FLOWS_MAX: usize = 256;

impl Bundle {
    /// A flow and every sub-flow that it can reach.
    ///
    /// # Errors
    /// A diagnostic for each sub-flow that `lookup` does not find, and one when there are too many.
    pub fn collect(
        entry: &Flow,
        lookup: impl Fn(&str) -> Option<Flow>,
    ) -> Result<Self, Vec<Diagnostic>> {
        Self::gather(Arc::new(entry.clone()), &Spans::default(), &BTreeMap::new(), &lookup)
    }

    /// As [`Bundle::collect`] for a flow that was just read: sub-flows in its own file come first,
    /// and diagnostics have their places.
    ///
    /// # Errors
    /// As [`Bundle::collect`].
    pub fn collect_parsed(
        parsed: &Parsed,
        lookup: impl Fn(&str) -> Option<Flow>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut embedded = BTreeMap::new();
        gather_embedded(parsed, &mut embedded);
        Self::gather(Arc::new(parsed.flow.clone()), &parsed.spans, &embedded, &lookup)
    }

    fn gather(
        entry: Arc<Flow>,
        spans: &Spans,
        embedded: &BTreeMap<&str, &Parsed>,
        lookup: &dyn Fn(&str) -> Option<Flow>,
    ) -> Result<Self, Vec<Diagnostic>> {
        let mut flows = BTreeMap::from([(entry.name.clone(), entry.clone())]);
        let mut problems = Vec::new();
        let mut open = vec![entry.clone()];
        while let Some(flow) = open.pop() {
            let spans = if flow.name == entry.name {
                Some(spans)
            } else {
                embedded.get(flow.name.as_str()).map(|p| &p.spans)
            };
            for (step, name) in sub_flows(&flow) {
                if flows.contains_key(name) {
                    continue;
                }
                let found = embedded.get(name).map(|p| p.flow.clone()).or_else(|| lookup(name));
                let Some(found) = found else {
                    let place =
                        spans.map_or(Span::default(), |s| s.find(&format!("steps/{step}/flow")));
                    let problem = Diagnostic::error(
                        "unknown-flow",
                        format!("unknown flow `{}`", name.escape_debug()),
                        place,
                    )
                    .suggest(suggest(
                        name,
                        flows.keys().map(String::as_str).chain(embedded.keys().copied()),
                    ))
                    .in_file(spans.map_or("", Spans::file));
                    problems.push(problem);
                    continue;
                };
                if flows.len() >= FLOWS_MAX {
                    problems.push(Diagnostic::error(
                        "too-large",
                        format!("the flow reaches more than {FLOWS_MAX} sub-flows"),
                        Span::default(),
                    ));
                    return Err(problems);
                }
                let found = Arc::new(found);
                // Under the name it was asked for, so that a run finds it again.
                flows.insert(name.to_owned(), found.clone());
                open.push(found);
            }
        }
        if problems.is_empty() { Ok(Self { flows }) } else { Err(problems) }
    }

    /// The bytes that a run pins: the canonical documents as JSON. Stable for ever. Keys keep the
    /// order of their author, because the inputs that nodes get do.
    pub fn to_bytes(&self) -> Vec<u8> {
        let flows: Map<String, Value> =
            self.flows.iter().map(|(name, flow)| (name.clone(), flow.to_canonical())).collect();
        json!({"format": FORMAT, "flows": flows}).to_string().into_bytes()
    }

    /// Reads what [`Bundle::to_bytes`] wrote.
    ///
    /// # Errors
    /// When the bytes are damaged or of a later format.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Vec<Diagnostic>> {
        let corrupt =
            |message: String| vec![Diagnostic::error("corrupt", message, Span::default())];
        let value: Value = serde_json::from_slice(bytes)
            .map_err(|e| corrupt(format!("the bundle is no JSON: {e}")))?;
        match value.get("format").and_then(Value::as_u64) {
            Some(FORMAT) => {}
            Some(later) => {
                return Err(corrupt(format!(
                    "the bundle has format {later}; this version reads up to {FORMAT}"
                )));
            }
            None => return Err(corrupt("the bundle has no format".into())),
        }
        let Some(entries) = value.get("flows").and_then(Value::as_object) else {
            return Err(corrupt("the bundle has no flows".into()));
        };
        let mut flows = BTreeMap::new();
        for (name, value) in entries {
            flows.insert(name.clone(), Arc::new(Flow::from_canonical(value)?));
        }
        Ok(Self { flows })
    }

    /// BLAKE3 of [`Bundle::to_bytes`], as 64 hexadecimal digits.
    pub fn digest(&self) -> String {
        blake3::hash(&self.to_bytes()).to_hex().to_string()
    }
}

/// The steps of a flow that run another, with the name of it.
fn sub_flows(flow: &Flow) -> Vec<(&str, &str)> {
    flow.steps
        .iter()
        .filter_map(|step| match &step.action {
            Action::Flow { flow, .. } => Some((step.id.as_str(), flow.as_str())),
            _ => None,
        })
        .collect()
}

fn gather_embedded<'a>(parsed: &'a Parsed, out: &mut BTreeMap<&'a str, &'a Parsed>) {
    for inner in &parsed.embedded {
        out.entry(&inner.flow.name).or_insert(inner);
        gather_embedded(inner, out);
    }
}
