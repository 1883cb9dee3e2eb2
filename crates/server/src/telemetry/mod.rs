//! What a server tells its operators: figures for Prometheus, and one span per attempt.
//!
//! ```text
//! metrics facade ─→ recorder ─→ /metrics        host ─ attempt ─→ Spans ─→ OTLP over HTTP
//! ```
//!
//! Absent: where things are counted (where they happen), and log lines (the binary prints them).

pub mod attempts;
pub mod metrics;
pub mod spans;

pub use spans::Spans;
