//! Credentials: 256 random bits as text.
//!
//! They are stored as a plain BLAKE3 hash. A slow, salted hash protects passwords, which people
//! choose and which can be guessed; 2^256 equally likely values cannot be, and a slow hash would
//! only give strangers a way to keep the server busy.

use std::fs::File;
use std::io::Read as _;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::Error;

/// Random bytes of a credential.
const BYTES: usize = 32;
/// Longest credential that is looked at; ours have 60 characters.
pub const CHARS_MAX: usize = 256;

/// A new one, from the system's random source.
///
/// # Errors
/// The system has none.
pub fn generate() -> Result<String, Error> {
    Ok(BASE64_URL_SAFE_NO_PAD.encode(random::<BYTES>()?))
}

/// Random bytes of the system.
///
/// # Errors
/// The system has none.
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut bytes)).map_err(
        |error| Error::unavailable(format!("cannot read /dev/urandom for a new key: {error}")),
    )?;
    Ok(bytes)
}

/// What is kept of one.
pub fn hash(credential: &str) -> blake3::Hash {
    blake3::hash(credential.as_bytes())
}
