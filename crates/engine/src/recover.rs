//! Brings the store up to what is durable: from the log's tail, or from a snapshot and the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use prost::Message as _;
use reflux_core::{Delta, Item, RunKey};
use reflux_log::{Error as LogError, Lease, Log, PartitionId, Seq};
use reflux_proto::reflux::v1 as wire;
use reflux_store::{Changes, RunChange};

use crate::execution::Execution;
use crate::specs::Specs;
use crate::{Error, codec, record};

/// Bytes of records read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// Runs kept in memory while records are folded.
const RUNS_MAX: usize = 20_000;

/// A partition's log and store.
pub(crate) struct Recovery<'a> {
    pub id: PartitionId,
    pub log: &'a dyn Log,
    pub store: &'a reflux_store::Partition,
    pub specs: &'a Specs,
    pub retention: std::time::Duration,
}

impl Recovery<'_> {
    /// Takes the partition over and folds what the store does not have.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when log and store cannot be brought together.
    pub fn run(&self, restore: &dyn Fn() -> Result<bool, Error>) -> Result<Lease, Error> {
        let lease = self.log.acquire(self.id)?;
        if self.store.applied() > lease.tail.0 {
            // The store is ahead of the log: it is from another life of this directory.
            self.store.clear()?;
        }
        let mut restored = self.store.applied() == 0 && self.store.is_empty()?;
        if restored {
            restore()?;
        }
        let mut runs: BTreeMap<RunKey, Execution> = BTreeMap::new();
        while self.store.applied() < lease.tail.0 {
            let from = Seq(self.store.applied() + 1);
            let records = match self.log.read(self.id, from, READ_BYTES) {
                // The store is never synced: a loss of power may take more of it than the log still
                // has. The log was trimmed behind snapshots that were.
                Err(LogError::Trimmed { .. }) if !restored => {
                    restored = true;
                    runs.clear();
                    self.store.clear()?;
                    restore()?;
                    continue;
                }
                Err(LogError::Trimmed { .. }) => {
                    return Err(Error::Corrupt(format!(
                        "partition {}: record {from} was trimmed and no snapshot has it; restore a backup",
                        self.id
                    )));
                }
                records => records?,
            };
            if records.is_empty() {
                break;
            }
            for (seq, record) in records {
                self.fold(seq, record, &mut runs)?;
            }
            if runs.len() > RUNS_MAX {
                runs.clear();
            }
        }
        Ok(lease)
    }

    fn fold(
        &self,
        seq: Seq,
        record: Bytes,
        runs: &mut BTreeMap<RunKey, Execution>,
    ) -> Result<(), Error> {
        let record = wire::Record::decode(record).map_err(|error| {
            Error::Corrupt(format!("partition {}: record {seq} cannot be read: {error}", self.id))
        })?;
        let mut changes = Changes { applied: seq.0, blobs: record.blobs, ..Changes::default() };
        if !changes.blobs.is_empty() {
            // The items of this record may refer to them.
            let blobs = std::mem::take(&mut changes.blobs);
            self.store.commit(Changes { applied: seq.0 - 1, blobs, ..Changes::default() })?;
        }
        let fetch = |digest: [u8; 32]| Ok(self.store.blob(&digest)?);
        for entry in record.entries {
            let key = record::key_of(entry.entity.as_ref())?;
            let execution = match runs.entry(key.clone()) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    entry.insert(Execution::load(key.clone(), self.store, self.specs)?)
                }
            };
            let first_ordinal = execution.items();
            let previous = execution.indexed();
            let mut items = Vec::with_capacity(entry.items.len());
            for item in entry.items {
                let encoded: Bytes = item.encode_to_vec().into();
                let item = codec::decode(&encoded, &fetch)?;
                if matches!(item, Item::Delta(Delta::Retired)) {
                    changes.retired.push(key.clone());
                }
                let news = execution.absorb(&item, encoded.len(), self.specs, &fetch)?;
                changes.cached.extend(news.into_results());
                items.push(encoded);
            }
            let summary = execution.summary(self.retention);
            execution.note_indexed(&summary);
            changes.runs.push(RunChange {
                first_ordinal,
                items,
                summary,
                previous: Some(previous),
            });
        }
        for retired in &changes.retired {
            runs.remove(retired);
        }
        self.store.commit(changes)?;
        Ok(())
    }
}
