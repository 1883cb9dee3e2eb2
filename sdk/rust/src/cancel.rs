//! A flag that a future can wait for, without an executor of its own.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

#[derive(Debug, Default)]
pub(crate) struct CancelFlag {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    cancelled: bool,
    next: u64,
    waiting: BTreeMap<u64, Waker>, // one per live `Cancellation`, which removes its own
}

impl CancelFlag {
    pub(crate) fn set(&self) {
        let waiting = {
            let mut state = self.lock();
            state.cancelled = true;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_values().for_each(Waker::wake);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.lock().cancelled
    }

    pub(crate) fn wait(self: &Arc<Self>) -> Cancellation {
        Cancellation { flag: Arc::clone(self), ticket: None }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // No code that can panic runs under this lock; a poisoned one still holds a valid state.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Completes when the attempt is cancelled; dropping it stops waiting.
#[derive(Debug)]
pub struct Cancellation {
    flag: Arc<CancelFlag>,
    ticket: Option<u64>,
}

impl Future for Cancellation {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let flag = Arc::clone(&self.flag);
        let mut state = flag.lock();
        if state.cancelled {
            return Poll::Ready(());
        }
        let ticket = match self.ticket {
            Some(ticket) => ticket,
            None => {
                let ticket = state.next;
                state.next += 1;
                self.ticket = Some(ticket);
                ticket
            }
        };
        state.waiting.insert(ticket, cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Cancellation {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.flag.lock().waiting.remove(&ticket);
        }
    }
}
