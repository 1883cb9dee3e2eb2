//! The engine keeps its promises under simulated faults, and the simulation finds planted bugs.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use sim::{FAULTS_MIN, Plan, Planted, Scratch, many, simulate};

/// Seeds per run of the tests.
const SEEDS: u64 = 500;

/// Seeds within which every planted bug shows.
const PLANTED_SEEDS_MAX: u64 = 20;

#[test]
fn every_promise_holds_under_every_seed() {
    let reports = many(0..SEEDS, FAULTS_MIN, &Scratch::new().unwrap())
        .unwrap_or_else(|failure| panic!("{failure}"));
    assert_eq!(reports.len() as u64, SEEDS);
    let faults: u64 = reports.iter().map(|report| u64::from(report.faults)).sum();
    let acknowledged: u64 = reports.iter().map(|report| report.acknowledged).sum();
    println!("{SEEDS} seeds, {faults} faults, {acknowledged} acknowledgements");
    assert!(faults >= SEEDS * u64::from(FAULTS_MIN), "{faults} faults are too few");
    assert!(
        acknowledged > SEEDS * 50,
        "{acknowledged} acknowledgements are too few to mean anything"
    );
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let scratch = Scratch::new().unwrap();
    for seed in 0..10 {
        let run = || {
            simulate(Plan::of(seed), &scratch, None).unwrap_or_else(|failure| panic!("{failure}"))
        };
        let (one, two) = (run(), run());
        assert_eq!(one, two, "seed {seed}");
    }
    let run = |seed| simulate(Plan::of(seed), &scratch, None).unwrap().hash;
    assert_ne!(run(0), run(1));
}

#[test]
fn planted_bugs_are_found() {
    let scratch = Scratch::new().unwrap();
    for planted in Planted::ALL {
        let found = (0..PLANTED_SEEDS_MAX).find_map(|seed| {
            let plan = Plan { planted: Some(planted), ..Plan::of(seed) };
            // The engine's own assertions count as well.
            let run = std::panic::AssertUnwindSafe(|| simulate(plan, &scratch, None));
            match std::panic::catch_unwind(run) {
                Ok(Ok(_)) => None,
                Ok(Err(failure)) => Some((seed, failure.what)),
                Err(_) => Some((seed, "an assertion of the engine".to_owned())),
            }
        });
        let Some((seed, what)) = found else { panic!("{planted:?} goes unnoticed") };
        println!("{planted:?}: seed {seed}: {what}");
    }
}
