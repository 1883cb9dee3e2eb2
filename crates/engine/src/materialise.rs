//! Writes what is durable into the store, behind the partitions, so that none of them waits for
//! an LSM tree.

use std::collections::BTreeMap;

use crossbeam_channel::{Receiver, Sender};
use reflux_store::Changes;

use crate::mailbox::Internal;

/// Records that wait for the store. Past it the partitions wait.
pub(crate) const QUEUE_MAX: usize = 64; // 32 MiB at the largest record, some 3 MiB at ordinary ones

/// Records written in one batch of the store.
const BATCH_MAX: usize = 64; // amortises the batch and keeps it short

/// Work for the materialiser.
pub(crate) struct Job {
    /// Index of the partition.
    pub partition: usize,
    /// What its record changes.
    pub changes: Changes,
}

/// Runs until every sender is gone. Tells each partition how far it has come.
pub(crate) fn run(
    jobs: &Receiver<Job>,
    stores: &[reflux_store::Partition],
    partitions: &[Sender<Internal>],
) {
    while let Ok(first) = jobs.recv() {
        let batch = std::iter::once(first).chain(jobs.try_iter().take(BATCH_MAX));
        write(batch, stores, |partition, word| {
            if let Some(sender) = partitions.get(partition) {
                // A partition that has stopped no longer wants to know.
                drop(sender.send(word));
            }
        });
    }
}

/// Writes the changes of several records, one batch per partition, and tells each how far it is.
pub(crate) fn write(
    jobs: impl IntoIterator<Item = Job>,
    stores: &[reflux_store::Partition],
    mut tell: impl FnMut(usize, Internal),
) {
    let mut batches: BTreeMap<usize, Changes> = BTreeMap::new();
    for job in jobs {
        let batch = batches.entry(job.partition).or_default();
        batch.applied = job.changes.applied;
        batch.runs.extend(job.changes.runs);
        batch.blobs.extend(job.changes.blobs);
        batch.retired.extend(job.changes.retired);
        batch.cached.extend(job.changes.cached);
    }
    for (partition, changes) in batches {
        let Some(store) = stores.get(partition) else { continue };
        let applied = changes.applied;
        match store.commit(changes) {
            Ok(()) => tell(partition, Internal::Materialised(applied)),
            Err(error) => tell(partition, Internal::StoreFailed(error.to_string())),
        }
    }
}
