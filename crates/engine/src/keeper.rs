//! Keeps the disk bounded: closed runs leave after their retention, and the log is trimmed behind
//! snapshots.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use reflux_core::{Command, RunKey};
use reflux_log::{Log, PartitionId, Seq};
use reflux_store::{Place, snapshot};

use crate::execution::Execution;
use crate::request::{Ask, Lane, Request, no_reply};
use crate::router::Router;
use crate::specs::Specs;
use crate::{Error, Options, codec, thread};

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(10); // a segment fills in seconds at full load, retention is days

/// Snapshots kept of each partition: if the newest cannot be read, the one before it is.
const SNAPSHOTS_KEPT: usize = 2;

/// Runs retired in one look, so that they do not crowd out live ones.
const RETIRE_MAX: usize = 1_000;

/// What is kept where, and for how long.
#[derive(Debug, Clone)]
pub(crate) struct Keeping {
    dir: PathBuf,
    retention: Duration,
    snapshot_bytes: u64,
}

impl Keeping {
    pub fn new(options: &Options) -> Self {
        Self {
            dir: options.dir.clone(),
            retention: options.retention,
            snapshot_bytes: options.snapshot_bytes,
        }
    }

    /// Loads the newest snapshot that can be read into an empty partition. `false` when there is
    /// none.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when there are snapshots and none can be read.
    pub fn restore(
        &self,
        partition: &reflux_store::Partition,
        specs: &Specs,
    ) -> Result<bool, Error> {
        if !self.dir.join("snapshots").is_dir() {
            return Ok(false);
        }
        let place = Place::open(&self.dir.display().to_string())?;
        let mut damaged = None;
        for (_, file) in snapshot::list(&place, partition.id())? {
            match self.restore_from(&place, &file, partition, specs) {
                Ok(()) => return Ok(true),
                Err(error) => {
                    tracing::error!(file, %error, "the snapshot cannot be read; trying the one before it");
                    damaged = Some(error);
                }
            }
        }
        damaged.map_or(Ok(false), Err)
    }

    fn restore_from(
        &self,
        place: &Place,
        file: &str,
        partition: &reflux_store::Partition,
        specs: &Specs,
    ) -> Result<(), Error> {
        let mut fold = |key: &RunKey, items: reflux_store::Items| {
            let mut execution = Execution::new(key.clone());
            let fetch = |digest: [u8; 32]| Ok(partition.blob(&digest)?);
            for row in items {
                let (_, encoded) = row?;
                codec::decode(&encoded, &fetch)
                    .and_then(|item| execution.absorb(&item, encoded.len(), specs, &fetch))
                    .map_err(|error| reflux_store::Error::Corrupt(error.to_string()))?;
            }
            Ok(execution.summary(self.retention))
        };
        snapshot::restore(place, file, partition, &mut fold)?;
        Ok(())
    }
}

/// The thread that keeps the disk bounded.
pub(crate) struct Keeper {
    wishes: Sender<Wish>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the keeper is asked to do at once.
enum Wish {
    Snapshot(Sender<Result<(), Error>>),
    Stop,
}

struct Work {
    keeping: Keeping,
    log: Arc<dyn Log>,
    stores: Vec<reflux_store::Partition>,
    router: Arc<Router>,
    /// Bytes that the log had appended when the last snapshot was taken.
    appended_then: u64,
    /// Bytes of the last snapshots.
    snapshot_bytes: u64,
}

impl Keeper {
    pub fn start(
        keeping: Keeping,
        log: Arc<dyn Log>,
        stores: Vec<reflux_store::Partition>,
        router: Arc<Router>,
    ) -> Result<Self, Error> {
        let (wishes, wishes_in) = bounded(1);
        let mut work = Work { keeping, log, stores, router, appended_then: 0, snapshot_bytes: 0 };
        let thread = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || work.run(&wishes_in))
            .map_err(|error| Error::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self { wishes, thread: Mutex::new(Some(thread)) })
    }

    /// Takes snapshots and trims, and waits for it.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a snapshot cannot be written or does not read back.
    pub fn snapshot_now(&self) -> Result<(), Error> {
        let (done, result) = bounded(1);
        self.wishes.send(Wish::Snapshot(done)).map_err(|_| Error::Stopping)?;
        result.recv().unwrap_or(Err(Error::Stopping))
    }

    pub fn stop(&self) {
        drop(self.wishes.send(Wish::Stop));
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if thread.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("the keeper had failed before it was stopped");
        }
    }
}

impl Work {
    fn run(&mut self, wishes: &Receiver<Wish>) {
        loop {
            match wishes.recv_timeout(INTERVAL) {
                Ok(Wish::Snapshot(done)) => drop(done.send(self.snapshot())),
                Ok(Wish::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => self.look(),
            }
        }
    }

    fn look(&mut self) {
        if let Err(error) = self.retire() {
            tracing::warn!(%error, "closed runs could not be retired; trying again");
        }
        let appended = self.log.usage().record_bytes;
        // Rewriting what is there costs no more than what was appended since.
        let due = self.keeping.snapshot_bytes.max(self.snapshot_bytes);
        if appended.saturating_sub(self.appended_then) >= due
            && let Err(error) = self.snapshot()
        {
            tracing::error!(%error, "no snapshot could be taken; the log keeps growing until one is");
        }
    }

    fn retire(&self) -> Result<(), Error> {
        let now = thread::now();
        for store in &self.stores {
            for (_, run) in store.expiring(now, None, RETIRE_MAX)? {
                let ask = Ask::Command {
                    run_id: Some(run.run_id),
                    first_run: None,
                    command: Command::Retire,
                };
                self.router.request(Request { lane: Lane::of(&run), ask, reply: no_reply() });
            }
        }
        Ok(())
    }

    /// One snapshot per partition, read back; then the log goes up to the older of the two that
    /// are kept.
    fn snapshot(&mut self) -> Result<(), Error> {
        let appended = self.log.usage().record_bytes;
        let place = Place::create(&self.keeping.dir.display().to_string())?;
        let mut bytes = 0;
        for store in &self.stores {
            let view = store.view();
            let written = snapshot::write(&view, thread::now(), &place)?;
            let file = snapshot::path(written.partition, written.seq);
            if snapshot::verify(&place, &file)? != written {
                return Err(Error::Corrupt(format!(
                    "{file} does not read back as it was written; check the disk"
                )));
            }
            bytes += written.bytes;
            snapshot::retain(&place, written.partition, SNAPSHOTS_KEPT)?;
            store.collect(&view)?;
            let kept = snapshot::list(&place, written.partition)?;
            // With one snapshot only, the log behind it is what stands in for the second.
            if let (Some((older, _)), true) = (kept.last(), kept.len() == SNAPSHOTS_KEPT) {
                self.log.trim(PartitionId(store.id()), Seq(*older))?;
            }
        }
        self.appended_then = appended;
        self.snapshot_bytes = bytes;
        Ok(())
    }
}
