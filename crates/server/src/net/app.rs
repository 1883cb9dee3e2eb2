//! What every face of a server shares.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use reflux_engine::Engine;
use tokio::sync::watch;

use crate::service::Service;
use crate::{Config, Project};

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
            streams: Arc::default(),
            draining: watch::Sender::new(false),
        })
    }

    /// Nothing new is taken from now on, and whoever waits is answered.
    pub fn drain(&self) {
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
