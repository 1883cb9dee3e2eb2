//! Accepts connections, as many as may be, and serves HTTP on them until the port closes.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::http::Request;
use axum::response::Response;
use axum::routing::future::RouteFuture;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::limits::{HEAD_BYTES_MAX, HEADERS_MAX, PING, RESETS_MAX};
use super::patient::Patient;
use super::tls::Tls;
use crate::config::Limits;

/// How long accepting rests when the system gives no more sockets.
const REST: Duration = Duration::from_millis(100);

/// Who is at the other end of a connection. In the extensions of every request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// What a port answers with: first that it is not ready, then the real thing.
pub(super) struct Face {
    starting: Router,
    open: OnceLock<Router>,
}

impl Face {
    pub(super) fn new(starting: Router) -> Arc<Self> {
        Arc::new(Self { starting, open: OnceLock::new() })
    }

    pub(super) fn open(&self, router: Router) {
        // A face opens once; a second router would be a defect of ours that changes nothing.
        drop(self.open.set(router));
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.get().is_some()
    }

    fn router(&self) -> &Router {
        self.open.get().unwrap_or(&self.starting)
    }
}

/// A port that is bound.
pub(super) struct Port {
    pub(super) name: &'static str,
    pub(super) listener: TcpListener,
    pub(super) face: Arc<Face>,
    pub(super) tls: Option<Arc<Tls>>,
    pub(super) limits: Limits,
    /// Whether only HTTP/2 is spoken, as gRPC does.
    pub(super) http2_only: bool,
}

impl Port {
    /// Serves until `closing` is true, then lets requests under way end.
    pub(super) async fn serve(self, mut closing: watch::Receiver<bool>) {
        let Self { name, listener, face, tls, limits, http2_only } = self;
        let seats = Arc::new(Seats::new(&limits));
        let builder = Arc::new(builder(&limits, http2_only));
        let graceful = GracefulShutdown::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = closing.wait_for(|closing| *closing) => break,
            };
            let (stream, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(port = name, %error, "a connection was not accepted");
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            let Some(seat) = Seats::take(&seats, name, address.ip()) else {
                metrics::counter!("reflux_connections_refused_total", "port" => name).increment(1);
                continue; // dropping it closes it
            };
            drop(stream.set_nodelay(true));
            let connection = Connection {
                face: face.clone(),
                peer: Peer(SocketAddr::new(address.ip().to_canonical(), address.port())),
            };
            let (builder, watcher) = (builder.clone(), graceful.watcher());
            let (tls, head) = (tls.clone(), limits.head.0);
            tokio::spawn(async move {
                accept(stream, seat, tls, head, &builder, connection, watcher).await;
            });
        }
        drop(listener);
        graceful.shutdown().await;
    }
}

async fn accept(
    stream: TcpStream,
    seat: Seat,
    tls: Option<Arc<Tls>>,
    head: Duration,
    builder: &Builder<TokioExecutor>,
    connection: Connection,
    watcher: Watcher,
) {
    let Some(tls) = tls else {
        return talk(Patient::new(stream, seat, head), builder, connection, watcher).await;
    };
    match tokio::time::timeout(head, tls.acceptor().accept(stream)).await {
        Ok(Ok(stream)) => {
            talk(Patient::new(stream, seat, head), builder, connection, watcher).await
        }
        Ok(Err(error)) => tracing::debug!(peer = %connection.peer.0, %error, "no TLS"),
        Err(_) => tracing::debug!(peer = %connection.peer.0, "the TLS handshake took too long"),
    }
}

async fn talk<I>(io: I, builder: &Builder<TokioExecutor>, connection: Connection, watcher: Watcher)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let peer = connection.peer.0;
    let service = TowerToHyperService::new(connection);
    let talking = builder.serve_connection_with_upgrades(TokioIo::new(io), service).into_owned();
    if let Err(error) = watcher.watch(talking).await {
        tracing::debug!(%peer, error = error.as_ref() as &dyn std::error::Error, "a connection ended");
    }
}

fn builder(limits: &Limits, http2_only: bool) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    if http2_only {
        builder = builder.http2_only();
    }
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head.0)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(HEAD_BYTES_MAX).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_MAX)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1);
    builder
}

/// The service of one connection.
#[derive(Clone)]
struct Connection {
    face: Arc<Face>,
    peer: Peer,
}

impl<B> tower::Service<Request<B>> for Connection
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        request.extensions_mut().insert(self.peer);
        self.face.router().clone().call(request)
    }
}

/// How many connections there are, in all and by address.
struct Seats {
    all: Arc<Semaphore>,
    by_address_max: u32,
    by_address: Mutex<HashMap<IpAddr, u32>>,
}

/// The place of one connection.
struct Seat {
    seats: Arc<Seats>,
    port: &'static str,
    ip: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Seats {
    fn new(limits: &Limits) -> Self {
        let all = usize::try_from(limits.connections).unwrap_or(1).min(Semaphore::MAX_PERMITS);
        Self {
            all: Arc::new(Semaphore::new(all)),
            by_address_max: limits.connections_per_address,
            by_address: Mutex::default(),
        }
    }

    fn take(seats: &Arc<Self>, port: &'static str, ip: IpAddr) -> Option<Seat> {
        let permit = seats.all.clone().try_acquire_owned().ok()?;
        let mut by_address = seats.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let count = by_address.entry(ip).or_default();
        if *count >= seats.by_address_max {
            return None;
        }
        *count += 1;
        drop(by_address);
        metrics::gauge!("reflux_connections", "port" => port).increment(1.0);
        Some(Seat { seats: seats.clone(), port, ip, _permit: permit })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        metrics::gauge!("reflux_connections", "port" => self.port).decrement(1.0);
        let mut by_address = self.seats.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = by_address.get_mut(&self.ip) {
            *count -= 1;
            if *count == 0 {
                by_address.remove(&self.ip);
            }
        }
    }
}
