//! Runs whose effects are run again after a boot: key = address, value = names.

use bytes::Bytes;
use reflux_core::RunKey;

use super::address::Address;
use super::{Kind, summary};
use crate::error::Error;
use crate::table::Batch;

pub(crate) fn key(run: Address) -> Bytes {
    Kind::Working.key(&[run.as_bytes()])
}

/// All rows after the one of `after`.
pub(crate) fn range(after: Option<Address>) -> (Bytes, Bytes) {
    let from = match after {
        Some(run) => Kind::Working.key_after(&[run.as_bytes()]),
        None => Kind::Working.key(&[]),
    };
    (from, Kind::Working.key_after(&[]))
}

pub(crate) fn put(batch: &mut Batch, run: Address, names: &RunKey) -> Result<(), Error> {
    batch.put(key(run), summary::encode_names(names)?);
    Ok(())
}

pub(crate) fn delete(batch: &mut Batch, run: Address) {
    batch.delete(key(run));
}

pub(crate) fn decode(key: &[u8], value: &[u8]) -> Result<RunKey, Error> {
    let run =
        Address::at_end_of(key).ok_or_else(|| Error::corrupt_row("working", "a short key"))?;
    summary::decode_names(value, run.run_id())
}
