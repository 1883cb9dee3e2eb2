//! The body of a request: no larger and no slower than it may be.

use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use axum::http::{HeaderMap, header};
use bytes::BytesMut;
use futures::StreamExt as _;
use tokio::time::Instant;

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
