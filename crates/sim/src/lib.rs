//! A whole engine in one thread, driven by a seed: one seed, one trace.
//!
//! ```text
//! seed ─→ scheduler ─┬─→ Process { Stepper, host } ─→ log (durable) ─→ Model
//!                    ├─→ clients, nodes, clock, keeper                  │
//!                    └─→ crashes, lost answers, zombies, rot            │
//!                                                    Oracle ←───────────┘
//! ```
//!
//! The oracle stands outside: it knows only what clients and nodes were told, and what the log
//! holds. Absent: threads, wall clocks, randomness beside the seed, any knowledge of how a
//! partition does its work.

mod client;
mod clock;
mod failure;
pub mod flows;
mod host;
pub mod kills;
mod model;
mod oracle;
mod planted;
mod process;
mod simulation;
mod trace;

pub use failure::Failure;
pub use planted::Planted;
pub use simulation::sweep::{Swept, sweep};
pub use simulation::{FAULTS_MIN, Plan, Report, Scratch, many, simulate};
pub use trace::Out;
