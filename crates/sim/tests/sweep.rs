//! The whole engine over the disk log: power is lost after every single operation of the disk.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

use reflux_log::Planted;
use sim::{Scratch, Swept, sweep};

/// Traces per run of the tests.
const TRACES: u64 = 24;

#[test]
fn nothing_that_was_told_is_lost_whenever_the_power_fails() {
    let seeds = match number_from("REFLUX_SWEEP_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number_from("REFLUX_SWEEPS").unwrap_or(TRACES),
    };
    let traces = seeds.end - seeds.start;
    let halves = [0, 1].map(|half| {
        let seeds = seeds.clone().filter(move |seed| seed % 2 == half);
        std::thread::spawn(move || {
            let scratch = Scratch::new().unwrap();
            seeds.map(|seed| sweep(seed, &scratch, None)).collect::<Result<Vec<Swept>, _>>()
        })
    });
    let swept: Vec<Swept> = halves
        .into_iter()
        .flat_map(|half| half.join().unwrap().unwrap_or_else(|failure| panic!("{failure}")))
        .collect();
    let crashes: u64 = swept.iter().map(|it| it.crashes).sum();
    let told: u64 = swept.iter().map(|it| it.told).sum();
    println!("{traces} traces, {crashes} crashes, {told} answers and calls held against the disk");
    assert!(crashes > 40 * traces, "{crashes} crashes: the traces are too short");
    assert!(told > 5 * crashes, "{told} answers and calls are too few to mean anything");
}

#[test]
fn bugs_of_the_log_are_found() {
    let scratch = Scratch::new().unwrap();
    for planted in [Planted::SkipSync, Planted::AckEarly] {
        let found = (0..4).find_map(|seed| sweep(seed, &scratch, Some(planted)).err());
        let Some(failure) = found else { panic!("{planted:?} goes unnoticed") };
        println!("{planted:?}: {}", failure.what);
    }
}

fn number_from(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}
