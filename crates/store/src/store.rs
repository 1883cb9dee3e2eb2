//! The store of a node: its partitions on disk or in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::disk::Disk;
use crate::error::Error;
use crate::memory::MemoryRows;
use crate::partition::Partition;
use crate::summary::Digest;
use crate::table::Table;

/// Tells the digests of the payloads that an encoded proto `Item` refers to. An item it cannot
/// read is an error: its payloads would be lost.
pub type References = fn(&Bytes, &mut dyn FnMut(Digest)) -> Result<(), Error>;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Blocks kept in memory, in bytes, for all partitions.
    pub cache_bytes: u64,
    /// Rows of one partition held in memory before they are flushed, in bytes.
    pub memtable_bytes: u64,
    /// Which payloads an item refers to.
    pub references: References,
}

impl Options {
    /// The figures for a process of 100 MB with 100,000 sleeping runs.
    pub fn new(references: References) -> Self {
        Self { cache_bytes: 32 << 20, memtable_bytes: 4 << 20, references }
    }
}

/// What a store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Bytes of all files.
    pub disk_bytes: u64,
    /// Bytes of blocks in memory.
    pub cache_bytes: u64,
    /// Bytes of rows in memory that are not yet flushed.
    pub memtable_bytes: u64,
}

/// The materialised state of all partitions of a node. Disposable: it is rebuilt from snapshots
/// and the log. Cheap to clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    disk: Option<Disk>,
    references: References,
    partitions: Mutex<BTreeMap<u32, Partition>>,
}

impl Store {
    /// Opens the store in a directory, which is made when it is not there.
    ///
    /// # Errors
    /// [`Error::Rebuild`] when its rows have another format: [`Store::remove`] it, open it again
    /// and rebuild. [`Error::Corrupt`] likewise. [`Error::Retry`] when the disk does not answer or
    /// another process holds the directory.
    pub fn open(dir: &Path, options: &Options) -> Result<Self, Error> {
        let disk = Disk::open(dir, options)?;
        let known = disk.partitions();
        let store = Self::with(Some(disk), options.references);
        for id in known {
            store.partition(id)?;
        }
        Ok(store)
    }

    /// A store in memory, gone with the process.
    pub fn memory(references: References) -> Self {
        Self::with(None, references)
    }

    fn with(disk: Option<Disk>, references: References) -> Self {
        Self { inner: Arc::new(Inner { disk, references, partitions: Mutex::default() }) }
    }

    /// Deletes the store in a directory, so that it is rebuilt. Nobody may have it open.
    ///
    /// # Errors
    /// [`Error::Retry`] when the disk does not answer.
    pub fn remove(dir: &Path) -> Result<(), Error> {
        match std::fs::remove_dir_all(dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(Error::Retry(
                format!("{}: {error}; delete this directory and start again", dir.display()),
            )),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// A partition, which is made when it is not there; every call gives the same one.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn partition(&self, id: u32) -> Result<Partition, Error> {
        let mut partitions = self.partitions();
        if let Some(partition) = partitions.get(&id) {
            return Ok(partition.clone());
        }
        let table: Arc<dyn Table> = match &self.inner.disk {
            Some(disk) => Arc::new(disk.partition(id)?),
            None => Arc::new(MemoryRows::default()),
        };
        let partition = Partition::open(id, table, self.inner.references)?;
        partitions.insert(id, partition.clone());
        Ok(partition)
    }

    /// What it takes; nothing when it is in memory.
    ///
    /// # Errors
    /// [`Error::Retry`] when the disk does not answer.
    pub fn usage(&self) -> Result<Usage, Error> {
        self.inner.disk.as_ref().map_or(Ok(Usage::default()), Disk::usage)
    }

    fn partitions(&self) -> MutexGuard<'_, BTreeMap<u32, Partition>> {
        self.inner.partitions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
