//! Makes and names segment files. A segment appears under its name only when it is whole and durable.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::sync::Arc;

use super::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use super::index::Segment;
use crate::Files;

/// Bytes made durable at once while a segment is prepared: large enough to be quick, small enough
/// that a batch's sync does not wait long behind them.
const PREPARE_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes copied at once during recovery.
const COPY_BYTES: u64 = 1024 * 1024;

/// The name of a segment's file.
pub(super) fn name(number: u64) -> String {
    format!("{number:020}.log")
}

/// The number of the segment that a file holds, if it is one.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    let is_number = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| digits.parse().ok()).flatten()
}

/// Whether a file is a segment that was never finished.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|stem| number(&format!("{stem}.log")).is_some())
}

/// A salt for a new segment: drawn from the seed if there is one, else random.
pub(super) fn salt(seed: Option<u64>, number: u64) -> u64 {
    match seed {
        Some(seed) => seed.wrapping_add(number).wrapping_mul(0x9E37_79B9_7F4A_7C15),
        // the standard library's hasher keys are random per process, which is all a salt needs
        None => {
            let mut hasher = RandomState::new().build_hasher();
            hasher.write_u64(number);
            hasher.finish()
        }
    }
}

/// Makes an empty segment of `size` bytes.
pub(super) fn create(files: &dyn Files, number: u64, salt: u64, size: u64) -> io::Result<Segment> {
    build(files, number, salt, size, None)
}

/// Replaces a segment by a copy of its batches, with `size` bytes allocated.
pub(super) fn rewrite(files: &dyn Files, old: &Segment, size: u64) -> io::Result<Segment> {
    build(files, old.number, old.salt, size, Some(old))
}

/// Does without a copy, on a full disk: writes every byte again where it is, and zeroes over a torn
/// tail. As durable as a copy, but it counts on the disk to keep what is overwritten with itself.
pub(super) fn refresh(files: &dyn Files, old: &Segment) -> io::Result<()> {
    let mut buffer = Vec::new();
    let mut at = 0;
    while at < old.size {
        let length = (old.size - at).min(COPY_BYTES);
        buffer.resize(usize::try_from(length).unwrap_or(0), 0);
        old.file.read_at(&mut buffer, at)?;
        let kept = usize::try_from(old.end.saturating_sub(at)).unwrap_or(usize::MAX);
        let torn = buffer.get_mut(kept..).unwrap_or_default();
        torn.fill(0);
        old.file.write_at(&buffer, at)?;
        at += length;
    }
    old.file.sync_data()?;
    // its name may not be durable either
    files.sync_dir()
}

fn build(
    files: &dyn Files,
    number: u64,
    salt: u64,
    size: u64,
    old: Option<&Segment>,
) -> io::Result<Segment> {
    let unfinished = name(number).replace(".log", ".tmp");
    let built = write(files, &unfinished, number, salt, size, old);
    if built.is_err() {
        // gives the room back; if even that fails, the next open does it
        let _ = files.remove(&unfinished);
    }
    built
}

fn write(
    files: &dyn Files,
    unfinished: &str,
    number: u64,
    salt: u64,
    size: u64,
    old: Option<&Segment>,
) -> io::Result<Segment> {
    let file = files.create(unfinished)?;
    let header = SegmentHeader { segment: number, salt };
    file.write_at(&header.encode(), 0)?;
    let mut end = SEGMENT_HEADER_BYTES;
    if let Some(old) = old {
        let mut buffer = Vec::new();
        while end < old.end {
            let length = (old.end - end).min(COPY_BYTES);
            buffer.resize(usize::try_from(length).unwrap_or(0), 0);
            old.file.read_at(&mut buffer, end)?;
            file.write_at(&buffer, end)?;
            end += length;
        }
    }
    let mut allocated = end;
    loop {
        let to = size.min(allocated + PREPARE_BYTES);
        file.allocate(allocated, to)?;
        file.sync_data()?;
        allocated = to;
        if allocated >= size {
            break;
        }
    }
    files.rename(unfinished, &name(number))?;
    files.sync_dir()?;
    Ok(Segment { number, file: Arc::clone(&file), salt, end, size })
}
