//! Runs of ten thousand steps and of ten thousand items: does a step cost the same at the end?

use std::time::Instant;

use serde_json::json;

use crate::bed::{Bed, Bench, Compiled, Figure, chain};
use crate::fan_out::for_each;

const LENGTH: usize = 10_000;
const PARTS: usize = 10;

pub fn run(bed: &Bed) -> Vec<Figure> {
    let list: Vec<usize> = (0..LENGTH).collect();
    let mut figures = measure(bed, "a step", &chain(LENGTH), &json!({ "n": 1 }));
    figures.extend(measure(bed, "an item", &for_each(64), &json!({ "list": list })));
    figures
}

/// What one of ten thousand takes, in the first and in the last tenth.
fn measure(bed: &Bed, what: &str, flow: &Compiled, input: &serde_json::Value) -> Vec<Figure> {
    let place = bed.place();
    let bench = Bench::open(place.path());
    let start = bench.start(flow, "long".to_owned(), input);
    let key = reflux_core::RunKey {
        namespace: start.namespace.clone(),
        workflow_id: start.workflow_id.clone(),
        run_id: start.run_id,
    };
    let mut watch = bench.engine.watch(&key);
    let started = Instant::now();
    bench.engine.start(start).expect("it starts");
    let mut marks = vec![0.0];
    let mut done = 0;
    loop {
        let change = watch.blocking_recv().expect("it is told of the end");
        done += change
            .items
            .iter()
            .filter(|item| {
                matches!(item, reflux_core::Item::Event(event)
                    if matches!(event.kind, reflux_core::Kind::ActivityCompleted(_)))
            })
            .count();
        while done >= marks.len() * LENGTH / PARTS {
            marks.push(started.elapsed().as_secs_f64());
        }
        if change.closed.is_some() {
            break;
        }
    }
    bench.close();
    let part = |n: usize| (marks[n] - marks[n - 1]) * 1e6 / (LENGTH / PARTS) as f64;
    vec![
        Figure::new(&format!("{what} of 10,000, in the first tenth"), part(1), "us"),
        Figure::new(&format!("{what} of 10,000, in the last tenth"), part(PARTS), "us")
            .note(format!("{:.2} s in all", marks[PARTS])),
    ]
}
