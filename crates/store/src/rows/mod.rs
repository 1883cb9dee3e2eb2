//! The rows of a partition: one file per kind, each owning how its keys are encoded.
//!
//! ```text
//! key = kind ‖ what it is sorted by ‖ address of the run
//! address = slot (u16 BE) ‖ digest of namespace and workflow id (16) ‖ run id (16)
//! ```
//! Keys have a fixed length whatever ids a client chose (but those of tallies). Rows of a run are prefixed by its slot;
//! rows that order many runs (due, expiry, started, waiting) by what they order. No file here commits
//! anything: they add to a [`Batch`](crate::table::Batch).

pub(crate) mod address;
pub(crate) mod blob;
pub(crate) mod cached;
pub(crate) mod calendar;
pub(crate) mod codec;
pub(crate) mod current;
pub(crate) mod items;
pub(crate) mod meta;
pub(crate) mod moment;
pub(crate) mod run_id;
pub(crate) mod started;
pub(crate) mod summary;
pub(crate) mod tally;
pub(crate) mod waiting;
pub(crate) mod working;

#[cfg(test)]
mod tests;

use bytes::Bytes;

/// Which rows a key belongs to: its first byte. Numbers are part of the row format.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
pub(crate) enum Kind {
    Meta = 0,
    Items = 1,
    Summary = 2,
    Current = 3,
    Due = 4,
    Working = 5,
    Expiry = 6,
    Started = 7,
    RunId = 8,
    BlobHead = 9,
    BlobPart = 10,
    Waiting = 11,
    Tally = 12,
    Cached = 13,
}

/// Where all rows begin and end.
pub(crate) fn everything() -> (Bytes, Bytes) {
    (Bytes::new(), Kind::Cached.key_after(&[]))
}

impl Kind {
    /// A key of this kind.
    pub(crate) fn key(self, parts: &[&[u8]]) -> Bytes {
        let mut key = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
        key.push(self as u8);
        for part in parts {
            key.extend_from_slice(part);
        }
        key.into()
    }

    /// The first key after all keys of this kind that start with `parts`.
    pub(crate) fn key_after(self, parts: &[&[u8]]) -> Bytes {
        let mut key = Vec::from(self.key(parts));
        while let Some(last) = key.pop() {
            if last < u8::MAX {
                key.push(last + 1);
                break;
            }
        }
        key.into()
    }
}
