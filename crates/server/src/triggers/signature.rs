//! Signatures of deliveries, as `webhook.out` makes them: HMAC-SHA256 of `timestamp.body`.

use std::time::Duration;

use axum::http::HeaderMap;
use hmac::{Hmac, KeyInit, Mac};
use reflux_core::Timestamp;
use sha2::Sha256;

/// Unix seconds at which a delivery was signed.
pub(super) const TIMESTAMP: &str = "x-reflux-timestamp";
/// `sha256=` and the signature in hexadecimal.
pub(super) const SIGNATURE: &str = "x-reflux-signature";
/// How far the clocks of sender and receiver may be apart, and so how long a delivery may be
/// repeated: the five minutes that senders commonly assume.
pub(super) const TOLERANCE: Duration = Duration::from_secs(300);

/// The signature of a delivery, when it is right.
///
/// # Errors
/// Says what is wrong, and nothing that helps to guess it.
pub(super) fn verify(
    headers: &HeaderMap,
    body: &[u8],
    secret: &str,
    now: Timestamp,
) -> Result<[u8; 32], &'static str> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let timestamp = text(TIMESTAMP).ok_or("the header x-reflux-timestamp is missing")?;
    let signature = text(SIGNATURE).ok_or("the header x-reflux-signature is missing")?;
    let signed: i64 = timestamp.parse().map_err(|_| "x-reflux-timestamp is no Unix time")?;
    let apart = now.0.div_euclid(1_000_000_000).abs_diff(signed);
    if apart > TOLERANCE.as_secs() {
        return Err("the signature is too old, or a clock is wrong; sign the delivery again");
    }
    let hex = signature.strip_prefix("sha256=").and_then(bytes_of);
    let given = hex.ok_or("x-reflux-signature is not sha256= and 64 hexadecimal digits")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes())
        .map_err(|_| "the secret cannot be used as a key")?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    // Takes the same time wherever the two differ.
    mac.verify_slice(&given).map_err(|_| "the signature is not that of this body and secret")?;
    Ok(given)
}

fn bytes_of(hex: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (at, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(hex.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OTHER: &str = "sha256=0000000000000000000000000000000000000000000000000000000000000000";

    fn sign(secret: &str, timestamp: &str, body: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{timestamp}.{body}").as_bytes());
        let digest = mac.finalize().into_bytes();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("sha256={hex}")
    }

    fn check(timestamp: &str, signature: &str, now: i64) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        if !timestamp.is_empty() {
            headers.insert(TIMESTAMP, timestamp.parse().unwrap());
        }
        if !signature.is_empty() {
            headers.insert(SIGNATURE, signature.parse().unwrap());
        }
        verify(&headers, b"{\"a\":1}", "s3cret", Timestamp(now * 1_000_000_000)).map(drop)
    }

    #[test]
    fn only_a_fresh_signature_of_this_body_and_secret_is_right() {
        let right = sign("s3cret", "1000", "{\"a\":1}");
        assert_eq!(check("1000", &right, 1000), Ok(()));
        assert_eq!(check("1000", &right, 1300), Ok(()));
        assert_eq!(check("1000", &right, 700), Ok(()));
        assert!(check("1000", &right, 1301).unwrap_err().contains("too old"));
        assert!(check("1000", &right, 699).unwrap_err().contains("too old"));
        for wrong in [
            sign("other", "1000", "{\"a\":1}"),
            sign("s3cret", "1001", "{\"a\":1}"),
            sign("s3cret", "1000", "{\"a\":2}"),
            OTHER.to_owned(),
        ] {
            assert!(check("1000", &wrong, 1000).unwrap_err().contains("not that of"), "{wrong}");
        }
        assert!(check("", &right, 1000).unwrap_err().contains("missing"));
        assert!(check("1000", "", 1000).unwrap_err().contains("missing"));
        assert!(check("soon", &right, 1000).unwrap_err().contains("Unix time"));
        assert!(check("9223372036854775807", &right, 1000).is_err());
        assert!(check("-9223372036854775808", &right, 1000).is_err());
        for bad in [
            "sha256=",
            "sha1=00",
            "sha256=zz",
            &right[..70],
            "sha256=ääääääääääääääääääääääääääääääää",
        ] {
            if let Ok(value) = axum::http::HeaderValue::from_bytes(bad.as_bytes()) {
                let mut headers = HeaderMap::new();
                headers.insert(TIMESTAMP, "1000".parse().unwrap());
                headers.insert(SIGNATURE, value);
                assert!(verify(&headers, b"", "s", Timestamp(1_000_000_000_000)).is_err(), "{bad}");
            }
        }
    }
}
