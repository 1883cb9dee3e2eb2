//! The body of a request: no larger and no slower than it may be.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody as _};
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use futures::{Stream, StreamExt as _};
use tokio::time::Instant;

use super::limits::{LINGER_BYTES_MAX, LINGER_MAX};
use super::refusal::{Refusal, Why};

/// What a request says about the size of its body.
pub(super) fn check_length(headers: &HeaderMap, bytes_max: usize) -> Result<(), Refusal> {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    match length.map(str::parse::<usize>) {
        Some(Ok(length)) if length > bytes_max => Err(too_large(bytes_max)),
        Some(Err(_)) => Err(Refusal::new(Why::Invalid, "the content-length is no number of bytes")),
        _ => Ok(()),
    }
}

/// The same body, which ends with an error beyond so many bytes or after so much time.
pub(super) fn bounded(body: Body, bytes_max: usize, time_max: Duration) -> Body {
    if body.is_end_stream() {
        return body;
    }
    let state = (body.into_data_stream(), bytes_max, Instant::now() + time_max, false);
    let parts = futures::stream::unfold(state, |(mut parts, left, until, failed)| async move {
        if failed {
            return None;
        }
        let part = match tokio::time::timeout_at(until, parts.next()).await {
            Ok(part) => part?,
            Err(_) => {
                return Some((Err(wrong("the body came too slowly")), (parts, 0, until, true)));
            }
        };
        match part {
            Ok(part) if part.len() <= left => {
                let left = left - part.len();
                Some((Ok(part), (parts, left, until, false)))
            }
            Ok(_) => Some((Err(wrong("the body is too large")), (parts, 0, until, true))),
            Err(error) => Some((Err(std::io::Error::other(error)), (parts, 0, until, true))),
        }
    });
    Body::from_stream(parts)
}

/// The same body, of which a bounded rest is taken from the peer when nobody reads on: a peer that is
/// refused while it still sends would find its connection broken instead of the answer.
pub(super) fn lingering(body: Body) -> Body {
    match body.is_end_stream() {
        true => body,
        false => Body::from_stream(Lingering { parts: body.into_data_stream(), ended: false }),
    }
}

struct Lingering {
    parts: BodyDataStream,
    ended: bool,
}

impl Stream for Lingering {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let part = self.parts.poll_next_unpin(context);
        self.ended |= matches!(part, Poll::Ready(None | Some(Err(_))));
        part
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        if self.ended {
            return;
        }
        let mut parts = std::mem::replace(&mut self.parts, Body::empty().into_data_stream());
        runtime.spawn(tokio::time::timeout(LINGER_MAX, async move {
            let mut left = LINGER_BYTES_MAX;
            while let Some(Ok(part)) = parts.next().await {
                match left.checked_sub(part.len()) {
                    Some(less) => left = less,
                    None => return,
                }
            }
        }));
    }
}

/// Reads a whole body.
pub(super) async fn whole(body: Body, bytes_max: usize) -> Result<Bytes, Refusal> {
    let mut parts = body.into_data_stream();
    let mut read = BytesMut::new();
    while let Some(part) = parts.next().await {
        let part = part.map_err(|_| {
            Refusal::new(Why::Invalid, "the body ended early, was too large or came too slowly")
        })?;
        if read.len() + part.len() > bytes_max {
            return Err(too_large(bytes_max));
        }
        read.extend_from_slice(&part);
    }
    Ok(read.freeze())
}

fn too_large(bytes_max: usize) -> Refusal {
    Refusal::new(Why::TooLarge, format!("the request has more than {bytes_max} bytes"))
        .suggest("put large data into a file or an object store and send its address")
}

fn wrong(message: &'static str) -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::InvalidData, message)
}
