//! The bytes on disk. Numbers are little-endian and for ever: a change is a new `FORMAT`.
//!
//! ```text
//! segment   header, batches, zeroes up to the size allocated
//! header    64 bytes: magic "RFLXSEGM", format u32, zero u32, segment u64, salt u64, zeroes, crc u32
//! batch     32 bytes: magic "RFB" and format u8, zero u32, number u64, length u32, entries u32,
//!           zero u32, crc u32; then `length` bytes of entries; then zeroes up to a multiple of 8
//! crc       CRC-32C over everything before it in the header and, for a batch, the salt before
//!           and the entries after it
//! entry     kind u8, partition u32, then by kind
//!   1 State   epoch u64, tail u64, trimmed u64: carried over from the segments before
//!   2 Epoch   epoch u64: a new writer; every earlier one is fenced
//!   3 Record  epoch u64, seq u64, length u32, that many bytes
//!   4 Trim    up_to u64: records up to and including it may go
//! ```
//!
//! The first batch of a segment starts with a `State` of every partition, so that the segments
//! before it hold nothing but records. Batches are numbered without gaps, across segments. The salt
//! is random per segment: without it a record that imitates a batch could look like one.

use crate::book::State;
use crate::{Epoch, PartitionId, Seq};

/// Bytes of a segment's header.
pub(super) const SEGMENT_HEADER_BYTES: u64 = 64;
/// Bytes of a batch's header; all of an empty batch.
pub(super) const BATCH_HEADER_BYTES: usize = 32;
/// Bytes of a `State` entry.
pub(super) const STATE_BYTES: usize = 29;
/// Bytes of a `Record` entry besides the record.
pub(super) const RECORD_OVERHEAD_BYTES: usize = 25;
/// Bytes of an `Epoch` or a `Trim` entry.
pub(super) const CONTROL_BYTES: usize = 13;
/// Batches start at multiples of this.
pub(super) const ALIGN: u64 = 8;
/// The format of segments and batches that this version reads and writes.
pub(super) const FORMAT: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"RFLXSEGM";
pub(super) const BATCH_MAGIC: [u8; 4] = *b"RFB\x01";

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) segment: u64,
    pub(super) salt: u64,
}

/// Why a segment's header cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// The bytes are not what was written.
    Damaged,
    /// It is sound, but of another format.
    Format(u32),
}

impl SegmentHeader {
    pub(super) fn encode(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&SEGMENT_MAGIC);
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&self.segment.to_le_bytes());
        bytes.extend_from_slice(&self.salt.to_le_bytes());
        bytes.resize(60, 0);
        let crc = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8; 64]) -> Result<Self, BadHeader> {
        let (body, crc) = bytes.split_at(60);
        let mut fields = Fields(body);
        let crc_found = Fields(crc).u32();
        if fields.take() != Some(SEGMENT_MAGIC) || crc_found != Some(crc32c::crc32c(body)) {
            return Err(BadHeader::Damaged);
        }
        match fields.u32() {
            Some(FORMAT) => {}
            Some(format) => return Err(BadHeader::Format(format)),
            None => return Err(BadHeader::Damaged),
        }
        let decoded = fields
            .u32()
            .and_then(|_zero| Some(Self { segment: fields.u64()?, salt: fields.u64()? }));
        decoded.ok_or(BadHeader::Damaged)
    }
}

/// A batch's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) number: u64,
    /// Bytes of the entries.
    pub(super) length: u32,
    pub(super) entries: u32,
    pub(super) crc: u32,
}

impl BatchHeader {
    /// Reads a header; `None` if the bytes are none. The checksum is still to be compared.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut fields = Fields(bytes);
        if fields.take() != Some(BATCH_MAGIC) {
            return None;
        }
        fields.u32()?;
        let number = fields.u64()?;
        let length = fields.u32()?;
        let entries = fields.u32()?;
        fields.u32()?;
        Some(Self { number, length, entries, crc: fields.u32()? })
    }

    /// Bytes from this header to the next.
    pub(super) fn stride(&self) -> u64 {
        (BATCH_HEADER_BYTES as u64 + u64::from(self.length)).next_multiple_of(ALIGN)
    }
}

/// The checksum of a batch: `bytes` is the header and the entries, without padding.
pub(super) fn checksum(salt: u64, bytes: &[u8]) -> Option<u32> {
    let (header, body) = bytes.split_at_checked(BATCH_HEADER_BYTES)?;
    let crc = crc32c::crc32c(&salt.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, header.get(..28)?);
    Some(crc32c::crc32c_append(crc, body))
}

/// A batch being written.
#[derive(Debug, Default)]
pub(super) struct Draft {
    bytes: Vec<u8>,
    entries: u32,
    /// Bytes of the entries, once sealed.
    length: usize,
}

impl Draft {
    /// Starts over, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(BATCH_HEADER_BYTES, 0);
        self.entries = 0;
    }

    pub(super) fn push(&mut self, entry: Entry<'_>) {
        entry.encode(&mut self.bytes);
        self.entries = self.entries.saturating_add(1);
    }

    /// Bytes so far, header included.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Fills in the header and pads: what is to be written.
    pub(super) fn seal(&mut self, salt: u64, number: u64) -> &[u8] {
        self.length = self.bytes.len().saturating_sub(BATCH_HEADER_BYTES);
        let length = u32::try_from(self.length).unwrap_or(u32::MAX);
        let mut header = Vec::with_capacity(BATCH_HEADER_BYTES);
        header.extend_from_slice(&BATCH_MAGIC);
        header.extend_from_slice(&[0; 4]);
        header.extend_from_slice(&number.to_le_bytes());
        header.extend_from_slice(&length.to_le_bytes());
        header.extend_from_slice(&self.entries.to_le_bytes());
        header.resize(BATCH_HEADER_BYTES, 0);
        self.set_header(&header);
        let crc = checksum(salt, &self.bytes).unwrap_or_default();
        header.truncate(28);
        header.extend_from_slice(&crc.to_le_bytes());
        self.set_header(&header);
        let padded = self.bytes.len().next_multiple_of(ALIGN as usize);
        self.bytes.resize(padded, 0);
        &self.bytes
    }

    /// The entries, once sealed.
    pub(super) fn body(&self) -> &[u8] {
        let end = BATCH_HEADER_BYTES + self.length;
        self.bytes.get(BATCH_HEADER_BYTES..end).unwrap_or_default()
    }

    fn set_header(&mut self, header: &[u8]) {
        if let Some(place) = self.bytes.get_mut(..BATCH_HEADER_BYTES) {
            place.copy_from_slice(header);
        }
    }
}

/// One fact in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    State { partition: PartitionId, state: State },
    Epoch { partition: PartitionId, epoch: Epoch },
    Record { partition: PartitionId, epoch: Epoch, seq: Seq, record: &'a [u8] },
    Trim { partition: PartitionId, up_to: Seq },
}

impl<'a> Entry<'a> {
    fn encode(self, out: &mut Vec<u8>) {
        match self {
            Self::State { partition, state } => {
                start(out, 1, partition);
                out.extend_from_slice(&state.epoch.0.to_le_bytes());
                out.extend_from_slice(&state.tail.0.to_le_bytes());
                out.extend_from_slice(&state.trimmed.0.to_le_bytes());
            }
            Self::Epoch { partition, epoch } => {
                start(out, 2, partition);
                out.extend_from_slice(&epoch.0.to_le_bytes());
            }
            Self::Record { partition, epoch, seq, record } => {
                start(out, 3, partition);
                out.extend_from_slice(&epoch.0.to_le_bytes());
                out.extend_from_slice(&seq.0.to_le_bytes());
                let length = u32::try_from(record.len()).unwrap_or(u32::MAX);
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(record);
            }
            Self::Trim { partition, up_to } => {
                start(out, 4, partition);
                out.extend_from_slice(&up_to.0.to_le_bytes());
            }
        }
    }

    fn decode(fields: &mut Fields<'a>) -> Option<Self> {
        let [kind] = fields.take()?;
        let partition = PartitionId(fields.u32()?);
        match kind {
            1 => Some(Self::State {
                partition,
                state: State {
                    epoch: Epoch(fields.u64()?),
                    tail: Seq(fields.u64()?),
                    trimmed: Seq(fields.u64()?),
                },
            }),
            2 => Some(Self::Epoch { partition, epoch: Epoch(fields.u64()?) }),
            3 => {
                let epoch = Epoch(fields.u64()?);
                let seq = Seq(fields.u64()?);
                let length = usize::try_from(fields.u32()?).ok()?;
                Some(Self::Record { partition, epoch, seq, record: fields.slice(length)? })
            }
            4 => Some(Self::Trim { partition, up_to: Seq(fields.u64()?) }),
            _ => None,
        }
    }
}

fn start(out: &mut Vec<u8>, kind: u8, partition: PartitionId) {
    out.push(kind);
    out.extend_from_slice(&partition.0.to_le_bytes());
}

/// The entries of a batch whose checksum was compared; `None` where the bytes are no entry.
pub(super) struct Entries<'a> {
    fields: Fields<'a>,
}

impl<'a> Entries<'a> {
    pub(super) fn of(body: &'a [u8]) -> Self {
        Self { fields: Fields(body) }
    }
}

impl<'a> Iterator for Entries<'a> {
    type Item = Option<Entry<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.fields.0.is_empty() {
            return None;
        }
        let entry = Entry::decode(&mut self.fields);
        if entry.is_none() {
            self.fields = Fields(&[]);
        }
        Some(entry)
    }
}

/// Takes numbers off the front of bytes.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*first)
    }

    fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (first, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(first)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }
}
