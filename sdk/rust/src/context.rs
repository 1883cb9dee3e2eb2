//! What a node sees of the attempt it is, and what the host collects from it.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::cancel::{CancelFlag, Cancellation};

/// Which attempt of which step of which run this is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Attempt {
    /// The namespace of the run.
    pub namespace: String,
    /// The run.
    pub run_id: String,
    /// The workflow the run belongs to; the same after a re-drive.
    pub workflow_id: String,
    /// The flow's name.
    pub flow: String,
    /// The step's id in the flow.
    pub step: String,
    /// The activation: `step`, `step#2` for a visit, `step[3]` for an item.
    pub activation_id: String,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The same for every attempt of this activation; different for every other one.
    pub idempotency_key: String,
    /// When the step was scheduled, in milliseconds since 1970.
    pub scheduled_at_ms: u64,
    /// When the host gives the attempt up, in milliseconds since 1970.
    pub deadline_ms: Option<u64>,
    /// The details of the last heartbeat of the attempt before, to continue from.
    pub last_heartbeat: Option<Value>,
}

/// The metric that says how much of an attempt is done.
const PROGRESS: &str = "progress";

/// How much of an attempt is kept. What goes beyond is dropped, oldest log lines first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// Bytes of log text; a longer line is cut.
    pub log_bytes: usize,
    /// Log lines.
    pub log_lines: usize,
    /// Differently named metrics.
    pub metrics: usize,
    /// Bytes of an output as JSON; a node that gathers output stops there.
    pub output_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_bytes: 64 << 10, // the tail a person reads; it is written to the log with the attempt
            log_lines: 1_000,
            metrics: 64, // a metric's name is a column of the archive, not a value
            output_bytes: 8 << 20,
        }
    }
}

/// How much a log line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// For whoever writes the node.
    Debug,
    /// Ordinary progress.
    Info,
    /// Something a person should look at.
    Warn,
    /// Something that went wrong.
    Error,
}

/// One line of an attempt's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// When it was written, in milliseconds since 1970.
    pub at_ms: u64,
    /// How much it matters.
    pub level: Level,
    /// The text, without a line break.
    pub line: String,
}

/// Tokens of a language model that an attempt used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tokens {
    /// Tokens of prompts.
    pub input: u64,
    /// Tokens of answers.
    pub output: u64,
}

/// What an attempt told its host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    /// The tail of the log, oldest first.
    pub logs: Vec<LogLine>,
    /// Lines that no longer fitted into the tail.
    pub logs_dropped: u64,
    /// The last value of each metric.
    pub metrics: BTreeMap<String, f64>,
    /// All tokens together.
    pub tokens: Tokens,
    /// All costs together, in US dollars.
    pub cost_usd: f64,
    /// The details of the last heartbeat.
    pub heartbeat: Option<Value>,
}

/// Something an attempt says while it runs.
#[derive(Debug)]
pub enum Notice<'a> {
    /// A log line.
    Log(&'a LogLine),
    /// The attempt is alive, and how far it got.
    Heartbeat(&'a Value),
    /// A metric's new value.
    Metric(&'a str, f64),
}

/// The side that runs nodes: it has the clock and may listen while an attempt runs.
pub trait Host: Send + Sync {
    /// Milliseconds since 1970.
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
    }

    /// Called from the node's own thread for every notice; must not block.
    fn notice(&self, _notice: Notice<'_>) {}
}

struct SystemHost;

impl Host for SystemHost {}

/// The attempt a node is called for. Cheap to clone; clones share what they collect.
#[derive(Clone)]
pub struct Context {
    /// Which attempt this is.
    pub attempt: Arc<Attempt>,
    /// How much of it is kept.
    pub limits: Limits,
    shared: Arc<Shared>,
}

struct Shared {
    host: Arc<dyn Host>,
    cancel: Arc<CancelFlag>,
    collected: Mutex<Collected>,
}

#[derive(Default)]
struct Collected {
    logs: VecDeque<LogLine>,
    log_bytes: usize,
    report: Report,
}

impl Context {
    /// A context with the system's clock that nobody listens to: for tests and simple hosts.
    pub fn new(attempt: Attempt, limits: Limits) -> Self {
        Self::hosted(attempt, limits, Arc::new(SystemHost))
    }

    /// A context of a host that has its own clock or listens.
    pub fn hosted(attempt: Attempt, limits: Limits, host: Arc<dyn Host>) -> Self {
        Self {
            attempt: Arc::new(attempt),
            limits,
            shared: Arc::new(Shared { host, cancel: Arc::default(), collected: Mutex::default() }),
        }
    }

    /// Whether the host wants the attempt to stop.
    pub fn cancelled(&self) -> bool {
        self.shared.cancel.is_set()
    }

    /// Completes when the host wants the attempt to stop.
    pub fn cancellation(&self) -> Cancellation {
        self.shared.cancel.wait()
    }

    /// For the host: ask the attempt to stop. Idempotent.
    pub fn cancel(&self) {
        self.shared.cancel.set();
    }

    /// The time left until the deadline; none without a deadline, zero when it has passed.
    pub fn remaining(&self) -> Option<Duration> {
        let deadline = self.attempt.deadline_ms?;
        let left_ms = deadline.saturating_sub(self.shared.host.now_ms());
        Some(Duration::from_millis(left_ms))
    }

    /// Tell the host that the attempt is alive and how far it got.
    /// The last details are given to the next attempt as [`Attempt::last_heartbeat`].
    pub fn heartbeat(&self, details: Value) {
        self.shared.host.notice(Notice::Heartbeat(&details));
        self.collected().report.heartbeat = Some(details);
    }

    /// Tell how much is done, from 0 to 1: the metric `progress`, and a sign of life that keeps the
    /// details of the last heartbeat.
    pub fn progress(&self, done: f64) {
        self.metric(PROGRESS, done.clamp(0.0, 1.0));
        let details = self.collected().report.heartbeat.clone();
        let details = details.or_else(|| self.attempt.last_heartbeat.clone());
        self.shared.host.notice(Notice::Heartbeat(&details.unwrap_or_default()));
    }

    /// Keep a log line with the attempt. Text with line breaks becomes several lines.
    pub fn log(&self, level: Level, text: impl AsRef<str>) {
        let at_ms = self.shared.host.now_ms();
        for line in text.as_ref().lines() {
            let line = LogLine { at_ms, level, line: cut(line, self.limits.log_bytes).to_owned() };
            self.shared.host.notice(Notice::Log(&line));
            self.collected().push(line, self.limits);
        }
    }

    /// Set a metric of the attempt; the last value of a name counts, a value that is not finite is dropped.
    pub fn metric(&self, name: &str, value: f64) {
        if !value.is_finite() {
            return;
        }
        self.shared.host.notice(Notice::Metric(name, value));
        let mut collected = self.collected();
        let metrics = &mut collected.report.metrics;
        if metrics.len() < self.limits.metrics || metrics.contains_key(name) {
            metrics.insert(name.to_owned(), value);
        }
    }

    /// Add tokens of a language model.
    pub fn tokens(&self, input: u64, output: u64) {
        let tokens = &mut self.collected().report.tokens;
        tokens.input = tokens.input.saturating_add(input);
        tokens.output = tokens.output.saturating_add(output);
    }

    /// Add a cost in US dollars; one that is not finite or negative is dropped.
    pub fn cost(&self, usd: f64) {
        if usd.is_finite() && usd >= 0.0 {
            self.collected().report.cost_usd += usd;
        }
    }

    /// For the host: take what was collected; what follows starts from nothing.
    pub fn report(&self) -> Report {
        let mut collected = self.collected();
        let Collected { logs, mut report, .. } = std::mem::take(&mut *collected);
        report.logs = logs.into();
        report
    }

    /// What was told so far, without the log.
    #[cfg(feature = "worker")]
    pub(crate) fn so_far(&self) -> Report {
        let collected = self.collected();
        let Report { metrics, tokens, cost_usd, heartbeat, .. } = &collected.report;
        let (metrics, heartbeat) = (metrics.clone(), heartbeat.clone());
        Report { metrics, tokens: *tokens, cost_usd: *cost_usd, heartbeat, ..Report::default() }
    }

    fn collected(&self) -> MutexGuard<'_, Collected> {
        // No code that can panic runs under this lock; a poisoned one still holds a valid state.
        let lock = self.shared.collected.lock();
        lock.unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("attempt", &self.attempt)
            .field("cancelled", &self.cancelled())
            .finish_non_exhaustive()
    }
}

impl Collected {
    fn push(&mut self, line: LogLine, limits: Limits) {
        self.log_bytes += line.line.len();
        self.logs.push_back(line);
        while self.log_bytes > limits.log_bytes || self.logs.len() > limits.log_lines {
            let Some(dropped) = self.logs.pop_front() else {
                break;
            };
            self.log_bytes -= dropped.line.len();
            self.report.logs_dropped += 1;
        }
    }
}

fn cut(line: &str, bytes_max: usize) -> &str {
    line.get(..line.floor_char_boundary(bytes_max)).unwrap_or(line)
}
