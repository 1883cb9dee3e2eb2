//! Puts the parts of an engine together, recovered and not yet running: threads drive it in a
//! process, the simulation step by step.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use reflux_core::{BootId, Local, RunId, Timestamp, Worker};
use reflux_log::{Log, PartitionId};
use reflux_store::{Place, Store};
use uuid::Uuid;

use crate::host::Host;
use crate::keeping::Keeping;
use crate::layout;
use crate::ledger::Ledger;
use crate::mailbox::{Inbox, Internal, Mailbox, mailbox};
use crate::matching::Matching;
use crate::materialise::{self, Job};
use crate::pace::Gates;
use crate::partition::{Partition, Parts};
use crate::queries::Queries;
use crate::recover::Recovery;
use crate::results::Results;
use crate::router::Router;
use crate::specs::Specs;
use crate::upkeep::{self, Upkeep};
use crate::watch::Watches;
use crate::{Error, LOCAL_QUEUE, Options, thread};

/// What is not a function of the log: time and fresh ids.
#[derive(Clone)]
pub struct World {
    /// The time.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// A fresh UUIDv7.
    pub uuid: Arc<dyn Fn() -> Uuid + Send + Sync>,
}

impl World {
    /// The wall clock and real randomness.
    pub fn real() -> Self {
        Self { now: Arc::new(thread::now), uuid: Arc::new(Uuid::now_v7) }
    }
}

/// The parts of an engine.
pub(crate) struct Assembly {
    pub partitions: Vec<(Partition, Inbox)>,
    pub mailboxes: Vec<Mailbox>,
    pub stores: Vec<reflux_store::Partition>,
    pub upkeep: Upkeep,
    pub router: Arc<Router>,
    pub specs: Arc<Specs>,
    pub watches: Arc<Watches>,
    pub matching: Arc<Matching>,
    pub queries: Arc<Queries>,
    pub gates: Arc<Gates>,
    pub ledger: Arc<Ledger>,
    pub local: Local,
    pub results: Arc<Results>,
    /// What is to be written into the stores.
    pub jobs: Receiver<Job>,
}

impl Assembly {
    /// Recovers every partition and puts the parts together.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when log, snapshots and store cannot be brought together.
    pub fn new(
        options: Options,
        log: Arc<dyn Log>,
        store: &Store,
        place: Place,
        host: Arc<dyn Host>,
        world: &World,
    ) -> Result<Self, Error> {
        let count = layout::partitions(&options.dir, options.partitions)?;
        let keeping = Keeping { place, retention: options.retention };
        let specs = Arc::new(Specs::default());
        let watches = Arc::new(Watches::default());
        let queries = Arc::new(Queries::default());
        let (mailboxes, inboxes): (Vec<Mailbox>, Vec<Inbox>) =
            (0..count).map(|_| mailbox()).unzip();
        let internal: Vec<Sender<Internal>> =
            mailboxes.iter().map(|mailbox| mailbox.internal.clone()).collect();
        let matching = Matching::new(world.now.clone(), options.gates.clone(), internal.clone());
        let router = Arc::new(Router::new(internal.clone(), specs.clone()));
        let worker = Worker { identity: options.identity.clone(), boot: BootId((world.uuid)()) };
        let local = Local { queue: LOCAL_QUEUE.into(), worker };
        let ledger = Ledger::new(options.quotas.clone());
        let (jobs, jobs_in) = bounded::<Job>(materialise::QUEUE_MAX);

        let mut recovered = Vec::new();
        for id in 0..count {
            let store = store.partition(id)?;
            let recovery = Recovery {
                id: PartitionId(id),
                log: &*log,
                store: &store,
                specs: &specs,
                retention: options.retention,
            };
            let lease = recovery.run(&|| keeping.restore(&store, &specs))?;
            ledger.load(store.tallies()?);
            recovered.push((store, lease));
        }
        let stores: Vec<_> = recovered.iter().map(|(store, _)| store.clone()).collect();
        let results = Arc::new(Results::load(options.cache, stores.clone(), router.clone())?);
        let mut partitions = Vec::new();
        for (((store, lease), inbox), to_self) in recovered.into_iter().zip(inboxes).zip(internal) {
            let id = PartitionId(store.id());
            let (jobs, index, uuid) = (jobs.clone(), partitions.len(), world.uuid.clone());
            let parts = Parts {
                id,
                log: log.clone(),
                store,
                specs: specs.clone(),
                host: host.clone(),
                router: router.clone(),
                watches: watches.clone(),
                matching: matching.clone(),
                queries: queries.clone(),
                gates: options.gates.clone(),
                ledger: ledger.clone(),
                results: results.clone(),
                limits: options.limits.clone(),
                local: local.clone(),
                retention: options.retention,
                to_self: Arc::new(move |word| drop(to_self.send(word))),
                materialise: Box::new(move |changes| {
                    drop(jobs.send(Job { partition: index, changes }))
                }),
                new_run_id: Box::new(move || RunId(uuid())),
            };
            let mut partition = Partition::new(parts, lease.epoch, lease.tail, (world.now)());
            partition.revive()?;
            partitions.push((partition, inbox));
        }
        let upkeep = Upkeep::new(upkeep::Parts {
            place: keeping.place,
            log,
            stores: stores.clone(),
            router: router.clone(),
            results: results.clone(),
            now: world.now.clone(),
            snapshot_bytes: options.snapshot_bytes,
        });
        Ok(Self {
            partitions,
            mailboxes,
            stores,
            upkeep,
            router,
            specs,
            watches,
            matching,
            queries,
            gates: options.gates,
            ledger,
            local,
            results,
            jobs: jobs_in,
        })
    }
}
