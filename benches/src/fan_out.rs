//! A `for_each` over a thousand items.

use std::time::Instant;

use serde_json::json;

use crate::bed::{Bed, Bench, Compiled, Figure, compile, millis, percentile};

pub fn for_each(concurrency: usize) -> Compiled {
    compile(&json!({
        "name": "fan",
        "input": { "list": "array" },
        "steps": [{
            "id": "each",
            "for_each": { "items": "{{ input.list }}", "concurrency": concurrency },
            "node": "bench.noop",
            "with": { "n": "{{ item }}" },
        }],
    }))
}

/// From the start to the durable end of a thousand items at once.
pub fn thousand(bed: &Bed) -> Vec<Figure> {
    let place = bed.place();
    let bench = Bench::open(place.path());
    let flow = for_each(1_000);
    let list: Vec<usize> = (0..1_000).collect();
    let mut times: Vec<f64> = (0..11)
        .map(|n| {
            let input = json!({ "list": list });
            let started = Instant::now();
            bench.finish(&flow, format!("fan-{n}"), &input);
            millis(started.elapsed())
        })
        .collect();
    bench.close();
    vec![
        Figure::new("a for_each of 1,000 items, p50", percentile(&mut times, 50), "ms")
            .bar(100.0, 250.0),
    ]
}
