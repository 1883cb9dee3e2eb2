//! The thread that keeps the disk bounded: drives [`Upkeep`] in a process. Knows when, not how.

use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::Error;
use crate::upkeep::Upkeep;

/// How often it looks.
const INTERVAL: Duration = Duration::from_secs(10); // a segment fills in seconds at full load, retention is days

/// The thread.
pub(crate) struct Keeper {
    wishes: Sender<Wish>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// What the keeper is asked to do at once.
enum Wish {
    Snapshot(Sender<Result<(), Error>>),
    Stop,
}

impl Keeper {
    pub fn start(mut upkeep: Upkeep) -> Result<Self, Error> {
        let (wishes, wishes_in) = bounded(1);
        let thread = std::thread::Builder::new()
            .name("keeper".into())
            .spawn(move || run(&mut upkeep, &wishes_in))
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

fn run(upkeep: &mut Upkeep, wishes: &Receiver<Wish>) {
    loop {
        match wishes.recv_timeout(INTERVAL) {
            Ok(Wish::Snapshot(done)) => drop(done.send(upkeep.snapshot())),
            Ok(Wish::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => look(upkeep),
        }
    }
}

fn look(upkeep: &mut Upkeep) {
    if let Err(error) = upkeep.retire() {
        tracing::warn!(%error, "closed runs could not be retired; trying again");
    }
    if upkeep.is_due()
        && let Err(error) = upkeep.snapshot()
    {
        tracing::error!(%error, "no snapshot could be taken; the log keeps growing until one is");
    }
}
