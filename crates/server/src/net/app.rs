//! What every face of a server shares.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use reflux_engine::Engine;
use tokio::sync::{Semaphore, watch};

use crate::access::Caller;
use crate::service::Service;
use crate::{Config, Error, Project};

/// Calls that are made at once, each on a thread of its own; further ones wait their turn.
const CALLS_MAX: usize = 64; // most wait for the disk

/// What every face of a server shares.
pub struct App {
    /// The engine.
    pub engine: Engine,
    /// Flows, runs and nodes of the project.
    pub service: Arc<Service>,
    /// The project.
    pub project: Project,
    /// Its configuration.
    pub config: Config,
    calls: Arc<Semaphore>,
    /// Live streams that are open.
    pub(crate) streams: Arc<AtomicUsize>,
    draining: watch::Sender<bool>,
}

impl App {
    /// Over a service and what it was made of.
    pub fn new(service: Arc<Service>, project: Project, config: Config) -> Arc<Self> {
        let engine = service.engine().clone();
        Arc::new(Self {
            engine,
            service,
            project,
            config,
            calls: Arc::new(Semaphore::new(CALLS_MAX)),
            streams: Arc::default(),
            draining: watch::Sender::new(false),
        })
    }

    /// As [`App::call`], in the name of whoever calls.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn call_for<T: Send + 'static>(
        &self,
        caller: Option<&Caller>,
        work: impl FnOnce(&Service) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let name = caller.map(|caller| caller.name.clone());
        self.call(move |service| match name {
            Some(name) => work(&service.acting_for(&name)),
            None => work(service),
        })
        .await
    }

    /// Does work that blocks, on a thread that may.
    ///
    /// # Errors
    /// Those of the work.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Service) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let stopping = |_| Error::unavailable("the server is about to stop");
        let permit = self.calls.clone().acquire_owned().await.map_err(stopping)?;
        let service = self.service.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            work(&service)
        });
        done.await.unwrap_or_else(|_| {
            Err(Error::unavailable("the call broke off")
                .suggest("see whether it was done, then try again"))
        })
    }

    /// Nothing new is taken from now on, no node begins, and whoever waits is answered.
    pub fn drain(&self) {
        self.service.host().hold_back();
        self.draining.send_replace(true);
    }

    /// Whether the server is about to stop.
    pub fn is_draining(&self) -> bool {
        *self.draining.borrow()
    }

    /// Ends when the server is about to stop.
    pub async fn drained(&self) {
        let mut draining = self.draining.subscribe();
        // The sender lives as long as `self`.
        let _ = draining.wait_for(|draining| *draining).await;
    }
}
