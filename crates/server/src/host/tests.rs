//! Real nodes under a real engine: what the run is told, and what it is not.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use reflux_core::{Delta, Item};
use reflux_engine::{Engine, Options};
use reflux_flow::graph::Bundle;
use reflux_flow::syntax;
use reflux_sdk::{Catalogue, Context, Failure, Level, Manifest, node};
use serde_json::{Value, json};

use crate::Project;
use crate::catalogue::Nodes;
use crate::host::LocalHost;
use crate::protocol::{Request, Response, RunRef, StartRun};
use crate::secrets::Secrets;
use crate::service::Service;
use crate::story::{Story, Telling};

struct Bench {
    _dir: tempfile::TempDir,
    service: Arc<Service>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.service.engine().shutdown();
        self.service.host().stop();
    }
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let project = Project::at(dir.path()).unwrap();
        project.create_dir().unwrap();
        let secrets = BTreeMap::from([("TOKEN".to_owned(), "s3cret-value".to_owned())]);
        let host = LocalHost::new(Nodes::of(nodes()), Secrets::of(secrets).unwrap(), 8).unwrap();
        let engine =
            Engine::open(Options { partitions: 1, ..Options::at(project.data()) }, host.clone())
                .unwrap();
        host.connect(engine.clone());
        Self { _dir: dir, service: Arc::new(Service::new(engine, host, project)) }
    }

    fn start(&self, steps: &str) -> RunRef {
        let parsed = syntax::parse("f.yaml", &format!("name: f\nsteps:\n{steps}")).unwrap();
        let bundle = Bundle::collect_parsed(&parsed, |_| None).unwrap();
        let start = StartRun {
            bundle: String::from_utf8(bundle.to_bytes()).unwrap(),
            flow: "f".into(),
            input: Value::Null,
            workflow_id: crate::protocol::new_workflow_id("f"),
            request_id: "r".into(),
            use_existing: false,
        };
        match self.ask(Request::Start(Box::new(start))) {
            Response::Started { run, .. } => run,
            other => panic!("{other:?}"),
        }
    }

    fn ask(&self, request: Request) -> Response {
        let mut last = None;
        self.service.answer(request, &mut |response| {
            last = Some(response);
            true
        });
        last.unwrap()
    }

    fn end(&self, run: &RunRef) -> Story {
        let mut telling = Telling::new(run.key(), None);
        self.service.answer(Request::Items { run: run.clone(), follow: true }, &mut |response| {
            if let Response::Item { item } = response {
                telling.take(&item.0);
            }
            true
        });
        telling.story()
    }

    fn run(&self, steps: &str) -> Story {
        self.end(&self.start(steps))
    }
}

fn nodes() -> Catalogue {
    let mut catalogue = Catalogue::new();
    let manifest = |name: &str| {
        Manifest::from_json(
            &json!({"name": name, "version": "1.0.0", "effects": "pure"}).to_string(),
        )
        .unwrap()
    };
    catalogue.insert(Arc::new(node(manifest("echo"), |ctx: Context, input: Value| async move {
        ctx.log(Level::Info, format!("echo {input}"));
        ctx.metric("calls", 1.0);
        Ok::<_, Failure>(input)
    })));
    catalogue.insert(Arc::new(node(manifest("fail"), |_: Context, input: Value| async move {
        Err::<Value, _>(
            Failure::permanent("Broken", format!("cannot use {input}"))
                .with_details(json!({"seen": input})),
        )
    })));
    catalogue.insert(Arc::new(node(manifest("panic"), |_: Context, input: Value| async move {
        assert!(input.is_number(), "a text");
        Ok::<_, Failure>(input)
    })));
    catalogue.insert(Arc::new(node(manifest("hang"), |ctx: Context, _: Value| async move {
        ctx.heartbeat(json!(1));
        ctx.cancellation().await;
        Err::<Value, _>(Failure::cancelled())
    })));
    catalogue.insert(Arc::new(node(manifest("deaf"), |_: Context, _: Value| async move {
        std::future::pending::<()>().await;
        Ok::<_, Failure>(Value::Null)
    })));
    catalogue.insert(Arc::new(node(manifest("large"), |_: Context, bytes: Value| async move {
        let bytes = bytes.get("bytes").and_then(Value::as_u64).unwrap_or(0);
        Ok::<_, Failure>(json!("x".repeat(usize::try_from(bytes).unwrap_or(0))))
    })));
    catalogue
}

fn kind(story: &Story) -> &str {
    story
        .error
        .as_ref()
        .and_then(|error| error.get("kind"))
        .and_then(Value::as_str)
        .unwrap_or("none")
}

#[test]
fn a_node_gets_its_input_and_the_run_its_output_and_report() {
    let bench = Bench::new();
    let story = bench.run("  - {id: a, node: echo, with: {x: [1, two]}}\n  - {id: b, node: echo, with: {y: '{{ steps.a.output.x }}'}}\n");
    assert_eq!(story.status, "completed", "{story:?}");
    assert_eq!(story.output, Some(json!({"b": {"y": [1, "two"]}})));
    let attempt = &story.steps[0].visits[0].attempts[0];
    assert_eq!(attempt.logs[0].text, "echo {\"x\":[1,\"two\"]}");
    assert_eq!(attempt.metrics.get("calls"), Some(&1.0));
    assert_eq!(attempt.outcome, Some("completed"));
}

#[test]
fn a_secret_reaches_its_node_and_nothing_else() {
    let bench = Bench::new();
    let story = bench.run("  - {id: a, node: echo, with: {key: 'Bearer {{ secrets.TOKEN }}'}}\n");
    assert_eq!(story.status, "completed", "{story:?}");
    assert_eq!(story.output, Some(json!({"a": {"key": "Bearer {{ secrets.TOKEN }}"}})));
    let failed = bench.run("  - {id: a, node: fail, with: {key: '{{ secrets.TOKEN }}'}}\n");
    assert_eq!(kind(&failed), "Broken");
    for story in [story, failed] {
        let told = serde_json::to_string(&story).unwrap();
        assert!(!told.contains("s3cret-value"), "{told}");
        assert!(told.contains("secrets.TOKEN"), "{told}");
    }
}

#[test]
fn what_cannot_be_done_fails_the_step_and_says_why() {
    let bench = Bench::new();
    for (step, expected, part) in [
        (
            "{id: a, node: echo, with: {key: '{{ secrets.NOPE }}'}}",
            "SecretMissing",
            "REFLUX_SECRET_NOPE",
        ),
        ("{id: a, node: panic}", "Panic", "a text"),
        ("{id: a, node: unheard}", "NodeNotFound", "unheard"),
        ("{id: a, node: deaf, timeout: 50ms}", "Timeout", ""),
        ("{id: a, node: large, with: {bytes: 2097152}}", "OutputTooLarge", "write it to a file"),
    ] {
        let story = bench.run(&format!("  - {step}\n"));
        assert_eq!(
            (story.status.as_str(), kind(&story)),
            ("failed", expected),
            "{step}: {:?}",
            story.error
        );
        assert!(story.error.unwrap().to_string().contains(part), "{step}");
    }
    let fits = bench.run("  - {id: a, node: large, with: {bytes: 2000000}}\n");
    assert_eq!(fits.status, "completed", "{:?}", fits.error);
}

#[test]
fn a_cancelled_run_stops_its_nodes() {
    let bench = Bench::new();
    let run = bench.start("  - {id: a, node: hang}\n");
    while bench.service.host().running() == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    bench.ask(Request::Cancel { run: run.clone(), reason: String::new(), request_id: "c".into() });
    let story = bench.end(&run);
    assert_eq!(story.status, "canceled");
    assert_eq!(story.steps[0].visits[0].attempts[0].outcome, Some("canceled"));
}

#[test]
fn what_is_held_back_is_given_back_as_if_it_had_never_begun() {
    let bench = Bench::new();
    bench.service.host().hold_back();
    let run = bench.start("  - {id: a, node: echo}\n");
    // What comes of the start is durable before the engine has stopped.
    bench.service.engine().shutdown();
    assert_eq!(bench.service.host().running(), 0);
    let items = bench.service.engine().items(&run.key()).unwrap();
    let mut telling = Telling::new(run.key(), None);
    items.iter().for_each(|item| telling.take(item));
    let story = telling.story();
    assert_eq!((story.status.as_str(), story.steps[0].visits[0].attempts.len()), ("running", 0));
    assert!(items.iter().any(|item| matches!(item, Item::Delta(Delta::Unclaimed { .. }))));
}

#[test]
fn a_thousand_items_run_a_few_at_once() {
    let bench = Bench::new();
    let items: Vec<u32> = (0..1000).collect();
    let story = bench.run(&format!(
        "  - {{id: a, node: echo, for_each: {{items: {items:?}, concurrency: 100}}, with: {{i: '{{{{ item }}}}'}}}}\n"
    ));
    assert_eq!(story.status, "completed", "{:?}", story.error);
    assert_eq!(story.steps[0].items, Some((1000, 1000)));
    assert_eq!(story.output.unwrap().pointer("/a/999/i"), Some(&json!(999)));
}
