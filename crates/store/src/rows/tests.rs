use bytes::Bytes;
use reflux_core::{RunId, RunKey, Timestamp};
use uuid::Uuid;

use super::address::{Address, Workflow};
use super::calendar::{Calendar, DUE, EXPIRY};
use super::*;
use crate::table::Batch;

fn run(workflow_id: &str, number: u128) -> Address {
    Address::of(&RunKey {
        namespace: "default".into(),
        workflow_id: workflow_id.into(),
        run_id: RunId(Uuid::from_u128(number)),
    })
}

#[track_caller]
fn sorted(keys: &[Bytes]) {
    assert!(keys.is_sorted_by(|one, other| one < other), "{keys:x?}");
}

#[test]
fn moments_sort_in_time_and_come_back() {
    let moments = [i64::MIN, -1_000, -1, 0, 1, 255, 256, 1 << 40, i64::MAX].map(Timestamp);
    assert!(moments.map(moment::ascending).is_sorted());
    assert!(moments.map(moment::descending).iter().rev().is_sorted());
    for moment in moments {
        assert_eq!(moment::from_ascending(moment::ascending(moment)), moment);
        assert_eq!(moment::from_descending(moment::descending(moment)), moment);
    }
}

#[test]
fn an_address_starts_with_its_slot_and_gives_back_its_run() {
    let key = RunKey {
        namespace: "default".into(),
        workflow_id: "a".into(),
        run_id: RunId(Uuid::from_u128(7)),
    };
    let address = Address::of(&key);
    assert_eq!(address.as_bytes()[..2], key.slot().0.to_be_bytes());
    assert_eq!(address.run_id(), key.run_id);
    assert_eq!(address.workflow(), Workflow::of("default", "a"));
    assert_eq!(Address::at_end_of(&summary::key(address)), Some(address));
    assert_eq!(Address::at_end_of(b"short"), None);
}

#[test]
fn no_choice_of_names_reaches_another_namespace() {
    let pairs = [("a", "bc"), ("ab", "c"), ("a\0", "bc"), ("a", "\0bc"), ("", "abc"), ("abc", "")];
    for (at, one) in pairs.iter().enumerate() {
        for other in &pairs[at + 1..] {
            assert_ne!(Workflow::of(one.0, one.1), Workflow::of(other.0, other.1));
        }
    }
}

#[test]
fn items_of_a_run_sort_by_ordinal_inside_their_range() {
    let a = run("a", 1);
    let keys = [0, 1, 255, 256, 65_536, u64::MAX].map(|ordinal| items::key(a, ordinal));
    sorted(&keys);
    let (from, to) = items::range(a);
    assert!(keys.iter().all(|key| from <= *key && *key < to));
    for other in [run("a", 0), run("a", 2), run("b", 1)] {
        for ordinal in [0, u64::MAX] {
            let key = items::key(other, ordinal);
            assert!(key < from || to <= key);
        }
    }
    assert_eq!(items::first_ordinal(&items::key(a, 77)).unwrap(), 77);
}

#[test]
fn due_and_expiry_sort_by_moment_then_run_and_ranges_include_their_end() {
    let (a, b) = (run("a", 1), run("a", 2));
    let moments = [
        (Timestamp(i64::MIN), b),
        (Timestamp(-1), a),
        (Timestamp(0), a),
        (Timestamp(0), b),
        (Timestamp(1 << 33), a),
        (Timestamp::MAX, a),
    ];
    let keys = |calendar: &Calendar| moments.map(|(when, run)| calendar.key(when, run));
    for keys in [keys(&DUE), keys(&EXPIRY)] {
        sorted(&keys);
    }
    let (from, to) = DUE.range(None, Timestamp(0));
    let inside = keys(&DUE).iter().filter(|key| from <= **key && **key < to).count();
    assert_eq!(inside, 4);
    let (from, to) = DUE.range(Some((Timestamp(0), a)), Timestamp::MAX);
    let inside = keys(&DUE).iter().filter(|key| from <= **key && **key < to).count();
    assert_eq!(inside, 3);
}

#[test]
fn started_sorts_the_newest_first_and_cuts_at_both_ends() {
    let a = run("a", 1);
    let key = |at| started::key("default", Timestamp(at), a);
    sorted(&[key(i64::MAX), key(10), key(5), key(0), key(-5), key(i64::MIN)]);
    let inside = |from, before, at| {
        let (first, last) = started::range("default", Timestamp(from), before, None);
        first <= key(at) && key(at) < last
    };
    assert!(inside(5, None, 5) && inside(5, Some(Timestamp(6)), 5));
    assert!(!inside(6, None, 5) && !inside(0, Some(Timestamp(5)), 5));
    let (first, last) = started::range("default", Timestamp(i64::MIN), None, None);
    let elsewhere = started::key("other", Timestamp(5), a);
    assert!(elsewhere < first || last <= elsewhere);
    assert_eq!(started::decode(&key(-5)).unwrap(), (Timestamp(-5), a));
}

#[test]
fn kinds_do_not_reach_into_each_other() {
    let a = run("a", 1);
    sorted(&[
        meta::key(),
        items::key(a, u64::MAX),
        summary::key(a),
        current::key(a.workflow()),
        DUE.key(Timestamp(0), a),
        working::key(a),
        EXPIRY.key(Timestamp(0), a),
        started::key("default", Timestamp(0), a),
        run_id::key(a),
        blob::head_key(&[0xff; 32]),
        blob::part_key(&[0; 32], 0),
        tally::key(""),
    ]);
    let (first, last) = everything();
    assert!(first <= meta::key() && tally::key(&"\u{10ffff}".repeat(200)) < last);
}

#[test]
fn a_range_of_the_greatest_prefix_ends_behind_it() {
    let parts: &[&[u8]] = &[&[0xff; 32]];
    assert_eq!(Kind::BlobPart.key_after(parts), Kind::BlobPart.key_after(&[]));
    assert_eq!(*Kind::Items.key_after(&[&[1, 0xff]]), [Kind::Items as u8, 2]);
}

#[test]
fn damaged_item_rows_are_errors() {
    let whole = items::frame(&[Bytes::from_static(b"abc"), Bytes::new()]);
    let count = |mut row: Bytes| {
        let mut count = 0;
        while items::take(&mut row)?.is_some() {
            count += 1;
        }
        Ok::<_, crate::Error>(count)
    };
    assert_eq!(count(whole.clone()).unwrap(), 2);
    assert!(count(whole.slice(..4)).is_err());
    assert!(count(whole.slice(1..)).is_err());
    assert!(count(Bytes::from_static(&[0x12])).is_err());
    assert!(
        count(Bytes::from_static(&[0x12, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]))
            .is_err()
    );
}

#[test]
fn damaged_rows_are_errors_and_not_panics() {
    for length in 0..64 {
        let row = vec![0xfd; length];
        assert!(summary::decode(&row).is_err());
        assert!(length == 16 || current::decode(&row).is_err());
        assert!(meta::decode(&row).is_err());
        assert!(DUE.decode(&row, &row).is_err());
        assert!(working::decode(&row, &row).is_err());
    }
}

#[test]
fn another_format_says_rebuild() {
    let mut batch = Batch::default();
    meta::put_format(&mut batch, meta::Meta { applied: 5, loading: false }, meta::ROW_FORMAT + 1);
    let (_, value) = batch.into_rows().next().unwrap();
    let error = meta::decode(&value.unwrap()).unwrap_err();
    assert!(matches!(&error, crate::Error::Rebuild(text) if text.contains("start again")));
}

#[test]
fn a_store_on_disk_with_rows_of_another_format_has_to_be_rebuilt() {
    use crate::store::{Options, Store};
    use crate::table::Table;

    let dir = tempfile::tempdir().unwrap();
    let options = Options::new(|_, _| Ok(()));
    let rows = crate::disk::Disk::open(dir.path(), &options).unwrap().partition(5).unwrap();
    let mut batch = Batch::default();
    meta::put_format(&mut batch, meta::Meta { applied: 5, loading: false }, meta::ROW_FORMAT + 1);
    rows.commit(5, batch).unwrap();
    drop(rows);
    assert!(matches!(Store::open(dir.path(), &options), Err(crate::Error::Rebuild(_))));
    Store::remove(dir.path()).unwrap();
    assert_eq!(Store::open(dir.path(), &options).unwrap().partition(5).unwrap().applied(), 0);
}
