//! The flow language: text to one graph, expressions over a run's results, validation.
//!
//! ```text
//! YAML, JSON, canvas ── syntax ─→ Flow ── validate ─→ diagnostics
//!                                  │
//!                                  └─ canonical ─→ bytes, digest
//! ```
//!
//! Pure: no files, no clock, no randomness, no threads. Knows nothing of storage or servers.

pub mod advance;
pub mod alternatives;
pub mod bundle;
pub mod canonical;
mod decider;
pub mod diagnostic;
pub mod document;
pub mod duration;
pub mod export;
pub mod expr;
pub mod graph;
mod hexadecimal;
pub mod input;
pub mod name;
mod order;
mod outputs;
pub mod payload;
#[doc(hidden)]
pub mod planted;
pub mod progress;
pub mod redrive;
pub mod replay;
pub mod schedule;
pub mod scope;
pub mod span;
pub mod steer;
pub mod syntax;
pub mod template;
pub mod trigger;
pub mod validate;
mod walk;

pub use advance::{Advance, Error as AdvanceError, NodePolicy, Policies, advance};
pub use decider::{Decider, Unfit};
pub use graph::{Bundle, Flow};
pub use progress::Progress;
pub use schedule::Schedule;
pub use steer::{Patch, Refused, Steer};
