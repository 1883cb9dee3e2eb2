//! Orders runs by when a run has to be woken next: key = moment ‖ address, value = names.

use bytes::Bytes;
use reflux_core::{RunKey, Timestamp};

use super::address::Address;
use super::{Kind, moment, summary};
use crate::error::Error;
use crate::table::Batch;

pub(crate) fn key(when: Timestamp, run: Address) -> Bytes {
    Kind::Due.key(&[&moment::ascending(when), run.as_bytes()])
}

/// From the first key after `after` to the last at `up_to`, which is included.
pub(crate) fn range(after: Option<(Timestamp, Address)>, up_to: Timestamp) -> (Bytes, Bytes) {
    let from = match after {
        Some((when, run)) => Kind::Due.key_after(&[&moment::ascending(when), run.as_bytes()]),
        None => Kind::Due.key(&[]),
    };
    (from, Kind::Due.key_after(&[&moment::ascending(up_to)]))
}

pub(crate) fn put(
    batch: &mut Batch,
    when: Timestamp,
    run: Address,
    names: &RunKey,
) -> Result<(), Error> {
    batch.put(key(when, run), summary::encode_names(names)?);
    Ok(())
}

pub(crate) fn delete(batch: &mut Batch, when: Timestamp, run: Address) {
    batch.delete(key(when, run));
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<(Timestamp, RunKey), Error> {
    let when = key.get(1..).and_then(|rest| rest.first_chunk());
    let (Some(when), Some(run)) = (when, Address::at_end_of(key)) else {
        return Err(Error::corrupt_row("due", "a short key"));
    };
    Ok((moment::from_ascending(*when), summary::decode_names(value, run.run_id())?))
}
