//! Results that other runs may take: key = address of the run ‖ ordinal of the item that holds the
//! result. Found by their calls in memory only, so these rows are read once, at a boot.

use bytes::Bytes;
use reflux_core::RunKey;

use super::address::Address;
use super::{Kind, codec};
use crate::cached::CachedResult;
use crate::error::Error;
use crate::table::Batch;

fn key(run: Address, ordinal: u64) -> Bytes {
    Kind::Cached.key(&[run.as_bytes(), &ordinal.to_be_bytes()])
}

/// All rows, or those behind the one of that run and ordinal.
pub(crate) fn all(after: Option<(&RunKey, u64)>) -> (Bytes, Bytes) {
    let from = match after {
        // The next key: this one and a byte.
        Some((run, ordinal)) => [&key(Address::of(run), ordinal)[..], &[0]].concat().into(),
        None => Kind::Cached.key(&[]),
    };
    (from, Kind::Cached.key_after(&[]))
}

/// The rows of a run.
pub(crate) fn of_run(run: Address) -> (Bytes, Bytes) {
    let parts: &[&[u8]] = &[run.as_bytes()];
    (Kind::Cached.key(parts), Kind::Cached.key_after(parts))
}

pub(crate) fn put(batch: &mut Batch, result: &CachedResult) -> Result<(), Error> {
    let value = codec::encode("cached result", result)?;
    batch.put(key(Address::of(&result.run), result.ordinal), value);
    Ok(())
}

pub(crate) fn delete(batch: &mut Batch, run: &RunKey, ordinal: u64) {
    batch.delete(key(Address::of(run), ordinal));
}

pub(crate) fn decode(_: &[u8], value: &[u8]) -> Result<CachedResult, Error> {
    codec::decode("cached result", value)
}
