//! Every golden history: played, compared with what was written by hand, and read back from the
//! bytes that the version which wrote it first has left.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use history_tests::golden::{Golden, encode};

#[test]
fn every_history_is_what_was_written_by_hand() {
    let mut wrong = String::new();
    let all = Golden::all();
    assert!(all.len() >= 16, "only {} golden histories", all.len());
    for golden in all {
        let checked = golden.play().and_then(|world| golden.check(&world));
        if let Err(difference) = checked {
            wrong.push_str(&format!("\n== {}: {}\n{difference}", golden.name, golden.script.about));
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_bytes_of_every_version_are_read_and_give_the_same_run() {
    for golden in Golden::all() {
        let (items, bytes) = golden.stored();
        let world = golden.play().unwrap();
        assert_eq!(items, world.items, "{}: other items than today", golden.name);
        assert_eq!(encode(&items), bytes, "{}: today's encoder writes other bytes", golden.name);
        let folded = golden.fold(&items);
        assert_eq!(folded.run, world.live.run, "{}", golden.name);
        assert_eq!(folded.run.hash(), world.live.run.hash(), "{}", golden.name);
        assert!(folded.decider == world.live.decider, "{}: another progress", golden.name);
    }
}

/// For a new golden history, once its `history.jsonl` holds: run with `-- --ignored`.
#[test]
#[ignore = "writes the fixtures of new golden histories"]
fn write_the_bytes_of_new_histories() {
    for golden in Golden::all() {
        let world = golden.play().unwrap();
        golden.check(&world).unwrap();
        golden.store(&world);
    }
}
