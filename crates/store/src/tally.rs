//! What the runs of each namespace come to, kept with every commit: nobody has to look at all runs
//! to know how many are open.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::rows::tally;
use crate::table::{Batch, Rows};

/// What the runs of a namespace come to, in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Tally {
    /// Runs that have not closed.
    pub open: u64,
    /// Runs that are kept, the open ones too.
    pub runs: u64,
    /// Bytes of those, as [`Summary::bytes`](crate::Summary::bytes) has them.
    pub bytes: u64,
}

/// What a run adds to the tally of its namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Whether it has not closed.
    pub open: bool,
    /// See [`Summary::bytes`](crate::Summary::bytes).
    pub bytes: u64,
}

impl Tally {
    /// With what a run added before taken away, and what it adds now put in.
    #[must_use]
    pub fn changed(self, before: Option<Counted>, after: Option<Counted>) -> Self {
        let part = |counted: Option<Counted>| {
            counted.map_or_else(Self::default, |run| Self {
                open: u64::from(run.open),
                runs: 1,
                bytes: run.bytes,
            })
        };
        let (less, more) = (part(before), part(after));
        let change =
            |have: u64, less: u64, more: u64| have.saturating_add(more).saturating_sub(less);
        Self {
            open: change(self.open, less.open, more.open),
            runs: change(self.runs, less.runs, more.runs),
            bytes: change(self.bytes, less.bytes, more.bytes),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            open: self.open.saturating_add(other.open),
            runs: self.runs.saturating_add(other.runs),
            bytes: self.bytes.saturating_add(other.bytes),
        }
    }
}

/// The tallies that one batch changes.
#[derive(Default)]
pub(crate) struct Tallies {
    changed: BTreeMap<Arc<str>, Tally>,
}

impl Tallies {
    /// A run of a namespace went on, came or left.
    pub fn note(
        &mut self,
        rows: &dyn Rows,
        namespace: &Arc<str>,
        before: Option<Counted>,
        after: Option<Counted>,
    ) -> Result<(), Error> {
        let have = match self.changed.get(namespace) {
            Some(have) => *have,
            None => match rows.get(&tally::key(namespace))? {
                Some(row) => tally::decode(&row)?,
                None => Tally::default(),
            },
        };
        self.changed.insert(namespace.clone(), have.changed(before, after));
        Ok(())
    }

    /// Writes them.
    pub fn put(self, batch: &mut Batch) -> Result<(), Error> {
        self.changed.iter().try_for_each(|(namespace, now)| tally::put(batch, namespace, *now))
    }
}
