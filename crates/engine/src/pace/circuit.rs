//! A circuit breaker: calls that would fail anyway are not made.
//!
//! ```text
//! Closed ──too many failures──▶ Open ──its time is over──▶ Probing ──the probe succeeded──▶ Closed
//!                                ▲                            │ it failed
//!                                └────────────────────────────┘
//! ```
//!
//! What counts as a failure is decided by who tells of it.

use std::collections::VecDeque;
use std::time::Duration;

use reflux_core::Timestamp;

/// When a circuit opens, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Breaker {
    /// So many failed attempts …
    pub failures: u32,
    /// … within so long a time …
    pub within: Duration,
    /// … open it for so long.
    pub open: Duration,
}

/// Most failures that a breaker counts: each is a moment in memory.
pub const FAILURES_MAX: u32 = 1_000;

/// That a circuit is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// Since when.
    pub since: Timestamp,
    /// Until when nothing is called; then one probe is.
    pub until: Timestamp,
    /// What the last failure said.
    pub failure: String,
}

/// A circuit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Circuit {
    /// Calls are made.
    Closed {
        /// When the last ones failed, oldest first.
        failed: VecDeque<Timestamp>,
    },
    /// No call is made.
    Open(Opened),
    /// One call was let through.
    Probing {
        /// Of the circuit that is not closed yet.
        opened: Opened,
        /// When: what began before says nothing of now.
        since: Timestamp,
        /// When it counts as lost, so that another one may try.
        until: Timestamp,
    },
}

impl Default for Circuit {
    fn default() -> Self {
        Self::Closed { failed: VecDeque::new() }
    }
}

impl Circuit {
    /// Whether a call may be made.
    ///
    /// # Errors
    /// Until when it is to wait, at the earliest.
    pub fn look(&self, now: Timestamp) -> Result<(), Timestamp> {
        match self {
            Self::Closed { .. } => Ok(()),
            Self::Open(Opened { until, .. }) | Self::Probing { until, .. } if now < *until => {
                Err(*until)
            }
            Self::Open(_) | Self::Probing { .. } => Ok(()),
        }
    }

    /// A call is made that [`Circuit::look`] allows: of a circuit that is not closed it is the
    /// probe.
    pub fn enter(&mut self, rule: Breaker, now: Timestamp) {
        match self {
            Self::Closed { .. } => {}
            Self::Open(opened) | Self::Probing { opened, .. } => {
                let (opened, until) = (opened.clone(), now.after(rule.open));
                *self = Self::Probing { opened, since: now, until };
            }
        }
    }

    /// A call that began at a moment has succeeded. Whether the circuit closed with it.
    pub fn succeeded(&mut self, began: Timestamp) -> bool {
        match self {
            Self::Probing { since, .. } if began >= *since => {
                *self = Self::default();
                true
            }
            Self::Closed { .. } | Self::Open(_) | Self::Probing { .. } => false,
        }
    }

    /// A call that began at a moment has failed. Whether the circuit opened with it that was
    /// closed.
    pub fn failed(&mut self, rule: Breaker, began: Timestamp, now: Timestamp, why: &str) -> bool {
        match self {
            Self::Closed { failed } => {
                failed.push_back(now);
                while failed.front().is_some_and(|first| now.since(*first) > rule.within) {
                    failed.pop_front();
                }
                let count = u32::try_from(failed.len()).unwrap_or(u32::MAX);
                let opens = count >= rule.failures.clamp(1, FAILURES_MAX);
                if opens {
                    let (until, failure) = (now.after(rule.open), why.to_owned());
                    *self = Self::Open(Opened { since: now, until, failure });
                }
                opens
            }
            Self::Probing { opened, since, .. } if began >= *since => {
                let (since, until, failure) = (opened.since, now.after(rule.open), why.to_owned());
                *self = Self::Open(Opened { since, until, failure });
                false
            }
            Self::Open(_) | Self::Probing { .. } => false,
        }
    }

    /// That it is open or being probed.
    pub fn opened(&self) -> Option<&Opened> {
        match self {
            Self::Closed { .. } => None,
            Self::Open(opened) | Self::Probing { opened, .. } => Some(opened),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULE: Breaker =
        Breaker { failures: 3, within: Duration::from_secs(10), open: Duration::from_secs(30) };

    fn at(seconds: u64) -> Timestamp {
        Timestamp(1_000_000_000_000).after(Duration::from_secs(seconds))
    }

    fn fail(circuit: &mut Circuit, seconds: u64) -> bool {
        circuit.failed(RULE, at(seconds), at(seconds), "down")
    }

    fn opened() -> Circuit {
        let mut circuit = Circuit::default();
        assert_eq!([0, 1, 2].map(|second| fail(&mut circuit, second)), [false, false, true]);
        circuit
    }

    #[test]
    fn it_opens_after_so_many_failures_within_the_time() {
        let mut circuit = Circuit::default();
        for second in [0, 1, 12, 13] {
            assert!(!fail(&mut circuit, second), "{second}");
        }
        assert!(fail(&mut circuit, 14));
        assert_eq!(circuit.look(at(15)), Err(at(44)));
        assert_eq!(circuit.opened().map(|opened| opened.since), Some(at(14)));
    }

    #[test]
    fn one_probe_is_let_through_and_its_success_closes() {
        let mut circuit = opened();
        assert_eq!(circuit.look(at(31)), Err(at(32)));
        assert_eq!(circuit.look(at(32)), Ok(()));
        circuit.enter(RULE, at(32));
        assert_eq!(circuit.look(at(33)), Err(at(62)), "the others wait for it");
        assert!(!circuit.succeeded(at(2)), "what began before says nothing");
        assert!(circuit.succeeded(at(32)));
        assert_eq!(circuit.look(at(33)), Ok(()));
        assert!(!fail(&mut circuit, 34), "it counts from nothing again");
    }

    #[test]
    fn a_probe_that_fails_opens_it_again() {
        let mut circuit = opened();
        circuit.enter(RULE, at(32));
        assert!(!circuit.failed(RULE, at(1), at(33), "late"));
        assert!(!circuit.failed(RULE, at(32), at(40), "still down"), "it was not closed");
        assert_eq!(circuit.look(at(41)), Err(at(70)));
        let told = circuit.opened().map(|opened| (opened.since, opened.failure.as_str()));
        assert_eq!(told, Some((at(2), "still down")));
    }

    #[test]
    fn a_probe_of_which_nothing_is_heard_does_not_stand_in_the_way_for_ever() {
        let mut circuit = opened();
        circuit.enter(RULE, at(32));
        assert_eq!(circuit.look(at(61)), Err(at(62)));
        assert_eq!(circuit.look(at(62)), Ok(()));
    }
}
