//! One suite for both kinds of rows: what a partition keeps of what was committed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use bytes::Bytes;
use reflux_core::{Status, Timestamp};
use reflux_store::{CachedResult, Changes, Error, Filter, Options, Store, Summary};
use support::*;

#[test]
fn items_are_read_back_from_any_ordinal_whatever_commit_they_came_in() {
    on_both(|partition| {
        let mut a = run(key("a", 1));
        commit(&partition, vec![step(&mut a, &["x", "y", "z"])]);
        commit(&partition, vec![step(&mut a, &["u"])]);
        commit(&partition, vec![step(&mut a, &["v", "w"])]);
        add(&partition, run(key("b", 2)));
        let all = ["0 x", "1 y", "2 z", "3 u", "4 v", "5 w"];
        for from in 0..=7 {
            let items = texts(partition.items(&a.key, from).unwrap());
            assert_eq!(items, all[all.len().min(usize::try_from(from).unwrap())..], "from {from}");
        }
        assert!(texts(partition.items(&key("a", 3), 0).unwrap()).is_empty());
        assert_eq!(partition.applied(), 4);
    });
}

#[test]
fn a_large_commit_is_read_back_whole() {
    on_both(|partition| {
        let mut a = run(key("a", 1));
        let long = "x".repeat(300 << 10);
        let texts: Vec<_> = (0..10).map(|_| long.as_str()).collect();
        commit(&partition, vec![step(&mut a, &texts)]);
        assert_eq!(partition.items(&a.key, 0).unwrap().count(), 10);
        assert_eq!(partition.items(&a.key, 7).unwrap().next().unwrap().unwrap().0, 7);
    });
}

#[test]
fn a_summary_is_found_by_key_and_by_run_id_in_its_own_namespace_only() {
    on_both(|partition| {
        let a = add(&partition, run(key("a", 1)));
        assert_eq!(partition.summary(&a.key).unwrap().as_ref(), Some(&a));
        assert_eq!(partition.find(NAMESPACE, run_id(1)).unwrap().as_ref(), Some(&a));
        assert_eq!(partition.find("other", run_id(1)).unwrap(), None);
        assert_eq!(partition.find(NAMESPACE, run_id(2)).unwrap(), None);
        assert_eq!(partition.summary(&key("b", 1)).unwrap(), None);
        let mut elsewhere = a.key.clone();
        elsewhere.namespace = "other".into();
        assert_eq!(partition.summary(&elsewhere).unwrap(), None);
        assert_eq!(partition.items(&elsewhere, 0).unwrap().count(), 0);
    });
}

#[test]
fn the_current_run_is_the_one_that_was_started_last() {
    on_both(|partition| {
        assert_eq!(partition.current(NAMESPACE, "a").unwrap(), None);
        // Its clock was ahead of its successor's.
        let mut first = run(key("a", 9));
        first.closed = Some(at(10));
        first.status = Status::Completed;
        let first = add(&partition, first);
        let mut second = add(&partition, run(key("a", 4)));
        let current = partition.current(NAMESPACE, "a").unwrap().unwrap();
        assert_eq!((current.run_id, current.open), (run_id(4), true));
        assert_eq!(&*current.request_id, "request 4");
        second.closed = Some(at(5));
        second.status = Status::Failed;
        commit(&partition, vec![step(&mut second, &["failed"])]);
        let current = partition.current(NAMESPACE, "a").unwrap().unwrap();
        assert_eq!(
            (current.run_id, current.open, current.status),
            (run_id(4), false, Status::Failed)
        );
        retire(&partition, &[&second.key]);
        assert_eq!(partition.current(NAMESPACE, "a").unwrap().unwrap().run_id, first.key.run_id);
        retire(&partition, &[&first.key]);
        assert_eq!(partition.current(NAMESPACE, "a").unwrap(), None);
    });
}

#[test]
fn due_runs_come_in_the_order_of_their_moments() {
    on_both(|partition| {
        let due = |number: u128, moment: Option<Timestamp>| {
            let mut run = run(key(&format!("run {number}"), number));
            run.due = moment;
            add(&partition, run)
        };
        let (a, b) = (due(1, Some(at(30))), due(2, Some(at(-5))));
        let (mut c, _never) = (due(3, Some(at(20))), due(4, None));
        let max = due(5, Some(Timestamp::MAX));
        let list = |up_to| partition.due(up_to, None, 10).unwrap();
        assert_eq!(list(at(29)), [(at(-5), b.key.clone()), (at(20), c.key.clone())]);
        assert_eq!(list(at(30)).len(), 3);
        assert_eq!(list(at(-6)), []);
        assert_eq!(list(Timestamp::MAX).last().unwrap().1, max.key);
        c.due = Some(at(40));
        commit(&partition, vec![step(&mut c, &["later"])]);
        let first = partition.due(at(50), None, 1).unwrap();
        assert_eq!(first, [(at(-5), b.key)]);
        let rest = partition.due(at(50), first.last(), 10).unwrap();
        assert_eq!(rest, [(at(30), a.key), (at(40), c.key.clone())]);
        assert_eq!(partition.due(at(10), rest.last(), 10).unwrap(), []);
        c.due = None;
        let before = partition.summary(&c.key).unwrap().unwrap().indexed();
        let mut change = step(&mut c, &["woken"]);
        change.previous = Some(before);
        commit(&partition, vec![change]);
        assert_eq!(list(at(100)).len(), 2);
    });
}

#[test]
fn working_and_expiring_runs_are_listed_until_they_are_not() {
    on_both(|partition| {
        let mut runs: Vec<_> = (1..=5)
            .map(|number| {
                let mut run = run(key(&format!("run {number}"), number));
                run.working = true;
                add(&partition, run)
            })
            .collect();
        let mut all = partition.working(None, 10).unwrap();
        assert_eq!(all.len(), 5);
        let mut paged = partition.working(None, 2).unwrap();
        while let Some(last) = paged.last() {
            let more = partition.working(Some(last), 2).unwrap();
            if more.is_empty() {
                break;
            }
            paged.extend(more);
        }
        assert_eq!(paged, all);
        let mut gone = runs.remove(0);
        gone.working = false;
        gone.closed = Some(at(7));
        gone.expires = Some(at(8));
        commit(&partition, vec![step(&mut gone, &["closed"])]);
        all.retain(|key| *key != gone.key);
        assert_eq!(partition.working(None, 10).unwrap(), all);
        assert_eq!(partition.expiring(at(7), None, 10).unwrap(), []);
        let expiring = partition.expiring(at(8), None, 10).unwrap();
        assert_eq!(expiring, [(at(8), gone.key)]);
        assert_eq!(partition.expiring(at(9), expiring.last(), 10).unwrap(), []);
    });
}

#[test]
fn a_retired_run_leaves_nothing_behind() {
    on_both(|partition| {
        let empty = partition.state_hash().unwrap();
        let mut a = run(key("a", 1));
        a.due = Some(at(5));
        a.working = true;
        a.expires = Some(at(6));
        let mut a = add(&partition, a);
        commit(&partition, vec![step(&mut a, &["x", "y"])]);
        assert_ne!(partition.state_hash().unwrap(), empty);
        // Its last items may come with the record that retires it.
        let last = step(&mut a, &["retired"]);
        let applied = partition.applied() + 1;
        let retired = vec![a.key.clone(), key("never was", 9)];
        partition
            .commit(Changes { applied, runs: vec![last], retired, ..Changes::default() })
            .unwrap();
        assert_eq!(partition.state_hash().unwrap(), empty);
        assert_eq!(partition.items(&a.key, 0).unwrap().count(), 0);
        assert_eq!(partition.due(Timestamp::MAX, None, 10).unwrap(), []);
        assert_eq!(partition.expiring(Timestamp::MAX, None, 10).unwrap(), []);
        assert_eq!(partition.working(None, 10).unwrap(), []);
        assert_eq!(partition.find(NAMESPACE, run_id(1)).unwrap(), None);
        assert_eq!(partition.list(&Filter::all(NAMESPACE), None, 10).unwrap().runs, []);
    });
}

#[test]
fn a_run_that_stands_twice_in_a_commit_goes_on_where_it_stopped() {
    on_both(|partition| {
        let mut a = run(key("a", 1));
        a.due = Some(at(5));
        let first = step(&mut a, &["x"]);
        a.due = Some(at(6));
        let second = step(&mut a, &["y"]);
        commit(&partition, vec![first, second]);
        assert_eq!(texts(partition.items(&a.key, 0).unwrap()), ["0 x", "1 y"]);
        assert_eq!(partition.due(Timestamp::MAX, None, 9).unwrap(), [(at(6), a.key)]);
    });
}

#[test]
fn what_contradicts_itself_is_refused_and_changes_nothing() {
    on_both(|partition| {
        let mut a = add(&partition, run(key("a", 1)));
        let before = (partition.applied(), partition.state_hash().unwrap());
        let refuse = |applied: u64, edit: &dyn Fn(&mut reflux_store::RunChange), says: &str| {
            let mut change = step(&mut a.clone(), &["x"]);
            edit(&mut change);
            let changes = Changes { applied, runs: vec![change], ..Changes::default() };
            let Err(Error::Invalid(text)) = partition.commit(changes) else {
                panic!("{says}: expected a refusal")
            };
            assert!(text.contains(says), "{text}");
            assert_eq!((partition.applied(), partition.state_hash().unwrap()), before);
        };
        refuse(0, &|_| {}, "comes after 1");
        refuse(2, &|change| change.summary.items += 1, "counts 3 items");
        refuse(
            2,
            &|change| {
                change.first_ordinal = 5;
                change.summary.items = 6;
            },
            "expected item 1, got 5",
        );
        refuse(2, &|change| change.items[0] = vec![0; 2 << 20].into(), "store payloads over");
        let (one, two) = (step(&mut a, &["x"]), step(&mut a, &["y"]));
        let runs = vec![two, one];
        let swapped = partition.commit(Changes { applied: 2, runs, ..Changes::default() });
        assert!(matches!(swapped, Err(Error::Invalid(_))), "{swapped:?}");
    });
}

#[test]
fn a_view_stays_as_it_was() {
    on_both(|partition| {
        let mut a = add(&partition, run(key("a", 1)));
        let view = partition.view();
        let hash = view.state_hash().unwrap();
        let mut items = view.items(&a.key, 0).unwrap();
        commit(&partition, vec![step(&mut a, &["x"])]);
        add(&partition, run(key("b", 2)));
        retire(&partition, &[&a.key]);
        assert_eq!(view.applied().unwrap(), 1);
        assert_eq!(view.state_hash().unwrap(), hash);
        assert_eq!(items.by_ref().count(), 1);
        assert_eq!(view.summary(&key("b", 2)).unwrap(), None);
        assert_ne!(partition.state_hash().unwrap(), hash);
    });
}

#[test]
fn a_cleared_partition_is_as_new() {
    on_both(|partition| {
        let empty = partition.state_hash().unwrap();
        add(&partition, run(key("a", 1)));
        partition.clear().unwrap();
        assert_eq!((partition.applied(), partition.state_hash().unwrap()), (0, empty));
        let a = add(&partition, run(key("a", 1)));
        assert_eq!(partition.applied(), 1);
        assert_eq!(partition.summary(&a.key).unwrap(), Some(a));
    });
}

#[test]
fn the_state_hash_does_not_depend_on_commits_but_on_every_item() {
    let build = |cuts: &[usize], texts: &[&str], edit: &dyn Fn(&mut Summary)| {
        let store = Store::memory(references);
        let partition = store.partition(0).unwrap();
        let mut a = run(key("a", 1));
        let mut rest = texts;
        for cut in cuts.iter().chain([&texts.len()]) {
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            rest = later;
            if rest.is_empty() {
                edit(&mut a);
            }
            commit(&partition, vec![step(&mut a, now)]);
        }
        partition.state_hash().unwrap()
    };
    let texts = ["a", "b", "c", "d"];
    let hash = build(&[], &texts, &|_| {});
    assert_eq!(build(&[1], &texts, &|_| {}), hash);
    assert_eq!(build(&[2, 1], &texts, &|_| {}), hash);
    assert_eq!(build(&[1, 1, 1], &texts, &|_| {}), hash);
    assert_ne!(build(&[], &["a", "b", "c"], &|_| {}), hash);
    assert_ne!(build(&[], &["a", "b", "cd", ""], &|_| {}), hash);
    assert_ne!(build(&[3], &texts, &|run| run.status = Status::Failed), hash);
    assert_ne!(build(&[3], &texts, &|run| run.error = Some(String::new())), hash);
}

#[test]
fn a_partition_on_disk_is_there_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Store::open(dir.path(), &Options::new(references)).unwrap();
    let store = open();
    let partition = store.partition(3).unwrap();
    let mut a = add(&partition, run(key("a", 1)));
    commit(&partition, vec![step(&mut a, &["x"])]);
    let hash = partition.state_hash().unwrap();
    assert!(store.usage().unwrap().disk_bytes > 0);
    assert!(partition.revert_to(1).is_err());
    drop((store, partition));
    let partition = open().partition(3).unwrap();
    assert_eq!((partition.applied(), partition.state_hash().unwrap()), (2, hash));
    partition.clear().unwrap();
    drop(partition);
    assert_eq!(open().partition(3).unwrap().applied(), 0);
    Store::remove(dir.path()).unwrap();
    assert!(!dir.path().exists());
    Store::remove(dir.path()).unwrap();
}

#[test]
fn a_store_that_is_open_is_not_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let _open = Store::open(dir.path(), &Options::new(references)).unwrap();
    let Err(Error::Retry(text)) = Store::open(dir.path(), &Options::new(references)) else {
        panic!("opened twice")
    };
    assert!(text.contains("another process"), "{text}");
}

#[test]
fn a_store_in_memory_goes_back_to_any_commit() {
    let partition = Store::memory(references).partition(0).unwrap();
    let mut hashes = vec![partition.state_hash().unwrap()];
    let mut runs = Vec::new();
    for number in 1..=20 {
        runs.push(add(&partition, run(key(&format!("run {number}"), number))));
        hashes.push(partition.state_hash().unwrap());
    }
    let view = partition.view();
    for applied in [20, 13, 13, 7, 1, 0] {
        partition.revert_to(applied).unwrap();
        assert_eq!(partition.applied(), applied);
        assert_eq!(partition.state_hash().unwrap(), hashes[usize::try_from(applied).unwrap()]);
    }
    assert_eq!(view.state_hash().unwrap(), hashes[20]);
    let a = add(&partition, run(key("again", 1)));
    assert_eq!(partition.summary(&a.key).unwrap(), Some(a));
}

#[test]
fn hostile_names_keep_apart() {
    on_both(|partition| {
        let names = ["a", "a\0", "\0a", "a\u{202e}b", "ａ", "", "a/b", "../a", "%", "'; --", "\n"];
        let long = "é".repeat(1_000);
        let mut number = 0;
        let mut added = Vec::new();
        for namespace in names.iter().copied().chain([long.as_str()]) {
            for workflow_id in names.iter().copied().chain([long.as_str()]) {
                number += 1;
                let mut key = key(workflow_id, number);
                key.namespace = namespace.into();
                added.push(add(&partition, run(key)));
            }
        }
        for run in &added {
            let names = (&*run.key.namespace, &*run.key.workflow_id);
            let current = partition.current(names.0, names.1).unwrap().unwrap();
            assert_eq!(current.run_id, run.key.run_id);
            let listed = partition.list(&Filter::all(names.0), None, 100).unwrap();
            assert_eq!(listed.runs.len(), names_count(&added, names.0));
        }
    });
}

fn names_count(runs: &[Summary], namespace: &str) -> usize {
    runs.iter().filter(|run| &*run.key.namespace == namespace).count()
}

#[test]
fn a_long_error_is_cut_at_a_character() {
    on_both(|partition| {
        let mut a = run(key("a", 1));
        a.error = Some("é".repeat(1_000));
        let a = add(&partition, a);
        let error = partition.summary(&a.key).unwrap().unwrap().error.unwrap();
        assert_eq!(error, "é".repeat(512));
    });
}

#[test]
fn an_item_may_be_any_bytes() {
    on_both(|partition| {
        let mut a = run(key("a", 1));
        let mut change = step(&mut a, &["", "", ""]);
        change.items =
            vec![Bytes::new(), Bytes::from_static(&[0x12, 0xff]), vec![0xff; 300].into()];
        let items = change.items.clone();
        commit(&partition, vec![change]);
        let read: Vec<_> =
            partition.items(&a.key, 0).unwrap().map(|item| item.unwrap().1).collect();
        assert_eq!(read, items);
    });
}

#[test]
fn results_that_others_may_take_leave_with_their_run_or_alone() {
    on_both(|partition| {
        let (mut a, mut b) = (run(key("a", 1)), run(key("b", 2)));
        let result = |of: &Summary, ordinal| CachedResult {
            key: [7; 32],
            run: of.key.clone(),
            ordinal,
            event: 3,
            activation: "step".into(),
            node: "n".into(),
            flow: "f".into(),
            ended: at(5),
            expires: Some(at(9)),
            bytes: 12,
        };
        let runs = vec![step(&mut a, &["x"]), step(&mut b, &["x"])];
        let cached = vec![result(&a, 1), result(&a, 2), result(&b, 1)];
        let applied = partition.applied() + 1;
        partition.commit(Changes { applied, runs, cached, ..Changes::default() }).unwrap();
        let mut all = Vec::new();
        loop {
            let last = all.last().map(|last: &CachedResult| (last.run.clone(), last.ordinal));
            let after = last.as_ref().map(|(run, ordinal)| (run, *ordinal));
            let page = partition.cached(after, 2).unwrap();
            if page.is_empty() {
                break;
            }
            all.extend(page);
        }
        let of = |run: &Summary| all.iter().filter(|it| it.run == run.key).count();
        assert_eq!((all.len(), of(&a), of(&b)), (3, 2, 1));
        partition.forget_cached(&[(a.key.clone(), 2), (a.key.clone(), 9)]).unwrap();
        partition.note_cached(&[result(&b, 4)]).unwrap();
        retire(&partition, &[&a.key]);
        let left: Vec<u64> =
            partition.cached(None, 10).unwrap().iter().map(|it| it.ordinal).collect();
        assert_eq!(left, [1, 4], "those of the run that stays");
        let applied = partition.applied() + 1;
        let (cached, retired) = (vec![result(&b, 5)], vec![b.key.clone()]);
        partition.commit(Changes { applied, cached, retired, ..Changes::default() }).unwrap();
        assert_eq!(partition.cached(None, 10).unwrap(), []);
        assert!(partition.clear().is_ok() && partition.is_empty().unwrap());
    });
}
