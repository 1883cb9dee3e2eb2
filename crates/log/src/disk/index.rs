//! Where the durable records are. Built by applying the entries of every batch, during recovery and
//! after every commit alike. Holds no records; its memory is 24 bytes per partition and stretch.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::format::{Entries, Entry};
use crate::book::State;
use crate::{File, PartitionId, Seq};

/// The index has one entry per partition and this much of a segment: reading starts at most this far
/// before the record asked for, and 64 GiB of log cost 24 MiB of index per partition at most.
pub(super) const STRETCH_BYTES: u64 = 64 * 1024;

/// A segment whose batches are durable up to `end`.
#[derive(Clone)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) file: Arc<dyn File>,
    pub(super) salt: u64,
    /// Where its next batch goes.
    pub(super) end: u64,
    /// Bytes allocated.
    pub(super) size: u64,
}

/// All that is durable.
#[derive(Default)]
pub(super) struct Index {
    segments: BTreeMap<u64, Held>,
    partitions: BTreeMap<PartitionId, Records>,
}

struct Held {
    segment: Segment,
    /// The last record of each partition in it: it can go when all are trimmed.
    last: BTreeMap<PartitionId, Seq>,
}

#[derive(Default)]
struct Records {
    state: State,
    stretches: VecDeque<Stretch>,
}

/// Up to `STRETCH_BYTES` of a segment, starting with a batch that holds `first`.
#[derive(Clone, Copy)]
struct Stretch {
    first: Seq,
    segment: u64,
    from: u64,
}

/// A piece of a segment to read.
pub(super) struct Piece {
    pub(super) segment: Segment,
    /// Where its first batch starts.
    pub(super) from: u64,
    /// The first record in the next piece; `None` if this is the last.
    pub(super) next: Option<Seq>,
}

impl Index {
    pub(super) fn add(&mut self, segment: Segment) {
        let held = Held { segment, last: BTreeMap::new() };
        self.segments.insert(held.segment.number, held);
    }

    /// Puts a copy of a segment in its place.
    pub(super) fn replace(&mut self, segment: Segment) {
        if let Some(held) = self.segments.get_mut(&segment.number) {
            held.segment = segment;
        }
    }

    /// Leaves out a segment that holds nothing.
    pub(super) fn forget(&mut self, segment: u64) {
        self.segments.remove(&segment);
    }

    /// Applies a durable batch. An error says what is wrong with it.
    pub(super) fn apply(
        &mut self,
        segment: u64,
        at: u64,
        end: u64,
        body: &[u8],
    ) -> Result<u32, String> {
        let Some(held) = self.segments.get_mut(&segment) else {
            return Err(format!("segment {segment} is not known"));
        };
        held.segment.end = end;
        let mut count = 0;
        for entry in Entries::of(body) {
            let entry = entry.ok_or_else(|| "a batch holds what is not an entry".to_owned())?;
            count += 1;
            match entry {
                Entry::State { partition, state } => {
                    let known = self
                        .partitions
                        .entry(partition)
                        .or_insert_with(|| Records { state, stretches: VecDeque::new() });
                    if known.state != state {
                        return Err(format!(
                            "partition {partition} was at {} of epoch {}, but is carried over as {} of epoch {}",
                            known.state.tail, known.state.epoch, state.tail, state.epoch
                        ));
                    }
                }
                Entry::Epoch { partition, epoch } => {
                    let state = &mut self.partitions.entry(partition).or_default().state;
                    if epoch != state.epoch.next() {
                        return Err(format!(
                            "partition {partition} goes from epoch {} to {epoch}",
                            state.epoch
                        ));
                    }
                    state.epoch = epoch;
                }
                Entry::Record { partition, epoch, seq, .. } => {
                    let records = self.partitions.entry(partition).or_default();
                    if seq != records.state.tail.next() || epoch != records.state.epoch {
                        return Err(format!(
                            "record {seq} of epoch {epoch} of partition {partition} follows {} of epoch {}",
                            records.state.tail, records.state.epoch
                        ));
                    }
                    records.state.tail = seq;
                    held.last.insert(partition, seq);
                    let within = records.stretches.back().is_some_and(|last| {
                        last.segment == segment && at < last.from + STRETCH_BYTES
                    });
                    if !within {
                        records.stretches.push_back(Stretch { first: seq, segment, from: at });
                    }
                }
                Entry::Trim { partition, up_to } => {
                    let records = self.partitions.entry(partition).or_default();
                    if up_to > records.state.tail || up_to <= records.state.trimmed {
                        return Err(format!(
                            "partition {partition} is trimmed up to {up_to} after {}, with its tail at {}",
                            records.state.trimmed, records.state.tail
                        ));
                    }
                    records.trim(up_to);
                }
            }
        }
        Ok(count)
    }

    pub(super) fn state(&self, partition: PartitionId) -> State {
        self.partitions.get(&partition).map(|records| records.state).unwrap_or_default()
    }

    pub(super) fn states(&self) -> BTreeMap<PartitionId, State> {
        let states = self.partitions.iter();
        states.map(|(id, records)| (*id, records.state)).collect()
    }

    /// The piece of a segment that holds a record that exists.
    pub(super) fn find(&self, partition: PartitionId, seq: Seq) -> Option<Piece> {
        let stretches = &self.partitions.get(&partition)?.stretches;
        let after = stretches.partition_point(|stretch| stretch.first <= seq);
        let stretch = stretches.get(after.checked_sub(1)?)?;
        let held = self.segments.get(&stretch.segment)?;
        Some(Piece {
            segment: held.segment.clone(),
            from: stretch.from,
            next: stretches.get(after).map(|next| next.first),
        })
    }

    /// Forgets the oldest segments of which every record is trimmed, and names them, oldest first.
    /// The newest stays.
    pub(super) fn reclaim(&mut self) -> Vec<u64> {
        let mut gone = Vec::new();
        while self.segments.len() > 1
            && let Some((number, held)) = self.segments.first_key_value()
            && held.last.iter().all(|(partition, last)| *last <= self.state(*partition).trimmed)
        {
            gone.push(*number);
            self.segments.pop_first();
        }
        gone
    }

    /// A partition of which records are missing: the first that is there, and the one expected.
    pub(super) fn missing(&self) -> Option<(PartitionId, Seq, Seq)> {
        self.partitions.iter().find_map(|(partition, records)| {
            let expected = records.state.trimmed.next();
            let first = records.stretches.front();
            let first = first.map_or(records.state.tail.next(), |stretch| stretch.first);
            (first > expected).then_some((*partition, first, expected))
        })
    }

    /// Segments and bytes allocated.
    pub(super) fn size(&self) -> (u64, u64) {
        let sizes = self.segments.values().map(|held| held.segment.size);
        (self.segments.len() as u64, sizes.sum())
    }
}

impl Records {
    fn trim(&mut self, up_to: Seq) {
        self.state.trimmed = up_to;
        while let Some(first) = self.stretches.front() {
            let next = self.stretches.get(1).map(|next| next.first);
            let last = next.map_or(self.state.tail, |next| Seq(next.0.saturating_sub(1)));
            if first.first <= up_to && last <= up_to {
                self.stretches.pop_front();
            } else {
                break;
            }
        }
    }
}
