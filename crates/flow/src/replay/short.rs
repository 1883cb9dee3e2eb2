//! Values in a view: whole when they are short, else by size, hash and beginning.

use serde_json::{Value, json};

use crate::canonical::canonical_json;

/// Longest value that a view shows whole, in bytes of JSON.
pub const VALUE_BYTES: usize = 2 * 1024; // a screen of text

/// How much of a longer one is shown, in characters.
const BEGIN_CHARS: usize = 200;

/// The value, or an object `{"$omitted": {bytes, hash, begin}}` in its place when it is longer than
/// `bytes_max`; the hash is the BLAKE3 of the canonical JSON in hex.
pub fn short(value: &Value, bytes_max: usize) -> Value {
    if is_small(value, bytes_max) {
        return value.clone();
    }
    let bytes = canonical_json(value);
    if bytes.len() <= bytes_max {
        return value.clone();
    }
    let text = String::from_utf8_lossy(&bytes);
    json!({ "$omitted": {
        "bytes": bytes.len(),
        "hash": blake3::hash(&bytes).to_hex().as_str(),
        "begin": text.chars().take(BEGIN_CHARS).collect::<String>(),
    } })
}

/// Whether it is short at a glance: most values are numbers and names.
fn is_small(value: &Value, bytes_max: usize) -> bool {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => bytes_max >= 32,
        // A character takes at most six bytes when it is escaped.
        Value::String(text) => text.len().saturating_mul(6) + 2 <= bytes_max,
        Value::Array(_) | Value::Object(_) => false,
    }
}
