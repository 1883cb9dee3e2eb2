//! Folding a history from its bytes.

use std::time::Instant;

use prost::Message as _;
use reflux_core::Item;
use reflux_proto::reflux::v1 as wire;
use serde_json::json;

use crate::bed::{Bed, Bench, Figure, chain, compile, millis, percentile};

const LENGTH: usize = 2_000;
const TIMES: usize = 50;
/// Each costs three events of the 51,200 that a history may have: as many as one list may have, and
/// the rest.
const ITEMS: usize = 15_000;
const MORE: usize = 1_700;
/// The event whose state is asked for.
const AT: i64 = 49_000;

/// Events in a second: decoded, applied, and observed by the flow.
pub fn run(bed: &Bed) -> Vec<Figure> {
    let place = bed.place();
    let bench = Bench::open(place.path());
    let flow = chain(LENGTH);
    let key = bench.finish(&flow, "history".to_owned(), &json!({ "n": 1 }));
    let items = bench.engine.items(&key).expect("its items");
    bench.close();

    let events = items.iter().filter(|item| matches!(item, Item::Event(_))).count();
    let encoded: Vec<bytes::Bytes> =
        items.iter().map(|item| item.encode().encode_to_vec().into()).collect();
    let decode = || {
        encoded.iter().map(|bytes| {
            Item::decode(wire::Item::decode(bytes.clone()).expect("an item")).expect("an item")
        })
    };
    let started = Instant::now();
    for _ in 0..TIMES {
        let run = reflux_core::replay(key.clone(), decode().map(Ok::<_, reflux_core::ReplayError>));
        assert!(run.expect("it replays").closed.is_some());
    }
    let core = (events * TIMES) as f64 / started.elapsed().as_secs_f64();

    let bundle =
        std::sync::Arc::new(reflux_flow::Bundle::from_bytes(&flow.spec.bytes).expect("a bundle"));
    let started = Instant::now();
    for _ in 0..TIMES {
        let mut progress =
            reflux_flow::Progress::new(bundle.clone(), &flow.name, key.clone()).expect("a flow");
        let mut run = reflux_core::Run::new(key.clone());
        for item in decode() {
            reflux_core::apply(&mut run, &item).expect("it applies");
            if let Item::Event(event) = &item {
                progress.observe(event).expect("it fits the flow");
            }
        }
    }
    let whole = (events * TIMES) as f64 / started.elapsed().as_secs_f64();

    let bundles = |_: &reflux_core::Payload| Some(bundle.clone());
    let started = Instant::now();
    for _ in 0..TIMES {
        let verified = reflux_flow::replay::verify(key.clone(), &items, &bundles);
        assert_eq!(verified.expect("a flow's run").divergence, None);
    }
    let verified = (events * TIMES) as f64 / started.elapsed().as_secs_f64();
    vec![
        Figure::new("replay from bytes", core, "events/s")
            .bar(500_000.0, 250_000.0)
            .note("deltas not counted"),
        Figure::new("replay from bytes, the flow's state too", whole, "events/s"),
        Figure::new("replay, every decision decided again", verified, "events/s")
            .bar(200_000.0, 100_000.0),
    ]
}

/// The state at an event of a run with as many events as a history may have.
pub fn state(bed: &Bed) -> Vec<Figure> {
    let place = bed.place();
    let bench = Bench::open(place.path());
    let each = |id: &str, needs: &[&str], list: &str| {
        json!({
            "id": id, "needs": needs, "node": "bench.noop", "with": { "n": "{{ item }}" },
            "for_each": { "items": format!("{{{{ input.{list} }}}}"), "concurrency": 64 },
        })
    };
    let flow = compile(&json!({
        "name": "twice", "input": { "list": "array", "more": "array" },
        "steps": [each("first", &[], "list"), each("second", &["first"], "more")],
    }));
    let list = |length: usize| (0..length).collect::<Vec<_>>();
    let input = json!({ "list": list(ITEMS), "more": list(MORE) });
    let key = bench.finish(&flow, "state".to_owned(), &input);
    let bundle =
        std::sync::Arc::new(reflux_flow::Bundle::from_bytes(&flow.spec.bytes).expect("a bundle"));
    let mut took: Vec<f64> = (0..11)
        .map(|_| {
            let started = Instant::now();
            let items = bench.engine.items(&key).expect("its items");
            let bundles = |_: &reflux_core::Payload| Some(bundle.clone());
            let view = reflux_flow::replay::View::default();
            let at = Some(reflux_core::EventId(AT));
            let state = reflux_flow::replay::state_at(key.clone(), &items, &bundles, at, view);
            assert_eq!(state.expect("it folds").event, AT);
            millis(started.elapsed())
        })
        .collect();
    let events = bench.engine.items(&key).expect("its items");
    let events = events.iter().filter(|item| matches!(item, Item::Event(_))).count();
    bench.close();
    vec![
        Figure::new(
            "the state at an event of a run of 50,000, p50",
            percentile(&mut took, 50),
            "ms",
        )
        .bar(200.0, 500.0)
        .note(format!("event {AT} of {events}: read from the store, decoded, folded")),
    ]
}
