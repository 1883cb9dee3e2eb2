//! Results of runs that other runs may take: where in a history each stands. The results themselves
//! are the histories' own, so one is here no longer than its run.

use std::sync::Arc;

use reflux_core::{RunKey, Timestamp};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::partition::Partition;
use crate::rows::cached;
use crate::summary::Digest;
use crate::table::Batch;
use crate::view::View;

/// Rows deleted in one batch, so that the writer waits microseconds for it.
const DELETE_MAX: usize = 1_024;

/// A result that other runs may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedResult {
    /// What it is found by.
    pub key: Digest,
    /// The run that has it.
    pub run: RunKey,
    /// Ordinal of the item that holds it.
    pub ordinal: u64,
    /// Id of that item's event.
    pub event: i64,
    /// The activation it belongs to.
    pub activation: Arc<str>,
    /// The node that gave it.
    pub node: Arc<str>,
    /// The flow whose step called the node.
    pub flow: Arc<str>,
    /// When it came.
    pub ended: Timestamp,
    /// When it counts no longer; `None`: as long as it is here.
    pub expires: Option<Timestamp>,
    /// Its size in bytes.
    pub bytes: u64,
}

impl View {
    /// The results that other runs may take, run by run, behind the one of that run and ordinal.
    ///
    /// # Errors
    /// As [`View::applied`].
    pub fn cached(
        &self,
        after: Option<(&RunKey, u64)>,
        limit: usize,
    ) -> Result<Vec<CachedResult>, Error> {
        let (from, to) = cached::all(after);
        self.take(from, to, limit, cached::decode)
    }
}

impl Partition {
    /// Notes results of runs that are here, after a restore: a commit brings its own.
    ///
    /// # Errors
    /// As [`Partition::commit`].
    pub fn note_cached(&self, results: &[CachedResult]) -> Result<(), Error> {
        for results in results.chunks(DELETE_MAX) {
            let _writing = self.lock();
            let mut batch = Batch::default();
            for result in results {
                cached::put(&mut batch, result)?;
            }
            self.write(self.applied(), batch)?;
        }
        Ok(())
    }

    /// Forgets that other runs may take these results: run and ordinal. The histories stay.
    ///
    /// # Errors
    /// As [`Partition::commit`].
    pub fn forget_cached(&self, results: &[(RunKey, u64)]) -> Result<(), Error> {
        for results in results.chunks(DELETE_MAX) {
            let _writing = self.lock();
            let mut batch = Batch::default();
            for (run, ordinal) in results {
                cached::delete(&mut batch, run, *ordinal);
            }
            self.write(self.applied(), batch)?;
        }
        Ok(())
    }
}
