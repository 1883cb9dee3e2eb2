//! Reads the frames of a snapshot and refuses whatever was not written so.

use bytes::Bytes;
use prost::Message;
use prost::encoding::{WireType, decode_key, decode_varint};
use reflux_core::{RunId, RunKey, Timestamp};
use reflux_proto::reflux::v1::{Blob, EntityId, Footer, Header, entity_id};
use uuid::Uuid;

use super::Written;
use super::encode::FORMAT;
use super::frame::Frames;
use crate::blobs;
use crate::commit::ITEM_BYTES_MAX;
use crate::error::Error;
use crate::summary::Digest;

/// What a snapshot says, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Piece {
    Header(Header),
    /// Encoded items of a run; `continued` when earlier ones came just before.
    Run {
        key: RunKey,
        items: Vec<Bytes>,
        continued: bool,
    },
    Blob(Blob),
    /// What was counted; after it comes nothing.
    Footer(Footer),
}

/// Reads a snapshot from its first byte to its last.
pub(crate) struct Reader<I> {
    frames: Frames<I>,
    state: State,
    /// What is left of the part being read, and where its frame starts.
    part: Bytes,
    part_offset: u64,
    header: Header,
    /// What was counted so far, for comparison with the footer.
    counted: Footer,
    run: Option<RunKey>,
    blob: Option<BlobCheck>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Start,
    Parts,
    End,
}

impl<I: Iterator<Item = Result<Bytes, Error>>> Reader<I> {
    pub(crate) fn new(name: &str, pieces: I) -> Self {
        Self {
            frames: Frames::new(name, pieces),
            state: State::Start,
            part: Bytes::new(),
            part_offset: 0,
            header: Header::default(),
            counted: Footer::default(),
            run: None,
            blob: None,
        }
    }

    /// The next piece; `None` after the footer.
    pub(crate) fn next(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            if !self.part.is_empty() {
                return self.next_of_part().map(Some);
            }
            let Some((offset, mut message)) = self.frames.next()? else {
                return match self.state {
                    State::End => Ok(None),
                    State::Start | State::Parts => {
                        let at = self.frames.offset();
                        Err(self.frames.damaged(at, "it ends before its footer"))
                    }
                };
            };
            self.part_offset = offset;
            let (number, content) = self.field(&mut message)?;
            if !message.is_empty() {
                return Err(self.damaged("a frame with more than one content"));
            }
            match (self.state, number) {
                (State::Start, 1) => {
                    self.state = State::Parts;
                    return self.header(content).map(Some);
                }
                (State::Parts, 2) => self.part = content,
                (State::Parts, 3) => {
                    self.state = State::End;
                    return self.footer(content).map(Some);
                }
                (State::Start, _) => return Err(self.damaged("it does not start with a header")),
                (State::Parts, _) => return Err(self.damaged("a frame of an unknown kind")),
                (State::End, _) => return Err(self.damaged("a frame after the footer")),
            }
        }
    }

    /// Reads on to the end and tells what the file was.
    pub(crate) fn finish(mut self) -> Result<Written, Error> {
        while self.next()?.is_some() {}
        Ok(Written {
            partition: self.header.partition,
            seq: self.header.seq,
            time: Timestamp(self.header.time),
            bytes: self.frames.offset(),
            digest: self.frames.digest(),
            entities: self.counted.entities,
            items: self.counted.items,
            blobs: self.counted.blobs,
        })
    }

    fn header(&mut self, content: Bytes) -> Result<Piece, Error> {
        let header = Header::decode(content).map_err(|error| self.damaged(&error.to_string()))?;
        if header.format != FORMAT {
            return Err(Error::Invalid(format!(
                "snapshot format {}: this version reads {FORMAT}; use the version that wrote it",
                header.format
            )));
        }
        self.header = header;
        Ok(Piece::Header(header))
    }

    fn footer(&mut self, content: Bytes) -> Result<Piece, Error> {
        let footer = Footer::decode(content).map_err(|error| self.damaged(&error.to_string()))?;
        if footer != self.counted {
            return Err(self.damaged("the footer counts other contents"));
        }
        Ok(Piece::Footer(footer))
    }

    fn next_of_part(&mut self) -> Result<Piece, Error> {
        let mut part = std::mem::take(&mut self.part);
        let (number, content) = self.field(&mut part)?;
        self.part = part;
        match number {
            1 => self.entry(content),
            2 => self.blob_part(content),
            _ => Err(self.damaged("a part with a field of an unknown number")),
        }
    }

    fn entry(&mut self, mut entry: Bytes) -> Result<Piece, Error> {
        if self.blob.is_some() {
            return Err(self.damaged("an entity behind the payloads"));
        }
        let (1, entity) = self.field(&mut entry)? else {
            return Err(self.damaged("an entry without its entity"));
        };
        let key = self.entity(entity)?;
        let mut items = Vec::new();
        while !entry.is_empty() {
            match self.field(&mut entry)? {
                (2, item) if item.len() <= ITEM_BYTES_MAX => items.push(item),
                _ => return Err(self.damaged("an entry with something else than items")),
            }
        }
        let continued = self.run.as_ref() == Some(&key);
        if !continued {
            self.counted.entities += 1;
            self.run = Some(key.clone());
        }
        self.counted.items += items.len() as u64;
        Ok(Piece::Run { key, items, continued })
    }

    fn entity(&self, entity: Bytes) -> Result<RunKey, Error> {
        let entity = EntityId::decode(entity).map_err(|error| self.damaged(&error.to_string()))?;
        if entity.kind() != entity_id::Kind::Run {
            return Err(Error::Invalid(format!(
                "snapshot: an entity of kind {}; use the version that wrote it",
                entity.kind
            )));
        }
        let run_id = Uuid::from_slice(&entity.run_id)
            .map_err(|_| self.damaged("a run id that has not 16 bytes"))?;
        Ok(RunKey {
            namespace: entity.namespace.into(),
            workflow_id: entity.workflow_id.into(),
            run_id: RunId(run_id),
        })
    }

    fn blob_part(&mut self, part: Bytes) -> Result<Piece, Error> {
        let part = Blob::decode(part).map_err(|error| self.damaged(&error.to_string()))?;
        let digest = blobs::digest_of(&part).map_err(|error| self.damaged(&error.to_string()))?;
        blobs::check(&digest, &part).map_err(|error| self.damaged(&error.to_string()))?;
        let mut check = match self.blob.take() {
            Some(check) if check.digest == digest => check,
            Some(_) | None => {
                self.counted.blobs += 1;
                BlobCheck::new(digest)
            }
        };
        check.add(&part).map_err(|detail| self.damaged(detail))?;
        self.blob = Some(check);
        Ok(Piece::Blob(part))
    }

    /// Takes a length-delimited field, the only kind the outer messages have.
    fn field(&self, from: &mut Bytes) -> Result<(u32, Bytes), Error> {
        let (number, wire_type) =
            decode_key(from).map_err(|error| self.damaged(&error.to_string()))?;
        if wire_type != WireType::LengthDelimited {
            return Err(self.damaged("a field of an unknown type"));
        }
        let length = decode_varint(from).map_err(|error| self.damaged(&error.to_string()))?;
        match usize::try_from(length) {
            Ok(length) if length <= from.len() => Ok((number, from.split_to(length))),
            _ => Err(self.damaged("a field longer than its message")),
        }
    }

    fn damaged(&self, detail: &str) -> Error {
        self.frames.damaged(self.part_offset, detail)
    }
}

/// Hashes a payload while its parts go by.
struct BlobCheck {
    digest: Digest,
    have: u64,
    hasher: blake3::Hasher,
}

impl BlobCheck {
    fn new(digest: Digest) -> Self {
        Self { digest, have: 0, hasher: blake3::Hasher::new() }
    }

    // Parts come by offset. One that leaves a gap belongs to a payload that is still arriving.
    fn add(&mut self, part: &Blob) -> Result<(), &'static str> {
        let known =
            self.have.checked_sub(part.offset).and_then(|known| usize::try_from(known).ok());
        if let Some(new) = known.and_then(|known| part.bytes.get(known..)) {
            self.hasher.update(new);
            self.have += new.len() as u64;
        }
        if self.have == part.length && self.hasher.finalize().as_bytes() != &self.digest {
            return Err("a payload with another digest");
        }
        Ok(())
    }
}
