//! Golden histories, and the harness that plays them.
//!
//! ```text
//! golden/NAME/flow.yaml ──┐
//! golden/NAME/script.json ─┴─→ World ─→ items ─→ compared with history.jsonl (written by hand)
//!                                             └─→ compared with items.bin (written once)
//! ```
//!
//! Pure: core and flow, no engine, no clock. This package holds tests only, so it panics where a
//! library would return an error.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

pub mod golden;
pub mod script;
pub mod show;
pub mod world;
