//! A hundred thousand runs that wait: memory, and how soon the engine is ready again.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use serde_json::json;

use crate::bed::{Bed, Bench, Figure, compile};

const RUNS: usize = 100_000;

/// Starts the runs in one process and opens them in another, which tells what it took.
pub fn run(bed: &Bed) -> Vec<Figure> {
    let place = bed.place();
    let started = Instant::now();
    let filled = child("fill", place.path());
    let fill_seconds = started.elapsed().as_secs_f64();
    let opened = child("open", place.path());
    let figure = |text: &str, name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.expect("the figure").trim().parse().expect("a number")
    };
    vec![
        Figure::new("starting 100,000 runs that sleep", RUNS as f64 / fill_seconds, "runs/s"),
        Figure::new("memory with 100,000 just started", figure(&filled, "rss"), "MB"),
        Figure::new("memory with 100,000 sleeping runs", figure(&opened, "rss"), "MB")
            .bar(100.0, 200.0),
        Figure::new("ready with 100,000 sleeping runs", figure(&opened, "ready"), "s")
            .bar(3.0, 6.0),
    ]
}

fn child(what: &str, dir: &Path) -> String {
    let this = std::env::current_exe().expect("this program");
    let output =
        Command::new(this).arg("--sleep-worker").arg(what).arg(dir).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The other process: `fill DIR` or `open DIR`.
pub fn worker(args: &[String]) {
    let [what, dir] = args else { panic!("what to do, and where") };
    let started = Instant::now();
    let bench = Bench::open(Path::new(dir));
    let flow = compile(&json!({
        "name": "sleep",
        "steps": [{ "id": "wait", "wait": "7d" }, { "id": "then", "needs": ["wait"], "node": "bench.noop" }],
    }));
    if what == "fill" {
        let (done, all) = std::sync::mpsc::channel();
        for n in 0..RUNS {
            let done = done.clone();
            let start = bench.start(&flow, format!("sleeper-{n}"), &json!({}));
            bench.engine.submit(start.into_request(Box::new(move |answer| {
                answer.expect("it starts");
                done.send(()).expect("somebody counts");
            })));
        }
        for _ in 0..RUNS {
            all.recv().expect("an answer");
        }
    } else {
        // Ready: a sleeper can be described, and a new flow finishes.
        let lane = reflux_engine::Lane {
            namespace: "default".into(),
            workflow_id: format!("sleeper-{}", RUNS / 2).into(),
        };
        assert!(bench.engine.current(&lane).expect("read").is_some());
        let quick = crate::bed::chain(1);
        let start = bench.start(&quick, "quick".to_owned(), &json!({ "n": 1 }));
        let key = lane_key(&start);
        let mut watch = bench.engine.watch(&key);
        bench.engine.start(start).expect("it starts");
        while watch.blocking_recv().expect("it is told of the end").closed.is_none() {}
        println!("ready {}", started.elapsed().as_secs_f64());
    }
    println!("rss {}", resident_mb());
    bench.close();
}

fn lane_key(start: &reflux_engine::StartFlow) -> reflux_core::RunKey {
    reflux_core::RunKey {
        namespace: start.namespace.clone(),
        workflow_id: start.workflow_id.clone(),
        run_id: start.run_id,
    }
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes / 1024.0
}
