//! Brings together what waits for a worker and the workers that poll.
//!
//! ```text
//! partition ── offer ─→ queue ◄─ poll ── frontend ── claim ─→ partition
//!     ▲                   │ runs low
//!     └───── refill ──────┘
//! ```
//! An offer is a hint: the claim, a command to the run, decides who has the task. So an offer may
//! come twice, may be out of date, and is gone after a crash; each boot offers what is pending
//! again. A queue holds a bounded number in memory; what does not fit is found again by the store's
//! index of runs that wait.
//!
//! Absent: durable queues, leases, what a task holds.

mod poll;
mod queue;
mod refill;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::Sender;
use reflux_core::{EventId, Priority, RunKey, Timestamp};
use reflux_store::QueueDigest;

use crate::mailbox::Internal;
use crate::metrics;
use crate::pace::Gates;
use crate::router::partition_of;

pub(crate) use poll::Handed;
use queue::TaskQueue;
pub(crate) use refill::Refill;

/// How long a queue counts as polled after its last poll: a worker that is between two polls, or
/// busy, is not gone (Temporal's figure for sticky queues).
const SERVED: Duration = Duration::from_secs(10);

/// Queues from which on those that nobody uses are looked for: each is some 200 bytes.
const SWEEP_FROM: usize = 1024;

/// Where tasks of one kind wait for workers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Queue {
    /// The namespace.
    pub namespace: Arc<str>,
    /// The task queue's name.
    pub name: Arc<str>,
    /// What waits there.
    pub kind: QueueKind,
}

/// What waits in a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QueueKind {
    /// Workflow tasks, and queries that are asked by themselves.
    Workflow,
    /// Activities.
    Activity,
}

impl Queue {
    /// As the store's index names it.
    pub(crate) fn digest(&self) -> QueueDigest {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[u8::from(self.kind == QueueKind::Activity)]);
        hasher.update(&(self.namespace.len() as u64).to_le_bytes());
        hasher.update(self.namespace.as_bytes());
        hasher.update(self.name.as_bytes());
        hasher.finalize().as_bytes().first_chunk().copied().unwrap_or_default()
    }
}

/// Something for a worker. Whether it still waits is decided by the claim.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Offer {
    /// A workflow task: claimed by [`Command::StartTask`](reflux_core::Command::StartTask).
    Task {
        /// Whose.
        run: RunKey,
        /// Which task.
        scheduled: EventId,
        /// Which attempt.
        attempt: u32,
    },
    /// An activity: claimed by [`Engine::claim_activity`](crate::Engine::claim_activity).
    Activity {
        /// Whose.
        run: RunKey,
        /// Its `ActivityScheduled`.
        scheduled: EventId,
        /// Which attempt.
        attempt: u32,
    },
    /// A question to the run's code: read with [`Engine::open_query`](crate::Engine::open_query),
    /// answered with [`Engine::answer_query`](crate::Engine::answer_query).
    Query {
        /// Whose.
        run: RunKey,
        /// Names the question within the run.
        id: Arc<str>,
    },
}

impl Offer {
    fn run(&self) -> &RunKey {
        match self {
            Self::Task { run, .. } | Self::Activity { run, .. } | Self::Query { run, .. } => run,
        }
    }
}

/// Order within a queue: 1 comes first, 5 last (Temporal's `priority_key`); questions come before
/// all of them, because somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank(pub u8);

impl Rank {
    /// Of a question.
    pub const QUERY: Self = Self(0);
    const DEFAULT: u8 = 3;
    const LAST: u8 = 5;

    /// The rank of a task; none given is the middle one.
    pub fn of(priority: Option<&Priority>) -> Self {
        let key = priority.map_or(0, |priority| priority.priority_key);
        match u8::try_from(key) {
            Ok(0) | Err(_) => Self(Self::DEFAULT),
            Ok(key) => Self(key.min(Self::LAST)),
        }
    }
}

/// An offer with what its place in a queue follows from.
#[derive(Debug, Clone)]
pub(crate) struct Ranked {
    pub offer: Offer,
    pub rank: Rank,
    /// Since when it waits.
    pub since: Timestamp,
    /// Of an activity: what its rate and circuit are looked up by.
    pub node: Option<Arc<str>>,
    /// Whether it was counted as held.
    pub held: bool,
}

/// The queues of a node.
pub(crate) struct Matching {
    /// One lock: what is done under it takes a microsecond.
    queues: Mutex<Queues>,
    now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    gates: Arc<Gates>,
    /// The engine's own doors of the partitions, in order of their slots.
    partitions: Vec<Sender<Internal>>,
}

#[derive(Default)]
struct Queues {
    by_name: BTreeMap<Queue, TaskQueue>,
    sweep_at: usize,
}

impl Matching {
    pub fn new(
        now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
        gates: Arc<Gates>,
        partitions: Vec<Sender<Internal>>,
    ) -> Arc<Self> {
        Arc::new(Self { queues: Mutex::default(), now, gates, partitions })
    }

    /// Offers something to the workers of a queue. Never blocks for long: a partition calls it.
    pub fn offer(self: &Arc<Self>, queue: &Queue, ranked: Ranked) {
        let now = (self.now)();
        let partition = |offer: &Offer| partition_of(offer.run().slot(), self.partitions.len());
        self.with(queue, |tasks| {
            let hand = |ranked| self.hand(queue, ranked);
            tasks.offer(ranked, now, partition, hand, &|ranked| self.may(queue, ranked));
        });
    }

    /// Whether an offer is handed out now, or its rate or circuit holds it.
    fn may(&self, queue: &Queue, ranked: &mut Ranked) -> bool {
        let Some(node) = ranked.node.as_ref().filter(|_| self.gates.is_any()) else { return true };
        let Err(held) = self.gates.enter(node, &queue.namespace, &queue.name, (self.now)()) else {
            return true;
        };
        if !std::mem::replace(&mut ranked.held, true) {
            self.gates.waits(&held);
        }
        false
    }

    /// Offers a question, which waits since now.
    pub fn ask(self: &Arc<Self>, queue: &Queue, offer: Offer) {
        let since = (self.now)();
        self.offer(queue, Ranked { offer, rank: Rank::QUERY, since, node: None, held: false });
    }

    /// Whether a worker polls the queue, or did a moment ago.
    pub fn is_served(&self, queue: &Queue) -> bool {
        let now = (self.now)();
        self.lock().by_name.get(queue).is_some_and(|tasks| tasks.is_served(now))
    }

    /// Tells the recorder of metrics how the queues are.
    pub fn observe(&self) {
        let now = (self.now)();
        let queues = self.lock();
        for (queue, tasks) in queues.by_name.iter().take(metrics::QUEUES_MAX) {
            let (depth, oldest) = tasks.depth();
            let age = oldest.map_or(Duration::ZERO, |since| now.since(since));
            metrics::queue(queue, depth, age, tasks.polls());
        }
    }

    fn with<T>(&self, queue: &Queue, work: impl FnOnce(&mut TaskQueue) -> T) -> T {
        let mut queues = self.lock();
        if !queues.by_name.contains_key(queue) {
            queues.make_room((self.now)());
        }
        work(queues.by_name.entry(queue.clone()).or_default())
    }

    fn lock(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    /// Forgets queues that nobody uses: each worker has a sticky one of its own.
    fn make_room(&mut self, now: Timestamp) {
        if self.by_name.len() >= self.sweep_at.max(SWEEP_FROM) {
            self.by_name.retain(|_, tasks| !tasks.is_idle(now));
            self.sweep_at = self.by_name.len() * 2;
        }
    }
}
