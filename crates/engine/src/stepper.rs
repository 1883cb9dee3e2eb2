//! Drives an engine in one thread, one step at a time: whoever calls decides what happens next.
//! For the simulation and for tests that need every interleaving.

use std::sync::Arc;

use crossbeam_channel::Receiver;
use reflux_core::Timestamp;
use reflux_log::Log;
use reflux_store::{Place, Store};

use crate::assembly::{Assembly, World};
use crate::host::Host;
use crate::mailbox::Internal;
use crate::materialise::{self, Job};
use crate::request::Request;
use crate::upkeep::Kept;
use crate::{Error, Options};

/// An engine without threads.
pub struct Stepper {
    assembly: Assembly,
    jobs: Receiver<Job>,
}

impl Stepper {
    /// Recovers and stands ready, as [`Engine::open`](crate::Engine::open) does. Snapshots are in
    /// `place`.
    ///
    /// # Errors
    /// As [`Engine::open`](crate::Engine::open).
    pub fn open(
        options: Options,
        log: Arc<dyn Log>,
        store: &Store,
        place: Place,
        host: Arc<dyn Host>,
        world: &World,
    ) -> Result<Self, Error> {
        let assembly = Assembly::new(options, log, store, place, host, world)?;
        let jobs = assembly.jobs.clone();
        Ok(Self { assembly, jobs })
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> usize {
        self.assembly.partitions.len()
    }

    /// Puts a request at the door of its partition.
    pub fn submit(&self, request: Request) {
        self.assembly.router.request(request);
    }

    /// One partition takes in what is at its doors and has its turn.
    pub fn turn(&mut self, partition: usize, now: Timestamp) {
        let Some((partition, inbox)) = self.assembly.partitions.get_mut(partition) else { return };
        for word in inbox.internal.try_iter() {
            partition.internal(word);
        }
        for request in inbox.requests.try_iter() {
            partition.request(request);
        }
        partition.turn(now);
    }

    /// Writes the next durable record into its store; `false` when there is none.
    pub fn materialise(&mut self) -> bool {
        let Ok(job) = self.jobs.try_recv() else { return false };
        materialise::write(vec![job], &self.assembly.stores, |partition, word| {
            if let Some(mailbox) = self.assembly.mailboxes.get(partition) {
                drop(mailbox.internal.send(word));
            }
        });
        true
    }

    /// Asks runs whose retention is over to leave.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn retire(&self) -> Result<(), Error> {
        self.assembly.upkeep.retire()
    }

    /// Takes the next step of snapshots of all partitions and of trimming behind them: what it did,
    /// and for which partition. `None` when every partition is done; the next call begins anew.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when a snapshot cannot be written or does not read back.
    pub fn keep(&mut self) -> Result<Option<(usize, Kept)>, Error> {
        self.assembly.upkeep.step()
    }

    /// Whether nothing is at any door and nothing waits for a store.
    pub fn is_quiet(&self) -> bool {
        let doors = self.assembly.partitions.iter();
        self.jobs.is_empty()
            && doors
                .clone()
                .all(|(_, inbox)| inbox.internal.is_empty() && inbox.requests.is_empty())
    }

    /// When some partition has something to do without a message.
    pub fn next_wake(&self) -> Timestamp {
        let wakes = self.assembly.partitions.iter().map(|(partition, _)| partition.next_wake());
        wakes.min().unwrap_or(Timestamp::MAX)
    }

    /// The stores, to look into.
    pub fn stores(&self) -> &[reflux_store::Partition] {
        &self.assembly.stores
    }

    /// Everything a run went through, as far as its store has it.
    ///
    /// # Errors
    /// [`Error::Corrupt`].
    pub fn items(&self, run: &reflux_core::RunKey) -> Result<Vec<reflux_core::Item>, Error> {
        let lane = crate::request::Lane::of(run);
        let partition = self.assembly.router.partition_of(&lane);
        let store = self.assembly.stores.get(partition).ok_or(Error::Stopping)?;
        crate::codec::items(store, run)
    }

    /// Tells every partition to stop when what is under way is durable.
    pub fn stop(&self) {
        for mailbox in &self.assembly.mailboxes {
            drop(mailbox.internal.send(Internal::Stop));
        }
    }
}
