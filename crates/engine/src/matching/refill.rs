//! Fills a queue again from the stores' indexes of runs that wait.

use std::sync::Arc;

use bytes::Bytes;

use super::{Matching, Queue};
use crate::mailbox::Internal;

/// A partition is asked to offer again what its store says waits in a queue.
pub(crate) struct Refill {
    /// Which queue.
    pub queue: Queue,
    /// Behind which row.
    pub after: Option<Bytes>,
}

/// Tells the queue how far a partition has come, when every run that was asked has offered.
pub(crate) struct Refilled {
    matching: Arc<Matching>,
    queue: Queue,
    partition: usize,
    up_to: Option<Bytes>,
}

impl Drop for Refilled {
    fn drop(&mut self) {
        let up_to = self.up_to.take();
        self.matching.with(&self.queue, |tasks| tasks.refilled(self.partition, up_to));
        self.matching.refill(&self.queue);
    }
}

impl Matching {
    /// Asks the partitions whose stores may have more, if the queue runs low.
    pub(super) fn refill(&self, queue: &Queue) {
        let wanted = self.with(queue, |tasks| tasks.wants());
        for (partition, after) in wanted {
            if let Some(sender) = self.partitions.get(partition) {
                // A partition that has stopped offers everything again after the next boot.
                drop(sender.send(Internal::Refill(Refill { queue: queue.clone(), after })));
            }
        }
    }

    /// What a partition holds while it refills a queue, up to a row; `None` when that is all.
    pub fn refilled(
        self: &Arc<Self>,
        queue: Queue,
        partition: usize,
        up_to: Option<Bytes>,
    ) -> Arc<Refilled> {
        Arc::new(Refilled { matching: self.clone(), queue, partition, up_to })
    }
}
