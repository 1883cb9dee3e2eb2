//! What is sent, what comes back, and what is refused.

use std::time::Duration;

use reflux_sdk::{Effects, Node};
use serde_json::json;
use tokio::net::TcpListener;

use super::super::HttpRequest;
use super::{JSON, Server, context, loopback, reply, request};

#[tokio::test]
async fn a_request_carries_what_the_step_says() {
    let server = Server::start(|_| reply("200 OK", JSON, r#"{"ok":true}"#)).await;
    let rows = [
        (json!({}), "GET /p HTTP/1.1", None, ""),
        (
            json!({"method": "post", "json": {"a": 1}}),
            "POST /p HTTP/1.1",
            Some("application/json"),
            r#"{"a":1}"#,
        ),
        (
            json!({"method": "PUT", "body": "text"}),
            "PUT /p HTTP/1.1",
            Some("text/plain; charset=utf-8"),
            "text",
        ),
        (
            json!({"method": "PATCH", "body": [1]}),
            "PATCH /p HTTP/1.1",
            Some("application/json"),
            "[1]",
        ),
        (
            json!({"method": "POST", "body": "<a/>", "headers": {"Content-Type": "text/xml"}}),
            "POST /p HTTP/1.1",
            Some("text/xml"),
            "<a/>",
        ),
        (
            json!({"query": {"q": "a b&c", "n": 1, "l": [1, true], "no": null}}),
            "GET /p?q=a+b%26c&n=1&l=1&l=true HTTP/1.1",
            None,
            "",
        ),
    ];
    for (mut input, line, kind, body) in rows {
        input["url"] = server.url("/p").into();
        let output = request(input.clone()).await.unwrap();
        assert_eq!(
            (output["status"].clone(), output["data"].clone()),
            (200.into(), json!({"ok": true}))
        );
        let seen = server.last();
        assert_eq!(
            (
                seen.line.as_str(),
                seen.headers.get("content-type").map(String::as_str),
                seen.body.as_str()
            ),
            (line, kind, body),
            "{input}"
        );
    }
    request(json!({"url": server.url("/"), "auth": {"bearer": "t0k"}, "headers": {"X-N": 5}}))
        .await
        .unwrap();
    assert_eq!(
        (server.last().headers["authorization"].as_str(), server.last().headers["x-n"].as_str()),
        ("Bearer t0k", "5")
    );
    request(json!({"url": server.url("/"), "auth": {"username": "u", "password": "p"}}))
        .await
        .unwrap();
    assert_eq!(server.last().headers["authorization"], "Basic dTpw");
    request(json!({"url": server.url("/"), "method": "POST", "idempotent": true})).await.unwrap();
    assert_eq!(server.last().headers["idempotency-key"], "key-1");
}

#[tokio::test]
async fn a_response_is_json_where_it_says_so_and_text_otherwise() {
    let server = Server::start(|request| match request.line.split(' ').nth(1).unwrap() {
        "/json" => {
            reply("200 OK", "content-type: application/problem+json; charset=utf-8\r\n", "[1]")
        }
        "/empty" => reply("204 No Content", JSON, ""),
        "/text" => reply(
            "200 OK",
            "content-type: text/plain\r\nx-a: 1\r\nX-A: 2\r\nset-cookie: a\r\nset-cookie: b\r\n",
            "[1]",
        ),
        "/bytes" => reply("200 OK", "", [0xff, 0x00]),
        _ => reply("200 OK", JSON, "<html>"),
    })
    .await;
    let get = |path: &str, response: &str| {
        request(json!({"url": server.url(path), "response": response}))
    };
    assert_eq!(get("/json", "auto").await.unwrap()["data"], json!([1]));
    assert_eq!(get("/json", "text").await.unwrap()["data"], json!("[1]"));
    assert_eq!(get("/empty", "auto").await.unwrap()["data"], json!(null));
    let text = get("/text", "auto").await.unwrap();
    assert_eq!(
        (&text["data"], &text["headers"]["x-a"], &text["headers"]["set-cookie"]),
        (&json!("[1]"), &json!("1, 2"), &json!(["a", "b"]))
    );
    let bytes = get("/bytes", "auto").await.unwrap();
    assert_eq!((&bytes["data"], &bytes["encoding"]), (&json!("/wA="), &json!("base64")));
    let failure = get("/html", "auto").await.unwrap_err();
    assert_eq!(failure.kind, "Http.Json");
    assert!(failure.message.contains("set response: text"), "{failure}");
}

#[tokio::test]
async fn a_status_fails_the_step_unless_it_was_asked_for() {
    let server = Server::start(|request| {
        let status = request.line.split(['/', ' ']).nth(2).unwrap().to_owned();
        reply(&format!("{status} X"), "retry-after: 7\r\n", "why")
    })
    .await;
    let seven = Some(Duration::from_secs(7));
    let rows = [
        (400, false, None),
        (401, false, None),
        (404, false, None),
        (408, true, seven),
        (409, false, None),
        (425, true, seven),
        (429, true, seven),
        (500, true, seven),
        (503, true, seven),
    ];
    for (status, retryable, retry_after) in rows {
        let url = server.url(&format!("/{status}"));
        let failure = request(json!({ "url": url })).await.unwrap_err();
        assert_eq!(
            (failure.kind.as_str(), failure.retryable, failure.retry_after),
            ("Http.Status", retryable, retry_after),
            "{status}"
        );
        assert_eq!(failure.details, Some(Box::new(json!({"status": status, "body": "why"}))));
        let output = request(json!({"url": url, "fail_on_status": false})).await.unwrap();
        assert_eq!((&output["status"], &output["data"]), (&json!(status), &json!("why")));
        assert!(request(json!({"url": url, "ok_statuses": [200, status]})).await.is_ok());
        assert!(request(json!({"url": url, "ok_statuses": [200]})).await.is_err());
    }
    assert!(request(json!({"url": server.url("/200"), "ok_statuses": [201]})).await.is_err());
}

#[tokio::test]
async fn a_body_is_bounded_as_it_is_after_decompression() {
    let bomb = gzip_of_zeros();
    assert!(bomb.len() < 10_000);
    let server = Server::start(move |request| match request.line.contains("bomb") {
        true => reply("200 OK", "content-encoding: gzip\r\n", &bomb),
        false => reply("200 OK", "", "x".repeat(2_000)),
    })
    .await;
    let get = |path: &str, max: usize| request(json!({"url": server.url(path), "max_bytes": max}));
    assert!(get("/", 2_000).await.is_ok());
    assert_eq!(get("/", 1_999).await.unwrap_err().kind, "Http.TooLarge");
    assert_eq!(get("/bomb", 100_000).await.unwrap_err().kind, "Http.TooLarge");
    assert_eq!(get("/bomb", 2 << 20).await.unwrap()["data"].as_str().unwrap().len(), 1 << 20);
    let failure = get("/", 1 << 30).await.unwrap_err();
    assert!(failure.message.contains("raise response_bytes_max"), "{failure}");
}

/// Stored in the smallest way without a compressor: fixed Huffman codes, each a run of 258 zeros.
fn gzip_of_zeros() -> Vec<u8> {
    let total: usize = 1 << 20;
    let mut bits: Vec<bool> = vec![true, true, false]; // last block, fixed codes
    let code = |bits: &mut Vec<bool>, value: u32, length: u32| {
        (0..length).rev().for_each(|bit| bits.push(value >> bit & 1 == 1))
    };
    code(&mut bits, 0x30, 8); // the literal 0
    let (runs, rest) = ((total - 1) / 258, (total - 1) % 258);
    for _ in 0..runs {
        code(&mut bits, 0b1100_0101, 8); // length 258
        code(&mut bits, 0, 5); // distance 1
    }
    for _ in 0..rest {
        code(&mut bits, 0x30, 8);
    }
    code(&mut bits, 0, 7); // end of block
    let mut gzip = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    gzip.extend(
        bits.chunks(8).map(|byte| {
            byte.iter().enumerate().fold(0, |all, (at, bit)| all | u8::from(*bit) << at)
        }),
    );
    gzip.extend(crc32_of_zeros(total).to_le_bytes());
    gzip.extend((total as u32).to_le_bytes());
    gzip
}

fn crc32_of_zeros(count: usize) -> u32 {
    let step = |crc: u32| {
        (0..8).fold(crc, |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    };
    let zero = |crc: u32| crc >> 8 ^ step(crc & 0xff);
    !(0..count).fold(!0, |crc, _| zero(crc))
}

#[tokio::test]
async fn a_request_that_cannot_be_sent_is_refused_without_telling_its_secrets() {
    let rows = [
        (json!({"url": "not a url"}), "url: "),
        (json!({"url": "ftp://x/"}), "not http or https"),
        (json!({"url": "file:///etc/passwd"}), "not http or https"),
        (json!({"url": "http://user:s3cret@x/"}), "put the user and the password into `auth`"),
        (
            json!({"url": "http://x/", "headers": {"X-A": "s3cret\r\nX-B: 1"}}),
            "the value of `x-a` holds a line break",
        ),
        (json!({"url": "http://x/", "headers": {"X-A": "s3cret\u{0}"}}), "control character"),
        (json!({"url": "http://x/", "headers": {"X-A\r\nX-B": "1"}}), "not a header's name"),
        (
            json!({"url": "http://x/", "headers": {"Host": "inner"}}),
            "`host` follows from the request",
        ),
        (
            json!({"url": "http://x/", "headers": {"Content-Length": "5"}}),
            "`content-length` follows",
        ),
        (
            json!({"url": "http://x/", "headers": {"Transfer-Encoding": "chunked"}}),
            "`transfer-encoding` follows",
        ),
        (
            json!({"url": "http://x/", "headers": "s3cret"}),
            "headers: expected object, found string",
        ),
        (
            json!({"url": "http://x/", "auth": {"bearer": "s3cret\n"}}),
            "auth: the value holds a line break",
        ),
        (
            json!({"url": "http://x/", "auth": {"token": "s3cret"}}),
            "auth takes `bearer`, or `username` and `password`",
        ),
        (json!({"url": "http://x/", "method": "TRACE"}), "method: use GET"),
        (json!({"url": "http://x/", "query": {"a": {"b": 1}}}), "query: the value of \"a\""),
        (json!({"url": "http://x/", "json": 1, "body": 2}), "not both"),
        (json!({"url": "http://x/", "timeout_sec": -1}), "timeout_sec"),
        (json!({"url": "http://x/", "max_redirects": 6}), "at most 5"),
        (json!({"url": "http://x/", "mehtod": "GET"}), "unknown field `mehtod`"),
        (json!({}), "`url` is missing"),
    ];
    for (input, expected) in rows {
        let failure = request(input.clone()).await.unwrap_err();
        assert!(
            failure.message.contains(expected) && failure.kind == "BadInput",
            "{input}: {failure}"
        );
        assert!(!failure.message.contains("s3cret") && !failure.retryable, "{failure}");
    }
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let server = Server::start(|_| Vec::new()).await;
    let failure = request(json!({"url": server.url("/"), "timeout_sec": 0.05})).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("Timeout", true));

    let ctx = context();
    let node = HttpRequest::new(loopback(), 1 << 20);
    let (result, ()) =
        tokio::join!(node.call(&ctx, json!({"url": server.url("/?key=s3cret")})), async {
            tokio::task::yield_now().await;
            ctx.cancel();
        });
    assert_eq!(result.unwrap_err().kind, "Cancelled");

    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let failure = request(json!({"url": format!("http://127.0.0.1:{closed}/?key=s3cret")}))
        .await
        .unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("Http.Connect", true));
    assert!(!failure.message.contains("s3cret"), "{failure}");
}

#[test]
fn the_effects_of_a_request_follow_its_method() {
    let node = HttpRequest::new(loopback(), 1);
    let rows = [
        (json!({}), Effects::Reads),
        (json!({"method": "head"}), Effects::Reads),
        (json!({"method": "PUT"}), Effects::Idempotent),
        (json!({"method": "DELETE"}), Effects::Idempotent),
        (json!({"method": "POST"}), Effects::Unsafe),
        (json!({"method": "POST", "idempotent": true}), Effects::Idempotent),
    ];
    for (input, expected) in rows {
        assert_eq!(node.effects(&input), expected, "{input}");
    }
}
