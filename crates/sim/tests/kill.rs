//! `kill -9` of the real binary under load.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stdout)]

/// Kills per run of the tests; `cargo run --release -p sim -- kills 1000` is the long run.
const KILLS: u32 = 200;

#[test]
fn nothing_that_was_acknowledged_is_lost_by_kills() {
    let count =
        std::env::var("REFLUX_KILLS").ok().and_then(|text| text.parse().ok()).unwrap_or(KILLS);
    let program = sim::kills::program().unwrap_or_else(|what| panic!("{what}"));
    let report = sim::kills::kill(count, &program).unwrap_or_else(|what| panic!("{what}"));
    println!("{report}");
    assert!(report.in_flight() * 4 >= count * 3, "too few kills struck work in flight: {report}");
    assert!(report.recovering * 100 >= count * 15, "too few kills struck a recovery: {report}");
    assert!(report.runs as u32 > count / 4, "too little was under way: {report}");
}
