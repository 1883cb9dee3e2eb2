//! A run of one cached step, alone: when another run had the result, and when it has to call.

use std::time::Instant;

use serde_json::json;

use crate::bed::{Bed, Bench, Figure, compile, millis, percentile};

const RUNS: usize = 300;

/// From the start of a run to its durable end: with a hit that is one record, start, reuse and end.
pub fn hit(bed: &Bed) -> Vec<Figure> {
    let place = bed.place();
    let bench = Bench::open(place.path());
    let flow = compile(&json!({
        "name": "cached",
        "input": { "n": "number" },
        "steps": [
            { "id": "s0", "node": "bench.noop", "with": { "n": "{{ input.n }}" }, "cache": true }
        ],
    }));
    let runs = |name: &str, n: &dyn Fn(usize) -> usize| {
        let mut times: Vec<f64> = (0..RUNS)
            .map(|nth| {
                let started = Instant::now();
                bench.finish(&flow, format!("{name}-{nth}"), &json!({ "n": n(nth) }));
                millis(started.elapsed())
            })
            .collect();
        percentile(&mut times, 50)
    };
    // Each has an input of its own.
    let called = runs("called", &|nth| nth + 1);
    let hit = runs("hit", &|_| 1);
    let taken = bench.engine.cache_usage(&reflux_engine::CacheFilter {
        namespace: "default".into(),
        ..Default::default()
    });
    bench.close();
    vec![
        Figure::new("cache hit: a run of one step alone, p50", hit, "ms")
            .bar(0.3, 0.6)
            .note(format!("{} of {RUNS} were hits", taken.hits)),
        Figure::new("the same without a result, p50", called, "ms"),
    ]
}
