//! What a run is made of: events and deltas, in one order.

use bytes::{Bytes, BytesMut};
use reflux_proto::reflux::v1 as wire;

use crate::{Delta, Event, Malformed};

/// One step of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum Item {
    /// Part of the history.
    Event(Event),
    /// Outside the history.
    Delta(Delta),
}

impl Item {
    /// As it is logged.
    pub fn encode(&self) -> wire::Item {
        self.encode_with(&mut BytesMut::new())
    }

    /// As it is logged; encoded events share the allocations of `scratch`.
    pub fn encode_with(&self, scratch: &mut BytesMut) -> wire::Item {
        let item = match self {
            Self::Event(event) => wire::item::Item::Event(event.encode_with(scratch)),
            Self::Delta(delta) => wire::item::Item::Delta(delta.encode_with(scratch)),
        };
        wire::Item { item: Some(item) }
    }

    /// Reads what [`Item::encode`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are not an item this version knows.
    pub fn decode(item: wire::Item) -> Result<Self, Malformed> {
        match item.item {
            Some(wire::item::Item::Event(bytes)) => Ok(Self::Event(Event::decode(bytes)?)),
            Some(wire::item::Item::Delta(delta)) => Ok(Self::Delta(Delta::decode(delta)?)),
            None => Err(Malformed::new("item", "is neither an event nor a delta")),
        }
    }

    /// About how long it is when it is encoded, as [`Draft::bytes`](crate::Draft::bytes) counts it.
    pub fn weight_bytes(&self) -> usize {
        match self {
            Self::Event(event) => usize::try_from(event.kind.size_bytes()).unwrap_or(usize::MAX),
            Self::Delta(_) => crate::draft::delta_bytes(self),
        }
    }

    /// The bytes of a history event, if it is one; what a history is served from.
    pub fn event_bytes(item: &wire::Item) -> Option<&Bytes> {
        match &item.item {
            Some(wire::item::Item::Event(bytes)) => Some(bytes),
            Some(wire::item::Item::Delta(_)) | None => None,
        }
    }
}
