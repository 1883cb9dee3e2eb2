//! Lists the runs of a namespace, newest first: key = digest of the namespace ‖ start, later
//! first ‖ address, no value. Written once per run.

use bytes::Bytes;
use reflux_core::Timestamp;

use super::address::{ADDRESS_BYTES, Address};
use super::{Kind, moment};
use crate::error::Error;
use crate::table::Batch;

/// Bytes of what follows the namespace in a key: a position in a list.
pub(crate) const POSITION_BYTES: usize = 8 + ADDRESS_BYTES;

fn namespace_digest(namespace: &str) -> [u8; 16] {
    blake3::hash(namespace.as_bytes()).as_bytes().first_chunk().copied().unwrap_or_default()
}

pub(crate) fn key(namespace: &str, started: Timestamp, run: Address) -> Bytes {
    let digest = namespace_digest(namespace);
    Kind::Started.key(&[&digest, &moment::descending(started), run.as_bytes()])
}

/// Runs that started in `[from, before)`, newest first, behind the position `after`.
pub(crate) fn range(
    namespace: &str,
    from: Timestamp,
    before: Option<Timestamp>,
    after: Option<(Timestamp, Address)>,
) -> (Bytes, Bytes) {
    let digest = namespace_digest(namespace);
    let newest = match before {
        Some(before) => Kind::Started.key_after(&[&digest, &moment::descending(before)]),
        None => Kind::Started.key(&[&digest]),
    };
    let behind = after.map(|(started, run)| {
        Kind::Started.key_after(&[&digest, &moment::descending(started), run.as_bytes()])
    });
    let oldest = Kind::Started.key_after(&[&digest, &moment::descending(from)]);
    (behind.map_or(newest.clone(), |behind| behind.max(newest)), oldest)
}

pub(crate) fn put(batch: &mut Batch, namespace: &str, started: Timestamp, run: Address) {
    batch.put(key(namespace, started, run), Bytes::new());
}

pub(crate) fn delete(batch: &mut Batch, namespace: &str, started: Timestamp, run: Address) {
    batch.delete(key(namespace, started, run));
}

pub(crate) fn decode(key: &[u8]) -> Result<(Timestamp, Address), Error> {
    let position = key.last_chunk::<POSITION_BYTES>();
    let started = position.and_then(|position| position.first_chunk());
    match (started, Address::at_end_of(key)) {
        (Some(started), Some(run)) => Ok((moment::from_descending(*started), run)),
        _ => Err(Error::corrupt_row("started", "a short key")),
    }
}
