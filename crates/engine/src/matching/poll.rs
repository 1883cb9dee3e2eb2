//! A poll: waits for an offer, and gives one back that it could not take.

use std::future::pending;
use std::sync::{Arc, Weak};

use super::{Matching, Offer, Queue, Rank};

/// An offer on its way to a poll. When nobody takes it out, it is offered again.
pub(crate) struct Handed {
    offer: Option<Offer>,
    rank: Rank,
    queue: Queue,
    matching: Weak<Matching>,
}

impl Handed {
    /// Takes the offer out.
    pub fn take_back(mut self) -> Option<Offer> {
        self.offer.take()
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let (Some(offer), Some(matching)) = (self.offer.take(), self.matching.upgrade()) {
            matching.offer(&self.queue, self.rank, offer);
        }
    }
}

/// Takes the poll out of the queue when its future goes away.
struct Unpoll<'a> {
    matching: &'a Matching,
    queue: &'a Queue,
    number: u64,
}

impl Drop for Unpoll<'_> {
    fn drop(&mut self) {
        let now = (self.matching.now)();
        self.matching.with(self.queue, |tasks| tasks.unpoll(self.number, now));
    }
}

impl Matching {
    pub(super) fn hand(self: &Arc<Self>, queue: &Queue, rank: Rank, offer: Offer) -> Handed {
        let (queue, matching) = (queue.clone(), Arc::downgrade(self));
        Handed { offer: Some(offer), rank, queue, matching }
    }

    /// Waits for an offer as long as it takes. Dropping the future takes the poll back; an offer
    /// that was on its way is offered again.
    pub async fn poll(&self, queue: &Queue) -> Offer {
        let now = (self.now)();
        let (number, offer) = match self.with(queue, |tasks| tasks.poll(now)) {
            Ok(offer) => return offer,
            Err(waiting) => waiting,
        };
        // Dropped before the channel: what is offered from then on goes to others.
        let _unpoll = Unpoll { matching: self, queue, number };
        match offer.await.ok().and_then(Handed::take_back) {
            Some(offer) => offer,
            // The queue is never dropped while somebody polls.
            None => pending().await,
        }
    }
}
