//! One holder, and a socket that takes nonsense.

use std::io::{BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::*;
use crate::Kind;
use crate::client::Client;
use crate::protocol::{LINE_BYTES_MAX, ListRuns, Request, Response, read_line};

fn project() -> (tempfile::TempDir, Project) {
    let dir = tempfile::tempdir().unwrap();
    let project = Project::at(dir.path()).unwrap();
    (dir, project)
}

fn held() -> (tempfile::TempDir, Project, Holder) {
    let (dir, project) = project();
    let holder = Holder::take(&project, Mode::Look).unwrap().unwrap();
    (dir, project, holder)
}

/// What the socket answers to some bytes.
fn answer(project: &Project, bytes: &[u8]) -> Option<Value> {
    let mut stream = connect(project).unwrap();
    // The holder may hang up before it has read everything.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(std::net::Shutdown::Write);
    let line = read_line(&mut BufReader::new(stream)).ok()??;
    Some(serde_json::from_slice(&line).unwrap())
}

#[test]
fn a_directory_has_one_holder_at_a_time() {
    let (_dir, project, holder) = held();
    assert!(Holder::take(&project, Mode::Work).unwrap().is_none());
    assert_eq!(restore(&project, "/nowhere").unwrap_err().kind, Kind::Exists);
    let attached = Client::open(&project, Mode::Work).unwrap();
    assert!(!attached.holds());
    assert_eq!(attached.list(ListRuns::default()).unwrap().0, []);
    holder.close(|_| true);
    assert_eq!(attached.list(ListRuns::default()).unwrap().0, []);
    assert!(attached.holds(), "it took over");
    attached.close(|_| true);
}

#[test]
fn who_asks_a_holder_that_leaves_is_sent_to_the_next() {
    let (_dir, project, holder) = held();
    let mut early = connect(&project).unwrap();
    // As long as somebody has the service, the engine is there and has stopped.
    let service = holder.service().clone();
    holder.close(|_| true);
    let list = r#"{"v":1,"call":"list","limit":1}"#;
    writeln!(early, "{list}").unwrap();
    let line = read_line(&mut BufReader::new(early)).unwrap().unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&line).unwrap(), json!({"answer": "leaving"}));
    drop(service);
}

#[test]
fn a_socket_without_an_owner_is_replaced_and_only_the_user_may_connect() {
    let (_dir, project) = project();
    project.create_dir().unwrap();
    let path = project.dir().join("socket");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(UnixStream::connect(&path).is_err(), "nobody listens any more");
    let holder = Holder::take(&project, Mode::Look).unwrap().unwrap();
    assert!(matches!(
        Client::open(&project, Mode::Look).unwrap().call(Request::Ping),
        Ok(Response::Pong { .. })
    ));
    let mode = |name: &str| {
        std::fs::metadata(project.dir().join(name)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!((mode("socket"), mode("lock")), (0o600, 0o600));
    holder.close(|_| true);
    assert!(!path.exists());
}

#[test]
fn nonsense_at_the_socket_gets_an_error_and_nothing_breaks() {
    let (_dir, project, holder) = held();
    for (bytes, kind) in [
        (b"hello\n".to_vec(), Some("invalid")),
        (b"{\"v\":9,\"call\":\"ping\"}\n".to_vec(), Some("version")),
        (b"{\"v\":1,\"call\":\"dance\"}\n".to_vec(), Some("invalid")),
        (b"{\"v\":1,\"call\":\"find\",\"name\":\"\\u0000\"}\n".to_vec(), Some("not_found")),
        (b"{\"v\":1,\"call\":\"items\",\"run\":{\"workflow_id\":\"x\",\"run_id\":\"1\"},\"follow\":true}\n".to_vec(), Some("invalid")),
        ([vec![b'['; 1_000_000], b"\n".to_vec()].concat(), Some("invalid")),
        (vec![b'x'; LINE_BYTES_MAX + 2], Some("invalid")),
        (b"torn".to_vec(), None),
        (Vec::new(), None),
    ] {
        let answer = answer(&project, &bytes);
        let found = answer.as_ref().map(|answer| answer["kind"].as_str().unwrap_or("none"));
        assert_eq!(found, kind, "{:?}", String::from_utf8_lossy(&bytes[..bytes.len().min(60)]));
    }
    let pong = answer(&project, b"{\"v\":1,\"call\":\"ping\"}\n").unwrap();
    assert_eq!(pong["pid"], json!(std::process::id()));
    holder.close(|_| true);
}

#[test]
fn too_many_connections_are_refused_politely() {
    let (_dir, project, holder) = held();
    let open: Vec<UnixStream> = (0..200).map_while(|_| connect(&project).ok()).collect();
    // Those beyond the bound were told so; they are the last ones.
    let last = open.last().unwrap().try_clone().unwrap();
    let line = read_line(&mut BufReader::new(last)).unwrap().unwrap();
    assert!(String::from_utf8(line).unwrap().contains("attached already"));
    drop(open);
    let begun = std::time::Instant::now();
    while answer(&project, b"{\"v\":1,\"call\":\"ping\"}\n")
        .is_none_or(|answer| answer["answer"] != "pong")
    {
        assert!(
            begun.elapsed() < Duration::from_secs(20),
            "the connections that were closed still count"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
    holder.close(|_| true);
}

#[test]
fn looking_at_nothing_makes_nothing() {
    let (_dir, project) = project();
    assert_eq!(Client::open(&project, Mode::Look).err().unwrap().kind, Kind::NotFound);
    assert!(!project.dir().exists());
}
