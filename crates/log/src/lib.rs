//! Orders and persists opaque records per partition.
//!
//! ```text
//!  acquire ──► Lease { epoch, tail }
//!  append { epoch, expected tail } ──► queue ──► durable ──► done(Ok(seq))
//!  read(from) ──► the records of one partition, in order        trim(up to)
//! ```
//!
//! Every append is a compare-and-set on the partition's tail and epoch: a writer that lost its
//! partition cannot append, and a record is never in the log twice. What is acknowledged stays.
//!
//! Knows nothing about workflows, about what a record holds, about time, or about who may write.
//! Backends: [`MemoryLog`] for tests and simulation, [`DiskLog`] for one node.

mod book;
mod disk;
mod error;
#[cfg(any(test, feature = "fault"))]
pub mod fault;
mod files;
mod ids;
mod memory;
mod resolve;
#[cfg(any(test, feature = "suite"))]
pub mod suite;

pub use bytes::Bytes;

pub use disk::{DiskLog, OnFatal, Options, Planted};
pub use error::{AppendError, Error, Kind};
pub use files::{File, Files, RealFiles};
pub use ids::{Epoch, PartitionId, Seq};
pub use memory::{Fault, MemoryLog};
pub use resolve::{Resolved, resolve};

/// The largest record. One commit group of a partition must fit; larger payloads are split by the writer.
pub const RECORD_BYTES_MAX: usize = 512 * 1024;

/// A record to append.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Append {
    /// Where to.
    pub partition: PartitionId,
    /// The writer's epoch, from [`Log::acquire`].
    pub epoch: Epoch,
    /// The tail the writer believes in; the record becomes `expected.next()`.
    pub expected: Seq,
    /// The record, at most [`RECORD_BYTES_MAX`] bytes; may be empty.
    pub record: Bytes,
    /// Whether it may use the reserve of a full disk.
    pub class: Class,
}

/// Which appends go on when the disk is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Refused when the disk is full.
    Normal,
    /// Cancels, terminations and epoch records: may use the reserve.
    Essential,
}

/// Called once, with the record's position when it is durable. It runs on the log's own thread, or
/// inside `append` itself: it must be quick, must not hold or take a lock that a caller of `append`
/// holds, and must not call [`Log::acquire`] or [`Log::trim`]. It may call [`Log::append`], which
/// does not block there.
pub type Done = Box<dyn FnOnce(Result<Seq, AppendError>) + Send>;

/// The right to append to a partition, until someone else acquires it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The new epoch.
    pub epoch: Epoch,
    /// The last record of the partition.
    pub tail: Seq,
}

/// Counters since the log was opened, and its present size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes of all files, room allocated ahead included.
    pub bytes: u64,
    /// Files of the log.
    pub segments: u64,
    /// Records acknowledged.
    pub appends: u64,
    /// Bytes of these records.
    pub record_bytes: u64,
    /// Appends refused or failed.
    pub refused: u64,
    /// Batches written, the empty ones included.
    pub batches: u64,
    /// Syncs of a batch: the price of the appends.
    pub syncs: u64,
    /// Nanoseconds that these syncs took.
    pub sync_nanos: u64,
    /// Bytes of batches written.
    pub written_bytes: u64,
    /// Bytes that wait in the queue now.
    pub queued_bytes: u64,
    /// Whether only the reserve is left.
    pub full: bool,
}

/// An ordered, durable sequence of records per partition.
pub trait Log: Send + Sync + 'static {
    /// Starts a new epoch, which fences every earlier one; durable before it returns. A partition
    /// exists from its first acquire on.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Stopped`], [`Error::TooManyPartitions`].
    fn acquire(&self, partition: PartitionId) -> Result<Lease, Error>;

    /// Queues a record; `done` is called once it is durable, or failed. Appends of a partition are
    /// pipelined: the next may be queued with `expected` one higher before this one is durable, and
    /// if one fails, every queued successor fails with the same error. Blocks while the queue is
    /// over its bound.
    fn append(&self, append: Append, done: Done);

    /// The durable records from `from` on, in order: as many as `max_bytes` of records allow, and at
    /// least one if there is any.
    ///
    /// # Errors
    /// [`Error::Trimmed`] when `from` was trimmed; [`Error::Corrupt`] and [`Error::Io`] from the disk.
    fn read(
        &self,
        partition: PartitionId,
        from: Seq,
        max_bytes: usize,
    ) -> Result<Vec<(Seq, Bytes)>, Error>;

    /// The last durable record; 0 if there is none.
    ///
    /// # Errors
    /// [`Error::Stopped`], from backends that have to ask.
    fn tail(&self, partition: PartitionId) -> Result<Seq, Error>;

    /// Allows the log to forget the records up to and including `up_to`; durable before it returns.
    /// Trimming what is trimmed already changes nothing.
    ///
    /// # Errors
    /// [`Error::BeyondTail`], [`Error::Full`], [`Error::Stopped`].
    fn trim(&self, partition: PartitionId, up_to: Seq) -> Result<(), Error>;

    /// Counters for metrics and benchmarks.
    fn usage(&self) -> Usage;
}

impl<L: Log + ?Sized> Log for std::sync::Arc<L> {
    fn acquire(&self, partition: PartitionId) -> Result<Lease, Error> {
        (**self).acquire(partition)
    }

    fn append(&self, append: Append, done: Done) {
        (**self).append(append, done);
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Seq,
        max_bytes: usize,
    ) -> Result<Vec<(Seq, Bytes)>, Error> {
        (**self).read(partition, from, max_bytes)
    }

    fn tail(&self, partition: PartitionId) -> Result<Seq, Error> {
        (**self).tail(partition)
    }

    fn trim(&self, partition: PartitionId, up_to: Seq) -> Result<(), Error> {
        (**self).trim(partition, up_to)
    }

    fn usage(&self) -> Usage {
        (**self).usage()
    }
}
