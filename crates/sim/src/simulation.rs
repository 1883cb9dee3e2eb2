//! One seed: a random scheduler picks what happens next, until enough has gone wrong; then
//! everything heals, and everything that was promised must hold.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use reflux_core::{RunKey, Timestamp};
use reflux_engine::{Answer, Attempt, Error};
use reflux_log::fault::Rng;
use reflux_log::{Fault, Log, MemoryLog};
use reflux_store::{Place, Store};
use serde_json::{Value, json};

use crate::client::{Asked, Client, How, Wish};
use crate::clock::Clock;
use crate::failure::Failure;
use crate::flows::{Workload, workloads};
use crate::model::Model;
use crate::oracle::{Next, Oracle};
use crate::planted::Planted;
use crate::process::{Call, OnDisk, PARTITIONS, Process, ProcessLog, Watch};
use crate::trace::{Out, Trace};

mod disk;
mod heal;
mod keep;
mod nodes;
mod outage;
pub(crate) mod sweep;

/// Faults of one seed, at least.
pub const FAULTS_MIN: u32 = 200;

/// Runs that clients start in one seed.
const STARTS_MAX: u64 = 40;

/// What to simulate.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Everything follows from it.
    pub seed: u64,
    /// How much is to go wrong before everything heals.
    pub faults: u32,
    /// A bug to be found.
    pub planted: Option<Planted>,
}

impl Plan {
    /// A seed with the usual number of faults.
    pub fn of(seed: u64) -> Self {
        Self { seed, faults: FAULTS_MIN, planted: None }
    }

    fn command(&self) -> String {
        let faults = match self.faults {
            FAULTS_MIN => String::new(),
            faults => format!(" --faults {faults}"),
        };
        format!("cargo run -p sim -- --seed {}{faults} --trace", self.seed)
    }
}

/// What a simulation went through without breaking a promise.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Hash of the whole trace and of every record.
    pub hash: [u8; 32],
    /// Steps of the scheduler.
    pub steps: u64,
    /// What went wrong.
    pub faults: u32,
    /// Boots, the first included.
    pub boots: u64,
    /// Runs, children included.
    pub runs: u64,
    /// Acknowledgements that were held against the log.
    pub acknowledged: u64,
}

/// A directory for what an engine expects to find on a disk; shared by all simulations.
pub struct Scratch(tempfile::TempDir);

impl Scratch {
    /// A directory that vanishes with this value.
    ///
    /// # Errors
    /// Those of the system.
    pub fn new() -> std::io::Result<Self> {
        let dir = tempfile::tempdir()?;
        std::fs::write(dir.path().join("partitions"), format!("{PARTITIONS}\n"))?;
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Simulates one seed; `out` sees every step.
///
/// # Errors
/// The promise that was broken.
pub fn simulate(plan: Plan, scratch: &Scratch, out: Option<Out>) -> Result<Report, Box<Failure>> {
    let fail = |what, trace| Box::new(Failure { what, trace, command: plan.command() });
    let workloads = workloads().map_err(|what| fail(what, Vec::new()))?;
    let mut simulation =
        Simulation::new(plan, scratch, workloads, out).map_err(|what| fail(what, Vec::new()))?;
    match simulation.run() {
        Ok(()) => Ok(simulation.report()),
        Err(what) => Err(fail(format!("seed {}: {what}", plan.seed), simulation.trace.last())),
    }
}

/// Simulates many seeds on all cores; the failure of the lowest seed, if there is one.
///
/// # Errors
/// The promise that was broken.
pub fn many(
    seeds: std::ops::Range<u64>,
    faults: u32,
    scratch: &Scratch,
) -> Result<Vec<Report>, Box<Failure>> {
    let next = AtomicU64::new(seeds.start);
    let work = || {
        let mut done = Vec::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return Ok(done);
            }
            let plan = Plan { faults, ..Plan::of(seed) };
            match guarded(plan, scratch) {
                Ok(report) => done.push(report),
                Err(failure) => {
                    next.store(seeds.end, Ordering::Relaxed);
                    return Err(failure);
                }
            }
        }
    };
    let cores = std::thread::available_parallelism().map_or(2, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..cores).map(|_| scope.spawn(work)).collect();
        let mut reports = Vec::new();
        for thread in threads {
            if let Ok(done) = thread.join() {
                reports.extend(done?);
            }
        }
        Ok(reports)
    })
}

/// A panic of the engine is a broken promise as well.
fn guarded(plan: Plan, scratch: &Scratch) -> Result<Report, Box<Failure>> {
    let run = std::panic::AssertUnwindSafe(|| simulate(plan, scratch, None));
    std::panic::catch_unwind(run).unwrap_or_else(|_| {
        let what = format!("seed {}: the engine panicked", plan.seed);
        Err(Box::new(Failure { what, trace: Vec::new(), command: plan.command() }))
    })
}

/// What somebody outside was told.
enum Told {
    Called(Box<Attempt>),
    Answered(Box<(Asked, Result<Answer, Error>)>),
}

pub(crate) struct Simulation {
    plan: Plan,
    workloads: &'static [Workload],
    rng: Rng,
    clock: Clock,
    log: MemoryLog,
    /// The log instead, in a crash sweep.
    disk: Option<disk::Disk>,
    /// What was told while nobody could look into the log, to be judged later.
    deferred: Option<Vec<Told>>,
    watch: Arc<Watch>,
    on_disk: OnDisk,
    live: Option<Process>,
    /// A process that does not know yet that another has taken over.
    zombie: Option<(Process, u64)>,
    boots: u64,
    client: Client,
    model: Model,
    oracle: Oracle,
    trace: Trace,
    faults: u32,
    started: u64,
    tokens: u64,
    /// Steps for which a partition's appends stay pending.
    slow: [u32; PARTITIONS as usize],
    /// Attempts of dead processes that may still end.
    orphans: Vec<Call>,
    /// Partitions of which a snapshot was damaged since two of them were read back.
    damaged: BTreeSet<usize>,
}

impl Simulation {
    fn new(
        plan: Plan,
        scratch: &Scratch,
        workloads: &'static [Workload],
        out: Option<Out>,
    ) -> Result<Self, String> {
        let mut rng = Rng::new(plan.seed);
        let on_disk = OnDisk {
            dir: scratch.path().to_path_buf(),
            snapshots: Place::memory().map_err(|error| error.to_string())?,
            store: Store::memory(reflux_engine::references),
            // Some seeds see runs leave while others are under way, some do not.
            retention: Duration::from_secs(3_600 << rng.below(8)),
        };
        Ok(Self {
            plan,
            workloads,
            rng,
            clock: Clock::new(plan.seed),
            log: MemoryLog::manual(),
            disk: None,
            deferred: None,
            watch: Arc::default(),
            on_disk,
            live: None,
            zombie: None,
            boots: 0,
            client: Client::default(),
            model: Model::default(),
            oracle: Oracle::default(),
            trace: Trace::new(out),
            faults: 0,
            started: 0,
            tokens: 0,
            slow: [0; PARTITIONS as usize],
            orphans: Vec::new(),
            damaged: BTreeSet::new(),
        })
    }

    fn run(&mut self) -> Result<(), String> {
        self.boot()?;
        let steps_max = u64::from(self.plan.faults) * 400;
        while self.faults < self.plan.faults && self.trace.steps() < steps_max {
            self.step()?;
            self.listen()?;
        }
        self.finish()
    }

    /// Everything heals, and everything that was promised must hold: also when the log is trimmed
    /// and the store is deleted, and when every run has left.
    fn finish(&mut self) -> Result<(), String> {
        self.heal()?;
        self.oracle.settled(&self.model, self.workloads)?;
        self.rebuild()?;
        self.trim_all()?;
        self.rebuild()?;
        self.retire_all()?;
        self.rebuild()
    }

    fn report(&self) -> Report {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.trace.hash());
        hasher.update(&self.model.hash());
        Report {
            hash: *hasher.finalize().as_bytes(),
            steps: self.trace.steps(),
            faults: self.faults,
            boots: self.boots,
            runs: self.model.runs.len() as u64,
            acknowledged: self.oracle.acknowledged,
        }
    }

    /// Whatever the seed says comes next.
    fn step(&mut self) -> Result<(), String> {
        match self.rng.below(1000) {
            0..300 => self.turn(),
            300..540 => self.commit(),
            540..660 => self.materialise(),
            660..820 => self.node_answers(),
            820..840 => self.keep(),
            840..845 => self.retire(),
            845..870 => self.time_passes(),
            870..930 => self.client_asks(),
            930..950 => self.ask_again(),
            950..972 => self.log_fault(),
            972..980 => self.slow_disk(),
            980..986 => self.clock_jumps(),
            986..989 => self.orphan_answers(),
            989..992 => self.become_zombie(),
            992..998 => self.crash(),
            _ => self.rot(),
        }
    }

    fn fault(&mut self, what: std::fmt::Arguments<'_>) {
        self.faults += 1;
        self.trace.line(format_args!("fault {}: {what}", self.faults));
    }

    fn turn(&mut self) -> Result<(), String> {
        let partition = self.partition();
        let now = self.clock.now();
        let on_zombie = self.zombie.is_some() && self.rng.below(4) == 0;
        let process = match &mut self.zombie {
            Some((zombie, _)) if on_zombie => Some(zombie),
            _ => self.live.as_mut(),
        };
        let Some(process) = process else { return Ok(()) };
        let calls = process.turn(partition, now);
        self.trace.line(format_args!("turn {partition} {on_zombie} at {now}"));
        self.called(calls, on_zombie)
    }

    fn called(&mut self, calls: Vec<Attempt>, by_zombie: bool) -> Result<(), String> {
        for attempt in calls {
            self.trace.line(format_args!(
                "call {} {} attempt {}",
                attempt.run, attempt.activity_id, attempt.attempt
            ));
            match &mut self.deferred {
                Some(deferred) => deferred.push(Told::Called(Box::new(attempt))),
                None => self.oracle.called(&self.model, &attempt, by_zombie)?,
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), String> {
        self.slow.iter_mut().for_each(|steps| *steps = steps.saturating_sub(1));
        let pending = self.log.pending();
        let at = self.rng.below(pending.len() as u64) as usize;
        let Some((partition, seq)) = pending.get(at).copied() else { return Ok(()) };
        if self.slow.get(partition.0 as usize).is_some_and(|steps| *steps > 0) {
            return Ok(());
        }
        self.log.commit_next(partition);
        self.trace.line(format_args!("commit {partition}/{seq}"));
        self.durable()
    }

    /// Something may have become durable.
    fn durable(&mut self) -> Result<(), String> {
        if self.deferred.is_none() {
            self.model.catch_up(&*self.journal())?;
        }
        self.watch.broken().map_or(Ok(()), Err)
    }

    fn materialise(&mut self) -> Result<(), String> {
        let on_zombie = self.rng.below(8) == 0;
        let done = match (&mut self.zombie, &mut self.live) {
            (Some((zombie, _)), _) if on_zombie => zombie.materialise(),
            (_, Some(live)) => live.materialise(),
            (_, None) => false,
        };
        self.trace.line(format_args!("materialise {done}"));
        Ok(())
    }

    fn time_passes(&mut self) -> Result<(), String> {
        let millis = match self.rng.below(10) {
            0..6 => self.rng.below(200),
            6..9 => 500 + self.rng.below(10_000),
            _ => 10_000 + self.rng.below(600_000),
        };
        self.clock.advance(Duration::from_millis(millis));
        self.trace.line(format_args!("time passes: {millis} ms"));
        Ok(())
    }

    fn clock_jumps(&mut self) -> Result<(), String> {
        let by = Duration::from_secs(1 + self.rng.below(6 * 3600));
        if self.rng.below(2) == 0 {
            self.clock.back(by);
            self.fault(format_args!("the clock jumps back by {by:?}"));
        } else {
            self.clock.advance(by);
            self.fault(format_args!("the clock jumps ahead by {by:?}"));
        }
        Ok(())
    }

    fn client_asks(&mut self) -> Result<(), String> {
        let what = self.rng.below(20);
        let wish = match what {
            0..9 if self.started < STARTS_MAX => {
                self.started += 1;
                let workload = self.rng.below(self.workloads.len() as u64) as usize;
                Some(Wish::Start { workload, n: self.started, run_id: self.clock.run_id() })
            }
            9 => {
                let Some(wish) = self.repeated_start() else { return Ok(()) };
                return self.ask(wish, 1);
            }
            _ => {
                let Some((workload, run)) = self.some_run() else { return Ok(()) };
                self.tokens += 1;
                let token: Arc<str> = format!("request-{}", self.tokens).into();
                let workload = self.workloads.get(workload);
                match what {
                    10 => Some(Wish::Cancel { run, token }),
                    11 if self.rng.below(3) == 0 => Some(Wish::Terminate { run }),
                    12 => Some(Wish::Pause { run, token }),
                    13 | 14 => Some(Wish::Unpause { run, token }),
                    15 if workload.is_some_and(|it| it.approves) => {
                        let (name, input) = (self::approve_name(), crate::client::approval());
                        Some(Wish::Signal { run, name, input, token })
                    }
                    _ => {
                        let names = workload.map_or(&[][..], |it| it.signals);
                        let at = self.rng.below(names.len() as u64) as usize;
                        let name: Arc<str> =
                            names.get(at).copied().unwrap_or("nobody-waits").into();
                        Some(Wish::Signal { run, name, input: json!({ "token": *token }), token })
                    }
                }
            }
        };
        wish.map_or(Ok(()), |wish| self.ask(wish, 0))
    }

    /// The same start under another run id: as a client that was not sure does.
    fn repeated_start(&mut self) -> Option<Wish> {
        let at = self.rng.below(self.oracle.starts.len() as u64) as usize;
        let (n, (workload, _)) = self.oracle.starts.iter().nth(at)?;
        Some(Wish::Start { workload: *workload, n: *n, run_id: self.clock.run_id() })
    }

    fn some_run(&mut self) -> Option<(usize, RunKey)> {
        let at = self.rng.below(self.oracle.starts.len() as u64) as usize;
        self.oracle.starts.values().nth(at).cloned()
    }

    fn ask(&mut self, wish: Wish, repeats: u32) -> Result<(), String> {
        let Some(live) = &self.live else { return Ok(()) };
        let Some((number, request)) =
            self.client.ask(wish.clone(), repeats, self.boots, self.workloads)
        else {
            return Ok(());
        };
        live.submit(request);
        self.trace.line(format_args!("ask {number} ({repeats}): {}", short(&wish)));
        Ok(())
    }

    fn ask_again(&mut self) -> Result<(), String> {
        let at = self.rng.below(self.client.uncertain.len() as u64) as usize;
        if at >= self.client.uncertain.len() {
            return Ok(());
        }
        let asked = self.client.uncertain.swap_remove(at);
        let wish = self.renewed(asked.wish);
        self.ask(wish, asked.repeats + 1)
    }

    fn renewed(&mut self, wish: Wish) -> Wish {
        match wish {
            Wish::Start { workload, n, .. } => {
                Wish::Start { workload, n, run_id: self.clock.run_id() }
            }
            wish => wish,
        }
    }

    /// Takes in the answers that have come.
    fn listen(&mut self) -> Result<(), String> {
        for (number, asked, answer) in self.client.replies() {
            match &answer {
                Ok(answer) => self.trace.line(format_args!(
                    "answer {number}: {} {} {}",
                    answer.run, answer.status, answer.existing
                )),
                Err(error) => {
                    self.trace.line(format_args!("answer {number}: {error}"));
                    let gone = matches!(error, Error::Unavailable(text) if text.contains("another process"));
                    if let Some(live) =
                        self.live.as_ref().filter(|_| gone && asked.boot == self.boots)
                    {
                        live.log.note_fenced();
                    }
                }
            }
            match &mut self.deferred {
                Some(deferred) => deferred.push(Told::Answered(Box::new((asked, answer)))),
                None => self.judge(asked, &answer)?,
            }
        }
        if self.live.as_ref().is_some_and(|live| live.log.is_fenced()) && self.rng.below(8) == 0 {
            return self.restart("another process had taken over");
        }
        Ok(())
    }

    fn judge(&mut self, asked: Asked, answer: &Result<Answer, Error>) -> Result<(), String> {
        match self.oracle.answered(&self.model, &asked, answer)? {
            Next::Nothing => {}
            Next::AskAgain => self.client.uncertain.push(asked),
        }
        Ok(())
    }

    fn partition(&mut self) -> usize {
        self.rng.below(u64::from(PARTITIONS)) as usize
    }

    fn log_for(&self) -> ProcessLog {
        ProcessLog::new(self.journal(), &self.watch, self.plan.planted)
    }

    fn journal(&self) -> Arc<dyn Log> {
        match &self.disk {
            Some(disk) => disk.log(),
            None => Arc::new(self.log.clone()),
        }
    }

    fn log_fault(&mut self) -> Result<(), String> {
        let fault = match self.rng.below(8) {
            0..3 => Fault::Unknown { applied: true },
            3..5 => Fault::Unknown { applied: false },
            5..7 => Fault::Full,
            _ => Fault::Fenced,
        };
        self.log.fail_next(fault);
        self.fault(format_args!("the next append suffers {fault:?}"));
        Ok(())
    }

    fn slow_disk(&mut self) -> Result<(), String> {
        let (partition, steps) = (self.partition(), 5 + self.rng.below(60) as u32);
        if let Some(slow) = self.slow.get_mut(partition) {
            *slow = steps;
        }
        self.fault(format_args!("appends of partition {partition} are slow"));
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

fn approve_name() -> Arc<str> {
    reflux_flow::progress::APPROVAL_SIGNAL.into()
}

/// Without payloads, which may be long.
fn short(wish: &Wish) -> String {
    match wish {
        Wish::Ended { run, scheduled, attempt, how } => {
            let how = match how {
                How::Completed(Value::Object(_)) => "completed".to_owned(),
                how => format!("{how:?}"),
            };
            format!("attempt {attempt} of {scheduled} in {run} {how}")
        }
        Wish::Start { workload, n, run_id } => {
            format!("start {n} of workload {workload} as {run_id}")
        }
        Wish::Signal { run, name, token, .. } => format!("signal {name} {token} to {run}"),
        wish => format!("{wish:?}"),
    }
}
