//! One queue: what waits, or who waits. Never both.

use std::collections::BTreeMap;

use bytes::Bytes;
use reflux_core::Timestamp;
use tokio::sync::oneshot;

use super::{Handed, Offer, Rank, Ranked, SERVED};
use crate::metrics;

/// Offers of one queue in memory; more are left to the store.
pub(super) const HEADS_MAX: usize = 1_000; // some 300 KiB; a second of work for a busy fleet

/// Offers below which a queue is filled again, if the store may have more.
const HEADS_LOW: usize = HEADS_MAX / 4; // workers go on while the store is read

/// Where something stands in a queue: by rank, then by age, then in the order in which it came.
type Place = (Rank, Timestamp, u64);

/// One queue.
#[derive(Default)]
pub(super) struct TaskQueue {
    waiting: BTreeMap<Place, Offer>,
    places: BTreeMap<Offer, Place>,
    /// In the order in which they came.
    polls: BTreeMap<u64, oneshot::Sender<Handed>>,
    next: u64,
    polled: Option<Timestamp>,
    /// Partitions whose stores may have more.
    rest: BTreeMap<usize, Rest>,
}

/// What a partition's store may have for a queue.
#[derive(Default)]
struct Rest {
    /// Something did not fit since the store was last read from the beginning.
    dropped: bool,
    /// Behind which row to read on; `None` is the beginning.
    after: Option<Bytes>,
    /// The partition was asked.
    asked: bool,
}

impl TaskQueue {
    /// Gives an offer to the poll that waits longest, else keeps it. One that is here stays where
    /// it is; what does not fit is left to the store.
    pub fn offer(
        &mut self,
        ranked: Ranked,
        now: Timestamp,
        partition_of: impl Fn(&Offer) -> usize,
        hand: impl Fn(Ranked) -> Handed,
    ) {
        let mut ranked = ranked;
        while let Some((_, poll)) = self.polls.pop_first() {
            self.polled = Some(now);
            let since = ranked.since;
            match poll.send(hand(ranked)) {
                Ok(()) => return metrics::matched(true, now.since(since)),
                // It has gone away a moment ago.
                Err(refused) => match refused.take() {
                    Some(back) => ranked = back,
                    None => return,
                },
            }
        }
        if self.places.contains_key(&ranked.offer) {
            return;
        }
        let place = (ranked.rank, ranked.since, self.number());
        // A question is in no store; there is a bound on those of the whole node.
        if self.waiting.len() >= HEADS_MAX && ranked.rank != Rank::QUERY {
            let last = self.waiting.last_entry().filter(|last| {
                let (rank, since, _) = last.key();
                *rank != Rank::QUERY && (ranked.rank, ranked.since) < (*rank, *since)
            });
            let left = match last.map(std::collections::btree_map::OccupiedEntry::remove) {
                Some(last) => {
                    self.places.remove(&last);
                    last
                }
                None => return self.leave(partition_of(&ranked.offer)),
            };
            self.leave(partition_of(&left));
        }
        self.places.insert(ranked.offer.clone(), place);
        self.waiting.insert(place, ranked.offer);
    }

    /// Takes the first offer, else waits: the number of the poll, and where its offer will come.
    pub fn poll(&mut self, now: Timestamp) -> Result<Offer, (u64, oneshot::Receiver<Handed>)> {
        self.polled = Some(now);
        if let Some(((_, since, _), offer)) = self.waiting.pop_first() {
            self.places.remove(&offer);
            metrics::matched(false, now.since(since));
            return Ok(offer);
        }
        let (sender, receiver) = oneshot::channel();
        let number = self.number();
        self.polls.insert(number, sender);
        Err((number, receiver))
    }

    /// A poll has gone away.
    pub fn unpoll(&mut self, number: u64, now: Timestamp) {
        self.polls.remove(&number);
        self.polled = Some(now);
    }

    /// The partitions to be asked for what their stores have, each with the row behind which to
    /// read on: none while there is enough here, or while a partition is at it.
    pub fn wants(&mut self) -> Vec<(usize, Option<Bytes>)> {
        if self.waiting.len() >= HEADS_LOW {
            return Vec::new();
        }
        let idle = self.rest.iter_mut().filter(|(_, rest)| !rest.asked);
        idle.map(|(partition, rest)| {
            rest.asked = true;
            if rest.after.is_none() {
                rest.dropped = false;
            }
            (*partition, rest.after.clone())
        })
        .collect()
    }

    /// A partition has offered what its store had, up to a row; `None` when that was all.
    pub fn refilled(&mut self, partition: usize, up_to: Option<Bytes>) {
        let Some(rest) = self.rest.get_mut(&partition) else { return };
        rest.asked = false;
        // What was dropped since may stand before that row.
        rest.after = up_to.filter(|_| !rest.dropped);
        if rest.after.is_none() && !rest.dropped {
            self.rest.remove(&partition);
        }
    }

    /// Whether a worker polls, or did a moment ago.
    pub fn is_served(&self, now: Timestamp) -> bool {
        !self.polls.is_empty() || self.polled.is_some_and(|at| now.since(at) < SERVED)
    }

    /// Whether nothing would be lost with it.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.waiting.is_empty() && self.rest.is_empty() && !self.is_served(now)
    }

    /// How many offers are here, and since when the first waits.
    pub fn depth(&self) -> (usize, Option<Timestamp>) {
        let first = self.waiting.first_key_value();
        (self.waiting.len(), first.map(|((_, since, _), _)| *since))
    }

    /// How many polls wait.
    pub fn polls(&self) -> usize {
        self.polls.len()
    }

    fn leave(&mut self, partition: usize) {
        self.rest.entry(partition).or_default().dropped = true;
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reflux_core::{EventId, RunId, RunKey, Timestamp};

    use super::{HEADS_LOW, HEADS_MAX, TaskQueue};
    use crate::matching::{Handed, Offer, Rank, Ranked};

    const NOW: Timestamp = Timestamp(1_000_000);

    fn offer(n: usize) -> Offer {
        let run_id = RunId::default();
        let run = RunKey { namespace: "n".into(), workflow_id: Arc::from("w"), run_id };
        Offer::Activity { run, scheduled: EventId(i64::try_from(n).unwrap()), attempt: 1 }
    }

    fn add(queue: &mut TaskQueue, n: usize, rank: u8) {
        let since = Timestamp(i64::try_from(n).unwrap());
        let ranked = Ranked { offer: offer(n), rank: Rank(rank), since };
        queue.offer(ranked, NOW, |_| 7, Handed::for_test);
    }

    fn take(queue: &mut TaskQueue) -> Option<Offer> {
        queue.poll(NOW).ok()
    }

    #[test]
    fn the_urgent_come_first_then_the_old() {
        let mut queue = TaskQueue::default();
        for (n, rank) in [(4, 3), (2, 5), (3, 3), (1, 5), (9, 1)] {
            add(&mut queue, n, rank);
        }
        add(&mut queue, 3, 3);
        let order: Vec<_> = std::iter::from_fn(|| take(&mut queue)).collect();
        assert_eq!(order, [9, 3, 4, 1, 2].map(offer));
    }

    #[test]
    fn what_does_not_fit_is_asked_of_the_store_when_the_queue_runs_low() {
        let mut queue = TaskQueue::default();
        for n in 0..HEADS_MAX + 10 {
            add(&mut queue, n, 3);
        }
        assert_eq!(queue.depth().0, HEADS_MAX);
        assert!(queue.wants().is_empty(), "there is enough");
        while queue.depth().0 >= HEADS_LOW {
            take(&mut queue).unwrap();
        }
        assert_eq!(queue.wants(), [(7, None)]);
        assert!(queue.wants().is_empty(), "it is asked already");
        queue.refilled(7, Some("row".into()));
        assert_eq!(queue.wants(), [(7, Some("row".into()))]);
        queue.refilled(7, None);
        assert!(queue.wants().is_empty(), "the store has no more");
    }

    #[test]
    fn an_urgent_offer_takes_the_place_of_the_last_of_a_full_queue() {
        let mut queue = TaskQueue::default();
        for n in 1..=HEADS_MAX {
            add(&mut queue, n, 3);
        }
        add(&mut queue, HEADS_MAX + 1, 1);
        assert_eq!(queue.depth().0, HEADS_MAX);
        assert_eq!(take(&mut queue), Some(offer(HEADS_MAX + 1)));
        let rest: Vec<_> = std::iter::from_fn(|| take(&mut queue)).collect();
        assert_eq!(rest.len(), HEADS_MAX - 1);
        assert!(!rest.contains(&offer(HEADS_MAX)));
        assert_eq!(queue.wants(), [(7, None)]);
    }

    #[test]
    fn the_store_is_read_from_the_beginning_when_something_was_dropped_meanwhile() {
        let mut queue = TaskQueue::default();
        for n in 0..=HEADS_MAX {
            add(&mut queue, n, 3);
        }
        std::iter::from_fn(|| take(&mut queue)).count();
        assert_eq!(queue.wants(), [(7, None)]);
        for n in 0..=HEADS_MAX {
            add(&mut queue, n, 3);
        }
        queue.refilled(7, Some("row".into()));
        std::iter::from_fn(|| take(&mut queue)).count();
        assert_eq!(queue.wants(), [(7, None)]);
    }
}
