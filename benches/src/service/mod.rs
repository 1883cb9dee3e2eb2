//! The server as its users meet it: the built program on ports of its own, driven over gRPC and
//! HTTP from this process.

mod code;
mod flows;
mod http;
mod load;
mod runs;
mod steer;
mod temporal;
mod webhook;

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use tonic::transport::{Channel, Endpoint};

use crate::bed::{Bed, Figure};
use crate::command::program;

/// Figures of the Temporal API, over gRPC.
pub fn temporal(bed: &Bed) -> Vec<Figure> {
    let served = Served::start(bed);
    let mut figures = vec![served.block_on(runs::floor(&served))];
    figures.push(served.block_on(runs::starts(&served)));
    figures.push(served.block_on(runs::signals(&served)));
    figures.extend(served.block_on(code::workflows(&served)));
    figures
}

/// Figures of flows over our own API.
pub fn flows(bed: &Bed) -> Vec<Figure> {
    let served = Served::start(bed);
    served.block_on(flows::remote(&served))
}

/// Figures of operators' calls, over our own API.
pub fn steer(bed: &Bed) -> Vec<Figure> {
    let served = Served::start(bed);
    served.block_on(steer::run(&served))
}

/// Figures of webhooks, over HTTP.
pub fn webhook(bed: &Bed) -> Vec<Figure> {
    let served = Served::with_flows(bed, &[("hook.yaml", webhook::FLOW)]);
    served.block_on(webhook::replies(&served))
}

/// A server process in a project that vanishes with it.
pub struct Served {
    process: Child,
    runtime: tokio::runtime::Runtime,
    grpc: SocketAddr,
    http: SocketAddr,
    project: tempfile::TempDir,
}

impl Served {
    pub fn start(bed: &Bed) -> Self {
        Self::with_flows(bed, &[])
    }

    /// Of a project with these files of flows.
    pub fn with_flows(bed: &Bed, flows: &[(&str, &str)]) -> Self {
        let project = bed.place();
        let directory = project.path().join("flows");
        std::fs::create_dir(&directory).expect("a directory");
        for (name, text) in flows {
            std::fs::write(directory.join(name), text).expect("written");
        }
        let mut process = Command::new(program())
            .args(["server", "--port", "0", "--http-port", "0", "--json"])
            .env("REFLUX_DIR", project.path())
            // All callers come from one address, and its bucket is not what is measured.
            .env("REFLUX_LIMITS_REQUESTS_PER_SECOND", "1000000")
            .stdout(Stdio::piped())
            // Its log is part of its work, and not of the table.
            .stderr(std::fs::File::create(project.path().join("server.log")).expect("a file"))
            .spawn()
            .expect("the server starts");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("its output"))
            .read_line(&mut line)
            .expect("it says where it listens");
        let addresses: Value = serde_json::from_str(&line).expect("its first line is JSON");
        let address = |name: &str| {
            addresses[name].as_str().and_then(|text| text.parse().ok()).expect("an address")
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("threads");
        Self { process, runtime, grpc: address("grpc"), http: address("http"), project }
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// The project that is served.
    pub fn project(&self) -> &Path {
        self.project.path()
    }

    /// A connection of its own.
    pub async fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.grpc))
            .expect("an address")
            .timeout(Duration::from_secs(90))
            .tcp_nodelay(true)
            .connect()
            .await
            .expect("the server answers")
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
