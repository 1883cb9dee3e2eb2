//! Finds a run by its id alone: key = run id ‖ address, no value.

use bytes::Bytes;
use reflux_core::RunId;

use super::Kind;
use super::address::Address;
use crate::table::Batch;

pub(crate) fn key(run: Address) -> Bytes {
    Kind::RunId.key(&[run.run_id().0.as_bytes(), run.as_bytes()])
}

/// Where the rows of a run id begin and end.
pub(crate) fn range(run: RunId) -> (Bytes, Bytes) {
    let parts: &[&[u8]] = &[run.0.as_bytes()];
    (Kind::RunId.key(parts), Kind::RunId.key_after(parts))
}

pub(crate) fn put(batch: &mut Batch, run: Address) {
    batch.put(key(run), Bytes::new());
}

pub(crate) fn delete(batch: &mut Batch, run: Address) {
    batch.delete(key(run));
}
