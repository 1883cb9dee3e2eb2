//! The flows of `examples/`, against real scripts, a real server and a real test suite.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use support::{Project, Server};

fn allow_loopback(project: &Project) {
    project.write(".reflux/config.toml", "[net]\nallow = [\"127.0.0.1\"]\n");
}

#[test]
fn hello_needs_nothing() {
    let project = Project::new();
    project.copy_example("hello.yaml", "hello.yaml");
    let gave = project.run(&["run", "hello.yaml"]).with_code(0);
    assert_eq!(gave.json()["total"], json!(13.5));
    let gave = project.run(&[
        "run",
        "hello.yaml",
        "--name",
        "Ada",
        "--items",
        r#"[{"name":"tea","price":4}]"#,
    ]);
    let note = gave.with_code(0).json()["note"].as_str().unwrap().to_owned();
    assert!(note.starts_with("Hello Ada: tea cost 4"), "{note}");
}

#[test]
fn fetch_map_deliver_maps_what_the_api_gives_and_retries_what_it_refuses() {
    let project = Project::new();
    allow_loopback(&project);
    project.copy_example("fetch-map-deliver.yaml", "flows/fetch-map-deliver.yaml");
    let calls = std::sync::atomic::AtomicU32::new(0);
    let api = Server::new(move |_| match calls.fetch_add(1, std::sync::atomic::Ordering::SeqCst) {
        0 => (503, json!({"error": "not yet"})),
        _ => {
            (200, json!({"items": [{"name": "lamp", "price": 42}, {"name": "desk", "price": 99}]}))
        }
    });
    let receiver = Server::new(|_| (202, json!({})));
    let gave = project
        .run(&["run", "fetch-map-deliver", "--api_url", &api.url, "--callback", &receiver.url])
        .with_code(0);
    assert_eq!(gave.json(), json!({"delivered": 202, "names": ["lamp", "desk"]}));
    assert_eq!(api.got().len(), 2);
    let delivered = receiver.got();
    assert_eq!(delivered.len(), 1);
    assert_eq!(
        (delivered[0].method.as_str(), &delivered[0].body),
        ("POST", &json!({"names": ["lamp", "desk"], "first_price": 42}))
    );
    let shown = project.run(&["show", "last"]).with_code(0).stdout;
    assert!(shown.contains("2 attempts") && shown.contains("attempt 1 failed"), "{shown}");
}

#[test]
fn the_branches_of_a_campaign_run_at_the_same_time() {
    let project = Project::new();
    allow_loopback(&project);
    project.copy_example("campaign.canvas.json", "flows/campaign.canvas.json");
    let receiver = Server::new(|request| {
        if matches!(request.path.as_str(), "/generate_copy" | "/generate_image") {
            std::thread::sleep(std::time::Duration::from_millis(500));
        }
        (200, json!({"document_id": request.path.trim_start_matches('/'), "score": 0.9}))
    });
    let call = "#!/usr/bin/env python3\nimport os, sys, urllib.request\n\
        request = urllib.request.Request(os.environ['RECEIVER'] + '/' + sys.argv[1], sys.stdin.buffer.read())\n\
        print(urllib.request.urlopen(request).read().decode())\n";
    project.write("call.py", call);
    let actions: Vec<String> = ["generate_copy", "generate_image", "attach", "review"]
        .iter()
        .map(|name| {
            format!(
                "  - {{name: {name}, command: [./call.py, {name}], env: {{RECEIVER: '{}'}}}}\n",
                receiver.url
            )
        })
        .collect();
    project.write(
        "nodes/content.yaml",
        &format!("module: content\nversion: 1.0.0\nactions:\n{}", actions.concat()),
    );
    project.run(&["run", "campaign", "--product", "a lamp", "--tone", "dry"]).with_code(0);
    let got = receiver.got();
    let of = |path: &str| {
        got.iter().find(|request| request.path == path).unwrap_or_else(|| panic!("{path}: {got:?}"))
    };
    let (copy, image) = (of("/generate_copy"), of("/generate_image"));
    assert!(copy.began < image.ended && image.began < copy.ended, "they ran one after the other");
    assert_eq!(copy.body["prompt"], "A dry caption for a lamp");
    assert_eq!(of("/attach").body["document"], "generate_copy");
    assert_eq!(of("/attach").body["image"], "generate_image");
    assert_eq!(of("/review").body["document"], "generate_copy");
    assert_eq!(got.len(), 4);
}

/// A small crate whose test fails until somebody repairs it, and the modules of `release.yaml`.
fn release(upload: &str) -> Project {
    let project = Project::new();
    project.copy_example("release.yaml", "flows/release.yaml");
    project.write(
        "pkg/Cargo.toml",
        "[package]\nname = \"pkg\"\nversion = \"0.1.0\"\nedition = \"2021\"\n\n[workspace]\n",
    );
    project.write(
        "pkg/src/lib.rs",
        "pub fn add(a: i32, b: i32) -> i32 {\n    a - b\n}\n\n#[test]\nfn it_adds() {\n    assert_eq!(add(2, 3), 5);\n}\n",
    );
    project.write(
        "nodes/build/compile.sh",
        "#!/bin/sh\nset -e\ncd pkg\ncargo build --offline --quiet\necho '{\"artifact\": \"pkg/target/debug/libpkg.rlib\", \"warnings\": 0}'\n",
    );
    project.write(
        "nodes/testing/run-tests.sh",
        "#!/bin/sh\ncd pkg\necho run >> ../tests.log\nif cargo test --offline --quiet >&2; then\n  echo '{\"passed\": true, \"coverage\": 100}'\nelse\n  echo '{\"passed\": false, \"coverage\": 0}'\nfi\n",
    );
    project.write(
        "nodes/testing/fix-failing-tests.sh",
        "#!/bin/sh\nsed -i 's/a - b/a + b/' pkg/src/lib.rs\necho '{\"fixed\": true}'\n",
    );
    project.write("nodes/registry/upload.sh", upload);
    project.write("nodes/registry/withdraw.sh", "#!/bin/sh\ncat > withdrawn.json\n");
    project.write("nodes/system/handle-error.sh", "#!/bin/sh\ncat > handled.json\n");
    project.write("nodes/system/notify-completion.sh", "#!/bin/sh\ncat > notified.json\n");
    let env =
        "env: {HOME: , CARGO_HOME: , RUSTUP_HOME: , RUSTUP_TOOLCHAIN: , CARGO_TARGET_DIR: target}";
    for (module, actions) in [
        ("build", &["compile"][..]),
        ("testing", &["run-tests", "fix-failing-tests"]),
        ("registry", &["upload", "withdraw"]),
        ("system", &["handle-error", "notify-completion"]),
    ] {
        let actions: Vec<String> =
            actions.iter().map(|name| format!("  - {{name: {name}, {env}}}\n")).collect();
        project.write(
            &format!("nodes/{module}.yaml"),
            &format!("module: {module}\nversion: 1.0.0\nactions:\n{}", actions.concat()),
        );
    }
    project
}

fn file(project: &Project, name: &str) -> Value {
    serde_json::from_str(&std::fs::read_to_string(project.path().join(name)).unwrap()).unwrap()
}

#[test]
fn a_release_repairs_its_tests_and_publishes() {
    let project = release("#!/bin/sh\ncat > uploaded.json\n");
    project.run(&["run", "release", "--package", "pkg"]).with_code(0);
    assert_eq!(project.lines("tests.log"), 2, "the suite passes at the second time");
    assert_eq!(
        file(&project, "uploaded.json"),
        json!({"artifact": "pkg/target/debug/libpkg.rlib", "channel": "stable"})
    );
    assert_eq!(file(&project, "notified.json"), json!({"status": "running"}));
    assert!(!project.path().join("withdrawn.json").exists());
    let story = project.run(&["show", "last", "--json"]).with_code(0).json();
    let of = |id: &str| {
        story["steps"].as_array().unwrap().iter().find(|step| step["id"] == id).unwrap().clone()
    };
    assert_eq!(of("test")["visits"].as_array().unwrap().len(), 2);
    assert_eq!(of("withdraw")["status"], "unreached");
}

#[test]
fn a_refused_upload_is_rolled_back_and_announced() {
    let project = release("#!/bin/sh\necho 'version exists already' >&2\nexit 9\n");
    let gave =
        project.run(&["run", "release", "--package", "pkg", "--channel", "beta"]).with_code(3);
    assert!(
        gave.stderr.contains("version exists already") || gave.stderr.contains("handled"),
        "{}",
        gave.stderr
    );
    assert_eq!(
        file(&project, "withdrawn.json"),
        json!({"artifact": "pkg/target/debug/libpkg.rlib"})
    );
    assert!(
        file(&project, "handled.json")["error"]["message"].as_str().unwrap().contains("9"),
        "the handler sees the error"
    );
    assert_eq!(file(&project, "notified.json"), json!({"status": "failed"}));
    let shown = project.run(&["show", "last"]).with_code(0).stdout;
    assert!(shown.contains("completed after a handled failure"), "{shown}");
}

#[test]
fn the_flows_that_were_asked_for_run_as_they_stand() {
    let project = Project::new();
    allow_loopback(&project);
    project.copy_example("asked/flows", "flows");
    project.copy_example("asked/nodes", "nodes");
    project.run(&["run", "implement-feature", "--feature", "User authentication"]).with_code(0);
    assert_eq!(file(&project, "notified.json"), json!({"status": "running"}));
    let story = project.run(&["show", "last", "--json"]).json();
    let fix = story["steps"]
        .as_array()
        .unwrap()
        .iter()
        .find(|step| step["id"] == "fix-tests")
        .unwrap()
        .clone();
    assert_eq!(fix["status"], "succeeded");

    let server = Server::new(|request| match request.method.as_str() {
        "GET" => (200, json!({"items": [{"name": "a"}, {"name": "b"}]})),
        _ => (200, json!({})),
    });
    let api = format!("{}/api", server.url);
    project.run(&["run", "simple_flow", "--api_url", &api, "--callback", &server.url]).with_code(0);
    assert_eq!(server.got()[1].body, json!(["a", "b"]));
}
