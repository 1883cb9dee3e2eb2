//! One boot of a simulated server: an engine without threads, its nodes, and its end of the log.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prost::Message as _;
use reflux_core::{RunKey, Timestamp};
use reflux_engine::{Attempt, Error, Kept, Options, Request, Stepper};
use reflux_log::{
    Append, AppendError, Bytes, Done, Epoch, Error as LogError, Lease, Log, PartitionId, Seq, Usage,
};
use reflux_proto::reflux::v1 as wire;
use reflux_store::{Filter, PAGE_RUNS_MAX, Place, Store};

use crate::client::NAMESPACE;
use crate::clock::Clock;
use crate::flows;
use crate::host::{Asked, SimHost};
use crate::planted::Planted;

/// Partitions of every simulated engine.
pub(crate) const PARTITIONS: u32 = 4;

/// Every how many answers of the log a planted bug strikes.
const PLANTED_EVERY: u64 = 40;

/// A boot.
pub(crate) struct Process {
    pub(crate) log: Arc<ProcessLog>,
    /// Attempts that its nodes work on.
    pub(crate) calls: Vec<Call>,
    stepper: Stepper,
    host: SimHost,
    /// Records that may wait for the store.
    behind: usize,
    planted: Option<Planted>,
    booted: Timestamp,
}

/// What outlives a process, besides the log.
pub(crate) struct OnDisk {
    /// What the engine expects to find in a directory.
    pub(crate) dir: PathBuf,
    /// Snapshots: synced before they count.
    pub(crate) snapshots: Place,
    /// Never synced.
    pub(crate) store: Store,
    /// How long closed runs are kept.
    pub(crate) retention: Duration,
}

/// An attempt that a node works on.
pub(crate) struct Call {
    pub(crate) attempt: Attempt,
    pub(crate) canceled: bool,
}

impl Call {
    /// Whether it is a cached call that another step has begun to make too.
    fn is_same_as(&self, attempt: &Attempt) -> bool {
        let own = &self.attempt;
        &*attempt.node == flows::CACHED
            && own.node == attempt.node
            && own.input == attempt.input
            && (&own.run, own.scheduled) != (&attempt.run, attempt.scheduled)
            && !self.canceled
    }
}

impl Process {
    /// Recovers.
    pub(crate) fn open(disk: &OnDisk, log: ProcessLog, clock: &Clock) -> Result<Self, Error> {
        let options = Options {
            partitions: PARTITIONS,
            identity: "sim".into(),
            retention: disk.retention,
            ..Options::at(&disk.dir)
        };
        let (log, host) = (Arc::new(log), SimHost::default());
        let planted = log.planted;
        let nodes = Arc::new(host.clone());
        let (store, place) = (&disk.store, disk.snapshots.clone());
        let stepper = Stepper::open(options, log.clone(), store, place, nodes, &clock.world())?;
        log.die_after.store(u64::MAX, Ordering::Relaxed);
        let booted = clock.now();
        Ok(Self { log, calls: Vec::new(), stepper, host, behind: 0, planted, booted })
    }

    pub(crate) fn submit(&self, request: Request) {
        self.stepper.submit(request);
    }

    /// One partition's turn; the attempts that began in it.
    pub(crate) fn turn(&mut self, partition: usize, now: Timestamp) -> Vec<Attempt> {
        let now = match self.planted {
            Some(Planted::ForgetTimers) => self.booted,
            _ => now,
        };
        self.behind += self.log.committed.swap(0, Ordering::Relaxed);
        // The engine's queue to the store is bounded and nobody else empties it.
        while self.behind > 150 && self.materialise() {}
        self.stepper.turn(partition, now);
        self.take_calls()
    }

    /// Writes one durable record into its store.
    pub(crate) fn materialise(&mut self) -> bool {
        let done = self.stepper.materialise();
        self.behind = if done { self.behind.saturating_sub(1) } else { 0 };
        done
    }

    /// Asks runs whose retention is over to leave.
    pub(crate) fn retire(&self) -> Result<(), Error> {
        self.stepper.retire()
    }

    /// The keeper's next step.
    pub(crate) fn keep(&mut self) -> Result<Option<(usize, Kept)>, Error> {
        self.stepper.keep()
    }

    pub(crate) fn next_wake(&self) -> Timestamp {
        self.stepper.next_wake()
    }

    pub(crate) fn is_quiet(&self) -> bool {
        self.stepper.is_quiet()
    }

    /// What every store holds, as one hash.
    pub(crate) fn state_hash(&self) -> Result<[u8; 32], Error> {
        let mut hasher = blake3::Hasher::new();
        for store in self.stepper.stores() {
            hasher.update(&store.state_hash()?);
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// How many runs the stores hold.
    pub(crate) fn runs(&self) -> Result<usize, Error> {
        let (all, mut count) = (Filter::all(NAMESPACE), 0);
        for store in self.stepper.stores() {
            let mut after = None;
            loop {
                let page = store.list(&all, after, PAGE_RUNS_MAX)?;
                count += page.runs.len();
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(count)
    }

    /// BLAKE3 over the items of a run, as its store has them.
    pub(crate) fn items_hash(&self, run: &RunKey) -> Result<[u8; 32], Error> {
        let mut hasher = blake3::Hasher::new();
        for store in self.stepper.stores() {
            for item in store.items(run, 0)? {
                hasher.update(&item?.1);
            }
        }
        Ok(*hasher.finalize().as_bytes())
    }

    fn take_calls(&mut self) -> Vec<Attempt> {
        let mut begun = Vec::new();
        for asked in self.host.take() {
            match asked {
                Asked::Start(attempt) => {
                    if let Some(other) = self.calls.iter().find(|call| call.is_same_as(&attempt)) {
                        *lock(&self.log.watch.broken) = Some(format!(
                            "a cached call is made by {} and {} at once",
                            other.attempt.run, attempt.run
                        ));
                    }
                    if self.planted == Some(Planted::CallTwice) && attempt.attempt == 2 {
                        begun.push(attempt.clone());
                    }
                    self.calls.push(Call { attempt: attempt.clone(), canceled: false });
                    begun.push(attempt);
                }
                Asked::Cancel(run, scheduled) => {
                    let named = |call: &&mut Call| {
                        call.attempt.run == run && call.attempt.scheduled == scheduled
                    };
                    self.calls.iter_mut().filter(named).for_each(|call| call.canceled = true);
                }
            }
        }
        begun
    }
}

/// An answer of the log that is kept back.
type Held = (Done, Result<Seq, AppendError>);

/// What all processes of a simulation share about the log.
#[derive(Default)]
pub(crate) struct Watch {
    owners: Mutex<BTreeMap<PartitionId, Epoch>>,
    broken: Mutex<Option<String>>,
}

impl Watch {
    /// A promise of the log that was broken.
    pub(crate) fn broken(&self) -> Option<String> {
        lock(&self.broken).take()
    }
}

/// One process's end of the log: dies in recovery when told to, and knows when it is fenced.
pub(crate) struct ProcessLog {
    inner: Arc<dyn Log>,
    watch: Arc<Watch>,
    planted: Option<Planted>,
    /// Largest page that is read at once, so that recovery has many steps.
    page_bytes: usize,
    /// Calls that are answered before the process dies.
    die_after: AtomicU64,
    /// Whether another process has taken a partition over.
    fenced: Arc<AtomicBool>,
    committed: Arc<AtomicUsize>,
    appended: AtomicU64,
    held: Arc<Mutex<Option<Held>>>,
}

impl ProcessLog {
    pub(crate) fn new(inner: Arc<dyn Log>, watch: &Arc<Watch>, planted: Option<Planted>) -> Self {
        Self {
            inner,
            watch: watch.clone(),
            planted,
            page_bytes: usize::MAX,
            die_after: AtomicU64::new(u64::MAX),
            fenced: Arc::default(),
            committed: Arc::default(),
            appended: AtomicU64::new(0),
            held: Arc::default(),
        }
    }

    /// Recovery reads pages of that size and dies after so many calls.
    pub(crate) fn dying(mut self, page_bytes: usize, after: u64) -> Self {
        self.page_bytes = page_bytes;
        *self.die_after.get_mut() = after;
        self
    }

    pub(crate) fn is_fenced(&self) -> bool {
        self.fenced.load(Ordering::Relaxed)
    }

    /// Somebody was told that another process has taken over.
    pub(crate) fn note_fenced(&self) {
        self.fenced.store(true, Ordering::Relaxed);
    }

    fn live(&self) -> Result<(), LogError> {
        let left = self.die_after.load(Ordering::Relaxed);
        if left == 0 {
            return Err(LogError::Stopped { reason: "the process has crashed".into() });
        }
        if left != u64::MAX {
            self.die_after.store(left - 1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// The answer, watched.
    fn watched(&self, append: &Append, done: Done) -> Done {
        let (partition, epoch) = (append.partition, append.epoch);
        let (watch, fenced, committed) =
            (self.watch.clone(), self.fenced.clone(), self.committed.clone());
        Box::new(move |result| {
            match &result {
                Ok(seq) => {
                    committed.fetch_add(1, Ordering::Relaxed);
                    let owner = lock(&watch.owners).get(&partition).copied().unwrap_or_default();
                    if epoch < owner {
                        *lock(&watch.broken) = Some(format!(
                            "partition {partition}: the owner of epoch {epoch} appended record {seq} in epoch {owner}"
                        ));
                    }
                }
                Err(AppendError::Fenced { .. }) => fenced.store(true, Ordering::Relaxed),
                Err(_) => {}
            }
            done(result);
        })
    }

    fn append_planted(&self, planted: Planted, mut append: Append, done: Done) {
        let strikes = self.appended.fetch_add(1, Ordering::Relaxed) % PLANTED_EVERY == 20;
        match planted {
            Planted::AckEarly => {
                let seq = append.expected.next();
                self.inner.append(append, Box::new(|_| {}));
                done(Ok(seq));
            }
            Planted::IgnoreEpoch => {
                let owner = lock(&self.watch.owners).get(&append.partition).copied();
                append.epoch = owner.unwrap_or(append.epoch);
                self.inner.append(append, done);
            }
            Planted::AppendTwice if strikes => {
                let again = Append { expected: append.expected.next(), ..append.clone() };
                self.inner.append(append, done);
                self.inner.append(again, Box::new(|_| {}));
            }
            Planted::LoseAnswer if strikes => self.inner.append(append, Box::new(|_| {})),
            Planted::SwapAnswers => {
                let held = self.held.clone();
                let swap = move |result| {
                    let before = if strikes { None } else { lock(&held).take() };
                    if strikes {
                        *lock(&held) = Some((done, result));
                    } else {
                        done(result);
                    }
                    if let Some((done, result)) = before {
                        done(result);
                    }
                };
                self.inner.append(append, Box::new(swap));
            }
            Planted::ForgetItem if strikes => {
                append.record = shortened(&append.record);
                self.inner.append(append, done);
            }
            _ => self.inner.append(append, done),
        }
    }
}

impl Log for ProcessLog {
    fn acquire(&self, partition: PartitionId) -> Result<Lease, LogError> {
        self.live()?;
        let lease = self.inner.acquire(partition)?;
        lock(&self.watch.owners).insert(partition, lease.epoch);
        Ok(lease)
    }

    fn append(&self, append: Append, done: Done) {
        let done = self.watched(&append, done);
        match self.planted {
            Some(planted) => self.append_planted(planted, append, done),
            None => self.inner.append(append, done),
        }
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Seq,
        max_bytes: usize,
    ) -> Result<Vec<(Seq, Bytes)>, LogError> {
        self.live()?;
        self.inner.read(partition, from, max_bytes.min(self.page_bytes))
    }

    fn tail(&self, partition: PartitionId) -> Result<Seq, LogError> {
        self.inner.tail(partition)
    }

    fn trim(&self, partition: PartitionId, up_to: Seq) -> Result<(), LogError> {
        let up_to = match self.planted {
            Some(Planted::TrimAhead) => self.inner.tail(partition)?,
            _ => up_to,
        };
        self.inner.trim(partition, up_to)
    }

    fn usage(&self) -> Usage {
        self.inner.usage()
    }
}

fn shortened(record: &Bytes) -> Bytes {
    let Ok(mut decoded) = wire::Record::decode(record.clone()) else { return record.clone() };
    if let Some(entry) = decoded.entries.last_mut() {
        entry.items.pop();
    }
    decoded.encode_to_vec().into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
