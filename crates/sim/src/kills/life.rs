//! One life of the killed process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::PATIENCE;
use super::client::Clients;

/// A process that works in the project: it goes on with whatever was left open.
pub(super) struct Life {
    child: Child,
    dir: PathBuf,
    locked: Option<Instant>,
    watch: Arc<Watch>,
}

/// Somebody who asks the process until it answers.
#[derive(Default)]
struct Watch {
    ready: Mutex<Option<Instant>>,
    over: AtomicBool,
}

impl Life {
    pub(super) fn begin(
        program: &Path,
        dir: &Path,
        clients: &Arc<Clients>,
    ) -> Result<Self, String> {
        let mut command = Command::new(program);
        command.args(["run", "keeper", "--id", "keeper", "--attach"]).arg("--dir").arg(dir);
        let said = std::fs::File::create(dir.join("stderr")).map_err(|error| error.to_string())?;
        command.current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let watch: Arc<Watch> = Arc::default();
        let (clients, watching) = (clients.clone(), watch.clone());
        std::thread::spawn(move || {
            while !watching.over.load(Ordering::Relaxed) {
                if clients.is_up() {
                    *watching.ready.lock().unwrap_or_else(PoisonError::into_inner) =
                        Some(Instant::now());
                    return;
                }
                std::thread::sleep(Duration::from_micros(200));
            }
        });
        Ok(Self { child, dir: dir.to_owned(), locked: None, watch })
    }

    /// Whether it has taken the directory, and so has begun to recover it.
    pub(super) fn has_lock(&mut self) -> bool {
        let holder = std::fs::read_to_string(self.dir.join(".reflux/lock")).unwrap_or_default();
        if self.locked.is_none() && holder.trim() == self.child.id().to_string() {
            self.locked = Some(Instant::now());
        }
        self.locked.is_some()
    }

    /// How long it took from its lock to its first answer, if it has given one.
    pub(super) fn ready_after(&self) -> Option<Duration> {
        let ready = *self.watch.ready.lock().unwrap_or_else(PoisonError::into_inner);
        Some(ready?.saturating_duration_since(self.locked?))
    }

    /// Waits for something that a living process must do.
    pub(super) fn wait_for(
        &mut self,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), String> {
        let begun = Instant::now();
        while !holds(self) {
            if let Ok(Some(status)) = self.child.try_wait() {
                let said = std::fs::read_to_string(self.dir.join("stderr")).unwrap_or_default();
                return Err(format!("the process ended by itself with {status}: {said}"));
            }
            if begun.elapsed() > PATIENCE {
                drop(self.child.kill());
                return Err(format!("waited in vain for {what} after a restart"));
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    /// `kill -9`.
    pub(super) fn end(mut self) -> Result<(), String> {
        self.watch.over.store(true, Ordering::Relaxed);
        self.child.kill().and_then(|()| self.child.wait()).map(drop).map_err(|e| e.to_string())
    }
}
