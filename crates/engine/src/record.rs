//! The bytes of a commit group.

use bytes::Bytes;
use prost::Message as _;
use reflux_core::{RunId, RunKey, Timestamp};
use reflux_log::{PartitionId, RECORD_BYTES_MAX};
use reflux_proto::reflux::v1 as wire;

use crate::Error;
use crate::execution::{Execution, Step};

/// Bytes of a payload in one part: several fit a record, with the items that use them.
const PART_BYTES_MAX: usize = 128 * 1024;

/// Bytes of parts in one record.
const PARTS_BYTES_MAX: usize = 256 * 1024; // half a record; the items have the other half

/// The record of what these runs went through. Items are copied in as they are encoded.
pub(crate) fn encode<'a>(
    partition: PartitionId,
    now: Timestamp,
    runs: impl Iterator<Item = &'a (Execution, Step)>,
    blobs: &[wire::Blob],
) -> Bytes {
    let entries = runs
        .map(|(execution, step)| wire::Entry {
            entity: Some(entity(&execution.run().key)),
            items: step.wire.clone(),
        })
        .collect();
    let record =
        wire::Record { partition: partition.0, time: now.0, entries, blobs: blobs.to_vec() };
    let bytes: Bytes = record.encode_to_vec().into();
    debug_assert!(bytes.len() <= RECORD_BYTES_MAX, "a record of {} bytes", bytes.len());
    bytes
}

/// Cuts payloads into parts that fit records.
pub(crate) fn blob_parts(blobs: impl IntoIterator<Item = ([u8; 32], Bytes)>) -> Vec<wire::Blob> {
    let mut parts = Vec::new();
    for (digest, bytes) in blobs {
        let length = bytes.len();
        for offset in (0..length.max(1)).step_by(PART_BYTES_MAX) {
            let end = length.min(offset + PART_BYTES_MAX);
            parts.push(wire::Blob {
                digest: Bytes::copy_from_slice(&digest),
                offset: offset as u64,
                length: length as u64,
                bytes: bytes.slice(offset..end),
            });
        }
    }
    parts
}

/// Which parts go into records of their own, before the one that uses them, and which into it.
pub(crate) fn split(
    parts: Vec<wire::Blob>,
    item_bytes: usize,
) -> (Vec<Vec<wire::Blob>>, Vec<wire::Blob>) {
    let total: usize = parts.iter().map(|part| part.bytes.len()).sum();
    if total + item_bytes <= PARTS_BYTES_MAX {
        return (Vec::new(), parts);
    }
    let mut before: Vec<Vec<wire::Blob>> = Vec::new();
    let mut room = 0;
    for part in parts {
        if part.bytes.len() > room || before.is_empty() {
            before.push(Vec::new());
            room = PARTS_BYTES_MAX;
        }
        room -= part.bytes.len();
        if let Some(last) = before.last_mut() {
            last.push(part);
        }
    }
    (before, Vec::new())
}

/// A run as the address of log entries.
pub(crate) fn entity(key: &RunKey) -> wire::EntityId {
    wire::EntityId {
        kind: wire::entity_id::Kind::Run.into(),
        namespace: key.namespace.to_string(),
        workflow_id: key.workflow_id.to_string(),
        run_id: Bytes::copy_from_slice(key.run_id.0.as_bytes()),
    }
}

/// The run that a log entry is about.
///
/// # Errors
/// [`Error::Corrupt`] when it is none.
pub(crate) fn key_of(entity: Option<&wire::EntityId>) -> Result<RunKey, Error> {
    let entity = entity.ok_or_else(|| Error::Corrupt("a log entry names no entity".into()))?;
    let run_id = uuid::Uuid::from_slice(&entity.run_id)
        .map_err(|_| Error::Corrupt("a log entry's run id is not 16 bytes".into()))?;
    Ok(RunKey {
        namespace: entity.namespace.as_str().into(),
        workflow_id: entity.workflow_id.as_str().into(),
        run_id: RunId(run_id),
    })
}
