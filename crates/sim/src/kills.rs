//! Kills the real binary while it works, and holds what it had promised against what it then has.
//!
//! The oracle is outside: a receiver on loopback that counts the calls of nodes, and a journal that
//! the client syncs before it goes on. `kill -9` keeps the page cache, so nothing here proves a
//! sync; the crash sweep does.

mod client;
mod receiver;
mod verdict;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use reflux_log::fault::Rng;

use client::Clients;
use receiver::Receiver;

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

/// Where the kills struck.
#[derive(Debug, Default)]
pub struct Report {
    /// All of them.
    pub kills: u32,
    /// While a node was being called.
    pub in_calls: u32,
    /// While runs were open, between calls.
    pub between: u32,
    /// Before the process was ready.
    pub recovering: u32,
    /// While nothing was to be done.
    pub idle: u32,
    /// Runs whose start was acknowledged, all of which ended.
    pub runs: usize,
    /// Signals and steps that were acknowledged.
    pub acknowledged: usize,
    /// Calls that the receiver counted.
    pub calls: usize,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} kills: {} while a node was called, {} between calls of open runs, {} in recovery, {} idle; {} runs, {} acknowledged signals and steps, {} calls: nothing was lost",
            self.kills,
            self.in_calls,
            self.between,
            self.recovering,
            self.idle,
            self.runs,
            self.acknowledged,
            self.calls
        )
    }
}

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
    let receiver = Receiver::start().map_err(|error| error.to_string())?;
    let clients = Arc::new(Clients::new(dir.path(), &receiver.url)?);
    let over = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..3)
        .map(|nth| {
            let (clients, over) = (clients.clone(), over.clone());
            std::thread::spawn(move || clients.work(nth, &over))
        })
        .collect();
    let mut rng = Rng::new(u64::from(count));
    let mut report = Report { kills: count, ..Report::default() };
    for _ in 0..count {
        one(program, dir.path(), &receiver, &clients, &mut rng, &mut report)?;
    }
    over.store(true, Ordering::Relaxed);
    let last = spawn(program, dir.path())?;
    let finished =
        threads.into_iter().all(|thread| thread.join().is_ok()) && clients.drain(PATIENCE);
    let verdict = if finished {
        verdict::check(&clients, &receiver, &mut report)
    } else {
        Err(format!("runs do not end: {}", clients.unfinished()))
    };
    end(last)?;
    verdict.map(|()| report)
}

/// One life of the process, and its end.
fn one(
    program: &Path,
    dir: &Path,
    receiver: &Receiver,
    clients: &Clients,
    rng: &mut Rng,
    report: &mut Report,
) -> Result<(), String> {
    let mut child = spawn(program, dir)?;
    // Some die on the way up; the others after so many more calls have begun or answers have come.
    if rng.below(6) == 0 {
        std::thread::sleep(Duration::from_micros(rng.below(30_000)));
        match clients.is_up() {
            false => report.recovering += 1,
            true if receiver.open() > 0 => report.in_calls += 1,
            true => report.between += 1,
        }
        return end(child);
    }
    let events = || receiver.events() + clients.events();
    let (from, more, begun) = (events(), 1 + rng.below(24), Instant::now());
    while events() < from + more {
        if let Ok(Some(status)) = child.try_wait() {
            let said = std::fs::read_to_string(dir.join("stderr")).unwrap_or_default();
            return Err(format!("the process ended by itself with {status}: {said}"));
        }
        if begun.elapsed() > PATIENCE {
            drop(end(child));
            return Err(format!("nothing happens after a restart: {}", clients.unfinished()));
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    std::thread::sleep(Duration::from_micros(rng.below(4_000)));
    match (receiver.open(), clients.open()) {
        (0, 0) => report.idle += 1,
        (0, _) => report.between += 1,
        _ => report.in_calls += 1,
    }
    end(child)
}

fn prepare(dir: &Path) -> std::io::Result<()> {
    std::fs::create_dir_all(dir.join("flows"))?;
    std::fs::create_dir_all(dir.join(".reflux"))?;
    std::fs::write(dir.join("flows/keeper.yaml"), KEEPER)?;
    std::fs::write(dir.join("flows/job.yaml"), FLOW)?;
    std::fs::write(dir.join(".reflux/config.toml"), "[net]\nallow = [\"127.0.0.1\"]\n")
}

/// A process that works in the project: it goes on with whatever was left open.
fn spawn(program: &Path, dir: &Path) -> Result<Child, String> {
    let mut command = Command::new(program);
    command.args(["run", "keeper", "--id", "keeper", "--attach"]).arg("--dir").arg(dir);
    let said = std::fs::File::create(dir.join("stderr")).map_err(|error| error.to_string())?;
    command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
    command.spawn().map_err(|error| format!("cannot start {}: {error}", program.display()))
}

/// `kill -9`.
fn end(mut child: Child) -> Result<(), String> {
    child.kill().and_then(|()| child.wait()).map(drop).map_err(|error| error.to_string())
}
