//! What the engine counts, all names in one place. Counted where it happens, through the `metrics`
//! facade: without a recorder it costs nothing. Who exports calls
//! [`Engine::observe`](crate::Engine::observe) before it renders: some figures are read then.

use std::time::Duration;

use metrics::{
    Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use reflux_core::Command;

use crate::Error;
use crate::matching::{Queue, QueueKind};
use crate::pace::Subject;

/// Queues whose figures are exported: each is a time series of its own.
pub(crate) const QUEUES_MAX: usize = 200;

const TRANSITIONS: &str = "reflux_transitions_total";
const REFUSED: &str = "reflux_requests_refused_total";
const APPEND: &str = "reflux_append_seconds";
const RECORD: &str = "reflux_record_bytes";
const LANES_HELD: &str = "reflux_lanes_held";
const LANES_WAITING: &str = "reflux_lanes_waiting";
const CACHED: &str = "reflux_cached_runs";
const CACHE_HITS: &str = "reflux_cache_hits_total";
const CACHE_MISSES: &str = "reflux_cache_misses_total";
const RESULT_HITS: &str = "reflux_result_cache_hits_total";
const RESULT_MISSES: &str = "reflux_result_cache_misses_total";
const RESULTS: &str = "reflux_result_cache_entries";
const RESULT_BYTES: &str = "reflux_result_cache_bytes";
const TIMER_LAG: &str = "reflux_timer_lag_seconds";
const MATCHES: &str = "reflux_matches_total";
const MATCH_WAIT: &str = "reflux_match_wait_seconds";
const QUEUE_DEPTH: &str = "reflux_queue_depth";
const QUEUE_AGE: &str = "reflux_queue_age_seconds";
const QUEUE_POLLS: &str = "reflux_queue_polls";
const OVER_QUOTA: &str = "reflux_quota_refusals_total";
const CIRCUIT: &str = "reflux_circuit_open";
const HELD: &str = "reflux_limit_waits_total";
const QUERIES: &str = "reflux_queries_open";

/// Tells the recorder what each figure is: called once, after it was installed.
pub fn describe() {
    describe_counter!(TRANSITIONS, "commands that runs took, by `command`");
    describe_counter!(REFUSED, "requests that were refused, by `reason`");
    describe_histogram!(APPEND, Unit::Seconds, "from a decided record to its being durable");
    describe_histogram!(RECORD, Unit::Bytes, "size of a record");
    describe_gauge!(LANES_HELD, "workflow ids whose record is not durable yet, by `partition`");
    describe_gauge!(LANES_WAITING, "workflow ids that have requests waiting, by `partition`");
    describe_gauge!(CACHED, "runs in memory, by `partition`");
    describe_counter!(CACHE_HITS, "runs that were in memory when something was asked of them");
    describe_counter!(CACHE_MISSES, "runs that were read from the store");
    describe_counter!(RESULT_HITS, "calls that a result of another run stands for, by `node`");
    describe_counter!(RESULT_MISSES, "cached calls for which there was no result, by `node`");
    describe_gauge!(RESULTS, "results that other runs may take");
    describe_gauge!(RESULT_BYTES, Unit::Bytes, "size of the results that other runs may take");
    describe_histogram!(TIMER_LAG, Unit::Seconds, "how late the most overdue run was woken");
    describe_counter!(
        MATCHES,
        "tasks handed to polls: `mode` is sync when the poll was there first"
    );
    describe_histogram!(MATCH_WAIT, Unit::Seconds, "how long a task waited for a poll");
    describe_gauge!(QUEUE_DEPTH, "tasks in memory that wait for a poll; a store may have more");
    describe_gauge!(QUEUE_AGE, Unit::Seconds, "how long the first task of a queue waits");
    describe_gauge!(QUEUE_POLLS, "polls that wait for a task");
    describe_counter!(OVER_QUOTA, "starts that were refused, by `namespace` and `quota`");
    describe_gauge!(CIRCUIT, "1 while the circuit of a node or queue is not closed, by `subject`");
    describe_counter!(HELD, "attempts that had to wait, by `subject` and `limit`: rate or circuit");
    describe_gauge!(QUERIES, "questions to runs that are not answered");
}

pub(crate) fn transition(command: &Command) {
    counter!(TRANSITIONS, "command" => name(command)).increment(1);
}

pub(crate) fn refused(error: &Error) {
    let reason = match error {
        Error::NotFound { .. } => "not-found",
        Error::AlreadyStarted { .. } => "already-started",
        Error::Rejected(_) => "rejected",
        Error::Invalid(_) => "invalid",
        Error::Full => "full",
        Error::Busy => "busy",
        Error::Exhausted { .. } => "quota",
        Error::Unavailable(_) => "unavailable",
        Error::Corrupt(_) => "corrupt",
        Error::Stopping => "stopping",
    };
    counter!(REFUSED, "reason" => reason).increment(1);
}

pub(crate) fn appended(took: Duration, bytes: usize) {
    histogram!(APPEND).record(took);
    #[allow(clippy::cast_precision_loss)] // A record has at most 512 KiB.
    histogram!(RECORD).record(bytes as f64);
}

pub(crate) fn looked_up(hit: bool) {
    counter!(if hit { CACHE_HITS } else { CACHE_MISSES }).increment(1);
}

/// Whether a result of another run stands for a call of the node.
pub(crate) fn result_looked_up(node: &str, hit: bool) {
    let name = if hit { RESULT_HITS } else { RESULT_MISSES };
    counter!(name, "node" => node.to_owned()).increment(1);
}

/// How many results other runs may take.
#[allow(clippy::cast_precision_loss)] // Bounded by the configuration.
pub(crate) fn results(entries: usize, bytes: u64) {
    gauge!(RESULTS).set(count(entries));
    gauge!(RESULT_BYTES).set(bytes as f64);
}

pub(crate) fn woken(late: Duration) {
    histogram!(TIMER_LAG).record(late);
}

pub(crate) fn matched(sync: bool, waited: Duration) {
    counter!(MATCHES, "mode" => if sync { "sync" } else { "async" }).increment(1);
    histogram!(MATCH_WAIT).record(waited);
}

/// How a partition is.
pub(crate) fn partition(id: u32, held: usize, waiting: usize, cached: usize) {
    let id = id.to_string();
    gauge!(LANES_HELD, "partition" => id.clone()).set(count(held));
    gauge!(LANES_WAITING, "partition" => id.clone()).set(count(waiting));
    gauge!(CACHED, "partition" => id).set(count(cached));
}

/// How a queue is.
pub(crate) fn queue(queue: &Queue, depth: usize, age: Duration, polls: usize) {
    let kind = match queue.kind {
        QueueKind::Workflow => "workflow",
        QueueKind::Activity => "activity",
    };
    let (namespace, name) = (queue.namespace.to_string(), queue.name.to_string());
    let labels = [
        metrics::Label::new("namespace", namespace),
        metrics::Label::new("queue", name),
        metrics::Label::new("kind", kind),
    ];
    gauge!(QUEUE_DEPTH, labels.iter()).set(count(depth));
    gauge!(QUEUE_AGE, labels.iter()).set(age.as_secs_f64());
    gauge!(QUEUE_POLLS, labels.iter()).set(count(polls));
}

pub(crate) fn over_quota(namespace: &str, quota: &'static str) {
    counter!(OVER_QUOTA, "namespace" => namespace.to_owned(), "quota" => quota).increment(1);
}

pub(crate) fn circuit(subject: &Subject, open: bool) {
    let open = if open { 1.0 } else { 0.0 };
    gauge!(CIRCUIT, "subject" => subject.to_string()).set(open);
}

pub(crate) fn held(subject: &Subject, by_circuit: bool) {
    let limit = if by_circuit { "circuit" } else { "rate" };
    counter!(HELD, "subject" => subject.to_string(), "limit" => limit).increment(1);
}

pub(crate) fn queries(open: usize) {
    gauge!(QUERIES).set(count(open));
}

#[allow(clippy::cast_precision_loss)] // Counts of things in memory.
fn count(of: usize) -> f64 {
    of as f64
}

fn name(command: &Command) -> &'static str {
    match command {
        Command::Start(_) => "start",
        Command::Signal(_) => "signal",
        Command::RequestCancel(_) => "cancel",
        Command::Terminate(_) => "terminate",
        Command::Pause(_) => "pause",
        Command::Unpause(_) => "unpause",
        Command::ClaimActivity { .. } => "claim-activity",
        Command::UnclaimActivity { .. } => "unclaim-activity",
        Command::CompleteActivity { .. } => "complete-activity",
        Command::FailActivity { .. } => "fail-activity",
        Command::TimeOutActivity { .. } => "time-out-activity",
        Command::CancelActivity { .. } => "cancel-activity",
        Command::HeartbeatActivity { .. } => "heartbeat-activity",
        Command::Wake => "wake",
        Command::Deliver { .. } => "deliver",
        Command::AckOutbox { .. } => "ack-outbox",
        Command::DeliveryFailed { .. } => "delivery-failed",
        Command::Recover => "recover",
        Command::Decide(_) => "decide",
        Command::Steer { .. } => "steer",
        Command::Resolve { .. } => "resolve",
        Command::Retire => "retire",
        Command::StartTask { .. } => "start-task",
        Command::CompleteTask(_) => "complete-task",
        Command::FailTask { .. } => "fail-task",
        Command::ResetSticky => "reset-sticky",
    }
}
