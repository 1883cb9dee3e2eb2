//! What a re-driven run has of its base: whose it is, who wants it and why, and the results that
//! it may take over. It stands in the header of the run's start, so the run replays on its own.
//! Its JSON is durable for ever: fields are only added.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reflux_core::{HEADER_REDRIVE, Header, Payload, RunId, json_payload};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Key, Scope};

/// A re-drive, as the header `reflux.redrive` holds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Redrive {
    /// The base.
    pub of: RunId,
    /// The base's workflow id.
    pub of_workflow: String,
    /// How many re-drives lie behind this run; of a run that is none, 0.
    pub epoch: u32,
    /// Who wants it.
    #[serde(default)]
    pub by: String,
    /// Why, for people.
    #[serde(default)]
    pub reason: String,
    /// What runs again.
    pub scope: Scope,
    /// Steps with unsafe effects that may be called again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_unsafe: Vec<String>,
    /// What may be taken over.
    #[serde(default)]
    pub memo: Memo,
}

/// Results of a base that a new run may take over.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Memo {
    /// Results in the order in which their work began.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub results: Vec<Kept>,
    /// Activations that run whatever there is.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub forced: BTreeSet<String>,
    /// Outputs that a person gave, by activation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<String, Value>,
    /// Timers that had not fired.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub timers: Vec<Remaining>,
    /// Signals that nothing had taken, in order: a sub-run begins with them, because nobody sends
    /// it those of its base.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub signals: Vec<Untaken>,
    /// Sub-runs that are re-driven rather than started anew, by activation.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub children: BTreeMap<String, Redrive>,
}

/// The result of an activation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kept {
    /// The activation in the base.
    pub activation: String,
    /// What it is found by.
    pub key: Key,
    /// The exact version of the node, or of the flow, that was called; `None` when none was, and in
    /// records of before it was noted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<Arc<str>>,
    /// What it gave.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub output: Value,
    /// How it failed, if it did and that was handled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// The event of the base in which it ended.
    pub event: i64,
}

/// A timer that had not fired.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remaining {
    /// The activation that waits.
    pub activation: String,
    /// How long it was, nanoseconds: one whose length was changed starts from the beginning.
    pub whole: u64,
    /// What is left of it, nanoseconds.
    pub left: u64,
}

/// A signal that nothing had taken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Untaken {
    /// Its name.
    pub name: String,
    /// What came with it.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub value: Value,
}

impl Redrive {
    /// The same without the signals that sub-runs would begin with.
    #[must_use]
    pub fn without_signals(mut self) -> Self {
        self.memo.signals.clear();
        let children = std::mem::take(&mut self.memo.children).into_iter();
        self.memo.children = children.map(|(id, child)| (id, child.without_signals())).collect();
        self
    }

    /// The header's field.
    pub fn to_payload(&self) -> Payload {
        json_payload(serde_json::to_vec(self).unwrap_or_default())
    }

    /// The re-drive in a header; `None` when the run is none.
    ///
    /// # Errors
    /// The field holds something else.
    pub fn of_header(header: &Header) -> Option<Result<Self, serde_json::Error>> {
        let field = header.fields.get(HEADER_REDRIVE)?;
        Some(serde_json::from_slice(&field.data))
    }
}

/// The run that a header's run is a re-drive of; read without the results.
pub fn base_of(header: &Header) -> Option<RunId> {
    #[derive(Deserialize)]
    struct Base {
        of: RunId,
    }
    let field = header.fields.get(HEADER_REDRIVE)?;
    serde_json::from_slice::<Base>(&field.data).ok().map(|base| base.of)
}
