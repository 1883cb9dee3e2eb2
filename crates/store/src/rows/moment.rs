//! Moments as bytes that sort in time, or against it.

use reflux_core::Timestamp;

const SIGN: u64 = 1 << 63;

/// Earlier sorts first; moments before 1970 too.
pub(crate) fn ascending(moment: Timestamp) -> [u8; 8] {
    (moment.0.cast_unsigned() ^ SIGN).to_be_bytes()
}

/// Later sorts first.
pub(crate) fn descending(moment: Timestamp) -> [u8; 8] {
    (!(moment.0.cast_unsigned() ^ SIGN)).to_be_bytes()
}

/// The moment that [`ascending`] made these bytes of.
pub(crate) fn from_ascending(bytes: [u8; 8]) -> Timestamp {
    Timestamp((u64::from_be_bytes(bytes) ^ SIGN).cast_signed())
}

/// The moment that [`descending`] made these bytes of.
pub(crate) fn from_descending(bytes: [u8; 8]) -> Timestamp {
    Timestamp((!u64::from_be_bytes(bytes) ^ SIGN).cast_signed())
}
