//! A server in this process, on ports that are free, over a project of its own.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use reflux_server::holder::{Holder, Mode};
use reflux_server::net::{Addresses, App, Server};
use reflux_server::{Config, Project};
use reqwest::{Method, StatusCode};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A server, its project, and a client.
pub struct Served {
    pub app: Arc<App>,
    pub http: SocketAddr,
    pub grpc: SocketAddr,
    pub client: reqwest::Client,
    holder: Option<Holder>,
    stop: Option<oneshot::Sender<()>>,
    serving: JoinHandle<()>,
    dir: tempfile::TempDir,
}

impl Served {
    pub async fn start() -> Self {
        Self::over(tempfile::tempdir().unwrap()).await
    }

    /// A server over a directory that another one left.
    pub async fn over(dir: tempfile::TempDir) -> Self {
        let project = Project::at(dir.path()).unwrap();
        let of = project.clone();
        let holder = tokio::task::spawn_blocking(move || Holder::take(&of, Mode::Work));
        let holder = holder.await.unwrap().unwrap().unwrap();
        let config = Config::load(&project).unwrap();
        let app = App::new(holder.service().clone(), project, config);
        let free = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
        let wanted = Addresses { grpc: free, http: free };
        let server = Server::bind(app.clone(), wanted).await.unwrap();
        let Addresses { grpc, http } = server.addresses();
        let (stop, stopped) = oneshot::channel();
        let serving = tokio::spawn(async move {
            server.serve(async move { drop(stopped.await) }).await.unwrap();
        });
        let client = reqwest::Client::new();
        let (holder, stop) = (Some(holder), Some(stop));
        let served = Self { app, http, grpc, client, holder, stop, serving, dir };
        served.ready().await;
        served
    }

    /// Waits until the ports answer more than that they will.
    async fn ready(&self) {
        for _ in 0..1_000 {
            if self.get("/readyz").await.0 == StatusCode::OK {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("the server does not become ready");
    }

    pub fn root(&self) -> &Path {
        self.dir.path()
    }

    /// Ends the server and starts another over what it left.
    pub async fn again(self) -> Self {
        Self::over(self.end().await).await
    }

    /// Ends the server in order.
    pub async fn end(mut self) -> tempfile::TempDir {
        drop(self.stop.take());
        self.serving.await.unwrap();
        drop(self.app);
        let holder = self.holder.take().unwrap();
        tokio::task::spawn_blocking(move || holder.close(|_| true)).await.unwrap();
        self.dir
    }

    /// Lets the server drain while its streams are open.
    pub fn drain(&mut self) {
        drop(self.stop.take());
    }

    /// What lets a caller change something, if the server asks for it.
    pub fn bearer(&self) -> Option<String> {
        let token = std::fs::read_to_string(self.root().join(".reflux/token")).ok()?;
        Some(format!("Bearer {}", token.trim()))
    }

    /// A request over gRPC that may change something.
    pub fn signed<T>(&self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(bearer) = self.bearer() {
            request.metadata_mut().insert("authorization", bearer.parse().unwrap());
        }
        request
    }

    /// A request over HTTP that may change something.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.client.request(method, self.url(path));
        match self.bearer() {
            Some(bearer) => request.header("authorization", bearer),
            None => request,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.request(method, path);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        told(request.send().await.unwrap()).await
    }

    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        self.ask(Method::GET, path, None).await
    }

    /// A request that must be done.
    pub async fn post(&self, path: &str, body: Value) -> Value {
        let (status, answer) = self.ask(Method::POST, path, Some(body)).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    /// A read that must be answered.
    pub async fn see(&self, path: &str) -> Value {
        let (status, answer) = self.get(path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    pub async fn deploy(&self, text: &str) -> Value {
        self.post("/api/v1/flows", serde_json::json!({"source": {"text": text}})).await
    }

    /// The run once it is closed.
    pub async fn closed(&self, run: &str) -> Value {
        for _ in 0..500 {
            let run = self.see(&format!("/api/v1/runs/{run}")).await["run"].clone();
            if run["status"] != "RUN_STATUS_RUNNING" {
                return run;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("run {run} does not close");
    }
}

pub async fn told(response: reqwest::Response) -> (StatusCode, Value) {
    let status = response.status();
    let text = response.text().await.unwrap();
    let value = serde_json::from_str(&text).unwrap_or_else(|_| Value::from(text));
    (status, value)
}
