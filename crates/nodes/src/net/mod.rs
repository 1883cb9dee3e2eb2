//! Where nodes may connect to: which addresses are public, and what the configuration allows beyond.
//! Knows nothing about HTTP.

mod address;
mod policy;

pub use policy::{AllowRule, NetPolicy};
