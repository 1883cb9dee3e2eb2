//! The engine of one node: its partitions, and the doors to them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, bounded};
use reflux_core::{Command, Item, Limits, Local, RunId, RunKey, Timestamp};
use reflux_flow::{Bundle, Steer};
use reflux_log::{DiskLog, Log};
use reflux_store::{Filter, Page, Place, Position, Store, Summary, Tally, backup};
use tokio::sync::{Semaphore, mpsc};

use crate::assembly::{Assembly, World};
use crate::host::Host;
use crate::keeper::Keeper;
use crate::layout::{create_dir, partitions};
use crate::ledger::Ledger;
use crate::mailbox::{Internal, Mailbox};
use crate::matching::Matching;
use crate::pace::Gates;
use crate::queries::Queries;
use crate::quotas::Quotas;
use crate::recovered::Recovered;
use crate::request::{Answer, Ask, Lane, NewRun, Request};
use crate::results::{CacheBounds, CacheFilter, CacheRow, CacheUsage, Results};
use crate::router::Router;
use crate::specs::Specs;
use crate::start::StartFlow;
use crate::watch::{Change, Watches};
use crate::{Error, codec, materialise, thread};

/// The task queue of the nodes that run inside this process.
pub const LOCAL_QUEUE: &str = "reflux.local";

/// Histories read from the store at once: each is on a thread of the runtime's blocking pool.
const READS_MAX: usize = 32; // more would wait for the same disk

/// Where the engine lives and what it may use.
#[derive(Debug, Clone)]
pub struct Options {
    /// The data directory. The caller holds it: nobody else opens it.
    pub dir: PathBuf,
    /// Partitions of a new directory; an existing one keeps its own number.
    pub partitions: u32,
    /// How long a closed run is kept.
    pub retention: Duration,
    /// Bytes of log after which a snapshot is taken and the log trimmed.
    pub snapshot_bytes: u64,
    /// How many results other runs may take.
    pub cache: CacheBounds,
    /// What runs may use.
    pub limits: Limits,
    /// What the runs of each namespace may come to.
    pub quotas: Quotas,
    /// How fast nodes and queues are called: whoever opens the engine sets it.
    pub gates: Arc<Gates>,
    /// Who claims the attempts of in-process nodes, for people: host and process.
    pub identity: Arc<str>,
}

impl Options {
    /// The defaults for a data directory.
    pub fn at(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            partitions: 4, // two cores keep two busy, and a split has something to split
            retention: Duration::from_secs(30 * 24 * 3600), // a month: long enough to ask what happened
            snapshot_bytes: 256 * 1024 * 1024, // four segments: bounds the disk and the restart
            cache: CacheBounds::default(),
            limits: Limits::default(),
            quotas: Quotas::default(),
            gates: Arc::default(),
            identity: format!("reflux@{}", std::process::id()).into(),
        }
    }
}

/// What the engine has used since it was opened.
#[derive(Debug, Clone, Copy)]
pub struct Usage {
    /// The log's counters.
    pub log: reflux_log::Usage,
    /// The store's counters.
    pub store: reflux_store::Usage,
}

/// The engine of one node. Cheap to clone; the last clone's [`Engine::shutdown`] stops it.
#[derive(Clone)]
pub struct Engine {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    log: Arc<dyn Log>,
    store: Store,
    pub(crate) stores: Vec<reflux_store::Partition>,
    pub(crate) mailboxes: Vec<Mailbox>,
    pub(crate) router: Arc<Router>,
    specs: Arc<Specs>,
    watches: Arc<Watches>,
    pub(crate) matching: Arc<Matching>,
    pub(crate) queries: Arc<Queries>,
    pub(crate) gates: Arc<Gates>,
    ledger: Arc<Ledger>,
    pub(crate) local: Local,
    results: Arc<Results>,
    /// Reads of the store at once.
    pub(crate) reads: Semaphore,
    keeper: Keeper,
    threads: Mutex<Vec<JoinHandle<()>>>,
    dir: PathBuf,
    /// How long a closed run is kept.
    retention: Duration,
}

impl Engine {
    /// Opens the data directory, recovers what is durable, and starts. When it returns, every
    /// acknowledged run can be described and new ones are taken.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when log, snapshots and store cannot be brought together.
    pub fn open(options: Options, host: Arc<dyn Host>) -> Result<Self, Error> {
        create_dir(&options.dir)?;
        let log = DiskLog::open(options.dir.join("log"), reflux_log::Options::default())?;
        let store = open_store(&options.dir)?;
        Self::with(options, Arc::new(log), store, host)
    }

    /// As [`Engine::open`], over a log and a store of the caller's.
    ///
    /// # Errors
    /// As [`Engine::open`].
    pub fn with(
        options: Options,
        log: Arc<dyn Log>,
        store: Store,
        host: Arc<dyn Host>,
    ) -> Result<Self, Error> {
        let (dir, retention) = (options.dir.clone(), options.retention);
        let place = Place::create(&dir.display().to_string())?;
        let world = World::real();
        let assembly = Assembly::new(options, log.clone(), &store, place, host.clone(), &world)?;
        host.recovered(&Recovered::new(&assembly.stores, &assembly.router, &assembly.results))?;
        assembly.gates.begin();
        let mut threads = Vec::new();
        for (index, (partition, inbox)) in assembly.partitions.into_iter().enumerate() {
            threads.push(spawn(&format!("partition-{index}"), move || {
                thread::run(partition, &inbox)
            })?);
        }
        let (stores, jobs) = (assembly.stores.clone(), assembly.jobs);
        let internal: Vec<_> =
            assembly.mailboxes.iter().map(|mailbox| mailbox.internal.clone()).collect();
        threads.push(spawn("materialise", move || materialise::run(&jobs, &stores, &internal))?);
        let keeper = Keeper::start(assembly.upkeep)?;
        Ok(Self {
            inner: Arc::new(Inner {
                log,
                store,
                stores: assembly.stores,
                mailboxes: assembly.mailboxes,
                router: assembly.router,
                specs: assembly.specs,
                watches: assembly.watches,
                matching: assembly.matching,
                queries: assembly.queries,
                gates: assembly.gates,
                ledger: assembly.ledger,
                local: assembly.local,
                results: assembly.results,
                reads: Semaphore::new(READS_MAX),
                keeper,
                threads: Mutex::new(threads),
                dir,
                retention,
            }),
        })
    }

    /// Asks for something; the answer comes when it is durable. Blocks while the partition has
    /// more requests than it may.
    pub fn submit(&self, request: Request) {
        let partition = self.inner.router.partition_of(&request.lane);
        let Some(mailbox) = self.inner.mailboxes.get(partition) else { return };
        if let Err(refused) = mailbox.requests.send(request) {
            (refused.0.reply)(Err(Error::Stopping));
        }
    }

    /// Starts a run of a flow and waits until that is durable.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`], [`Error::Invalid`], [`Error::Full`].
    pub fn start(&self, start: StartFlow) -> Result<Answer, Error> {
        let (reply, answer) = wait_for_answer();
        self.submit(start.into_request(reply));
        answer.recv().unwrap_or(Err(Error::Stopping))
    }

    /// As [`Engine::start`]: the run's row as it is then, and whether the run was there already.
    ///
    /// # Errors
    /// As [`Engine::start`].
    pub fn start_row(&self, start: StartFlow) -> Result<(Summary, bool), Error> {
        let (sender, row) = bounded(1);
        let retention = self.inner.retention;
        let reply: crate::request::Reply = Box::new(move |answer| {
            let row = answer.map(|(answer, run)| (run.summary(retention), answer.existing));
            drop(sender.send(row));
        });
        self.submit(start.into_request(reply));
        row.recv().unwrap_or(Err(Error::Stopping))
    }

    /// Starts a run of any kind and waits until that is durable.
    ///
    /// # Errors
    /// [`Error::AlreadyStarted`], [`Error::Rejected`], [`Error::Full`].
    pub fn start_run(&self, lane: Lane, new: NewRun) -> Result<Answer, Error> {
        self.ask_now(lane, Ask::Start(new))
    }

    /// Asks for something and waits until the answer is durable.
    pub(crate) fn ask_now(&self, lane: Lane, ask: Ask) -> Result<Answer, Error> {
        let (reply, answer) = wait_for_answer();
        self.submit(Request { lane, ask, reply });
        answer.recv().unwrap_or(Err(Error::Stopping))
    }

    /// Sends a command to a run and waits until it is durable.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Rejected`], [`Error::Full`].
    pub fn command(
        &self,
        lane: Lane,
        run_id: Option<RunId>,
        command: Command,
    ) -> Result<Answer, Error> {
        let (reply, answer) = wait_for_answer();
        self.submit(Request {
            lane,
            ask: Ask::Command { run_id, first_run: None, command },
            reply,
        });
        answer.recv().unwrap_or(Err(Error::Stopping))
    }

    /// Asks something of a flow's run as its operator and waits until it is durable.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Rejected`] with the reason, [`Error::Full`].
    pub fn steer(
        &self,
        lane: Lane,
        run_id: Option<RunId>,
        steer: Steer,
        identity: &str,
        request_id: &str,
    ) -> Result<Answer, Error> {
        let (reply, answer) = wait_for_answer();
        let (steer, identity, request_id) = (Box::new(steer), identity.into(), request_id.into());
        let ask = Ask::Steer { run_id, steer, identity, request_id };
        self.submit(Request { lane, ask, reply });
        answer.recv().unwrap_or(Err(Error::Stopping))
    }

    /// Follows a run from now on. The channel ends when the run closes or was not read in time.
    pub fn watch(&self, run: &RunKey) -> mpsc::Receiver<Change> {
        self.inner.watches.watch(run)
    }

    /// Everything a run went through, in order.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Corrupt`].
    pub fn items(&self, run: &RunKey) -> Result<Vec<Item>, Error> {
        let partition = self.inner.router.partition_of(&Lane::of(run));
        self.settle(partition..partition + 1);
        let store = self.inner.stores.get(partition).ok_or(Error::Stopping)?;
        let items = codec::items(store, run)?;
        if items.is_empty() {
            return Err(Error::NotFound {
                workflow_id: run.workflow_id.to_string(),
                run_id: Some(run.run_id),
            });
        }
        Ok(items)
    }

    /// The row of a run.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn summary(&self, run: &RunKey) -> Result<Option<Summary>, Error> {
        let partition = self.inner.router.partition_of(&Lane::of(run));
        self.settle(partition..partition + 1);
        let store = self.inner.stores.get(partition).ok_or(Error::Stopping)?;
        Ok(store.summary(run)?)
    }

    /// The latest run of a workflow id.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn current(&self, lane: &Lane) -> Result<Option<RunKey>, Error> {
        let partition = self.inner.router.partition_of(lane);
        self.settle(partition..partition + 1);
        let store = self.inner.stores.get(partition).ok_or(Error::Stopping)?;
        let current = store.current(&lane.namespace, &lane.workflow_id)?;
        Ok(current.map(|current| lane.run(current.run_id)))
    }

    /// The run of that id, wherever it is.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn find(&self, namespace: &str, run_id: RunId) -> Result<Option<Summary>, Error> {
        self.settle(0..self.inner.stores.len());
        for store in &self.inner.stores {
            if let Some(summary) = store.find(namespace, run_id)? {
                return Ok(Some(summary));
            }
        }
        Ok(None)
    }

    /// Runs, newest first. Everything that was durable when this was called is in the answer.
    ///
    /// # Errors
    /// [`Error::Corrupt`], [`Error::Invalid`] for a filter that makes no sense.
    pub fn list(
        &self,
        filter: &Filter,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Page, Error> {
        self.settle(0..self.inner.stores.len());
        let mut pages = Vec::new();
        for store in &self.inner.stores {
            pages.push(store.list(filter, after, limit)?);
        }
        Ok(Page::merge(pages, limit))
    }

    /// What the runs of each namespace come to, by name; of namespaces that have any.
    pub fn tallies(&self) -> Vec<(Arc<str>, Tally)> {
        self.inner.ledger.tallies()
    }

    /// What they may come to.
    pub fn quotas(&self) -> &Quotas {
        self.inner.ledger.quotas()
    }

    /// How fast nodes and queues are called.
    pub fn gates(&self) -> &Arc<Gates> {
        &self.inner.gates
    }

    /// BLAKE3 over everything that is known of all runs; equal before and after a rebuild.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn state_hash(&self) -> Result<[u8; 32], Error> {
        self.settle(0..self.inner.stores.len());
        let mut hasher = blake3::Hasher::new();
        for store in &self.inner.stores {
            hasher.update(&store.state_hash()?);
        }
        Ok(*hasher.finalize().as_bytes())
    }

    /// Takes a snapshot of every partition now and trims the log behind it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a snapshot cannot be written or does not read back.
    pub fn snapshot(&self) -> Result<(), Error> {
        self.inner.keeper.snapshot_now()
    }

    /// The canonical bytes of a bundle that a run is pinned to, by digest
    /// ([`Summary::spec`]); `None` when no run that is kept uses it.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn bundle(&self, digest: &[u8; 32]) -> Result<Option<bytes::Bytes>, Error> {
        if let Some(bytes) = self.inner.specs.bytes(digest) {
            return Ok(Some(bytes));
        }
        for store in &self.inner.stores {
            if let Some(bytes) = store.blob(digest)? {
                return Ok(Some(bytes));
            }
        }
        Ok(None)
    }

    /// The flows of such a bundle.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn flows(&self, digest: &[u8; 32]) -> Result<Option<Arc<Bundle>>, Error> {
        if let Some(known) = self.inner.specs.known(digest) {
            return Ok(Some(known));
        }
        let bytes = self.bundle(digest)?;
        bytes.map(|bytes| self.inner.specs.learn(*digest, bytes)).transpose()
    }

    /// Copies everything to a URL: a directory, or a bucket.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the URL cannot be written to.
    pub fn backup(&self, url: &str) -> Result<backup::Manifest, Error> {
        Ok(backup::backup(&self.views()?, thread::now(), url)?)
    }

    /// Makes a data directory of a backup. The directory must not hold anything yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it does; [`Error::Corrupt`] when the backup is damaged.
    pub fn restore(url: &str, dir: &Path) -> Result<backup::Manifest, Error> {
        let manifest = backup::restore(url, dir)?;
        partitions(dir, u32::try_from(manifest.partitions.len()).unwrap_or(1))?;
        Ok(manifest)
    }

    /// The log's and the store's counters.
    ///
    /// # Errors
    /// [`Error::Corrupt`] from the store.
    pub fn usage(&self) -> Result<Usage, Error> {
        Ok(Usage { log: self.inner.log.usage(), store: self.inner.store.usage()? })
    }

    /// Tells the recorder of metrics what is read rather than counted; called before rendering.
    pub fn observe(&self) {
        self.inner.matching.observe();
        self.inner.queries.observe();
        self.inner.results.observe();
    }

    /// The results that other runs may take, the newest first, at most so many.
    pub fn cache_rows(&self, filter: &CacheFilter, limit: usize) -> Vec<CacheRow> {
        self.inner.results.list(filter, limit)
    }

    /// How many results there are that other runs may take.
    pub fn cache_usage(&self, filter: &CacheFilter) -> CacheUsage {
        self.inner.results.usage(filter)
    }

    /// Forgets the results that came before a moment; tells how many there were. The histories
    /// that they stand in stay. Whoever wants this to outlast a store that is rebuilt notes it, and
    /// says it again with [`Recovered::clear_cache`].
    pub fn clear_cache(&self, filter: &CacheFilter, before: Timestamp) -> usize {
        self.inner.results.clear(filter, before)
    }

    /// The data directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// Lets what is under way become durable, then stops. Requests are refused from now on.
    pub fn shutdown(&self) {
        self.inner.keeper.stop();
        for mailbox in &self.inner.mailboxes {
            drop(mailbox.internal.send(Internal::Stop));
        }
        let threads =
            std::mem::take(&mut *self.inner.threads.lock().unwrap_or_else(PoisonError::into_inner));
        self.inner.queries.clear();
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the engine had failed before it was stopped");
            }
        }
    }

    /// Waits until the store has what is durable now.
    fn settle(&self, partitions: std::ops::Range<usize>) {
        let mailboxes = self.inner.mailboxes.get(partitions).unwrap_or_default();
        let (done, all_done) = bounded(mailboxes.len());
        let mut asked = 0;
        for mailbox in mailboxes {
            let done = done.clone();
            let barrier = Internal::Barrier(Box::new(move || {
                // Nobody waits any more when the other end is gone.
                let _ = done.send(());
            }));
            asked += usize::from(mailbox.internal.send(barrier).is_ok());
        }
        drop(done);
        for _ in 0..asked {
            if all_done.recv().is_err() {
                return;
            }
        }
    }

    /// Views of all partitions at one moment: no message is in flight between them that neither
    /// side knows.
    fn views(&self) -> Result<Vec<reflux_store::View>, Error> {
        let count = self.inner.mailboxes.len();
        let (paused, all_paused) = bounded(count);
        let mut resume = Vec::new();
        for mailbox in &self.inner.mailboxes {
            let (go_on, wait) = bounded::<()>(0);
            let paused = paused.clone();
            let word = Internal::Pause {
                paused: Box::new(move || {
                    let _ = paused.send(());
                }),
                resume: wait,
            };
            mailbox.internal.send(word).map_err(|_| Error::Stopping)?;
            resume.push(go_on);
        }
        for _ in 0..count {
            all_paused.recv().map_err(|_| Error::Stopping)?;
        }
        let views = self.inner.stores.iter().map(reflux_store::Partition::view).collect();
        drop(resume);
        Ok(views)
    }
}

fn wait_for_answer() -> (crate::request::Reply, Receiver<Result<Answer, Error>>) {
    let (sender, receiver) = bounded(1);
    let reply: crate::request::Reply =
        Box::new(move |answer| drop(sender.send(answer.map(|(answer, _)| answer.clone()))));
    (reply, receiver)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|error| Error::Unavailable(format!("cannot start a thread: {error}")))
}

/// Opens the store; one that cannot be read is thrown away: it is rebuilt from the log.
fn open_store(dir: &Path) -> Result<Store, Error> {
    let path = dir.join("store");
    let options = reflux_store::Options::new(codec::references);
    match Store::open(&path, &options) {
        Err(error @ (reflux_store::Error::Rebuild(_) | reflux_store::Error::Corrupt(_))) => {
            tracing::warn!(%error, "the store is rebuilt from the log");
            std::fs::remove_dir_all(&path).map_err(|error| {
                Error::Corrupt(format!("cannot remove {}: {error}", path.display()))
            })?;
            Ok(Store::open(&path, &options)?)
        }
        opened => Ok(opened?),
    }
}
