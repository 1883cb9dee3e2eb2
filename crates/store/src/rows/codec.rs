//! serde + bincode, and nowhere else: a row can always be rebuilt, so its format is a number
//! ([`ROW_FORMAT`](super::meta::ROW_FORMAT)) and never a migration.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};

use crate::error::Error;

/// Longest row of a value type: ids of 1,000 characters, a type name, an error.
const ROW_BYTES_MAX: usize = 64 << 10;

pub(crate) fn encode<T: Serialize>(what: &str, value: &T) -> Result<Bytes, Error> {
    let config = bincode::config::standard().with_limit::<ROW_BYTES_MAX>();
    bincode::serde::encode_to_vec(value, config)
        .map(Bytes::from)
        .map_err(|error| Error::Invalid(format!("{what}: {error}; shorten its names")))
}

pub(crate) fn decode<T: DeserializeOwned>(what: &str, bytes: &[u8]) -> Result<T, Error> {
    let config = bincode::config::standard().with_limit::<ROW_BYTES_MAX>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok(_) => Err(Error::corrupt_row(what, "bytes after its end")),
        Err(error) => Err(Error::corrupt_row(what, error)),
    }
}
