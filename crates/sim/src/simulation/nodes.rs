//! How nodes end their attempts: as they should, badly, twice, late, or for others.

use reflux_flow::payload;
use serde_json::{Value, json};

use super::Simulation;
use crate::client::{How, Wish};
use crate::process::Call;

impl Simulation {
    /// A node ends one of its attempts.
    pub(super) fn node_answers(&mut self) -> Result<(), String> {
        let count = self.live.as_ref().map_or(0, |live| live.calls.len());
        let at = self.rng.below(count as u64) as usize;
        let Some(call) =
            self.live.as_mut().filter(|_| at < count).map(|live| live.calls.swap_remove(at))
        else {
            return Ok(());
        };
        let run = call.attempt.run.clone();
        let (scheduled, attempt) = (call.attempt.scheduled, call.attempt.attempt);
        let mut repeats = 0;
        let how = match self.rng.below(100) {
            _ if call.canceled && self.rng.below(3) > 0 => How::Canceled,
            0..14 => {
                self.fault(format_args!("a node fails"));
                How::Failed
            }
            14..17 => {
                self.fault(format_args!("a node fails for good"));
                How::FailedForGood
            }
            17..22 => {
                self.fault(format_args!("a node ends twice"));
                let how = self.good(&call);
                self.ask(
                    Wish::Ended { run: run.clone(), scheduled, attempt, how: how.clone() },
                    1,
                )?;
                repeats = 1;
                how
            }
            22..25 => {
                self.fault(format_args!("a node ends an attempt that it does not have"));
                let (attempt, how) = (attempt + 1, self.good(&call));
                self.ask(
                    Wish::Ended { run: run.clone(), scheduled, attempt, how: how.clone() },
                    1,
                )?;
                how
            }
            _ => self.good(&call),
        };
        self.ask(Wish::Ended { run, scheduled, attempt, how }, repeats)
    }

    /// A node of a dead process ends its attempt after all.
    pub(super) fn orphan_answers(&mut self) -> Result<(), String> {
        let at = self.rng.below(self.orphans.len() as u64) as usize;
        if at >= self.orphans.len() {
            return Ok(());
        }
        let call = self.orphans.swap_remove(at);
        self.fault(format_args!("a node of a dead process ends"));
        let how = self.good(&call);
        let attempt = call.attempt;
        let wish = Wish::Ended {
            run: attempt.run,
            scheduled: attempt.scheduled,
            attempt: attempt.attempt,
            how,
        };
        self.ask(wish, 1)
    }

    /// What the node gives when all is well.
    pub(super) fn good(&mut self, call: &Call) -> How {
        match &*call.attempt.node {
            "sim.coin" => How::Completed(json!({ "passed": self.rng.below(2) == 0 })),
            "sim.fail" => How::FailedForGood,
            _ => How::Completed(payload::value_of(&call.attempt.input).unwrap_or(Value::Null)),
        }
    }
}
