//! A server on loopback, and the nodes that call it.

mod address;
mod request;
mod webhook;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use reflux_sdk::{Attempt, Context, Failure, Limits, Node};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{HttpRequest, Web};
use crate::net::NetPolicy;

/// A server on loopback that answers by path and remembers what it was sent.
struct Server {
    port: u16,
    requests: Arc<Mutex<Vec<Request>>>,
    connections: Arc<AtomicUsize>,
}

#[derive(Clone, Debug)]
struct Request {
    line: String,
    headers: BTreeMap<String, String>,
    body: String,
}

type Answer = dyn Fn(&Request) -> Vec<u8> + Send + Sync;

impl Server {
    async fn start(answer: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = Self {
            port: listener.local_addr().unwrap().port(),
            requests: Arc::default(),
            connections: Arc::default(),
        };
        let (requests, connections) =
            (Arc::clone(&server.requests), Arc::clone(&server.connections));
        let answer: Arc<Answer> = Arc::new(answer);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, Arc::clone(&requests), Arc::clone(&answer)));
            }
        });
        server
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    fn seen(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    fn last(&self) -> Request {
        self.seen().pop().unwrap()
    }
}

async fn serve(mut stream: TcpStream, requests: Arc<Mutex<Vec<Request>>>, answer: Arc<Answer>) {
    let mut bytes = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break end;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let mut lines = head.lines();
        let line = lines.next().unwrap().to_owned();
        let headers: BTreeMap<String, String> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let length: usize =
            headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        while bytes.len() < end + 4 + length {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        let body = String::from_utf8(bytes[end + 4..end + 4 + length].to_vec()).unwrap();
        bytes.drain(..end + 4 + length);
        let request = Request { line, headers, body };
        requests.lock().unwrap().push(request.clone());
        let reply = answer(&request);
        if reply.is_empty() {
            tokio::time::sleep(Duration::from_secs(30)).await; // never answers
        }
        if stream.write_all(&reply).await.is_err() {
            return;
        }
    }
}

fn reply(status: &str, headers: &str, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut reply = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n", body.len())
        .into_bytes();
    reply.extend_from_slice(body);
    reply
}

const JSON: &str = "content-type: application/json\r\n";

fn context() -> Context {
    let attempt = Attempt { idempotency_key: "key-1".to_owned(), ..Attempt::default() };
    Context::new(attempt, Limits::default())
}

fn policy(rules: &[&str]) -> NetPolicy {
    NetPolicy { allow: rules.iter().map(|rule| rule.parse().unwrap()).collect() }
}

fn loopback() -> Arc<Web> {
    Arc::new(Web::new(policy(&["127.0.0.0/8"])))
}

async fn request_with(web: Arc<Web>, input: Value) -> Result<Value, Failure> {
    HttpRequest::new(web, 16 << 20).call(&context(), input).await
}

async fn request(input: Value) -> Result<Value, Failure> {
    request_with(loopback(), input).await
}
