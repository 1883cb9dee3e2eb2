//! The seam below the rows: a sorted map of bytes with atomic batches and frozen views.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::error::Error;

/// A key and its value.
pub(crate) type Row = (Bytes, Bytes);

/// Rows in key order, from either end.
pub(crate) type Range = Box<dyn DoubleEndedIterator<Item = Result<Row, Error>> + Send>;

/// Reads of rows, of the present or of a frozen moment.
pub(crate) trait Rows: Send + Sync {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error>;

    /// Rows with `from <= key < to`, as they are when the range is asked for.
    fn range(&self, from: Bytes, to: Bytes) -> Range;
}

/// The rows of one partition.
pub(crate) trait Table: Rows {
    /// Writes all of it or nothing. Never waits for the disk.
    fn commit(&self, applied: u64, batch: Batch) -> Result<(), Error>;

    /// The rows as they are now, for as long as it is held.
    fn freeze(&self) -> Arc<dyn Rows>;

    fn clear(&self) -> Result<(), Error>;

    /// Goes back to what the last commit at or before `applied` left.
    fn revert_to(&self, applied: u64) -> Result<(), Error>;
}

/// Rows to write and to delete, one fate per key.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    rows: BTreeMap<Bytes, Option<Bytes>>,
    bytes: usize,
}

impl Batch {
    pub(crate) fn put(&mut self, key: Bytes, value: Bytes) {
        self.bytes += key.len() + value.len();
        self.rows.insert(key, Some(value));
    }

    pub(crate) fn delete(&mut self, key: Bytes) {
        self.bytes += key.len();
        self.rows.insert(key, None);
    }

    /// Whether this batch writes the key (and does not delete it).
    pub(crate) fn writes(&self, key: &[u8]) -> bool {
        matches!(self.rows.get(key), Some(Some(_)))
    }

    /// Length of the value that this batch writes to a key, if it does.
    pub(crate) fn value_bytes(&self, key: &[u8]) -> Option<usize> {
        self.rows.get(key)?.as_ref().map(Bytes::len)
    }

    /// Keys and values put in so far, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn into_rows(self) -> impl Iterator<Item = (Bytes, Option<Bytes>)> {
        self.rows.into_iter()
    }
}
