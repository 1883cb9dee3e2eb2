//! Measures Reflux on this machine and prints a table, and JSON on request:
//! `cargo run --release -p benches -- [NAME…] [--json FILE] [--dir DIR]`.
//!
//! Everything runs with fsync on a real disk, load generator included. Nothing here asserts a
//! time: figures are compared with their bars by whoever reads them.

mod appenders;
mod bed;
mod cache;
mod command;
mod fan_out;
mod long;
mod redrive;
mod replay;
mod service;
mod sleepers;
mod steps;

use std::io::Write as _;
use std::path::PathBuf;

use bed::{Bed, Figure};

// The program's: rows within this process are to show what they cost there.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// A benchmark: its name and what it measures.
type Bench = (&'static str, fn(&Bed) -> Vec<Figure>);

const BENCHES: &[Bench] = &[
    ("steps", steps::many),
    ("alone", steps::alone),
    ("cache", cache::hit),
    ("command", command::run),
    ("fan-out", fan_out::thousand),
    ("sleepers", sleepers::run),
    ("appenders", appenders::run),
    ("replay", replay::run),
    ("state", replay::state),
    ("plan", redrive::plan),
    ("long", long::run),
    ("temporal", service::temporal),
    ("flows", service::flows),
    ("steer", service::steer),
    ("webhook", service::webhook),
];

fn main() {
    let mut names = Vec::new();
    let mut json = None;
    let mut dir = std::env::current_dir().expect("a current directory").join("target");
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--json" => json = args.next().map(PathBuf::from),
            "--dir" => dir = args.next().map(PathBuf::from).expect("--dir needs a directory"),
            // The sleepers are measured in a process of their own.
            "--sleep-worker" => return sleepers::worker(&args.collect::<Vec<_>>()),
            name => names.push(name.to_owned()),
        }
    }
    if let Some(unknown) = names.iter().find(|name| !BENCHES.iter().any(|(known, _)| known == name))
    {
        let known: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
        eprintln!("no benchmark `{unknown}`; there are {}", known.join(", "));
        std::process::exit(2);
    }
    let bed = Bed::new(&dir);
    let mut figures = vec![bed.fdatasync()];
    print_row(&figures[0]);
    for (name, bench) in BENCHES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            for figure in bench(&bed) {
                print_row(&figure);
                figures.push(figure);
            }
        }
    }
    if let Some(path) = json {
        let rows: Vec<_> = figures.iter().map(Figure::to_json).collect();
        let text = serde_json::to_string_pretty(&rows).expect("figures are JSON");
        std::fs::write(&path, text).expect("the JSON file can be written");
    }
}

fn print_row(figure: &Figure) {
    println!("{figure}");
    std::io::stdout().flush().expect("standard output is open");
}
