//! Prints how long commits take, how fast runs are read, and what 100,000 sleeping runs cost.
//!
//! `cargo run --release -p reflux-store --example store_speed [DIR]`
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use reflux_core::{RunId, RunKey, Status, Timestamp};
use reflux_store::{Changes, Error, Filter, Options, Place, RunChange, Store, Summary, snapshot};

const RUNS: u32 = 100_000;
const BATCH: u32 = 64;
const ITEM_BYTES: usize = 600;
const PARTITIONS: u32 = 4;

fn main() -> Result<(), Error> {
    let dir = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("store-speed-{}", std::process::id()));
    let options = Options::new(|_, _| Ok(()));

    let start = Instant::now();
    let store = Store::open(&dir, &options)?;
    for id in 0..PARTITIONS {
        store.partition(id)?;
    }
    println!("open an empty store, {PARTITIONS} partitions   {:?}", start.elapsed());

    println!("resident {} MiB", resident_mib());
    report("start 64 runs", commit_all(&store, 0, false)?);
    report("64 runs, one step each", commit_all(&store, 1, false)?);
    report("64 runs, one step each, old index rows known", commit_all(&store, 2, true)?);
    println!("{:?}, resident {} MiB", store.usage()?, resident_mib());

    let partition = store.partition(0)?;
    let start = Instant::now();
    let mut items = 0;
    for number in
        (0..RUNS).filter(|number| (number / BATCH).is_multiple_of(PARTITIONS)).take(10_000)
    {
        items += partition.items(&new_run(number).key, 0)?.count();
    }
    println!("load 10,000 runs                        {:?} ({items} items)", start.elapsed());
    let start = Instant::now();
    let due = partition.due(Timestamp::MAX, None, 25_000)?.len();
    println!("{due} due runs                       {:?}", start.elapsed());
    let start = Instant::now();
    let page = partition.list(&Filter::all("default"), None, 100)?.runs.len();
    println!("list {page} runs                           {:?}", start.elapsed());
    let start = Instant::now();
    let filter = Filter { text: Some("no such run".into()), ..Filter::all("default") };
    partition.list(&filter, None, 100)?;
    println!("a filter that matches nothing, one call {:?}", start.elapsed());

    let place = Place::create(&dir.join("objects").display().to_string())?;
    let start = Instant::now();
    let written = snapshot::write(&partition.view(), Timestamp(1), &place)?;
    println!(
        "snapshot of {} runs, {} MiB        {:?}",
        written.entities,
        written.bytes >> 20,
        start.elapsed()
    );
    let start = Instant::now();
    let file = snapshot::path(0, written.seq);
    snapshot::verify(&place, &file)?;
    println!("verify it                               {:?}", start.elapsed());
    partition.clear()?;
    let start = Instant::now();
    snapshot::restore(&place, &file, &partition, &mut |key, items| {
        let (mut count, mut bytes) = (0, 0);
        for item in items {
            count += 1;
            bytes += item?.1.len() as u64;
        }
        Ok(Summary { key: key.clone(), items: count, bytes, ..new_run(0) })
    })?;
    println!("restore it                              {:?}", start.elapsed());
    println!("resident {} MiB", resident_mib());

    drop((partition, store));
    let start = Instant::now();
    let store = Store::open(&dir, &options)?;
    println!(
        "open it again                           {:?}, resident {} MiB",
        start.elapsed(),
        resident_mib()
    );
    drop(store);
    Store::remove(&dir)
}

fn new_run(number: u32) -> Summary {
    let run_id = RunId(uuid::Uuid::from_u128(u128::from(number)));
    Summary {
        key: RunKey {
            namespace: "default".into(),
            workflow_id: format!("order {number}").into(),
            run_id,
        },
        workflow_type: "order".into(),
        status: Status::Running,
        started: Timestamp(i64::from(number)),
        closed: None,
        parent: None,
        first_run_id: run_id,
        request_id: run_id.to_string().into(),
        due: Some(Timestamp(i64::from(number) << 30)),
        working: false,
        expires: None,
        items: 0,
        bytes: 0,
        events: 0,
        steps_done: 0,
        steps_total: 3,
        error: None,
        spec: None,
        redrive_of: None,
        waiting: Vec::new(),
    }
}

/// One step of every run, in batches of one partition; how long each commit took.
fn commit_all(store: &Store, items: u64, known: bool) -> Result<Vec<Duration>, Error> {
    let mut took = Vec::new();
    for batch in 0..RUNS / BATCH {
        let partition = store.partition(batch % PARTITIONS)?;
        let changes = (batch * BATCH..(batch + 1) * BATCH).map(|number| {
            let mut run = new_run(number);
            step(&mut run, items);
            let previous = known.then(|| run.indexed());
            step(&mut run, items + 1);
            let new = vec![Bytes::from(vec![7; ITEM_BYTES])];
            RunChange { first_ordinal: items, items: new, summary: run, previous }
        });
        let applied = partition.applied() + 1;
        let changes = Changes { applied, runs: changes.collect(), ..Changes::default() };
        let start = Instant::now();
        partition.commit(changes)?;
        took.push(start.elapsed());
    }
    Ok(took)
}

fn step(run: &mut Summary, items: u64) {
    run.items = items;
    run.bytes = items * ITEM_BYTES as u64;
    run.due = run.due.map(|due| Timestamp(due.0 + items.cast_signed()));
}

fn report(what: &str, mut took: Vec<Duration>) {
    took.sort_unstable();
    let at = |percent: usize| took.get(took.len() * percent / 100).copied().unwrap_or_default();
    println!("{what}: commit p50 {:?}, p99 {:?}, {} commits", at(50), at(99), took.len());
}

fn resident_mib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
    (pages * 4096) >> 20
}
