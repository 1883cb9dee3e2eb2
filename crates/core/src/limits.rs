//! What is allowed, each bound with its reason. Defaults follow Temporal's where it has one.

use std::time::Duration;

use crate::ID_CHARS_MAX;

/// Limit of one workflow task when its run does not say (Temporal's).
pub const TASK_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest start-to-close of a workflow task that keeps failing (Temporal's).
pub const TASK_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// How long a worker may go on asking for another task in the middle of one (Temporal's).
pub const TASK_HEARTBEAT_MAX: Duration = Duration::from_secs(30 * 60);
/// Things that happen in one [`Wake`](crate::Command::Wake): at three items each of about 300
/// bytes they stay well below a log record of 512 KiB.
pub const WAKE_ITEMS_MAX: usize = 256;
/// Log lines kept of an attempt: enough to see why it failed.
pub const REPORT_LINES_MAX: usize = 100;
/// Bytes of log lines kept of an attempt: a record holds many attempts.
pub const REPORT_BYTES_MAX: usize = 16 * 1024;
/// Metrics kept of an attempt; manifests declare a handful.
pub const REPORT_METRICS_MAX: usize = 64;
/// Longest chain of attempts: attempt numbers are 32 bits in the API and signed there.
pub const ATTEMPTS_MAX: u32 = i32::MAX as u32;
/// Longest duration and wait: 100 years, so that no sum of moments overflows.
pub const DURATION_MAX: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Bytes of what a re-driven run may take over: with the copies in its own markers well below the
/// bytes a history may have.
pub const REDRIVE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// What is allowed. [`Limits::default`] gives the documented figures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Characters of an id or a name.
    pub id_chars_max: usize,
    /// Bytes of one input, result, failure or heartbeat.
    pub blob_bytes_max: usize,
    /// Bytes of a memo.
    pub memo_bytes_max: usize,
    /// Events of a history; beyond, the run is terminated.
    pub history_events_max: u64,
    /// Bytes of a history; beyond, the run is terminated.
    pub history_bytes_max: u64,
    /// Events from which a task suggests to continue as new.
    pub history_events_suggest: u64,
    /// Bytes from which a task suggests to continue as new.
    pub history_bytes_suggest: u64,
    /// Activities open at once.
    pub activities_max: usize,
    /// Timers open at once.
    pub timers_max: usize,
    /// Children open at once.
    pub children_max: usize,
    /// Signals to others that are not acknowledged.
    pub external_signals_max: usize,
    /// Requests to others to end that are not acknowledged.
    pub external_cancels_max: usize,
    /// Signals a run takes in its life.
    pub signals_max: u64,
    /// Events that wait for a started workflow task.
    pub buffered_events_max: usize,
    /// Updates accepted and not completed.
    pub updates_open_max: usize,
    /// Updates of a run in its life.
    pub updates_max: usize,
    /// Decisions in one command.
    pub decisions_max: usize,
    /// Other runs that ever sent this one a message.
    pub inbox_sources_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            id_chars_max: ID_CHARS_MAX,
            blob_bytes_max: 2 * 1024 * 1024,
            memo_bytes_max: 2 * 1024 * 1024,
            history_events_max: 51_200,
            history_bytes_max: 50 * 1024 * 1024,
            history_events_suggest: 4_096,
            history_bytes_suggest: 4 * 1024 * 1024,
            activities_max: 2_000,
            // Temporal has no bound; a run with more is not waiting, it is a queue.
            timers_max: 10_000,
            children_max: 2_000,
            external_signals_max: 2_000,
            external_cancels_max: 2_000,
            signals_max: 10_000,
            buffered_events_max: 100,
            updates_open_max: 10,
            updates_max: 2_000,
            // The widest legal fan-out of everything pending, twice.
            decisions_max: 20_000,
            // Each signal could come from a run of its own, each child answers once.
            inbox_sources_max: 20_000,
        }
    }
}
