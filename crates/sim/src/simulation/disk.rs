//! The disk log under a simulated engine, on a disk that can lose power after any operation.

use std::sync::Arc;
use std::time::Duration;

use reflux_log::fault::FaultyFiles;
use reflux_log::{DiskLog, Error, Log, OnFatal, Options, Planted};

/// The disk and the log on it.
pub(crate) struct Disk {
    files: FaultyFiles,
    log: Option<Arc<DiskLog>>,
    options: Options,
}

impl Disk {
    pub(crate) fn new(files: FaultyFiles, seed: u64, planted: Option<Planted>) -> Self {
        let options = Options {
            first_segment_bytes: 32 * 1024, // a trace fills several segments
            segment_bytes_max: 64 * 1024,
            retry: Duration::ZERO,
            salt: Some(seed),
            on_fatal: OnFatal(Arc::new(|_reason| {})),
            planted,
            ..Options::default()
        };
        Self { files, log: None, options }
    }

    /// Opens the log: recovery of the disk.
    pub(crate) fn open(&mut self) -> Result<(), Error> {
        self.log = None;
        let log = DiskLog::manual(Arc::new(self.files.clone()), self.options.clone())?;
        self.log = Some(Arc::new(log));
        Ok(())
    }

    /// The log; without one, one that has stopped.
    pub(crate) fn log(&self) -> Arc<dyn Log> {
        match &self.log {
            Some(log) => log.clone(),
            None => Arc::new(reflux_log::MemoryLog::manual()),
        }
    }

    /// Commits one batch, or what follows when there is nothing to do.
    pub(crate) fn commit(&self, idle: bool) {
        let Some(log) = &self.log else { return };
        if !log.turn() && idle {
            log.idle();
        }
    }

    /// Commits everything; whether there was anything.
    pub(crate) fn commit_all(&self) -> bool {
        let Some(log) = &self.log else { return false };
        let any = log.turn();
        while log.turn() {}
        any
    }

    /// The disk as the power loss leaves it.
    pub(crate) fn lose_power(&mut self, seed: u64) {
        self.log = None;
        self.files = self.files.crash(seed);
    }

    pub(crate) fn files(&self) -> &FaultyFiles {
        &self.files
    }
}
