//! One gate: the rules of a node or a queue, and how far they are used up.

use std::time::Duration;

use reflux_core::Timestamp;

use super::bucket::Bucket;
use super::circuit::{Breaker, Circuit, Opened};
use super::{GateState, Held, Rate, Rules, Subject, Verdict};

/// From this many tasks a second on a worker asks for no limit: it is the default of the SDKs.
const WORKER_RATE_NONE: f64 = 100_000.0;

/// One gate.
#[derive(Debug, Default)]
pub(super) struct Gate {
    rules: Rules,
    worker: Option<Rate>,
    bucket: Option<Bucket>,
    circuit: Circuit,
    waits: u64,
}

impl Gate {
    /// Whether its circuit closed, because it has none any more.
    pub fn set(&mut self, rules: Rules, full: bool, now: Timestamp) -> bool {
        self.rules = rules;
        self.fill(full, now);
        rules.circuit.is_none() && self.close()
    }

    pub fn set_worker(&mut self, rate: Option<Rate>, now: Timestamp) -> bool {
        self.worker = rate;
        // A worker's first poll may come right after a restart of ours.
        self.fill(false, now);
        false
    }

    pub fn open(&mut self, opened: Opened) {
        self.circuit = Circuit::Open(opened);
    }

    pub fn close(&mut self) -> bool {
        let was_open = self.is_open();
        self.circuit = Circuit::default();
        was_open
    }

    pub fn look(&mut self, subject: &Subject, now: Timestamp) -> Result<(), Held> {
        if let Some(rule) = self.rules.circuit
            && let Err(until) = self.circuit.look(now)
        {
            return Err(self.by_circuit(subject, rule, until));
        }
        if let (Some(rate), Some(bucket)) = (self.rate(), &mut self.bucket)
            && let Err(until) = bucket.look(rate, now)
        {
            let why = format!("{subject} is called {rate} at most");
            return Err(Held { subject: subject.clone(), until, by_circuit: false, why });
        }
        Ok(())
    }

    pub fn enter(&mut self, now: Timestamp) {
        if let Some(rule) = self.rules.circuit {
            self.circuit.enter(rule, now);
        }
        if let (Some(rate), Some(bucket)) = (self.rate(), &mut self.bucket) {
            // It was looked at before.
            let _ = bucket.take(rate, now);
        }
    }

    pub fn count_wait(&mut self) {
        self.waits = self.waits.saturating_add(1);
    }

    /// Whether its circuit opened or closed.
    pub fn ended(&mut self, verdict: &Verdict, now: Timestamp) -> bool {
        let Some(rule) = self.rules.circuit else { return false };
        match &verdict.failure {
            None => self.circuit.succeeded(verdict.began),
            Some(why) => self.circuit.failed(rule, verdict.began, now, why),
        }
    }

    pub fn is_open(&self) -> bool {
        self.circuit.opened().is_some()
    }

    pub fn has_circuit(&self) -> bool {
        self.rules.circuit.is_some()
    }

    /// Whether nothing would be lost with it. An open circuit waits for its rule: a node may be
    /// registered later than it is remembered.
    pub fn is_nothing(&self) -> bool {
        self.rules == Rules::default() && self.worker.is_none() && !self.is_open()
    }

    pub fn opened(&self) -> Option<&Opened> {
        self.circuit.opened()
    }

    pub fn state(&mut self, subject: &Subject, now: Timestamp) -> GateState {
        let held = self.look(subject, now).err();
        GateState {
            subject: subject.clone(),
            rules: self.rules,
            worker_rate: self.worker,
            opened: self.circuit.opened().cloned(),
            probing: matches!(self.circuit, Circuit::Probing { .. }),
            waits: self.waits,
            held,
        }
    }

    fn rate(&self) -> Option<Rate> {
        match (self.rules.rate, self.worker) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        }
    }

    /// A gate that has a rate has a bucket; one that has one keeps it.
    fn fill(&mut self, full: bool, now: Timestamp) {
        let Some(rate) = self.rate() else {
            self.bucket = None;
            return;
        };
        let new = if full { Bucket::full(now) } else { Bucket::empty(rate, now) };
        self.bucket.get_or_insert(new);
    }

    fn by_circuit(&self, subject: &Subject, rule: Breaker, until: Timestamp) -> Held {
        let failure = self.circuit.opened().map_or("", |opened| &opened.failure);
        let why = match &self.circuit {
            Circuit::Probing { .. } => {
                format!("the circuit of {subject} is open and one attempt tries")
            }
            Circuit::Open(_) | Circuit::Closed { .. } => format!(
                "the circuit of {subject} is open: {} attempts failed within {:?}",
                rule.failures, rule.within
            ),
        };
        let why = if failure.is_empty() { why } else { format!("{why}, the last with: {failure}") };
        Held { subject: subject.clone(), until, by_circuit: true, why }
    }
}

/// Tasks a second as a worker says it: a fraction is so many in a longer time.
pub(super) fn worker_rate(per_second: f64) -> Option<Rate> {
    if !per_second.is_finite() || per_second <= 0.0 || per_second >= WORKER_RATE_NONE {
        return None;
    }
    let interval = Duration::try_from_secs_f64(1.0 / per_second).ok()?;
    // Whole rates of more than one a second keep their burst.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Between 1 and 100,000.
    let count = if per_second >= 1.0 { per_second as u32 } else { 1 };
    Some(Rate { count, per: interval.saturating_mul(count) })
}
