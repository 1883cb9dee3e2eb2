//! What the runs of a namespace may come to.
//!
//! ```text
//! start from outside ─→ open runs, stored bytes, starts a second ─→ a new run, or a refusal
//! history that grows ─→ events, bytes ─→ the run is terminated
//! ```
//!
//! Quotas bound what comes in, never what goes on: a child, a sub-flow and the next run of a chain
//! count, but are not refused, because a run that has begun must be able to end. A run that a
//! schedule starts comes in: it waits in the schedule until there is room.

use std::collections::BTreeMap;

use reflux_core::Limits;

/// The quotas of a namespace; what is `None` has no bound of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Quota {
    /// Runs that are open.
    pub open_runs: Option<u64>,
    /// Starts a second; a second's worth may come at once.
    pub starts_per_second: Option<u32>,
    /// Events of one history.
    pub history_events: Option<u64>,
    /// Bytes of one history.
    pub history_bytes: Option<u64>,
    /// Bytes of all runs that are kept.
    pub stored_bytes: Option<u64>,
}

impl Quota {
    /// These, and for what they do not say those.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            open_runs: self.open_runs.or(other.open_runs),
            starts_per_second: self.starts_per_second.or(other.starts_per_second),
            history_events: self.history_events.or(other.history_events),
            history_bytes: self.history_bytes.or(other.history_bytes),
            stored_bytes: self.stored_bytes.or(other.stored_bytes),
        }
    }
}

/// The quotas of all namespaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quotas {
    /// Of every namespace that has none of its own.
    pub default: Quota,
    /// By name of the namespace: what is said here wins.
    pub namespaces: BTreeMap<String, Quota>,
}

impl Quotas {
    /// Those of a namespace.
    pub fn of(&self, namespace: &str) -> Quota {
        let own = self.namespaces.get(namespace).copied().unwrap_or_default();
        own.or(self.default)
    }

    /// What a run of a namespace may use.
    pub(crate) fn limits(&self, namespace: &str, limits: &Limits) -> Limits {
        let quota = self.of(namespace);
        let events = quota.history_events.unwrap_or(limits.history_events_max);
        let bytes = quota.history_bytes.unwrap_or(limits.history_bytes_max);
        Limits {
            history_events_max: events,
            history_bytes_max: bytes,
            // Said while there is still room to act on it.
            history_events_suggest: limits.history_events_suggest.min(events / 2),
            history_bytes_suggest: limits.history_bytes_suggest.min(bytes / 2),
            ..limits.clone()
        }
    }
}
