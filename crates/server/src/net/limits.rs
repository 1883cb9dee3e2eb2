//! Bounds of what a stranger can send that are not for an operator to choose.

use std::time::Duration;

/// Most bytes of any gRPC message, as it is and decompressed: a completed workflow task may carry
/// several payloads of 2 MiB.
pub const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// Most bytes of a request of our own API, over HTTP and gRPC: a payload of 2 MiB, escaped as JSON.
pub const BODY_BYTES_MAX: usize = 4 << 20;
/// What is still read of a request over HTTP/1 that has been answered, so that its sender comes to
/// read the answer, and for how long.
pub(super) const LINGER_BYTES_MAX: usize = 16 << 20;
pub(super) const LINGER_MAX: Duration = Duration::from_secs(5);
/// Most bytes of what frames a gRPC message, in front of it.
pub(super) const FRAME_BYTES: usize = 5;
/// Most bytes of the head of a request: tokens and baggage of proxies are a few KiB.
pub(super) const HEAD_BYTES_MAX: usize = 64 << 10;
/// Most header fields of a request.
pub(super) const HEADERS_MAX: usize = 100;
/// Longest path and query.
pub(super) const URI_BYTES_MAX: usize = 8 << 10;
/// How long a peer may take nothing of what it is sent. Its connection is closed then.
pub(super) const STALL_MAX: Duration = Duration::from_secs(30);
/// How often a peer that says nothing is asked whether it is there (HTTP/2), and how long it has to
/// answer.
pub(super) const PING: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(20));
/// Streams that a peer opened and reset at once, before its connection is closed (the rapid reset
/// attack).
pub(super) const RESETS_MAX: usize = 50;
/// Callers whose rate is kept in mind; further ones share one bucket.
pub(super) const CALLERS_MAX: usize = 10_000;
/// Wrong credentials a second from one address, and as many at once.
pub(super) const WRONG_KEYS_PER_SECOND: u32 = 10;
