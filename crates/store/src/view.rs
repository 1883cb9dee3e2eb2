//! Reads of a partition: of the present, or of the moment a view was taken.

use std::sync::Arc;

use bytes::Bytes;
use reflux_core::{RunId, RunKey, Timestamp};

use crate::error::Error;
use crate::list::{self, Filter, Page, Position};
use crate::rows::address::{Address, Workflow};
use crate::rows::calendar::{DUE, EXPIRY};
use crate::rows::{blob, current, items, meta, run_id, summary, tally, waiting, working};
use crate::store::References;
use crate::summary::{Current, Digest, QueueDigest, Summary};
use crate::table::{Range, Rows};
use crate::tally::Tally;
use crate::{blobs, hash};

/// A consistent view of one partition, as it was when [`Partition::view`](crate::Partition::view)
/// was called. While it is held its rows are kept on disk: hold it for a snapshot, not for ever.
#[derive(Clone)]
pub struct View {
    pub(crate) partition: u32,
    pub(crate) rows: Arc<dyn Rows>,
    pub(crate) references: References,
}

impl View {
    /// Which partition it is of.
    pub fn partition(&self) -> u32 {
        self.partition
    }

    /// The last record whose changes are here; 0 when there is none.
    ///
    /// # Errors
    /// As every read: [`Error::Retry`] when the disk does not answer, [`Error::Corrupt`] when a
    /// row is not what was written.
    pub fn applied(&self) -> Result<u64, Error> {
        Ok(match self.rows.get(&meta::key())? {
            Some(value) => meta::decode(&value)?.applied,
            None => 0,
        })
    }

    /// The items of a run from ordinal `from` on, in order; none when the run is not here.
    ///
    /// # Errors
    /// As [`View::applied`]; each item can fail too.
    pub fn items(&self, run: &RunKey, from: u64) -> Result<Items, Error> {
        self.items_at(Address::of(run), from)
    }

    pub(crate) fn items_at(&self, run: Address, from: u64) -> Result<Items, Error> {
        let (mut first, end) = items::range(run);
        if from > 0 {
            let mut before =
                self.rows.range(first.clone(), items::key(run, from.saturating_add(1)));
            if let Some(row) = before.next_back() {
                first = row?.0;
            }
        }
        Ok(Items::new(self.rows.range(first, end), from))
    }

    /// What is known of a run.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn summary(&self, run: &RunKey) -> Result<Option<Summary>, Error> {
        self.summary_at(Address::of(run))
    }

    pub(crate) fn summary_at(&self, run: Address) -> Result<Option<Summary>, Error> {
        match self.rows.get(&summary::key(run))? {
            Some(value) => summary::decode(&value).map(Some),
            None => Ok(None),
        }
    }

    /// What the runs of each namespace come to, by name.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn tallies(&self) -> Result<Vec<(Arc<str>, Tally)>, Error> {
        let (from, to) = tally::all();
        let rows = self.rows.range(from, to);
        rows.map(|row| {
            let (key, value) = row?;
            Ok((tally::namespace_of(&key)?, tally::decode(&value)?))
        })
        .collect()
    }

    /// A run of a namespace by its run id alone.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn find(&self, namespace: &str, run_id: RunId) -> Result<Option<Summary>, Error> {
        let (from, to) = run_id::range(run_id);
        for row in self.rows.range(from, to) {
            let run = Address::at_end_of(&row?.0);
            let found = run.map(|run| self.summary_at(run)).transpose()?.flatten();
            if let Some(found) = found.filter(|found| &*found.key.namespace == namespace) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The current run of a workflow id.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn current(&self, namespace: &str, workflow_id: &str) -> Result<Option<Current>, Error> {
        let workflow = Workflow::of(namespace, workflow_id);
        let Some(run_id) = self.current_run(workflow)? else { return Ok(None) };
        let found = self.summary_at(Address::new(workflow, run_id))?;
        Ok(found.map(|run| Current {
            run_id,
            open: run.is_open(),
            status: run.status,
            first_run_id: run.first_run_id,
            started: run.started,
            closed: run.closed,
            request_id: run.request_id,
        }))
    }

    pub(crate) fn current_run(&self, workflow: Workflow) -> Result<Option<RunId>, Error> {
        self.rows.get(&current::key(workflow))?.map(|value| current::decode(&value)).transpose()
    }

    /// Runs to wake at `up_to` or earlier, in the order of their moments, behind `after`.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn due(
        &self,
        up_to: Timestamp,
        after: Option<&(Timestamp, RunKey)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        let after = after.map(|(when, run)| (*when, Address::of(run)));
        let (from, to) = DUE.range(after, up_to);
        self.take(from, to, limit, |key, value| DUE.decode(key, value))
    }

    /// Closed runs whose retention was over at `up_to`, in that order, behind `after`.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn expiring(
        &self,
        up_to: Timestamp,
        after: Option<&(Timestamp, RunKey)>,
        limit: usize,
    ) -> Result<Vec<(Timestamp, RunKey)>, Error> {
        let after = after.map(|(when, run)| (*when, Address::of(run)));
        let (from, to) = EXPIRY.range(after, up_to);
        self.take(from, to, limit, |key, value| EXPIRY.decode(key, value))
    }

    /// Runs with effects to run again after a boot, behind `after`.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn working(&self, after: Option<&RunKey>, limit: usize) -> Result<Vec<RunKey>, Error> {
        let (from, to) = working::range(after.map(Address::of));
        self.take(from, to, limit, working::decode)
    }

    /// Runs that wait for workers of a queue, the most urgent first, behind the row of that name;
    /// each with the name of its row.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn waiting(
        &self,
        queue: &QueueDigest,
        after: Option<&Bytes>,
        limit: usize,
    ) -> Result<Vec<(Bytes, RunKey)>, Error> {
        let (from, to) = waiting::range(queue, after);
        self.take(from, to, limit, waiting::decode)
    }

    pub(crate) fn take<T>(
        &self,
        from: Bytes,
        to: Bytes,
        limit: usize,
        decode: fn(&[u8], &[u8]) -> Result<T, Error>,
    ) -> Result<Vec<T>, Error> {
        if from >= to {
            return Ok(Vec::new());
        }
        let rows = self.rows.range(from, to).take(limit);
        rows.map(|row| row.and_then(|(key, value)| decode(&key, &value))).collect()
    }

    /// Runs of a namespace, newest first, behind `after`; at most `limit` (1 to
    /// [`PAGE_RUNS_MAX`](crate::PAGE_RUNS_MAX)).
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn list(
        &self,
        filter: &Filter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, Error> {
        list::list(self, filter, after, limit)
    }

    /// A payload stored by its digest; `None` until all its parts are here.
    ///
    /// # Errors
    /// As [`View::applied`]; [`Error::Corrupt`] too when its bytes do not have this digest.
    pub fn blob(&self, digest: &Digest) -> Result<Option<Bytes>, Error> {
        blobs::read(self, digest)
    }

    /// Whether all parts of a payload are here.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        blobs::is_whole(self, digest)
    }

    /// BLAKE3 over the logical content: runs, item by item, which run is current, and the payloads
    /// that items refer to. The same after a rebuild, however rows were cut and numbered; not
    /// covered is what depends on when it was written ([`Summary::due`], `working`, `waiting`, `expires`).
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn state_hash(&self) -> Result<Digest, Error> {
        hash::state_hash(self)
    }

    /// All runs, workflow by workflow, by run id.
    pub(crate) fn runs(&self) -> impl Iterator<Item = Result<(Address, Summary), Error>> {
        let (from, to) = summary::all();
        self.rows.range(from, to).map(|row| {
            let (key, value) = row?;
            let run = Address::at_end_of(&key)
                .ok_or_else(|| Error::corrupt_row("summary", "a short key"))?;
            Ok((run, summary::decode(&value)?))
        })
    }

    /// All payload heads, by digest.
    pub(crate) fn blob_heads(&self) -> impl Iterator<Item = Result<(Digest, blob::Head), Error>> {
        let (from, to) = blob::heads();
        self.rows.range(from, to).map(|row| {
            let (key, value) = row?;
            Ok((blob::digest_of_head(&key)?, blob::decode_head(&value)?))
        })
    }
}

/// The encoded proto `Item`s of a run with their ordinals. One row is in memory at a time.
pub struct Items {
    rows: Box<dyn Iterator<Item = Result<(u64, Bytes), Error>> + Send>,
    row: Bytes,
    next: Option<u64>,
    from: u64,
}

impl Items {
    fn new(rows: Range, from: u64) -> Self {
        let rows = rows.map(|row| {
            let (key, value) = row?;
            Ok((items::first_ordinal(&key)?, value))
        });
        Self { rows: Box::new(rows), row: Bytes::new(), next: None, from }
    }

    /// Of rows that are still in memory, the first item being number 0.
    pub(crate) fn of_rows(rows: Vec<(u64, Bytes)>) -> Self {
        let rows = Box::new(rows.into_iter().map(Ok));
        Self { rows, row: Bytes::new(), next: None, from: 0 }
    }

    fn step(&mut self) -> Result<Option<(u64, Bytes)>, Error> {
        loop {
            if let Some(item) = items::take(&mut self.row)? {
                let ordinal = self.next.unwrap_or(0);
                self.next = Some(ordinal + 1);
                if ordinal >= self.from {
                    return Ok(Some((ordinal, item)));
                }
                continue;
            }
            let Some(row) = self.rows.next() else { return Ok(None) };
            let (first, row) = row?;
            if let Some(expected) = self.next.filter(|expected| *expected != first) {
                return Err(Error::corrupt_row(
                    "items",
                    format!("expected item {expected}, found {first}"),
                ));
            }
            self.next = Some(first);
            self.row = row;
        }
    }
}

impl Iterator for Items {
    type Item = Result<(u64, Bytes), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let step = self.step();
        if step.is_err() {
            self.row = Bytes::new();
            self.rows = Box::new(std::iter::empty());
        }
        step.transpose()
    }
}
