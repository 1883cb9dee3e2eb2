//! What was taken out of the cache, by namespace: a store that is rebuilt from the log has the
//! results again, and takes them out again.

use reflux_core::Timestamp;
use reflux_engine::{CacheFilter, Engine, Recovered};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Registry, record};
use crate::Error;

pub(super) const KIND: &str = "reflux.cache-cleared";

/// Notes of one namespace. Past it the oldest go: the runs of their results have left by then.
const NOTES_MAX: usize = 1_000; // some 100 KiB

/// What was taken out in a namespace. Its JSON is durable: fields are added, never changed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cleared {
    namespace: String,
    notes: Vec<Note>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Note {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    node: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    flow: Option<String>,
    /// Results that came earlier, in nanoseconds since 1970.
    before: i64,
}

impl Note {
    /// Whether what this takes out, `other` takes out too.
    fn is_within(&self, other: &Self) -> bool {
        let within = |own: &Option<String>, of: &Option<String>| of.is_none() || own == of;
        within(&self.node, &other.node)
            && within(&self.flow, &other.flow)
            && self.before <= other.before
    }
}

impl Registry {
    /// Notes that results were taken out of the cache.
    ///
    /// # Errors
    /// The log does not take it.
    pub fn note_cleared(
        &self,
        engine: &Engine,
        filter: &CacheFilter,
        before: Timestamp,
    ) -> Result<(), Error> {
        let _writing = self.writing();
        let (node, flow) = (filter.node.clone(), filter.flow.clone());
        let note = Note { node, flow, before: before.0 };
        let mut cleared = self.cleared().get(&filter.namespace).cloned().unwrap_or_default();
        cleared.namespace.clone_from(&filter.namespace);
        cleared.notes.retain(|other| !other.is_within(&note));
        cleared.notes.push(note);
        let over = cleared.notes.len().saturating_sub(NOTES_MAX);
        cleared.notes.drain(..over);
        record::put(engine, KIND, format!("cache/{}", filter.namespace), &cleared, [])?;
        self.cleared().insert(filter.namespace.clone(), cleared);
        Ok(())
    }

    pub(super) fn take_cleared(&self, facts: Value, runs: &Recovered<'_>) -> Result<(), String> {
        let cleared: Cleared = serde_json::from_value(facts).map_err(|error| error.to_string())?;
        for note in &cleared.notes {
            let (node, flow) = (note.node.clone(), note.flow.clone());
            let filter = CacheFilter { namespace: cleared.namespace.clone(), node, flow };
            runs.clear_cache(&filter, Timestamp(note.before));
        }
        self.cleared().insert(cleared.namespace.clone(), cleared);
        Ok(())
    }
}
