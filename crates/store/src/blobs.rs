//! Payloads by digest: they arrive in parts, are read whole, and are collected when no run needs
//! them.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use reflux_proto::reflux::v1::Blob;

use crate::error::Error;
use crate::rows::blob::{self, Head};
use crate::summary::Digest;
use crate::table::{Batch, Rows};
use crate::view::View;

/// Longest part of a payload, in bytes: a record of the log has 512 KiB.
pub const BLOB_PART_BYTES_MAX: usize = 512 << 10;

/// Longest payload, in bytes: it is put together in memory when it is served.
pub const BLOB_BYTES_MAX: u64 = 256 << 20;

/// Records after which a payload that nothing refers to is collected. Its parts come in records
/// before the one that refers to it, so a young one may still be wanted.
pub const BLOB_GRACE_RECORDS: u64 = 1_024;

/// Adds a part to what the next commit writes. A part that is there already is not written again,
/// but makes the payload young.
pub(crate) fn put(rows: &dyn Rows, batch: &mut Batch, part: Blob, seq: u64) -> Result<(), Error> {
    let digest = digest_of(&part)?;
    check(&digest, &part)?;
    let known = rows.get(&blob::head_key(&digest))?;
    if let Some(known) = known.map(|value| blob::decode_head(&value)).transpose()?
        && known.length != part.length
    {
        return Err(invalid(&digest, "its parts do not agree on its length"));
    }
    let key = blob::part_key(&digest, part.offset);
    let stored = rows.get(&key)?.map(|bytes| bytes.len()).max(batch.value_bytes(&key));
    if stored.is_none_or(|stored| part.bytes.len() > stored) {
        blob::put_part(batch, &digest, part.offset, part.bytes);
    }
    blob::put_head(batch, &digest, Head { length: part.length, seq });
    Ok(())
}

pub(crate) fn digest_of(part: &Blob) -> Result<Digest, Error> {
    part.digest
        .as_ref()
        .try_into()
        .map_err(|_| Error::Invalid("payload part: its digest has not 32 bytes".into()))
}

/// Whether a part keeps to the limits and lies within its payload.
pub(crate) fn check(digest: &Digest, part: &Blob) -> Result<(), Error> {
    if part.bytes.len() > BLOB_PART_BYTES_MAX {
        return Err(invalid(digest, "a part is longer than 512 KiB; cut it in smaller ones"));
    }
    if part.length > BLOB_BYTES_MAX {
        return Err(invalid(digest, "it is longer than 256 MiB; pass a file instead"));
    }
    if part.offset.saturating_add(part.bytes.len() as u64) > part.length {
        return Err(invalid(digest, "a part reaches beyond its end"));
    }
    Ok(())
}

fn invalid(digest: &Digest, detail: &str) -> Error {
    Error::Invalid(format!("payload {}: {detail}", blake3::Hash::from_bytes(*digest)))
}

pub(crate) fn read(view: &View, digest: &Digest) -> Result<Option<Bytes>, Error> {
    let Some(head) = head(view, digest)? else { return Ok(None) };
    let mut whole = BytesMut::with_capacity(usize::try_from(head.length).unwrap_or(0));
    walk(view, digest, |bytes| whole.extend_from_slice(bytes))?;
    if whole.len() as u64 != head.length {
        return Ok(None);
    }
    if blake3::hash(&whole).as_bytes() != digest {
        let name = blake3::Hash::from_bytes(*digest);
        return Err(Error::corrupt_row("blob", format!("payload {name} has other bytes")));
    }
    Ok(Some(whole.freeze()))
}

pub(crate) fn is_whole(view: &View, digest: &Digest) -> Result<bool, Error> {
    let Some(head) = head(view, digest)? else { return Ok(false) };
    Ok(walk(view, digest, |_| ())? == head.length)
}

fn head(view: &View, digest: &Digest) -> Result<Option<Head>, Error> {
    view.rows.get(&blob::head_key(digest))?.map(|value| blob::decode_head(&value)).transpose()
}

/// Hands out the bytes from the start up to the first gap; returns how many they are. Parts may
/// overlap: two writers may have cut the same payload differently.
fn walk(view: &View, digest: &Digest, mut give: impl FnMut(&[u8])) -> Result<u64, Error> {
    let (from, to) = blob::parts(digest);
    let mut have: u64 = 0;
    for row in view.rows.range(from, to) {
        let (key, bytes) = row?;
        let Some(known) = have.checked_sub(blob::offset_of_part(&key)?) else { break };
        let new = bytes.get(usize::try_from(known).unwrap_or(usize::MAX)..).unwrap_or_default();
        give(new);
        have += new.len() as u64;
    }
    Ok(have)
}

/// The payloads that items of a view refer to.
pub(crate) fn referenced(view: &View) -> Result<BTreeSet<Digest>, Error> {
    let mut digests = BTreeSet::new();
    for run in view.runs() {
        let (address, _) = run?;
        for item in view.items_at(address, 0)? {
            (view.references)(&item?.1, &mut |digest| {
                digests.insert(digest);
            })?;
        }
    }
    Ok(digests)
}

/// Whether a payload has to be kept although nothing may refer to it yet.
pub(crate) fn is_young(head: Head, applied: u64) -> bool {
    head.seq.saturating_add(BLOB_GRACE_RECORDS) > applied
}

/// Takes a payload away unless a part of it came after `applied`.
pub(crate) fn delete(
    rows: &dyn Rows,
    batch: &mut Batch,
    digest: &Digest,
    applied: u64,
) -> Result<bool, Error> {
    let head = rows.get(&blob::head_key(digest))?;
    match head.map(|value| blob::decode_head(&value)).transpose()? {
        Some(head) if !is_young(head, applied) => {}
        Some(_) | None => return Ok(false),
    }
    batch.delete(blob::head_key(digest));
    let (from, to) = blob::parts(digest);
    for row in rows.range(from, to) {
        batch.delete(row?.0);
    }
    Ok(true)
}
