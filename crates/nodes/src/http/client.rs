//! One hop of HTTP: resolve once, check all addresses, connect to those and no others.

use std::collections::VecDeque;
use std::error::Error;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use reflux_sdk::Failure;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, Method, Response, Url, redirect};

use crate::net::NetPolicy;

/// Hosts whose connections are kept for the next request.
const CLIENTS_MAX: usize = 64;
/// A destination that does not answer its SYN in this time is as good as gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections are closed before most servers close them.
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Headers that belong to the connection, or would make it lie about its destination.
const RESERVED: [&str; 7] =
    ["host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"];

/// Finds the addresses of a name.
pub(crate) trait Resolve: Send + Sync {
    /// Every address of a host name, in order of preference.
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a>;
}

pub(crate) type Resolving<'a> =
    Pin<Box<dyn Future<Output = std::io::Result<Vec<IpAddr>>> + Send + 'a>>;

struct System;

impl Resolve for System {
    fn resolve<'a>(&'a self, host: &'a str) -> Resolving<'a> {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }
}

/// The way out, shared by all nodes of a configuration.
pub(crate) struct Web {
    policy: NetPolicy,
    resolver: Arc<dyn Resolve>,
    clients: Mutex<VecDeque<Pinned>>, // the most recently used last
}

/// A client that connects to the checked addresses of one destination only.
#[derive(Clone)]
struct Pinned {
    scheme: String,
    host: String,
    addresses: Vec<SocketAddr>,
    client: Client,
}

/// A request before it is sent; a redirect changes and sends it again.
#[derive(Clone)]
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Url,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Option<String>,
}

impl Web {
    pub(crate) fn new(policy: NetPolicy) -> Self {
        Self::with_resolver(policy, Arc::new(System))
    }

    pub(crate) fn with_resolver(policy: NetPolicy, resolver: Arc<dyn Resolve>) -> Self {
        Self { policy, resolver, clients: Mutex::default() }
    }

    /// Send one request to where its URL says, without following redirects.
    pub(crate) async fn send(&self, outgoing: Outgoing) -> Result<Response, Failure> {
        let addresses = self.checked_addresses(&outgoing.url).await?;
        let client = self.client(&outgoing.url, addresses)?;
        let request = client.request(outgoing.method, outgoing.url).headers(outgoing.headers);
        let request = match outgoing.body {
            Some(body) => request.body(body),
            None => request,
        };
        request.send().await.map_err(|error| broken("Http.Connect", error))
    }

    /// The addresses of a destination, all of which the policy allows.
    async fn checked_addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, Failure> {
        let host = url.host_str().unwrap_or_default();
        let port = url.port_or_known_default().unwrap_or_default();
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let addresses = match bare.parse::<IpAddr>() {
            Ok(ip) => vec![ip],
            Err(_) => self.resolve(host).await?,
        };
        let refused = |refused| Failure::permanent("Http.Address", format!("{refused}"));
        self.policy.check(host, port, &addresses).map_err(refused)?;
        Ok(addresses.into_iter().map(|ip| SocketAddr::new(ip, port)).collect())
    }

    async fn resolve(&self, host: &str) -> Result<Vec<IpAddr>, Failure> {
        let found = self.resolver.resolve(host).await;
        let found = found.map_err(|e| Failure::retryable("Http.Dns", format!("{host}: {e}")))?;
        match found.is_empty() {
            true => Err(Failure::retryable("Http.Dns", format!("{host} has no address"))),
            false => Ok(found),
        }
    }

    /// The client pinned to exactly these addresses, so that a second look-up cannot change them.
    fn client(&self, url: &Url, mut addresses: Vec<SocketAddr>) -> Result<Client, Failure> {
        let host = url.host_str().unwrap_or_default();
        addresses.sort_unstable();
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |pinned: &Pinned| {
            pinned.host == host && pinned.scheme == url.scheme() && pinned.addresses == addresses
        };
        if let Some(pinned) = clients.iter().position(known).and_then(|index| clients.remove(index))
        {
            let client = pinned.client.clone();
            clients.push_back(pinned);
            return Ok(client);
        }
        let builder = Client::builder()
            .no_proxy() // a proxy would connect to addresses that were not checked
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .resolve_to_addrs(host, &addresses);
        let builder = match url.scheme() {
            "https" => builder,
            _ => builder.tls_certs_only([]), // reading the system's certificates takes longer than a request
        };
        let client = builder.build().map_err(|error| broken("Http.Client", error))?;
        if clients.len() >= CLIENTS_MAX {
            clients.pop_front();
        }
        clients.push_back(Pinned {
            scheme: url.scheme().to_owned(),
            host: host.to_owned(),
            addresses,
            client: client.clone(),
        });
        Ok(client)
    }
}

/// A URL that may be requested. The error names no more of it than its host: the rest may be secret.
pub(crate) fn parse_url(text: &str) -> Result<Url, Failure> {
    let url = Url::parse(text).map_err(|e| {
        Failure::bad_input(format!("url: {e}; write for example https://api.example.com/items"))
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Failure::bad_input(format!(
            "url: scheme {:?} is not http or https",
            url.scheme()
        )));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Failure::bad_input(
            "url: put the user and the password into `auth`, not into the url",
        ));
    }
    Ok(url)
}

/// A header that may be sent. The error never holds the value: it may be secret.
pub(crate) fn parse_header(name: &str, value: &str) -> Result<(HeaderName, HeaderValue), Failure> {
    let header = HeaderName::try_from(name)
        .map_err(|_| Failure::bad_input(format!("headers: {name:?} is not a header's name")))?;
    if RESERVED.contains(&header.as_str()) {
        return Err(Failure::bad_input(format!(
            "headers: `{header}` follows from the request and cannot be set"
        )));
    }
    let value = HeaderValue::try_from(value).map_err(|_| {
        Failure::bad_input(format!(
            "headers: the value of `{header}` holds a line break or another control character"
        ))
    })?;
    Ok((header, value))
}

/// A failure of the connection, with every cause but without the URL.
pub(crate) fn broken(kind: &str, error: reqwest::Error) -> Failure {
    let host = error.url().and_then(Url::host_str).unwrap_or("the server").to_owned();
    let timed_out = error.is_timeout();
    let error = error.without_url();
    let mut message = format!("{host}: {error}");
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !message.ends_with(&inner_text) {
            message = format!("{message}: {inner_text}");
        }
        cause = inner.source();
    }
    if timed_out { Failure::timeout(message) } else { Failure::retryable(kind, message) }
}
