//! The crash sweep: a short trace of the whole engine over the disk log loses power after every
//! single operation of the disk, and whatever was told to anybody must still hold.

use std::time::Duration;

use reflux_log::fault::{FaultyFiles, Rng};

use super::{Plan, Scratch, Simulation, Told, disk::Disk};
use crate::client::Wish;
use crate::failure::Failure;
use crate::flows::workloads;

/// Steps of a trace before the power is lost.
const STEPS: u64 = 140;

/// What a sweep went through.
#[derive(Debug, Clone, Copy, Default)]
pub struct Swept {
    /// Crashes: one after each operation of the disk.
    pub crashes: u64,
    /// Answers and calls before the crashes that were held against the disk afterwards.
    pub told: u64,
}

/// Crashes the trace of a seed after each of its I/Os.
///
/// # Errors
/// What was promised and lost.
pub fn sweep(
    seed: u64,
    scratch: &Scratch,
    planted: Option<reflux_log::Planted>,
) -> Result<Swept, Box<Failure>> {
    let command = format!("REFLUX_SWEEP_SEED={seed} cargo test -p sim --test sweep");
    let fail = |what: String, trace| Box::new(Failure { what, trace, command: command.clone() });
    let workloads = workloads().map_err(|what| fail(what, Vec::new()))?;
    let life = |at: Option<u64>| {
        let mut simulation = Simulation::new(Plan::of(seed), scratch, workloads, None)
            .map_err(|what| fail(what, Vec::new()))?;
        let done = simulation.sweep(at, planted);
        done.map_err(|what| {
            fail(format!("seed {seed}, crash after I/O {at:?}: {what}"), simulation.trace.last())
        })
    };
    let (ios, _) = life(None)?;
    let mut swept = Swept::default();
    for at in 0..ios {
        let (_, told) = life(Some(at))?;
        swept.crashes += 1;
        swept.told += told;
    }
    Ok(swept)
}

impl Simulation {
    /// The trace, a loss of power after an operation, and what is left. Operations of the trace,
    /// and how much had been told.
    fn sweep(
        &mut self,
        at: Option<u64>,
        planted: Option<reflux_log::Planted>,
    ) -> Result<(u64, u64), String> {
        let files = FaultyFiles::new();
        if let Some(at) = at {
            files.crash_after(at);
        }
        let mut disk = Disk::new(files, self.plan.seed, planted);
        let opened = disk.open();
        self.disk = Some(disk);
        self.deferred = Some(Vec::new());
        if opened.is_ok() && self.boot().is_ok() {
            self.short_trace()?;
        }
        let ios = self.disk.as_ref().map_or(0, |disk| disk.files().ios());
        // The rest depends on where it crashed.
        self.rng = Rng::new(self.plan.seed ^ at.unwrap_or(u64::MAX).rotate_left(32));
        self.lose_power()?;
        let told = self.deferred.as_ref().map_or(0, Vec::len) as u64;
        self.judge_deferred()?;
        self.finish()?;
        Ok((ios, told))
    }

    fn short_trace(&mut self) -> Result<(), String> {
        for step in 0..STEPS {
            match (step, self.rng.below(10)) {
                (0 | 8 | 16 | 40 | 80, _) => self.sweep_start()?,
                (_, 0..3) => self.turn()?,
                (_, 3..6) => {
                    let idle = self.rng.below(4) == 0;
                    if let Some(disk) = &self.disk {
                        disk.commit(idle);
                    }
                }
                (_, 6) => self.materialise()?,
                (_, 7 | 8) => self.sweep_answer()?,
                _ => self.clock.advance(Duration::from_millis(self.rng.below(2_000))),
            }
            self.listen()?;
        }
        Ok(())
    }

    fn sweep_start(&mut self) -> Result<(), String> {
        // Without the one whose payload is longer than a record of these small segments.
        let choices: Vec<usize> = (0..self.workloads.len())
            .filter(|at| self.workloads.get(*at).is_some_and(|it| &*it.name != "large"))
            .collect();
        let at = self.rng.below(choices.len() as u64) as usize;
        let workload = choices.get(at).copied().unwrap_or_default();
        self.started += 1;
        self.ask(Wish::Start { workload, n: self.started, run_id: self.clock.run_id() }, 0)
    }

    fn sweep_answer(&mut self) -> Result<(), String> {
        let call = self.live.as_mut().and_then(|live| live.calls.pop());
        let Some(call) = call else { return Ok(()) };
        let how = self.good(&call);
        let attempt = call.attempt;
        let (run, scheduled, attempt) = (attempt.run, attempt.scheduled, attempt.attempt);
        self.ask(Wish::Ended { run, scheduled, attempt, how }, 0)
    }

    /// Everything in memory is gone, and of the disk what was not synced; the recovery may lose
    /// power as well.
    fn lose_power(&mut self) -> Result<(), String> {
        self.live = None;
        self.client.lost(self.boots);
        self.shake_store()?;
        let Some(disk) = &mut self.disk else { return Ok(()) };
        disk.lose_power(self.rng.number());
        while self.rng.below(3) == 0 {
            disk.files().crash_after(self.rng.below(14));
            // It dies on the way, or right after.
            drop(disk.open());
            disk.lose_power(self.rng.number());
        }
        disk.open().map_err(|error| format!("the log does not recover: {error}"))?;
        self.boot()
    }

    /// What was told before the crash, held against what the disk still has.
    fn judge_deferred(&mut self) -> Result<(), String> {
        let told = self.deferred.take().unwrap_or_default();
        self.durable()?;
        for told in told {
            match told {
                Told::Called(attempt) => self.oracle.called(&self.model, &attempt, false)?,
                Told::Answered(told) => match *told {
                    (asked, Ok(answer)) => self.judge(asked, &Ok(answer))?,
                    // The process was dying: its errors say nothing.
                    (asked, Err(_)) => self.client.uncertain.push(asked),
                },
            }
        }
        Ok(())
    }
}
