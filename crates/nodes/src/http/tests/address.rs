//! Where a request may go.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tokio::net::TcpListener;

use super::super::Web;
use super::super::client::{Resolve, Resolving};
use super::{Answer, Request, Server, loopback, policy, reply, request, request_with, serve};
use crate::net::NetPolicy;

/// Answers each look-up of a name with the next of its lists of addresses.
struct Names {
    names: BTreeMap<&'static str, Vec<Vec<&'static str>>>,
    asked: AtomicUsize,
}

impl Names {
    fn new(names: &[(&'static str, &[&[&'static str]])]) -> Arc<Self> {
        let names = names
            .iter()
            .map(|(name, answers)| (*name, answers.iter().map(|list| list.to_vec()).collect()));
        Arc::new(Self { names: names.collect(), asked: AtomicUsize::new(0) })
    }
}

impl Resolve for Names {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst);
        let answers = self.names.get(host).cloned().unwrap_or_default();
        let answer =
            answers.get(asked.min(answers.len().saturating_sub(1))).cloned().unwrap_or_default();
        let addresses: Vec<IpAddr> = answer.iter().map(|ip| ip.parse().unwrap()).collect();
        Box::pin(async move { Ok(addresses) })
    }
}

#[tokio::test]
async fn a_redirect_is_followed_without_the_credentials_if_it_leads_elsewhere() {
    let other = Server::start(|_| reply("200 OK", "", "other")).await;
    let there = format!("http://127.0.0.2:{}/there", other.port);
    let listener = there.clone();
    let server = Server::start(move |request| {
        let (method, path) = request.line.split_once(' ').unwrap();
        match path.split(' ').next().unwrap() {
            "/same" => reply("302 Found", "location: /end?x=1\r\n", ""),
            "/303" => reply("303 See Other", "location: /end\r\n", ""),
            "/307" => reply("307 Temporary Redirect", "location: /end\r\n", ""),
            "/other" => reply("307 Temporary Redirect", &format!("location: {listener}\r\n"), ""),
            "/loop" => reply("301 Moved Permanently", "location: /loop\r\n", ""),
            "/file" => reply("302 Found", "location: file:///etc/passwd\r\n", ""),
            "/metadata" => {
                reply("302 Found", "location: http://169.254.169.254/latest/meta-data/\r\n", "")
            }
            "/inner" => reply("302 Found", "location: http://0x7f.1:1/\r\n", ""),
            "/nowhere" => reply("304 Not Modified", "", ""),
            _ => reply("200 OK", "", method),
        }
    })
    .await;
    let send = |path: &str, method: &str| {
        request(json!({
            "url": server.url(path), "method": method, "body": "b", "auth": {"bearer": "secret"},
            "headers": {"Cookie": "c=secret", "X-Api-Key": "secret", "Accept": "text/plain"},
        }))
    };
    let rows = [
        ("/same", "GET", "GET"),
        ("/same", "POST", "GET"),
        ("/303", "PUT", "GET"),
        ("/307", "POST", "POST"),
        ("/307", "PUT", "PUT"),
    ];
    for (path, method, expected) in rows {
        assert_eq!(send(path, method).await.unwrap()["data"], expected, "{method} {path}");
        assert_eq!(server.last().headers["authorization"], "Bearer secret");
        assert_eq!(server.last().body.is_empty(), expected != method, "{method} {path}");
    }
    // 127.0.0.2 is this machine on Linux only; elsewhere the connection is refused
    if TcpListener::bind("127.0.0.2:0").await.is_ok() {
        let listener =
            TcpListener::bind(SocketAddr::from(([127, 0, 0, 2], other.port))).await.unwrap();
        let requests = Arc::clone(&other.requests);
        let answer: Arc<Answer> = Arc::new(|_: &Request| reply("200 OK", "", "other"));
        tokio::spawn(
            async move { serve(listener.accept().await.unwrap().0, requests, answer).await },
        );
        assert_eq!(send("/other", "POST").await.unwrap()["data"], "other");
        let seen = other.last();
        assert_eq!(seen.line, "POST /there HTTP/1.1");
        assert_eq!(
            (seen.headers.get("accept").map(String::as_str), seen.body.as_str()),
            (Some("text/plain"), "b")
        );
        assert!(!format!("{seen:?}").contains("secret"), "{seen:?}");
    }
    let before = server.seen().len();
    let failure = send("/loop", "GET").await.unwrap_err();
    assert!(failure.message.contains("more than 5 redirects") && !failure.retryable, "{failure}");
    assert_eq!(server.seen().len() - before, 6);
    for (path, kind) in [("/file", "Http.Redirect"), ("/metadata", "Http.Address")] {
        assert_eq!(send(path, "GET").await.unwrap_err().kind, kind, "{path}");
    }
    let only_server = Arc::new(Web::new(policy(&[&format!("127.0.0.1:{}", server.port)])));
    let inner = request_with(only_server, json!({"url": server.url("/inner")})).await.unwrap_err();
    assert_eq!(inner.kind, "Http.Address");
    let unfollowed =
        request(json!({"url": server.url("/same"), "max_redirects": 0, "ok_statuses": [302]}))
            .await
            .unwrap();
    assert_eq!(unfollowed["headers"]["location"], "/end?x=1");
    let _ = there;
}

#[tokio::test]
async fn every_form_of_an_inner_address_is_refused() {
    let web = Arc::new(Web::new(NetPolicy::default()));
    let hosts = [
        "127.0.0.1",
        "127.1",
        "127.0.1",
        "2130706433",
        "0x7f000001",
        "0x7f.0.0.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "0.0.0.0",
        "10.0.0.1",
        "012.0.0.1",
        "172.16.0.1",
        "192.168.0.1",
        "100.64.0.1",
        "169.254.169.254",
        "2852039166",
        "0xA9FEA9FE",
        "168.63.129.16",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::ffff:169.254.169.254]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fd00:ec2::254]",
        "[fe80::1]",
        "[::127.0.0.1]",
        "127。0。0。1",
        "①②⑦.0.0.1",
        "127.0.0.1.",
        "%31%32%37.0.0.1",
        "localhost",
        "LOCALHOST",
    ];
    for host in hosts {
        let failure = request_with(Arc::clone(&web), json!({"url": format!("http://{host}:9/")}))
            .await
            .unwrap_err();
        assert_eq!(failure.kind, "Http.Address", "{host}: {failure}");
        assert!(
            failure.message.contains("under [net] in .reflux/config.toml") && !failure.retryable,
            "{failure}"
        );
    }
}

#[tokio::test]
async fn a_name_is_resolved_once_checked_whole_and_pinned() {
    let server = Server::start(|_| reply("200 OK", "", "here")).await;
    let url = |host: &str| json!({"url": format!("http://{host}:{}/", server.port)});
    // the rule allows 127.0.0.1 only; 127.0.0.3 stands for an inner host
    let one = || policy(&["127.0.0.1"]);

    let mixed = Names::new(&[("mixed.example", &[&["127.0.0.1", "127.0.0.3"]])]);
    let failure = request_with(Arc::new(Web::with_resolver(one(), mixed)), url("mixed.example"))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, "Http.Address");
    assert!(
        failure.message.contains("mixed.example is 127.0.0.3, a loopback address"),
        "{failure}"
    );

    let rebinding = Names::new(&[("rebinding.example", &[&["127.0.0.1"], &["127.0.0.3"]])]);
    let web = Arc::new(Web::with_resolver(one(), Arc::clone(&rebinding) as Arc<dyn Resolve>));
    assert_eq!(
        request_with(Arc::clone(&web), url("rebinding.example")).await.unwrap()["data"],
        "here"
    );
    assert_eq!(rebinding.asked.load(Ordering::SeqCst), 1);
    assert_eq!(server.last().headers["host"], format!("rebinding.example:{}", server.port));
    // the kept connection is no way around the check of the next request
    let failure = request_with(web, url("rebinding.example")).await.unwrap_err();
    assert_eq!(failure.kind, "Http.Address");

    let unknown = Arc::new(Web::with_resolver(one(), Names::new(&[])));
    let failure = request_with(unknown, url("unknown.example")).await.unwrap_err();
    assert_eq!((failure.kind.as_str(), failure.retryable), ("Http.Dns", true));
}

#[tokio::test]
async fn connections_are_kept_for_the_next_request() {
    let server = Server::start(|_| reply("200 OK", "", "")).await;
    let web = loopback();
    for _ in 0..5 {
        request_with(Arc::clone(&web), json!({"url": server.url("/")})).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);
}
