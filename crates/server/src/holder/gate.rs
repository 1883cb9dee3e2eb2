//! Lets requests in while the holder stays, and counts those that are not answered yet.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// What a holder that leaves shuts behind the last request.
#[derive(Debug, Default)]
pub(super) struct Gate {
    unanswered: AtomicUsize,
    shut: AtomicBool,
}

/// A request that was let in, until it is dropped.
pub(super) struct Entered<'a>(&'a Gate);

impl Gate {
    /// Lets a request in, unless the holder leaves.
    pub(super) fn enter(&self) -> Option<Entered<'_>> {
        // Counted before it is asked: whoever shuts the gate in between waits for this one.
        self.unanswered.fetch_add(1, Ordering::SeqCst);
        let entered = Entered(self);
        (!self.is_shut()).then_some(entered)
    }

    /// Lets nobody in from now on.
    pub(super) fn shut(&self) {
        self.shut.store(true, Ordering::SeqCst);
    }

    /// Whether the holder leaves.
    pub(super) fn is_shut(&self) -> bool {
        self.shut.load(Ordering::SeqCst)
    }

    /// Whether everybody who was let in has an answer.
    pub(super) fn is_empty(&self) -> bool {
        self.unanswered.load(Ordering::SeqCst) == 0
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.0.unanswered.fetch_sub(1, Ordering::SeqCst);
    }
}
