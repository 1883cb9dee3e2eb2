//! Events and deltas as bytes: Temporal's `HistoryEvent` and our own `Delta`.
//!
//! Reading checks: what the domain cannot do without must be there. Fields of a foreign event
//! that the domain has no place for are dropped.

mod decode;
mod delta;
mod encode;
pub(crate) mod fields;

use std::fmt;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use prost::Message;
use reflux_proto::temporal::api::history::v1::HistoryEvent;

use crate::{Event, EventId};

/// Bytes that are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Malformed {
    what: Arc<str>,
    why: Arc<str>,
}

impl Malformed {
    pub(crate) fn new(what: impl Into<Arc<str>>, why: impl Into<Arc<str>>) -> Self {
        Self { what: what.into(), why: why.into() }
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: restore it from a copy, or read it with a newer version",
            self.what, self.why
        )
    }
}

impl std::error::Error for Malformed {}

impl Event {
    /// As it is logged and served: a Temporal `HistoryEvent`.
    pub fn encode(&self) -> Bytes {
        Bytes::from(self.to_proto().encode_to_vec())
    }

    /// As [`Event::encode`], in a part of `scratch`.
    pub fn encode_with(&self, scratch: &mut BytesMut) -> Bytes {
        append(&self.to_proto(), scratch)
    }

    /// The message that [`Event::encode`] writes.
    pub fn to_proto(&self) -> HistoryEvent {
        encode::event(self)
    }

    /// Reads what [`Event::encode`] or a Temporal server wrote; payloads share `bytes`.
    ///
    /// # Errors
    /// [`Malformed`] when it is damaged or an event this version does not know.
    pub fn decode(bytes: impl Into<Bytes>) -> Result<Self, Malformed> {
        let message = HistoryEvent::decode(bytes.into())
            .map_err(|error| Malformed::new("history event", error.to_string()))?;
        Self::from_proto(message)
    }

    /// Reads a message as [`Event::decode`] does.
    ///
    /// # Errors
    /// As [`Event::decode`].
    pub fn from_proto(message: HistoryEvent) -> Result<Self, Malformed> {
        let id = EventId(message.event_id);
        if id.0 < 0 {
            return Err(Malformed::new("history event", "has a negative number"));
        }
        let time = fields::time(message.event_time.as_ref()).unwrap_or_default();
        let attributes = message
            .attributes
            .ok_or_else(|| Malformed::new(format!("event {id}"), "has no attributes"))?;
        let kind = decode::kind(attributes)
            .map_err(|error| Malformed::new(format!("event {id} {}", error.what), error.why))?;
        Ok(Self { id, time, kind })
    }
}

/// Encodes into the scratch and splits that part off.
fn append(message: &impl Message, scratch: &mut BytesMut) -> Bytes {
    scratch.reserve(message.encoded_len());
    // The buffer grows by itself; encoding into it cannot run out of room.
    let _ = message.encode(scratch);
    scratch.split().freeze()
}
