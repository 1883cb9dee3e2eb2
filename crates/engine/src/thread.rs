//! Drives one partition in a process: an OS thread of its own, because the store may block.

use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{never, select};
use reflux_core::Timestamp;

use crate::mailbox::Inbox;
use crate::partition::Partition;

/// Words taken in before the partition decides again.
const DRAIN_MAX: usize = 256; // a turn stays below a millisecond

/// Longest sleep: a clock that jumps ahead is noticed within it.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// The time: the wall clock, but never slower than the steady clock since the process began. A
/// wall clock that is set back makes no timer late, one that is set ahead (or a machine that wakes
/// up) fires what is due.
pub(crate) fn now() -> Timestamp {
    static BEGAN: OnceLock<(Instant, Timestamp)> = OnceLock::new();
    let (instant, began) = *BEGAN.get_or_init(|| (Instant::now(), wall()));
    wall().max(began.after(instant.elapsed()))
}

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Timestamp(i64::try_from(since.unwrap_or_default().as_nanos()).unwrap_or(i64::MAX))
}

/// Runs the partition until it has stopped.
pub(crate) fn run(mut partition: Partition, inbox: &Inbox) {
    let closed = never();
    loop {
        let at = now();
        partition.turn(at);
        if partition.has_stopped() {
            return;
        }
        let sleep = partition.next_wake().since(at).min(SLEEP_MAX);
        let requests = if partition.has_room() { &inbox.requests } else { &closed };
        select! {
            recv(inbox.internal) -> word => match word {
                Ok(word) => partition.internal(word),
                Err(_) => return,
            },
            recv(requests) -> request => match request {
                Ok(request) => partition.request(request),
                Err(_) => return,
            },
            default(sleep) => {}
        }
        for word in inbox.internal.try_iter().take(DRAIN_MAX) {
            partition.internal(word);
        }
        if partition.has_room() {
            for request in inbox.requests.try_iter().take(DRAIN_MAX) {
                partition.request(request);
            }
        }
    }
}
