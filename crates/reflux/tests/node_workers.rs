//! Nodes served by workers in other languages, through kills of the workers and of the server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::dice::Dice;
use support::sdk::{Group, install};
use support::served::Served;
use support::{Project, Server, wait_until};

/// How many processes are killed; `REFLUX_KILLS` says another number.
const KILLS: usize = 8;
/// Runs that are under way while processes are killed.
const RUNS: usize = 4;
/// The longest wait for the runs after the last kill.
const SETTLE_MAX: Duration = Duration::from_secs(240);
/// Between two kills: about as long as a step takes.
const BETWEEN: Duration = Duration::from_millis(300);

/// Steps of all languages by turns; each rings and hands on the path so far.
const RING: &str = "name: ring\ninput: {url: string}\nsteps:\n\
    \x20 - {id: one, node: ring.python, with: {url: '{{ input.url }}', path: []}}\n\
    \x20 - {id: two, node: ring.typescript, with: {url: '{{ input.url }}', path: '{{ steps.one.output }}'}}\n\
    \x20 - {id: three, node: ring.rust, with: {url: '{{ input.url }}', path: '{{ steps.two.output }}'}}\n\
    \x20 - {id: four, node: ring.python, with: {url: '{{ input.url }}', path: '{{ steps.three.output }}'}}\n\
    \x20 - {id: five, node: ring.typescript, with: {url: '{{ input.url }}', path: '{{ steps.four.output }}'}}\n\
    \x20 - {id: six, node: ring.rust, with: {url: '{{ input.url }}', path: '{{ steps.five.output }}'}}\n\
    output: {path: '{{ steps.six.output }}'}\n";
const STEPS: [&str; 6] = ["one", "two", "three", "four", "five", "six"];

const LANGUAGES: [&str; 3] = ["python", "typescript", "rust"];

#[test]
fn steps_run_in_workers_of_several_languages_and_report() {
    let project = Project::new();
    project.write("flows/ring.yaml", RING);
    for language in LANGUAGES {
        let steps = format!(
            "name: fails-{language}\nsteps:\n\
             \x20 - {{id: told, node: fail.{language}, with: {{text: '{{{{ secrets.WORD }}}} x'}}}}\n"
        );
        project.write(&format!("flows/fails-{language}.yaml"), &steps);
    }
    let secrets = project.write(".reflux/secrets.toml", "WORD = \"s3cret-word\"\n");
    std::fs::set_permissions(secrets, std::fs::Permissions::from_mode(0o600)).unwrap();
    let site = Site::new(project);
    let _workers: Vec<Group> = LANGUAGES.map(|language| site.worker(language)).into();
    let phone = Server::new(|_| (200, json!({})));
    site.registered(&LANGUAGES);

    let run = site.start("ring", json!({"url": phone.url}));
    let told = site.closed(&run);
    assert_eq!(told["output"], json!({"path": STEPS}), "{told:#}");
    assert_eq!(
        told["usage"],
        json!({"tokens_in": 18, "tokens_out": 12, "cost_usd": 3.0}),
        "{told:#}"
    );
    for (step, name) in told["steps"].as_array().unwrap().iter().zip(STEPS) {
        let attempt = &step["visits"][0]["attempts"][0];
        assert_eq!(attempt["logs"][0]["text"], format!("rang for {name}"), "{told:#}");
        assert_eq!(attempt["metrics"], json!({"progress": 0.5, "rung": 1.0}), "{told:#}");
    }

    for language in LANGUAGES {
        let run = site.start(&format!("fails-{language}"), json!({}));
        let told = site.closed(&run);
        let error = &told["steps"][0]["visits"][0]["error"];
        assert_eq!(
            (&error["kind"], &error["message"], &error["details"]["text"]),
            (&json!("Told.To"), &json!("not {{ secrets.WORD }} x"), &json!("{{ secrets.WORD }} x")),
            "{told:#}"
        );
        assert!(!told.to_string().contains("s3cret-word"), "{told:#}");
        let line = &told["steps"][0]["visits"][0]["attempts"][0]["logs"][0]["text"];
        assert_eq!(line, "it was {{ secrets.WORD }} x", "{told:#}");
    }
}

#[test]
fn workers_and_server_are_killed_and_no_step_is_lost_or_done_after_its_result() {
    let kills = std::env::var("REFLUX_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let project = Project::new();
    project.write("flows/ring.yaml", RING);
    let mut site = Site::new(project);
    let phone = Server::new(|_| (200, json!({})));
    // Two of each, so that work goes on while one of them begins anew.
    let mut workers: Vec<(&str, Group)> = [LANGUAGES, LANGUAGES]
        .concat()
        .into_iter()
        .map(|language| (language, site.worker(language)))
        .collect();
    site.registered(&LANGUAGES);

    let mut begun: Vec<String> = Vec::new();
    let mut dice = Dice(20_261_121);
    for _ in 0..kills {
        while site.open() < RUNS {
            begun.push(site.start("ring", json!({"url": phone.url})));
        }
        std::thread::sleep(BETWEEN);
        match dice.below(workers.len() + 1) {
            victim if victim < workers.len() => {
                let (language, _) = workers.swap_remove(victim);
                workers.push((language, site.worker(language)));
            }
            _ => site.kill_and_restart(),
        }
    }
    let after = Instant::now();
    while site.open() > 0 {
        assert!(after.elapsed() < SETTLE_MAX, "runs are still open: {begun:?}");
        std::thread::sleep(Duration::from_millis(100));
    }

    let calls = phone.got();
    let again = calls.iter().filter(|call| call.body["attempt"] != 1).count();
    eprintln!("{kills} kills, {} runs, {} calls, {again} of them again", begun.len(), calls.len());
    let mut keys = BTreeSet::new();
    for run in &begun {
        let told = site.closed(run);
        assert_eq!(told["output"], json!({"path": STEPS}), "{told:#}");
        let mine: Vec<&Value> =
            calls.iter().map(|call| &call.body).filter(|body| body["run"] == **run).collect();
        let mut by_step: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        let mut furthest = 0;
        for call in &mine {
            let step = call["step"].as_str().unwrap();
            let at = STEPS.iter().position(|known| *known == step).unwrap();
            assert!(at >= furthest, "{step} was called again after its result: {mine:#?}");
            furthest = at;
            by_step.entry(step).or_default().insert(call["key"].as_str().unwrap());
        }
        assert_eq!(by_step.len(), STEPS.len(), "a step was never called: {mine:#?}");
        for (step, of_step) in by_step {
            assert_eq!(of_step.len(), 1, "the attempts of {step} had different keys");
            assert!(keys.insert((*of_step.first().unwrap()).to_owned()), "two steps had one key");
        }
    }
}

#[test]
fn a_worker_that_is_told_to_end_finishes_what_it_has() {
    for language in LANGUAGES {
        let project = Project::new();
        let steps = format!(
            "name: one\ninput: {{url: string}}\nsteps:\n\
             \x20 - {{id: one, node: ring.{language}, with: {{url: '{{{{ input.url }}}}', path: []}}}}\n"
        );
        project.write("flows/one.yaml", &steps);
        let site = Site::new(project);
        let mut ends = site.worker(language);
        site.registered(&[language]);
        let phone = Server::new(|_| {
            std::thread::sleep(Duration::from_millis(500));
            (200, json!({}))
        });
        let called = || !phone.got().is_empty();
        let run = site.start("one", json!({"url": phone.url}));
        // The answer takes half a second; the worker is told in the middle of it.
        wait_until("the step to run", || {
            site.describe(&run)["steps"][0]["visits"][0]["attempts"][0].get("started").is_some()
        });
        let told = Command::new("kill").arg(ends.leader.id().to_string()).status().unwrap();
        assert!(told.success());
        assert!(ends.leader.wait().unwrap().success(), "{language}");
        assert!(called());
        site.closed(&run);
        assert_eq!(phone.got().len(), 1, "{language}: the attempt was neither lost nor doubled");
    }
}

#[test]
fn a_worker_that_begins_before_the_first_start_of_its_server_waits_for_it() {
    for language in LANGUAGES {
        let project = Project::new();
        let [grpc, http] = [(), ()].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let url = format!("http://{}", address(&http));
        let ports = [&grpc, &http].map(|port| port.local_addr().unwrap().port().to_string());
        let _worker = worker(language, &project, &address(&grpc), &url);
        http.set_nonblocking(true).unwrap();
        wait_until("the worker to look for its server", || http.accept().is_ok());
        drop((grpc, http));
        let server = Served::with(&project, &["--port", &ports[0], "--http-port", &ports[1]]);
        let site = Site { project, server: Some(server) };
        site.registered(&[language]);
    }
}

/// A project and the server over it.
struct Site {
    project: Project,
    server: Option<Served>,
}

impl Site {
    fn new(project: Project) -> Self {
        let server = Some(Served::start(&project));
        Self { project, server }
    }

    fn server(&self) -> &Served {
        self.server.as_ref().unwrap()
    }

    /// SIGKILL, and another server on the same ports.
    fn kill_and_restart(&mut self) {
        let before = self.server.take().unwrap().kill();
        self.server = Some(Served::again(&self.project, &before));
        wait_until("the server to have recovered", || {
            self.get("/api/v1/runs").is_some_and(|answer| answer.get("runs").is_some())
        });
    }

    fn worker(&self, language: &str) -> Group {
        worker(language, &self.project, &self.server().grpc, &self.server().url(""))
    }

    /// Waits until the workers of those languages have registered their nodes.
    #[track_caller]
    fn registered(&self, languages: &[&str]) {
        for language in languages {
            let path = format!("/api/v1/nodes/ring.{language}");
            wait_until(&format!("{path} to be registered"), || {
                self.get(&path).is_some_and(|answer| answer.get("node").is_some())
            });
        }
    }

    #[track_caller]
    fn start(&self, flow: &str, input: Value) -> String {
        let asked = json!({"flow": flow, "input": input}).to_string();
        let answer = self.request("POST", "/api/v1/runs", &asked).unwrap();
        let run = answer["run"]["workflow_id"].as_str();
        run.unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// How many runs are open.
    fn open(&self) -> usize {
        let answer = self.get("/api/v1/runs?statuses=RUN_STATUS_RUNNING").unwrap();
        answer["runs"].as_array().map_or(0, Vec::len)
    }

    fn describe(&self, run: &str) -> Value {
        self.get(&format!("/api/v1/runs/{run}/describe")).unwrap()
    }

    /// What a run is like, once it is closed.
    #[track_caller]
    fn closed(&self, run: &str) -> Value {
        let mut told = Value::Null;
        wait_until(&format!("{run} to close"), || {
            told = self.describe(run);
            told["run"].get("closed").is_some()
        });
        told
    }

    fn get(&self, path: &str) -> Option<Value> {
        self.request("GET", path, "")
    }

    fn request(&self, method: &str, path: &str, body: &str) -> Option<Value> {
        let token = std::fs::read_to_string(self.project.path().join(".reflux/token"));
        let token = token.unwrap_or_default();
        let host = &self.server().http;
        let mut stream = TcpStream::connect(host).ok()?;
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nhost: {host}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            token.trim(),
            body.len()
        )
        .ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        serde_json::from_str(body).ok()
    }
}

/// A worker of that language, which says nothing.
fn worker(language: &str, project: &Project, address: &str, url: &str) -> Group {
    let mut command = match language {
        "python" => {
            let dir = install("python-node");
            let mut command = Command::new(dir.join("bin/python"));
            command.arg(dir.join("worker.py"));
            command
        }
        "typescript" => {
            let dir = install("typescript-node");
            let mut command = Command::new("node");
            command.arg(dir.join("dist/worker.js"));
            command
        }
        _ => Command::new(install("rust").join("nodes")),
    };
    command
        .current_dir(project.path()) // where the token is
        .env("REFLUX_ADDRESS", address)
        .env("REFLUX_URL", url)
        .stdin(Stdio::null())
        .stderr(Stdio::null());
    Group::spawn(&mut command)
}
