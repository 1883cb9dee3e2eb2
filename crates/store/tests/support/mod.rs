//! Runs whose items say all about them: the last item holds the summary as JSON, so that folding
//! is reading the last item.

#![allow(dead_code)]

use std::sync::Arc;

use bytes::Bytes;
use reflux_core::{RunId, RunKey, Status, Timestamp};
use reflux_store::{Changes, Digest, Error, Items, Options, Partition, RunChange, Store, Summary};
use tempfile::TempDir;
use uuid::Uuid;

pub const NAMESPACE: &str = "default";

/// Both stores, each fresh. The directory lives as long as the test.
pub fn stores() -> Vec<(&'static str, Store, Option<TempDir>)> {
    let dir = tempfile::tempdir().unwrap();
    let disk = Store::open(dir.path(), &Options::new(references)).unwrap();
    vec![("memory", Store::memory(references), None), ("disk", disk, Some(dir))]
}

/// Runs a test on both.
pub fn on_both(test: impl Fn(Partition)) {
    for (name, store, _dir) in stores() {
        println!("on {name}");
        test(store.partition(0).unwrap());
    }
}

/// An item refers to the payloads whose hexadecimal digests follow `blob:` in it.
pub fn references(item: &Bytes, give: &mut dyn FnMut(Digest)) -> Result<(), Error> {
    let text = String::from_utf8_lossy(item);
    for found in text.split("blob:").skip(1) {
        let digest = blake3::Hash::from_hex(&found[..64]).unwrap();
        give(*digest.as_bytes());
    }
    Ok(())
}

/// A moment, in seconds.
pub fn at(seconds: i64) -> Timestamp {
    Timestamp(seconds * 1_000_000_000)
}

pub fn run_id(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

pub fn key(workflow_id: &str, number: u128) -> RunKey {
    RunKey { namespace: NAMESPACE.into(), workflow_id: workflow_id.into(), run_id: run_id(number) }
}

/// An open run that has no items yet.
pub fn run(key: RunKey) -> Summary {
    let number = key.run_id.0.as_u128();
    Summary {
        workflow_type: "order".into(),
        status: Status::Running,
        started: at(i64::try_from(number).unwrap()),
        closed: None,
        parent: None,
        first_run_id: key.run_id,
        request_id: format!("request {number}").into(),
        due: None,
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
        key,
    }
}

/// Appends `texts` to a run: its summary and the change that takes it there.
pub fn step(run: &mut Summary, texts: &[&str]) -> RunChange {
    let first_ordinal = run.items;
    let mut items = Vec::new();
    for text in texts {
        run.items += 1;
        run.events += 1;
        let item = encode(run, text);
        run.bytes += item.len() as u64;
        items.push(item);
    }
    RunChange { first_ordinal, items, summary: run.clone(), previous: None }
}

fn encode(run: &Summary, text: &str) -> Bytes {
    let counted = Summary { bytes: 0, ..run.clone() };
    format!("{}\n{text}", serde_json::to_string(&counted).unwrap()).into()
}

/// What the engine does with `apply`: the summary of a run from its items.
pub fn fold(key: &RunKey, items: Items) -> Result<Summary, Error> {
    let (mut count, mut bytes, mut last) = (0, 0, Bytes::new());
    for item in items {
        let (ordinal, item) = item?;
        assert_eq!(ordinal, count);
        count += 1;
        bytes += item.len() as u64;
        last = item;
    }
    let json = last.split(|byte| *byte == b'\n').next().unwrap();
    let summary: Summary = serde_json::from_slice(json).unwrap();
    assert_eq!(&summary.key, key);
    Ok(Summary { items: count, bytes, ..summary })
}

pub fn commit(partition: &Partition, runs: Vec<RunChange>) {
    let applied = partition.applied() + 1;
    partition.commit(Changes { applied, runs, ..Changes::default() }).unwrap();
}

pub fn retire(partition: &Partition, keys: &[&RunKey]) {
    let retired = keys.iter().map(|key| (*key).clone()).collect();
    let applied = partition.applied() + 1;
    partition.commit(Changes { applied, retired, ..Changes::default() }).unwrap();
}

/// A run with one item, committed.
pub fn add(partition: &Partition, mut run: Summary) -> Summary {
    let change = step(&mut run, &["started"]);
    commit(partition, vec![change]);
    run
}

pub fn texts(items: Items) -> Vec<String> {
    items
        .map(|item| {
            let (ordinal, item) = item.unwrap();
            let text = item.rsplit(|byte| *byte == b'\n').next().unwrap();
            format!("{ordinal} {}", std::str::from_utf8(text).unwrap())
        })
        .collect()
}

pub fn ids(runs: &[Summary]) -> Vec<Arc<str>> {
    runs.iter().map(|run| run.key.workflow_id.clone()).collect()
}
