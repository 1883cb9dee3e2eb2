//! What an SDK needs on this machine, and its program against a server.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use super::Project;
use super::served::Served;

/// A scenario takes seconds; this is for a machine that does other things too.
const SCENARIO_MAX: Duration = Duration::from_secs(240);

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
pub fn scenario(program: Command) {
    let project = Project::new();
    succeeds(program, &Served::start(&project));
}

/// Runs the program of an SDK against a server until it ends well.
#[track_caller]
pub fn succeeds(mut program: Command, server: &Served) {
    let mut program = Group::spawn(program.env("TEMPORAL_ADDRESS", &server.grpc));
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = program.leader.try_wait().unwrap() {
            break status;
        }
        assert!(begun.elapsed() < SCENARIO_MAX, "the scenario did not end");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(status.success(), "the scenario failed: see above");
}

/// A process and all that it starts; none of them outlives the test.
pub struct Group {
    pub leader: Child,
}

impl Group {
    pub fn spawn(command: &mut Command) -> Self {
        Self { leader: command.process_group(0).spawn().unwrap() }
    }

    /// SIGKILL, as a crash.
    pub fn kill(self) {}
}

impl Drop for Group {
    fn drop(&mut self) {
        let group = format!("-{}", self.leader.id());
        // It may have ended already.
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.leader.wait();
    }
}
