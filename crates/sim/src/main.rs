//! Runs simulations: one seed with its trace, or many seeds on all cores.
#![allow(clippy::print_stdout, clippy::print_stderr)] // a command line

use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use sim::{FAULTS_MIN, Plan, Scratch, many, simulate};

/// Simulates the engine: crashes, lost answers, zombies, jumping clocks.
#[derive(Parser)]
struct Cli {
    /// Runs this seed only.
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// How many seeds to run.
    #[arg(long, default_value_t = 500)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Faults of each seed.
    #[arg(long, default_value_t = FAULTS_MIN)]
    faults: u32,
    /// Prints every step.
    #[arg(long)]
    trace: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(clap::Subcommand)]
enum Command {
    /// Kills the real binary so many times, and checks what it had promised.
    Kills {
        /// How often.
        count: u32,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(Command::Kills { count }) = cli.command {
        return kills(count);
    }
    let scratch = match Scratch::new() {
        Ok(scratch) => scratch,
        Err(error) => {
            eprintln!("no temporary directory: {error}; set TMPDIR to one that can be written");
            return ExitCode::from(2);
        }
    };
    let begun = Instant::now();
    let result = match cli.seed {
        Some(seed) => {
            let print = |line: &str| println!("{line}");
            let out = cli.trace.then(|| Box::new(print) as Box<dyn FnMut(&str)>);
            simulate(Plan { faults: cli.faults, ..Plan::of(seed) }, &scratch, out)
                .map(|it| vec![it])
        }
        None => many(cli.from..cli.from + cli.seeds, cli.faults, &scratch),
    };
    match result {
        Ok(reports) => {
            let sum = |of: fn(&sim::Report) -> u64| reports.iter().map(of).sum::<u64>();
            println!(
                "{} seeds: {} faults, {} boots, {} runs, {} acknowledgements, {} steps in {:.1?}: every promise held",
                reports.len(),
                sum(|it| u64::from(it.faults)),
                sum(|it| it.boots),
                sum(|it| it.runs),
                sum(|it| it.acknowledged),
                sum(|it| it.steps),
                begun.elapsed()
            );
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("{failure}");
            ExitCode::FAILURE
        }
    }
}

fn kills(count: u32) -> ExitCode {
    match sim::kills::program().and_then(|program| sim::kills::kill(count, &program)) {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}
