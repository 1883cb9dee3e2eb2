//! One partition: the single writer of the runs in its slots.
//!
//! ```text
//! requests ─→ lanes ─→ decide ─→ one record ─→ log
//!                                               │ durable
//!               replies, effects, store ←───────┘
//! ```
//!
//! A machine without threads, clocks or sockets of its own: `thread.rs` drives it in a process,
//! the simulation drives it step by step. A lane whose record is not durable is *held*: its
//! requests wait and are decided together in a later record, so nothing undurable is ever seen.

mod commit;
mod decide;
mod refill;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use crossbeam_channel::Receiver;
use reflux_core::{Command, Limits, Local, RunId, RunKey, Timestamp};
use reflux_log::{Epoch, Log, PartitionId, Seq};
use reflux_store::Changes;

use crate::cache::Cache;
use crate::host::Host;
use crate::ledger::Ledger;
use crate::mailbox::Internal;
use crate::matching::{Matching, Refill};
use crate::pace::Gates;
use crate::queries::Queries;
use crate::request::{Ask, Lane, Request, no_reply};
use crate::results::Results;
use crate::router::Router;
use crate::specs::Specs;
use crate::timers::{LOOK_MAX, Timers};
use crate::watch::Watches;
use crate::{Error, metrics};

use commit::Commit;

/// Records under way at once. More hide the latency of the log, fewer make larger records.
const RECORDS_IN_FLIGHT_MAX: usize = 4;

/// Bytes of items after which a record is closed. With what one more lane may add
/// (`STEP_BYTES_MAX` and a decision) it stays below the largest record.
const RECORD_BYTES_SOFT: usize = 192 * 1024;

/// Runs woken in one turn, so that a flood of timers does not starve requests.
const WAKES_MAX: usize = 512;

/// How long only essential requests are served after the log said that it is full.
const FULL_PAUSE: Duration = Duration::from_millis(500);

/// How long a run waits that could not go on because of something outside it.
const STALL: Duration = Duration::from_millis(500);

/// How often a partition tells the metrics how it is.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// Runs looked up at once when a partition is taken over.
const REVIVE_PAGE: usize = 1024;

/// What a partition is made of.
pub(crate) struct Parts {
    pub id: PartitionId,
    pub log: Arc<dyn Log>,
    pub store: reflux_store::Partition,
    pub specs: Arc<Specs>,
    pub host: Arc<dyn Host>,
    pub router: Arc<Router>,
    pub watches: Arc<Watches>,
    pub matching: Arc<Matching>,
    pub queries: Arc<Queries>,
    pub gates: Arc<Gates>,
    pub ledger: Arc<Ledger>,
    pub results: Arc<Results>,
    pub limits: Limits,
    pub local: Local,
    pub retention: Duration,
    /// Sends word to this partition's own mailbox.
    pub to_self: Arc<dyn Fn(Internal) + Send + Sync>,
    /// Hands durable changes on to the store.
    pub materialise: Box<dyn FnMut(Changes) + Send>,
    /// Fresh run ids.
    pub new_run_id: Box<dyn FnMut() -> RunId + Send>,
}

/// One partition.
pub(crate) struct Partition {
    parts: Parts,
    epoch: Epoch,
    /// The last record that was handed to the log.
    tail: Seq,
    /// The last record that is durable.
    durable: Seq,
    cache: Cache,
    lanes: BTreeMap<Lane, Waiting>,
    /// Lanes with requests that are not held, in the order in which they got them.
    ready: VecDeque<Lane>,
    in_flight: VecDeque<Commit>,
    /// Appends failed; what follows waits until all of them have.
    failing: bool,
    /// Records of which the log could not say whether it has them.
    unresolved: Vec<Commit>,
    full_until: Timestamp,
    timers: Timers,
    /// Runs to be moved on again later: the log was full, or a message could not be delivered.
    stalled: BTreeSet<RunKey>,
    stalled_until: Timestamp,
    /// The record that last held each bundle: until it is referred to by a run in the store, what
    /// nobody refers to may be collected after a while, so it is written again from time to time.
    specs_written: BTreeMap<[u8; 32], Seq>,
    barriers: VecDeque<(u64, Box<dyn FnOnce() + Send>)>,
    pauses: VecDeque<Pause>,
    /// Queues to be filled again, and the record that the store needs before; each queue once.
    refills: VecDeque<(u64, Refill)>,
    scratch: BytesMut,
    now: Timestamp,
    observe_at: Timestamp,
    stopping: bool,
    failed: Option<Error>,
}

/// Somebody who wants the partition to hold still: called when it does, let go by closing.
type Pause = (Box<dyn FnOnce() + Send>, Receiver<()>);

/// The requests of one workflow id.
#[derive(Default)]
struct Waiting {
    requests: VecDeque<Request>,
    held: bool,
}

impl Partition {
    /// Takes a partition over: everything durable must be in the store (`recover.rs`).
    pub fn new(parts: Parts, epoch: Epoch, tail: Seq, now: Timestamp) -> Self {
        Self {
            parts,
            epoch,
            tail,
            durable: tail,
            cache: Cache::new(tail.0),
            lanes: BTreeMap::new(),
            ready: VecDeque::new(),
            in_flight: VecDeque::new(),
            failing: false,
            full_until: Timestamp::default(),
            timers: Timers::default(),
            stalled: BTreeSet::new(),
            stalled_until: Timestamp::default(),
            specs_written: BTreeMap::new(),
            barriers: VecDeque::new(),
            pauses: VecDeque::new(),
            refills: VecDeque::new(),
            unresolved: Vec::new(),
            scratch: BytesMut::new(),
            now,
            observe_at: Timestamp::default(),
            stopping: false,
            failed: None,
        }
    }

    /// Asks every run that has something to do to go on: first thing after a boot.
    ///
    /// # Errors
    /// [`Error::Corrupt`] from the store.
    pub fn revive(&mut self) -> Result<(), Error> {
        let mut after: Option<RunKey> = None;
        loop {
            let page = self.parts.store.working(after.as_ref(), REVIVE_PAGE)?;
            let Some(last) = page.last().cloned() else { return Ok(()) };
            for run in page {
                self.parts.results.expect(run.clone());
                self.ask_for(&run, Ask::Revive { run_id: run.run_id });
            }
            after = Some(last);
        }
    }

    /// When there is something to do without a message.
    pub fn next_wake(&self) -> Timestamp {
        let stalled = if self.stalled.is_empty() { Timestamp::MAX } else { self.stalled_until };
        self.timers.next().min(stalled)
    }

    /// Whether it has stopped, and everything under way is durable and in the store.
    pub fn has_stopped(&self) -> bool {
        self.failed.is_some()
            || (self.stopping
                && self.in_flight.is_empty()
                && self.cache.materialised() >= self.durable.0)
    }

    /// Whether a request would be taken up at once.
    pub fn has_room(&self) -> bool {
        self.in_flight.len() < RECORDS_IN_FLIGHT_MAX
    }

    /// Takes a request in.
    pub fn request(&mut self, request: Request) {
        if let Some(error) = self.refusal(&request) {
            metrics::refused(&error);
            if let (Error::Full, Some(run)) = (&error, own_run(&request)) {
                self.stall(run);
            }
            return (request.reply)(Err(error));
        }
        let lane = self.lanes.entry(request.lane.clone()).or_default();
        if lane.requests.is_empty() && !lane.held {
            self.ready.push_back(request.lane.clone());
        }
        lane.requests.push_back(request);
    }

    fn refusal(&self, request: &Request) -> Option<Error> {
        if let Some(error) = &self.failed {
            return Some(error.clone());
        }
        if self.stopping && !gives_back(&request.ask) {
            return Some(Error::Stopping);
        }
        (self.now < self.full_until && !is_essential(&request.ask)).then_some(Error::Full)
    }

    /// Takes word from the engine's own parts.
    pub fn internal(&mut self, word: Internal) {
        match word {
            Internal::Appended { expected, result } => self.appended(expected, result),
            Internal::Materialised(applied) => self.materialised(applied),
            Internal::StoreFailed(error) => self.fail(Error::Corrupt(error)),
            Internal::Request(request) => self.request(request),
            Internal::Barrier(done) => {
                self.barriers.push_back((self.durable.0, done));
                self.pass_barriers();
            }
            Internal::Pause { paused, resume } => self.pauses.push_back((paused, resume)),
            Internal::Stalled(run) => self.stall(run),
            Internal::Refill(refill) => self.wish(refill),
            Internal::Stop => self.stopping = true,
        }
    }

    /// One turn: what is due is asked for, then as many records are decided as may be under way.
    pub fn turn(&mut self, now: Timestamp) {
        // A clock that jumps back must not make a history run backwards.
        self.now = self.now.max(now);
        self.observe();
        if self.failed.is_some() {
            return;
        }
        self.wake_due();
        self.refill_due();
        self.hold_still();
        if self.failing || !self.pauses.is_empty() {
            return;
        }
        while self.in_flight.len() < RECORDS_IN_FLIGHT_MAX && self.decide_record() {}
    }

    fn observe(&mut self) {
        if self.now >= self.observe_at {
            self.observe_at = self.now.after(OBSERVE_EVERY);
            let held = self.in_flight.iter().map(Commit::lanes).sum();
            metrics::partition(self.parts.id.0, held, self.ready.len(), self.cache.len());
        }
    }

    /// While somebody wants the partition to hold still, nothing new is decided; when nothing is
    /// under way, it waits until they are done.
    fn hold_still(&mut self) {
        let settled = self.in_flight.is_empty() && self.cache.materialised() >= self.durable.0;
        if !settled {
            return;
        }
        while let Some((paused, resume)) = self.pauses.pop_front() {
            paused();
            // Ends when the other side lets go.
            let _ = resume.recv();
        }
    }

    fn wake_due(&mut self) {
        if self.stopping {
            return;
        }
        if self.now >= self.stalled_until && !self.stalled.is_empty() {
            for run in std::mem::take(&mut self.stalled) {
                self.ask_own(&run, Command::Wake);
                // It may have been the revival itself that was not appended.
                self.ask_for(&run, Ask::Revive { run_id: run.run_id });
            }
        }
        self.timers.begin_look(self.now, self.durable.0);
        if let Some(up_to) = self.timers.looking_for(self.cache.materialised()) {
            match self.parts.store.due(up_to, None, LOOK_MAX) {
                Ok(rows) => {
                    let complete = rows.len() < LOOK_MAX;
                    self.timers.end_look(rows, complete);
                }
                Err(error) => return self.fail(error.into()),
            }
        }
        let first = self.timers.first();
        if first <= self.now {
            metrics::woken(self.now.since(first));
        }
        for run in self.timers.take_due(self.now, WAKES_MAX) {
            self.ask_own(&run, Command::Wake);
        }
    }

    fn materialised(&mut self, applied: u64) {
        for lane in self.cache.materialise(applied) {
            self.ready.push_back(lane);
        }
        self.pass_barriers();
    }

    fn pass_barriers(&mut self) {
        while let Some((seq, _)) = self.barriers.front() {
            if *seq > self.cache.materialised() {
                return;
            }
            if let Some((_, done)) = self.barriers.pop_front() {
                done();
            }
        }
    }

    /// Asks a run of this partition for something nobody outside waits for.
    pub fn ask_own(&mut self, run: &RunKey, command: Command) {
        self.ask_for(run, Ask::Command { run_id: Some(run.run_id), first_run: None, command });
    }

    fn ask_for(&mut self, run: &RunKey, ask: Ask) {
        self.request(Request { lane: Lane::of(run), ask, reply: no_reply() });
    }

    fn stall(&mut self, run: RunKey) {
        if self.stalled.is_empty() {
            self.stalled_until = self.now.after(STALL);
        }
        self.stalled.insert(run);
    }

    /// Nothing can be decided any more: everybody is told.
    fn fail(&mut self, error: Error) {
        tracing::error!(partition = self.parts.id.0, %error, "the partition has stopped");
        self.failed = Some(error.clone());
        for (_, waiting) in std::mem::take(&mut self.lanes) {
            for request in waiting.requests {
                (request.reply)(Err(error.clone()));
            }
        }
        self.ready.clear();
    }
}

/// The run that asks itself for something: nobody outside asks again when it is refused.
fn own_run(request: &Request) -> Option<RunKey> {
    let run_id = match &request.ask {
        Ask::Advance { run_id } | Ask::Resend { run_id } | Ask::Revive { run_id } => *run_id,
        Ask::Command {
            run_id: Some(run_id),
            command: Command::Wake | Command::AckOutbox { .. } | Command::DeliveryFailed { .. },
            ..
        } => *run_id,
        Ask::Command { .. }
        | Ask::Start(_)
        | Ask::StartAgain { .. }
        | Ask::SignalWithStart(..)
        | Ask::Steer { .. }
        | Ask::Adopt { .. }
        | Ask::Look { .. }
        | Ask::Offer { .. } => return None,
    };
    Some(request.lane.run(run_id))
}

/// What must reach the log before a stop: the next boot would take such an attempt for one that was
/// lost under way.
fn gives_back(ask: &Ask) -> bool {
    matches!(ask, Ask::Command { command: Command::UnclaimActivity { .. }, .. })
}

/// What must go on when the disk is full: it ends something, or writes nothing.
fn is_essential(ask: &Ask) -> bool {
    matches!(
        ask,
        Ask::Look { .. }
            | Ask::Offer { .. }
            | Ask::Command { command: Command::RequestCancel(_) | Command::Terminate(_), .. }
    )
}
