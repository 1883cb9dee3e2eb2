//! Turns queued commands into batches: decide in order, one write, one sync, then answer. The queue's
//! order is the log's order. A batch that may not be durable ends the process: nothing is rolled back.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::format::{
    ALIGN, BATCH_HEADER_BYTES, CONTROL_BYTES, Draft, Entry, RECORD_OVERHEAD_BYTES,
    SEGMENT_HEADER_BYTES,
};
use super::helper::{Helper, Wanted};
use super::index::{Index, Segment};
use super::recover::Recovered;
use super::{Options, Planted, lock, segment};
use crate::book::{Blind, Book};
use crate::{Append, AppendError, Class, Done, Error, Lease, PartitionId, Seq};

/// Bytes of a batch, unless a single record is larger: about a millisecond of writing.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Bytes at the end of a segment that only [`Class::Essential`] may use when no next segment can be
/// made: a thousand cancels. An eighth of small segments.
const RESERVE_BYTES_MAX: u64 = 1024 * 1024;

/// Room for the empty batch that follows the last one.
const CLOSING_BYTES: u64 = BATCH_HEADER_BYTES as u64 + ALIGN;

/// Something to be decided in order.
pub(super) enum Command {
    Append(Append, Done),
    Acquire(PartitionId, Reply<Lease>),
    Trim(PartitionId, Seq, Reply<()>),
}

/// Where a blocked caller waits.
pub(super) type Reply<T> = SyncSender<Result<T, Error>>;

/// What [`Usage`](crate::Usage) counts.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) appends: AtomicU64,
    pub(super) record_bytes: AtomicU64,
    pub(super) refused: AtomicU64,
    pub(super) batches: AtomicU64,
    pub(super) syncs: AtomicU64,
    pub(super) sync_nanos: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    pub(super) full: AtomicBool,
}

pub(super) struct Committer {
    options: Options,
    index: Arc<Mutex<Index>>,
    counters: Arc<Counters>,
    helper: Helper,
    book: Book,
    active: Segment,
    /// The number of the last batch.
    number: u64,
    /// Whether the last batch holds something, so that an empty one should follow.
    open_ended: bool,
    draft: Draft,
    dead: Option<String>,
}

enum Place {
    Here,
    NextSegment,
    Nowhere(String),
}

enum Answer {
    Append(PartitionId, Done, Result<Seq, AppendError>),
    Acquire(Reply<Lease>, Result<Lease, Error>),
    Trim(Reply<()>, Result<(), Error>),
}

impl Committer {
    pub(super) fn new(
        options: Options,
        recovered: Recovered,
        helper: Helper,
        counters: Arc<Counters>,
    ) -> (Self, Arc<Mutex<Index>>) {
        let blind = Blind {
            epoch: options.planted == Some(Planted::IgnoreEpoch),
            tail: options.planted == Some(Planted::RetryCas),
        };
        let book = Book::new(recovered.index.states(), blind);
        let index = Arc::new(Mutex::new(recovered.index));
        let committer = Self {
            options,
            index: Arc::clone(&index),
            counters,
            helper,
            book,
            active: recovered.active,
            number: recovered.number,
            open_ended: recovered.open_ended,
            draft: Draft::default(),
            dead: None,
        };
        (committer, index)
    }

    /// Takes commands off the front, as many as go into one batch, and answers them.
    pub(super) fn turn(&mut self, commands: &mut VecDeque<Command>) {
        let mut answers = Vec::with_capacity(commands.len());
        let mut decided = 0usize;
        self.begin();
        while let Some(command) = commands.front() {
            if let Some(reason) = self.dead.clone() {
                answers.extend(commands.pop_front().map(|command| command.stopped(&reason)));
                continue;
            }
            let bytes = command.bytes();
            let place = match self.check(command) {
                Ok(()) if decided > 0 && self.draft.len() + bytes > BATCH_BYTES_MAX => break,
                Ok(()) => self.place(bytes as u64, command.class(), decided > 0),
                Err(error) => {
                    answers.extend(commands.pop_front().map(|c| self.refuse(c, error)));
                    continue;
                }
            };
            match place {
                Place::Here => {
                    let before = self.draft.len();
                    answers.extend(commands.pop_front().map(|command| self.decide(command)));
                    // a trim that changes nothing is no reason for a sync
                    decided += usize::from(self.draft.len() > before);
                }
                Place::NextSegment if decided > 0 => break,
                Place::NextSegment => self.advance(),
                Place::Nowhere(reason) => {
                    answers.extend(commands.pop_front().map(|c| self.refuse_full(c, reason)));
                }
            }
        }
        if decided > 0 {
            if self.options.planted == Some(Planted::AckEarly) {
                answers.drain(..).for_each(|answer| answer.send(None));
            }
            self.commit(true);
        }
        // before the answers: whoever is refused may look
        self.note_room();
        for answer in answers {
            answer.send(self.dead.as_deref());
        }
        self.tend();
    }

    /// Where the next batch goes in its segment.
    #[cfg(test)]
    pub(super) fn end(&self) -> u64 {
        self.active.end
    }

    /// The salt of the segment in use.
    #[cfg(test)]
    pub(super) fn salt(&self) -> u64 {
        self.active.salt
    }

    /// Whether [`close`](Self::close) would write.
    pub(super) fn is_open_ended(&self) -> bool {
        self.open_ended && self.dead.is_none()
    }

    /// Writes an empty batch behind the last one: from then on damage to the last one is told from a
    /// torn tail.
    pub(super) fn close(&mut self) {
        if self.is_open_ended() {
            // also here: a segment that was just begun starts with what is carried over
            self.begin();
            self.commit(false);
        }
    }

    /// Looks after the next segment; to be called now and then while there is no room.
    pub(super) fn tend(&mut self) {
        if self.dead.is_some() {
            return;
        }
        if self.active.end > self.active.size / 2 || self.helper.is_out_of_room() {
            let wanted = self.wanted();
            self.helper.prepare(wanted);
        }
        self.note_room();
    }

    fn note_room(&self) {
        let full = self.helper.is_out_of_room();
        self.counters.full.store(full, Ordering::Relaxed);
    }

    /// Whether room has to be asked for again and again.
    pub(super) fn is_out_of_room(&self) -> bool {
        self.helper.is_out_of_room()
    }

    /// Why the log stopped.
    pub(super) fn dead(&self) -> Option<&str> {
        self.dead.as_deref()
    }

    fn begin(&mut self) {
        self.draft.clear();
        if self.active.end == SEGMENT_HEADER_BYTES {
            for (partition, state) in self.book.states() {
                self.draft.push(Entry::State { partition: *partition, state: *state });
            }
        }
    }

    fn advance(&mut self) {
        if let Some(next) = self.helper.take() {
            lock(&self.index).add(next.clone());
            self.active = next;
            self.begin();
        }
    }

    fn check(&self, command: &Command) -> Result<(), Refusal> {
        match command {
            Command::Append(append, _) => {
                let bytes_max = self.options.record_bytes_max();
                if append.record.len() > bytes_max {
                    return Err(Refusal::Append(AppendError::TooLarge {
                        partition: append.partition,
                        bytes: append.record.len(),
                        bytes_max,
                    }));
                }
                self.book.check(append).map_err(Refusal::Append)
            }
            Command::Acquire(partition, _) => {
                let max = self.options.partitions_max();
                let states = self.book.states();
                if states.len() >= max && !states.contains_key(partition) {
                    return Err(Refusal::Other(Error::TooManyPartitions { max }));
                }
                Ok(())
            }
            Command::Trim(..) => Ok(()),
        }
    }

    /// Where a command fits. Room is settled before the first byte of a batch is written.
    fn place(&mut self, bytes: u64, class: Class, begun: bool) -> Place {
        let drafted = self.draft.len() as u64;
        let end = self.active.end + drafted + bytes + CLOSING_BYTES + ALIGN;
        let size = self.active.size;
        if end <= size.saturating_sub(RESERVE_BYTES_MAX.min(size / 8)) {
            return Place::Here;
        }
        let wanted = self.wanted();
        let next = self.helper.ensure(wanted);
        match (next, class) {
            (Ok(()), _) if end <= size => Place::Here,
            (Ok(()), _) if begun || self.active.end > SEGMENT_HEADER_BYTES => Place::NextSegment,
            (Ok(()), _) => Place::Nowhere("the segments are too small for it".to_owned()),
            (Err(_), Class::Essential) if end <= size => Place::Here,
            (Err(reason), _) => Place::Nowhere(reason),
        }
    }

    fn wanted(&self) -> Wanted {
        let number = self.active.number + 1;
        let size_min = self.options.first_segment_bytes;
        let size_max = self.options.segment_bytes_max.max(size_min);
        Wanted {
            number,
            salt: segment::salt(self.options.salt, number),
            size: self.active.size.saturating_mul(4).clamp(size_min, size_max),
            size_min,
        }
    }

    fn decide(&mut self, command: Command) -> Answer {
        match command {
            Command::Append(append, done) => {
                let partition = append.partition;
                let seq = self.book.append(partition);
                self.draft.push(Entry::Record {
                    partition,
                    epoch: self.book.state(partition).epoch,
                    seq,
                    record: &append.record,
                });
                let counters = &self.counters;
                counters.appends.fetch_add(1, Ordering::Relaxed);
                let bytes = append.record.len() as u64;
                counters.record_bytes.fetch_add(bytes, Ordering::Relaxed);
                Answer::Append(partition, done, Ok(seq))
            }
            Command::Acquire(partition, reply) => {
                let lease = self.book.acquire(partition);
                self.draft.push(Entry::Epoch { partition, epoch: lease.epoch });
                Answer::Acquire(reply, Ok(lease))
            }
            Command::Trim(partition, up_to, reply) => {
                let trimmed = self.book.trim(partition, up_to);
                if matches!(trimmed, Ok(true)) {
                    self.draft.push(Entry::Trim { partition, up_to });
                }
                Answer::Trim(reply, trimmed.map(|_| ()))
            }
        }
    }

    fn refuse(&mut self, command: Command, refusal: Refusal) -> Answer {
        self.counters.refused.fetch_add(1, Ordering::Relaxed);
        match (command, refusal) {
            (Command::Append(append, done), Refusal::Append(error)) => {
                self.book.fail(append.partition, &error);
                Answer::Append(append.partition, done, Err(error))
            }
            (Command::Acquire(_, reply), Refusal::Other(error)) => {
                Answer::Acquire(reply, Err(error))
            }
            (Command::Trim(_, _, reply), Refusal::Other(error)) => Answer::Trim(reply, Err(error)),
            (command, Refusal::Append(error)) => command.stopped(&error.to_string()),
            (command, Refusal::Other(error)) => command.stopped(&error.to_string()),
        }
    }

    fn refuse_full(&mut self, command: Command, reason: String) -> Answer {
        let refusal = match &command {
            Command::Append(append, _) => {
                Refusal::Append(AppendError::Full { partition: append.partition, reason })
            }
            Command::Acquire(..) | Command::Trim(..) => Refusal::Other(Error::Full { reason }),
        };
        self.refuse(command, refusal)
    }

    /// Writes and syncs the draft, then makes it visible to readers.
    fn commit(&mut self, open_ended: bool) {
        if let Err(reason) = self.try_commit() {
            tracing::error!(reason, "the log cannot go on: what it holds has to be read again");
            (self.options.on_fatal.0)(&reason);
            self.dead = Some(reason);
            return;
        }
        self.open_ended = open_ended;
        let gone = lock(&self.index).reclaim();
        self.helper.remove(gone);
    }

    fn try_commit(&mut self) -> Result<(), String> {
        let number = self.number + 1;
        let name = segment::name(self.active.number);
        let bytes = self.draft.seal(self.active.salt, number);
        let file = &self.active.file;
        file.write_at(bytes, self.active.end)
            .map_err(|error| format!("writing batch {number} to {name} failed: {error}"))?;
        let begun = Instant::now();
        if self.options.planted != Some(Planted::SkipSync) {
            file.sync_data()
                .map_err(|error| format!("syncing batch {number} of {name} failed: {error}"))?;
        }
        let sync_nanos = u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let at = self.active.end;
        let length = bytes.len() as u64;
        self.active.end = at + length;
        self.number = number;
        let mut index = lock(&self.index);
        let segment = self.active.number;
        index.apply(segment, at, self.active.end, self.draft.body())?;
        drop(index);
        let counters = &self.counters;
        counters.batches.fetch_add(1, Ordering::Relaxed);
        counters.syncs.fetch_add(1, Ordering::Relaxed);
        counters.sync_nanos.fetch_add(sync_nanos, Ordering::Relaxed);
        counters.written_bytes.fetch_add(length, Ordering::Relaxed);
        Ok(())
    }
}

enum Refusal {
    Append(AppendError),
    Other(Error),
}

impl Command {
    /// Bytes it takes in a batch.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Append(append, _) => append.record.len() + RECORD_OVERHEAD_BYTES,
            Self::Acquire(..) | Self::Trim(..) => CONTROL_BYTES,
        }
    }

    fn class(&self) -> Class {
        match self {
            Self::Append(append, _) => append.class,
            // a new owner has to be able to cancel, and a trim is what makes room
            Self::Acquire(..) | Self::Trim(..) => Class::Essential,
        }
    }

    fn stopped(self, reason: &str) -> Answer {
        let error = || Error::Stopped { reason: reason.to_owned() };
        match self {
            Self::Append(append, done) => {
                let unknown = unknown(append.partition, reason);
                Answer::Append(append.partition, done, Err(unknown))
            }
            Self::Acquire(_, reply) => Answer::Acquire(reply, Err(error())),
            Self::Trim(_, _, reply) => Answer::Trim(reply, Err(error())),
        }
    }

    /// Answers without deciding anything.
    pub(super) fn stop(self, reason: &str) {
        self.stopped(reason).send(None);
    }
}

impl Answer {
    /// Tells the caller; what was decided is unknown if the log died meanwhile.
    fn send(self, dead: Option<&str>) {
        let stopped = dead.map(|reason| Error::Stopped { reason: reason.to_owned() });
        match (self, dead, stopped) {
            (Self::Append(partition, done, Ok(_)), Some(reason), _) => {
                done(Err(unknown(partition, reason)));
            }
            (Self::Append(_, done, answer), _, _) => done(answer),
            // a caller that no longer waits needs no answer
            (Self::Acquire(reply, Ok(_)), _, Some(stopped)) => drop(reply.send(Err(stopped))),
            (Self::Acquire(reply, answer), _, _) => drop(reply.send(answer)),
            (Self::Trim(reply, Ok(())), _, Some(stopped)) => drop(reply.send(Err(stopped))),
            (Self::Trim(reply, answer), _, _) => drop(reply.send(answer)),
        }
    }
}

fn unknown(partition: PartitionId, reason: &str) -> AppendError {
    AppendError::Unknown { partition, reason: reason.to_owned() }
}
