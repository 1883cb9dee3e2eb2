//! Nothing goes wrong any more: every run must end, or name what it waits for and get it.

use std::sync::Arc;

use reflux_core::{RunKey, Waiting};
use serde_json::json;

use super::{Simulation, approve_name};
use crate::client::{How, Wish, approval};

/// Rounds after which a run that is still open will not end. The longest flow waits 7 hours.
const ROUNDS_MAX: u32 = 3_000;

/// How often a run is sent the signals it waits for.
const NUDGES_MAX: u32 = 12;

impl Simulation {
    pub(super) fn heal(&mut self) -> Result<(), String> {
        self.trace.line(format_args!("healing"));
        self.bury_zombie();
        self.restart("to heal")?;
        let mut nudges = 0;
        for _ in 0..ROUNDS_MAX {
            self.settle()?;
            if self.live.as_ref().is_some_and(|live| live.log.is_fenced()) {
                self.restart("another process had taken over")?;
                continue;
            }
            if self.end_calls()? || self.repeat_all()? {
                continue;
            }
            self.check_overdue()?;
            if self.is_over() {
                return Ok(());
            }
            if self.nudge(nudges < NUDGES_MAX)? {
                nudges += 1;
            } else if !self.sleep()? {
                break;
            }
        }
        Err(format!("stuck: {}", self.open().join("; ")))
    }

    /// Goes on until nothing is under way.
    pub(super) fn settle(&mut self) -> Result<(), String> {
        for _ in 0..10_000 {
            for partition in 0..crate::process::PARTITIONS as usize {
                let now = self.clock.now();
                let Some(live) = &mut self.live else { return Ok(()) };
                let calls = live.turn(partition, now);
                self.called(calls, false)?;
            }
            let pending = self.commit_all();
            self.durable()?;
            let Some(live) = &mut self.live else { return Ok(()) };
            let mut wrote = false;
            while live.materialise() {
                wrote = true;
            }
            let quiet = live.is_quiet();
            self.listen()?;
            if !pending && !wrote && quiet {
                return Ok(());
            }
        }
        Err("it never comes to rest".into())
    }

    fn commit_all(&self) -> bool {
        if let Some(disk) = &self.disk {
            return disk.commit_all();
        }
        let pending = !self.log.pending().is_empty();
        self.log.commit_all();
        pending
    }

    fn end_calls(&mut self) -> Result<bool, String> {
        let calls =
            self.live.as_mut().map(|live| std::mem::take(&mut live.calls)).unwrap_or_default();
        let any = !calls.is_empty();
        for call in calls {
            let how = if call.canceled { How::Canceled } else { self.good(&call) };
            let (run, scheduled) = (call.attempt.run, call.attempt.scheduled);
            self.ask(Wish::Ended { run, scheduled, attempt: call.attempt.attempt, how }, 0)?;
        }
        Ok(any)
    }

    fn repeat_all(&mut self) -> Result<bool, String> {
        let again = std::mem::take(&mut self.client.uncertain);
        let any = !again.is_empty();
        if any {
            // What was refused because the disk was full is taken up again after a while.
            self.clock.advance(std::time::Duration::from_secs(1));
        }
        for asked in again {
            let wish = self.renewed(asked.wish);
            self.ask(wish, asked.repeats + 1)?;
        }
        Ok(any)
    }

    /// Nothing that was due is still to come.
    fn check_overdue(&self) -> Result<(), String> {
        match self.model.next_due() {
            Some((due, run)) if due <= self.now() => {
                Err(format!("a timer was lost: {run} was due at {due}, it is {}", self.now()))
            }
            _ => Ok(()),
        }
    }

    fn is_over(&self) -> bool {
        let done =
            |facts: &crate::model::Facts| !facts.run.is_open() && facts.run.outbox.is_empty();
        self.client.is_idle() && self.model.runs.values().all(done)
    }

    /// Gives open runs what they wait for from outside: what a person must say always, signals
    /// only as long as they are to be sent.
    fn nudge(&mut self, signals: bool) -> Result<bool, String> {
        let open: Vec<(RunKey, Vec<Waiting>)> = self
            .model
            .runs
            .iter()
            .filter(|(_, facts)| facts.run.is_open())
            .map(|(key, facts)| (key.clone(), facts.run.waits_for()))
            .collect();
        let mut any = false;
        for (run, waits) in open {
            let paused = waits.contains(&Waiting::Resume);
            let mut wishes = Vec::new();
            for waiting in &waits {
                if let Waiting::Resolution { scheduled } = waiting {
                    let how = if self.rng.below(2) == 0 {
                        How::Again
                    } else {
                        How::Completed(json!({"v": 1}))
                    };
                    wishes.push(Wish::Resolve { run: run.clone(), scheduled: *scheduled, how });
                }
            }
            let token = |what: &str, tokens: &mut u64| -> Arc<str> {
                *tokens += 1;
                format!("{what}-{tokens}").into()
            };
            if paused && wishes.is_empty() {
                let token = token("resume", &mut self.tokens);
                wishes.push(Wish::Unpause { run: run.clone(), token });
            }
            let workload = self.workloads.iter().filter(|_| signals).find(|it| {
                run.workflow_id.strip_prefix(&*it.name).is_some_and(|rest| {
                    rest.strip_prefix('-').is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
                })
            });
            for name in workload.map_or(&[][..], |it| it.signals) {
                let (token, name) = (token("signal", &mut self.tokens), Arc::from(*name));
                wishes.push(Wish::Signal {
                    run: run.clone(),
                    name,
                    input: json!({"late": true}),
                    token,
                });
            }
            if workload.is_some_and(|it| it.approves) {
                let (token, name) = (token("approve", &mut self.tokens), approve_name());
                wishes.push(Wish::Signal { run: run.clone(), name, input: approval(), token });
            }
            any |= !wishes.is_empty();
            for wish in wishes {
                self.ask(wish, 0)?;
            }
        }
        Ok(any)
    }

    /// Goes to the next moment at which something happens by itself.
    fn sleep(&mut self) -> Result<bool, String> {
        let wake = self.live.as_ref().map(crate::process::Process::next_wake);
        let Some((due, run)) = self.model.next_due() else { return Ok(false) };
        if wake.is_none_or(|wake| wake > due) {
            return Err(format!(
                "a timer was lost: {run} is due at {due}, the engine sleeps longer"
            ));
        }
        let due = due.max(self.now());
        self.trace.line(format_args!("sleep until {due}"));
        self.clock.set(due);
        Ok(true)
    }

    fn open(&self) -> Vec<String> {
        let mut open: Vec<String> = self
            .model
            .runs
            .iter()
            .filter(|(_, facts)| facts.run.is_open() || !facts.run.outbox.is_empty())
            .map(|(key, facts)| format!("{key} waits for {:?}", facts.run.waits_for()))
            .collect();
        if open.is_empty() {
            open.push(format!("{} requests are not answered", self.client.uncertain.len()));
        }
        open
    }
}
