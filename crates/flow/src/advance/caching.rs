//! Results of other runs that a step takes instead of calling its node.
//!
//! ```text
//! node, exact version, input, whose ─→ key ─→ Policies::cached ─┬ Found ─→ `reflux.reuse`
//!                                                               ├ Held ──→ nothing yet
//!                                                               └ Call ──→ the call, with the key in its header
//! ```
//!
//! Which results there are is nobody's business here: whoever decides is asked, and the answer is
//! recorded. Absent: secrets (a call with one is never cached), compensations.

use std::fmt;
use std::time::Duration;

use reflux_core::{EffectClass, Header, Payload, json_payload};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::canonical::canonical_json;
use crate::graph::{CacheScope, Caching, NodeRef};
use crate::progress::{Activation, Origin};
use crate::template::Rendered;

/// Header field of a scheduled step whose result others may take: its key and how long it counts.
pub const HEADER_CACHE: &str = "reflux.cache";

/// What equal calls have in common, whichever run makes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CacheKey(#[serde(with = "crate::hexadecimal")] pub [u8; 32]);

/// A step that would take a result of another run.
#[derive(Debug, Clone, Copy)]
pub struct CacheAsk<'a> {
    /// What the result is found by.
    pub key: CacheKey,
    /// Who asks.
    pub activation: &'a Activation,
    /// The node that would be called.
    pub node: &'a str,
    /// What the call would do.
    pub effects: EffectClass,
    /// How old the result may be; `None`: as old as it is kept.
    pub ttl: Option<Duration>,
    /// Whether the call is to be made, whatever results there are.
    pub fresh: bool,
}

impl CacheAsk<'_> {
    /// Whether a result may stand for the call: of one that does nothing, always; of one that may
    /// differ the next time, when the author says how long it counts; of an unsafe one, never.
    pub fn is_sound(&self) -> bool {
        match self.effects {
            EffectClass::Pure => true,
            EffectClass::Reads | EffectClass::Idempotent => self.ttl.is_some(),
            EffectClass::Unsafe => false,
        }
    }
}

/// What there is for a step that asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Cached {
    /// The result of another run.
    Found {
        /// The result.
        output: Value,
        /// Where it comes from.
        from: Origin,
    },
    /// Another run makes the same call: its end is waited for, and this run is asked again then.
    Held,
    /// Nothing: this run makes the call, and nobody else does until it has ended.
    Call,
    /// Nothing, and the result is nobody else's: the call is made as any other.
    Uncached,
}

/// What the header of a cached call holds. Its JSON is durable for ever: fields are only added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheHeader {
    /// What the result is found by.
    pub key: CacheKey,
    /// How long the result counts, nanoseconds; `None`: as long as it is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u64>,
}

impl CacheHeader {
    pub(crate) fn new(key: CacheKey, ttl: Option<Duration>) -> Self {
        Self { key, ttl: ttl.map(|ttl| u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX)) }
    }

    pub(crate) fn to_payload(&self) -> Payload {
        json_payload(serde_json::to_vec(self).unwrap_or_default())
    }

    /// What the header of a call says; `None` when it is not cached, or by something that is not
    /// understood here.
    pub fn of(header: &Header) -> Option<Self> {
        let field = header.fields.get(HEADER_CACHE)?;
        serde_json::from_slice(&field.data).ok()
    }
}

impl CacheKey {
    /// The key of a call by a run of that namespace and flow; `None` when its input has secrets.
    pub(crate) fn of(
        namespace: &str,
        flow: &str,
        caching: &Caching,
        node: &NodeRef,
        version: &str,
        input: &Rendered,
    ) -> Option<Self> {
        if !input.secrets.is_empty() {
            return None;
        }
        let flow = match caching.scope {
            CacheScope::Flow => flow,
            CacheScope::Namespace => "",
        };
        let mut hasher = blake3::Hasher::new();
        let input = canonical_json(&input.value);
        // Lengths first, so that no two lists of parts give the same bytes.
        for part in ["cache", namespace, flow, &node.name, version].map(str::as_bytes) {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.update(&input);
        Some(Self(*hasher.finalize().as_bytes()))
    }
}

impl fmt::Display for CacheKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&blake3::Hash::from_bytes(self.0).to_hex())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn key(scope: CacheScope, parts: [&str; 4], input: Value) -> Option<CacheKey> {
        let [namespace, flow, name, version] = parts;
        let caching = Caching { ttl: None, scope };
        let node = NodeRef { name: name.into(), version: None };
        let input = Rendered { value: input, secrets: Vec::new() };
        CacheKey::of(namespace, flow, &caching, &node, version, &input)
    }

    #[test]
    fn a_key_is_of_the_call_and_of_whose_results_count() {
        let own = CacheScope::Namespace;
        let base = key(own, ["ns", "f", "n", "1"], json!({"a": 1, "b": 2}));
        assert_eq!(base, key(own, ["ns", "f", "n", "1"], json!({"b": 2, "a": 1})), "order");
        assert_eq!(base, key(own, ["ns", "g", "n", "1"], json!({"a": 1, "b": 2})), "flow");
        let others = [
            key(own, ["other", "f", "n", "1"], json!({"a": 1, "b": 2})),
            key(own, ["ns", "f", "m", "1"], json!({"a": 1, "b": 2})),
            key(own, ["ns", "f", "n", "2"], json!({"a": 1, "b": 2})),
            key(own, ["ns", "f", "n", "1"], json!({"a": 1, "b": 3})),
            key(CacheScope::Flow, ["ns", "f", "n", "1"], json!({"a": 1, "b": 2})),
        ];
        for (at, other) in others.iter().enumerate() {
            assert_ne!(base, *other, "{at}");
        }
        let flow = |name| key(CacheScope::Flow, ["ns", name, "n", "1"], json!(1));
        assert_ne!(flow("f"), flow("g"));
    }

    #[test]
    fn a_call_with_a_secret_has_no_key() {
        let secret = crate::template::SecretSlot { pointer: "/t".into(), parts: Vec::new() };
        let input = Rendered { value: json!({"t": ""}), secrets: vec![secret] };
        let caching = Caching { ttl: None, scope: CacheScope::Namespace };
        let node = NodeRef { name: "n".into(), version: None };
        assert_eq!(CacheKey::of("ns", "f", &caching, &node, "1", &input), None);
    }

    #[test]
    fn a_key_and_its_header_are_the_same_in_every_version() {
        let key = key(CacheScope::Namespace, ["ns", "f", "n", "1"], json!({"a": 1})).unwrap();
        let header = CacheHeader::new(key, Some(Duration::from_secs(2)));
        let text = serde_json::to_string(&header).unwrap();
        assert_eq!(text, format!("{{\"key\":\"{key}\",\"ttl\":2000000000}}"));
        assert_eq!(serde_json::from_str::<CacheHeader>(&text).unwrap(), header);
        assert_eq!(
            key.to_string(),
            "45ee8b06375d7a719468852a3d584324fdf4eee90c2732ae3b126194f4e2409f"
        );
    }

    #[test]
    fn what_is_not_pure_counts_for_a_time_and_what_is_unsafe_never() {
        let activation = Activation::parse("a").unwrap();
        let ask = |effects, ttl| CacheAsk {
            key: CacheKey([0; 32]),
            activation: &activation,
            node: "n",
            effects,
            ttl,
            fresh: false,
        };
        let hour = Some(Duration::from_secs(3600));
        assert!(ask(EffectClass::Pure, None).is_sound());
        assert!(!ask(EffectClass::Reads, None).is_sound());
        assert!(ask(EffectClass::Reads, hour).is_sound());
        assert!(!ask(EffectClass::Idempotent, None).is_sound());
        assert!(!ask(EffectClass::Unsafe, hour).is_sound());
    }
}
