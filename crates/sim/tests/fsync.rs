//! The real binary syncs between a request and its reply: seen from outside, by its system calls.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const FLOW: &str = "name: stay\nsteps: [{id: stay, wait: {signal: leave}}]\n";

#[test]
fn an_fdatasync_stands_between_a_request_and_its_reply() {
    let strace = Command::new("strace").arg("-V").stdout(Stdio::null()).status();
    assert!(
        strace.is_ok_and(|it| it.success()),
        "strace is missing; install it: apt-get install strace"
    );
    let program = sim::kills::program().unwrap_or_else(|what| panic!("{what}"));
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("flows")).unwrap();
    std::fs::create_dir_all(dir.path().join(".reflux")).unwrap();
    std::fs::write(dir.path().join("flows/stay.yaml"), FLOW).unwrap();
    let trace = dir.path().join("trace");
    let mut traced = Command::new("strace")
        .args(["-f", "-s", "64", "-e", "trace=read,recvfrom,write,sendto,fdatasync,fsync", "-o"])
        .arg(&trace)
        .arg(&program)
        .args(["run", "stay", "--id", "stay", "--dir"])
        .arg(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let run = wait_for(|| ask(dir.path(), r#"{"v":1,"call":"find","name":"stay"}"#));
    let run: serde_json::Value = serde_json::from_str(&run).unwrap();
    let (workflow_id, run_id) = (&run["workflow_id"], &run["run_id"]);
    for n in 0..5 {
        let request = serde_json::json!({"v": 1, "call": "signal", "name": "other", "data": n,
            "request_id": format!("request-{n}"), "run": {"workflow_id": workflow_id, "run_id": run_id}});
        let answer = ask(dir.path(), &request.to_string()).unwrap();
        assert!(answer.contains("\"done\""), "{answer}");
    }
    let leave = serde_json::json!({"v": 1, "call": "signal", "name": "leave", "data": 0,
        "request_id": "leave", "run": {"workflow_id": workflow_id, "run_id": run_id}});
    ask(dir.path(), &leave.to_string()).unwrap();
    traced.wait().unwrap();
    check(&std::fs::read_to_string(&trace).unwrap());
}

/// Every reply to a signal is preceded by a sync that ended after its request was read.
fn check(trace: &str) {
    let (mut asked, mut synced, mut replies) = (false, false, 0);
    for line in trace.lines() {
        let text = line.replace("\\\"", "\"");
        let reads =
            text.contains("read(") || text.contains("recvfrom(") || text.contains("resumed>");
        if reads && text.contains("\"call\":\"signal\"") {
            (asked, synced) = (true, false);
        } else if text.contains("fdatasync") && text.ends_with("= 0") {
            synced = true;
        } else if (text.contains("write(") || text.contains("sendto("))
            && text.contains("\"answer\":\"done\"")
        {
            assert!(asked && synced, "a reply without a sync: {line}");
            replies += 1;
            asked = false;
        }
    }
    println!("{replies} replies, each after an fdatasync");
    assert!(replies >= 5, "only {replies} replies are in the trace:\n{trace}");
}

fn ask(dir: &Path, request: &str) -> Option<String> {
    let mut stream = UnixStream::connect(dir.join(".reflux/socket")).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    writeln!(stream, "{request}").ok()?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).ok()?;
    (!line.contains("\"error\"") || line.contains("\"error\":null")).then_some(line)
}

fn wait_for(mut look: impl FnMut() -> Option<String>) -> String {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "the binary does not come up");
        std::thread::sleep(Duration::from_millis(20));
    }
}
