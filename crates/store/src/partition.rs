//! One partition: a single writer commits, anybody reads.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::blobs;
use crate::commit::{self, Changes};
use crate::error::Error;
use crate::rows::{self, meta};
use crate::store::References;
use crate::summary::Digest;
use crate::table::{Batch, Rows, Table};
use crate::view::View;

/// Payloads collected in one batch, so that the writer waits microseconds for it.
const COLLECT_BLOBS_MAX: usize = 64;

/// A partition of the store. Cheap to clone; its reads see what was committed last.
#[derive(Clone)]
pub struct Partition {
    inner: Arc<Inner>,
}

struct Inner {
    id: u32,
    table: Arc<dyn Table>,
    /// Reads of the present.
    now: View,
    applied: AtomicU64,
    /// Held while a batch is made and written: it is made of what was read before.
    writing: Mutex<()>,
}

impl Partition {
    pub(crate) fn open(
        id: u32,
        table: Arc<dyn Table>,
        references: References,
    ) -> Result<Self, Error> {
        let applied = AtomicU64::new(loaded(table.as_ref())?);
        let now = View { partition: id, rows: table.clone(), references };
        let writing = Mutex::new(());
        Ok(Self { inner: Arc::new(Inner { id, table, now, applied, writing }) })
    }

    /// Which partition this is.
    pub fn id(&self) -> u32 {
        self.inner.id
    }

    /// The last record whose changes are here; 0 when there is none: records count from 1.
    pub fn applied(&self) -> u64 {
        self.inner.applied.load(Ordering::Acquire)
    }

    /// Writes changes and how far they reach, all of it or nothing, without waiting for the disk:
    /// after a crash the partition is as some earlier commit left it.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the changes contradict themselves or what is here, or go back;
    /// nothing is written then. [`Error::Retry`] when the disk does not take them.
    pub fn commit(&self, changes: Changes) -> Result<(), Error> {
        let _writing = self.lock();
        let (applied, have) = (changes.applied, self.applied());
        if applied < have {
            return Err(Error::Invalid(format!(
                "partition {}: record {applied} comes after {have}, which is here already",
                self.inner.id
            )));
        }
        let batch = commit::batch(&self.inner.now, changes)?;
        self.write(applied, batch)
    }

    pub(crate) fn write(&self, applied: u64, batch: Batch) -> Result<(), Error> {
        self.inner.table.commit(applied, batch)?;
        self.inner.applied.store(applied, Ordering::Release);
        Ok(())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, ()> {
        // It guards no data: a panic while it was held wrote a whole batch or none.
        self.inner.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn rows(&self) -> &dyn Rows {
        self.inner.now.rows.as_ref()
    }

    /// Whether it holds nothing at all; a partition restored at record 0 holds its runs.
    ///
    /// # Errors
    /// [`Error::Retry`] when the disk does not answer.
    pub fn is_empty(&self) -> Result<bool, Error> {
        let (first, last) = rows::everything();
        Ok(self.rows().range(first, last).next().transpose()?.is_none())
    }

    /// The partition as it is now, for as long as it is held.
    pub fn view(&self) -> View {
        View {
            partition: self.inner.id,
            rows: self.inner.table.freeze(),
            references: self.inner.now.references,
        }
    }

    /// See [`View::state_hash`]: of one moment, while others write.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn state_hash(&self) -> Result<Digest, Error> {
        self.view().state_hash()
    }

    /// Takes away the payloads that nothing in the view refers to and that no record has brought
    /// lately ([`BLOB_GRACE_RECORDS`](crate::BLOB_GRACE_RECORDS)). Called after a snapshot of the
    /// view; returns how many went.
    ///
    /// # Errors
    /// As [`Partition::commit`].
    pub fn collect(&self, view: &View) -> Result<usize, Error> {
        let kept = blobs::referenced(view)?;
        let applied = view.applied()?;
        let mut candidates = Vec::new();
        for head in view.blob_heads() {
            let (digest, head) = head?;
            if !kept.contains(&digest) && !blobs::is_young(head, applied) {
                candidates.push(digest);
            }
        }
        let mut gone = 0;
        for digests in candidates.chunks(COLLECT_BLOBS_MAX) {
            let _writing = self.lock();
            let mut batch = Batch::default();
            for digest in digests {
                let deleted =
                    blobs::delete(self.inner.table.as_ref(), &mut batch, digest, applied)?;
                gone += usize::from(deleted);
            }
            self.write(self.applied(), batch)?;
        }
        Ok(gone)
    }

    /// Empties the partition, before a rebuild.
    ///
    /// # Errors
    /// [`Error::Retry`] when the disk does not answer.
    pub fn clear(&self) -> Result<(), Error> {
        let _writing = self.lock();
        self.reset()
    }

    pub(crate) fn reset(&self) -> Result<(), Error> {
        self.inner.table.clear()?;
        self.inner.applied.store(0, Ordering::Release);
        Ok(())
    }

    /// Goes back to what the last commit at or before record `applied` left: a crash in the
    /// deterministic simulation. Of a store in memory only.
    ///
    /// # Errors
    /// [`Error::Invalid`] on disk, and when that commit is too long ago.
    pub fn revert_to(&self, applied: u64) -> Result<(), Error> {
        let _writing = self.lock();
        self.inner.table.revert_to(applied)?;
        self.inner.applied.store(loaded(self.inner.table.as_ref())?, Ordering::Release);
        Ok(())
    }
}

/// The last record whose changes are there, as a boot finds it. A load that did not finish left
/// nothing that counts: it is cleared away.
fn loaded(table: &dyn Table) -> Result<u64, Error> {
    let meta = table.get(&meta::key())?.map(|value| meta::decode(&value)).transpose()?;
    if meta.is_some_and(|meta| meta.loading) {
        table.clear()?;
        return Ok(0);
    }
    Ok(meta.map_or(0, |meta| meta.applied))
}

/// Its reads are those of [`View`], of the present.
impl Deref for Partition {
    type Target = View;

    fn deref(&self) -> &View {
        &self.inner.now
    }
}
