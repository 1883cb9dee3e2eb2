use std::time::Duration;

use bytes::Bytes;
use reflux_core::{RunId, RunKey, Timestamp};
use reflux_flow::advance::CacheKey;
use reflux_store::CachedResult;
use uuid::Uuid;

use super::CacheBounds;
use super::entries::Entries;

fn run(number: u8) -> RunKey {
    let (namespace, workflow_id) = ("default".into(), format!("w{number}").into());
    RunKey { namespace, workflow_id, run_id: RunId(Uuid::from_u128(number.into())) }
}

/// A result that run `by` had at that second.
fn result(key: u8, by: u8, second: i64) -> CachedResult {
    CachedResult {
        key: [key; 32],
        run: run(by),
        ordinal: 5,
        event: 4,
        activation: "a".into(),
        node: "n".into(),
        flow: "f".into(),
        ended: at(second),
        expires: None,
        bytes: 10,
    }
}

fn at(second: i64) -> Timestamp {
    Timestamp(second * 1_000_000_000)
}

fn entries(most: usize, bytes: u64) -> Entries {
    Entries::new(CacheBounds { entries: most, bytes })
}

fn has(entries: &mut Entries, key: u8, ttl: Option<u64>, now: i64) -> bool {
    entries.find(&CacheKey([key; 32]), ttl.map(Duration::from_secs), at(now)).is_some()
}

#[test]
fn the_oldest_go_first_when_there_are_too_many_or_they_are_too_large() {
    let mut few = entries(2, 1_000);
    (1..=3).for_each(|n| few.insert(result(n, n, n.into()), None));
    assert_eq!([1, 2, 3].map(|key| has(&mut few, key, None, 9)), [false, true, true]);
    assert_eq!(few.take_gone(), [(run(1), 5)]);
    assert_eq!(few.size(), (2, 20));
    let mut small = entries(10, 25);
    (1..=3).for_each(|n| small.insert(result(n, n, n.into()), None));
    assert_eq!([1, 2, 3].map(|key| has(&mut small, key, None, 9)), [false, true, true]);
}

#[test]
fn a_newer_result_takes_the_place_of_an_older_one_whichever_comes_first() {
    for order in [[1, 2], [2, 1]] {
        let mut entries = entries(10, 1_000);
        order.iter().for_each(|by| entries.insert(result(7, *by, (*by).into()), None));
        let (found, _) = entries.find(&CacheKey([7; 32]), None, at(9)).unwrap();
        assert_eq!(found.run, run(2));
        assert_eq!(entries.take_gone(), [(run(1), 5)]);
        assert_eq!(entries.size(), (1, 10));
    }
}

#[test]
fn a_result_counts_as_long_as_who_made_it_and_who_takes_it_say() {
    let mut entries = entries(10, 1_000);
    entries.insert(CachedResult { expires: Some(at(60)), ..result(1, 1, 0) }, None);
    assert!(has(&mut entries, 1, None, 59));
    assert!(has(&mut entries, 1, Some(20), 19));
    assert!(!has(&mut entries, 1, Some(20), 20), "too old for who asks");
    assert!(has(&mut entries, 1, None, 59), "but not for others");
    assert!(!has(&mut entries, 1, None, 60), "its time is over");
    assert_eq!(entries.size(), (0, 0));
    entries.insert(CachedResult { expires: Some(at(60)), ..result(2, 1, 0) }, None);
    entries.expire(at(60));
    assert_eq!((entries.size(), entries.take_gone().len()), ((0, 0), 2));
}

#[test]
fn the_results_of_a_run_leave_with_it() {
    let mut entries = entries(10, 1_000);
    entries.insert(result(1, 1, 1), None);
    entries.insert(result(2, 1, 1), None);
    entries.insert(result(3, 2, 1), None);
    entries.retire(&run(1));
    assert_eq!([1, 2, 3].map(|key| has(&mut entries, key, None, 9)), [false, false, true]);
    assert_eq!(entries.take_gone(), [], "the store takes their rows away itself");
}

#[test]
fn what_has_just_ended_is_in_memory_up_to_a_bound() {
    let mut entries = entries(100, u64::MAX);
    let json = Bytes::from(vec![b'1'; 1 << 20]);
    (1..=9).for_each(|n| entries.insert(result(n, n, n.into()), Some(json.clone())));
    let kept = |key: u8, entries: &mut Entries| {
        entries.find(&CacheKey([key; 32]), None, at(9)).unwrap().1.is_some()
    };
    assert_eq!([1, 2, 9].map(|key| kept(key, &mut entries)), [false, true, true]);
}
