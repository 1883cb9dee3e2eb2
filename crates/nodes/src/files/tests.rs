use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;

use proptest::prelude::*;
use reflux_sdk::{Attempt, Context, Failure, Limits, Node};
use serde_json::{Value, json};

use super::{CsvRead, FileRead, FileWrite, Root};

struct Project {
    dir: tempfile::TempDir,
    root: Arc<Root>,
}

impl Project {
    /// `outside/secret` beside `root/`, which holds `a.txt`, `d/b.txt` and links in all directions.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("root");
        fs::create_dir_all(root.join("d")).unwrap();
        fs::create_dir_all(dir.path().join("outside")).unwrap();
        fs::write(dir.path().join("outside/secret"), "secret").unwrap();
        fs::write(root.join("a.txt"), "hello").unwrap();
        fs::write(root.join("d/b.txt"), [0xff, 0x00]).unwrap();
        symlink("../outside", root.join("dir-link")).unwrap();
        symlink("../outside/secret", root.join("file-link")).unwrap();
        symlink("a.txt", root.join("inner-link")).unwrap();
        symlink("/etc", root.join("etc-link")).unwrap();
        Self { root: Arc::new(Root::new(&root)), dir }
    }

    async fn read(&self, input: Value) -> Result<Value, Failure> {
        FileRead::new(Arc::clone(&self.root), 100).call(&context(), input).await
    }

    async fn write(&self, input: Value) -> Result<Value, Failure> {
        FileWrite::new(Arc::clone(&self.root), 100).call(&context(), input).await
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.dir.path().join("root").join(path)).unwrap()
    }
}

fn context() -> Context {
    Context::new(Attempt::default(), Limits::default())
}

async fn csv(input: Value) -> Result<Value, Failure> {
    let project = Project::new();
    CsvRead::new(Arc::clone(&project.root), 1 << 20).call(&context(), input).await
}

#[tokio::test]
async fn a_file_is_read_as_text_or_base64() {
    let project = Project::new();
    let text = project.read(json!({"path": "./a.txt"})).await.unwrap();
    assert_eq!(text, json!({"path": "./a.txt", "content": "hello", "size": 5}));
    let bytes = project.read(json!({"path": "d/b.txt", "encoding": "base64"})).await.unwrap();
    assert_eq!(bytes["content"], "/wA=");
    let absolute = project.dir.path().canonicalize().unwrap().join("root/a.txt");
    assert_eq!(project.read(json!({"path": absolute})).await.unwrap()["content"], "hello");
    fs::write(project.dir.path().join("root/big"), "x".repeat(101)).unwrap();
    let rows = [
        (json!({"path": "d/b.txt"}), "File.Encoding"),
        (json!({"path": "none"}), "File.NotFound"),
        (json!({"path": "none/none"}), "File.NotFound"),
        (json!({"path": "d"}), "File.Kind"),
        (json!({"path": "big"}), "File.TooLarge"),
        (json!({"path": ""}), "BadInput"),
        (json!({"path": "."}), "BadInput"),
        (json!({"path": "a\u{0}b"}), "BadInput"),
        (json!({"path": "x/".repeat(100)}), "BadInput"),
        (json!({"path": "a.txt", "encoding": "latin1"}), "BadInput"),
    ];
    for (input, kind) in rows {
        let failure = project.read(input.clone()).await.unwrap_err();
        assert_eq!((failure.kind.as_str(), failure.retryable), (kind, false), "{input}: {failure}");
    }
}

#[tokio::test]
async fn a_pipe_is_no_file_and_holds_nobody_up() {
    let project = Project::new();
    let pipe = project.dir.path().join("root/pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(project.read(json!({"path": "pipe"})).await.unwrap_err().kind, "File.Kind");
}

#[tokio::test]
async fn no_path_leads_out_of_the_directory() {
    let project = Project::new();
    let rows = [
        ("../outside/secret", "File.Outside"),
        ("d/../../outside/secret", "File.Outside"),
        ("d/../a.txt", "File.Outside"),
        ("..", "File.Outside"),
        ("/etc/passwd", "File.Outside"),
        ("/", "File.Outside"),
        ("//etc/passwd", "File.Outside"),
        ("dir-link/secret", "File.Link"),
        ("file-link", "File.Link"),
        ("inner-link", "File.Link"),
        ("etc-link/passwd", "File.Link"),
    ];
    for (path, kind) in rows {
        let failure = project.read(json!({ "path": path })).await.unwrap_err();
        assert_eq!(failure.kind, kind, "read {path}: {failure}");
        if path.ends_with("-link") {
            continue; // writing replaces the link itself, see below
        }
        let failure = project.write(json!({"path": path, "content": "x"})).await.unwrap_err();
        assert_eq!(failure.kind, kind, "write {path}: {failure}");
    }
    project.write(json!({"path": "file-link", "content": "mine"})).await.unwrap();
    assert_eq!(project.text("file-link"), "mine");
    let outside = fs::read_to_string(project.dir.path().join("outside/secret")).unwrap();
    assert_eq!(outside, "secret");
    assert_eq!(fs::read_dir(project.dir.path().join("outside")).unwrap().count(), 1);
}

#[tokio::test]
async fn a_file_is_written_whole_and_its_directories_are_made() {
    let project = Project::new();
    let rows = [
        (json!({"path": "new/deep/c.txt", "content": "text"}), "new/deep/c.txt", "text"),
        (json!({"path": "a.txt", "content": "again"}), "a.txt", "again"),
        (
            json!({"path": "v.json", "content": {"b": 1, "a": [null]}}),
            "v.json",
            r#"{"b":1,"a":[null]}"#,
        ),
        (json!({"path": "b64", "content": "aGk=\n", "encoding": "base64"}), "b64", "hi"),
        (json!({"path": "once", "content": "1", "replace": false}), "once", "1"),
    ];
    for (input, path, expected) in rows {
        let output = project.write(input.clone()).await.unwrap();
        assert_eq!(output, json!({"path": input["path"], "size": expected.len()}));
        assert_eq!(project.text(path), expected);
    }
    let rows = [
        (json!({"path": "once", "content": "2", "replace": false}), "File.Exists"),
        (json!({"path": "a.txt/x", "content": "2"}), "File.Io"),
        (json!({"path": "d", "content": "2"}), "File.Io"),
        (json!({"path": "e", "content": "x".repeat(101)}), "BadInput"),
        (json!({"path": "e", "content": "?", "encoding": "base64"}), "BadInput"),
        (json!({"path": "e", "content": 5, "encoding": "base64"}), "BadInput"),
    ];
    for (input, kind) in rows {
        assert_eq!(project.write(input.clone()).await.unwrap_err().kind, kind, "{input}");
    }
    assert_eq!(project.text("once"), "1");
    let left: Vec<_> = fs::read_dir(project.dir.path().join("root"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert!(left.iter().all(|name| !name.to_str().unwrap().starts_with(".reflux")), "{left:?}");
}

proptest! {
    #[test]
    fn no_generated_path_reaches_the_secret(parts in proptest::collection::vec(
        prop_oneof![Just(".."), Just("."), Just(""), Just("d"), Just("dir-link"), Just("file-link"), Just("outside"), Just("secret"), Just("root"), Just("/")],
        1..8,
    )) {
        let project = Project::new();
        if let Ok(bytes) = project.root.read(&parts.join("/"), 100) {
            prop_assert_ne!(bytes, b"secret");
        }
    }
}

#[tokio::test]
async fn rows_of_a_table_are_objects() {
    let rows = [
        (
            json!({"text": "a,b\n1,x\n2,\"y, \"\"z\"\"\nw\"\n"}),
            json!([{"a": "1", "b": "x"}, {"a": "2", "b": "y, \"z\"\nw"}]),
        ),
        (
            json!({"text": "\u{feff}a;b\r\n1;2\r\n", "delimiter": ";"}),
            json!([{"a": "1", "b": "2"}]),
        ),
        (
            json!({"text": "1\t2\n", "delimiter": "\t", "header": false}),
            json!([{"column1": "1", "column2": "2"}]),
        ),
        (json!({"text": "a,b"}), json!([])),
        (json!({"text": ""}), json!([])),
        (
            json!({"text": "a\n1\n-2.5\n1e3\n007\n+1\n99999999999999999999\ntrue\n\"\"\nx\n", "typed": true}),
            json!([{"a": 1}, {"a": -2.5}, {"a": 1000.0}, {"a": "007"}, {"a": "+1"}, {"a": "99999999999999999999"}, {"a": true}, {"a": null}, {"a": "x"}]),
        ),
    ];
    for (input, expected) in rows {
        let table = csv(input.clone()).await.unwrap();
        assert_eq!(table["rows"], expected, "{input}");
        assert_eq!(table["count"], expected.as_array().unwrap().len());
    }
    let project = Project::new();
    fs::write(project.dir.path().join("root/t.csv"), "k\nv\n").unwrap();
    let node = CsvRead::new(Arc::clone(&project.root), 100);
    let table = node.call(&context(), json!({"path": "t.csv"})).await.unwrap();
    assert_eq!(table, json!({"count": 1, "rows": [{"k": "v"}], "columns": ["k"]}));
}

#[tokio::test]
async fn a_table_that_cannot_be_read_says_where() {
    let rows = [
        (json!({"text": "a,b\n1,2\n3\n"}), "line 3: expected 2 fields, found 1"),
        (json!({"text": "a,a\n1,2\n"}), "column \"a\" appears twice"),
        (json!({"text": "a\n1\n2\n3\n", "max_rows": 2}), "more than 2 rows"),
        (json!({"text": ",".repeat(1_001), "header": false}), "is the delimiter right?"),
        (json!({"text": "a", "delimiter": "::"}), "one ASCII character"),
        (json!({"text": "a", "delimiter": "\""}), "one ASCII character"),
        (json!({"text": "a", "path": "b"}), "give `path` or `text`"),
        (json!({}), "give `path` or `text`"),
        (json!({"path": "../outside/secret"}), "leads out of the files"),
        (json!({"path": "d/b.txt", "header": false}), "line 1: not UTF-8"),
        (json!({"text": "x".repeat(2 << 20)}), "longer than"),
    ];
    for (input, expected) in rows {
        let failure = csv(input.clone()).await.unwrap_err();
        assert!(failure.message.contains(expected), "{expected}: {failure}");
    }
}
