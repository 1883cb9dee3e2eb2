//! Signatures that were used: a delivery that somebody recorded must not start another run by
//! coming under another name.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use reflux_core::Timestamp;

use super::signature::TOLERANCE;

/// Signatures that are remembered: those of five minutes at 300 a second. Past it the oldest are
/// forgotten.
const SEEN_MAX: usize = 100_000;

/// Signatures by the delivery they came with.
#[derive(Default)]
pub(super) struct Seen {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    delivery: HashMap<[u8; 32], String>,
    order: VecDeque<([u8; 32], Timestamp)>,
}

impl Seen {
    /// Whether a signature comes for the first time, or again with the same delivery.
    pub fn take(&self, signature: [u8; 32], delivery: &str, now: Timestamp) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        // A signature is valid for that long before and after the moment it names.
        while let Some((oldest, at)) = inner.order.front().copied()
            && (now.since(at) > TOLERANCE * 2 || inner.order.len() >= SEEN_MAX)
        {
            inner.order.pop_front();
            inner.delivery.remove(&oldest);
        }
        if let Some(first) = inner.delivery.get(&signature) {
            return first == delivery;
        }
        inner.delivery.insert(signature, delivery.to_owned());
        inner.order.push_back((signature, now));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_belongs_to_one_delivery() {
        let seen = Seen::default();
        let at = |seconds: i64| Timestamp(seconds * 1_000_000_000);
        assert!(seen.take([1; 32], "a", at(0)));
        assert!(seen.take([1; 32], "a", at(1)));
        assert!(!seen.take([1; 32], "b", at(2)));
        assert!(seen.take([2; 32], "b", at(2)));
        // By then the signature itself is too old.
        assert!(seen.take([1; 32], "b", at(601)));
        assert_eq!(seen.inner.lock().unwrap().order.len(), 2);
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let seen = Seen::default();
        for number in 0..SEEN_MAX + 10 {
            let mut signature = [0; 32];
            signature[..8].copy_from_slice(&number.to_le_bytes());
            assert!(seen.take(signature, "a", Timestamp(0)));
        }
        let inner = seen.inner.lock().unwrap();
        assert_eq!((inner.order.len(), inner.delivery.len()), (SEEN_MAX, SEEN_MAX));
    }
}
