//! What a re-drive would do, worked out for a long run.

use std::time::Instant;

use reflux_engine::Redriving;
use reflux_flow::redrive::Scope;
use serde_json::json;

use crate::bed::{Bed, Bench, Figure, chain, millis, percentile};

const LENGTH: usize = 10_000;

/// A plan: the base is read and folded, the new run decided as far as it goes.
pub fn plan(bed: &Bed) -> Vec<Figure> {
    let place = bed.place();
    let bench = Bench::open(place.path());
    let base = bench.finish(&chain(LENGTH), "base".to_owned(), &json!({ "n": 1 }));
    let last = format!("s{}", LENGTH - 1);
    let wanted = Redriving { scope: Scope::Step(last), ..Redriving::default() };
    let mut took: Vec<f64> = (0..11)
        .map(|_| {
            let started = Instant::now();
            assert_eq!(bench.plan(&base, &wanted).rows.len(), LENGTH);
            millis(started.elapsed())
        })
        .collect();
    bench.close();
    vec![
        Figure::new("the plan of a re-drive of 10,000 steps, p50", percentile(&mut took, 50), "ms")
            .bar(300.0, 800.0)
            .note("all but the last are kept"),
    ]
}
