//! Steps of flows with a no-op node: many runs at once, and one alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::bed::{Bed, Bench, Figure, chain, millis, percentile};

const STEPS: usize = 10;
const AT_ONCE: usize = 64;
const SECONDS: u64 = 10;

/// 64 flows of ten steps at once: durable steps in a second.
pub fn many(bed: &Bed) -> Vec<Figure> {
    let place = bed.place();
    let bench = Arc::new(Bench::open(place.path()));
    let flow = Arc::new(chain(STEPS));
    let next = Arc::new(AtomicUsize::new(0));
    run_for(&bench, &flow, &next, Duration::from_secs(1));
    let before = bench.engine.usage().expect("usage").log;
    let started = Instant::now();
    let runs = run_for(&bench, &flow, &next, Duration::from_secs(SECONDS));
    let took = started.elapsed().as_secs_f64();
    let after = bench.engine.usage().expect("usage").log;
    let steps = (runs * STEPS) as f64;
    let note = format!(
        "{:.2} appends, {:.3} fsyncs, {:.0} log bytes per step",
        (after.appends - before.appends) as f64 / steps,
        (after.syncs - before.syncs) as f64 / steps,
        (after.record_bytes - before.record_bytes) as f64 / steps,
    );
    Arc::into_inner(bench).expect("nobody else has it").close();
    vec![
        Figure::new("durable steps, 64 flows of 10 at once", steps / took, "steps/s")
            .bar(20_000.0, 10_000.0)
            .note(note),
    ]
}

/// Starts runs on 64 threads' worth of watchers, each the next when its last has ended.
fn run_for(
    bench: &Arc<Bench>,
    flow: &Arc<crate::bed::Compiled>,
    next: &Arc<AtomicUsize>,
    time: Duration,
) -> usize {
    let until = Instant::now() + time;
    let threads: Vec<_> = (0..AT_ONCE)
        .map(|_| {
            let (bench, flow, next) = (bench.clone(), flow.clone(), next.clone());
            std::thread::spawn(move || {
                let mut done = 0;
                while Instant::now() < until {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    one(&bench, &flow, format!("run-{n}"), n);
                    done += 1;
                }
                done
            })
        })
        .collect();
    threads.into_iter().map(|thread| thread.join().expect("a client")).sum()
}

/// Starts one run and waits until its end is durable.
pub fn one(bench: &Bench, flow: &crate::bed::Compiled, id: String, n: usize) {
    let start = bench.start(flow, id, &serde_json::json!({ "n": n }));
    let key = reflux_core::RunKey {
        namespace: start.namespace.clone(),
        workflow_id: start.workflow_id.clone(),
        run_id: start.run_id,
    };
    let mut watch = bench.engine.watch(&key);
    bench.engine.start(start).expect("it starts");
    while watch.blocking_recv().expect("it is told of the end").closed.is_none() {}
}

/// One run of a hundred steps with nothing beside it: what one step takes.
pub fn alone(bed: &Bed) -> Vec<Figure> {
    const LENGTH: usize = 100;
    let place = bed.place();
    let bench = Bench::open(place.path());
    let flow = chain(LENGTH);
    let mut times: Vec<f64> = (0..30)
        .map(|n| {
            let started = Instant::now();
            one(&bench, &flow, format!("run-{n}"), n);
            millis(started.elapsed()) / LENGTH as f64
        })
        .collect();
    bench.close();
    vec![
        Figure::new("a step of one run alone, p50", percentile(&mut times, 50), "ms").bar(0.6, 1.2),
    ]
}
