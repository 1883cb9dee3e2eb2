//! Generated messages: Temporal's API, our own durable records, and our own API.
//!
//! No behaviour lives here but the JSON of [`json`]. Maps are `BTreeMap` and bytes are shared, so that an encoding is
//! deterministic and a decoded payload costs no copy.

#![allow(missing_docs, clippy::all, rustdoc::all)]

include!(concat!(env!("OUT_DIR"), "/all.rs"));

/// `reflux.v1` as it is spoken: messages, services, clients. What is stored of that package is in
/// [`reflux::v1`].
#[cfg(feature = "services")]
pub mod api {
    include!(concat!(env!("OUT_DIR"), "/api/reflux.v1.rs"));
    include!(concat!(env!("OUT_DIR"), "/api/reflux.v1.serde.rs"));
}

#[cfg(feature = "services")]
pub mod json;

/// The descriptors of everything here, for reflection: an encoded `FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
