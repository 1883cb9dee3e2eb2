//! One row per partition: the row format and the last record materialised.

use bytes::Bytes;

use super::Kind;
use crate::error::Error;
use crate::table::Batch;

/// Raised whenever any row changes its bytes or its meaning: rows of another number are rebuilt.
pub(crate) const ROW_FORMAT: u32 = 3;

/// What the meta row says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Meta {
    /// The last record whose changes are in the rows; 0 when none is.
    pub applied: u64,
    /// A snapshot is being loaded: until it is whole these rows are nothing.
    pub loading: bool,
}

pub(crate) fn key() -> Bytes {
    Kind::Meta.key(&[])
}

pub(crate) fn put(batch: &mut Batch, meta: Meta) {
    put_format(batch, meta, ROW_FORMAT);
}

/// Written for a format of one's choice by the tests only.
pub(crate) fn put_format(batch: &mut Batch, meta: Meta, format: u32) {
    let mut value = Vec::with_capacity(13);
    value.extend_from_slice(&format.to_le_bytes());
    value.extend_from_slice(&meta.applied.to_le_bytes());
    value.push(u8::from(meta.loading));
    batch.put(key(), value.into());
}

pub(crate) fn decode(value: &[u8]) -> Result<Meta, Error> {
    let Some((format, rest)) = value.split_first_chunk::<4>() else {
        return Err(Error::corrupt_row("meta", "shorter than 4 bytes"));
    };
    let format = u32::from_le_bytes(*format);
    if format != ROW_FORMAT {
        return Err(Error::Rebuild(format!(
            "the store's rows have format {format}, this version reads {ROW_FORMAT}: delete the \
             store directory and start again, it is rebuilt from the log"
        )));
    }
    match rest.split_first_chunk::<8>() {
        Some((applied, &[loading])) => {
            Ok(Meta { applied: u64::from_le_bytes(*applied), loading: loading != 0 })
        }
        _ => Err(Error::corrupt_row("meta", "not 13 bytes")),
    }
}
