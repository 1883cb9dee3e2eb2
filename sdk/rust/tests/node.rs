//! Nodes, their contexts and the catalogue, as a host uses them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::Duration;

use reflux_sdk::{Attempt, Catalogue, Context, Failure, Host, Level, Limits, Manifest, Node, node};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

struct Fixed(u64);

impl Host for Fixed {
    fn now_ms(&self) -> u64 {
        self.0
    }
}

fn context(limits: Limits) -> Context {
    Context::hosted(Attempt::default(), limits, Arc::new(Fixed(1_000)))
}

fn now<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => panic!("it waits"),
    }
}

#[derive(Deserialize)]
struct Input {
    name: String,
}

#[derive(Serialize)]
struct Output {
    text: String,
}

fn greet(version: &str) -> Arc<dyn Node> {
    Arc::new(node(
        Manifest::new("demo.greet", version).unwrap(),
        |ctx: Context, input: Input| async move {
            ctx.log(Level::Info, "greeting");
            match input.name.as_str() {
                "nobody" => Err(Failure::permanent("Nobody", "there is nobody")),
                name => Ok(Output { text: format!("hello {name}") }),
            }
        },
    ))
}

#[test]
fn a_typed_function_is_a_node() {
    let ctx = context(Limits::default());
    let call = |input: Value| now(greet("1.0.0").call(&ctx, input));
    assert_eq!(call(json!({"name": "Ada"})), Ok(json!({"text": "hello Ada"})));
    assert_eq!(call(json!({"name": "nobody"})).unwrap_err().kind, "Nobody");
    assert_eq!(call(json!({})).unwrap_err().kind, Failure::BAD_INPUT);
    assert_eq!(ctx.report().logs.len(), 2);
}

#[test]
fn the_report_holds_what_was_said_and_is_taken_once() {
    let ctx = context(Limits::default());
    let clone = ctx.clone();
    clone.log(Level::Warn, "one\ntwo");
    clone.metric("rows", 1.0);
    clone.metric("rows", 2.0);
    clone.metric("bad", f64::NAN);
    clone.tokens(1, 2);
    clone.tokens(u64::MAX, 3);
    clone.cost(0.5);
    clone.cost(0.25);
    clone.cost(-1.0);
    clone.cost(f64::INFINITY);
    clone.heartbeat(json!(1));
    clone.heartbeat(json!({"at": 2}));
    let report = ctx.report();
    let lines: Vec<_> =
        report.logs.iter().map(|line| (line.at_ms, line.level, line.line.as_str())).collect();
    assert_eq!(lines, [(1_000, Level::Warn, "one"), (1_000, Level::Warn, "two")]);
    assert_eq!(report.metrics.into_iter().collect::<Vec<_>>(), [("rows".to_owned(), 2.0)]);
    assert_eq!((report.tokens.input, report.tokens.output, report.cost_usd), (u64::MAX, 5, 0.75));
    assert_eq!(report.heartbeat, Some(json!({"at": 2})));
    assert_eq!(ctx.report(), reflux_sdk::Report::default());
}

#[test]
fn what_is_kept_of_an_attempt_is_bounded() {
    let limits = Limits { log_bytes: 10, log_lines: 3, metrics: 2, ..Limits::default() };
    let rows: &[(&[&str], &[&str], u64)] = &[
        (&["a", "b", "c", "d"], &["b", "c", "d"], 1),
        (&["aaaaa", "bbbbb", "c"], &["bbbbb", "c"], 1),
        (&["0123456789abc"], &["0123456789"], 0),
        (&["x", "üüüüüü"], &["üüüüü"], 1), // cut between characters, never inside one
        (&["", ""], &[], 0),
    ];
    for (lines, expected, dropped) in rows {
        let ctx = context(limits);
        lines.iter().for_each(|line| ctx.log(Level::Info, line));
        let report = ctx.report();
        let kept: Vec<_> = report.logs.iter().map(|line| line.line.as_str()).collect();
        assert_eq!((kept.as_slice(), report.logs_dropped), (*expected, *dropped), "{lines:?}");
    }
    let ctx = context(limits);
    ["a", "b", "c", "a"].iter().for_each(|name| ctx.metric(name, 1.0));
    assert_eq!(ctx.report().metrics.len(), 2);
}

#[test]
fn time_left_is_counted_by_the_hosts_clock() {
    for (deadline_ms, expected) in [(None, None), (Some(1_500), Some(500)), (Some(900), Some(0))] {
        let attempt = Attempt { deadline_ms, ..Attempt::default() };
        let ctx = Context::hosted(attempt, Limits::default(), Arc::new(Fixed(1_000)));
        assert_eq!(ctx.remaining(), expected.map(Duration::from_millis));
    }
}

struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn everyone_who_waits_learns_of_a_cancellation_and_nobody_else_is_woken() {
    let ctx = context(Limits::default());
    let count = Arc::new(Count(AtomicUsize::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = std::task::Context::from_waker(&waker);
    let mut first = pin!(ctx.cancellation());
    let mut second = pin!(ctx.clone().cancellation());
    assert!(first.as_mut().poll(&mut cx).is_pending() && first.as_mut().poll(&mut cx).is_pending());
    assert!(second.as_mut().poll(&mut cx).is_pending());
    {
        let mut dropped = Box::pin(ctx.cancellation());
        assert!(dropped.as_mut().poll(&mut cx).is_pending());
    }
    assert!(!ctx.cancelled());
    ctx.cancel();
    ctx.cancel();
    assert!(ctx.cancelled());
    assert_eq!(count.0.load(Ordering::SeqCst), 2);
    assert!(first.as_mut().poll(&mut cx).is_ready() && second.as_mut().poll(&mut cx).is_ready());
    now(ctx.cancellation());
}

#[test]
fn the_newest_release_is_found_unless_a_version_is_named() {
    let mut catalogue = Catalogue::new();
    for version in ["1.9.0", "1.10.0", "2.0.0-draft", "0.1.0"] {
        assert!(catalogue.insert(greet(version)).is_none());
    }
    assert!(catalogue.insert(greet("1.9.0")).is_some());
    let version =
        |reference: &str| catalogue.find(reference).map(|node| node.manifest().version.clone());
    let rows = [
        ("demo.greet", Some("1.10.0")),
        ("demo.greet@1.9.0", Some("1.9.0")),
        ("demo.greet@2.0.0-draft", Some("2.0.0-draft")),
        ("demo.greet@3.0.0", None),
        ("demo.great", None),
    ];
    for (reference, expected) in rows {
        assert_eq!(version(reference).as_deref(), expected, "{reference}");
    }
    assert_eq!(
        catalogue.versions("demo.greet").collect::<Vec<_>>(),
        ["0.1.0", "1.9.0", "1.10.0", "2.0.0-draft"]
    );
    let mut drafts = Catalogue::new();
    drafts.insert(greet("0.1.0-draft"));
    assert!(drafts.get("demo.greet", None).is_some());
}

#[test]
fn a_misspelt_name_is_recognised() {
    let mut catalogue = Catalogue::new();
    for name in ["http.request", "util.transform", "util.template", "webhook.out"] {
        let manifest = Manifest::new(name, "1.0.0").unwrap();
        catalogue.insert(Arc::new(node(manifest, |_: Context, input: Value| async move {
            Ok::<_, Failure>(input)
        })));
    }
    let rows: &[(&str, &[&str])] = &[
        ("http.reqest", &["http.request"]),
        ("HTTP.Request", &["http.request"]),
        ("fetch.request", &["http.request"]),
        ("util.transfrom", &["util.transform"]),
        ("xyz", &[]),
    ];
    for (misspelt, expected) in rows {
        assert_eq!(catalogue.suggestions(misspelt), *expected, "{misspelt}");
    }
}
