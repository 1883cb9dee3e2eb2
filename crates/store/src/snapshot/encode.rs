//! Turns a view into the frames of a snapshot, piece by piece.

use std::collections::BTreeSet;

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encode_varint, encoded_len_varint};
use reflux_core::{RunKey, Timestamp};
use reflux_proto::reflux::v1::{
    Blob, EntityId, Footer, Frame, Header, entity_id, frame::Frame as Content,
};

use super::frame;
use crate::blobs;
use crate::error::Error;
use crate::rows::address::Address;
use crate::rows::{blob, items};
use crate::summary::{Digest, Summary};
use crate::view::View;

/// The only format so far, for ever readable.
pub(crate) const FORMAT: u32 = 1;

/// Where a part is cut.
const PART_BYTES: usize = 512 << 10;

/// Tags of length-delimited fields: `Frame.part`, `Part.entries`, `Part.blobs`, `Entry.entity`.
const FRAME_PART: u8 = 0x12;
const PART_ENTRY: u8 = 0x0a;
const PART_BLOB: u8 = 0x12;
const ENTRY_ENTITY: u8 = 0x0a;

/// Takes the frames of a snapshot, in order.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(Bytes) -> Result<(), Error>;

/// Writes everything of a view that is not retired; returns what the footer says.
pub(crate) fn encode(view: &View, now: Timestamp, sink: Sink<'_>) -> Result<Footer, Error> {
    let seq = view.applied()?;
    sink(header(Header { format: FORMAT, partition: view.partition, seq, time: now.0 })?)?;
    let (part, footer, wanted) = (BytesMut::new(), Footer::default(), BTreeSet::new());
    let mut parts = Parts { part, footer, wanted, sink };
    write_runs(view, &mut parts)?;
    write_blobs(view, seq, &mut parts)?;
    parts.flush()?;
    let footer = parts.footer;
    sink(frame::frame(&Frame { frame: Some(Content::Footer(footer)) }.encode_to_vec())?)?;
    Ok(footer)
}

pub(crate) fn header(header: Header) -> Result<Bytes, Error> {
    frame::frame(&Frame { frame: Some(Content::Header(header)) }.encode_to_vec())
}

/// Workflow by workflow, its current run last: who reads it takes the last one as current.
fn write_runs(view: &View, parts: &mut Parts<'_>) -> Result<(), Error> {
    let mut held: Option<(Address, Summary)> = None;
    for run in view.runs() {
        let (run, summary) = run?;
        if let Some((current, its)) = held.take_if(|(held, _)| held.workflow() != run.workflow()) {
            parts.run(view, current, &its)?;
        }
        if view.current_run(run.workflow())? == Some(run.run_id()) {
            held = Some((run, summary));
        } else {
            parts.run(view, run, &summary)?;
        }
    }
    match held {
        Some((current, its)) => parts.run(view, current, &its),
        None => Ok(()),
    }
}

/// Those that items refer to, and those so young that a coming record may.
fn write_blobs(view: &View, seq: u64, parts: &mut Parts<'_>) -> Result<(), Error> {
    for head in view.blob_heads() {
        let (digest, head) = head?;
        if parts.wanted.contains(&digest) || blobs::is_young(head, seq) {
            parts.blob(view, &digest, head.length)?;
        }
    }
    Ok(())
}

/// The part being filled.
struct Parts<'a> {
    part: BytesMut,
    footer: Footer,
    /// The payloads that items so far refer to.
    wanted: BTreeSet<Digest>,
    sink: Sink<'a>,
}

impl Parts<'_> {
    fn run(&mut self, view: &View, run: Address, summary: &Summary) -> Result<(), Error> {
        let entity = entity(&summary.key);
        let mut entry = entity.clone();
        let (from, to) = items::range(run);
        for row in view.rows.range(from, to) {
            let (_, row) = row?;
            // An entity goes on in the next part when this one is full.
            if self.part.len() + entry.len() + row.len() > PART_BYTES && entry.len() > entity.len()
            {
                self.push(PART_ENTRY, &entry)?;
                entry = entity.clone();
            }
            entry.extend_from_slice(&row);
            self.want(view, row)?;
        }
        self.push(PART_ENTRY, &entry)?;
        self.footer.entities += 1;
        self.footer.items += summary.items;
        Ok(())
    }

    fn want(&mut self, view: &View, mut row: Bytes) -> Result<(), Error> {
        while let Some(item) = items::take(&mut row)? {
            (view.references)(&item, &mut |digest| {
                self.wanted.insert(digest);
            })?;
        }
        Ok(())
    }

    fn blob(&mut self, view: &View, digest: &Digest, length: u64) -> Result<(), Error> {
        let (from, to) = blob::parts(digest);
        for row in view.rows.range(from, to) {
            let (key, bytes) = row?;
            let digest = Bytes::copy_from_slice(digest);
            let blob = Blob { digest, offset: blob::offset_of_part(&key)?, length, bytes };
            self.push(PART_BLOB, &blob.encode_to_vec())?;
        }
        self.footer.blobs += 1;
        Ok(())
    }

    fn push(&mut self, tag: u8, message: &[u8]) -> Result<(), Error> {
        if !self.part.is_empty() && self.part.len() + message.len() > PART_BYTES {
            self.flush()?;
        }
        self.part.put_u8(tag);
        encode_varint(message.len() as u64, &mut self.part);
        self.part.extend_from_slice(message);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        if self.part.is_empty() {
            return Ok(());
        }
        let part = self.part.split();
        let length = part.len() as u64;
        let mut message = BytesMut::with_capacity(1 + encoded_len_varint(length) + part.len());
        message.put_u8(FRAME_PART);
        encode_varint(length, &mut message);
        message.extend_from_slice(&part);
        (self.sink)(frame::frame(&message)?)
    }
}

/// An `Entry` that so far says whose it is.
fn entity(key: &RunKey) -> BytesMut {
    let entity = EntityId {
        kind: entity_id::Kind::Run.into(),
        namespace: key.namespace.to_string(),
        workflow_id: key.workflow_id.to_string(),
        run_id: Bytes::copy_from_slice(key.run_id.0.as_bytes()),
    };
    let mut entry = BytesMut::new();
    entry.put_u8(ENTRY_ENTITY);
    encode_varint(entity.encoded_len() as u64, &mut entry);
    entry.extend_from_slice(&entity.encode_to_vec());
    entry
}
