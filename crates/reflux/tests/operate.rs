//! The server as operators meet it: probes, the end, figures, logs, spans, keys, configuration.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use serde_json::Value;
use support::{Project, wait_until};

/// A server whose log can be read.
struct Running {
    child: Child,
    http: String,
    grpc: String,
    log: PathBuf,
}

impl Running {
    fn start(project: &Project, args: &[&str], variables: &[(&str, &str)]) -> Self {
        let log = project.path().join("log.txt");
        let mut command = project.command(&["--json", "server"]);
        command.args(args).envs(variables.iter().copied());
        let to = File::options().create(true).append(true).open(&log).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(to).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap_or_else(|error| {
            panic!("{line:?}: {error}: {}", std::fs::read_to_string(&log).unwrap_or_default())
        });
        let address = |name: &str| said[name].as_str().unwrap().to_owned();
        Self { http: address("http"), grpc: address("grpc"), child, log }
    }

    fn free(project: &Project, more: &[&str]) -> Self {
        Self::start(project, &[&["--port", "0", "--http-port", "0"], more].concat(), &[])
    }

    fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    }

    fn end(mut self) -> i32 {
        let mut code = None;
        wait_until("the end of the server", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code().unwrap_or(-1)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    /// Status and body.
    fn get(&self, path: &str, key: Option<&str>) -> (u16, String) {
        self.ask("GET", path, key, "")
    }

    fn ask(&self, method: &str, path: &str, key: Option<&str>, body: &str) -> (u16, String) {
        let mut stream = std::net::TcpStream::connect(&self.http).unwrap();
        let key = key.map_or(String::new(), |key| format!("authorization: Bearer {key}\r\n"));
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\n{key}content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        (head.split(' ').nth(1).unwrap_or("0").parse().unwrap(), body.to_owned())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn token(project: &Project) -> String {
    let text = std::fs::read_to_string(project.path().join(".reflux/token")).unwrap();
    text.trim().to_owned()
}

#[test]
fn a_server_that_is_told_to_stop_takes_nothing_new_and_finishes_what_it_has() {
    let project = Project::new();
    project.write(
        "nodes/slow.yaml",
        "module: slow\nversion: 1.0.0\nactions:\n  - {name: work, command: [./work.sh], effects: idempotent}\n",
    );
    project.write(
        "work.sh",
        "#!/bin/sh\necho begun >> begun\nwhile [ ! -e go ]; do sleep 0.05; done\necho done >> done\necho '{}'\n",
    );
    project.write(
        "flows/two.yaml",
        "name: two\nsteps:\n  - {id: one, node: slow.work}\n  - {id: two, node: slow.work, needs: one}\n",
    );
    let server =
        Running::free(&project, &["--set", "server.grace=2s", "--set", "server.drain=30s"]);
    assert_eq!(server.get("/readyz", None).0, 200);
    project.run(&["run", "two", "--detach"]).with_code(0);
    project.wait_for("begun");
    server.signal("-TERM");
    wait_until("not ready", || server.get("/readyz", None).0 == 503);
    assert_eq!(server.get("/healthz", None).0, 200);
    let (code, body) = server.ask("POST", "/api/v1/nowhere", Some(&token(&project)), "{}");
    assert_eq!(code, 503, "{body}");
    project.write("go", "");
    assert_eq!(server.end(), 0);
    assert_eq!(project.lines("done"), 1, "the step that had begun was finished, no other began");
    project.run(&["resume"]).with_code(0);
    assert_eq!((project.lines("begun"), project.lines("done")), (2, 2), "each ran once");
}

#[test]
fn figures_have_no_runs_and_a_description_each() {
    let project = Project::new();
    project.write(
        "flows/one.yaml",
        "name: one\nsteps:\n  - {id: say, node: util.log, with: {message: hello}}\n",
    );
    let server = Running::free(&project, &[]);
    let run = project.run(&["run", "one", "--id", "order-4711", "--json"]).with_code(0).json();
    let (code, figures) = server.get("/metrics", None);
    assert_eq!(code, 200);
    for name in [
        "reflux_build_info{version=",
        "reflux_transitions_total{command=\"start\"} 1",
        "reflux_node_attempts_total{node=\"util.log\",outcome=\"completed\"} 1",
        "reflux_node_attempt_seconds_bucket{node=\"util.log\",le=",
        "reflux_append_seconds_count",
        "reflux_log_syncs_total",
        "reflux_store_bytes",
        "reflux_open_runs{namespace=\"default\"} 0",
        "reflux_nodes_running 0",
        "reflux_ready 1",
    ] {
        assert!(figures.contains(name), "{name} is missing in\n{figures}");
    }
    assert!(!figures.contains("order-4711"));
    assert!(!figures.contains(run["run_id"].as_str().unwrap()));
    let mut names: Vec<&str> = figures
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| line.split(['{', ' ']).next().unwrap())
        .map(|name| {
            ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|part| {
                    name.strip_suffix(part).filter(|_| !name.starts_with("reflux_log_sync"))
                })
                .unwrap_or(name)
        })
        .collect();
    names.dedup();
    for name in names {
        assert!(figures.contains(&format!("# HELP {name} ")), "{name} is not described");
    }
}

#[test]
fn log_lines_are_json_if_wanted_and_name_run_and_caller() {
    let project = Project::new();
    project.write(
        "flows/bad.yaml",
        "name: bad\nsteps:\n  - {id: fail, node: util.fail, with: {message: on purpose}}\n",
    );
    let server = Running::free(
        &project,
        &["--log-format", "json", "--log-level", "warn,reflux_server=info"],
    );
    let run = project.run(&["run", "bad", "--json"]).with_code(1).json();
    let token = token(&project);
    assert_eq!(server.ask("POST", "/api/v1/nowhere", Some(&token), "{}").0, 404);
    assert_eq!(server.ask("POST", "/api/v1/nowhere", None, "{}").0, 401);
    let lines: Vec<Value> =
        server.log().lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    let attempt = lines.iter().find(|line| line["message"] == "an attempt ended").unwrap();
    assert_eq!(attempt["run_id"], run["run_id"]);
    assert_eq!((&attempt["outcome"], &attempt["level"]), (&"failed".into(), &"INFO".into()));
    let changes: Vec<_> = lines.iter().filter(|line| line["target"] == "reflux::audit").collect();
    assert_eq!(changes.len(), 1, "what was refused at the door changed nothing");
    assert_eq!(changes[0]["caller"], "token");
    assert_eq!(changes[0]["path"], "/api/v1/nowhere");
    assert!(changes[0]["peer"].as_str().unwrap().starts_with("127.0.0.1:"));
    assert!(!server.log().contains(&token));
}

/// A collector that takes spans over HTTP.
fn collector() -> (String, Arc<Mutex<Vec<Span>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
    let spans: Arc<Mutex<Vec<Span>>> = Arc::default();
    let taken = spans.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let taken = taken.clone();
            std::thread::spawn(move || {
                let mut from = BufReader::new(stream);
                loop {
                    let mut length = 0;
                    let mut line = String::new();
                    if from.read_line(&mut line).unwrap_or(0) == 0 {
                        return;
                    }
                    assert!(line.starts_with("POST /v1/traces "), "{line}");
                    while !line.trim().is_empty() {
                        line.clear();
                        from.read_line(&mut line).unwrap();
                        let lower = line.to_ascii_lowercase();
                        if let Some(bytes) = lower.strip_prefix("content-length:") {
                            length = bytes.trim().parse().unwrap();
                        }
                    }
                    let mut body = vec![0; length];
                    from.read_exact(&mut body).unwrap();
                    let request = ExportTraceServiceRequest::decode(body.as_slice()).unwrap();
                    for resource in request.resource_spans {
                        for scope in resource.scope_spans {
                            taken.lock().unwrap().extend(scope.spans);
                        }
                    }
                    from.get_mut()
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                        .unwrap();
                }
            });
        }
    });
    (url, spans)
}

#[test]
fn every_attempt_of_a_run_is_a_span_of_the_runs_trace() {
    let (url, spans) = collector();
    let project = Project::new();
    project.write(
        "nodes/t.yaml",
        "module: t\nversion: 1.0.0\nactions:\n  - {name: twice, command: [./twice.sh], effects: idempotent, retries: [0.05]}\n",
    );
    project.write(
        "twice.sh",
        "#!/bin/sh\nif [ ! -e tried ]; then touch tried; echo no >&2; exit 1; fi\necho '{}'\n",
    );
    project.write(
        "flows/f.yaml",
        "name: f\nsteps:\n  - {id: hard, node: t.twice}\n  - {id: say, node: util.log, with: {message: hello}, needs: hard}\n",
    );
    let server = Running::start(
        &project,
        &["--port", "0", "--http-port", "0"],
        &[("REFLUX_TELEMETRY_OTLP", &url)],
    );
    let run = project.run(&["run", "f", "--json"]).with_code(0).json();
    server.signal("-TERM");
    assert_eq!(server.end(), 0);
    let spans = spans.lock().unwrap();
    let told: Vec<(String, i32)> =
        spans.iter().map(|span| (span.name.clone(), span.status.as_ref().unwrap().code)).collect();
    let (error, ok) = (2, 1);
    assert_eq!(
        told,
        [("t.twice".to_owned(), error), ("t.twice".to_owned(), ok), ("util.log".to_owned(), ok)]
    );
    let trace = run["run_id"].as_str().unwrap().replace('-', "");
    for span in spans.iter() {
        let id: String = span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(id, trace);
        assert!(
            span.end_time_unix_nano >= span.start_time_unix_nano && span.start_time_unix_nano > 0
        );
    }
    let ids: std::collections::BTreeSet<_> =
        spans.iter().map(|span| span.span_id.clone()).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn a_collector_that_is_away_holds_nobody_up() {
    let project = Project::new();
    project.write(
        "flows/one.yaml",
        "name: one\nsteps:\n  - {id: say, node: util.log, with: {message: hello}}\n",
    );
    let server = Running::start(
        &project,
        &["--port", "0", "--http-port", "0"],
        &[("REFLUX_TELEMETRY_OTLP", "http://127.0.0.1:9/v1/traces")],
    );
    project.run(&["run", "one"]).with_code(0);
    server.signal("-TERM");
    assert_eq!(server.end(), 0);
}

#[test]
fn a_key_works_until_it_is_revoked() {
    let project = Project::new();
    let made =
        project.run(&["keys", "create", "ci", "--scope", "read", "--json"]).with_code(0).json();
    let key = made["key"].as_str().unwrap();
    let listed = project.run(&["keys", "list"]).with_code(0).stdout;
    assert!(listed.contains("ci") && listed.contains("read") && !listed.contains(key), "{listed}");
    assert_eq!(project.run(&["keys", "create", "ci"]).code, 2);
    let server = Running::free(&project, &["--set", "access.anonymous=false"]);
    assert_eq!(server.get("/api/v1/runs", None).0, 401);
    assert_eq!(server.get("/api/v1/runs", Some(key)).0, 200);
    assert_eq!(server.get("/healthz", None).0, 200);
    project.run(&["keys", "revoke", "ci"]).with_code(0);
    wait_until("the key to end", || server.get("/api/v1/runs", Some(key)).0 == 401);
    assert_eq!(project.run(&["keys", "revoke", "ci"]).code, 2);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let project = Project::new();
    project.write(
        ".reflux/config.toml",
        "[limits]\nconnections = 1\nstreams = 2\n[server]\nport = 0\n",
    );
    let shown = |variables: &[(&str, &str)]| {
        let mut command = project.command(&["config", "show"]);
        let output = command.envs(variables.iter().copied()).output().unwrap();
        (
            output.status.code(),
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (_, text, _) = shown(&[("REFLUX_LIMITS_STREAMS", "3")]);
    assert!(text.contains("limits.connections = 1  # ") && text.contains("config.toml"), "{text}");
    assert!(text.contains("limits.streams = 3  # REFLUX_LIMITS_STREAMS"), "{text}");
    let (code, _, told) = shown(&[("REFLUX_LIMITS_STREAMS", "many")]);
    assert_eq!(code, Some(2));
    assert!(told.contains("REFLUX_LIMITS_STREAMS"), "{told}");
    let refused = project.run(&["server", "--set", "limits.conections=3"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("did you mean `limits.connections`"), "{refused:?}");
    // One connection of the file is not enough for what follows; the flag's is.
    let server = Running::start(
        &project,
        &["--http-port", "0", "--set", "limits.connections=50"],
        &[("REFLUX_LIMITS_CONNECTIONS", "1")],
    );
    let _kept = std::net::TcpStream::connect(&server.http).unwrap();
    assert_eq!(server.get("/healthz", None).0, 200);
}

#[test]
fn start_dev_takes_temporals_flags_and_forgets_its_data() {
    let project = Project::new();
    let temporary = project.path().join("tmp");
    std::fs::create_dir(&temporary).unwrap();
    let server = Running::start(
        &project,
        &[
            "start-dev",
            "--port",
            "0",
            "--ui-port",
            "0",
            "--ip",
            "127.0.0.1",
            "--namespace",
            "orders",
            "-n",
            "billing",
            "--log-format",
            "json",
            "--log-level",
            "warn",
            "--headless",
            "--dynamic-config-value",
            "system.forceSearchAttributesCacheRefreshOnRead=true",
            "--search-attribute",
            "Colour=Keyword",
            "--sqlite-pragma",
            "journal_mode=wal",
        ],
        &[("TMPDIR", temporary.to_str().unwrap())],
    );
    assert!(server.log().contains(
        "without effect here: --sqlite-pragma, --dynamic-config-value, --search-attribute"
    ));
    let kept = || std::fs::read_dir(&temporary).unwrap().count();
    assert_eq!(kept(), 1);
    let (_, figures) = server.get("/metrics", None);
    for namespace in ["default", "orders", "billing"] {
        assert!(
            figures.contains(&format!("reflux_open_runs{{namespace=\"{namespace}\"}}")),
            "{figures}"
        );
    }
    assert!(server.grpc.starts_with("127.0.0.1:"));
    server.signal("-TERM");
    assert_eq!(server.end(), 0);
    assert_eq!(kept(), 0);
}

#[test]
fn start_dev_keeps_its_data_where_it_is_told_to() {
    let project = Project::new();
    let start = || {
        let flags = [
            "start-dev",
            "--port",
            "0",
            "--ui-port",
            "0",
            "--db-filename",
            "kept.db",
            "-n",
            "orders",
        ];
        let server = Running::start(&project, &flags, &[]);
        server.signal("-TERM");
        assert_eq!(server.end(), 0);
    };
    start();
    assert!(project.path().join("kept.db/.reflux/data/log").is_dir());
    start();
}

#[test]
fn a_server_that_may_not_listen_says_what_is_missing() {
    let project = Project::new();
    let open = ["server", "--ip", "0.0.0.0", "--port", "0", "--http-port", "0"];
    let refused = project.run(&open);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.stderr.contains("reflux keys create"), "{refused:?}");
    project.run(&["keys", "create", "ops"]).with_code(0);
    let refused = project.run(&open);
    assert!(refused.stderr.contains("tls.cert"), "{refused:?}");
}
