//! Crashes, recoveries that crash, and processes that do not know that they are gone.

use reflux_engine::Error;
use reflux_store::Store;

use super::Simulation;
use crate::process::{PARTITIONS, Process};

impl Simulation {
    /// The process is killed; what was not durable is gone.
    pub(super) fn crash(&mut self) -> Result<(), String> {
        self.fault(format_args!("the process is killed"));
        self.restart("killed")
    }

    /// The process is cut off and goes on, while another takes over.
    pub(super) fn become_zombie(&mut self) -> Result<(), String> {
        let Some(live) = self.live.take() else { return Ok(()) };
        self.fault(format_args!("the process is cut off"));
        self.bury_zombie();
        self.zombie = Some((live, self.boots));
        self.on_disk.store = Store::memory(reflux_engine::references);
        self.recover()
    }

    pub(super) fn restart(&mut self, why: &str) -> Result<(), String> {
        let Some(dead) = self.live.take() else { return Ok(()) };
        self.trace.line(format_args!("restart: {why}"));
        self.client.lost(self.boots);
        self.orphans.truncate(20);
        self.orphans.extend(bury(dead));
        // What others have pending is lost with the connection as well.
        self.log.crash();
        self.bury_zombie();
        self.shake_store()?;
        self.recover()
    }

    pub(super) fn bury_zombie(&mut self) {
        if let Some((zombie, boot)) = self.zombie.take() {
            self.client.lost(boot);
            self.orphans.extend(bury(zombie));
        }
    }

    /// A store is written without sync: after a crash it is as some earlier commit left it.
    pub(super) fn shake_store(&mut self) -> Result<(), String> {
        if self.rng.below(6) == 0 {
            self.trace.line(format_args!("the store is deleted"));
            self.on_disk.store = Store::memory(reflux_engine::references);
            return Ok(());
        }
        for partition in 0..PARTITIONS {
            if self.rng.below(2) == 0 {
                continue;
            }
            let store =
                self.on_disk.store.partition(partition).map_err(|error| error.to_string())?;
            let back = store.applied().saturating_sub(self.rng.below(12));
            store.revert_to(back).map_err(|error| error.to_string())?;
            self.trace.line(format_args!("store {partition} goes back to {back}"));
        }
        Ok(())
    }

    /// Boots, again and again while the recovery itself crashes.
    fn recover(&mut self) -> Result<(), String> {
        while self.rng.below(3) == 0 {
            let page = 1 + self.rng.below(4000) as usize;
            let after = self.rng.below(16);
            let log = self.log_for().dying(page, after);
            match Process::open(&self.on_disk, log, &self.clock) {
                Err(Error::Corrupt(text)) if !text.contains("crashed") => return Err(text),
                // It died, or recovered before it could: then nobody ever talks to it.
                Err(_) | Ok(_) => {}
            }
            self.fault(format_args!("recovery is killed after {after} calls of the log"));
            self.shake_store()?;
        }
        self.boot()
    }

    pub(super) fn boot(&mut self) -> Result<(), String> {
        self.boots += 1;
        self.trace.line(format_args!("boot {}", self.boots));
        let opened = Process::open(&self.on_disk, self.log_for(), &self.clock);
        self.live = Some(opened.map_err(|error| format!("it does not recover: {error}"))?);
        self.durable()?;
        self.check_recovered()
    }

    /// What the log ever said is what came back, whatever it came back from.
    fn check_recovered(&self) -> Result<(), String> {
        let Some(live) = self.live.as_ref().filter(|_| self.deferred.is_none()) else {
            return Ok(());
        };
        for (run, facts) in &self.model.runs {
            let kept = live.items_hash(run).map_err(|error| error.to_string())?;
            if kept != facts.items_hash() {
                return Err(format!("{run} is another one after the recovery"));
            }
        }
        let stays = self.model.runs.values().filter(|facts| !facts.run.retired).count();
        let kept = live.runs().map_err(|error| error.to_string())?;
        if kept != stays {
            return Err(format!("{kept} runs came back of {stays}"));
        }
        Ok(())
    }

    /// Without its store, the same state comes back from snapshots and log.
    pub(super) fn rebuild(&mut self) -> Result<(), String> {
        let before = self.state_hash()?;
        drop(self.live.take());
        self.on_disk.store = Store::memory(reflux_engine::references);
        self.boot()?;
        if self.state_hash()? != before {
            return Err("the state is another one after the store was rebuilt".into());
        }
        Ok(())
    }

    fn state_hash(&self) -> Result<[u8; 32], String> {
        let live = self.live.as_ref().ok_or("nothing runs")?;
        live.state_hash().map_err(|error| error.to_string())
    }
}

fn bury(process: Process) -> Vec<crate::process::Call> {
    process.calls
}
