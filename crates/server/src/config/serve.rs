//! The sections that only a server reads.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::Length;

/// `[server]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// Address of both ports. Default: `127.0.0.1`.
    pub ip: IpAddr,
    /// Port of gRPC; 0 takes any that is free. Default: 7233.
    pub port: u16,
    /// Port of HTTP; 0 takes any that is free. Default: 8233.
    pub http_port: u16,
    /// Port that answers `/metrics`, `/healthz` and `/readyz` only; none when left out.
    pub metrics_port: Option<u16>,
    /// How long requests and nodes that are under way may take when the server stops.
    /// Default: `10s`.
    pub drain: Length,
    /// How long a server that stops still answers that it is not ready before it closes its ports,
    /// for load balancers. Default: `0s`.
    pub grace: Length,
    /// Namespaces that exist beside `default`.
    pub namespaces: Vec<String>,
}

impl Default for Listen {
    fn default() -> Self {
        Self {
            ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 7233,
            http_port: 8233,
            metrics_port: None,
            drain: seconds(10),
            grace: seconds(0),
            namespaces: Vec::new(),
        }
    }
}

/// `[access]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Access {
    /// Whether callers without a key may read, and use the Temporal API, on a loopback address.
    /// Default: true. Elsewhere nobody may.
    pub anonymous: bool,
    /// The file with the hashes of API keys, relative to the project. Default: `.reflux/keys.json`.
    pub keys: PathBuf,
    /// Names by which the HTTP port is called, beside localhost and addresses.
    pub hosts: Vec<String>,
    /// Web origins whose pages may call the HTTP port, such as `https://console.example.org`.
    pub origins: Vec<String>,
}

impl Default for Access {
    fn default() -> Self {
        Self {
            anonymous: true,
            keys: PathBuf::from(".reflux/keys.json"),
            hosts: Vec::new(),
            origins: Vec::new(),
        }
    }
}

/// `[tls]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// PEM file with the certificate and its chain, relative to the project. Read again on SIGHUP.
    pub cert: Option<PathBuf>,
    /// PEM file with its private key.
    pub key: Option<PathBuf>,
    /// PEM file with the authorities of clients; when set, a client needs a certificate.
    pub client_ca: Option<PathBuf>,
    /// Whether a proxy in front of the server does the encryption. Default: false.
    pub elsewhere: bool,
}

/// `[limits]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Connections of each port. Default: 1,000.
    pub connections: u32,
    /// Connections of one address to each port. Default: 256.
    pub connections_per_address: u32,
    /// Requests under way on one connection. Default: 1,000.
    pub streams: u32,
    /// Requests a second of one key, or of one address without a key; a second's worth may come at
    /// once. Default: 10,000.
    pub requests_per_second: u32,
    /// How long the head of a request, or a TLS handshake, may take. Default: `10s`.
    pub head: Length,
    /// How long the body of a request may take. Default: `30s`.
    pub body: Length,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000, // below the usual 1,024 open files, with room for the log
            connections_per_address: 256, // a machine of workers, and three like it
            streams: 1000,     // pollers of a worker share one connection, a stranger's flood too
            requests_per_second: 10_000, // more than one caller gets done, less than would starve others
            head: seconds(10),
            body: seconds(30),
        }
    }
}

/// `[log]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`. Default: `text`.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`, also by part: `info,reflux_engine=debug`.
    /// Default: `info`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self { format: LogFormat::Text, level: "info".to_owned() }
    }
}

/// How log lines are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object per line.
    Json,
}

/// `[telemetry]`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Where one span per attempt is sent by OTLP over HTTP, such as
    /// `http://localhost:4318/v1/traces`; nowhere when left out.
    pub otlp: Option<String>,
}

fn seconds(count: u64) -> Length {
    Length(Duration::from_secs(count))
}
