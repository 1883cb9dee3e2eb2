//! When a failed attempt is tried again.

use std::time::Duration;

use crate::document::{Doc, Node};
use crate::graph::Retry;

use super::fields::{Fields, Reader};
use super::link::VISITS_MAX;

/// First wait of a retry that does not say: as Temporal's.
const RETRY_INITIAL: Duration = Duration::from_secs(1);
/// Growth of the waits: as Temporal's.
const RETRY_COEFFICIENT: f64 = 2.0;
/// Longest wait: as Temporal's, a hundred times the first.
const RETRY_MAXIMUM: Duration = Duration::from_secs(100);

impl Retry {
    /// So many retries after the first attempt, with growing waits.
    pub fn times(retries: u32) -> Self {
        Self::Exponential {
            attempts: retries.saturating_add(1),
            initial: RETRY_INITIAL,
            coefficient: RETRY_COEFFICIENT,
            maximum: RETRY_MAXIMUM,
        }
    }
}

/// Reads `retry`: a number of retries, a list of waits, or `{attempts, initial, …}`.
pub(super) fn retry(doc: &Doc, reader: &mut Reader<'_>) -> Option<Retry> {
    match &doc.node {
        Node::Number(_) => {
            reader.count(doc, "the number of retries", 0, VISITS_MAX).map(Retry::times)
        }
        Node::List(items) => items
            .iter()
            .map(|item| reader.duration(item))
            .collect::<Option<Vec<_>>>()
            .map(Retry::Intervals),
        Node::Map(_) => {
            let mut fields = Fields::of(doc, "retry", reader)?;
            let attempts =
                match fields.take(&["attempts", "max_attempts", "maximum_attempts"], reader) {
                    Some(entry) => reader.count(&entry.value, "attempts", 0, VISITS_MAX)?,
                    None => 0,
                };
            let (mut initial, mut coefficient) = (RETRY_INITIAL, RETRY_COEFFICIENT);
            if let Some(entry) = fields.take(&["initial", "initial_interval"], reader) {
                initial = reader.limit(&entry.value, "the first wait")?;
            }
            if let Some(entry) =
                fields.take(&["coefficient", "backoff_coefficient", "factor"], reader)
            {
                coefficient = match &entry.value.node {
                    Node::Number(n) if n.as_f64().is_some_and(|f| (1.0..=1000.0).contains(&f)) => {
                        n.as_f64()?
                    }
                    _ => {
                        reader.error(
                            "range",
                            "the coefficient must be a number from 1 to 1000",
                            entry.value.span,
                        );
                        return None;
                    }
                };
            }
            let mut maximum = RETRY_MAXIMUM.max(initial);
            if let Some(entry) = fields.take(&["maximum", "maximum_interval"], reader) {
                maximum = reader.limit(&entry.value, "the longest wait")?;
                if maximum < initial {
                    reader.error(
                        "range",
                        "the longest wait is shorter than the first",
                        entry.value.span,
                    );
                }
            }
            fields.finish(reader);
            Some(Retry::Exponential { attempts, initial, coefficient, maximum })
        }
        _ => {
            reader.error("retry", "retry is a list such as `[1s, 3s, 10s]`, a number of retries, or `{attempts, initial, coefficient, maximum}`", doc.span);
            None
        }
    }
}
