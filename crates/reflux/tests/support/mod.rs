//! A project in a directory of its own, the real binary, and an HTTP server that remembers.
#![allow(dead_code, reason = "each test file uses a part of it")]

pub mod browser;
pub mod chain;
pub mod dice;
pub mod rest;
pub mod sdk;
pub mod served;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Longest wait for something that must happen; on a busy machine it may take a while.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a command gave.
#[derive(Debug)]
pub struct Gave {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Gave {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    #[track_caller]
    pub fn with_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }
}

pub struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join(".reflux")).unwrap();
        Self { dir }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        let mode = if text.starts_with("#!") { 0o755 } else { 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// Copies files and directories of the repository's `examples`.
    pub fn copy_example(&self, from: &str, to: &str) {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(from);
        copy(&from, &self.path().join(to));
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reflux"));
        command
            .args(args)
            .current_dir(self.path())
            .env_remove("REFLUX_DIR")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    pub fn run(&self, args: &[&str]) -> Gave {
        let output = self.command(args).output().unwrap();
        Gave {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    pub fn start(&self, args: &[&str]) -> Running {
        let mut command = self.command(args);
        Running { child: command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap() }
    }

    /// Waits until a file is there.
    pub fn wait_for(&self, name: &str) {
        wait_until(name, || self.path().join(name).exists());
    }

    pub fn lines(&self, name: &str) -> usize {
        std::fs::read_to_string(self.path().join(name)).map_or(0, |text| text.lines().count())
    }
}

/// A command that was not waited for.
pub struct Running {
    child: Child,
}

impl Running {
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until the command has said something on stderr.
    pub fn wait_to_say(&mut self, part: &str) {
        // Byte by byte, so that nothing behind it is taken from whoever reads next.
        let stderr = self.child.stderr.as_mut().unwrap();
        let (mut said, mut byte) = (Vec::new(), [0]);
        while !String::from_utf8_lossy(&said).contains(part) {
            stderr.read_exact(&mut byte).unwrap();
            said.push(byte[0]);
        }
    }

    pub fn interrupt(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    }

    pub fn end(mut self) -> Gave {
        let mut stdout = self.child.stdout.take().unwrap();
        let mut stderr = self.child.stderr.take().unwrap();
        let errors = std::thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).unwrap();
            text
        });
        let mut text = String::new();
        stdout.read_to_string(&mut text).unwrap();
        let code = self.child.wait().unwrap().code().unwrap_or(-1);
        Gave { code, stdout: text, stderr: errors.join().unwrap() }
    }
}

#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn copy(from: &Path, to: &Path) {
    if from.is_dir() {
        std::fs::create_dir_all(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(from, to).unwrap();
    }
}

/// One request that a server got.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub body: Value,
    pub began: Instant,
    pub ended: Instant,
}

/// A server on loopback that remembers what it was asked.
pub struct Server {
    pub url: String,
    got: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    /// Answers with what `answer` says: a status and JSON.
    pub fn new(answer: impl Fn(&Request) -> (u16, Value) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let got: Arc<Mutex<Vec<Request>>> = Arc::default();
        let (answer, to) = (Arc::new(answer), got.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, to) = (answer.clone(), to.clone());
                std::thread::spawn(move || serve(stream, &*answer, &to));
            }
        });
        Self { url, got }
    }

    pub fn got(&self) -> Vec<Request> {
        self.got.lock().unwrap().clone()
    }
}

fn serve(
    stream: TcpStream,
    answer: &dyn Fn(&Request) -> (u16, Value),
    to: &Mutex<Vec<Request>>,
) -> Option<()> {
    let mut from = BufReader::new(stream.try_clone().ok()?);
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut length = 0;
    loop {
        let mut header = String::new();
        from.read_line(&mut header).ok()?;
        if header.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = header.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    let began = Instant::now();
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let mut request = Request { method, path, body, began, ended: began };
    let (status, json) = answer(&request);
    request.ended = Instant::now();
    to.lock().unwrap().push(request);
    let json = json.to_string();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} Status\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{json}",
        json.len()
    )
    .ok()
}
