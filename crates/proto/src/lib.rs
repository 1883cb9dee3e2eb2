//! Generated messages: Temporal's API and our own durable records.
//!
//! No behaviour lives here. Maps are `BTreeMap` and bytes are shared, so that an encoding is
//! deterministic and a decoded payload costs no copy.

#![allow(missing_docs, clippy::all, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/all.rs"));

/// The descriptors of everything here, for reflection: an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
