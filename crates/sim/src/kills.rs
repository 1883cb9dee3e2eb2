//! Kills the real binary while it works, and holds what it had promised against what it then has.
//!
//! The oracle is outside: a receiver on loopback that counts the calls of nodes, and a journal that
//! the client syncs before it goes on. `kill -9` keeps the page cache, so nothing here proves a
//! sync; the crash sweep does.

mod client;
mod life;
mod receiver;
mod report;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use reflux_log::fault::Rng;

pub use report::Report;

use client::Clients;
use life::Life;
use receiver::Receiver;
use report::EVENTS_MAX;

/// The flow that is killed: calls, a timer, a signal.
const FLOW: &str = "name: job
input: {url: string}
steps:
  - {id: a, node: webhook.out, with: {url: '{{ input.url }}/{{ workflow.id }}/a', body: 1}, retry: [100ms, 100ms, 100ms, 1s, 1s]}
  - {id: nap, wait: 40ms, needs: a}
  - {id: b, node: webhook.out, needs: nap, with: {url: '{{ input.url }}/{{ workflow.id }}/b', body: 1}, retry: [100ms, 100ms, 100ms, 1s, 1s]}
  - {id: go, wait: {signal: go}, needs: a}
  - {id: c, node: webhook.out, needs: [b, go], with: {url: '{{ input.url }}/{{ workflow.id }}/c', body: 1}, retry: [100ms, 100ms, 100ms, 1s, 1s]}
";

/// Keeps a process at work until it is killed.
const KEEPER: &str = "name: keeper\nsteps: [{id: stay, wait: {signal: leave}}]\n";

/// Longest wait for a process to come up, or for all runs to end.
const PATIENCE: Duration = Duration::from_secs(120);
/// One kill of so many is meant for a recovery; not every one finds it still under way.
const RECOVERY_EACH: u64 = 4;
/// What a recovery takes before one was seen.
const RECOVERY_FIRST: Duration = Duration::from_millis(5);

/// The binary beside this program, built if it is not there.
///
/// # Errors
/// It cannot be built.
pub fn program() -> Result<PathBuf, String> {
    if let Some(path) = std::env::var_os("REFLUX_BIN") {
        return Ok(path.into());
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let dir = own.ancestors().find(|dir| dir.ends_with("debug") || dir.ends_with("release"));
    let dir = dir.ok_or("this program is not in a target directory; set REFLUX_BIN")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "-p", "reflux"]);
    if dir.ends_with("release") {
        cargo.arg("--release");
    }
    if let Some(target) = dir.parent() {
        cargo.env("CARGO_TARGET_DIR", target);
    }
    let built = cargo.current_dir(env!("CARGO_MANIFEST_DIR")).status();
    match built {
        Ok(status) if status.success() => Ok(dir.join("reflux")),
        Ok(status) => Err(format!("`cargo build -p reflux` ended with {status}")),
        Err(error) => Err(format!("cannot run cargo: {error}")),
    }
}

/// Kills the program so many times, lets everything end, and checks it.
///
/// # Errors
/// What was promised and lost.
pub fn kill(count: u32, program: &Path) -> Result<Report, String> {
    let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
    prepare(dir.path()).map_err(|error| format!("cannot prepare a project: {error}"))?;
    let receiver = Arc::new(Receiver::start().map_err(|error| error.to_string())?);
    let clients = Arc::new(Clients::new(dir.path(), receiver.clone())?);
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..3)
        .map(|nth| {
            let (clients, over) = (clients.clone(), over.clone());
            std::thread::spawn(move || clients.work(nth, &over))
        })
        .collect();
    let mut series = Series {
        program,
        dir: dir.path(),
        receiver: receiver.clone(),
        clients: clients.clone(),
        rng: Rng::new(u64::from(count)),
        recovery: RECOVERY_FIRST,
        report: Report { kills: count, ..Report::default() },
    };
    for _ in 0..count {
        series.one()?;
    }
    let mut report = series.report;
    over.store(true, Ordering::Relaxed);
    let last = Life::begin(program, dir.path(), &clients)?;
    let finished =
        threads.into_iter().all(|thread| thread.join().is_ok()) && clients.drain(PATIENCE);
    let verdict = if finished {
        verdict::check(&clients, &receiver, &mut report)
    } else {
        Err(format!("runs do not end: {}", clients.unfinished()))
    };
    last.end()?;
    verdict.map(|()| report)
}

/// One kill after the other.
struct Series<'a> {
    program: &'a Path,
    dir: &'a Path,
    receiver: Arc<Receiver>,
    clients: Arc<Clients>,
    rng: Rng,
    /// How long a recovery usually takes here.
    recovery: Duration,
    report: Report,
}

impl Series<'_> {
    /// One life of the process, and its end.
    fn one(&mut self) -> Result<(), String> {
        let mut life = Life::begin(self.program, self.dir, &self.clients)?;
        life.wait_for("the lock", |life| life.has_lock())?;
        match self.rng.below(RECOVERY_EACH) {
            0 => self.in_recovery(&life),
            _ => self.at_work(&mut life)?,
        }
        life.end()?;
        self.receiver.bury()
    }

    fn in_recovery(&mut self, life: &Life) {
        let whole = u64::try_from(self.recovery.as_micros()).unwrap_or(u64::MAX).max(1);
        let part = self.rng.below(whole);
        std::thread::sleep(Duration::from_micros(part));
        match life.ready_after() {
            None => self.report.in_recovery(part, whole),
            Some(took) => {
                self.recovery = (self.recovery * 3 + took) / 4;
                let (called, open) = self.under_way();
                self.report.at_work(0, called, open);
            }
        }
    }

    /// Dies after so many more calls have begun or ended, or answers have come.
    fn at_work(&mut self, life: &mut Life) -> Result<(), String> {
        life.wait_for("an answer", |life| life.ready_after().is_some())?;
        self.recovery = (self.recovery * 3 + life.ready_after().unwrap_or_default()) / 4;
        let (receiver, clients) = (&self.receiver, &self.clients);
        let events = || receiver.events() + clients.events();
        let (from, more) = (events(), 1 + self.rng.below(EVENTS_MAX));
        life.wait_for("a call", |_| events() >= from + more)
            .map_err(|what| format!("{what}; open are {}", clients.unfinished()))?;
        std::thread::sleep(Duration::from_micros(self.rng.below(4_000)));
        let (called, open) = self.under_way();
        self.report.at_work(more, called, open);
        Ok(())
    }

    /// Whether a node is being called, and whether a run is open.
    fn under_way(&self) -> (bool, bool) {
        (self.receiver.open() > 0, self.clients.open() > 0)
    }
}

fn prepare(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir.join("flows"))?;
    std::fs::create_dir_all(dir.join(".reflux"))?;
    std::fs::write(dir.join("flows/keeper.yaml"), KEEPER)?;
    std::fs::write(dir.join("flows/job.yaml"), FLOW)?;
    std::fs::write(dir.join(".reflux/config.toml"), "[net]\nallow = [\"127.0.0.1\"]\n")
}
