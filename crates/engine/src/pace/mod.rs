//! How fast a node or a queue is called, and whether at all: for all runs and partitions together.
//!
//! ```text
//! attempt ─→ enter ─┬─ let through ─→ worker or node ─→ attempt ended, durable ─→ ended
//!                   └─ Held: until when, and why ◄──────── rate, circuit ◄──────────┘
//! ```
//!
//! What is held waits where it is: with the host of the nodes of this process, or in the queue of
//! the workers. It has not begun, so no attempt is used up. Rates need no record: a bucket begins
//! empty after a boot. That a circuit opened or closed is told to who records it
//! ([`Gates::changed`]).
//!
//! Absent: where rules come from, how they are recorded.

mod bucket;
mod circuit;
mod gate;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use reflux_core::Timestamp;
use tokio::sync::Notify;

pub(crate) use bucket::Bucket;
pub use bucket::Rate;
pub use circuit::{Breaker, FAILURES_MAX, Opened};
use gate::Gate;

use crate::metrics;

/// Most gates: each is a row of a list and a time series.
pub const GATES_MAX: usize = 1_000;

/// What a rule is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A node, by name, in every namespace and version; an activity type of code.
    Node(Arc<str>),
    /// A task queue of activities.
    Queue {
        /// Its namespace.
        namespace: Arc<str>,
        /// Its name.
        name: Arc<str>,
    },
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(name) => write!(f, "node:{name}"),
            Self::Queue { namespace, name } => write!(f, "queue:{namespace}/{name}"),
        }
    }
}

impl FromStr for Subject {
    type Err = String;

    /// `node:NAME`, `queue:NAMESPACE/NAME`, or `queue:NAME` in the namespace `default`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            let shown = text.escape_debug();
            format!(
                "`{shown}` names no node and no queue; write node:http.request or queue:default/emails"
            )
        };
        let (kind, name) = text.split_once(':').ok_or_else(wrong)?;
        let fits = !name.is_empty()
            && name.chars().count() <= reflux_core::ID_CHARS_MAX
            && !name.chars().any(char::is_control);
        match kind {
            "node" if fits => Ok(Self::Node(name.into())),
            "queue" if fits => {
                // A queue of a node that has its own begins with `node:` and holds no slash.
                let (namespace, name) = name.split_once('/').unwrap_or(("default", name));
                if namespace.is_empty() || name.is_empty() {
                    return Err(wrong());
                }
                Ok(Self::Queue { namespace: namespace.into(), name: name.into() })
            }
            _ => Err(wrong()),
        }
    }
}

/// The rules of a node or a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rules {
    /// How fast it is called.
    pub rate: Option<Rate>,
    /// When it is not called for a while.
    pub circuit: Option<Breaker>,
}

/// Why an attempt does not begin yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// What holds it.
    pub subject: Subject,
    /// Until then at least.
    pub until: Timestamp,
    /// Whether its circuit holds it; else its rate does.
    pub by_circuit: bool,
    /// The same for people.
    pub why: String,
}

/// How a gate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateState {
    /// Whose.
    pub subject: Subject,
    /// Its rules.
    pub rules: Rules,
    /// The rate that its workers asked for.
    pub worker_rate: Option<Rate>,
    /// That its circuit is open.
    pub opened: Option<Opened>,
    /// Whether a probe is under way.
    pub probing: bool,
    /// Attempts that had to wait, since the process began.
    pub waits: u64,
    /// What holds an attempt that would begin now.
    pub held: Option<Held>,
}

/// How an attempt ended, as far as a circuit is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub node: Arc<str>,
    pub queue: Arc<str>,
    pub began: Timestamp,
    /// What its failure said; `None` when it succeeded.
    pub failure: Option<String>,
}

/// The gates of a process.
#[derive(Debug, Default)]
pub struct Gates {
    gates: Mutex<BTreeMap<Subject, Gate>>,
    /// Whether there is any: nobody takes the lock for nothing.
    any: AtomicBool,
    /// Whether one has a circuit.
    circuits: AtomicBool,
    /// Whether runs go on: what is made before begins empty.
    begun: AtomicBool,
    /// Subjects whose circuit opened or closed since somebody took them.
    changes: Mutex<BTreeSet<Subject>>,
    /// Told when there are any.
    pub changed: Notify,
}

impl Gates {
    /// From now on new buckets begin full: the process that was before is long gone.
    pub fn begin(&self) {
        self.begun.store(true, Ordering::Relaxed);
    }

    /// Whether anything can be held at all.
    pub fn is_any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    pub(crate) fn has_circuits(&self) -> bool {
        self.circuits.load(Ordering::Relaxed)
    }

    /// Makes rules hold from now on; none at all takes them away.
    ///
    /// # Errors
    /// There are too many.
    pub fn set(&self, subject: &Subject, rules: Rules, now: Timestamp) -> Result<(), String> {
        let full = self.begun.load(Ordering::Relaxed);
        self.change(subject, |gate| gate.set(rules, full, now))
    }

    /// Takes up that a circuit was open when the last process ended.
    ///
    /// # Errors
    /// There are too many.
    pub fn restore(&self, subject: &Subject, opened: Opened) -> Result<(), String> {
        self.change(subject, |gate| {
            gate.open(opened);
            false
        })
    }

    /// Closes a circuit; whether it was open.
    pub fn reset(&self, subject: &Subject) -> bool {
        let mut was_open = false;
        // There is one already, or nothing is made of it.
        let changed = self.change(subject, |gate| {
            was_open = gate.close();
            was_open
        });
        changed.is_ok() && was_open
    }

    /// The rate that a queue's workers ask for, in tasks a second; `None` for none.
    pub fn worker_rate(&self, subject: &Subject, per_second: Option<f64>, now: Timestamp) {
        let rate = per_second.and_then(gate::worker_rate);
        let (known, many) = {
            let gates = self.lock();
            (gates.contains_key(subject), gates.len() >= GATES_MAX / 2)
        };
        // Workers do not take the place that operators need.
        if !known && (rate.is_none() || many) {
            return;
        }
        if let Err(error) = self.change(subject, |gate| gate.set_worker(rate, now)) {
            tracing::debug!(%subject, error, "the rate of a worker is left out");
        }
    }

    /// Lets an attempt of a node begin that waits in a queue, or holds it.
    ///
    /// # Errors
    /// Until when, and why.
    pub fn enter(
        &self,
        node: &Arc<str>,
        namespace: &Arc<str>,
        queue: &Arc<str>,
        now: Timestamp,
    ) -> Result<(), Held> {
        if !self.is_any() {
            return Ok(());
        }
        let mut gates = self.lock();
        let subjects = subjects(node, namespace, queue);
        // Both are looked at before either is used up.
        for subject in &subjects {
            if let Some(gate) = gates.get_mut(subject) {
                gate.look(subject, now)?;
            }
        }
        for subject in &subjects {
            if let Some(gate) = gates.get_mut(subject) {
                gate.enter(now);
            }
        }
        Ok(())
    }

    /// Why an attempt would be held now; uses nothing up.
    pub fn holds(
        &self,
        node: &Arc<str>,
        namespace: &Arc<str>,
        queue: &Arc<str>,
        now: Timestamp,
    ) -> Option<Held> {
        if !self.is_any() {
            return None;
        }
        let mut gates = self.lock();
        subjects(node, namespace, queue).into_iter().find_map(|subject| {
            let gate = gates.get_mut(&subject)?;
            gate.look(&subject, now).err()
        })
    }

    /// Counts an attempt that has to wait: once, however often it asks.
    pub fn waits(&self, held: &Held) {
        metrics::held(&held.subject, held.by_circuit);
        if let Some(gate) = self.lock().get_mut(&held.subject) {
            gate.count_wait();
        }
    }

    /// An attempt has ended, and that is durable.
    pub(crate) fn ended(&self, namespace: &Arc<str>, verdict: &Verdict, now: Timestamp) {
        let mut gates = self.lock();
        for subject in subjects(&verdict.node, namespace, &verdict.queue) {
            let Some(gate) = gates.get_mut(&subject) else { continue };
            if gate.ended(verdict, now) {
                metrics::circuit(&subject, gate.is_open());
                tracing::warn!(%subject, open = gate.is_open(), "a circuit has changed");
                self.note(subject);
            }
        }
    }

    /// How every gate is, by subject.
    pub fn list(&self, now: Timestamp) -> Vec<GateState> {
        self.lock().iter_mut().map(|(subject, gate)| gate.state(subject, now)).collect()
    }

    /// The circuits that opened or closed since this was called last, each as it is now.
    pub fn take_changes(&self) -> Vec<(Subject, Option<Opened>)> {
        let changes = {
            let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *changes)
        };
        let gates = self.lock();
        let opened = |subject: &Subject| gates.get(subject)?.opened().cloned();
        changes.into_iter().map(|subject| (subject.clone(), opened(&subject))).collect()
    }

    /// A change that could not be recorded is given back, to be taken again.
    pub fn give_back(&self, subject: Subject) {
        let mut changes = self.changes.lock().unwrap_or_else(PoisonError::into_inner);
        changes.insert(subject);
    }

    fn note(&self, subject: Subject) {
        self.give_back(subject);
        self.changed.notify_one();
    }

    /// Changes a gate, which is made for it and goes when it says nothing. `with` says whether its
    /// circuit opened or closed.
    fn change(
        &self,
        subject: &Subject,
        with: impl FnOnce(&mut Gate) -> bool,
    ) -> Result<(), String> {
        let mut gates = self.lock();
        if !gates.contains_key(subject) && gates.len() >= GATES_MAX {
            return Err(format!(
                "there are {GATES_MAX} limits already; unset those that nobody needs"
            ));
        }
        let gate = gates.entry(subject.clone()).or_default();
        let changed = with(gate);
        metrics::circuit(subject, gate.is_open());
        if gate.is_nothing() {
            gates.remove(subject);
        }
        self.any.store(!gates.is_empty(), Ordering::Relaxed);
        self.circuits.store(gates.values().any(Gate::has_circuit), Ordering::Relaxed);
        drop(gates);
        if changed {
            self.note(subject.clone());
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Subject, Gate>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subjects(node: &Arc<str>, namespace: &Arc<str>, queue: &Arc<str>) -> [Subject; 2] {
    let queue = Subject::Queue { namespace: namespace.clone(), name: queue.clone() };
    [Subject::Node(node.clone()), queue]
}
