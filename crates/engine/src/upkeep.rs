//! What keeps the disk bounded, one step at a time: closed runs leave after their retention, and the
//! log is trimmed behind snapshots.
//!
//! ```text
//! each partition:  write ─► read back ─► retain two ─► collect payloads ─► trim the log
//! ```
//! Whoever drives it decides when: a thread ([`keeper`](crate::keeper)) or the simulation. What a
//! crash leaves between two steps is what the next round begins with, so nothing is undone.
//! Absent: threads, a clock of its own, state that outlives the process.

use std::sync::Arc;

use reflux_core::{Command, Timestamp};
use reflux_log::{Log, PartitionId, Seq};
use reflux_store::snapshot::{self, Written};
use reflux_store::{Place, View};

use crate::Error;
use crate::request::{Ask, Lane, Request, no_reply};
use crate::results::Results;
use crate::router::Router;

/// Snapshots kept of each partition: if the newest cannot be read, the one before it is.
const SNAPSHOTS_KEPT: usize = 2;

/// Runs retired in one look, so that they do not crowd out live ones.
const RETIRE_MAX: usize = 1_000;

/// What a step of the keeper did for a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// Wrote a snapshot.
    Written,
    /// Read it back.
    ReadBack,
    /// Read back the one before it, and deleted the others.
    Retained,
    /// Took away the payloads that nothing in it refers to.
    Collected,
    /// Trimmed the log, and is done with the partition.
    Trimmed,
}

/// Snapshots, trimming and retention of an engine.
pub(crate) struct Upkeep {
    parts: Parts,
    /// Bytes that the log had appended when the last snapshots were begun.
    appended_then: u64,
    /// Bytes of the last snapshots.
    snapshot_bytes: u64,
    /// The snapshots under way.
    round: Option<Round>,
}

/// What it works on.
pub(crate) struct Parts {
    pub place: Place,
    pub log: Arc<dyn Log>,
    pub stores: Vec<reflux_store::Partition>,
    pub router: Arc<Router>,
    pub results: Arc<Results>,
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Bytes of log after which snapshots are due.
    pub snapshot_bytes: u64,
}

/// One snapshot of every partition.
struct Round {
    appended: u64,
    bytes: u64,
    partition: usize,
    next: Next,
}

/// What comes next for the partition.
enum Next {
    Write,
    ReadBack { view: View, written: Written },
    Retain { view: View },
    Collect { view: View, kept: Vec<u64> },
    Trim { kept: Vec<u64> },
}

impl Upkeep {
    pub fn new(parts: Parts) -> Self {
        Self { parts, appended_then: 0, snapshot_bytes: 0, round: None }
    }

    /// Asks runs whose retention is over to leave, and forgets results that count no longer.
    ///
    /// # Errors
    /// [`Error::Corrupt`] from the store.
    pub fn retire(&self) -> Result<(), Error> {
        let now = (self.parts.now)();
        self.parts.results.tidy(now)?;
        for store in &self.parts.stores {
            for (_, run) in store.expiring(now, None, RETIRE_MAX)? {
                let ask = Ask::Command {
                    run_id: Some(run.run_id),
                    first_run: None,
                    command: Command::Retire,
                };
                self.parts.router.request(Request { lane: Lane::of(&run), ask, reply: no_reply() });
            }
        }
        Ok(())
    }

    /// Whether the log has grown enough since the last snapshots.
    pub fn is_due(&self) -> bool {
        let appended = self.parts.log.usage().record_bytes;
        // Rewriting what is there costs no more than what was appended since.
        let due = self.parts.snapshot_bytes.max(self.snapshot_bytes);
        appended.saturating_sub(self.appended_then) >= due
    }

    /// A snapshot of every partition, from the beginning.
    ///
    /// # Errors
    /// As [`Upkeep::step`].
    pub fn snapshot(&mut self) -> Result<(), Error> {
        self.round = None;
        while self.step()?.is_some() {}
        Ok(())
    }

    /// Takes the next step of the snapshots under way, or the first of new ones. `None` when every
    /// partition is done.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a snapshot cannot be written or does not read back; the snapshots
    /// under way are given up, and nothing was trimmed behind the one that failed.
    pub fn step(&mut self) -> Result<Option<(usize, Kept)>, Error> {
        let mut round = self.round.take().unwrap_or_else(|| self.begin());
        let Some(store) = self.parts.stores.get(round.partition) else {
            self.appended_then = round.appended;
            self.snapshot_bytes = round.bytes;
            return Ok(None);
        };
        let partition = round.partition;
        let (kept, next) = match round.next {
            Next::Write => {
                let view = store.view();
                let written = snapshot::write(&view, (self.parts.now)(), &self.parts.place)?;
                round.bytes += written.bytes;
                (Kept::Written, Next::ReadBack { view, written })
            }
            Next::ReadBack { view, written } => {
                let file = snapshot::path(written.partition, written.seq);
                if snapshot::verify(&self.parts.place, &file)? != written {
                    return Err(Error::Corrupt(format!(
                        "{file} does not read back as it was written; check the disk"
                    )));
                }
                (Kept::ReadBack, Next::Retain { view })
            }
            Next::Retain { view } => {
                let kept = snapshot::retain(&self.parts.place, store.id(), SNAPSHOTS_KEPT)?;
                (Kept::Retained, Next::Collect { view, kept })
            }
            Next::Collect { view, kept } => {
                store.collect(&view)?;
                (Kept::Collected, Next::Trim { kept })
            }
            Next::Trim { kept } => {
                // With one snapshot only, the log behind it is what stands in for the second.
                if let (Some(older), SNAPSHOTS_KEPT) = (kept.last(), kept.len()) {
                    self.parts.log.trim(PartitionId(store.id()), Seq(*older))?;
                }
                round.partition += 1;
                (Kept::Trimmed, Next::Write)
            }
        };
        round.next = next;
        self.round = Some(round);
        Ok(Some((partition, kept)))
    }

    fn begin(&self) -> Round {
        let appended = self.parts.log.usage().record_bytes;
        Round { appended, bytes: 0, partition: 0, next: Next::Write }
    }
}
