//! Prints how fast histories are replayed and steps are decided:
//! `cargo run --release -p reflux-core --example replay_speed`.

#![allow(clippy::print_stdout, clippy::disallowed_types, clippy::disallowed_methods)]

use std::error::Error;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use prost::Message as _;
use reflux_core::*;
use reflux_proto::reflux::v1 as wire;

const STEPS: usize = 50_000;

fn main() -> Result<(), Box<dyn Error>> {
    let key = RunKey {
        namespace: "default".into(),
        workflow_id: "speed".into(),
        run_id: RunId(uuid::Uuid::from_u128(1)),
    };
    let boot = BootId(uuid::Uuid::from_u128(2));
    let limits =
        Limits { history_events_max: u64::MAX, history_bytes_max: u64::MAX, ..Limits::default() };
    let ctx = Context {
        now: Timestamp(1_700_000_000_000_000_000),
        limits,
        local: Local { queue: "local".into(), worker: Worker { identity: "here".into(), boot } },
        new_run_id: RunId(uuid::Uuid::from_u128(3)),
    };
    let mut start =
        Start { workflow_type: "speed".into(), task_queue: "local".into(), ..Start::default() };
    start.header.fields.insert(HEADER_SPEC.into(), json_payload("1"));
    let mut draft = Draft::new(key.clone());
    decide(&mut draft, &ctx, Command::Start(Box::new(start)))?;
    let mut last = step(&mut draft, &ctx, None)?;
    let (mut run, items) = draft.into_parts();
    let mut log: Vec<wire::Item> = items.iter().map(Item::encode).collect();

    let mut scratch = BytesMut::with_capacity(64 * 1024);
    let mut took = Duration::ZERO;
    for _ in 0..STEPS {
        let begun = Instant::now();
        let mut draft = Draft::of(run);
        last = step(&mut draft, &ctx, Some(last))?;
        let effects = draft.effects();
        let (after, items) = draft.into_parts();
        log.extend(items.iter().map(|item| item.encode_with(&mut scratch)));
        took += begun.elapsed();
        black_box(effects);
        run = after;
    }
    let steps = u32::try_from(STEPS)?;
    println!("step: {:?} (decide, apply, effects, encode of 5 items)", took / steps);

    let bytes = BytesMut::from(wire::Entry { entity: None, items: log }.encode_to_vec().as_slice());
    let bytes = bytes.freeze();
    let begun = Instant::now();
    let entry = wire::Entry::decode(bytes.clone())?;
    let count = entry.items.len();
    let again = replay(key, entry.items.into_iter().map(Item::decode))?;
    let took = begun.elapsed();
    if again.hash() != run.hash() {
        return Err("the replay differs from the live run".into());
    }
    let per_second = |n: f64| n / took.as_secs_f64();
    let events = f64::from(u32::try_from(again.history_events())?);
    println!("replay: {:.0} events/s", per_second(events));
    println!("replay: {:.0} items/s of {count}", per_second(f64::from(u32::try_from(count)?)));
    println!("replay: {:.0} MB/s", per_second(f64::from(u32::try_from(bytes.len())?)) / 1e6);
    Ok(())
}

/// Completes the last activity and schedules the next.
fn step(
    draft: &mut Draft,
    ctx: &Context,
    last: Option<EventId>,
) -> Result<EventId, Box<dyn Error>> {
    if let Some(scheduled) = last {
        let at = AttemptRef { scheduled, attempt: 1, started_at: Some(ctx.now) };
        let result = payload();
        decide(draft, ctx, Command::CompleteActivity { at, result, report: None })?;
    }
    let id = draft.run().next_event_id;
    let next = ScheduleActivity {
        activity_id: format!("step-{id}").into(),
        activity_type: "http.request".into(),
        input: payload(),
        start_to_close: Some(Duration::from_secs(60)),
        ..ScheduleActivity::default()
    };
    decide(draft, ctx, Command::Decide(vec![Decision::ScheduleActivity(Box::new(next))]))?;
    Ok(id)
}

fn payload() -> Payloads {
    Payloads { payloads: vec![json_payload(vec![b'x'; 100])] }
}
