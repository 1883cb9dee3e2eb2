//! Where the kills struck, and what was held against the promises.

use std::fmt;

/// Numbers of one series of kills.
#[derive(Debug, Default)]
pub struct Report {
    /// All of them.
    pub kills: u32,
    /// While a node was being called.
    pub in_calls: u32,
    /// While runs were open, between calls.
    pub between: u32,
    /// Between the lock of the directory and the first answer.
    pub recovering: u32,
    /// While nothing was to be done.
    pub idle: u32,
    /// Those in recovery, by quarters of its usual length.
    pub quarters: [u32; 4],
    /// The others, by the calls and answers between the restart and the kill: up to 6, 12, 18, 24.
    pub positions: [u32; 4],
    /// Runs whose start was acknowledged, all of which ended.
    pub runs: usize,
    /// Signals and steps that were acknowledged.
    pub acknowledged: usize,
    /// Steps that were called once before they were acknowledged, and never again.
    pub once: usize,
    /// Calls that the receiver counted.
    pub calls: usize,
}

/// Most calls and answers that a process lives to see.
pub(super) const EVENTS_MAX: u64 = 24; // a run has about as many, so every position of one is struck

impl Report {
    /// Kills that struck something under way.
    pub fn in_flight(&self) -> u32 {
        self.in_calls + self.between + self.recovering
    }

    /// Notes a kill `part / whole` into the usual length of a recovery.
    pub(super) fn in_recovery(&mut self, part: u64, whole: u64) {
        self.recovering += 1;
        count(&mut self.quarters, part, whole);
    }

    /// Notes a kill that many events after the restart.
    pub(super) fn at_work(&mut self, events: u64, called: bool, open: bool) {
        match (called, open) {
            (true, _) => self.in_calls += 1,
            (false, true) => self.between += 1,
            (false, false) => self.idle += 1,
        }
        count(&mut self.positions, events.saturating_sub(1), EVENTS_MAX);
    }
}

fn count(quarters: &mut [u32; 4], part: u64, whole: u64) {
    let quarter = usize::try_from(part * 4 / whole.max(1)).unwrap_or(usize::MAX);
    if let Some(quarter) = quarters.get_mut(quarter.min(3)) {
        *quarter += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |part: u32| part * 100 / self.kills.max(1);
        writeln!(
            f,
            "{} kills, {} % of them in flight: {} while a node was called, {} between calls of open runs, {} ({} %) in recovery, {} idle",
            self.kills,
            percent(self.in_flight()),
            self.in_calls,
            self.between,
            self.recovering,
            percent(self.recovering),
            self.idle,
        )?;
        let [first, second, third, fourth] = self.quarters;
        writeln!(
            f,
            "in recovery, by quarters of its usual length: {first} {second} {third} {fourth}"
        )?;
        let [first, second, third, fourth] = self.positions;
        writeln!(
            f,
            "at work, by calls and answers since the restart: 1-6 {first}, 7-12 {second}, 13-18 {third}, 19-24 {fourth}"
        )?;
        write!(
            f,
            "{} runs, {} acknowledged signals and steps, {} steps called exactly once, {} calls: nothing was lost, nothing was called again once acknowledged",
            self.runs, self.acknowledged, self.once, self.calls
        )
    }
}
