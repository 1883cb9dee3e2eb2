//! Decides who may append what: epochs, tails and trims of all partitions, in memory. The one
//! place where a tail is compared and set; every backend in this crate asks it. Holds no records.

use std::collections::BTreeMap;

use crate::{Append, AppendError, Epoch, Error, Lease, PartitionId, Seq};

/// What there is to know about a partition besides its records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) epoch: Epoch,
    pub(crate) tail: Seq,
    pub(crate) trimmed: Seq,
}

/// Which checks a planted bug leaves out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Blind {
    pub(crate) epoch: bool,
    pub(crate) tail: bool,
}

/// The states of all partitions.
#[derive(Debug, Default)]
pub(crate) struct Book {
    states: BTreeMap<PartitionId, State>,
    /// Why the last append of a partition failed: its queued successors fail for the same reason.
    failed: BTreeMap<PartitionId, AppendError>,
    blind: Blind,
}

impl Book {
    pub(crate) fn new(states: BTreeMap<PartitionId, State>, blind: Blind) -> Self {
        Self { states, failed: BTreeMap::new(), blind }
    }

    pub(crate) fn states(&self) -> &BTreeMap<PartitionId, State> {
        &self.states
    }

    pub(crate) fn state(&self, partition: PartitionId) -> State {
        self.states.get(&partition).copied().unwrap_or_default()
    }

    pub(crate) fn acquire(&mut self, partition: PartitionId) -> Lease {
        self.failed.remove(&partition);
        let state = self.states.entry(partition).or_default();
        state.epoch = state.epoch.next();
        Lease { epoch: state.epoch, tail: state.tail }
    }

    /// Whether the append fits the tail and the epoch. Changes no tail.
    pub(crate) fn check(&self, append: &Append) -> Result<(), AppendError> {
        let state = self.state(append.partition);
        let fenced = AppendError::Fenced {
            partition: append.partition,
            epoch: append.epoch,
            current: state.epoch,
            expected: append.expected,
            tail: state.tail,
        };
        if append.epoch == Epoch(0) || (append.epoch != state.epoch && !self.blind.epoch) {
            return Err(fenced);
        }
        if append.expected > state.tail
            && let Some(cause) = self.failed.get(&append.partition)
        {
            return Err(cause.clone());
        }
        if append.expected != state.tail && !self.blind.tail {
            return Err(fenced);
        }
        Ok(())
    }

    /// Moves the tail for an append that was checked.
    pub(crate) fn append(&mut self, partition: PartitionId) -> Seq {
        self.failed.remove(&partition);
        let state = self.states.entry(partition).or_default();
        state.tail = state.tail.next();
        state.tail
    }

    /// Remembers a failure for the successors that are already queued.
    pub(crate) fn fail(&mut self, partition: PartitionId, cause: &AppendError) {
        // a fenced writer's failure must not colour the answers to the writer that replaced it
        if !matches!(cause, AppendError::Fenced { .. }) {
            self.failed.insert(partition, cause.clone());
        }
    }

    /// Whether anything changes: trimming twice is no event.
    pub(crate) fn trim(&mut self, partition: PartitionId, up_to: Seq) -> Result<bool, Error> {
        let state = self.state(partition);
        if up_to > state.tail {
            return Err(Error::BeyondTail { partition, up_to, tail: state.tail });
        }
        if up_to <= state.trimmed {
            return Ok(false);
        }
        self.states.entry(partition).or_default().trimmed = up_to;
        Ok(true)
    }
}
