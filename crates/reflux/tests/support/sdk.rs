//! A server on free ports, and the program of an SDK against it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Project;

/// A scenario takes seconds; this is for a machine that does other things too.
const SCENARIO_MAX: Duration = Duration::from_secs(240);

/// `reflux server` over a project, killed when dropped.
pub struct Server {
    child: Child,
    /// `host:port` of gRPC.
    pub grpc: String,
    /// `host:port` of HTTP.
    pub http: String,
}

impl Server {
    /// Starts a server on ports that are free.
    pub fn start(project: &Project) -> Self {
        Self::start_on(project, "0", "0")
    }

    /// Starts a server on those ports.
    pub fn start_on(project: &Project, grpc: &str, http: &str) -> Self {
        let args = ["server", "--port", grpc, "--http-port", http, "--json"];
        let mut command = project.command(&args);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the server said {line:?}: {error}"));
        let address = |name: &str| said[name].as_str().unwrap().to_owned();
        Self { child, grpc: address("grpc"), http: address("http") }
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) {
        self.end();
    }

    fn end(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Installs what a language needs and gives the directory where it is.
#[track_caller]
pub fn install(language: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/sdk/install");
    let into = Path::new(env!("CARGO_TARGET_TMPDIR")).join("../sdk");
    let status = Command::new(script).arg(&into).arg(language).status().unwrap();
    assert!(status.success(), "tests/sdk/install {language} failed: see above");
    into.join(language).canonicalize().unwrap()
}

/// Runs the program of an SDK against a new server until it ends well.
#[track_caller]
pub fn scenario(mut program: Command) {
    let project = Project::new();
    let server = Server::start(&project);
    let begun = Instant::now();
    let mut child = program.env("TEMPORAL_ADDRESS", &server.grpc).spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if begun.elapsed() > SCENARIO_MAX {
            child.kill().unwrap();
            panic!("the scenario did not end");
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "the scenario failed: see above");
}
