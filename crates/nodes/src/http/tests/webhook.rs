//! Deliveries.

use reflux_sdk::Node;
use serde_json::json;

use super::super::WebhookOut;
use super::super::webhook::sign;
use super::{Server, context, loopback, reply};

#[tokio::test]
async fn a_webhook_is_signed_and_can_be_recognised() {
    let server = Server::start(|request| match request.line.contains("moved") {
        true => reply("302 Found", "location: /elsewhere\r\n", ""),
        false => reply("202 Accepted", "", ""),
    })
    .await;
    let node = WebhookOut::new(loopback());
    let input = json!({"url": server.url("/hook"), "body": ["a", {"b": 1}], "secret": "s3cret", "headers": {"X-A": "1"}});
    assert_eq!(node.call(&context(), input).await.unwrap(), json!({"status": 202}));
    let seen = server.last();
    assert_eq!(
        (seen.line.as_str(), seen.body.as_str()),
        ("POST /hook HTTP/1.1", r#"["a",{"b":1}]"#)
    );
    assert_eq!(
        (seen.headers["idempotency-key"].as_str(), seen.headers["x-a"].as_str()),
        ("key-1", "1")
    );
    let signature = sign("s3cret", &seen.headers["x-reflux-timestamp"], &seen.body);
    assert_eq!(seen.headers["x-reflux-signature"], format!("sha256={signature}"));

    node.call(&context(), json!({"url": server.url("/hook")})).await.unwrap();
    assert_eq!(server.last().body, "null");
    assert!(!server.last().headers.contains_key("x-reflux-signature"));

    let moved = node.call(&context(), json!({"url": server.url("/moved")})).await.unwrap_err();
    assert_eq!((moved.kind.as_str(), moved.retryable), ("Http.Status", false));
    assert!(!server.last().line.contains("elsewhere"));
}

#[test]
fn the_signature_is_the_one_of_other_tools() {
    // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac key
    let expected = "a438e398bfafc57e4396bb7fc2304422f0f768e965d073ca313cb52e22e6ad03";
    assert_eq!(sign("key", "1700000000", r#"{"a":1}"#), expected);
}
