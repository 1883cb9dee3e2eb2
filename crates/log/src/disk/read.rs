//! Reads the records of one partition out of segments that hold those of all. Holds the index only
//! to look up a place, so that reading a long log does not delay commits.

use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::format::{Entries, Entry};
use super::index::{Index, Piece, STRETCH_BYTES};
use super::reader::BatchReader;
use super::{lock, segment};
use crate::{Error, PartitionId, Seq};

/// The records of a partition from one on, as far as they are durable.
pub(super) fn read(
    index: &Mutex<Index>,
    partition: PartitionId,
    from: Seq,
    max_bytes: usize,
) -> Result<Vec<(Seq, Bytes)>, Error> {
    let mut page = Page {
        partition,
        next: from.max(Seq(1)),
        records: Vec::new(),
        bytes: 0,
        bytes_max: max_bytes,
        full: false,
    };
    while !page.full {
        let durable = lock(index);
        let state = durable.state(partition);
        if page.next <= state.trimmed && page.records.is_empty() {
            return Err(Error::Trimmed { partition, first: state.trimmed.next() });
        }
        if page.next <= state.trimmed || page.next > state.tail {
            break;
        }
        let piece = durable.find(partition, page.next);
        drop(durable);
        let wanted = page.next;
        if let Some(piece) = &piece {
            page.fill(piece)?;
        }
        if page.next == wanted && !page.full {
            return Err(Error::Corrupt {
                file: piece.map_or_else(String::new, |piece| segment::name(piece.segment.number)),
                offset: 0,
                what: format!(
                    "record {wanted} of partition {partition} is not where it was written"
                ),
            });
        }
    }
    Ok(page.records)
}

/// Records being read.
struct Page {
    partition: PartitionId,
    /// The record to come.
    next: Seq,
    records: Vec<(Seq, Bytes)>,
    bytes: usize,
    bytes_max: usize,
    full: bool,
}

impl Page {
    fn fill(&mut self, piece: &Piece) -> Result<(), Error> {
        let segment = &piece.segment;
        let file = Arc::clone(&segment.file);
        let mut reader =
            BatchReader::new(&*file, segment.salt, piece.from, segment.end, STRETCH_BYTES as usize);
        let end = segment.end.min(piece.from + STRETCH_BYTES);
        while reader.at() < end && Some(self.next) != piece.next && !self.full {
            let at = reader.at();
            let batch = reader.next();
            let name = || segment::name(segment.number);
            let batch = batch.map_err(|e| Error::io("read", &name(), e))?;
            let Some(batch) = batch else {
                return Err(Error::Corrupt {
                    file: name(),
                    offset: at,
                    what: "a batch was sound when it was written and is not now".to_owned(),
                });
            };
            for entry in Entries::of(batch.body).flatten() {
                if let Entry::Record { partition, seq, record, .. } = entry
                    && partition == self.partition
                    && seq == self.next
                    && !self.full
                {
                    self.push(seq, record);
                }
            }
        }
        Ok(())
    }

    fn push(&mut self, seq: Seq, record: &[u8]) {
        let bytes = self.bytes.saturating_add(record.len());
        if bytes > self.bytes_max && !self.records.is_empty() {
            self.full = true;
            return;
        }
        self.bytes = bytes;
        // copied, so that a reader who keeps one record does not keep the whole stretch
        self.records.push((seq, Bytes::copy_from_slice(record)));
        self.next = seq.next();
    }
}
