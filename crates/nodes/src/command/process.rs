//! One process and all that it starts: bounded, and ended as a group.
//!
//! Dropping the future of [`run`] kills the group, so a timeout or a cancellation
//! anywhere above ends everything the command has started.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use reflux_sdk::{Context, Failure, Level};
use rustix::process::{Pid, Signal};
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, Command};

/// As much of stderr as explains a failure.
const STDERR_TAIL_BYTES: usize = 4 << 10;
/// A longer line is kept in pieces.
const LINE_BYTES_MAX: usize = 8 << 10;

/// A program that is just being written cannot be started; an editor is done in a moment.
const BUSY_RETRIES: usize = 10;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// What every command gets of our environment. The rest may hold secrets of the server.
const ENV_PASSED: [&str; 12] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "SHELL",
    "LANG",
    "LC_ALL",
    "LC_CTYPE",
    "TZ",
    "TERM",
    "TMPDIR",
    "SSL_CERT_FILE",
];

/// What to start.
pub(super) struct Spawn<'a> {
    /// The node, for errors.
    pub(super) name: &'a str,
    pub(super) argv: &'a [String],
    pub(super) env: &'a BTreeMap<String, Option<String>>,
    /// The directory it runs in.
    pub(super) project: &'a Path,
    pub(super) stdin: Vec<u8>,
    pub(super) stdout_bytes_max: usize,
}

/// How it ended.
pub(super) struct Finished {
    /// The exit code; none if a signal ended it.
    pub(super) code: Option<i32>,
    signal: Option<i32>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr_tail: String,
}

impl Finished {
    pub(super) fn success(&self) -> bool {
        self.code == Some(0)
    }

    /// The failure of an exit code that is not a good one.
    pub(super) fn failure(&self, name: &str) -> Failure {
        let ended = match (self.code, self.signal) {
            (Some(code), _) => format!("exited with code {code}"),
            (None, Some(signal)) => format!("was ended by signal {signal}"),
            (None, None) => "ended without a code".to_owned(),
        };
        let said = self.stderr_tail.trim_end().lines().next_back().unwrap_or_default();
        let message = if said.is_empty() {
            format!("{name} {ended}")
        } else {
            format!("{name} {ended}: {said}")
        };
        Failure::retryable("Command.Exit", message).with_details(json!({
            "code": self.code,
            "signal": self.signal,
            "stderr": self.stderr_tail,
        }))
    }
}

/// Run a command to its end. Its stderr is the attempt's log, line by line as it comes.
pub(super) async fn run(ctx: &Context, spawn: Spawn<'_>) -> Result<Finished, Failure> {
    let mut child = start(ctx, &spawn).await?;
    let group = Group::of(&child);
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let lost = |e: io::Error| Failure::retryable("Command.Io", format!("{}: {e}", spawn.name));
    let feed = async { feed(stdin, &spawn.stdin).await.map_err(lost) };
    let collect = collect(stdout, spawn.name, spawn.stdout_bytes_max);
    let listen = async { listen(ctx, stderr).await.map_err(lost) };
    let end = async {
        let status = child.wait().await.map_err(lost)?;
        // What the command left running still holds its pipes, and would hold up the attempt.
        drop(group);
        Ok(status)
    };
    let ((), stdout, stderr_tail, status) = tokio::try_join!(feed, collect, listen, end)?;
    Ok(Finished {
        code: status.code(),
        signal: std::os::unix::process::ExitStatusExt::signal(&status),
        stdout,
        stderr_tail,
    })
}

async fn start(ctx: &Context, spawn: &Spawn<'_>) -> Result<Child, Failure> {
    let Some((program, args)) = spawn.argv.split_first() else {
        return Err(Failure::permanent(
            "Command.Missing",
            format!("{} has an empty command", spawn.name),
        ));
    };
    let project =
        std::path::absolute(spawn.project).unwrap_or_else(|_| spawn.project.to_path_buf());
    let program = program_path(&project, program);
    let mut command = Command::new(&program);
    command
        .args(args)
        .current_dir(&project)
        .env_clear()
        .envs(environment(ctx, spawn, &project))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true);
    for _ in 0..BUSY_RETRIES {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                tokio::time::sleep(BUSY_PAUSE).await
            }
            other => return other.map_err(|error| not_started(spawn.name, &program, &error)),
        }
    }
    command.spawn().map_err(|error| not_started(spawn.name, &program, &error))
}

fn not_started(name: &str, program: &Path, error: &io::Error) -> Failure {
    let program = program.display();
    let missing =
        |what: &str| Failure::permanent("Command.Missing", format!("{name}: {program}: {what}"));
    match error.kind() {
        io::ErrorKind::NotFound => {
            missing("not found, or its first line names an interpreter that is not there")
        }
        io::ErrorKind::PermissionDenied => missing("not executable; run chmod +x on it"),
        _ => Failure::retryable("Command.Start", format!("{name}: {program}: {error}")),
    }
}

/// A name is looked up in PATH; a path is relative to the project.
fn program_path(project: &Path, program: &str) -> PathBuf {
    match program.contains('/') {
        true => project.join(program),
        false => PathBuf::from(program),
    }
}

fn environment(ctx: &Context, spawn: &Spawn<'_>, project: &Path) -> Vec<(OsString, OsString)> {
    let ours = |name: &str| Some((OsString::from(name), std::env::var_os(name)?));
    let passed = ENV_PASSED.iter().filter_map(|name| ours(name));
    let declared = spawn.env.iter().filter_map(|(name, value)| match value {
        Some(value) => Some((name.into(), value.into())),
        None => ours(name),
    });
    let attempt = &ctx.attempt;
    let number = attempt.attempt.to_string();
    let context = [
        ("REFLUX_RUN_ID", attempt.run_id.as_str()),
        ("REFLUX_WORKFLOW_ID", &attempt.workflow_id),
        ("REFLUX_FLOW", &attempt.flow),
        ("REFLUX_STEP", &attempt.step),
        ("REFLUX_ATTEMPT", &number),
        ("REFLUX_IDEMPOTENCY_KEY", &attempt.idempotency_key),
    ];
    let context = context.into_iter().map(|(name, value)| (name.into(), value.into()));
    let project = ("REFLUX_PROJECT".into(), project.as_os_str().to_owned());
    passed.chain(declared).chain(context).chain([project]).collect()
}

async fn feed(stdin: Option<ChildStdin>, input: &[u8]) -> io::Result<()> {
    let Some(mut stdin) = stdin else {
        return Ok(());
    };
    match stdin.write_all(input).await {
        // a command need not read its input
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

async fn collect(
    stdout: Option<impl AsyncRead + Unpin>,
    name: &str,
    bytes_max: usize,
) -> Result<Vec<u8>, Failure> {
    let mut output = Vec::new();
    let Some(stdout) = stdout else {
        return Ok(output);
    };
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read = stdout.take(limit).read_to_end(&mut output).await;
    read.map_err(|e| Failure::retryable("Command.Io", format!("{name}: {e}")))?;
    if output.len() > bytes_max {
        let message = format!(
            "{name} wrote more than {bytes_max} bytes to stdout; write large results to a file and print its path"
        );
        return Err(Failure::permanent("Command.Output", message));
    }
    Ok(output)
}

async fn listen(ctx: &Context, stderr: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let mut tail = Vec::new();
    let Some(mut stderr) = stderr else {
        return Ok(String::new());
    };
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        let length = stderr.read(&mut chunk).await?;
        let Some(read) = chunk.get(..length).filter(|read| !read.is_empty()) else {
            break;
        };
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            line.extend_from_slice(piece);
            if line.ends_with(b"\n") || line.len() >= LINE_BYTES_MAX {
                ctx.log(Level::Info, String::from_utf8_lossy(&line));
                line.clear();
            }
        }
        tail.extend_from_slice(read);
        let surplus = tail.len().saturating_sub(STDERR_TAIL_BYTES);
        tail.drain(..surplus);
    }
    ctx.log(Level::Info, String::from_utf8_lossy(&line));
    Ok(String::from_utf8_lossy(&tail).into_owned())
}

/// The process group of a command; dropping it ends whatever is left in it.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        Self(id.and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // An error means that nothing is left of the group.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}
