//! A project's directory and the process that holds it.
//!
//! ```text
//! Project ── config, secrets, nodes, flows
//!    │
//! Client ── attaches to ──→ Holder's socket ─→ Service ─→ Engine
//!    └───── or becomes ───→ Holder ──────────→    │         │ attempts
//!                                              Story     LocalHost ─→ nodes
//! ```
//!
//! Absent: terminals, arguments, colours (the binary's), and everything a run decides (the
//! engine's).

pub mod access;
pub mod alternatives;
pub mod api;
pub mod bulk;
pub mod catalogue;
pub mod client;
pub mod clock;
pub mod config;
pub mod definitions;
pub mod error;
pub mod history;
pub mod holder;
pub mod host;
pub mod net;
mod pacing;
pub mod page;
pub mod project;
pub mod protocol;
pub mod registry;
pub mod rest;
pub mod secrets;
pub mod service;
mod stamp;
pub mod story;
pub mod telemetry;
pub mod temporal;
pub mod triggers;
pub mod workers;

pub use client::Client;
pub use config::Config;
pub use error::{Error, Kind};
pub use project::Project;
pub use reflux_engine::Subject;
