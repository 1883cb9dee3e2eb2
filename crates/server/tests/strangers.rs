//! What strangers may do, and what they cannot do to the server. It lives after each attempt.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::io::Write as _;
use std::time::{Duration, Instant};

use prost::Message as _;
use reflux_proto::temporal::api::workflowservice::v1::StartWorkflowExecutionRequest;
use reflux_server::access::Scope;
use reflux_server::config::Length;
use reflux_server::net::{Addresses, Server};
use reflux_server::{Config, Project};
use support::{PATIENCE, Stand, call, frame, in_time, key, raw, status};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const W: &str = "/temporal.api.workflowservice.v1.WorkflowService";
/// A path that no face serves: past the gate it is answered with 404.
const NOWHERE: &str = "/api/v1/nowhere";

const INVALID_ARGUMENT: i32 = 3;
const PERMISSION_DENIED: i32 = 7;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNAUTHENTICATED: i32 = 16;

fn start(namespace: &str) -> Vec<u8> {
    let namespace = namespace.to_owned();
    StartWorkflowExecutionRequest { namespace, ..Default::default() }.encode_to_vec()
}

fn impatient() -> Config {
    let mut config = Config::default();
    config.limits.head = Length(Duration::from_millis(300));
    config.limits.body = Length(Duration::from_millis(300));
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_may_look_and_a_key_may_do_what_its_scope_says() {
    let mut made = Vec::new();
    let stand = Stand::with(Config::default(), |project| {
        made.push(key(project, "reader", Scope::Read, None));
        made.push(key(project, "writer", Scope::Write, None));
    })
    .await;
    let token = stand.token();
    let (reader, writer) = (made[0].as_str(), made[1].as_str());
    let client = reqwest::Client::new();
    for (method, path, credential, status) in [
        ("GET", "/healthz", None, 200),
        ("GET", NOWHERE, None, 404),
        ("POST", NOWHERE, None, 401),
        ("DELETE", NOWHERE, None, 401),
        ("POST", "/webhooks/nobody", None, 404),
        ("POST", NOWHERE, Some(reader), 403),
        ("GET", NOWHERE, Some(reader), 404),
        ("POST", NOWHERE, Some(writer), 404),
        ("POST", NOWHERE, Some(token.as_str()), 404),
        ("POST", "/api/v1/namespaces/x", Some(writer), 403),
        ("POST", "/api/v1/namespaces/x", Some(token.as_str()), 404),
    ] {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = client.request(method.clone(), stand.url(path));
        if let Some(credential) = credential {
            request = request.bearer_auth(credential);
        }
        let answer = in_time(request.send()).await.unwrap();
        assert_eq!(answer.status(), status, "{method} {path} {credential:?}");
        if [401, 403].contains(&status) {
            let body = answer.text().await.unwrap();
            let error: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert!(error["error"]["suggestion"].as_str().unwrap().contains("reflux keys"));
        }
    }
    const OURS: &str = "/reflux.v1.NobodyService";
    for (path, credential, refused) in [
        ("/grpc.health.v1.Health/Check".to_owned(), None, None),
        (format!("{W}/GetSystemInfo"), None, None),
        (format!("{W}/NoSuchCall"), None, None),
        (format!("{OURS}/ChangeIt"), None, Some(UNAUTHENTICATED)),
        (format!("{OURS}/ChangeIt"), Some(reader), Some(PERMISSION_DENIED)),
        (format!("{OURS}/ChangeIt"), Some(writer), None),
        (format!("{OURS}/GetIt"), None, None),
        (format!("{W}/NoSuchCall"), Some(reader), Some(PERMISSION_DENIED)),
    ] {
        let (status, message) = call(stand.grpc, &path, frame(&[]), credential).await;
        match refused {
            Some(expected) => assert_eq!(status, expected, "{path} {credential:?} {message}"),
            None => assert!(![7, 16].contains(&status), "{path} {credential:?} {status} {message}"),
        }
    }
    stand.lives().await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_credential_is_refused_and_guessing_is_slowed_down() {
    let stand = Stand::new().await;
    let token = stand.token();
    let longer = format!("{token}x");
    let client = reqwest::Client::new();
    for header in [
        "Bearer",
        "Bearer ",
        "Basic dXNlcjpwYXNz",
        &format!("Bearer {longer}"),
        &format!("Token {token}"),
        "Bearer rfx_0000000000_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        // A JSON web token with `alg: none`: there is no algorithm to swap.
        "Bearer eyJhbGciOiJub25lIn0.eyJzY29wZSI6ImFkbWluIn0.",
    ] {
        let request = client.get(stand.url(NOWHERE)).header("authorization", header);
        let answer = in_time(request.send()).await.unwrap();
        assert_eq!(answer.status(), 401, "{header}");
        assert_eq!(answer.headers()["www-authenticate"], "Bearer");
    }
    let two = client
        .get(stand.url(NOWHERE))
        .header("authorization", format!("Bearer {token}"))
        .header("authorization", "Bearer other");
    assert_eq!(in_time(two.send()).await.unwrap().status(), 401, "two credentials");
    let mut slowed = false;
    for _ in 0..20 {
        let answer = client.get(stand.url(NOWHERE)).bearer_auth("guess").send().await.unwrap();
        slowed |= answer.status() == 429;
    }
    assert!(slowed);
    stand.lives().await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_is_made_for_its_owner_only_and_is_not_made_again() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let stand = Stand::new().await;
    let token = stand.token();
    assert_eq!(std::fs::metadata(stand.project.token_file()).unwrap().mode() & 0o777, 0o600);
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    let addresses = Addresses { grpc: any, http: any };
    let config = Config::default();
    drop(Server::listen(&stand.project, &config, addresses).await.unwrap());
    assert_eq!(stand.token(), token);
    let open = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(stand.project.token_file(), open).unwrap();
    let refused = Server::listen(&stand.project, &config, addresses).await.err().unwrap();
    assert!(refused.message.contains("others may read"), "{refused}");
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn others_are_let_in_with_keys_and_encryption_only() {
    let dir = tempfile::tempdir().unwrap();
    let project = Project::at(dir.path()).unwrap();
    project.create_dir().unwrap();
    let everywhere: std::net::SocketAddr = "0.0.0.0:0".parse().unwrap();
    let addresses = Addresses { grpc: everywhere, http: everywhere };
    let mut config = Config::default();
    let refusal = async |config: &Config| {
        Server::listen(&project, config, addresses).await.err().map(|error| error.message)
    };
    assert!(refusal(&config).await.unwrap().contains("there are no keys"));
    key(&project, "ops", Scope::Admin, None);
    assert!(refusal(&config).await.unwrap().contains("unencrypted"));
    config.tls.cert = Some("cert.pem".into());
    assert!(refusal(&config).await.unwrap().contains("tls.key"));
    config.tls.key = Some("key.pem".into());
    assert!(refusal(&config).await.unwrap().contains("cert.pem"));
    config.tls = reflux_server::config::Tls { elsewhere: true, ..Default::default() };
    assert_eq!(refusal(&config).await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_that_is_not_plain_is_refused() {
    let stand = Stand::new().await;
    for path in [
        "//healthz",
        "/webhooks//x",
        "/webhooks/../api/v1/runs",
        "/webhooks/%2e%2e/api/v1/runs",
        "/webhooks/%2E./api",
        "/webhooks/./x",
        "/a%00b",
        "/a%5c..%5cb",
        &format!("/{}", "a".repeat(9000)),
    ] {
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = raw(stand.http, request.as_bytes()).await;
        assert_eq!(status(&answer), 400, "{path}: {answer}");
    }
    // Other spellings are other paths, and are not open.
    for path in ["/WEBHOOKS/x", "/%77ebhooks/x", "/healthz/", "/webhooks%2fx", "/healthz;x"] {
        let request =
            format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let answer = raw(stand.http, request.as_bytes()).await;
        assert_eq!(status(&answer), 401, "{path}: {answer}");
    }
    stand.lives().await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_sites_page_gains_nothing_by_name_or_by_request() {
    let mut config = Config::default();
    config.access.origins = vec!["https://console.example.org".to_owned()];
    let stand = Stand::with(config, |_| {}).await;
    let port = stand.http.port();
    for (head, expected) in [
        ("GET /healthz HTTP/1.1\r\nhost: rebound.example".to_owned(), 421),
        ("GET /healthz HTTP/1.1".to_owned(), 400),
        ("GET /healthz HTTP/1.1\r\nhost: localhost\r\nhost: rebound.example".to_owned(), 400),
        ("GET http://rebound.example/healthz HTTP/1.1\r\nhost: localhost".to_owned(), 400),
        (
            "GET /healthz HTTP/1.1\r\nhost: localhost\r\norigin: https://evil.example".to_owned(),
            403,
        ),
        ("GET /healthz HTTP/1.1\r\nhost: localhost\r\norigin: null".to_owned(), 403),
        (
            format!(
                "GET /healthz HTTP/1.1\r\nhost: localhost:{port}\r\norigin: http://localhost:{port}"
            ),
            200,
        ),
        (
            "GET /healthz HTTP/1.1\r\nhost: localhost\r\norigin: https://console.example.org"
                .to_owned(),
            200,
        ),
    ] {
        let answer =
            raw(stand.http, format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&answer), expected, "{head}: {answer}");
        let shared = answer.contains("access-control-allow-origin: https://console.example.org");
        assert_eq!(shared, head.contains("console.example.org"), "{head}: {answer}");
    }
    let preflight = "OPTIONS /api/v1/runs HTTP/1.1\r\nhost: localhost\r\norigin: https://console.example.org\r\naccess-control-request-method: POST\r\nconnection: close\r\n\r\n";
    let answer = raw(stand.http, preflight.as_bytes()).await;
    assert_eq!(status(&answer), 204, "{answer}");
    stand.lives().await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_without_measure_is_not_read() {
    let mut made = String::new();
    let stand = Stand::with(Config::default(), |project| {
        made = key(project, "confined", Scope::Write, Some(&["default"]));
    })
    .await;
    let head = |more: &str| {
        format!(
            "POST {NOWHERE} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {made}\r\n{more}\r\n\r\n"
        )
    };
    // 1 GB is announced, and refused before any of it comes.
    let announced = head("content-length: 1000000000\r\nconnection: close");
    assert_eq!(status(&raw(stand.http, announced.as_bytes()).await), 413);
    let answer = raw(stand.http, head("content-length: 1000000000000000000000").as_bytes()).await;
    assert_eq!(status(&answer), 400, "{answer}");
    // Nothing is announced.
    let mut endless = head("transfer-encoding: chunked\r\nconnection: close").into_bytes();
    for _ in 0..80 {
        endless.extend_from_slice(b"10000\r\n");
        endless.extend_from_slice(&[b' '; 0x10000]);
        endless.extend_from_slice(b"\r\n");
    }
    let answer = raw(stand.http, &endless).await;
    assert!([0, 400, 413].contains(&status(&answer)), "{answer}");
    // A bomb stays packed.
    let packed = head("content-encoding: gzip\r\ncontent-length: 0\r\nconnection: close");
    assert_eq!(status(&raw(stand.http, packed.as_bytes()).await), 415);
    // The same by gRPC.
    let big = frame(&vec![0; 17 << 20]);
    let (code, message) = call(stand.grpc, &format!("{W}/StartWorkflowExecution"), big, None).await;
    assert_eq!(code, RESOURCE_EXHAUSTED, "{message}");
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    for _ in 0..64 {
        packed.write_all(&[0; 1 << 20]).unwrap();
    }
    let mut bomb = frame(&packed.finish().unwrap());
    bomb[0] = 1;
    let path = format!("{W}/StartWorkflowExecution");
    let (code, message) = call(stand.grpc, &path, bomb, Some(&made)).await;
    assert_eq!(code, RESOURCE_EXHAUSTED, "{message}");
    stand.lives().await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_nested_100_000_deep_is_refused() {
    let mut made = String::new();
    let stand = Stand::with(Config::default(), |project| {
        made = key(project, "confined", Scope::Write, Some(&["default"]));
    })
    .await;
    let json = format!(
        "{{\"namespace\":\"default\",\"input\":{}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    let client = reqwest::Client::new();
    let request = client.post(stand.url(NOWHERE)).bearer_auth(&made).body(json);
    assert_eq!(in_time(request.send()).await.unwrap().status(), 400);
    // Failure.cause is a failure: field 4 of a failure, which ends a task (field 3).
    let mut deep: Vec<u8> = Vec::new();
    for _ in 0..1000 {
        let mut outer = vec![0x22];
        prost::encoding::encode_varint(deep.len() as u64, &mut outer);
        outer.extend_from_slice(&deep);
        deep = outer;
    }
    let mut message = start("default");
    message.push(0x22);
    prost::encoding::encode_varint(deep.len() as u64, &mut message);
    message.extend_from_slice(&deep);
    let path = format!("{W}/StartWorkflowExecution");
    let (code, message) = call(stand.grpc, &path, frame(&message), Some(&made)).await;
    assert_ne!(code, 0, "{message}");
    stand.lives().await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_nothing_or_little_is_hung_up_on() {
    let mut made = String::new();
    let stand = Stand::with(impatient(), |project| {
        made = key(project, "confined", Scope::Write, Some(&["default"]));
    })
    .await;
    let slow_body = format!(
        "POST {NOWHERE} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {made}\r\ncontent-length: 100\r\n\r\n{{"
    );
    for (address, said) in [
        (stand.http, ""),
        (stand.http, "G"),
        (stand.http, "GET /healthz HTTP/1.1\r\nhost: local"),
        (stand.http, "PRI * HTTP/2.0\r\n"),
        (stand.grpc, ""),
        (stand.grpc, "PRI * HTTP/2.0\r\n"),
        (stand.http, slow_body.as_str()),
    ] {
        let begun = Instant::now();
        raw(address, said.as_bytes()).await;
        assert!(begun.elapsed() < PATIENCE / 2, "{said:?}");
    }
    // A head that comes byte by byte is not a head that comes.
    let mut stream = TcpStream::connect(stand.http).await.unwrap();
    let begun = Instant::now();
    let head =
        "GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: ".bytes().chain(std::iter::repeat(b'a'));
    for byte in head.take(2000) {
        if stream.write_all(&[byte]).await.is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(begun.elapsed() < PATIENCE);
    stand.lives().await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_takes_its_time_is_not_mistaken_for_a_slow_stranger() {
    let stand = Stand::with(impatient(), |_| {}).await;
    let mut stream = TcpStream::connect(stand.http).await.unwrap();
    // Shorter than the preface of HTTP/2, and then silence until the answer.
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost:localhost\r\nconnection:close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    in_time(stream.read_to_string(&mut answer)).await.unwrap();
    assert_eq!(status(&answer), 200);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn heads_without_measure_are_refused() {
    let stand = Stand::new().await;
    let lines = |count: usize, bytes: usize| {
        let header = format!("x: {}\r\n", "a".repeat(bytes));
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{}\r\n", header.repeat(count))
    };
    for (count, bytes) in [(1, 100_000), (200, 1), (90, 5_000)] {
        let answer = raw(stand.http, lines(count, bytes).as_bytes()).await;
        assert!([0, 400, 431].contains(&status(&answer)), "{count} {bytes}: {answer}");
    }
    for nonsense in
        ["\r\n\r\n\0\0\0", "GET", "GET / HTTP/9.9\r\n\r\n", "GET /\u{7f} HTTP/1.1\r\n\r\n"]
    {
        raw(stand.http, format!("{nonsense}\r\nconnection: close\r\n\r\n").as_bytes()).await;
        raw(stand.grpc, nonsense.as_bytes()).await;
    }
    let smuggled = "POST /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /readyz HTTP/1.1\r\nhost: localhost\r\n\r\n";
    let answer = raw(stand.http, smuggled.as_bytes()).await;
    assert_ne!(status(&answer), 200, "{answer}");
    stand.lives().await;
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_bounded_for_each_address() {
    let mut config = Config::default();
    config.limits.connections_per_address = 4;
    let stand = Stand::with(config, |_| {}).await;
    let mut open = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(stand.http).await.unwrap();
        stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
        let mut byte = [0];
        in_time(stream.read_exact(&mut byte)).await.unwrap();
        open.push(stream);
    }
    assert_eq!(raw(stand.http, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").await, "");
    drop(open);
    let begun = Instant::now();
    while reqwest::get(stand.url("/readyz")).await.is_err() {
        assert!(begun.elapsed() < PATIENCE, "closed connections still count");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let mut config = Config::default();
    config.limits.requests_per_second = 3;
    let stand = Stand::with(config, |_| {}).await;
    let client = reqwest::Client::new();
    let mut answers = Vec::new();
    for _ in 0..30 {
        answers.push(client.get(stand.url("/healthz")).send().await.unwrap());
    }
    let refused = answers.iter().find(|answer| answer.status() == 429).unwrap();
    assert_eq!(refused.headers()["retry-after"], "1");
    let mut codes = Vec::new();
    for _ in 0..30 {
        codes.push(call(stand.grpc, "/grpc.health.v1.Health/Check", frame(&[]), None).await.0);
    }
    assert!(codes.contains(&RESOURCE_EXHAUSTED), "{codes:?}");
    // Somebody else is not affected.
    let answer = client.get(stand.url(NOWHERE)).bearer_auth(stand.token()).send().await.unwrap();
    assert_eq!(answer.status(), 404);
    stand.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_does_not_reach_another_namespace() {
    let mut made = String::new();
    let stand = Stand::with(Config::default(), |project| {
        made = key(project, "orders", Scope::Write, Some(&["orders"]));
    })
    .await;
    let path = format!("{W}/StartWorkflowExecution");
    for (namespace, refused) in [("orders", false), ("default", true), ("", true)] {
        let (code, message) = call(stand.grpc, &path, frame(&start(namespace)), Some(&made)).await;
        assert_eq!(code == PERMISSION_DENIED, refused, "{namespace}: {code} {message}");
    }
    let torn = frame(&start("orders"))[..8].to_vec();
    assert_eq!(call(stand.grpc, &path, torn, Some(&made)).await.0, INVALID_ARGUMENT);
    let client = reqwest::Client::new();
    for (query, body, expected) in [
        ("?namespace=orders", "", 404),
        ("?namespace=default", "", 403),
        ("", "", 403),
        ("?namespace=orders", "{\"namespace\":\"default\"}", 403),
    ] {
        let request =
            client.post(stand.url(&format!("{NOWHERE}{query}"))).bearer_auth(&made).body(body);
        assert_eq!(in_time(request.send()).await.unwrap().status(), expected, "{query} {body}");
    }
    stand.lives().await;
    stand.stop().await;
}
