//! What every command answers, and what it answers to nonsense.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::{Value, json};
use support::Project;

const GREET: &str = "name: greet\ndescription: Say hello\ninput:\n  name: string\n  times: {type: integer, default: 1}\n\
    \x20 loud: {type: boolean, default: false}\n  tags: {type: array, default: []}\nsteps:\n\
    \x20 - {id: say, node: util.template, with: {template: 'hello {{ input.name }}'}}\n\
    output: {text: '{{ steps.say.output.text }}', input: '{{ input }}'}\n";

fn project() -> Project {
    let project = Project::new();
    project.write("flows/greet.yaml", GREET);
    project.write("flows/fails.yaml", "name: fails\nsteps: [{id: a, node: util.fail, with: {kind: Bad.Day, message: it rains}}]\n");
    project
}

/// A command that must be refused: its exit code, and what stderr says.
#[track_caller]
fn refused(project: &Project, args: &[&str], says: &[&str]) {
    let gave = project.run(args).with_code(2);
    for part in says {
        assert!(gave.stderr.contains(part), "{args:?}: no `{part}` in\n{}", gave.stderr);
    }
    assert_eq!(gave.stdout, "", "{args:?}");
    assert!(
        !gave.stderr.contains("Error {") && !gave.stderr.contains("panicked"),
        "{args:?}: {}",
        gave.stderr
    );
}

#[test]
fn inputs_are_flags_pairs_and_files() {
    let project = project();
    project.write("in.json", r#"{"name": "file", "times": 2}"#);
    for (args, input) in [
        (&["--name", "ada"][..], json!({"name": "ada", "times": 1, "loud": false, "tags": []})),
        (
            &["--name=-x", "--times", "-3", "--loud"],
            json!({"name": "-x", "times": -3, "loud": true, "tags": []}),
        ),
        (
            &["--name", "a", "--loud=false", "--tags", "x, y"],
            json!({"name": "a", "times": 1, "loud": false, "tags": ["x", "y"]}),
        ),
        (&["--input", "@in.json"], json!({"name": "file", "times": 2, "loud": false, "tags": []})),
        (
            &["-i", "@in.json", "-i", "name=pair", "--times", "5"],
            json!({"name": "pair", "times": 5, "loud": false, "tags": []}),
        ),
    ] {
        let gave = project.run(&[&["run", "greet"], args].concat()).with_code(0);
        assert_eq!(gave.json()["input"], input, "{args:?}");
    }
}

#[test]
fn wrong_inputs_start_nothing() {
    let project = project();
    refused(
        &project,
        &["run", "greet"],
        &["the input `name` (string) is missing", "reflux run greet --help"],
    );
    refused(&project, &["run", "greet", "--nmae", "x"], &["--nmae", "--name"]);
    refused(
        &project,
        &["run", "greet", "--name", "x", "--times", "many"],
        &["input `times`", "`many` is not a whole number"],
    );
    project.write("flows/strict.yaml", "name: strict\ninput: {name: string}\nsteps: [{id: a, node: util.log, with: {message: '{{ input.name }}'}}]\n");
    refused(
        &project,
        &["run", "strict", "-i", "nmae=x"],
        &["no input `nmae`", "did you mean `name`?"],
    );
    refused(&project, &["run", "greet", "-i", "name"], &["neither NAME=VALUE nor @FILE"]);
    refused(&project, &["run", "greet", "-i", "@missing.json"], &["cannot read missing.json"]);
    project.write("list.json", "[1]");
    refused(&project, &["run", "greet", "-i", "@list.json"], &["does not hold a JSON object"]);
    refused(&project, &["run", "greeet"], &["no flow `greeet`", "did you mean `greet`?"]);
    refused(&project, &["run", "./missing.yaml"], &["cannot read ./missing.yaml"]);
    refused(&project, &["--dir", "/nowhere", "run", "greet"], &["cannot use /nowhere"]);
    refused(&project, &["frobnicate"], &["frobnicate"]);
    refused(
        &project,
        &["run", "greet", "--id", &"x".repeat(2000), "--name", "x"],
        &["workflow id"],
    );
    assert_eq!(project.run(&["list", "--json"]).json()["runs"], json!([]));
}

#[test]
fn help_shows_the_inputs_of_a_flow() {
    let project = project();
    let help = project.run(&["run", "greet", "--help"]).with_code(0).stdout;
    for part in [
        "greet: Say hello",
        "--name <STRING>",
        "[required]",
        "--times <INTEGER>",
        "[default: 1]",
        "--loud",
    ] {
        assert!(help.contains(part), "no `{part}` in\n{help}");
    }
    for args in [
        &["--help"][..],
        &["run", "--help"],
        &["list", "--help"],
        &["resolve", "--help"],
        &["--version"],
        &["version"],
    ] {
        project.run(args).with_code(0);
    }
}

#[test]
fn a_failure_is_explained_and_has_its_exit_code() {
    let project = project();
    let gave = project.run(&["run", "fails"]).with_code(1);
    assert!(
        gave.stderr.contains("Bad.Day: it rains") && gave.stderr.contains("reflux show"),
        "{}",
        gave.stderr
    );
    assert_eq!(gave.stdout, "");
    let json = project.run(&["run", "fails", "--json"]).with_code(1).json();
    assert_eq!(
        (&json["status"], &json["error"]["kind"], &json["output"]),
        (&json!("failed"), &json!("Bad.Day"), &Value::Null)
    );
}

#[test]
fn validation_points_at_the_place() {
    let project = project();
    let source = "name: bad\nsteps:\n  - {id: a, node: http.reqest}\n  - {id: b, node: util.log, with: {message: '{{ steps.c.output }}'}}\n";
    project.write("bad.yaml", source);
    let gave = project.run(&["validate", "bad.yaml"]).with_code(2);
    for part in ["bad.yaml:3:", "did you mean `http.request`?", "bad.yaml:4:", " | "] {
        assert!(gave.stderr.contains(part), "no `{part}` in\n{}", gave.stderr);
    }
    let json = project.run(&["validate", "bad.yaml", "greet", "--json"]).with_code(2).json();
    assert_eq!(
        (&json["ok"], &json["files"][0]["ok"], &json["files"][1]["ok"]),
        (&json!(false), &json!(false), &json!(true))
    );
    assert_eq!(json["files"][0]["problems"][0]["line"], 3);
    assert!(project.run(&["validate", "greet"]).with_code(0).stdout.contains("ok, flow `greet`"));
    refused(&project, &["run", "bad.yaml"], &["bad.yaml:3:"]);
    project.write("broken.yaml", "name: [\n");
    refused(&project, &["validate", "broken.yaml"], &["broken.yaml:"]);
}

#[test]
fn runs_are_found_by_id_beginning_workflow_id_and_last() {
    let project = project();
    project.run(&["run", "greet", "--name", "a", "--id", "my-run"]).with_code(0);
    let id =
        project.run(&["list", "--json"]).json()["runs"][0]["run_id"].as_str().unwrap().to_owned();
    for name in [id.as_str(), &id[..18], "my-run", "last"] {
        assert_eq!(
            project.run(&["show", name, "--json"]).with_code(0).json()["run_id"],
            json!(id),
            "{name}"
        );
    }
    refused(&project, &["show", "nothing"], &["no run `nothing`", "reflux list"]);
    refused(&project, &["show", "ffffffff"], &["no run `ffffffff`"]);
    project.run(&["run", "greet", "--name", "b"]).with_code(0);
    refused(&project, &["show", &id[..4]], &["the beginning of several"]);
}

#[test]
fn lists_are_filtered_and_paged() {
    let project = project();
    for name in ["a", "b", "c"] {
        project.run(&["run", "greet", "--name", name]).with_code(0);
    }
    project.run(&["run", "fails"]).with_code(1);
    let count = |args: &[&str]| {
        let json = project.run(&[&["list", "--json"], args].concat()).with_code(0).json();
        json["runs"].as_array().unwrap().len()
    };
    for (args, runs) in [
        (&[][..], 4),
        (&["--status", "failed"], 1),
        (&["--status", "failed,completed"], 4),
        (&["--flow", "greet"], 3),
        (&["--since", "1h"], 4),
        (&["--since", "2100-01-01T00:00:00Z"], 0),
    ] {
        assert_eq!(count(args), runs, "{args:?}");
    }
    let first = project.run(&["list", "--limit", "3", "--json"]).json();
    let next = first["next"].as_str().unwrap();
    let second = project.run(&["list", "--limit", "3", "--json", "--after", next]).json();
    assert_eq!(
        (first["runs"].as_array().unwrap().len(), second["runs"].as_array().unwrap().len()),
        (3, 1)
    );
    assert_eq!(second["next"], Value::Null);
    refused(
        &project,
        &["list", "--status", "done"],
        &["`done` is not a status", "running, completed"],
    );
    refused(&project, &["list", "--since", "whenever"], &["--since `whenever`"]);
    refused(&project, &["list", "--after", "zz"], &["page token"]);
}

#[test]
fn json_has_its_stable_fields() {
    let project = project();
    project.run(&["run", "greet", "--name", "a"]).with_code(0);
    let row = project.run(&["list", "--json"]).json()["runs"][0].clone();
    let names =
        |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!(
        names(&row),
        "workflow_id run_id flow status started closed took_ms steps_done steps_total events error"
    );
    let story = project.run(&["show", "--json"]).json();
    assert_eq!(
        names(&story),
        "workflow_id run_id flow status handled_failure started closed paused cancel_requested input output error steps waits_for revision"
    );
    assert_eq!(names(&story["steps"][0]), "id node status reason visits items");
    let visit = &story["steps"][0]["visits"][0];
    assert_eq!(
        names(visit),
        "activation item compensates started ended input output error attempts wait led_to"
    );
    let history = project.run(&["history", "--json"]).json();
    let kinds: Vec<&str> =
        history.as_array().unwrap().iter().map(|entry| entry["type"].as_str().unwrap()).collect();
    assert_eq!(
        kinds,
        [
            "WorkflowExecutionStarted",
            "ActivityTaskScheduled",
            "ActivityTaskStarted",
            "ActivityTaskCompleted",
            "WorkflowExecutionCompleted",
        ]
    );
    let error = project.run(&["show", "nothing", "--json"]).with_code(2);
    let error: Value = serde_json::from_str(&error.stderr).unwrap();
    assert_eq!(
        (&error["error"]["kind"], names(&error["error"]).as_str()),
        (&json!("not_found"), "kind message suggestion")
    );
}

#[test]
fn a_project_is_made_once_and_never_overwritten() {
    let project = Project::new();
    project.write("p/flows/hello.yaml", "mine");
    let gave = project.run(&["init", "p"]).with_code(0);
    assert!(
        gave.stdout.contains("kept flows/hello.yaml")
            && gave.stdout.contains("made .reflux/config.toml"),
        "{}",
        gave.stdout
    );
    assert_eq!(std::fs::read_to_string(project.path().join("p/flows/hello.yaml")).unwrap(), "mine");
    project.run(&["init", "q"]).with_code(0);
    let gave = project.run(&["--dir", "q", "run", "hello", "--name", "you"]).with_code(0);
    assert_eq!(gave.json(), json!({"greeting": "Hello, you! Your flow runs.", "words": 5}));
    assert!(project.path().join("q/.reflux/data/log").is_dir());
}

#[test]
fn a_flow_is_written_by_answering_questions() {
    let project = project();
    let define = |answers: &str| {
        let mut child = project
            .command(&["define"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(answers.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let answers = "my flow\nSays hello\nname string you\ntimes integer 2\n\nsay\nutil.template\ntemplate=hello {{ input.name }}\n\n\nrest\nwait:10ms\nsay\n\n";
    let output = define(answers);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let gave = project.run(&["run", "my-flow"]).with_code(0);
    assert!(gave.stderr.contains("✓ rest"), "{}", gave.stderr);
    assert_eq!(define(answers).status.code(), Some(2), "nothing is overwritten");
    let output = define("other\n\n\nsay\nutil.tempalte\n");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("did you mean `util.template`?"));
}

#[test]
fn flows_and_nodes_are_listed_described_and_exported() {
    let project = project();
    project.write("flows/broken.yaml", "name: [\n");
    let listed = project.run(&["flows"]).with_code(0).stdout;
    assert!(
        listed.contains("greet")
            && listed.contains("(name, times, loud, tags)")
            && listed.contains("1 error"),
        "{listed}"
    );
    let yaml = project.run(&["flows", "show", "greet", "--export", "yaml"]).with_code(0).stdout;
    project.write("again.yaml", &yaml);
    let (one, other) = (
        project.run(&["flows", "show", "greet", "--export", "json"]).json(),
        project.run(&["flows", "show", "again.yaml", "--export", "json"]).json(),
    );
    assert_eq!(one, other);
    assert!(project.run(&["nodes"]).with_code(0).stdout.contains("http.request@1.0.0"));
    let node = project.run(&["nodes", "util.template"]).with_code(0).stdout;
    assert!(node.contains("effects  pure") && node.contains("template"), "{node}");
    refused(&project, &["nodes", "util.tempalte"], &["did you mean `util.template`?"]);
    refused(&project, &["flows", "show", "broken"], &["flows/broken.yaml:"]);
}

#[test]
fn a_wrong_configuration_is_refused_with_its_place() {
    let project = project();
    project.write(".reflux/config.toml", "[net]\nalow = []\n");
    refused(
        &project,
        &["run", "greet", "--name", "x"],
        &["config.toml:2:1", "did you mean `allow`?"],
    );
    project.write(".reflux/config.toml", "");
    project.write("nodes/bad.yaml", "module: m\nactoins: []\n");
    refused(&project, &["run", "greet", "--name", "x"], &["nodes/bad.yaml", "mend the node files"]);
}

#[test]
fn secrets_stay_out_of_everything_that_is_kept() {
    let project = project();
    project.write(
        "flows/secret.yaml",
        "name: secret\nsteps: [{id: a, node: t.show, with: {key: '{{ secrets.API_KEY }}'}}]\noutput: '{{ steps.a.output }}'\n",
    );
    project.write(
        "nodes/t.yaml",
        "module: t\nversion: 1.0.0\nactions: [{name: show, command: [./show.sh]}]\n",
    );
    project.write("show.sh", "#!/bin/sh\ninput=$(cat)\necho \"log $input\" >&2\necho \"$input\" > seen\necho \"$input\"\n");
    let path = project.write(".reflux/secrets.toml", "API_KEY = \"very-secret-value\"\n");
    refused(&project, &["run", "secret"], &["others may read", "chmod 600"]);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let gave = project.run(&["run", "secret"]).with_code(0);
    assert_eq!(gave.json(), json!({"key": "{{ secrets.API_KEY }}"}));
    assert!(
        std::fs::read_to_string(project.path().join("seen")).unwrap().contains("very-secret-value")
    );
    let output = project
        .command(&["run", "secret"])
        .env("REFLUX_SECRET_API_KEY", "another-secret")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(
        std::fs::read_to_string(project.path().join("seen")).unwrap().contains("another-secret")
    );
    let kept = project.run(&["history", "last", "--attempts", "--json"]).stdout;
    assert!(kept.contains("secrets.API_KEY") && !kept.contains("another-secret"), "{kept}");
    for entry in std::fs::read_dir(project.path().join(".reflux/data/log")).unwrap() {
        let bytes = std::fs::read(entry.unwrap().path()).unwrap();
        for secret in ["very-secret-value", "another-secret"] {
            assert!(
                !bytes.windows(secret.len()).any(|window| window == secret.as_bytes()),
                "{secret} is in the log"
            );
        }
    }
}

#[test]
fn a_project_in_a_long_path_works() {
    let project = Project::new();
    let deep = format!("{}/{}", "d".repeat(100), "e".repeat(100));
    project.write(&format!("{deep}/flows/greet.yaml"), GREET);
    std::fs::create_dir_all(project.path().join(&deep).join(".reflux")).unwrap();
    project.run(&["--dir", &deep, "run", "greet", "--name", "x"]).with_code(0);
    assert_eq!(
        project.run(&["--dir", &deep, "list", "--json"]).json()["runs"].as_array().unwrap().len(),
        1
    );
}

#[test]
fn flows_are_deployed_compared_exported_and_run_by_name() {
    let project = project();
    project
        .write("other/talk.yaml", "name: talk\nsteps: [{id: a, flow: greet, with: {name: you}}]\n");
    let lines = |args: &[&str]| project.run(args).with_code(0).stdout;
    assert_eq!(lines(&["deploy", "greet", "other/talk.yaml"]), "greet@1\ntalk@1\n");
    assert_eq!(lines(&["deploy", "greet"]), "greet@1  (nothing changed)\n");
    project.write("flows/greet.yaml", &GREET.replace("hello {{", "good day {{"));
    assert_eq!(lines(&["deploy", "greet"]), "greet@2\n");
    assert!(
        lines(&["diff", "greet"]).contains("\n+      template: \"good day {{ input.name }}\"\n")
    );
    assert_eq!(lines(&["diff", "greet", "1", "1"]), "");
    assert_eq!(lines(&["export", "greet", "--version", "1", "--syntax", "source"]), GREET);
    let deployed = lines(&["flows", "--deployed"]);
    assert!(deployed.starts_with("greet@2  ") && deployed.contains("\ntalk@1  "), "{deployed}");
    // No file has that name: the deployed flow runs, with the sub-flow it was deployed with.
    let gave = project.run(&["run", "talk", "--json"]).with_code(0);
    let gave: Value = serde_json::from_str(&gave.stdout).unwrap();
    assert_eq!(gave["output"]["a"]["text"], "hello you", "{gave}");
    refused(&project, &["run", "nothing"], &["no flow `nothing`"]);
    refused(&project, &["deploy", "nothing"], &["no flow `nothing`"]);
    refused(&project, &["export", "gret"], &["did you mean `greet`?"]);
    refused(&project, &["diff", "talk"], &["no version before 1"]);
    let status: Value = serde_json::from_str(&lines(&["status", "--json"])).unwrap();
    assert_eq!(
        (&status["held"], &status["deployed_flows"]),
        (&json!(false), &json!(2)),
        "{status}"
    );
}

#[test]
fn a_registered_node_is_known_to_every_command() {
    let project = project();
    project.write(
        "flows/loud.yaml",
        "name: loud\nsteps: [{id: a, node: text.loud, with: {text: x}}]\n",
    );
    refused(&project, &["deploy", "loud"], &["unknown node `text.loud`"]);
    project.write(
        "loud.json",
        r#"{"name": "text.loud", "version": "1.0.0", "inputs": {"text": "string"}}"#,
    );
    let lines = |args: &[&str]| project.run(args).with_code(0).stdout;
    let register = ["nodes", "register", "loud.json"];
    assert_eq!(lines(&register), "registered text.loud@1.0.0, queue node:text.loud\n");
    assert!(lines(&register).starts_with("known already: "));
    assert!(lines(&["nodes"]).contains("text.loud@1.0.0"));
    assert!(lines(&["validate", "loud"]).contains("ok"));
    assert_eq!(lines(&["deploy", "loud"]), "loud@1\n");
    lines(&["nodes", "deprecate", "text.loud", "--reason", "too loud"]);
    refused(
        &project,
        &["nodes", "remove", "text.loud@1.0.0"],
        &["flow `loud` calls text.loud@1.0.0"],
    );
    project.write("http.json", r#"{"name": "http.request", "version": "9.9.9"}"#);
    refused(
        &project,
        &["nodes", "register", "http.json"],
        &["a node of the server or of the project"],
    );
}
