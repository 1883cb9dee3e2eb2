//! Snapshots, trimming and retention: driven step by step, cut short by crashes, on a disk that rots.

use std::time::Duration;

use reflux_engine::Kept;
use reflux_log::{Error as LogError, PartitionId, Seq};
use reflux_store::snapshot;

use super::Simulation;

/// Steps of the keeper at a time: two rounds over all partitions, at most.
const BURST_MAX: u64 = 40;

/// Looks of the keeper until every run has left: each retires more runs than a simulation has.
const LOOKS_MAX: u32 = 20;

/// Between two of them: runs that closed before the clock jumped back stay that much longer.
const LOOK_EVERY: Duration = Duration::from_secs(6 * 3600);

impl Simulation {
    /// The keeper takes some steps. Whatever comes then comes between two of them.
    pub(super) fn keep(&mut self) -> Result<(), String> {
        let on_zombie = self.zombie.is_some() && self.rng.below(4) == 0;
        for _ in 0..1 + self.rng.below(BURST_MAX) {
            let process = match &mut self.zombie {
                Some((zombie, _)) if on_zombie => Some(zombie),
                _ => self.live.as_mut(),
            };
            let Some(process) = process else { return Ok(()) };
            match process.keep() {
                Ok(Some((partition, kept))) => self.kept(partition, kept)?,
                Ok(None) => self.trace.line(format_args!("every partition is kept")),
                Err(error) => {
                    self.trace.line(format_args!("the keeper gives up: {error}"));
                    // Another process may delete what this one has written, and a disk may rot
                    // before it is read back.
                    if self.zombie.is_none() && self.damaged.is_empty() {
                        return Err(format!("no snapshot could be taken: {error}"));
                    }
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn kept(&mut self, partition: usize, kept: Kept) -> Result<(), String> {
        self.trace.line(format_args!("keep {partition}: {kept:?}"));
        match kept {
            Kept::Retained => drop(self.damaged.remove(&partition)),
            Kept::Trimmed => self.check_trimmed(partition as u32)?,
            Kept::Written | Kept::ReadBack | Kept::Collected => {}
        }
        Ok(())
    }

    /// What the log no longer has is in a snapshot that can be read.
    fn check_trimmed(&self, partition: u32) -> Result<(), String> {
        let first = match self.journal().read(PartitionId(partition), Seq(1), 0) {
            Err(LogError::Trimmed { first, .. }) => first,
            Err(error) => return Err(error.to_string()),
            Ok(_) => return Ok(()),
        };
        let place = &self.on_disk.snapshots;
        let found = snapshot::list(place, partition).map_err(|error| error.to_string())?;
        let whole = |(seq, file): &(u64, String)| {
            seq + 1 >= first.0 && snapshot::verify(place, file).is_ok()
        };
        match found.iter().any(whole) {
            true => Ok(()),
            false => Err(format!("partition {partition} begins at {first}, and no snapshot there")),
        }
    }

    pub(super) fn retire(&mut self) -> Result<(), String> {
        self.trace.line(format_args!("the keeper looks for runs that may leave"));
        let retired = self.live.as_ref().map_or(Ok(()), crate::process::Process::retire);
        retired.map_err(|error| error.to_string())
    }

    /// A bit of a snapshot turns over. Two are kept, so that one of them may be lost.
    pub(super) fn rot(&mut self) -> Result<(), String> {
        let partition = self.partition();
        let place = &self.on_disk.snapshots;
        let found = snapshot::list(place, partition as u32).map_err(|error| error.to_string())?;
        let at = self.rng.below(found.len() as u64) as usize;
        let Some((_, file)) = found.get(at).filter(|_| found.len() > 1) else { return Ok(()) };
        if !self.damaged.insert(partition) {
            return Ok(());
        }
        place.damage(file, self.rng.number()).map_err(|error| error.to_string())?;
        self.fault(format_args!("a bit of {file} turns over"));
        Ok(())
    }

    /// Two whole rounds, so that the log is trimmed.
    pub(super) fn trim_all(&mut self) -> Result<(), String> {
        let mut rounds = 0;
        // The first may go on with one that was begun.
        while rounds < 3 {
            let Some(live) = &mut self.live else { return Err("nothing runs".into()) };
            match live.keep() {
                Ok(Some((partition, kept))) => self.kept(partition, kept)?,
                Ok(None) => rounds += 1,
                Err(error) => return Err(format!("no snapshot could be taken: {error}")),
            }
        }
        Ok(())
    }

    /// Every run is closed: when its retention is over, it leaves.
    pub(super) fn retire_all(&mut self) -> Result<(), String> {
        self.clock.advance(self.on_disk.retention);
        for _ in 0..LOOKS_MAX {
            if self.model.runs.values().all(|facts| facts.run.retired) {
                return Ok(());
            }
            self.retire()?;
            self.settle()?;
            if self.live.as_ref().is_some_and(|live| live.log.is_fenced()) {
                self.restart("another process had taken over")?;
            }
            self.clock.advance(LOOK_EVERY);
        }
        let left = self.model.runs.iter().filter(|(_, facts)| !facts.run.retired);
        let left: Vec<String> = left.map(|(run, _)| run.to_string()).collect();
        Err(format!("closed runs do not leave: {}", left.join("; ")))
    }
}
