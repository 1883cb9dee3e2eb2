//! Reading a response up to a bound, and what its bytes mean.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use reflux_sdk::Failure;
use reqwest::Response;
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use serde_json::Value;

use super::client::broken;

/// The bytes of a body as they are after decompression, which is where a bomb shows its size.
pub(crate) async fn read(mut response: Response, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await.map_err(|error| broken("Http.Body", error))?;
        let Some(chunk) = chunk else { return Ok(body) };
        if body.len() + chunk.len() > bytes_max {
            let message = format!(
                "the response is larger than {bytes_max} bytes; raise max_bytes, or ask for less"
            );
            return Err(Failure::permanent("Http.TooLarge", message));
        }
        body.extend_from_slice(&chunk);
    }
}

/// The first bytes of a body that explain a failure; whatever goes wrong, there is less to explain.
pub(crate) async fn read_head(mut response: Response, bytes_max: usize) -> String {
    let mut head = Vec::new();
    while head.len() < bytes_max
        && let Ok(Some(chunk)) = response.chunk().await
    {
        head.extend_from_slice(&chunk);
    }
    head.truncate(bytes_max);
    String::from_utf8_lossy(&head).into_owned()
}

/// JSON where the headers say so, else text, else base64; with the name of the encoding if it is base64.
pub(crate) fn meaning(
    headers: &HeaderMap,
    body: Vec<u8>,
) -> Result<(Value, Option<&'static str>), Failure> {
    if is_json(headers) {
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok((Value::Null, None));
        }
        let value = serde_json::from_slice(&body).map_err(|e| {
            let message = format!(
                "the response says it is JSON but is not: {e}; set response: text to read it anyway"
            );
            Failure::permanent("Http.Json", message)
        })?;
        return Ok((value, None));
    }
    Ok(text(body))
}

/// Text, or base64 if the bytes are not UTF-8.
pub(crate) fn text(body: Vec<u8>) -> (Value, Option<&'static str>) {
    match String::from_utf8(body) {
        Ok(text) => (Value::String(text), None),
        Err(bytes) => (Value::String(BASE64_STANDARD.encode(bytes.as_bytes())), Some("base64")),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    kind == "application/json" || kind == "text/json" || kind.ends_with("+json")
}
