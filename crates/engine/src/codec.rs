//! Between a run's items and their stored bytes. Large payloads are stored once per partition, by
//! digest, and put back when an item is read: nobody above notices. A client's payload that looks
//! like a reference is stored by digest too, so that it stays what it is.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use reflux_core::{Header, Item, Kind, Payload, RunKey};
use reflux_proto::reflux::v1 as wire;

use crate::Error;

/// Payloads longer than this are stored by digest.
pub(crate) const INLINE_BYTES_MAX: usize = 32 * 1024; // below it a second look-up costs more than the copy

/// The same when the items of a step would not fit a record otherwise.
pub(crate) const INLINE_BYTES_TIGHT: usize = 256; // below it a reference is hardly shorter

/// Encoding of a payload whose data is elsewhere: `data` is the digest of the whole payload.
const BY_DIGEST: &[u8] = b"reflux/digest";
const ENCODING: &str = "encoding";

/// Payloads that a record stores by digest.
#[derive(Debug, Default)]
pub(crate) struct Blobs {
    /// The whole payloads.
    pub new: BTreeMap<[u8; 32], Bytes>,
}

/// An item as it is logged and as it is stored; payloads longer than `inline_max` go to `blobs`.
pub(crate) fn encode(
    item: &Item,
    inline_max: usize,
    blobs: &mut Blobs,
    scratch: &mut BytesMut,
) -> (wire::Item, Bytes) {
    let encoded = item.encode_with(scratch);
    let short = encoded.encoded_len() <= inline_max;
    let stored = short.then(|| framed(&encoded, scratch));
    if let Some(stored) = stored.filter(|stored| !may_refer(stored)) {
        return (encoded, stored);
    }
    let mut item = item.clone();
    item.visit_payloads(&mut |payload| {
        // One that looks like a reference came from outside: it must come back as it is, and name no
        // payload of somebody else's.
        if payload.encoded_len() > inline_max || is_by_digest(payload) {
            let whole: Bytes = payload.encode_to_vec().into();
            let digest = *blake3::hash(&whole).as_bytes();
            blobs.new.insert(digest, whole);
            *payload = Payload {
                metadata: BTreeMap::from([(ENCODING.to_owned(), Bytes::from_static(BY_DIGEST))]),
                data: Bytes::copy_from_slice(&digest),
                ..Payload::default()
            };
        }
    });
    let encoded = item.encode_with(scratch);
    let stored = framed(&encoded, scratch);
    (encoded, stored)
}

fn framed(item: &wire::Item, scratch: &mut BytesMut) -> Bytes {
    scratch.reserve(item.encoded_len());
    // A `BytesMut` grows: encoding into it cannot fail.
    let _ = item.encode(scratch);
    scratch.split().freeze()
}

/// Reads an item; `fetch` gives the payloads that are stored by digest.
///
/// # Errors
/// [`Error::Corrupt`] when the bytes are not an item, or a payload is missing.
pub(crate) fn decode(
    encoded: &Bytes,
    fetch: &dyn Fn([u8; 32]) -> Result<Option<Bytes>, Error>,
) -> Result<Item, Error> {
    let item = wire::Item::decode(encoded.clone())
        .map_err(|error| Error::Corrupt(format!("an item cannot be read: {error}")))?;
    let mut item = Item::decode(item)
        .map_err(|error| Error::Corrupt(format!("an item cannot be read: {error}")))?;
    if !may_refer(encoded) {
        return Ok(item);
    }
    let mut result = Ok(());
    item.visit_payloads(&mut |payload| {
        if let (Some(digest), true) = (digest_of(payload), result.is_ok()) {
            match whole(digest, fetch) {
                Ok(found) => *payload = found,
                Err(error) => result = Err(error),
            }
        }
    });
    result.map(|()| item)
}

/// Whether a payload of an encoded item may be stored by digest.
pub(crate) fn may_refer(encoded: &[u8]) -> bool {
    encoded.windows(BY_DIGEST.len()).any(|window| window == BY_DIGEST)
}

/// Every item of a stored run, in order.
///
/// # Errors
/// [`Error::Corrupt`].
pub(crate) fn items(store: &reflux_store::Partition, run: &RunKey) -> Result<Vec<Item>, Error> {
    let fetch = |digest: [u8; 32]| Ok(store.blob(&digest)?);
    store.items(run, 0)?.map(|row| decode(&row?.1, &fetch)).collect()
}

/// Tells the digests that an encoded item refers to: payloads, and the bundles of flow runs and of
/// schedules.
///
/// # Errors
/// The bytes are not an item.
pub fn references(
    encoded: &Bytes,
    tell: &mut dyn FnMut([u8; 32]),
) -> Result<(), reflux_store::Error> {
    let wire = wire::Item::decode(encoded.clone()).map_err(|error| {
        reflux_store::Error::Corrupt(format!("an item cannot be read: {error}"))
    })?;
    let mut item = Item::decode(wire).map_err(|error| {
        reflux_store::Error::Corrupt(format!("an item cannot be read: {error}"))
    })?;
    if let Item::Event(event) = &item
        && let Some(header) = header_of(&event.kind)
        && let Some(payload) = reflux_flow::payload::spec_of(header)
        && let Ok(digest) = <[u8; 32]>::try_from(&*payload.data)
    {
        tell(digest);
    }
    item.visit_payloads(&mut |payload| {
        if let Some(digest) = digest_of(payload) {
            tell(digest);
        }
    });
    Ok(())
}

/// The header that may name a bundle.
fn header_of(kind: &Kind) -> Option<&Header> {
    match kind {
        Kind::Started(started) => Some(&started.header),
        Kind::Signaled(signaled) => Some(&signaled.header),
        _ => None,
    }
}

fn digest_of(payload: &Payload) -> Option<[u8; 32]> {
    is_by_digest(payload).then(|| <[u8; 32]>::try_from(&*payload.data).ok()).flatten()
}

fn is_by_digest(payload: &Payload) -> bool {
    payload.metadata.get(ENCODING).is_some_and(|encoding| **encoding == *BY_DIGEST)
}

fn whole(
    digest: [u8; 32],
    fetch: &dyn Fn([u8; 32]) -> Result<Option<Bytes>, Error>,
) -> Result<Payload, Error> {
    let name = blake3::Hash::from_bytes(digest).to_hex();
    let bytes = fetch(digest)?.ok_or_else(|| {
        Error::Corrupt(format!(
            "payload {name} is missing; restore the data directory from a backup"
        ))
    })?;
    Payload::decode(bytes)
        .map_err(|error| Error::Corrupt(format!("payload {name} cannot be read: {error}")))
}
