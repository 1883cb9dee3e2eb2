//! What can go wrong, and what the caller does next.

use std::io;

use crate::{Epoch, PartitionId, Seq};

/// What the caller does about an error; the detail is in the error itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The same call may succeed later.
    Retry,
    /// Someone else was faster: acquire the partition again.
    Conflict,
    /// The call itself is wrong and never succeeds.
    Invalid,
    /// What was asked for is no longer there.
    NotFound,
    /// The stored bytes are damaged: a person has to decide.
    Corrupt,
}

/// Why an append was not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Nothing was written: a newer epoch exists, or the tail is not the one the writer believes in.
    #[error(
        "partition {partition}: epoch {epoch} expected the tail {expected}, but epoch {current} is at {tail}: acquire the partition again"
    )]
    Fenced {
        /// The partition of the append.
        partition: PartitionId,
        /// The writer's epoch.
        epoch: Epoch,
        /// The partition's epoch.
        current: Epoch,
        /// The tail the writer believed in.
        expected: Seq,
        /// The partition's tail.
        tail: Seq,
    },
    /// The record may or may not be in the log. See [`resolve`](crate::resolve).
    #[error(
        "partition {partition}: {reason}, so the record may or may not be in the log: acquire the partition and read from its tail"
    )]
    Unknown {
        /// The partition of the append.
        partition: PartitionId,
        /// What happened.
        reason: String,
    },
    /// Nothing was written: there is no room. The log goes on by itself when room comes back.
    #[error(
        "partition {partition}: no room for more records ({reason}): free disk space, then append again"
    )]
    Full {
        /// The partition of the append.
        partition: PartitionId,
        /// What the disk said.
        reason: String,
    },
    /// Nothing was written: the record is larger than a record may be.
    #[error(
        "partition {partition}: a record of {bytes} bytes is over the {bytes_max} bytes allowed: split it"
    )]
    TooLarge {
        /// The partition of the append.
        partition: PartitionId,
        /// Bytes of the record.
        bytes: usize,
        /// Bytes allowed.
        bytes_max: usize,
    },
}

impl AppendError {
    /// What the caller does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Fenced { .. } => Kind::Conflict,
            Self::Unknown { .. } | Self::Full { .. } => Kind::Retry,
            Self::TooLarge { .. } => Kind::Invalid,
        }
    }
}

/// Why anything but an append failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The records asked for were trimmed.
    #[error("partition {partition}: records before {first} were trimmed: read from {first} on")]
    Trimmed {
        /// The partition.
        partition: PartitionId,
        /// The first record that is still there, or the next to be written.
        first: Seq,
    },
    /// A trim beyond what was appended.
    #[error(
        "partition {partition}: cannot trim up to {up_to}, its tail is {tail}: trim no more than was appended"
    )]
    BeyondTail {
        /// The partition.
        partition: PartitionId,
        /// The trim asked for.
        up_to: Seq,
        /// The partition's tail.
        tail: Seq,
    },
    /// More partitions than the first segment of this log can carry over.
    #[error("the log holds at most {max} partitions: use fewer, or larger segments")]
    TooManyPartitions {
        /// Partitions allowed.
        max: usize,
    },
    /// Options that contradict each other.
    #[error("{what}")]
    Options {
        /// Which, and what to set instead.
        what: &'static str,
    },
    /// There is no room, not even for control records.
    #[error("no room in the log ({reason}): free disk space and try again")]
    Full {
        /// What the disk said.
        reason: String,
    },
    /// The operating system refused.
    #[error(
        "cannot {doing} {file}: {source}: check the disk and the directory's permissions, then try again"
    )]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The file it was tried on.
        file: String,
        /// What the system said.
        source: io::Error,
    },
    /// Bytes that were once acknowledged are damaged or missing.
    #[error(
        "{file} at byte {offset}: {what}: acknowledged records are damaged, so nothing was changed; restore the log from a backup or another replica"
    )]
    Corrupt {
        /// The file.
        file: String,
        /// Byte offset in it.
        offset: u64,
        /// What was found there.
        what: String,
    },
    /// The file was written by another version.
    #[error(
        "{file}: log format {found} is not the format {known} of this version: start the version that wrote it"
    )]
    Version {
        /// The file.
        file: String,
        /// The format found.
        found: u32,
        /// The format this version reads and writes.
        known: u32,
    },
    /// The log has stopped, because it failed or was closed.
    #[error("the log has stopped ({reason}): open it again")]
    Stopped {
        /// Why it stopped.
        reason: String,
    },
    /// A record that is not the writer's is where one in flight should be.
    #[error(
        "partition {partition}: record {seq} was written by someone else: load the partition again"
    )]
    Foreign {
        /// The partition.
        partition: PartitionId,
        /// The position.
        seq: Seq,
    },
}

impl Error {
    /// What the caller does about it.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Trimmed { .. } => Kind::NotFound,
            Self::BeyondTail { .. }
            | Self::TooManyPartitions { .. }
            | Self::Options { .. }
            | Self::Version { .. } => Kind::Invalid,
            Self::Full { .. } | Self::Io { .. } | Self::Stopped { .. } => Kind::Retry,
            Self::Corrupt { .. } => Kind::Corrupt,
            Self::Foreign { .. } => Kind::Conflict,
        }
    }

    pub(crate) fn io(doing: &'static str, file: &str, source: io::Error) -> Self {
        Self::Io { doing, file: file.to_owned(), source }
    }
}
