//! Offers again what did not fit the queues of tasks in memory.

use crate::matching::Refill;
use crate::request::{Ask, Lane, Reply, Request};

use super::Partition;

/// Runs asked at once: a turn stays short, and a queue gets enough to go on with.
const RUNS_MAX: usize = 256;

impl Partition {
    /// Takes the wish in until the store has what was durable when it came: only then does it know
    /// everything that was dropped before.
    pub(super) fn wish(&mut self, refill: Refill) {
        self.refills.push_back((self.durable.0, refill));
    }

    pub(super) fn refill_due(&mut self) {
        while let Some((needed, _)) = self.refills.front() {
            if *needed > self.cache.materialised() {
                return;
            }
            if let Some((_, refill)) = self.refills.pop_front() {
                self.refill(refill);
            }
        }
    }

    fn refill(&mut self, refill: Refill) {
        let Refill { queue, after } = refill;
        let rows = match self.parts.store.waiting(&queue.digest(), after.as_ref(), RUNS_MAX) {
            Ok(rows) => rows,
            Err(error) => return self.fail(error.into()),
        };
        let last = rows.last().map(|(row, _)| row.clone());
        let up_to = last.filter(|_| rows.len() == RUNS_MAX);
        let index = usize::try_from(self.parts.id.0).unwrap_or(usize::MAX);
        let refilled = self.parts.matching.refilled(queue, index, up_to);
        for (_, run) in rows {
            let refilled = refilled.clone();
            let ask = Ask::Offer { run_id: run.run_id };
            let reply: Reply = Box::new(move |_| drop(refilled));
            self.request(Request { lane: Lane::of(&run), ask, reply });
        }
    }
}
