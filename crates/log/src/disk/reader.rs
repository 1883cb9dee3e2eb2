//! Walks the batches of a segment in large reads. Compares every checksum; decides nothing.

use std::io;

use super::format::{
    ALIGN, BATCH_HEADER_BYTES, BATCH_MAGIC, BatchHeader, SEGMENT_HEADER_BYTES, checksum,
};
use crate::File;

/// Reads the batches between two offsets of a segment.
pub(super) struct BatchReader<'f> {
    file: &'f dyn File,
    salt: u64,
    at: u64,
    end: u64,
    /// Bytes to read at once.
    chunk: usize,
    buffer: Vec<u8>,
    buffer_at: u64,
}

/// A batch whose checksum is right.
pub(super) struct Batch<'b> {
    pub(super) number: u64,
    pub(super) at: u64,
    pub(super) entries: u32,
    pub(super) body: &'b [u8],
}

impl Batch<'_> {
    /// Bytes from its start to that of the next.
    pub(super) fn stride(&self) -> u64 {
        ((BATCH_HEADER_BYTES + self.body.len()) as u64).next_multiple_of(ALIGN)
    }
}

impl<'f> BatchReader<'f> {
    /// Reads from `at`, where a batch starts, up to `end`.
    pub(super) fn new(file: &'f dyn File, salt: u64, at: u64, end: u64, chunk: usize) -> Self {
        Self {
            file,
            salt,
            at: at.max(SEGMENT_HEADER_BYTES),
            end,
            chunk,
            buffer: Vec::new(),
            buffer_at: 0,
        }
    }

    /// Where the next batch starts.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// The next batch; `None` if what is there is not one.
    pub(super) fn next(&mut self) -> io::Result<Option<Batch<'_>>> {
        let at = self.at;
        let Some(header) = self.valid(at)? else {
            return Ok(None);
        };
        self.at = at + header.stride();
        let length = BATCH_HEADER_BYTES + header.length as usize;
        let bytes = self.window(at, length)?.unwrap_or_default();
        Ok(Some(Batch {
            number: header.number,
            at,
            entries: header.entries,
            body: bytes.get(BATCH_HEADER_BYTES..).unwrap_or_default(),
        }))
    }

    /// Looks behind a bad batch for a sound one that was written after it: its offset and number.
    /// `expected` is the lowest number it can have, if that is known.
    pub(super) fn find_later(&mut self, expected: Option<u64>) -> io::Result<Option<(u64, u64)>> {
        // a batch takes at least a header: a number beyond that was never written here
        let room = (self.end - self.at) / BATCH_HEADER_BYTES as u64;
        let numbers = expected.map_or(0..=u64::MAX, |from| from..=from.saturating_add(room));
        let mut at = self.at.next_multiple_of(ALIGN);
        while at < self.end {
            let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            let length = left.min(self.chunk.max(BATCH_HEADER_BYTES));
            let Some(window) = self.window(at, length)? else {
                break;
            };
            let words = window.chunks(ALIGN as usize);
            let candidates: Vec<u64> = words
                .zip((at..).step_by(ALIGN as usize))
                .filter(|(word, _)| word.starts_with(&BATCH_MAGIC))
                .map(|(_, offset)| offset)
                .collect();
            for offset in candidates {
                if let Some(header) = self.valid(offset)?
                    && numbers.contains(&header.number)
                {
                    return Ok(Some((offset, header.number)));
                }
            }
            at += (length as u64).next_multiple_of(ALIGN);
        }
        Ok(None)
    }

    /// The header at an offset, if a whole batch with the right checksum is there.
    fn valid(&mut self, at: u64) -> io::Result<Option<BatchHeader>> {
        let salt = self.salt;
        let Some(bytes) = self.window(at, BATCH_HEADER_BYTES)? else {
            return Ok(None);
        };
        let Some(header) = BatchHeader::decode(bytes) else {
            return Ok(None);
        };
        let length = BATCH_HEADER_BYTES + header.length as usize;
        let Some(bytes) = self.window(at, length)? else {
            return Ok(None);
        };
        Ok((checksum(salt, bytes) == Some(header.crc)).then_some(header))
    }

    /// Bytes of the file; `None` beyond the end.
    fn window(&mut self, at: u64, length: usize) -> io::Result<Option<&[u8]>> {
        if at.saturating_add(length as u64) > self.end {
            return Ok(None);
        }
        let held = self.buffer_at..=self.buffer_at + self.buffer.len() as u64;
        if !held.contains(&at) || !held.contains(&(at + length as u64)) {
            let left = usize::try_from(self.end - at).unwrap_or(usize::MAX);
            self.buffer.resize(length.max(self.chunk).min(left), 0);
            self.buffer_at = at;
            if let Err(error) = self.file.read_at(&mut self.buffer, at) {
                self.buffer.clear();
                return Err(error);
            }
        }
        let skip = usize::try_from(at - self.buffer_at).unwrap_or(usize::MAX);
        Ok(self.buffer.get(skip..skip.saturating_add(length)))
    }
}
