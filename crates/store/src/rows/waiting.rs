//! Orders runs that wait for workers of a queue: key = digest of the queue ‖ rank ‖ moment ‖ address,
//! value = names. What does not fit the queues in memory is found again here.

use bytes::Bytes;
use reflux_core::RunKey;

use super::address::Address;
use super::{Kind, moment, summary};
use crate::error::Error;
use crate::summary::{QueueDigest, Waiting};
use crate::table::Batch;

fn key(waiting: &Waiting, run: Address) -> Bytes {
    let since = moment::ascending(waiting.since);
    Kind::Waiting.key(&[&waiting.queue, &[waiting.rank], &since, run.as_bytes()])
}

/// All rows of a queue, or those behind the one of that key.
pub(crate) fn range(queue: &QueueDigest, after: Option<&Bytes>) -> (Bytes, Bytes) {
    let from = match after {
        // The next key: this one and a byte.
        Some(key) => [key.as_ref(), &[0]].concat().into(),
        None => Kind::Waiting.key(&[queue]),
    };
    (from, Kind::Waiting.key_after(&[queue]))
}

pub(crate) fn put(
    batch: &mut Batch,
    waiting: &Waiting,
    run: Address,
    names: &RunKey,
) -> Result<(), Error> {
    batch.put(key(waiting, run), summary::encode_names(names)?);
    Ok(())
}

pub(crate) fn delete(batch: &mut Batch, waiting: &Waiting, run: Address) {
    batch.delete(key(waiting, run));
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<(Bytes, RunKey), Error> {
    let run =
        Address::at_end_of(key).ok_or_else(|| Error::corrupt_row("waiting", "a short key"))?;
    Ok((Bytes::copy_from_slice(key), summary::decode_names(value, run.run_id())?))
}
