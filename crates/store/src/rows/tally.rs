//! What the runs of a namespace come to: key = name of the namespace, the one key whose length
//! somebody chose.

use std::sync::Arc;

use bytes::Bytes;

use super::{Kind, codec};
use crate::error::Error;
use crate::table::Batch;
use crate::tally::Tally;

pub(crate) fn key(namespace: &str) -> Bytes {
    Kind::Tally.key(&[namespace.as_bytes()])
}

/// Those of all namespaces.
pub(crate) fn all() -> (Bytes, Bytes) {
    (Kind::Tally.key(&[]), Kind::Tally.key_after(&[]))
}

pub(crate) fn put(batch: &mut Batch, namespace: &str, tally: Tally) -> Result<(), Error> {
    if tally == Tally::default() {
        batch.delete(key(namespace));
        return Ok(());
    }
    batch.put(key(namespace), codec::encode("tally", &tally)?);
    Ok(())
}

pub(crate) fn decode(value: &[u8]) -> Result<Tally, Error> {
    codec::decode("tally", value)
}

pub(crate) fn namespace_of(key: &[u8]) -> Result<Arc<str>, Error> {
    let name = key.get(1..).and_then(|name| std::str::from_utf8(name).ok());
    name.map(Arc::from).ok_or_else(|| Error::corrupt_row("tally", "a key that is no name"))
}
