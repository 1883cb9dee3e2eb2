//! `reflux run` of a flow of one step, as a whole process.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::bed::{Bed, Figure, millis, percentile};

const FLOW: &str =
    "name: one\nsteps:\n  - id: say\n    node: util.log\n    with: { message: hello }\n";

pub fn run(bed: &Bed) -> Vec<Figure> {
    let program = program();
    let place = bed.place();
    let flow = place.path().join("one.yaml");
    std::fs::write(&flow, FLOW).expect("written");
    let time = |dir: &std::path::Path| {
        std::fs::create_dir_all(dir).expect("a directory");
        let started = Instant::now();
        let status = Command::new(&program)
            .arg("run")
            .arg(&flow)
            .env("REFLUX_DIR", dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .expect("it runs");
        assert!(status.success(), "{status}");
        millis(started.elapsed())
    };
    let mut fresh: Vec<f64> =
        (0..11).map(|n| time(&place.path().join(format!("fresh{n}")))).collect();
    let known = place.path().join("fresh0");
    let mut again: Vec<f64> = (0..21).map(|_| time(&known)).collect();
    vec![
        Figure::new("reflux run, one step, p50", percentile(&mut again, 50), "ms")
            .bar(100.0, 200.0),
        Figure::new(
            "reflux run, one step, in a new project, p50",
            percentile(&mut fresh, 50),
            "ms",
        ),
    ]
}

/// The program beside this one; built when it is not there.
pub fn program() -> PathBuf {
    let this = std::env::current_exe().expect("this program");
    let program = this.with_file_name("reflux");
    let built = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args(["build", "--release", "--package", "reflux"])
        .status()
        .expect("cargo runs");
    assert!(built.success(), "reflux does not build");
    program
}
