//! One queue: what waits, or who waits. Never both.

use std::collections::BTreeMap;

use reflux_core::Timestamp;
use tokio::sync::oneshot;

use super::{Handed, Offer, Rank, SERVED};

/// Where something stands in a queue: by rank, then in the order in which it came.
type Place = (Rank, u64);

/// One queue.
#[derive(Default)]
pub(super) struct TaskQueue {
    waiting: BTreeMap<Place, Offer>,
    places: BTreeMap<Offer, Place>,
    /// In the order in which they came.
    polls: BTreeMap<u64, oneshot::Sender<Handed>>,
    next: u64,
    polled: Option<Timestamp>,
}

impl TaskQueue {
    /// Gives an offer to the poll that waits longest, else keeps it. One that is here stays where
    /// it is.
    pub fn offer(
        &mut self,
        offer: Offer,
        rank: Rank,
        now: Timestamp,
        hand: impl Fn(Offer) -> Handed,
    ) {
        let mut offer = offer;
        while let Some((_, poll)) = self.polls.pop_first() {
            self.polled = Some(now);
            match poll.send(hand(offer)) {
                Ok(()) => return,
                // It has gone away a moment ago.
                Err(refused) => match refused.take_back() {
                    Some(back) => offer = back,
                    None => return,
                },
            }
        }
        if !self.places.contains_key(&offer) {
            let place = (rank, self.number());
            self.places.insert(offer.clone(), place);
            self.waiting.insert(place, offer);
        }
    }

    /// Takes the first offer, else waits: the number of the poll, and where its offer will come.
    pub fn poll(&mut self, now: Timestamp) -> Result<Offer, (u64, oneshot::Receiver<Handed>)> {
        self.polled = Some(now);
        if let Some((_, offer)) = self.waiting.pop_first() {
            self.places.remove(&offer);
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

    /// Whether a worker polls, or did a moment ago.
    pub fn is_served(&self, now: Timestamp) -> bool {
        !self.polls.is_empty() || self.polled.is_some_and(|at| now.since(at) < SERVED)
    }

    /// Whether nothing would be lost with it.
    pub fn is_idle(&self, now: Timestamp) -> bool {
        self.waiting.is_empty() && !self.is_served(now)
    }

    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }
}
