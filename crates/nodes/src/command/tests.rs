use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use reflux_sdk::{Attempt, Catalogue, Context, Effects, Failure, Host, Limits, Node, Notice};
use serde_json::{Value, json};

use super::load_dir;
use crate::{NodesConfig, builtin};

/// A project whose module `m` holds one script per action.
struct Project {
    dir: tempfile::TempDir,
}

impl Project {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn file(&self, path: &str, content: &str) -> &Self {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
        self
    }

    fn script(&self, path: &str, body: &str) -> &Self {
        self.file(path, &format!("#!/bin/sh\n{body}\n"));
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn load(&self) -> Result<Catalogue, Vec<String>> {
        let config = NodesConfig::for_project(self.dir.path());
        let mut catalogue = builtin(&config);
        let nodes = load_dir(&self.path("nodes"), &config);
        let nodes = nodes.map_err(|problems| {
            let shown = problems.iter().map(|problem| {
                let text = problem.to_string();
                text.replace(&format!("{}/", self.path("nodes").display()), "")
            });
            shown.collect::<Vec<_>>()
        })?;
        for node in nodes {
            catalogue.insert(node);
        }
        Ok(catalogue)
    }

    fn node(&self, name: &str) -> Arc<dyn Node> {
        Arc::clone(self.load().unwrap().get(name, None).unwrap())
    }
}

/// A project with one action, `m.a`, whose script is given.
fn one(body: &str) -> (Project, Arc<dyn Node>) {
    one_with(body, "")
}

fn one_with(body: &str, more: &str) -> (Project, Arc<dyn Node>) {
    let project = Project::new();
    let yaml = format!(
        "module: m\nversion: 1.2.3\nactions:\n  - name: a\n    command: [\"./a.sh\", \"one\"]\n{more}"
    );
    project.script("a.sh", body).file("nodes/m.yaml", &yaml);
    let node = project.node("m.a");
    (project, node)
}

fn context() -> Context {
    let attempt = Attempt {
        run_id: "run-1".to_owned(),
        workflow_id: "wf-1".to_owned(),
        flow: "release".to_owned(),
        step: "test".to_owned(),
        attempt: 3,
        idempotency_key: "key-1".to_owned(),
        ..Attempt::default()
    };
    Context::new(attempt, Limits::default())
}

async fn call(node: &Arc<dyn Node>, input: Value) -> Result<Value, Failure> {
    node.call(&context(), input).await
}

#[tokio::test]
async fn the_output_is_what_the_command_prints() {
    let rows = [
        ("cat", json!({"x": [1, "ü"]}), json!({"x": [1, "ü"]})),
        ("echo '[1, 2]'", json!({}), json!([1, 2])),
        (":", json!({}), json!({})),
        ("echo; echo", json!({}), json!({})),
        ("echo hello", json!({}), json!({"text": "hello\n"})),
        (
            "echo $1 $REFLUX_RUN_ID $REFLUX_WORKFLOW_ID $REFLUX_FLOW $REFLUX_STEP $REFLUX_ATTEMPT $REFLUX_IDEMPOTENCY_KEY",
            json!({}),
            json!({"text": "one run-1 wf-1 release test 3 key-1\n"}),
        ),
        ("exit 0", json!({"big": "x".repeat(1 << 20)}), json!({})), // never reads its input
    ];
    for (body, input, expected) in rows {
        let (_project, node) = one(body);
        assert_eq!(call(&node, input).await.unwrap(), expected, "{body}");
    }
    let (project, node) = one("printf '\"%s %s\"' \"$PWD\" \"$REFLUX_PROJECT\"");
    let here = project.dir.path().display();
    assert_eq!(call(&node, json!({})).await.unwrap(), format!("{here} {here}"));
}

#[tokio::test]
async fn a_command_gets_only_the_environment_it_is_given() {
    let (_project, node) = one_with("env", "    env: { A: b, CARGO_MANIFEST_DIR: null }\n");
    let output = call(&node, json!({})).await.unwrap();
    let env: Vec<&str> = output["text"].as_str().unwrap().lines().collect();
    assert!(env.contains(&"A=b"), "{env:?}");
    assert!(env.iter().any(|line| line.starts_with("CARGO_MANIFEST_DIR=")), "{env:?}");
    assert!(!env.iter().any(|line| line.starts_with("CARGO_PKG_NAME=")), "{env:?}");
}

#[tokio::test]
async fn stderr_is_the_log_of_the_attempt_as_it_comes() {
    struct Listening(Mutex<Vec<String>>);
    impl Host for Listening {
        fn notice(&self, notice: Notice<'_>) {
            if let Notice::Log(line) = notice {
                self.0.lock().unwrap().push(line.line.clone());
            }
        }
    }
    // the second line is written only after the first was heard
    let (project, node) = one(
        "echo first >&2; while [ ! -e heard ]; do sleep 0.01; done; echo second >&2; printf third >&2",
    );
    let host = Arc::new(Listening(Mutex::default()));
    let ctx =
        Context::hosted(Attempt::default(), Limits::default(), Arc::clone(&host) as Arc<dyn Host>);
    let heard = async {
        while host.0.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        project.file("heard", "");
    };
    let (result, ()) = tokio::join!(node.call(&ctx, json!({})), heard);
    result.unwrap();
    let lines: Vec<String> = ctx.report().logs.into_iter().map(|line| line.line).collect();
    assert_eq!(lines, ["first", "second", "third"]);
    assert_eq!(*host.0.lock().unwrap(), lines);
}

#[tokio::test]
async fn a_command_that_fails_says_how() {
    let (_project, node) = one("echo context >&2; echo 'no such table' >&2; echo '{}'; exit 7");
    let failure = call(&node, json!({})).await.unwrap_err();
    assert_eq!(failure.to_string(), "Command.Exit: m.a exited with code 7: no such table");
    assert_eq!(
        failure.details,
        Some(Box::new(json!({"code": 7, "signal": null, "stderr": "context\nno such table\n"})))
    );
    assert!(failure.retryable);

    let (_project, node) = one("kill -TERM $$");
    let failure = call(&node, json!({})).await.unwrap_err();
    assert_eq!(failure.to_string(), "Command.Exit: m.a was ended by signal 15");

    let (_project, node) = one("head -c 9000000 /dev/zero");
    let failure = call(&node, json!({})).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("Command.Output", false));

    let (_project, node) = one("yes");
    assert_eq!(call(&node, json!({})).await.unwrap_err().kind, "Command.Output");

    let (_project, node) = one("printf '\\377'");
    assert_eq!(call(&node, json!({})).await.unwrap_err().kind, "Command.Output");

    let (project, node) = one("exit 0");
    fs::set_permissions(project.path("a.sh"), fs::Permissions::from_mode(0o644)).unwrap();
    let failure = call(&node, json!({})).await.unwrap_err();
    assert!(failure.message.contains("chmod +x") && !failure.retryable, "{failure}");
    fs::remove_file(project.path("a.sh")).unwrap();
    assert_eq!(call(&node, json!({})).await.unwrap_err().kind, "Command.Missing");
}

#[tokio::test]
async fn a_long_stderr_is_kept_as_its_tail() {
    let (_project, node) = one(
        "i=0; while [ $i -lt 3000 ]; do echo line-$i >&2; i=$((i+1)); done; head -c 100000 /dev/zero | tr '\\0' x >&2; exit 1",
    );
    let ctx = context();
    let failure = node.call(&ctx, json!({})).await.unwrap_err();
    assert_eq!(failure.details.unwrap()["stderr"].as_str().unwrap().len(), 4096);
    let report = ctx.report();
    assert!(report.logs.len() <= 1_000 && report.logs_dropped > 2_000);
    assert!(report.logs.iter().map(|line| line.line.len()).sum::<usize>() <= 64 << 10);
}

/// Whether a process whose id a script wrote is still there.
fn is_running(pid_file: &Path) -> bool {
    let pid: i32 = fs::read_to_string(pid_file).unwrap().trim().parse().unwrap();
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // a zombie is dead, only nobody has asked yet
    !stat.is_empty() && !stat.rsplit(") ").next().unwrap().starts_with('Z')
}

fn ends(pid_file: &Path) {
    let patience = Instant::now() + Duration::from_secs(5);
    while is_running(pid_file) {
        assert!(Instant::now() < patience, "the process is still running");
        std::thread::sleep(Duration::from_millis(5));
    }
}

const FAMILY: &str = "sleep 1000 & echo $! > child; echo $$ > parent; touch ready; wait";

async fn ready(project: &Project) {
    while !project.path("ready").exists() {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

#[tokio::test]
async fn a_timeout_ends_the_command_and_all_its_children() {
    let (project, node) = one_with(FAMILY, "    timeout: 500ms\n");
    let failure = call(&node, json!({})).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("Timeout", true));
    ends(&project.path("child"));
    ends(&project.path("parent"));
}

#[tokio::test]
async fn a_cancellation_ends_the_command_and_all_its_children() {
    let (project, node) = one(FAMILY);
    let ctx = context();
    let (result, ()) = tokio::join!(node.call(&ctx, json!({})), async {
        ready(&project).await;
        ctx.cancel();
    });
    assert_eq!(result.unwrap_err().kind, "Cancelled");
    ends(&project.path("child"));
    ends(&project.path("parent"));
}

#[tokio::test]
async fn dropping_the_call_ends_the_command_and_all_its_children() {
    let (project, node) = one(FAMILY);
    let ctx = context();
    tokio::select! {
        _ = node.call(&ctx, json!({})) => panic!("the command ended by itself"),
        () = ready(&project) => {}
    }
    ends(&project.path("child"));
    ends(&project.path("parent"));
}

#[tokio::test]
async fn what_a_command_leaves_running_does_not_hold_up_the_step() {
    let (project, node) = one("sleep 1000 & echo $! > child; echo '{\"ok\": true}'");
    assert_eq!(call(&node, json!({})).await.unwrap(), json!({"ok": true}));
    ends(&project.path("child"));
}

#[tokio::test]
async fn exec_runs_what_is_declared_and_nothing_else() {
    let project = Project::new();
    project
        .script("say.sh", "cat; echo \"args: $*\"; echo err >&2; exit ${1:-0}")
        .file("nodes/m.yaml", "module: m\nactions:\n  - { name: fixed, command: [./say.sh, '0', in] }\n  - { name: open, command: [./say.sh], args: true }\n");
    let exec = project.node("exec.command");
    let run = |input: Value| {
        let exec = Arc::clone(&exec);
        async move { call(&exec, input).await }
    };
    let output = run(json!({"command": "m.fixed", "stdin": "in:"})).await.unwrap();
    assert_eq!(output, json!({"exit_code": 0, "stdout": "in:args: 0 in\n", "stderr": "err\n"}));
    let output = run(json!({"command": "m.open", "args": ["0", "; rm -rf /"], "stdin": {"a": 1}}))
        .await
        .unwrap();
    assert_eq!(output["stdout"], "{\"a\":1}args: 0 ; rm -rf /\n");
    let failure = run(json!({"command": "m.open", "args": ["3"]})).await.unwrap_err();
    assert_eq!(failure.details.unwrap()["code"], 3);
    let output =
        run(json!({"command": "m.open", "args": ["3"], "ok_exit_codes": [0, 3]})).await.unwrap();
    assert_eq!(output["exit_code"], 3);
    let rows = [
        (json!({"command": "/bin/sh"}), "(declared: m.fixed, m.open)"),
        (json!({"command": "sh"}), "not a declared command"),
        (json!({"command": "./say.sh"}), "not a declared command"),
        (json!({"command": "m.fixed", "args": ["x"]}), "add `args: true`"),
    ];
    for (input, expected) in rows {
        let failure = run(input.clone()).await.unwrap_err();
        assert_eq!((failure.kind.as_str(), failure.retryable), ("Command.Undeclared", false));
        assert!(failure.message.contains(expected), "{input}: {failure}");
    }
    let nothing = builtin(&NodesConfig::default());
    let failure = nothing
        .get("exec.command", None)
        .unwrap()
        .call(&context(), json!({"command": "m.fixed"}))
        .await
        .unwrap_err();
    assert!(failure.message.contains("(declared: none)"), "{failure}");
}

/// The module blocks of the workflow engine that asked for them, as they stand.
const ASKED: &str = "module: testing
version: 1.0.0
actions:
  - name: run-tests
    description: Run test suite
    inputs:
      - name: changes
        type: array
    outputs:
      - name: testResults
        type: object
  
  - name: fix-failing-tests
    description: Fix failing tests using AI
    inputs:
      - name: testResults
        type: object
    outputs:
      - name: fixed
        type: boolean
";

#[tokio::test]
async fn a_module_without_commands_is_accepted_and_finds_them_by_name() {
    let project = Project::new();
    project.file("nodes/testing.yaml", ASKED).script("nodes/testing/run-tests.sh", "cat");
    let catalogue = project.load().unwrap();
    let found = catalogue.get("testing.run-tests", Some("1.0.0")).unwrap();
    assert!(found.is_callable());
    assert_eq!(found.manifest().description, "Run test suite");
    let outputs: Vec<_> = found.manifest().outputs.properties().collect();
    assert_eq!(outputs, [("testResults", "object", false)]);
    assert_eq!(call(found, json!({"changes": [1]})).await.unwrap(), json!({"changes": [1]}));
    assert_eq!(call(found, json!({"changes": null})).await.unwrap(), json!({"changes": null}));
    let failure = call(found, json!({"changes": "s3cret"})).await.unwrap_err();
    assert_eq!(
        failure.message,
        "input of testing.run-tests: changes: expected array, found string"
    );

    let declared = catalogue.get("testing.fix-failing-tests", None).unwrap();
    assert!(!declared.is_callable() && declared.version_digest().is_none());
    let failure = call(declared, json!({})).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("Command.Undeclared", false));
    for expected in [
        "nodes/testing.yaml",
        "`command: [...]`",
        "nodes/testing/fix-failing-tests",
        "start a worker",
    ] {
        assert!(failure.message.contains(expected), "{failure}");
    }
}

#[test]
fn an_action_says_how_it_is_called() {
    let project = Project::new();
    project.file(
        "nodes/m.yml",
        "module: m
version: 2.1.0-draft
actions:
  - name: full
    command: [\"true\"]
    inputs: { a: string, \"b?\": integer }
    timeout: 1.5m
    retries: [1, 2s, 500ms]
    effects: pure
    env: { A: b }
    files: [data]
    metrics: [rows]
    tunables: [{ name: b, type: integer, range: [1, 9], default: 3 }]
    alternatives: [m.plain]
  - { name: plain, command: [\"true\"] }
  - { name: keyed, command: [\"true\"], idempotency: sha1(inputs) }
",
    );
    let catalogue = project.load().unwrap();
    let full = catalogue.get("m.full", None).unwrap().manifest();
    assert_eq!(full.version, "2.1.0-draft");
    assert_eq!(full.policies.timeout, Some(Duration::from_secs(90)));
    assert_eq!(
        full.policies.retries,
        Some(vec![Duration::from_secs(1), Duration::from_secs(2), Duration::from_millis(500)])
    );
    assert_eq!(
        (full.effects, full.metrics.len(), full.tunables.len(), full.alternatives.len()),
        (Effects::Pure, 1, 1, 1)
    );
    let inputs: Vec<_> = full.inputs.properties().collect();
    assert_eq!(inputs, [("a", "string", true), ("b", "integer", false)]);
    assert_eq!(catalogue.get("m.plain", None).unwrap().manifest().effects, Effects::Unsafe);
    assert_eq!(catalogue.get("m.keyed", None).unwrap().manifest().effects, Effects::Idempotent);
}

#[test]
fn everything_wrong_with_the_files_is_told_with_its_place() {
    let rows = [
        ("module: m\nactions:\n  - name: a\n    comand: [x]\n", "x.yaml:4:5: "),
        ("module: m\nactions:\n  - name: a b\n", "x.yaml:3:11: name \"m.a b\""),
        ("module: m\nversion: one\nactions:\n  - name: a\n", "version \"one\""),
        (
            "module: m\nactions:\n  - name: a\n    timeout: soon\n",
            "x.yaml:4:14: \"soon\" is not a duration",
        ),
        (
            "module: m\nactions:\n  - name: a\n    command: []\n",
            "x.yaml:4:14: command: write a program",
        ),
        (
            "module: m\nactions:\n  - name: a\n    inputs: [{ name: b, type: arrray }]\n",
            "x.yaml:4:13: `b`: unknown type `arrray`",
        ),
        ("module: m\nactions:\n  - name: a\n    retries: [x]\n", "x.yaml:4:14: "),
        ("module: m\nactions:\n  - name: a\n    effects: maybe\n", "x.yaml:4:14: "),
        ("module: m\nactions: [\n", "x.yaml:"),
        ("actions: []\n", "module"),
        ("module: m\nactions:\n  - name: a\n  - name: a\n", "m.a is declared in"),
        ("a: &a [x, x]\nb: &b [*a, *a]\n", "x.yaml:"),
    ];
    for (yaml, expected) in rows {
        let project = Project::new();
        let problems = project.file("nodes/x.yaml", yaml).load().unwrap_err();
        assert_eq!(problems.len(), 1, "{yaml}: {problems:?}");
        assert!(problems[0].contains(expected), "{yaml}: {problems:?}");
    }
    let project = Project::new();
    project
        .file("nodes/b.yaml", "module: 1\n")
        .file("nodes/a.json", "{\n \"name\": \"a\"")
        .file("nodes/c.txt", "no node file");
    let problems = project.load().unwrap_err();
    assert!(
        problems.len() == 2
            && problems[0].starts_with("a.json:2:")
            && problems[1].starts_with("b.yaml:"),
        "{problems:?}"
    );
    assert!(Project::new().load().is_ok(), "a project without nodes/ declares nothing");
}

#[tokio::test]
async fn a_manifest_alone_is_a_node_served_elsewhere() {
    let project = Project::new();
    project.file(
        "nodes/excel.json",
        r#"{
  "name": "excel.toParquet",
  "version": "1.4.2",
  "inputs": { "file_url": "string", "sheet?": "string" },
  "outputs": { "parquet_url": "string", "rows": "number" },
  "policies": {
    "timeoutSec": 180,
    "retries": [1, 3, 10, 30],
    "idempotency": "sha1(inputs)"
  },
  "metrics": ["rows", "cols", "latency_ms"]
}"#,
    );
    let node = project.node("excel.toParquet");
    assert!(!node.is_callable());
    assert_eq!(node.manifest().effects, Effects::Idempotent);
    assert!(call(&node, json!({})).await.unwrap_err().message.contains("activity excel.toParquet"));
}

#[test]
fn the_version_of_a_command_is_the_content_of_its_files() {
    let (project, node) = one_with("echo 1", "    files: [data, lib.sh]\n");
    project.file("data/x/1", "1").file("lib.sh", "lib");
    let digest = || node.version_digest().unwrap();
    let first = digest();
    assert_eq!(digest(), first);
    project.file("unrelated", "x");
    assert_eq!(digest(), first);
    let mut seen = vec![first.clone()];
    let changes: [&dyn Fn(); 5] = [
        &|| fs::write(project.path("lib.sh"), "lib2").unwrap(),
        &|| fs::write(project.path("data/x/1"), "2").unwrap(),
        &|| fs::write(project.path("data/x/2"), "").unwrap(),
        &|| fs::write(project.path("a.sh"), "echo 2").unwrap(),
        &|| fs::remove_file(project.path("lib.sh")).unwrap(),
    ];
    for change in changes {
        change();
        assert!(!seen.contains(&digest()));
        seen.push(digest());
    }
    let (_other, other) = one_with("echo 1", "    files: [data, lib.sh]\n    env: { A: b }\n");
    assert_ne!(other.version_digest().unwrap(), first);
}
