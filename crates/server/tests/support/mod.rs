//! A server on free ports of loopback, over a project of its own.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use reflux_server::access::Scope;
use reflux_server::access::keys::{self, Wanted};
use reflux_server::holder::{Holder, Mode};
use reflux_server::net::{Addresses, App, Server};
use reflux_server::{Config, Project};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Nothing takes this long but what hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub struct Stand {
    pub project: Project,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
    stop: tokio::sync::oneshot::Sender<()>,
    serving: tokio::task::JoinHandle<()>,
    holder: Holder,
    _dir: tempfile::TempDir,
}

impl Stand {
    /// Starts with what is made in the project's directory before.
    pub async fn with(config: Config, prepare: impl FnOnce(&Project)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let project = Project::at(dir.path()).unwrap();
        project.create_dir().unwrap();
        prepare(&project);
        let holder = {
            let project = project.clone();
            tokio::task::spawn_blocking(move || Holder::take(&project, Mode::Work))
                .await
                .unwrap()
                .unwrap()
                .unwrap()
        };
        let app = App::new(holder.service().clone(), project.clone(), config);
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let server = Server::bind(app, Addresses { grpc: any, http: any }).await.unwrap();
        let Addresses { grpc, http } = server.addresses();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let serving = tokio::spawn(async move {
            server.serve(async move { drop(stopped.await) }).await.unwrap();
        });
        Self { project, grpc, http, stop, serving, holder, _dir: dir }
    }

    pub async fn new() -> Self {
        Self::with(Config::default(), |_| {}).await
    }

    /// The local token.
    pub fn token(&self) -> String {
        reflux_server::access::token::read(&self.project).unwrap()
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Stops as a signal would, and waits for the end.
    pub async fn stop(self) {
        drop(self.stop);
        tokio::time::timeout(PATIENCE, self.serving).await.expect("it stops").unwrap();
        tokio::task::spawn_blocking(move || self.holder.close(|_| true)).await.unwrap();
    }

    /// The server still does what it is there for.
    pub async fn lives(&self) {
        let answer = reqwest::get(self.url("/readyz")).await.unwrap();
        assert_eq!(answer.status(), 200);
    }
}

/// A key for a project that no server uses yet.
pub fn key(project: &Project, name: &str, scope: Scope, namespaces: Option<&[&str]>) -> String {
    let namespaces = namespaces.map(|names| names.iter().map(|&name| name.to_owned()).collect());
    let wanted = Wanted { name: name.to_owned(), scope, namespaces, valid: None };
    keys::create(&project.dir().join("keys.json"), wanted).unwrap()
}

/// Sends bytes and gives all that comes back until the other side closes.
pub async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    // It may be closed before everything is written.
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = in_time(stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status code of a raw HTTP/1.1 answer; 0 when there is none.
pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

pub async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("this hangs")
}

/// A gRPC call of raw bytes; the status, which is 0 also when it stands in the trailers.
pub async fn call(at: SocketAddr, path: &str, frame: Vec<u8>, key: Option<&str>) -> (i32, String) {
    let client = reqwest::Client::builder().http2_prior_knowledge().build().unwrap();
    let mut request = client
        .post(format!("http://{at}{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(frame);
    if let Some(key) = key {
        request = request.bearer_auth(key);
    }
    let answer = in_time(request.send()).await.unwrap();
    let text = |name: &str| answer.headers().get(name).map(|v| v.to_str().unwrap().to_owned());
    let status = text("grpc-status").map_or(0, |status| status.parse().unwrap());
    (status, text("grpc-message").unwrap_or_default())
}

/// A message in its frame.
pub fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap();
    [&[0][..], &length.to_be_bytes(), message].concat()
}
