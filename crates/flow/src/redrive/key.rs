//! By what a result is found again: what was called, with what, and how the run came there.
//!
//! ```text
//! kind, name, exact version, input, visit, key of the visit whose route led here ─→ key
//! ```
//!
//! Names of steps, their positions and their policies are absent, so renaming a step or giving it
//! more retries keeps its result. Data edges are absent too: what a need gave counts only as far as
//! the input shows it.

use std::fmt;

use blake3::Hasher;
use reflux_core::Payloads;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::canonical_json;
use crate::payload;

/// Names a result by its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(#[serde(with = "crate::hexadecimal")] [u8; 32]);

/// What an activation does, as far as its result depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Work<'a> {
    /// Calls a node of an exact version.
    Node { name: &'a str, version: &'a str, input: &'a Payloads },
    /// Runs a flow with a definition of that digest.
    Flow { name: &'a str, version: &'a str, input: &'a Payloads },
    /// Waits for a length of time or until a moment, as its template gives it.
    Timer { until: bool, value: &'a Value },
    /// Waits for a signal of that name, or without one for somebody's decision.
    Wait { name: Option<&'a str>, title: Option<&'a str> },
    /// Runs over the items of a list; stands for the visit, not for an item.
    Items(&'a [Value]),
    /// Nothing that is called: a place that a run passes.
    Pass,
}

impl Key {
    /// The key of work in a visit to which the visit with the key `cause` led, if a route did.
    pub(crate) fn of(work: &Work<'_>, visit: u32, cause: Option<Self>) -> Self {
        let mut hasher = Hasher::new();
        match work {
            Work::Node { name, version, input } => {
                parts(&mut hasher, &[b"node", name.as_bytes(), version.as_bytes()]);
                hash_input(&mut hasher, input);
            }
            Work::Flow { name, version, input } => {
                parts(&mut hasher, &[b"flow", name.as_bytes(), version.as_bytes()]);
                hash_input(&mut hasher, input);
            }
            Work::Timer { until, value } => {
                let kind: &[u8] = if *until { b"until" } else { b"duration" };
                parts(&mut hasher, &[kind, &canonical_json(value)]);
            }
            Work::Wait { name, title } => {
                let kind: &[u8] = if name.is_some() { b"signal" } else { b"approval" };
                parts(&mut hasher, &[kind, name.or(*title).unwrap_or_default().as_bytes()]);
            }
            Work::Items(items) => {
                parts(&mut hasher, &[b"items"]);
                items.iter().for_each(|item| parts(&mut hasher, &[&canonical_json(item)]));
            }
            Work::Pass => parts(&mut hasher, &[b"pass"]),
        }
        parts(&mut hasher, &[&visit.to_le_bytes()]);
        if let Some(cause) = cause {
            parts(&mut hasher, &[&cause.0]);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

/// Lengths first, so that no two lists of parts give the same bytes.
fn parts(hasher: &mut Hasher, parts: &[&[u8]]) {
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
}

/// The value in its canonical form, and the names of the secrets that go into it.
fn hash_input(hasher: &mut Hasher, input: &Payloads) {
    match payload::value_of(input) {
        Ok(value) => parts(hasher, &[&canonical_json(&value)]),
        // A client's own encoding counts byte by byte.
        Err(_) => input.payloads.iter().for_each(|payload| parts(hasher, &[&payload.data])),
    }
    let secrets = input.payloads.first().and_then(|it| it.metadata.get(payload::SECRETS));
    parts(hasher, &[secrets.map_or(&[], |secrets| &secrets[..])]);
}

/// Digest of an input as a key sees it.
pub(crate) fn input_digest(input: &Payloads) -> [u8; 32] {
    let mut hasher = Hasher::new();
    hash_input(&mut hasher, input);
    *hasher.finalize().as_bytes()
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn node(name: &str, version: &str, input: Value, visit: u32, cause: Option<Key>) -> Key {
        let input = payload::of_value(&input);
        Key::of(&Work::Node { name, version, input: &input }, visit, cause)
    }

    #[test]
    fn a_key_changes_with_everything_a_result_depends_on() {
        let key = node("n", "1", json!({"a": 1, "b": 2}), 1, None);
        assert_eq!(key, node("n", "1", json!({"b": 2, "a": 1}), 1, None), "order of keys");
        let others = [
            node("m", "1", json!({"a": 1, "b": 2}), 1, None),
            node("n", "2", json!({"a": 1, "b": 2}), 1, None),
            node("n", "1", json!({"a": 1, "b": 3}), 1, None),
            node("n", "1", json!({"a": 1, "b": 2}), 2, None),
            node("n", "1", json!({"a": 1, "b": 2}), 1, Some(key)),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(key, *other, "{at}");
        }
    }

    #[test]
    fn a_key_is_the_same_in_every_version() {
        let key = node("n.price", "1.0.0", json!({"order": "o1"}), 1, None);
        assert_eq!(
            key.to_string(),
            "aaba373d3498faf3a99ced30c7bda16576f6579f71565697397ff9763bc83f6f"
        );
    }

    #[test]
    fn a_secret_counts_by_its_name() {
        let plain = payload::of_value(&json!({"token": ""}));
        let mut secret = plain.clone();
        secret.payloads[0]
            .metadata
            .insert(payload::SECRETS.to_owned(), bytes::Bytes::from_static(b"[\"TOKEN\"]"));
        let of = |input| Key::of(&Work::Node { name: "n", version: "1", input }, 1, None);
        assert_ne!(of(&plain), of(&secret));
    }

    #[test]
    fn a_key_reads_as_it_is_written() {
        let key = Key::of(&Work::Pass, 1, None);
        let text = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<Key>(&text).unwrap(), key);
        assert!(serde_json::from_str::<Key>("\"xyz\"").is_err());
    }
}
