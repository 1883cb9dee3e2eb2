//! Frames: `length (u32 LE) ‖ CRC-32C (u32 LE) ‖ message`, the outermost shape of a snapshot.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::error::Error;
use crate::summary::Digest;

/// Bytes before every message.
const PREFIX_BYTES: usize = 8;

/// Longest message. A part is cut at 512 KiB and can go over by one item; a length beyond this is
/// damage, and not memory to be asked for.
pub(crate) const FRAME_BYTES_MAX: usize = 4 << 20;

/// A message as a frame.
pub(crate) fn frame(message: &[u8]) -> Result<Bytes, Error> {
    let length = u32::try_from(message.len()).ok().filter(|_| message.len() <= FRAME_BYTES_MAX);
    let Some(length) = length else {
        return Err(Error::Invalid(format!("a snapshot frame of {} bytes", message.len())));
    };
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + message.len());
    frame.put_u32_le(length);
    frame.put_u32_le(crc32c::crc32c(message));
    frame.put_slice(message);
    Ok(frame.freeze())
}

/// Takes frames off the pieces of a file.
pub(crate) struct Frames<I> {
    pieces: I,
    name: String,
    buffer: BytesMut,
    hasher: blake3::Hasher,
    /// Where the next frame starts in the file.
    offset: u64,
}

impl<I: Iterator<Item = Result<Bytes, Error>>> Frames<I> {
    pub(crate) fn new(name: &str, pieces: I) -> Self {
        Self {
            pieces,
            name: name.into(),
            buffer: BytesMut::new(),
            hasher: blake3::Hasher::new(),
            offset: 0,
        }
    }

    /// The message of the next frame and where the frame starts; `None` at the end of the file.
    pub(crate) fn next(&mut self) -> Result<Option<(u64, Bytes)>, Error> {
        let start = self.offset;
        if !self.fill(PREFIX_BYTES)? {
            return match self.buffer.len() {
                0 => Ok(None),
                _ => Err(self.damaged(start, "it ends inside a frame")),
            };
        }
        let mut prefix = self.buffer.split_to(PREFIX_BYTES);
        let (length, crc) = (prefix.get_u32_le(), prefix.get_u32_le());
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if length > FRAME_BYTES_MAX {
            return Err(self.damaged(start, "a frame longer than any that is written"));
        }
        if !self.fill(length)? {
            return Err(self.damaged(start, "it ends inside a frame"));
        }
        let message = self.buffer.split_to(length).freeze();
        if crc32c::crc32c(&message) != crc {
            return Err(self.damaged(start, "the checksum does not match"));
        }
        self.offset += (PREFIX_BYTES + length) as u64;
        Ok(Some((start, message)))
    }

    /// Whether at least so many bytes are in the buffer, reading on as needed.
    fn fill(&mut self, bytes: usize) -> Result<bool, Error> {
        while self.buffer.len() < bytes {
            match self.pieces.next() {
                Some(piece) => {
                    let piece = piece?;
                    self.hasher.update(&piece);
                    self.buffer.extend_from_slice(&piece);
                }
                None => return Ok(false),
            }
        }
        Ok(true)
    }

    /// BLAKE3 of what was read of the file: of all of it after the last frame.
    pub(crate) fn digest(&self) -> Digest {
        *self.hasher.finalize().as_bytes()
    }

    /// Bytes of the frames taken so far.
    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    /// Damage at a place in the file, and what to do about it.
    pub(crate) fn damaged(&self, offset: u64, detail: &str) -> Error {
        Error::Corrupt(format!(
            "snapshot {}, byte {offset}: {detail}; do not use this file: take the snapshot before \
             it in the same directory, or restore a backup",
            self.name
        ))
    }
}
