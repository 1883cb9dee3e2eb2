//! The document of the REST API and the page about it: both are made of the descriptor.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod served;

use std::path::{Path, PathBuf};
use std::process::Command;

use served::Served;

/// Validates OpenAPI 3.1 by its JSON Schema and by the rules that no schema tells.
const VALIDATOR: &str = "openapi-spec-validator==0.9.0";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_document_is_openapi_and_says_what_everything_means() {
    let served = Served::start().await;
    let document = served.see("/api/v1/openapi.json").await;
    served.end().await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut calls = 0;
    for (path, verbs) in document["paths"].as_object().unwrap() {
        for (verb, operation) in verbs.as_object().unwrap() {
            calls += 1;
            assert!(!operation["description"].as_str().unwrap().is_empty(), "{verb} {path}");
        }
    }
    assert_eq!(calls, reflux_server::api::METHODS.len() + 1, "and the stream");
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let fields = schema["properties"].as_object().into_iter().flatten();
        for (field, property) in fields.filter(|_| name != "Error") {
            assert!(property["description"].is_string(), "{name}.{field} says nothing");
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), document.to_string()).unwrap();
    let validated = Command::new(validator()).arg(file.path()).output().unwrap();
    let said = String::from_utf8_lossy(&validated.stdout).into_owned();
    assert!(validated.status.success(), "{said}{}", String::from_utf8_lossy(&validated.stderr));
}

/// The validator, installed beside what is built.
fn validator() -> PathBuf {
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("openapi");
    let program = dir.join("bin/openapi-spec-validator");
    if !program.exists() {
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir));
        run(Command::new(dir.join("bin/pip")).args(["install", "--quiet", VALIDATOR]));
    }
    program
}

fn run(command: &mut Command) {
    let done = command.output().expect("python3 with venv; install python3-venv");
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}

#[test]
fn the_page_lists_every_call_as_it_is() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/api.md");
    let text = std::fs::read_to_string(&page).unwrap();
    let (before, rest) = text.split_once("<!-- calls -->\n").expect("the mark of the table");
    let (_, after) = rest.split_once("<!-- end of calls -->").expect("the end of the table");
    let calls = reflux_server::rest::reference().unwrap();
    let wanted = format!("{before}<!-- calls -->\n{calls}\n<!-- end of calls -->{after}");
    if wanted != text {
        if std::env::var_os("REFLUX_WRITE_DOCS").is_some() {
            std::fs::write(&page, wanted).unwrap();
        }
        panic!(
            "docs/api.md is stale; write it with REFLUX_WRITE_DOCS=1 cargo test -p reflux-server --test document"
        );
    }
}
