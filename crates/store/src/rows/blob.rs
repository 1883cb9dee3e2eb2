//! Payloads stored once per partition. Head: key = digest, value = length ‖ record that brought
//! its last part. Part: key = digest ‖ offset, value = bytes.

use bytes::Bytes;

use super::Kind;
use crate::error::Error;
use crate::summary::Digest;
use crate::table::Batch;

/// What is known of a payload besides its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the whole payload.
    pub length: u64,
    /// The last record that brought a part of it, new or not.
    pub seq: u64,
}

pub(crate) fn head_key(digest: &Digest) -> Bytes {
    Kind::BlobHead.key(&[digest])
}

/// Where all heads begin and end.
pub(crate) fn heads() -> (Bytes, Bytes) {
    (Kind::BlobHead.key(&[]), Kind::BlobHead.key_after(&[]))
}

pub(crate) fn part_key(digest: &Digest, offset: u64) -> Bytes {
    Kind::BlobPart.key(&[digest, &offset.to_be_bytes()])
}

/// Where the parts of a payload begin and end.
pub(crate) fn parts(digest: &Digest) -> (Bytes, Bytes) {
    (part_key(digest, 0), Kind::BlobPart.key_after(&[digest]))
}

pub(crate) fn put_head(batch: &mut Batch, digest: &Digest, head: Head) {
    let mut value = Vec::with_capacity(16);
    value.extend_from_slice(&head.length.to_le_bytes());
    value.extend_from_slice(&head.seq.to_le_bytes());
    batch.put(head_key(digest), value.into());
}

pub(crate) fn put_part(batch: &mut Batch, digest: &Digest, offset: u64, bytes: Bytes) {
    batch.put(part_key(digest, offset), bytes);
}

pub(crate) fn decode_head(value: &[u8]) -> Result<Head, Error> {
    let length = value.first_chunk().copied().map(u64::from_le_bytes);
    let seq = value.get(8..).and_then(|rest| rest.first_chunk()).copied().map(u64::from_le_bytes);
    match (length, seq) {
        (Some(length), Some(seq)) => Ok(Head { length, seq }),
        _ => Err(Error::corrupt_row("blob", "shorter than 16 bytes")),
    }
}

pub(crate) fn digest_of_head(key: &[u8]) -> Result<Digest, Error> {
    key.last_chunk().copied().ok_or_else(|| Error::corrupt_row("blob", "a short key"))
}

pub(crate) fn offset_of_part(key: &[u8]) -> Result<u64, Error> {
    let bytes = key.last_chunk().ok_or_else(|| Error::corrupt_row("blob", "a short key"))?;
    Ok(u64::from_be_bytes(*bytes))
}
