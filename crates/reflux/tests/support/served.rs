//! A server process over a project.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Stdio};
use std::time::Instant;

use serde_json::Value;

use super::{PATIENCE, Project};

/// `reflux server` over a project, killed when dropped.
pub struct Served {
    child: Child,
    /// `host:port` of gRPC.
    pub grpc: String,
    /// `host:port` of HTTP.
    pub http: String,
}

impl Served {
    /// Starts a server on ports that are free.
    pub fn start(project: &Project) -> Self {
        Self::with(project, &[])
    }

    /// Starts a server on the ports that another one had.
    pub fn again(project: &Project, before: &Before) -> Self {
        Self::with(project, &["--port", &before.grpc_port, "--http-port", &before.http_port])
    }

    /// Starts a server with more arguments; ports are free ones unless they say otherwise.
    pub fn with(project: &Project, more: &[&str]) -> Self {
        let mut args = vec!["server", "--json"];
        for free in ["--port", "--http-port"] {
            if !more.contains(&free) {
                args.extend([free, "0"]);
            }
        }
        args.extend(more);
        let mut child = project.command(&args).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line)
            .unwrap_or_else(|error| panic!("the server said {line:?}: {error}"));
        let address = |name: &str| said[name].as_str().unwrap().to_owned();
        Self { child, grpc: address("grpc"), http: address("http") }
    }

    /// An address of the HTTP port.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    /// Ends it as a crash would.
    pub fn kill(mut self) -> Before {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        let port = |address: &str| address.rsplit(':').next().unwrap().to_owned();
        Before { grpc_port: port(&self.grpc), http_port: port(&self.http) }
    }

    /// Tells it that the project's files have changed.
    pub fn hang_up(&self) {
        let pid = self.child.id().to_string();
        let told = std::process::Command::new("kill").args(["-HUP", &pid]).status().unwrap();
        assert!(told.success());
    }

    /// Ends it as a service manager would; its exit code.
    pub fn terminate(mut self) -> i32 {
        let pid = self.child.id().to_string();
        let told = std::process::Command::new("kill").args(["-TERM", &pid]).status().unwrap();
        assert!(told.success());
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code().unwrap_or(-1);
            }
            assert!(begun.elapsed() < PATIENCE, "the server did not end");
            std::thread::sleep(std::time::Duration::from_millis(10));
        }
    }
}

/// The ports of a server that was killed.
pub struct Before {
    grpc_port: String,
    http_port: String,
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
