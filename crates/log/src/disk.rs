//! The log on one disk. One physical log for all partitions of a node, one thread that commits.
//!
//! ```text
//! append ─► queue ─► committer: decide in order, one write, one fdatasync ─► index ─► done
//!                    helper:    the next segment, zero-filled ahead; removal of trimmed ones
//! read   ─► index ─► segment files, checksums compared again
//! ```
//!
//! - Batch n+1 is written only after batch n is durable. So a bad batch at the very end is a torn
//!   tail and is dropped, and a bad batch with a later one behind it is damage and is refused.
//! - When idle after a batch an empty one is written, so that the last acknowledged batch is not at
//!   the end for long.
//! - A sync that failed leaves nobody knowing what is durable: the process aborts, and recovery
//!   copies the last segment and syncs the copy before it serves anything from it. Only on a full
//!   disk it rewrites the segment in place.
//! - Segments start small and grow fourfold (1, 4, 16, 64 MiB), so that a first open takes
//!   milliseconds. The next one is made on a helper thread when the present one is half full. If
//!   there is no room for it, normal appends are refused before a byte is written, and essential
//!   ones use what is left of the present one; room is asked for again every `retry`.
//! - A segment is removed when every record in it is trimmed, oldest first; the first batch of each
//!   later segment carries all epochs, tails and trims over.
//!
//! Assumes that a disk writes a sector of 512 bytes whole or not at all, and that rewriting a sector
//! with the same bytes keeps them. Does not lock the directory, does not copy to other machines, and
//! does not cache records. The bytes on disk: `disk/format.rs`.

mod committer;
mod format;
mod helper;
mod index;
mod read;
mod reader;
mod recover;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, TryRecvError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{JoinHandle, ThreadId};
use std::time::Duration;

use bytes::Bytes;

use crate::{Append, Done, Error, Files, Lease, Log, PartitionId, RealFiles, Seq, Usage};
use committer::{Command, Committer, Counters, Reply};
use helper::Helper;
use index::Index;

/// Bytes that may wait before `append` blocks: sixteen of the largest records, a few milliseconds of
/// writing.
const QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// The smallest first segment: room for a record of 2 KiB and 17 partitions.
const FIRST_SEGMENT_BYTES_MIN: u64 = 4096;

/// How a disk log behaves. The default is right for production.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the first segment, at least 4 KiB; a record may have half of it at most.
    pub first_segment_bytes: u64,
    /// Bytes of the largest segments.
    pub segment_bytes_max: u64,
    /// How long no append may arrive before an empty batch is written.
    pub idle: Duration,
    /// How long to wait before asking for room again.
    pub retry: Duration,
    /// A seed for the segments' salts, so that tests write the same bytes every time.
    pub salt: Option<u64>,
    /// What to do when a write or a sync failed.
    pub on_fatal: OnFatal,
    /// A bug to show that the tests find it.
    #[doc(hidden)]
    pub planted: Option<Planted>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            first_segment_bytes: 1024 * 1024,
            segment_bytes_max: 64 * 1024 * 1024,
            idle: Duration::from_millis(5),
            retry: Duration::from_millis(200),
            salt: None,
            on_fatal: OnFatal::default(),
            planted: None,
        }
    }
}

impl Options {
    /// Half of the first segment, so that with what is carried over it fits any segment.
    fn record_bytes_max(&self) -> usize {
        let half = usize::try_from(self.first_segment_bytes / 2).unwrap_or(usize::MAX);
        half.min(crate::RECORD_BYTES_MAX)
    }

    /// An eighth of the first segment is for what is carried over.
    fn partitions_max(&self) -> usize {
        let eighth = usize::try_from(self.first_segment_bytes / 8).unwrap_or(usize::MAX);
        eighth / format::STATE_BYTES
    }
}

/// Called with the reason when the log cannot go on. If it returns, the log answers everything that
/// waits with *unknown* and stops.
#[derive(Clone)]
pub struct OnFatal(pub Arc<dyn Fn(&str) + Send + Sync>);

impl Default for OnFatal {
    /// Aborts the process.
    fn default() -> Self {
        Self(Arc::new(|_reason| std::process::abort()))
    }
}

impl fmt::Debug for OnFatal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnFatal")
    }
}

/// Bugs that a test can plant.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Planted {
    /// Commits without a sync.
    SkipSync,
    /// Answers before the batch is durable.
    AckEarly,
    /// Lets writers of earlier epochs append.
    IgnoreEpoch,
    /// Appends at the tail whatever the writer expected.
    RetryCas,
    /// Serves from the file a crash left behind instead of a durable copy.
    TrustCache,
}

/// The log on one disk. Dropping it commits what is queued and closes it.
pub struct DiskLog {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
    room: Condvar,
    committer: Mutex<Committer>,
    index: Arc<Mutex<Index>>,
    counters: Arc<Counters>,
    idle: Duration,
    retry: Duration,
    /// The thread that must never wait for itself; unset in manual mode.
    committing: OnceLock<ThreadId>,
}

#[derive(Default)]
struct Queue {
    commands: VecDeque<Command>,
    bytes: usize,
    /// Whether the committer sleeps: waking costs a system call.
    asleep: bool,
    closing: bool,
    dead: Option<String>,
}

impl DiskLog {
    /// Opens the log in a directory, or creates it. The caller holds the directory's lock.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when acknowledged records are damaged, [`Error::Version`], [`Error::Full`],
    /// [`Error::Io`], [`Error::Options`].
    pub fn open(dir: impl AsRef<Path>, options: Options) -> Result<Self, Error> {
        let dir = dir.as_ref();
        let files = RealFiles::new(dir);
        let files = files.map_err(|e| Error::io("create", &dir.display().to_string(), e))?;
        Self::open_files(Arc::new(files), options)
    }

    /// Like [`open`](Self::open), on other files.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn open_files(files: Arc<dyn Files>, options: Options) -> Result<Self, Error> {
        let spawning = |e| Error::io("start the threads of", "the log", e);
        let helper = |files| Helper::threaded(files, options.retry).map_err(spawning);
        let shared = Arc::new(Shared::open(&files, &options, helper)?);
        let committing = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("log-committer".to_owned())
            .spawn(move || committing.run())
            .map_err(spawning)?;
        let _ = shared.committing.set(thread.thread().id());
        Ok(Self { shared, thread: Some(thread) })
    }

    /// A log without threads: appends wait until [`turn`](Self::turn), and dropping it is a crash.
    /// `append` never blocks; `acquire` and `trim` commit whatever waits before them.
    ///
    /// # Errors
    /// As for [`open`](Self::open).
    pub fn manual(files: Arc<dyn Files>, options: Options) -> Result<Self, Error> {
        let helper = |files| Ok(Helper::here(files, options.retry));
        Ok(Self { shared: Arc::new(Shared::open(&files, &options, helper)?), thread: None })
    }

    /// In manual mode: commits one batch of what waits. False if nothing did. Not for use in a `done`.
    pub fn turn(&self) -> bool {
        let mut queue = lock(&self.shared.queue);
        let mut commands = std::mem::take(&mut queue.commands);
        queue.bytes = 0;
        drop(queue);
        if commands.is_empty() {
            return false;
        }
        let mut committer = lock(&self.shared.committer);
        committer.turn(&mut commands);
        drop(committer);
        // answers may have appended meanwhile
        let mut queue = lock(&self.shared.queue);
        while let Some(command) = commands.pop_back() {
            queue.commands.push_front(command);
        }
        true
    }

    /// In manual mode: writes the empty batch that follows the last one when the log is idle.
    pub fn idle(&self) {
        lock(&self.shared.committer).close();
    }

    fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, answer) = sync_channel(1);
        self.shared.push(command(reply), true);
        if self.thread.is_none() {
            return self.answer(&answer);
        }
        answer.recv().unwrap_or_else(|_| Err(stopped()))
    }

    fn answer<T>(&self, answer: &Receiver<Result<T, Error>>) -> Result<T, Error> {
        loop {
            match answer.try_recv() {
                Ok(answer) => return answer,
                Err(TryRecvError::Empty) => self.turn(),
                Err(TryRecvError::Disconnected) => return Err(stopped()),
            };
        }
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            lock(&self.shared.queue).closing = true;
            self.shared.work.notify_one();
            let _ = thread.join();
        }
    }
}

impl Log for DiskLog {
    fn acquire(&self, partition: PartitionId) -> Result<Lease, Error> {
        self.ask(|reply| Command::Acquire(partition, reply))
    }

    fn append(&self, append: Append, done: Done) {
        self.shared.push(Command::Append(append, done), false);
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Seq,
        max_bytes: usize,
    ) -> Result<Vec<(Seq, Bytes)>, Error> {
        read::read(&self.shared.index, partition, from, max_bytes)
    }

    fn tail(&self, partition: PartitionId) -> Result<Seq, Error> {
        Ok(lock(&self.shared.index).state(partition).tail)
    }

    fn trim(&self, partition: PartitionId, up_to: Seq) -> Result<(), Error> {
        self.ask(|reply| Command::Trim(partition, up_to, reply))
    }

    fn usage(&self) -> Usage {
        let (segments, bytes) = lock(&self.shared.index).size();
        let queued_bytes = lock(&self.shared.queue).bytes as u64;
        let counters = &self.shared.counters;
        Usage {
            bytes,
            segments,
            appends: counters.appends.load(Ordering::Relaxed),
            record_bytes: counters.record_bytes.load(Ordering::Relaxed),
            refused: counters.refused.load(Ordering::Relaxed),
            batches: counters.batches.load(Ordering::Relaxed),
            syncs: counters.syncs.load(Ordering::Relaxed),
            sync_nanos: counters.sync_nanos.load(Ordering::Relaxed),
            written_bytes: counters.written_bytes.load(Ordering::Relaxed),
            queued_bytes,
            full: counters.full.load(Ordering::Relaxed),
        }
    }
}

impl Shared {
    fn open(
        files: &Arc<dyn Files>,
        options: &Options,
        helper: impl FnOnce(Arc<dyn Files>) -> Result<Helper, Error>,
    ) -> Result<Self, Error> {
        if options.first_segment_bytes < FIRST_SEGMENT_BYTES_MIN {
            return Err(Error::Options {
                what: "the first segment is too small for a log: give it at least 4096 bytes",
            });
        }
        let recovered = recover::recover(files, options)?;
        let counters = Arc::new(Counters::default());
        let helper = helper(Arc::clone(files))?;
        let (committer, index) =
            Committer::new(options.clone(), recovered, helper, Arc::clone(&counters));
        Ok(Self {
            queue: Mutex::default(),
            work: Condvar::new(),
            room: Condvar::new(),
            committer: Mutex::new(committer),
            index,
            counters,
            idle: options.idle,
            retry: options.retry,
            committing: OnceLock::new(),
        })
    }

    fn push(&self, command: Command, always: bool) {
        let mut queue = lock(&self.queue);
        let blocks = |queue: &mut Queue| queue.bytes > QUEUE_BYTES_MAX && queue.dead.is_none();
        if !always && blocks(&mut queue) && self.may_block() {
            let waited = self.room.wait_while(queue, blocks);
            queue = waited.unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(reason) = queue.dead.clone() {
            drop(queue);
            return command.stop(&reason);
        }
        queue.bytes += command.bytes();
        queue.commands.push_back(command);
        if std::mem::take(&mut queue.asleep) {
            drop(queue);
            self.work.notify_one();
        }
    }

    fn may_block(&self) -> bool {
        let committing = self.committing.get();
        committing.is_some_and(|thread| *thread != std::thread::current().id())
    }

    /// The committer's thread.
    fn run(&self) {
        let mut commands = VecDeque::new();
        loop {
            if !self.gather(&mut commands) {
                break;
            }
            let mut committer = lock(&self.committer);
            while !commands.is_empty() {
                committer.turn(&mut commands);
            }
            if let Some(reason) = committer.dead() {
                self.stop(reason);
            }
        }
        lock(&self.committer).close();
        self.stop("it was closed");
    }

    /// Waits for commands and takes all of them; false when the log is closed.
    fn gather(&self, commands: &mut VecDeque<Command>) -> bool {
        let mut queue = lock(&self.queue);
        while queue.commands.is_empty() {
            if queue.closing {
                return false;
            }
            queue.asleep = true;
            drop(queue);
            let committer = lock(&self.committer);
            let pause = match (committer.is_open_ended(), committer.is_out_of_room()) {
                (true, _) => Some(self.idle),
                (false, true) => Some(self.retry),
                (false, false) => None,
            };
            drop(committer);
            queue = lock(&self.queue);
            // whatever arrived meanwhile has taken the mark back
            let sleeps = |queue: &mut Queue| queue.commands.is_empty() && !queue.closing;
            let Some(pause) = pause else {
                let woken = self.work.wait_while(queue, sleeps);
                queue = woken.unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let woken = self.work.wait_timeout_while(queue, pause, sleeps);
            let (woken, timeout) = woken.unwrap_or_else(PoisonError::into_inner);
            queue = woken;
            if timeout.timed_out() {
                drop(queue);
                let mut committer = lock(&self.committer);
                committer.close();
                committer.tend();
                drop(committer);
                queue = lock(&self.queue);
            }
        }
        queue.asleep = false;
        std::mem::swap(&mut queue.commands, commands);
        if queue.bytes > QUEUE_BYTES_MAX {
            self.room.notify_all();
        }
        queue.bytes = 0;
        true
    }

    fn stop(&self, reason: &str) {
        let mut queue = lock(&self.queue);
        queue.dead = Some(reason.to_owned());
        queue.bytes = 0;
        let commands = std::mem::take(&mut queue.commands);
        drop(queue);
        self.room.notify_all();
        commands.into_iter().for_each(|command| command.stop(reason));
    }
}

fn stopped() -> Error {
    Error::Stopped { reason: "its thread is gone".to_owned() }
}

/// A panic in a callback poisons a lock whose data it never touched.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
