//! How much each namespace has, and whether another run may come in: one for all partitions.
//!
//! ```text
//! boot: tallies of the stores ─→ Ledger ◄─ admit ── a start is decided ─→ Admission
//!                                  ▲                                          │ its record is durable,
//!                                  └───────────── note ◄──────────────────────┘ or is forgotten
//! ```
//!
//! An admission holds a place from the decision until the run counts, or until its record turned
//! out not to be in the log: it gives the place back by being dropped, whichever way it goes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reflux_core::Timestamp;
use reflux_flow::schedule::NAMESPACE as SYSTEM;
use reflux_store::{Counted, Tally};

use crate::pace::Bucket;
use crate::quotas::{Quota, Quotas};
use crate::{Error, metrics};

/// What is counted of each namespace.
#[derive(Debug)]
pub(crate) struct Ledger {
    quotas: Quotas,
    accounts: Mutex<BTreeMap<Arc<str>, Account>>,
}

#[derive(Debug, Default)]
struct Account {
    tally: Tally,
    /// Places that are held for runs which are not durable yet.
    held: u64,
    /// Of starts; there with the first start, full.
    starts: Option<Bucket>,
}

/// A place for a run that is about to be there. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Admission {
    ledger: Arc<Ledger>,
    namespace: Arc<str>,
}

impl Drop for Admission {
    fn drop(&mut self) {
        if let Some(account) = self.ledger.lock().get_mut(&self.namespace) {
            account.held = account.held.saturating_sub(1);
        }
    }
}

impl Ledger {
    pub fn new(quotas: Quotas) -> Arc<Self> {
        Arc::new(Self { quotas, accounts: Mutex::default() })
    }

    pub fn quotas(&self) -> &Quotas {
        &self.quotas
    }

    /// Adds what a store has.
    pub fn load(&self, tallies: Vec<(Arc<str>, Tally)>) {
        let mut accounts = self.lock();
        for (namespace, tally) in tallies {
            let account = accounts.entry(namespace).or_default();
            account.tally = account.tally.plus(tally);
        }
    }

    /// A run came, went on or left, and that is durable.
    pub fn note(&self, namespace: &Arc<str>, before: Option<Counted>, after: Option<Counted>) {
        if before == after {
            return;
        }
        let mut accounts = self.lock();
        let account = accounts.entry(namespace.clone()).or_default();
        account.tally = account.tally.changed(before, after);
    }

    /// What each namespace has.
    pub fn tallies(&self) -> Vec<(Arc<str>, Tally)> {
        self.lock().iter().map(|(name, account)| (name.clone(), account.tally)).collect()
    }

    /// Lets a run in that comes from outside; `replaces` says that an open one ends with its start.
    ///
    /// # Errors
    /// [`Error::Exhausted`] with the figure, the bound and when to try again.
    pub fn admit(
        self: &Arc<Self>,
        namespace: &Arc<str>,
        replaces: bool,
        now: Timestamp,
    ) -> Result<Option<Admission>, Error> {
        // The records and schedules of the server itself.
        if **namespace == *SYSTEM {
            return Ok(None);
        }
        let quota = self.quotas.of(namespace);
        if quota == Quota::default() {
            return Ok(None);
        }
        let mut accounts = self.lock();
        let account = accounts.entry(namespace.clone()).or_default();
        if let Err((which, refusal)) = account.take(namespace, quota, replaces, now) {
            drop(accounts);
            metrics::over_quota(namespace, which);
            return Err(refusal);
        }
        Ok(Some(Admission { ledger: self.clone(), namespace: namespace.clone() }))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    /// Takes a place, and one of the second's starts last: who is refused for something else has
    /// not used it up.
    fn take(
        &mut self,
        namespace: &str,
        quota: Quota,
        replaces: bool,
        now: Timestamp,
    ) -> Result<(), (&'static str, Error)> {
        let open = self.tally.open.saturating_add(self.held);
        if let Some(max) = quota.open_runs.filter(|max| open >= *max && !replaces) {
            let text = format!(
                "namespace `{namespace}` has {open} open runs and may have {max} (quotas.open_runs); try again when one has ended"
            );
            return Err(("open_runs", Error::Exhausted { text: text.into(), retry_after: None }));
        }
        let bytes = self.tally.bytes;
        if let Some(max) = quota.stored_bytes.filter(|max| bytes >= *max) {
            let text = format!(
                "namespace `{namespace}` keeps {bytes} bytes of runs and may keep {max} (quotas.stored_bytes); try again when runs have passed their retention"
            );
            return Err((
                "stored_bytes",
                Error::Exhausted { text: text.into(), retry_after: None },
            ));
        }
        if let Some(max) = quota.starts_per_second {
            let bucket = self.starts.get_or_insert_with(|| Bucket::full(now));
            let rate = crate::Rate { count: max, per: Duration::from_secs(1) };
            if let Err(at) = bucket.take(rate, now) {
                let wait = at.since(now);
                let text = format!(
                    "namespace `{namespace}` may start {max} runs a second (quotas.starts_per_second); try again in {} ms",
                    wait.as_millis().saturating_add(1)
                );
                let refusal = Error::Exhausted { text: text.into(), retry_after: Some(wait) };
                return Err(("starts_per_second", refusal));
            }
        }
        self.held = self.held.saturating_add(1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000_000_000);
    const OPEN: Option<Counted> = Some(Counted { open: true, bytes: 10 });
    const CLOSED: Option<Counted> = Some(Counted { open: false, bytes: 12 });

    fn ledger(quota: Quota) -> Arc<Ledger> {
        Ledger::new(Quotas { default: quota, ..Quotas::default() })
    }

    fn admit(ledger: &Arc<Ledger>, at_ms: u64) -> Result<Option<Admission>, Error> {
        ledger.admit(&"n".into(), false, NOW.after(Duration::from_millis(at_ms)))
    }

    fn told(refused: Result<Option<Admission>, Error>) -> (String, Option<Duration>) {
        match refused {
            Err(Error::Exhausted { text, retry_after }) => (text.to_string(), retry_after),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_place_is_held_until_the_run_counts_or_is_forgotten() {
        let ledger = ledger(Quota { open_runs: Some(2), ..Quota::default() });
        let first = admit(&ledger, 0).unwrap();
        let second = admit(&ledger, 0).unwrap();
        let (text, _) = told(admit(&ledger, 0));
        assert!(text.starts_with("namespace `n` has 2 open runs and may have 2"), "{text}");
        drop(first); // its record is not in the log
        let third = admit(&ledger, 0).unwrap();
        ledger.note(&"n".into(), None, OPEN);
        drop(second);
        ledger.note(&"n".into(), None, OPEN);
        drop(third);
        told(admit(&ledger, 0));
        assert!(ledger.admit(&"n".into(), true, NOW).is_ok(), "one that ends makes room");
        ledger.note(&"n".into(), OPEN, CLOSED);
        assert!(admit(&ledger, 0).is_ok());
        let tally = Tally { open: 1, runs: 2, bytes: 22 };
        assert_eq!(ledger.tallies(), [("n".into(), tally)]);
    }

    #[test]
    fn bytes_that_are_kept_count_until_their_run_leaves() {
        let ledger = ledger(Quota { stored_bytes: Some(20), ..Quota::default() });
        ledger.load(vec![("n".into(), Tally { open: 0, runs: 1, bytes: 12 })]);
        assert!(admit(&ledger, 0).is_ok());
        ledger.load(vec![("n".into(), Tally { open: 0, runs: 1, bytes: 12 })]);
        let (text, _) = told(admit(&ledger, 0));
        assert!(text.contains("keeps 24 bytes of runs and may keep 20"), "{text}");
        ledger.note(&"n".into(), CLOSED, None);
        assert!(admit(&ledger, 0).is_ok());
    }

    #[test]
    fn who_starts_too_often_is_told_when_to_come_back() {
        let ledger = ledger(Quota { starts_per_second: Some(2), ..Quota::default() });
        assert!(admit(&ledger, 0).is_ok());
        assert!(admit(&ledger, 0).is_ok());
        let (text, wait) = told(admit(&ledger, 0));
        assert!(text.contains("may start 2 runs a second"), "{text}");
        assert_eq!(wait, Some(Duration::from_millis(500)));
        assert!(admit(&ledger, 500).is_ok());
        assert!(ledger.admit(&SYSTEM.into(), false, NOW).is_ok(), "the server's own are free");
    }

    #[test]
    fn a_namespace_takes_what_it_does_not_say_from_the_default() {
        let own = Quota { open_runs: Some(1), ..Quota::default() };
        let default = Quota { open_runs: Some(5), history_events: Some(9), ..Quota::default() };
        let quotas = Quotas { default, namespaces: [("a".to_owned(), own)].into() };
        assert_eq!(quotas.of("a"), Quota { history_events: Some(9), ..own });
        assert_eq!(quotas.of("b"), default);
        assert_eq!(quotas.limits("a", &reflux_core::Limits::default()).history_events_max, 9);
    }
}
