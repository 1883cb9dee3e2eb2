//! `webhook.out`: a JSON body delivered to a receiver, which can verify who sent it and recognise repetitions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use sha2::Sha256;

use super::client::{Outgoing, Web, parse_header, parse_url};
use super::request::bad_status;
use crate::support;

const MANIFEST: &str = include_str!("webhook.json");
/// A receiver acknowledges first and works afterwards.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

pub(crate) struct WebhookOut {
    manifest: Manifest,
    web: Arc<Web>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    url: String,
    #[serde(default)]
    body: Value,
    secret: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    timeout_sec: Option<f64>,
}

impl WebhookOut {
    pub(crate) fn new(web: Arc<Web>) -> Self {
        Self { manifest: support::manifest(MANIFEST), web }
    }

    /// Redirects are not followed: a signed body is meant for the receiver it was signed for.
    async fn deliver(&self, ctx: &Context, input: Input) -> Result<Value, Failure> {
        let body = input.body.to_string();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut set = |name: &str, value: &str| -> Result<(), Failure> {
            let (name, value) = parse_header(name, value)?;
            headers.insert(name, value);
            Ok(())
        };
        for (name, value) in &input.headers {
            set(name, value)?;
        }
        set("idempotency-key", &ctx.attempt.idempotency_key)?;
        let timestamp = unix_seconds().to_string();
        set("x-reflux-timestamp", &timestamp)?;
        if let Some(secret) = &input.secret {
            let signature = sign(secret, &timestamp, &body);
            set("x-reflux-signature", &format!("sha256={signature}"))?;
        }
        let outgoing = Outgoing {
            method: Method::POST,
            url: parse_url(&input.url)?,
            headers,
            body: Some(body),
        };
        let response = self.web.send(outgoing).await?;
        let status = response.status();
        ctx.metric("status", f64::from(status.as_u16()));
        match status.is_success() {
            true => Ok(json!({ "status": status.as_u16() })),
            false => Err(bad_status(response).await),
        }
    }
}

impl Node for WebhookOut {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let input: Input = self.manifest.read_input(input)?;
            let timeout = support::timeout(ctx, input.timeout_sec, TIMEOUT_DEFAULT)?;
            support::bounded(ctx, timeout, self.deliver(ctx, input)).await
        })
    }
}

/// HMAC-SHA256 of `timestamp.body` in hexadecimal, so that an old delivery cannot be replayed with a new time.
pub(crate) fn sign(secret: &str, timestamp: &str, body: &str) -> String {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.as_bytes()) else {
        return String::new(); // HMAC takes keys of every length
    };
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body.as_bytes());
    let digest = mac.finalize().into_bytes();
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
