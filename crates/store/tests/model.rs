//! Random operations on both kinds of rows against a model that is a plain list of runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout
)]

mod support;

use std::collections::BTreeMap;

use proptest::prelude::*;
use reflux_core::{RunId, Status, Timestamp};
use reflux_store::{Changes, Filter, Options, Partition, RunChange, Store, Summary, Tally};
use support::*;

#[derive(Debug, Clone)]
enum Op {
    /// Steps of some runs in one commit; a number that is new starts a run of workflow `n % 3`.
    Step(Vec<(u8, Mutation)>),
    Retire(Vec<u8>),
    Reopen,
    Revert(u8),
    Clear,
}

#[derive(Debug, Clone)]
struct Mutation {
    items: usize,
    due: Option<i8>,
    working: bool,
    close: bool,
}

fn mutation() -> impl Strategy<Value = Mutation> {
    (1..4_usize, any::<Option<i8>>(), any::<bool>(), prop::bool::weighted(0.2))
        .prop_map(|(items, due, working, close)| Mutation { items, due, working, close })
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        12 => prop::collection::vec((0..12_u8, mutation()), 1..5).prop_map(Op::Step),
        3 => prop::collection::vec(0..12_u8, 1..3).prop_map(Op::Retire),
        1 => Just(Op::Reopen),
        1 => any::<u8>().prop_map(Op::Revert),
        1 => Just(Op::Clear),
    ]
}

#[derive(Debug, Clone, Default)]
struct Model {
    applied: u64,
    /// By number; with the items' texts.
    runs: BTreeMap<u8, (Summary, Vec<String>)>,
    current: BTreeMap<u8, RunId>,
}

impl Model {
    fn step(&mut self, steps: &[(u8, Mutation)]) -> Vec<RunChange> {
        let mut changes = Vec::new();
        for (number, mutation) in steps {
            let workflow = number % 3;
            let key = key(&format!("workflow {workflow}"), u128::from(*number) + 1);
            let (summary, texts) = self.runs.entry(*number).or_insert_with(|| {
                self.current.insert(workflow, key.run_id);
                (run(key.clone()), Vec::new())
            });
            let before = summary.indexed();
            summary.due = mutation.due.map(|due| at(due.into()));
            summary.working = mutation.working;
            if mutation.close {
                summary.status = Status::Completed;
                summary.closed = Some(at(50));
                summary.expires = Some(at(60));
            }
            let new: Vec<_> =
                (0..mutation.items).map(|at| format!("{number} {}", texts.len() + at)).collect();
            texts.extend(new.iter().cloned());
            let new: Vec<_> = new.iter().map(String::as_str).collect();
            let mut change = step(summary, &new);
            // Engines that know tell; the store looks up otherwise.
            change.previous = (number % 2 == 0).then_some(before);
            changes.push(change);
        }
        changes
    }

    fn retire(&mut self, numbers: &[u8]) {
        let mut orphaned = Vec::new();
        for number in numbers {
            if let Some((gone, _)) = self.runs.remove(number)
                && self.current.get(&(number % 3)) == Some(&gone.key.run_id)
            {
                orphaned.push(number % 3);
            }
        }
        for workflow in orphaned {
            let rest = self.runs.iter().filter(|(number, _)| *number % 3 == workflow);
            let best = rest.map(|(_, (run, _))| (run.is_open(), run.started, run.key.run_id)).max();
            match best {
                Some((_, _, run)) => self.current.insert(workflow, run),
                None => self.current.remove(&workflow),
            };
        }
    }
}

fn compare(model: &Model, partition: &Partition) {
    assert_eq!(partition.applied(), model.applied);
    let mut due: Vec<_> = Vec::new();
    let mut expiring: Vec<_> = Vec::new();
    let mut working = Vec::new();
    for (summary, said) in model.runs.values() {
        assert_eq!(partition.summary(&summary.key).unwrap().as_ref(), Some(summary));
        let said: Vec<_> =
            said.iter().enumerate().map(|(at, text)| format!("{at} {text}")).collect();
        assert_eq!(texts(partition.items(&summary.key, 0).unwrap()), said);
        let half = said.len() / 2;
        assert_eq!(texts(partition.items(&summary.key, half as u64).unwrap()), said[half..]);
        due.extend(summary.due.map(|due| (due, summary.key.clone())));
        expiring.extend(summary.expires.map(|expires| (expires, summary.key.clone())));
        working.extend(summary.working.then(|| summary.key.clone()));
    }
    let sorted = |mut list: Vec<(Timestamp, _)>| {
        list.sort();
        list
    };
    assert_eq!(sorted(partition.due(Timestamp::MAX, None, 99).unwrap()), sorted(due));
    assert_eq!(sorted(partition.expiring(Timestamp::MAX, None, 99).unwrap()), sorted(expiring));
    let mut found = partition.working(None, 99).unwrap();
    found.sort();
    working.sort();
    assert_eq!(found, working);
    for workflow in 0..3 {
        let current = partition.current(NAMESPACE, &format!("workflow {workflow}")).unwrap();
        assert_eq!(current.map(|run| run.run_id), model.current.get(&workflow).copied());
    }
    let listed = partition.list(&Filter::all(NAMESPACE), None, 99).unwrap().runs;
    let newest: Vec<_> = model.runs.values().rev().map(|(run, _)| run.clone()).collect();
    assert_eq!(listed, newest);
    let mut tallies: BTreeMap<_, Tally> = BTreeMap::new();
    for (run, _) in model.runs.values() {
        let tally = tallies.entry(run.key.namespace.clone()).or_default();
        *tally = tally.changed(None, run.indexed().counted);
    }
    assert_eq!(partition.tallies().unwrap(), tallies.into_iter().collect::<Vec<_>>());
}

fn run_ops(ops: &[Op], store: Store, reopen: Option<&dyn Fn() -> Store>) {
    let mut store = Some(store);
    let mut partition = store.as_ref().unwrap().partition(0).unwrap();
    let mut model = Model::default();
    let mut past = vec![model.clone()];
    for op in ops {
        match op {
            Op::Step(steps) => {
                model.applied += 1;
                let runs = model.step(steps);
                let changes = Changes { applied: model.applied, runs, ..Changes::default() };
                partition.commit(changes).unwrap();
                past.push(model.clone());
            }
            Op::Retire(numbers) => {
                model.applied += 1;
                let keys = numbers.iter().filter_map(|number| model.runs.get(number));
                let retired = keys.map(|(run, _)| run.key.clone()).collect();
                model.retire(numbers);
                let changes = Changes { applied: model.applied, retired, ..Changes::default() };
                partition.commit(changes).unwrap();
                past.push(model.clone());
            }
            Op::Reopen => {
                if let Some(reopen) = reopen {
                    // The directory is let go of only when nothing holds the partition.
                    let nothing = Store::memory(references).partition(0).unwrap();
                    drop((std::mem::replace(&mut partition, nothing), store.take()));
                    let opened = reopen();
                    partition = opened.partition(0).unwrap();
                    store = Some(opened);
                }
            }
            Op::Revert(to) => {
                if reopen.is_none() {
                    past.truncate(usize::from(*to) % past.len() + 1);
                    model = past.last().unwrap().clone();
                    partition.revert_to(model.applied).unwrap();
                }
            }
            Op::Clear => {
                partition.clear().unwrap();
                model = Model::default();
                past = vec![model.clone()];
            }
        }
        compare(&model, &partition);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_in_memory_hold_what_the_model_holds(ops in prop::collection::vec(op(), 1..40)) {
        run_ops(&ops, Store::memory(references), None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_on_disk_hold_what_the_model_holds(ops in prop::collection::vec(op(), 1..30)) {
        let dir = tempfile::tempdir().unwrap();
        let open = || Store::open(dir.path(), &Options::new(references)).unwrap();
        run_ops(&ops, open(), Some(&open));
    }
}
