//! Snapshots: a partition's log, folded by entity, in a file that is readable for ever.
//!
//! ```text
//! snapshots/p00002/00000000000000004711.snap
//! header ‖ part ‖ part ‖ … ‖ footer        (proto/reflux/v1/snapshot.proto)
//! ```
//! It holds items and payloads as they were logged, and no state: who loads it folds the items.
//! Runs of one workflow id stand together, the current one last.

mod decode;
mod encode;
mod frame;
mod restore;

#[cfg(test)]
mod tests;

pub(crate) use decode::{Piece, Reader};
pub(crate) use encode::header as header_frame;
pub(crate) use frame::{Frames, frame};
pub use restore::restore;

use reflux_core::Timestamp;

use crate::error::Error;
use crate::object::{Download, Place};
use crate::summary::Digest;
use crate::view::View;

/// A snapshot that was written or read through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Which partition it is of.
    pub partition: u32,
    /// The last record that is in it.
    pub seq: u64,
    /// When it was taken.
    pub time: Timestamp,
    /// Length of the file.
    pub bytes: u64,
    /// BLAKE3 of the file.
    pub digest: Digest,
    /// Runs in it.
    pub entities: u64,
    /// Items in it.
    pub items: u64,
    /// Payloads in it.
    pub blobs: u64,
}

/// Where the snapshot of a partition at a record belongs.
pub fn path(partition: u32, seq: u64) -> String {
    format!("{}/{seq:020}.snap", folder(partition))
}

fn folder(partition: u32) -> String {
    format!("snapshots/p{partition:05}")
}

/// Writes a snapshot of a view to where [`path`] says, with bounded memory. It is on disk when
/// this returns; a file appears whole or not at all. Read it back with [`verify`] before
/// anything is trimmed.
///
/// # Errors
/// [`Error::Retry`] when it cannot be written, and what reading the view gives.
pub fn write(view: &View, now: Timestamp, place: &Place) -> Result<Written, Error> {
    let seq = view.applied()?;
    write_as(view, now, place, &path(view.partition, seq))
}

pub(crate) fn write_as(
    view: &View,
    now: Timestamp,
    place: &Place,
    file: &str,
) -> Result<Written, Error> {
    let mut upload = place.upload(file);
    let mut hasher = blake3::Hasher::new();
    let mut bytes = 0;
    let footer = encode::encode(view, now, &mut |frame| {
        hasher.update(&frame);
        bytes += frame.len() as u64;
        upload.put(frame)
    })?;
    upload.finish()?;
    Ok(Written {
        partition: view.partition,
        seq: view.applied()?,
        time: now,
        bytes,
        digest: *hasher.finalize().as_bytes(),
        entities: footer.entities,
        items: footer.items,
        blobs: footer.blobs,
    })
}

/// Reads a snapshot from end to end: every checksum, every count, every payload's digest.
///
/// # Errors
/// [`Error::Corrupt`] with file, offset and what to do; [`Error::NotFound`]; [`Error::Retry`].
pub fn verify(place: &Place, file: &str) -> Result<Written, Error> {
    open(place, file)?.finish()
}

pub(crate) fn open(place: &Place, file: &str) -> Result<Reader<Download>, Error> {
    let download = place.download(file)?;
    Ok(Reader::new(&place.describe(file), download))
}

/// The snapshots of a partition as (last record, file), newest first.
///
/// # Errors
/// [`Error::Retry`] when the place does not answer.
pub fn list(place: &Place, partition: u32) -> Result<Vec<(u64, String)>, Error> {
    let mut found: Vec<_> = place
        .list(&folder(partition))?
        .into_iter()
        .filter_map(|file| {
            let seq = file.strip_suffix(".snap")?.rsplit_once('/')?.1.parse().ok()?;
            (path(partition, seq) == file).then_some((seq, file))
        })
        .collect();
    found.sort_unstable_by(|one, other| other.cmp(one));
    Ok(found)
}

/// Reads the snapshots of a partition back, newest first, until `keep` of them (at least one) are
/// whole, and deletes the others: the damaged and the older. Returns the last records of those
/// that stay, newest first. Without a whole one nothing is deleted.
///
/// # Errors
/// [`Error::Retry`] when the place does not answer; nothing is deleted then.
pub fn retain(place: &Place, partition: u32, keep: usize) -> Result<Vec<u64>, Error> {
    let (mut whole, mut others) = (Vec::new(), Vec::new());
    for (seq, file) in list(place, partition)? {
        if whole.len() == keep.max(1) {
            others.push(file);
            continue;
        }
        match verify(place, &file) {
            Ok(_) => whole.push(seq),
            Err(Error::Corrupt(_)) => others.push(file),
            // Somebody else had it deleted.
            Err(Error::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
    }
    if !whole.is_empty() {
        for file in others {
            place.delete(&file)?;
        }
    }
    Ok(whole)
}
