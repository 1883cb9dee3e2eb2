//! The one process that holds a data directory: it has the lock, the engine and the socket.
//!
//! The lock says who holds; the socket is how others reach it. Both vanish with the process.

mod gate;
mod server;
mod socket;
#[cfg(test)]
mod tests;

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reflux_engine::{CacheBounds, Engine, Options};

pub(crate) use socket::connect;

use gate::Gate;

use crate::host::LocalHost;
use crate::service::{self, Service};
use crate::telemetry::Spans;
use crate::{Config, Error, Kind, Project};

/// How long a holder that leaves waits for answers that are under way.
const ANSWERS_MAX: Duration = Duration::from_secs(1);

/// What a holder does with nodes that are to be called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Calls them.
    Work,
    /// Holds them back for whoever works next: the process is about to end.
    Look,
}

/// A held directory. [`Holder::close`] gives it up in order; dropping it is like a crash.
pub struct Holder {
    service: Arc<Service>,
    gate: Arc<Gate>,
    socket: PathBuf,
    // Released last, after the socket has gone.
    _lock: File,
}

impl Holder {
    /// Takes the directory, recovers it, and serves its socket; `None` when another process
    /// holds it.
    ///
    /// # Errors
    /// The directory cannot be used: its configuration, its nodes or its data are at fault.
    pub fn take(project: &Project, mode: Mode) -> Result<Option<Self>, Error> {
        Self::with(project, mode, &Config::load(project)?)
    }

    /// As [`Holder::take`], with a configuration that is not only the project's.
    ///
    /// # Errors
    /// As [`Holder::take`].
    pub fn with(project: &Project, mode: Mode, config: &Config) -> Result<Option<Self>, Error> {
        project.create_dir()?;
        let Some(lock) = lock(project)? else { return Ok(None) };
        // Others find the socket while the directory is recovered, and wait.
        let (listener, socket) = socket::bind(project)?;
        let held = Self::open(project, mode, config, listener);
        match held {
            Ok((service, gate)) => Ok(Some(Self { service, gate, socket, _lock: lock })),
            Err(error) => {
                drop(std::fs::remove_file(&socket));
                Err(error)
            }
        }
    }

    fn open(
        project: &Project,
        mode: Mode,
        config: &Config,
        listener: UnixListener,
    ) -> Result<(Arc<Service>, Arc<Gate>), Error> {
        let (nodes, secrets) = service::load(project)?;
        let host = LocalHost::new(nodes, secrets, config.run.concurrency)?;
        if mode == Mode::Look {
            host.hold_back();
        }
        if let Some(endpoint) = &config.telemetry.otlp {
            host.trace(Spans::start(endpoint, host.handle())?);
        }
        let options = Options {
            partitions: config.run.partitions,
            retention: config.retention.closed.0,
            quotas: config.quotas.engine().map_err(Error::invalid)?,
            gates: host.gates().clone(),
            cache: CacheBounds { entries: config.cache.entries, bytes: config.cache.bytes },
            ..Options::at(project.data())
        };
        let engine = Engine::open(options, host.clone())?;
        host.connect(engine.clone());
        let service = Arc::new(Service::new(engine, host, project.clone()));
        service.host().serves(&service);
        let gate = server::serve(Arc::downgrade(&service), listener)?;
        Ok((service, gate))
    }

    /// Answers requests of this process.
    pub fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// Gives the directory up: nodes that have begun may end until `enough` says so, those that
    /// have not are left to the next holder, and everything is durable.
    pub fn close(self, enough: impl Fn(usize) -> bool) {
        let host = self.service.host();
        host.hold_back();
        while host.running() > 0 && !enough(host.running()) {
            std::thread::sleep(Duration::from_millis(5));
        }
        // Nobody attaches to a holder that is about to go, and who has is sent to the next one.
        drop(std::fs::remove_file(&self.socket));
        self.gate.shut();
        let begun = Instant::now();
        while !self.gate.is_empty() && begun.elapsed() < ANSWERS_MAX {
            std::thread::sleep(Duration::from_millis(1));
        }
        host.release();
        self.service.engine().shutdown();
        host.stop();
    }
}

/// Whether another process holds a project now.
///
/// # Errors
/// The lock cannot be looked at.
pub fn is_held(project: &Project) -> Result<bool, Error> {
    project.create_dir()?;
    Ok(lock(project)?.is_none())
}

/// Makes the data of a project from a backup; runs in it, and bytes that were read.
///
/// # Errors
/// Somebody holds the directory, it has data already, or the backup is damaged.
pub fn restore(project: &Project, url: &str) -> Result<(u64, u64), Error> {
    project.create_dir()?;
    let Some(_lock) = lock(project)? else {
        return Err(Error::new(Kind::Exists, "another process works in this directory")
            .suggest("end it, or restore into another directory with --dir"));
    };
    let data = project.data();
    if data.read_dir().is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(Error::new(Kind::Exists, format!("{} has data already", data.display()))
            .suggest("restore into another directory with --dir"));
    }
    let manifest = Engine::restore(url, &data)?;
    let partitions = &manifest.partitions;
    Ok((partitions.iter().map(|p| p.entities).sum(), partitions.iter().map(|p| p.bytes).sum()))
}

/// The lock, if nobody has it.
fn lock(project: &Project) -> Result<Option<File>, Error> {
    let path = project.dir().join("lock");
    let failed = |error: std::io::Error| {
        Error::unavailable(format!("cannot lock {}: {error}", path.display()))
            .suggest("use a directory of your own with --dir, or change its permissions")
    };
    let mut options = File::options();
    let mut file = options
        .create(true)
        .truncate(false)
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&path)
        .map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(failed(error)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
    Ok(Some(file))
}
