//! The runs a partition has in memory. A run leaves only when the store has its last record, so
//! what is loaded is never older than what was seen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use reflux_core::{RunId, RunKey};

use crate::execution::Execution;
use crate::request::Lane;

/// Runs kept in memory per partition when nothing needs them.
const RUNS_MAX: usize = 2_000; // some 5 KiB each: 40 MiB over four partitions

pub(crate) struct Cache {
    runs: BTreeMap<RunKey, Kept>,
    /// The current run of each workflow id that the store may not know yet.
    currents: BTreeMap<Lane, RunId>,
    /// The last record of each lane that the store does not have yet.
    behind: BTreeMap<Lane, u64>,
    /// The same by record, so that the store's progress finds them.
    by_seq: VecDeque<(u64, RunKey)>,
    /// Runs nobody needs, oldest first; some have been taken since.
    idle: VecDeque<RunKey>,
    /// Lanes whose runs were forgotten before the store had their last record.
    forgotten: BTreeSet<Lane>,
    /// Lanes that wait for the store.
    waiting: BTreeSet<Lane>,
    materialised: u64,
}

/// A run, and its last record that the store may not have yet.
struct Kept {
    execution: Execution,
    seq: u64,
}

impl Cache {
    pub fn new(materialised: u64) -> Self {
        Self {
            runs: BTreeMap::new(),
            currents: BTreeMap::new(),
            behind: BTreeMap::new(),
            by_seq: VecDeque::new(),
            idle: VecDeque::new(),
            forgotten: BTreeSet::new(),
            waiting: BTreeSet::new(),
            materialised,
        }
    }

    /// Up to where the store has everything.
    pub fn materialised(&self) -> u64 {
        self.materialised
    }

    pub fn take(&mut self, key: &RunKey) -> Option<Execution> {
        self.runs.remove(key).map(|kept| kept.execution)
    }

    /// How many runs there are.
    pub fn len(&self) -> usize {
        self.runs.len()
    }

    pub fn has(&self, key: &RunKey) -> bool {
        self.runs.contains_key(key)
    }

    /// A run that was looked at and not changed.
    pub fn put_back(&mut self, execution: Execution) {
        let key = execution.run().key.clone();
        let seq = self.behind.get(&Lane::of(&key)).copied();
        match seq {
            Some(seq) => self.by_seq.push_back((seq, key.clone())),
            None => self.idle.push_back(key.clone()),
        }
        self.runs.insert(key, Kept { execution, seq: seq.unwrap_or_default() });
        self.evict();
    }

    /// A run whose record `seq` has become durable.
    pub fn put(&mut self, execution: Execution, seq: u64) {
        let key = execution.run().key.clone();
        self.behind.insert(Lane::of(&key), seq);
        self.by_seq.push_back((seq, key.clone()));
        self.runs.insert(key, Kept { execution, seq });
    }

    /// The current run of a workflow id, if it is known here.
    pub fn current(&self, lane: &Lane) -> Option<RunId> {
        self.currents.get(lane).copied()
    }

    pub fn set_current(&mut self, lane: &Lane, run_id: RunId) {
        self.currents.insert(lane.clone(), run_id);
    }

    /// Drops what is known of a lane: it is read again when the store has caught up.
    pub fn forget(&mut self, lane: &Lane) {
        self.currents.remove(lane);
        self.runs.retain(|key, _| {
            key.workflow_id != lane.workflow_id || key.namespace != lane.namespace
        });
        if self.behind.contains_key(lane) {
            self.forgotten.insert(lane.clone());
        }
    }

    /// Whether the lane has to wait for the store before it can be read.
    pub fn is_behind(&self, lane: &Lane) -> bool {
        self.forgotten.contains(lane)
    }

    /// The lane is asked for again by [`Cache::materialise`].
    pub fn wait_for_store(&mut self, lane: Lane) {
        self.waiting.insert(lane);
    }

    /// The store has everything up to `applied`. Gives the lanes that waited for it.
    pub fn materialise(&mut self, applied: u64) -> Vec<Lane> {
        self.materialised = self.materialised.max(applied);
        let mut awake = Vec::new();
        while let Some((seq, _)) = self.by_seq.front() {
            if *seq > applied {
                break;
            }
            let Some((_, key)) = self.by_seq.pop_front() else { break };
            let lane = Lane::of(&key);
            if self.behind.get(&lane).is_some_and(|seq| *seq <= applied) {
                self.behind.remove(&lane);
                self.forgotten.remove(&lane);
                self.currents.remove(&lane);
                if self.waiting.remove(&lane) {
                    awake.push(lane);
                }
            }
            // Another run of the lane may have gone on since: this one is in the store all the same.
            match self.runs.get(&key) {
                Some(kept) if kept.seq > applied => {}
                Some(kept) if kept.execution.run().is_open() => self.idle.push_back(key),
                Some(_) => drop(self.runs.remove(&key)),
                None => {}
            }
        }
        self.evict();
        awake
    }

    fn evict(&mut self) {
        while self.runs.len() > RUNS_MAX {
            let Some(key) = self.idle.pop_front() else { return };
            if self.runs.get(&key).is_some_and(|kept| kept.seq <= self.materialised) {
                self.runs.remove(&key);
            }
        }
        // A run that is touched often stands here often.
        while self.idle.len() > 4 * RUNS_MAX {
            self.idle.pop_front();
        }
    }
}
