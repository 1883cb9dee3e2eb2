//! A poll: waits for an offer, and gives one back that it could not take.

use std::future::pending;
use std::sync::{Arc, Weak};

use super::{Matching, Offer, Queue, Ranked};

/// An offer on its way to a poll. When nobody takes it out, it is offered again.
pub(crate) struct Handed {
    ranked: Option<Ranked>,
    to: Option<(Queue, Weak<Matching>)>,
}

impl Handed {
    /// Takes the offer out.
    pub fn take(mut self) -> Option<Ranked> {
        self.ranked.take()
    }

    #[cfg(test)]
    pub fn for_test(ranked: Ranked) -> Self {
        Self { ranked: Some(ranked), to: None }
    }
}

impl Drop for Handed {
    fn drop(&mut self) {
        if let (Some(ranked), Some((queue, matching))) = (self.ranked.take(), &self.to)
            && let Some(matching) = matching.upgrade()
        {
            matching.offer(queue, ranked);
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
    pub(super) fn hand(self: &Arc<Self>, queue: &Queue, ranked: Ranked) -> Handed {
        Handed { ranked: Some(ranked), to: Some((queue.clone(), Arc::downgrade(self))) }
    }

    /// Waits for an offer as long as it takes. Dropping the future takes the poll back; an offer
    /// that was on its way is offered again.
    pub async fn poll(self: &Arc<Self>, queue: &Queue) -> Offer {
        let now = (self.now)();
        let polled = self.with(queue, |tasks| tasks.poll(now, &|ranked| self.may(queue, ranked)));
        self.refill(queue);
        let (number, offer) = match polled {
            Ok(offer) => return offer,
            Err(waiting) => waiting,
        };
        // Dropped before the channel: what is offered from then on goes to others.
        let _unpoll = Unpoll { matching: self, queue, number };
        match offer.await.ok().and_then(Handed::take) {
            Some(ranked) => ranked.offer,
            // The queue is never dropped while somebody polls.
            None => pending().await,
        }
    }
}
