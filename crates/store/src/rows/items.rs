//! The items of runs: key = address ‖ ordinal of the row's first item, value = the items of one
//! commit, framed as the field `items` of a proto `Entry`, so that a snapshot copies them as they
//! are.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::encoding::{decode_varint, encode_varint, encoded_len_varint};

use super::Kind;
use super::address::Address;
use crate::error::Error;
use crate::table::Batch;

/// Tag of `Entry.items`: field 2, length-delimited.
pub(crate) const ITEM_TAG: u8 = 0x12;

/// Where a row is cut when a commit brings more, in bytes: a load reads one row at a time.
const ROW_BYTES_MAX: usize = 512 << 10;

pub(crate) fn key(run: Address, ordinal: u64) -> Bytes {
    Kind::Items.key(&[run.as_bytes(), &ordinal.to_be_bytes()])
}

/// Where the rows of a run begin and end.
pub(crate) fn range(run: Address) -> (Bytes, Bytes) {
    (key(run, 0), Kind::Items.key_after(&[run.as_bytes()]))
}

pub(crate) fn put(batch: &mut Batch, run: Address, first: u64, items: &[Bytes]) {
    let mut rest = items;
    let mut ordinal = first;
    while let Some((head, _)) = rest.split_first() {
        let mut bytes = head.len();
        let fits = |item: &&Bytes| {
            bytes += item.len();
            bytes <= ROW_BYTES_MAX
        };
        let count = 1 + rest.iter().skip(1).take_while(fits).count();
        let (row, more) = rest.split_at(count);
        batch.put(key(run, ordinal), frame(row));
        ordinal += count as u64;
        rest = more;
    }
}

/// Items as the value of a row.
pub(crate) fn frame(items: &[Bytes]) -> Bytes {
    let length = |item: &Bytes| 1 + encoded_len_varint(item.len() as u64) + item.len();
    let mut row = BytesMut::with_capacity(items.iter().map(length).sum());
    for item in items {
        row.put_u8(ITEM_TAG);
        encode_varint(item.len() as u64, &mut row);
        row.extend_from_slice(item);
    }
    row.freeze()
}

/// Takes the first item off a row; `None` at its end.
pub(crate) fn take(row: &mut Bytes) -> Result<Option<Bytes>, Error> {
    if row.is_empty() {
        return Ok(None);
    }
    if row.get_u8() != ITEM_TAG {
        return Err(Error::corrupt_row("items", "an item without its tag"));
    }
    let length = decode_varint(row).map_err(|error| Error::corrupt_row("items", error))?;
    match usize::try_from(length) {
        Ok(length) if length <= row.len() => Ok(Some(row.split_to(length))),
        _ => Err(Error::corrupt_row("items", "an item longer than its row")),
    }
}

/// Ordinal of the first item of the row with this key.
pub(crate) fn first_ordinal(key: &[u8]) -> Result<u64, Error> {
    let bytes = key.last_chunk().ok_or_else(|| Error::corrupt_row("items", "a short key"))?;
    Ok(u64::from_be_bytes(*bytes))
}
