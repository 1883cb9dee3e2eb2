//! A full disk refuses what is new, and goes on serving what ends things.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Handle, World};
use reflux_core::{Command, Terminate};
use reflux_engine::{Engine, Error, Lane, Options};
use reflux_log::fault::FaultyFiles;
use reflux_log::{DiskLog, Log};
use reflux_store::Store;
use serde_json::json;

const WAITS: &str = "name: f\nsteps:\n  - id: w\n    wait: {signal: go}\n";

#[test]
fn a_full_disk_refuses_starts_and_still_terminates_and_reads() {
    let dir = tempfile::tempdir().unwrap();
    let files = Arc::new(FaultyFiles::new());
    let options = reflux_log::Options {
        retry: Duration::from_millis(20),
        first_segment_bytes: 64 * 1024,
        segment_bytes_max: 64 * 1024,
        ..reflux_log::Options::default()
    };
    let log: Arc<dyn Log> = Arc::new(DiskLog::open_files(files.clone(), options).unwrap());
    let world = World::assemble(
        None,
        |_, input| Ok(input),
        |nodes| {
            let store = Store::memory(|_, _| Ok(()));
            Engine::with(Options::at(dir.path()), log, store, Arc::new(Handle(nodes))).unwrap()
        },
    );
    let first = world.start("first", WAITS, &json!({}));
    let used = files.files().values().map(|bytes| bytes.len() as u64).sum();
    files.set_capacity(Some(used));

    let mut refused = None;
    for n in 0..10_000 {
        if let Err(error) = world.try_start(&format!("w{n}"), WAITS, &json!({})) {
            refused = Some(error);
            break;
        }
    }
    assert!(matches!(refused, Some(Error::Full)), "{refused:?}");
    assert!(world.engine.summary(&first).unwrap().is_some(), "reads go on");
    let terminate = Command::Terminate(Terminate::default());
    world.engine.command(Lane::of(&first), None, terminate).expect("terminating goes on");

    files.set_capacity(None);
    for _ in 0..200 {
        match world.try_start("later", WAITS, &json!({})) {
            Ok(_) => return world.engine.shutdown(),
            Err(error) => assert!(matches!(error, Error::Full), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    panic!("starts are still refused although there is room again");
}
