//! Rows in memory, for tests and the deterministic simulation: a crash leaves a prefix of what
//! was committed, so this table can go back to any earlier commit.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;

use crate::error::Error;
use crate::table::{Batch, Range, Row, Rows, Table};

/// How many commits can be taken back. More than a simulated run makes; bounds what a table that
/// is never reverted keeps of its past.
const UNDO_COMMITS_MAX: usize = 65_536;

type Map = BTreeMap<Bytes, Bytes>;

#[derive(Debug, Default)]
pub(crate) struct MemoryRows {
    state: RwLock<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Shared with frozen views: a commit copies it only while one is held.
    rows: Arc<Map>,
    undo: VecDeque<Undo>,
    /// The newest commit that can no longer be taken back.
    floor: u64,
}

#[derive(Debug)]
struct Undo {
    applied: u64,
    /// What the commit's keys were before it.
    before: Vec<(Bytes, Option<Bytes>)>,
}

impl MemoryRows {
    // A poisoned lock guards a map that is whole: every change to it is one call.
    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows for MemoryRows {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.read().rows.get(key).cloned())
    }

    fn range(&self, from: Bytes, to: Bytes) -> Range {
        Frozen(self.read().rows.clone()).range(from, to)
    }
}

impl Table for MemoryRows {
    fn commit(&self, applied: u64, batch: Batch) -> Result<(), Error> {
        let mut state = self.write();
        let rows = Arc::make_mut(&mut state.rows);
        let mut before = Vec::with_capacity(batch.len());
        for (key, value) in batch.into_rows() {
            let old = match value {
                Some(value) => rows.insert(key.clone(), value),
                None => rows.remove(&key),
            };
            before.push((key, old));
        }
        state.undo.push_back(Undo { applied, before });
        if state.undo.len() > UNDO_COMMITS_MAX
            && let Some(oldest) = state.undo.pop_front()
        {
            state.floor = oldest.applied;
        }
        Ok(())
    }

    fn freeze(&self) -> Arc<dyn Rows> {
        Arc::new(Frozen(self.read().rows.clone()))
    }

    fn clear(&self) -> Result<(), Error> {
        *self.write() = State::default();
        Ok(())
    }

    fn revert_to(&self, applied: u64) -> Result<(), Error> {
        let mut state = self.write();
        if applied < state.floor {
            return Err(Error::Invalid(format!(
                "cannot go back to record {applied}: the oldest commit kept is {}",
                state.floor
            )));
        }
        while state.undo.back().is_some_and(|undo| undo.applied > applied) {
            let undo = state.undo.pop_back();
            let rows = Arc::make_mut(&mut state.rows);
            for (key, old) in undo.into_iter().flat_map(|undo| undo.before) {
                match old {
                    Some(value) => rows.insert(key, value),
                    None => rows.remove(&key),
                };
            }
        }
        Ok(())
    }
}

/// The map as it was at one moment.
struct Frozen(Arc<Map>);

impl Rows for Frozen {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, Error> {
        Ok(self.0.get(key).cloned())
    }

    fn range(&self, from: Bytes, to: Bytes) -> Range {
        Box::new(Walk { rows: self.0.clone(), from: Bound::Included(from), to })
    }
}

/// Walks a map it owns a share of, one look-up per row.
struct Walk {
    rows: Arc<Map>,
    from: Bound<Bytes>,
    to: Bytes,
}

impl Walk {
    fn rest(&self) -> Option<impl DoubleEndedIterator<Item = (&Bytes, &Bytes)>> {
        let (Bound::Included(start) | Bound::Excluded(start)) = &self.from else { return None };
        let range = (self.from.as_ref(), Bound::Excluded(&self.to));
        (*start < self.to).then(|| self.rows.range::<Bytes, _>(range))
    }
}

impl Iterator for Walk {
    type Item = Result<Row, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let (key, value) = self.rest()?.next()?;
        let row = (key.clone(), value.clone());
        self.from = Bound::Excluded(row.0.clone());
        Some(Ok(row))
    }
}

impl DoubleEndedIterator for Walk {
    fn next_back(&mut self) -> Option<Self::Item> {
        let (key, value) = self.rest()?.next_back()?;
        let row = (key.clone(), value.clone());
        self.to = row.0.clone();
        Some(Ok(row))
    }
}
