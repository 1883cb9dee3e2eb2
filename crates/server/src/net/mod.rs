//! The ports of a server: gRPC and HTTP over one engine.
//!
//! ```text
//! :7233 ─ listener ─ gate ─→ grpc.rs ─→ temporal/, api/ ─┐
//! :8233 ─ listener ─ gate ─→ http.rs ─→ rest/, page/ ────┴→ App ─→ Engine
//! ```
//!
//! A listener bounds connections and their pace; the gate says who may do what, and how much.
//! Absent: what a request means; that is said by the face it belongs to.

mod app;
mod audit;
mod body;
mod gate;
mod grpc;
mod health;
mod http;
pub mod limits;
mod listener;
mod origin;
mod patient;
mod rate;
mod refusal;
mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use app::App;
pub use audit::TARGET as AUDIT;
pub(crate) use grpc::Services;
pub use listener::Peer;
pub(crate) use refusal::push_back;

use crate::access::Access;
use crate::config::Listen;
use crate::{Config, Error, Project, telemetry};
use gate::Gate;
use listener::{Face, Port};
use tls::Tls;

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// gRPC. Port 0 takes any that is free.
    pub grpc: SocketAddr,
    /// HTTP. Port 0 takes any that is free.
    pub http: SocketAddr,
}

impl Addresses {
    /// Those of a configuration.
    pub fn of(config: &Listen) -> Self {
        Self {
            grpc: SocketAddr::new(config.ip, config.port),
            http: SocketAddr::new(config.ip, config.http_port),
        }
    }
}

/// A server whose ports are open. Until it has an [`App`] it answers that it is not ready.
pub struct Server {
    ports: Vec<Port>,
    addresses: Addresses,
    faces: Faces,
    app: Option<Arc<App>>,
}

/// What the ports answer with.
struct Faces {
    config: Config,
    access: Arc<Access>,
    grpc: Arc<Face>,
    http: Arc<Face>,
    /// Of the port for figures and probes only.
    figures: Arc<Face>,
    loopback: bool,
}

impl Server {
    /// Opens the ports for an app that is there already.
    ///
    /// # Errors
    /// As [`Server::listen`].
    pub async fn bind(app: Arc<App>, wanted: Addresses) -> Result<Self, Error> {
        let mut server = Self::listen(&app.project, &app.config, wanted).await?;
        server.faces.open(&app)?;
        server.app = Some(app);
        Ok(server)
    }

    /// Opens the ports.
    ///
    /// # Errors
    /// A port is taken; an address may not be used without keys and encryption; certificates,
    /// keys or token cannot be read.
    pub async fn listen(
        project: &Project,
        config: &Config,
        wanted: Addresses,
    ) -> Result<Self, Error> {
        let access = Arc::new(Access::open(project, &config.access)?);
        for address in [wanted.grpc, wanted.http] {
            check_exposed(address, config, &access)?;
        }
        telemetry::metrics::install()?;
        let faces = Faces {
            config: config.clone(),
            access,
            grpc: Face::new(grpc::starting()),
            http: Face::new(http::starting()),
            figures: Face::new(http::starting()),
            loopback: wanted.grpc.ip().is_loopback() && wanted.http.ip().is_loopback(),
        };
        let port = async |name, address, flag, face: &Arc<Face>, http2_only| {
            let protocols: &[&[u8]] = if http2_only { &[b"h2"] } else { &[b"h2", b"http/1.1"] };
            let listener = listen(address, flag).await?;
            let failed = |error| Error::unavailable(format!("cannot tell the port: {error}"));
            let address = listener.local_addr().map_err(failed)?;
            let tls = Tls::open(project, &config.tls, protocols)?;
            let (face, limits) = (face.clone(), config.limits.clone());
            Ok::<_, Error>((Port { name, listener, face, tls, limits, http2_only }, address))
        };
        let (grpc, grpc_address) = port("grpc", wanted.grpc, "--port", &faces.grpc, true).await?;
        let (http, http_address) =
            port("http", wanted.http, "--http-port", &faces.http, false).await?;
        let mut ports = vec![grpc, http];
        if let Some(figures) = config.server.metrics_port {
            let address = SocketAddr::new(wanted.http.ip(), figures);
            ports.push(port("metrics", address, "--metrics-port", &faces.figures, false).await?.0);
        }
        let addresses = Addresses { grpc: grpc_address, http: http_address };
        Ok(Self { ports, addresses, faces, app: None })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Answers until `stop` is over; then takes nothing new and lets what is under way end.
    ///
    /// # Errors
    /// It was not bound to an app.
    pub async fn serve(mut self, stop: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let app = self.app.take().ok_or_else(|| Error::invalid("there is nothing to serve"))?;
        self.run(async move { Ok(app) }, |_| {}, stop).await
    }

    /// As [`Server::serve`], with an app that is still being made: until it is there, requests are
    /// answered with *not ready*, and then `opened` is called.
    ///
    /// # Errors
    /// Why there is no app.
    pub async fn run(
        self,
        making: impl Future<Output = Result<Arc<App>, Error>> + Send,
        opened: impl FnOnce(Addresses),
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), Error> {
        let Self { ports, faces, addresses, .. } = self;
        let closing = watch::Sender::new(false);
        let certificates: Vec<_> = ports.iter().filter_map(|port| port.tls.clone()).collect();
        let mut tasks = JoinSet::new(); // dropping it ends what is left
        tasks.spawn(reload(certificates));
        let mut open = JoinSet::new();
        for port in ports {
            open.spawn(port.serve(closing.subscribe()));
        }
        tokio::pin!(stop);
        let app = tokio::select! {
            made = making => made?,
            () = &mut stop => return Ok(()),
        };
        app.service.serves(addresses);
        if !faces.http.is_open() {
            faces.open(&app)?;
        }
        opened(addresses);
        stop.await;
        let limit = faces.config.server.drain.0;
        let until = Instant::now() + limit;
        app.drain();
        tracing::info!("the server stops: no new work, and what is under way may end");
        tokio::time::sleep(faces.config.server.grace.0.min(limit)).await;
        closing.send_replace(true);
        let ended = async { while open.join_next().await.is_some() {} };
        if tokio::time::timeout_at(until, ended).await.is_err() {
            tracing::warn!("requests were still under way when the server stopped");
        }
        Ok(())
    }
}

impl Faces {
    fn open(&self, app: &Arc<App>) -> Result<(), Error> {
        let gate = Gate::new(app.clone(), self.access.clone(), &self.config, self.loopback)?;
        let calls = grpc::routes(app)?.into_axum_router();
        self.grpc.open(calls.layer(from_fn_with_state(gate.clone(), Gate::grpc)));
        let routes = http::router(app.clone())?;
        self.http.open(routes.layer(from_fn_with_state(gate.clone(), Gate::http)));
        let figures = http::figures(app.clone());
        self.figures.open(figures.layer(from_fn_with_state(gate, Gate::http)));
        Ok(())
    }
}

/// Whoever listens to more than this machine needs to know its callers, and to be known by them.
fn check_exposed(address: SocketAddr, config: &Config, access: &Access) -> Result<(), Error> {
    if address.ip().is_loopback() {
        return Ok(());
    }
    let ip = address.ip();
    if !access.has_keys() {
        return Err(Error::invalid(format!(
            "listening on {ip} lets others in, and there are no keys"
        ))
        .suggest("make one with `reflux keys create NAME`, or listen on 127.0.0.1"));
    }
    if config.tls.cert.is_none() && !config.tls.elsewhere {
        return Err(Error::invalid(format!("listening on {ip} would send keys unencrypted"))
            .suggest("set tls.cert and tls.key, or tls.elsewhere when a proxy in front encrypts"));
    }
    Ok(())
}

/// Reads certificates again on every SIGHUP.
async fn reload(certificates: Vec<Arc<Tls>>) {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut hangups) = signal(SignalKind::hangup()) else { return };
    while hangups.recv().await.is_some() {
        for tls in &certificates {
            match tls.reload() {
                Ok(()) => tracing::info!("the certificates were read again"),
                Err(error) => tracing::error!(%error, "the certificates stay as they were"),
            }
        }
    }
}

async fn listen(address: SocketAddr, flag: &str) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|error| {
        Error::unavailable(format!("cannot listen on {address}: {error}"))
            .suggest(format!("choose another port with {flag}, or end the process that has it"))
    })
}
