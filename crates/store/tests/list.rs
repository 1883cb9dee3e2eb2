//! Lists: order, filters, pages.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use reflux_core::Status;
use reflux_store::{Error, Filter, Page, Partition, Position, SCAN_ROWS_MAX, Store, Summary};
use support::*;

fn fill(partition: &Partition) {
    let add = |number: u128, id: &str, kind: &str, status: Status, error: Option<&str>| {
        let mut run = run(key(id, number));
        run.workflow_type = kind.into();
        run.status = status;
        run.error = error.map(str::to_owned);
        support::add(partition, run);
    };
    add(1, "order-1", "order", Status::Completed, None);
    add(2, "order-2", "order", Status::Failed, Some("Connection REFUSED by 10.0.0.7"));
    add(3, "invoice-1", "invoice", Status::Running, None);
    add(4, "order-10", "order", Status::Running, None);
    add(5, "x' OR '1'='1", "%", Status::Running, None);
    let mut elsewhere = run(key("order-1", 6));
    elsewhere.key.namespace = "other".into();
    support::add(partition, elsewhere);
}

#[test]
fn filters_select_and_the_newest_run_comes_first() {
    on_both(|partition| {
        fill(&partition);
        let check = |edit: &dyn Fn(&mut Filter), expect: &[&str]| {
            let mut filter = Filter::all(NAMESPACE);
            edit(&mut filter);
            let page = partition.list(&filter, None, 100).unwrap();
            let found = ids(&page.runs);
            assert_eq!(found.iter().map(|id| &**id).collect::<Vec<_>>(), expect, "{filter:?}");
            assert_eq!(page.next, None);
        };
        let quoted = "x' OR '1'='1";
        check(&|_| {}, &[quoted, "order-10", "invoice-1", "order-2", "order-1"]);
        check(&|f| f.namespace = "nobody".into(), &[]);
        check(&|f| f.namespace = "other".into(), &["order-1"]);
        check(&|f| f.workflow_type = Some("order".into()), &["order-10", "order-2", "order-1"]);
        check(&|f| f.workflow_type = Some("orde".into()), &[]);
        check(&|f| f.statuses = vec![Status::Failed, Status::Completed], &["order-2", "order-1"]);
        check(&|f| f.workflow_id_prefix = Some("order-1".into()), &["order-10", "order-1"]);
        check(&|f| f.workflow_id_prefix = Some("rder".into()), &[]);
        check(&|f| f.started_from = Some(at(4)), &[quoted, "order-10"]);
        check(&|f| f.started_before = Some(at(2)), &["order-1"]);
        check(
            &|f| {
                f.started_from = Some(at(2));
                f.started_before = Some(at(4));
            },
            &["invoice-1", "order-2"],
        );
        check(
            &|f| {
                f.started_from = Some(at(4));
                f.started_before = Some(at(2));
            },
            &[],
        );
        check(&|f| f.text = Some("refused".into()), &["order-2"]);
        check(&|f| f.text = Some("INVOICE".into()), &["invoice-1"]);
        check(&|f| f.text = Some("00000000-0000-0000-0000-000000000004".into()), &["order-10"]);
    });
}

#[test]
fn text_that_looks_like_a_query_is_text() {
    on_both(|partition| {
        fill(&partition);
        let quoted = "x' OR '1'='1";
        let checks: &[(&str, &[&str])] = &[
            ("' OR '1'='1", &[quoted]),
            ("%", &[quoted]),
            ("_", &[]),
            (".*", &[]),
            ("order-1' OR ''='", &[]),
            ("*", &[]),
            ("\0", &[]),
            ("10.0.0.7", &["order-2"]),
            ("10x0", &[]),
        ];
        for (text, expect) in checks {
            let filter = Filter { text: Some((*text).into()), ..Filter::all(NAMESPACE) };
            let found = ids(&partition.list(&filter, None, 100).unwrap().runs);
            assert_eq!(found.iter().map(|id| &**id).collect::<Vec<_>>(), *expect, "{text}");
        }
    });
}

#[test]
fn pages_of_any_size_make_the_whole_list() {
    on_both(|partition| {
        // Runs that started at the same moment keep an order too.
        for number in 0..30 {
            let mut run = run(key(&format!("run {number}"), number));
            run.started = at(i64::try_from(number / 5).unwrap());
            add(&partition, run);
        }
        let filter = Filter::all(NAMESPACE);
        let whole = partition.list(&filter, None, 100).unwrap();
        assert_eq!((whole.runs.len(), whole.next), (30, None));
        assert!(whole.runs.is_sorted_by(|one, other| one.started >= other.started));
        for limit in 1..=31 {
            let list = |after| partition.list(&filter, after, limit).unwrap();
            assert_eq!(collect(list), whole.runs, "limit {limit}");
        }
    });
}

#[test]
fn pages_of_several_partitions_make_one_list() {
    let store = Store::memory(references);
    let partitions: Vec<_> = (0..4).map(|id| store.partition(id).unwrap()).collect();
    let together = Store::memory(references).partition(0).unwrap();
    for number in 0..50_u32 {
        let mut run = run(key(&format!("run {number}"), number.into()));
        run.started = at((number * 7 % 13).into());
        let id = usize::try_from(number * number % 7 % 4).unwrap();
        add(&partitions[id], run.clone());
        add(&together, run);
    }
    let filter = Filter::all(NAMESPACE);
    let whole = together.list(&filter, None, 100).unwrap().runs;
    for limit in 1..=51 {
        let list = |after| {
            let pages = partitions.iter().map(|one| one.list(&filter, after, limit).unwrap());
            Page::merge(pages, limit)
        };
        assert_eq!(collect(list), whole, "limit {limit}");
    }
}

#[test]
fn a_partition_that_stopped_looking_holds_the_merged_list_back() {
    let partition = Store::memory(references).partition(0).unwrap();
    let runs: Vec<_> =
        (0..4).map(|number| add(&partition, run(key(&format!("{number}"), number)))).collect();
    let place = |number: usize| Some(Position::of(&runs[number]));
    let page = |numbers: &[usize], next| Page {
        runs: numbers.iter().map(|number| runs[*number].clone()).collect(),
        next,
    };
    // One has shown 3 and looked as far as 2; the other showed 2 and 1, but 1 may not come yet.
    let merged = Page::merge([page(&[3], place(2)), page(&[2, 1], place(1))], 10);
    assert_eq!(merged, page(&[3, 2], place(2)));
    let merged = Page::merge([page(&[], place(3)), page(&[2, 1], None)], 10);
    assert_eq!(merged, page(&[], place(3)));
    assert_eq!(Page::merge([page(&[2], None), page(&[3], None)], 10), page(&[3, 2], None));
}

#[test]
fn one_call_looks_at_a_bounded_number_of_rows() {
    let partition = Store::memory(references).partition(0).unwrap();
    let many = u128::try_from(SCAN_ROWS_MAX).unwrap() + 10;
    let runs = (0..many).map(|number| step(&mut run(key(&format!("{number}"), number)), &[""]));
    commit(&partition, runs.collect());
    let filter = Filter { workflow_id_prefix: Some("0".into()), ..Filter::all(NAMESPACE) };
    let first = partition.list(&filter, None, 10).unwrap();
    assert_eq!(first.runs, []);
    let second = partition.list(&filter, first.next, 10).unwrap();
    assert_eq!((second.runs.len(), second.next), (1, None));
}

#[test]
fn a_page_token_survives_its_bytes_and_a_forged_one_is_refused() {
    let run = run(key("a", 7));
    let position = Position::of(&run);
    assert_eq!(Position::from_bytes(&position.to_bytes()).unwrap(), position);
    for forged in [&[][..], b"x", &[0; Position::BYTES - 1], &[0; Position::BYTES + 1]] {
        assert!(matches!(Position::from_bytes(forged), Err(Error::Invalid(_))), "{forged:?}");
    }
    on_both(|partition| {
        fill(&partition);
        for bytes in [[0; Position::BYTES], [0xff; Position::BYTES], [0x80; Position::BYTES]] {
            let forged = Position::from_bytes(&bytes).unwrap();
            let page = partition.list(&Filter::all("other"), Some(forged), 10).unwrap();
            assert!(page.runs.iter().all(|run| &*run.key.namespace == "other"));
        }
    });
}

fn collect(list: impl Fn(Option<Position>) -> Page) -> Vec<Summary> {
    let (mut runs, mut after) = (Vec::new(), None);
    loop {
        let page = list(after);
        runs.extend(page.runs);
        match page.next {
            Some(next) => after = Some(next),
            None => return runs,
        }
    }
}
