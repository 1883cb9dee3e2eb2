//! One queue: what waits, or who waits. Both only when what waits is held by a rate or a circuit.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use reflux_core::Timestamp;
use tokio::sync::oneshot;

use super::{Handed, Offer, Rank, Ranked, SERVED};
use crate::metrics;

/// Offers of one queue in memory; more are left to the store.
pub(super) const HEADS_MAX: usize = 1_000; // some 300 KiB; a second of work for a busy fleet

/// Offers below which a queue is filled again, if the store may have more.
const HEADS_LOW: usize = HEADS_MAX / 4; // workers go on while the store is read

/// Whether an offer may be handed out now.
pub(super) type May<'a> = &'a dyn Fn(&mut Ranked) -> bool;

/// Where something stands in a queue: by rank, then by age, then in the order in which it came.
type Place = (Rank, Timestamp, u64);

/// One queue.
#[derive(Default)]
pub(super) struct TaskQueue {
    waiting: BTreeMap<Place, Ranked>,
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
        may: May<'_>,
    ) {
        let mut ranked = ranked;
        // What waits although somebody polls is held, and comes first when it is not.
        let at_once = !self.polls.is_empty() && self.waiting.is_empty() && may(&mut ranked);
        if at_once {
            match self.give(ranked, now, &hand) {
                None => return,
                Some(back) => ranked = back,
            }
        }
        self.keep(ranked, partition_of);
        self.pump(now, hand, may);
    }

    /// Hands out what is no longer held, as long as somebody polls.
    pub fn pump(&mut self, now: Timestamp, hand: impl Fn(Ranked) -> Handed, may: May<'_>) {
        while !self.polls.is_empty() {
            let Some((place, ranked)) = self.next(may) else { return };
            let offer = ranked.offer.clone();
            if let Some(back) = self.give(ranked, now, &hand) {
                self.places.insert(offer, place);
                self.waiting.insert(place, back);
            }
        }
    }

    /// Gives an offer to the poll that waits longest; gives it back when nobody is there any more.
    fn give(
        &mut self,
        mut ranked: Ranked,
        now: Timestamp,
        hand: &impl Fn(Ranked) -> Handed,
    ) -> Option<Ranked> {
        while let Some((_, poll)) = self.polls.pop_first() {
            self.polled = Some(now);
            let since = ranked.since;
            match poll.send(hand(ranked)) {
                Ok(()) => {
                    metrics::matched(true, now.since(since));
                    return None;
                }
                // It has gone away a moment ago.
                Err(refused) => ranked = refused.take()?,
            }
        }
        Some(ranked)
    }

    /// The first offer that may be handed out, taken out. A node that is held is asked for once.
    fn next(&mut self, may: May<'_>) -> Option<(Place, Ranked)> {
        let mut held = BTreeSet::new();
        let found = self.waiting.iter_mut().find_map(|(place, ranked)| {
            if ranked.node.as_ref().is_some_and(|node| held.contains(node)) {
                return None;
            }
            if may(ranked) {
                return Some(*place);
            }
            held.extend(ranked.node.clone());
            None
        })?;
        let ranked = self.waiting.remove(&found)?;
        self.places.remove(&ranked.offer);
        Some((found, ranked))
    }

    fn keep(&mut self, ranked: Ranked, partition_of: impl Fn(&Offer) -> usize) {
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
                    self.places.remove(&last.offer);
                    last.offer
                }
                None => return self.leave(partition_of(&ranked.offer)),
            };
            self.leave(partition_of(&left));
        }
        self.places.insert(ranked.offer.clone(), place);
        self.waiting.insert(place, ranked);
    }

    /// Takes the first offer, else waits: the number of the poll, and where its offer will come.
    pub fn poll(
        &mut self,
        now: Timestamp,
        may: May<'_>,
    ) -> Result<Offer, (u64, oneshot::Receiver<Handed>)> {
        self.polled = Some(now);
        if let Some((_, ranked)) = self.next(may) {
            metrics::matched(false, now.since(ranked.since));
            return Ok(ranked.offer);
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
        queue.offer(of(n, rank, since, None), NOW, |_| 7, Handed::for_test, &|_| true);
    }

    fn of(n: usize, rank: u8, since: Timestamp, node: Option<&str>) -> Ranked {
        let node = node.map(Arc::from);
        Ranked { offer: offer(n), rank: Rank(rank), since, node, held: false }
    }

    fn take(queue: &mut TaskQueue) -> Option<Offer> {
        queue.poll(NOW, &|_| true).ok()
    }

    #[test]
    fn what_is_held_stays_and_others_pass_it_until_it_is_not() {
        let mut queue = TaskQueue::default();
        let shut = |ranked: &mut Ranked| ranked.node.as_deref() != Some("slow");
        for (n, node) in [(1, "slow"), (2, "slow"), (3, "quick")] {
            let ranked = of(n, 3, Timestamp(1), Some(node));
            queue.offer(ranked, NOW, |_| 7, Handed::for_test, &shut);
        }
        assert_eq!(queue.poll(NOW, &shut).ok(), Some(offer(3)));
        let (_, mut waits) = queue.poll(NOW, &shut).unwrap_err();
        queue.pump(NOW, Handed::for_test, &shut);
        assert!(waits.try_recv().is_err());
        // One that comes when a token is there does not overtake those that wait for it.
        let ranked = of(4, 3, Timestamp(2), Some("slow"));
        queue.offer(ranked, NOW, |_| 7, Handed::for_test, &|_| true);
        let handed = waits.try_recv().ok().and_then(Handed::take).unwrap();
        assert_eq!(handed.offer, offer(1));
        assert_eq!(queue.depth().0, 2);
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
