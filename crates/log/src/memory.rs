//! A log in memory, for tests and simulation. Loses everything with the process; has no threads,
//! no clock and no randomness: in manual mode the caller decides when an append becomes durable.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::book::Book;
use crate::{
    Append, AppendError, Done, Epoch, Error, Lease, Log, PartitionId, RECORD_BYTES_MAX, Seq, Usage,
};

/// A log in memory. Clones share it, so a clone is what survives a simulated crash.
#[derive(Clone)]
pub struct MemoryLog {
    inner: Arc<Mutex<Inner>>,
    manual: bool,
}

/// What the next append suffers instead of becoming durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The answer is lost; the record is in the log if `applied`. The writer's epoch is broken from
    /// then on: what it queued and what it appends later is answered `Unknown` and not applied.
    Unknown {
        /// Whether the record is in the log.
        applied: bool,
    },
    /// There is no room.
    Full,
    /// Someone else acquires the partition first.
    Fenced,
}

#[derive(Default)]
struct Inner {
    book: Book,
    records: BTreeMap<PartitionId, VecDeque<Bytes>>,
    pending: VecDeque<(Append, Done)>,
    faults: VecDeque<Fault>,
    /// Epochs whose writer got an `Unknown` and may not append before it acquires again.
    broken: BTreeMap<PartitionId, Epoch>,
    usage: Usage,
}

impl MemoryLog {
    /// A log whose appends are durable, and answered, before `append` returns.
    #[must_use]
    #[allow(clippy::new_without_default)] // two constructors of equal rank: the mode should be read at the call
    pub fn new() -> Self {
        Self { inner: Arc::default(), manual: false }
    }

    /// A log whose appends wait until [`commit_next`](Self::commit_next) is called.
    #[must_use]
    pub fn manual() -> Self {
        Self { inner: Arc::default(), manual: true }
    }

    /// What waits, in the order of the appends: the partition, and the position each asks for.
    #[must_use]
    pub fn pending(&self) -> Vec<(PartitionId, Seq)> {
        let inner = self.lock();
        inner.pending.iter().map(|(append, _)| (append.partition, append.expected.next())).collect()
    }

    /// Makes the partition's oldest waiting append durable, or lets it suffer the next fault, and
    /// answers it. False if none waits.
    pub fn commit_next(&self, partition: PartitionId) -> bool {
        let mut inner = self.lock();
        let oldest = inner.pending.iter().position(|(append, _)| append.partition == partition);
        let Some((append, done)) = oldest.and_then(|at| inner.pending.remove(at)) else {
            return false;
        };
        let answer = inner.commit(append);
        // the answer may append again
        drop(inner);
        done(answer);
        true
    }

    /// Commits whatever waits, in the order of the appends, until nothing does.
    pub fn commit_all(&self) {
        while let Some((partition, _)) = self.pending().first().copied() {
            self.commit_next(partition);
        }
    }

    /// The next append to be committed suffers this; several calls queue up.
    pub fn fail_next(&self, fault: Fault) {
        self.lock().faults.push_back(fault);
    }

    /// Drops what waits, unanswered, as a crash of the process does. What is durable stays.
    pub fn crash(&self) {
        let pending = std::mem::take(&mut self.lock().pending);
        // dropping an answer may run the caller's code
        drop(pending);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for MemoryLog {
    fn acquire(&self, partition: PartitionId) -> Result<Lease, Error> {
        let mut inner = self.lock();
        inner.broken.remove(&partition);
        Ok(inner.book.acquire(partition))
    }

    fn append(&self, append: Append, done: Done) {
        let mut inner = self.lock();
        if self.manual {
            inner.pending.push_back((append, done));
            return;
        }
        let answer = inner.commit(append);
        drop(inner);
        done(answer);
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Seq,
        max_bytes: usize,
    ) -> Result<Vec<(Seq, Bytes)>, Error> {
        let inner = self.lock();
        let state = inner.book.state(partition);
        let first = state.trimmed.next();
        let from = from.max(Seq(1));
        if from < first {
            return Err(Error::Trimmed { partition, first });
        }
        let mut page = Vec::new();
        let mut bytes = 0usize;
        let mut seq = from;
        let skip = usize::try_from(from.0 - first.0).unwrap_or(usize::MAX);
        let records = inner.records.get(&partition).into_iter().flatten();
        for record in records.skip(skip) {
            bytes = bytes.saturating_add(record.len());
            if bytes > max_bytes && !page.is_empty() {
                break;
            }
            page.push((seq, record.clone()));
            seq = seq.next();
        }
        Ok(page)
    }

    fn tail(&self, partition: PartitionId) -> Result<Seq, Error> {
        Ok(self.lock().book.state(partition).tail)
    }

    fn trim(&self, partition: PartitionId, up_to: Seq) -> Result<(), Error> {
        let mut inner = self.lock();
        let trimmed = inner.book.state(partition).trimmed;
        if inner.book.trim(partition, up_to)? {
            let records = inner.records.entry(partition).or_default();
            let gone = usize::try_from(up_to.0 - trimmed.0).unwrap_or(usize::MAX);
            records.drain(..gone.min(records.len()));
        }
        Ok(())
    }

    fn usage(&self) -> Usage {
        let inner = self.lock();
        let bytes = inner.records.values().flatten().map(|r| r.len() as u64);
        let queued = inner.pending.iter().map(|(a, _)| a.record.len() as u64);
        Usage { bytes: bytes.sum(), queued_bytes: queued.sum(), ..inner.usage }
    }
}

impl Inner {
    fn commit(&mut self, append: Append) -> Result<Seq, AppendError> {
        let partition = append.partition;
        let answer = self.decide(append);
        match &answer {
            Ok(_) => {
                self.usage.batches += 1;
                self.usage.syncs += 1;
            }
            Err(cause) => {
                self.usage.refused += 1;
                self.book.fail(partition, cause);
            }
        }
        answer
    }

    fn decide(&mut self, append: Append) -> Result<Seq, AppendError> {
        let partition = append.partition;
        let unknown =
            || AppendError::Unknown { partition, reason: "the answer was lost".to_owned() };
        if self.broken.get(&partition) == Some(&append.epoch) {
            return Err(unknown());
        }
        match self.faults.pop_front() {
            None => {}
            Some(Fault::Full) => {
                return Err(AppendError::Full { partition, reason: "as injected".to_owned() });
            }
            Some(Fault::Fenced) => {
                self.book.acquire(partition);
            }
            Some(Fault::Unknown { applied }) => {
                if applied {
                    self.apply(append.clone())?;
                }
                self.broken.insert(partition, append.epoch);
                return Err(unknown());
            }
        }
        self.apply(append)
    }

    fn apply(&mut self, append: Append) -> Result<Seq, AppendError> {
        if append.record.len() > RECORD_BYTES_MAX {
            return Err(AppendError::TooLarge {
                partition: append.partition,
                bytes: append.record.len(),
                bytes_max: RECORD_BYTES_MAX,
            });
        }
        self.book.check(&append)?;
        self.usage.appends += 1;
        self.usage.record_bytes += append.record.len() as u64;
        let records = self.records.entry(append.partition).or_default();
        records.push_back(append.record);
        Ok(self.book.append(append.partition))
    }
}
