//! Those who follow a run as it goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use reflux_core::{Close, Item, RunKey};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::mpsc::{Receiver, Sender, channel};

use crate::execution::Execution;

/// What a slow watcher may leave unread. Past it the watch ends, and the watcher reads the history
/// and watches again.
const UNREAD_MAX: usize = 1024; // records of one run

/// What a watcher is told.
#[derive(Debug, Clone)]
pub struct Change {
    /// What the run went through, in order.
    pub items: Arc<[Item]>,
    /// Ordinal of the item after these.
    pub next: u64,
    /// How the run ended, if it is closed now.
    pub closed: Option<Close>,
}

/// The watchers of all runs.
#[derive(Default)]
pub struct Watches {
    by_run: Mutex<BTreeMap<RunKey, Vec<Sender<Change>>>>,
}

impl Watches {
    /// Follows a run from now on. The channel ends when the run closes, or when it was not read.
    pub fn watch(&self, run: &RunKey) -> Receiver<Change> {
        let (sender, receiver) = channel(UNREAD_MAX);
        let mut by_run = self.lock();
        let watchers = by_run.entry(run.clone()).or_default();
        // A run that never goes on must not collect those who gave up.
        watchers.retain(|watcher| !watcher.is_closed());
        watchers.push(sender);
        receiver
    }

    pub(crate) fn tell(&self, run: &RunKey, items: Vec<Item>, execution: &Execution) {
        let mut by_run = self.lock();
        let Some(watchers) = by_run.get_mut(run) else { return };
        let closed = execution.run().closed.clone();
        let is_closed = closed.is_some();
        let change = Change { items: items.into(), next: execution.items(), closed };
        watchers.retain(|watcher| match watcher.try_send(change.clone()) {
            Ok(()) => true,
            Err(TrySendError::Full(_) | TrySendError::Closed(_)) => false,
        });
        if is_closed || watchers.is_empty() {
            by_run.remove(run);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<RunKey, Vec<Sender<Change>>>> {
        self.by_run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
