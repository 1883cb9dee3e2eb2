//! Rows in fjall: one database per node, one keyspace per partition, so that what survives a
//! power loss is a prefix of a partition's commits. Nothing here waits for an fsync: what is lost
//! is in the log.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use fjall::config::{BlockSizePolicy, BloomConstructionPolicy, FilterPolicy, FilterPolicyEntry};
use fjall::{Database, Keyspace, KeyspaceCreateOptions, Readable, Snapshot};

use crate::error::Error;
use crate::store::{Options, Usage};
use crate::table::{Batch, Range, Row, Rows, Table};

/// Threads that flush and compact. One is enough for what one log can append.
const WORKER_THREADS: usize = 1;

/// Journals kept before memtables are flushed to let go of them: the least fjall allows, and what
/// a restart reads at most.
const JOURNAL_BYTES_MAX: u64 = 64 << 20;

/// Blocks are read whole to find one row; rows are about 600 bytes.
const BLOCK_BYTES: u32 = 4 << 10;

/// Open table files: below the usual limit of 1,024 per process, with room for sockets.
const OPEN_FILES_MAX: usize = 256;

/// The database of a node.
#[derive(Clone)]
pub(crate) struct Disk {
    database: Database,
    path: Arc<PathBuf>,
    memtable_bytes: u64,
}

impl Disk {
    pub(crate) fn open(path: &Path, options: &Options) -> Result<Self, Error> {
        let database = Database::builder(path)
            .cache_size(options.cache_bytes)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKER_THREADS)
            .open()
            .map_err(|error| explain(path, error))?;
        let path = Arc::new(path.to_owned());
        Ok(Self { database, path, memtable_bytes: options.memtable_bytes })
    }

    /// The partitions that have been made.
    pub(crate) fn partitions(&self) -> Vec<u32> {
        let names = self.database.list_keyspace_names();
        names.iter().filter_map(|name| name.strip_prefix('p')?.parse().ok()).collect()
    }

    pub(crate) fn partition(&self, id: u32) -> Result<DiskRows, Error> {
        // Runs are looked up by addresses that exist; only a new run's is not there.
        let filter = FilterPolicyEntry::Bloom(BloomConstructionPolicy::BitsPerKey(10.0));
        let options = || {
            KeyspaceCreateOptions::default()
                .max_memtable_size(self.memtable_bytes)
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
                .filter_policy(FilterPolicy::all(filter))
        };
        let keyspace = self
            .database
            .keyspace(&format!("p{id}"), options)
            .map_err(|error| explain(&self.path, error))?;
        Ok(DiskRows { keyspace, database: self.database.clone(), path: self.path.clone() })
    }

    pub(crate) fn usage(&self) -> Result<Usage, Error> {
        let disk_bytes = self.database.disk_space().map_err(|error| explain(&self.path, error))?;
        Ok(Usage {
            disk_bytes,
            cache_bytes: self.database.cache_size(),
            memtable_bytes: self.database.write_buffer_size(),
        })
    }
}

/// One partition's keyspace.
pub(crate) struct DiskRows {
    keyspace: Keyspace,
    database: Database,
    path: Arc<PathBuf>,
}

impl Rows for DiskRows {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value = self.keyspace.get(key).map_err(|error| explain(&self.path, error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn range(&self, from: Bytes, to: Bytes) -> Range {
        let iter = self.keyspace.range::<Bytes, _>(from..to);
        walk(iter, self.path.clone())
    }
}

impl Table for DiskRows {
    fn commit(&self, _applied: u64, batch: Batch) -> Result<(), Error> {
        let mut write = self.database.batch();
        for (key, value) in batch.into_rows() {
            match value {
                Some(value) => write.insert(&self.keyspace, &*key, &*value),
                None => write.remove(&self.keyspace, &*key),
            }
        }
        write.commit().map_err(|error| explain(&self.path, error))
    }

    fn freeze(&self) -> Arc<dyn Rows> {
        Arc::new(Frozen {
            keyspace: self.keyspace.clone(),
            snapshot: self.database.snapshot(),
            path: self.path.clone(),
        })
    }

    fn clear(&self) -> Result<(), Error> {
        self.keyspace.clear().map_err(|error| explain(&self.path, error))
    }

    fn revert_to(&self, _applied: u64) -> Result<(), Error> {
        Err(Error::Invalid("only a store in memory can go back to an earlier record".into()))
    }
}

struct Frozen {
    keyspace: Keyspace,
    snapshot: Snapshot,
    path: Arc<PathBuf>,
}

impl Rows for Frozen {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        let value =
            self.snapshot.get(&self.keyspace, key).map_err(|error| explain(&self.path, error))?;
        Ok(value.map(|value| Bytes::copy_from_slice(&value)))
    }

    fn range(&self, from: Bytes, to: Bytes) -> Range {
        walk(self.snapshot.range::<Bytes, _>(&self.keyspace, from..to), self.path.clone())
    }
}

// Rows are copied out: a slice would keep its whole block alive for as long as a run holds a
// payload of it.
fn walk(iter: fjall::Iter, path: Arc<PathBuf>) -> Range {
    Box::new(iter.map(move |guard| -> Result<Row, Error> {
        let (key, value) = guard.into_inner().map_err(|error| explain(&path, error))?;
        Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
    }))
}

/// An error of fjall, as what its reader does next.
fn explain(path: &Path, error: fjall::Error) -> Error {
    let path = path.display();
    match error {
        fjall::Error::Io(error) | fjall::Error::Storage(fjall::LsmError::Io(error)) => {
            Error::Retry(format!("{path}: {error}; check the disk and that it has space"))
        }
        fjall::Error::Poisoned => Error::Retry(format!(
            "{path}: an earlier write failed; check the disk, then start the server again"
        )),
        fjall::Error::Locked => {
            Error::Retry(format!("{path}: another process has it open; stop that one first"))
        }
        fjall::Error::InvalidVersion(version) => Error::Rebuild(format!(
            "{path}: written by another version of the storage engine ({version:?}); delete this \
             directory and start again, it is rebuilt from the log"
        )),
        error => Error::Corrupt(format!(
            "{path}: {error}; stop the server, delete this directory and start again: it is \
             rebuilt from the log"
        )),
    }
}
