//! Every key of the configuration: its name, its kind, what it does. The same name is a key of the
//! file, a variable of the environment and a flag.

/// What a key's value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text, a path, a length of time.
    Text,
    /// A whole number.
    Number,
    /// `true` or `false`.
    Switch,
    /// Texts; in a variable or flag with commas between them.
    List,
}

/// A key.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// `section.key`.
    pub name: &'static str,
    /// What its value is.
    pub kind: Kind,
    /// Its default, as it is written in the file; empty when there is none.
    pub default: &'static str,
    /// What it does.
    pub about: &'static str,
}

impl Key {
    /// The variable of the environment.
    pub fn variable(&self) -> String {
        format!("REFLUX_{}", self.name.to_uppercase().replace('.', "_"))
    }
}

/// The key of that name.
pub fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name)
}

const fn key(name: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key { name, kind, default, about }
}

use Kind::{List, Number, Switch, Text};

/// All of them, in the order of the reference.
pub const KEYS: &[Key] = &[
    key(
        "net.allow",
        List,
        "[]",
        "what nodes may connect to although it is not a public address: `localhost:8080`, `10.1.0.0/16`, `[::1]`, …",
    ),
    key(
        "files.root",
        Text,
        "\".\"",
        "the directory that `file.read`, `file.write` and `csv.read` are confined to, relative to the project",
    ),
    key(
        "retention.closed",
        Text,
        "\"30d\"",
        "how long a closed run is kept; then it leaves lists, store and snapshots",
    ),
    key(
        "cache.entries",
        Number,
        "50000",
        "most results kept for [other runs](cache.md); the oldest are made again. Each takes some 400 bytes of memory",
    ),
    key(
        "cache.bytes",
        Number,
        "268435456",
        "most bytes of all those results together; they are in the histories of their runs anyway",
    ),
    key("run.concurrency", Number, "256", "how many nodes run at once in this process"),
    key(
        "run.partitions",
        Number,
        "4",
        "partitions of a *new* data directory, 1 to 1024; an existing one keeps its number",
    ),
    key(
        "quotas.open_runs",
        Number,
        "",
        "open runs of a namespace; no bound by default. See [limits](limits.md)",
    ),
    key(
        "quotas.starts_per_second",
        Number,
        "",
        "starts a second of a namespace; a second's worth may come at once. No bound by default",
    ),
    key(
        "quotas.history_events",
        Number,
        "51200",
        "events of one history; beyond, the run is terminated",
    ),
    key(
        "quotas.history_bytes",
        Number,
        "52428800",
        "bytes of one history; beyond, the run is terminated",
    ),
    key(
        "quotas.stored_bytes",
        Number,
        "",
        "bytes of all runs that a namespace keeps; beyond, it starts no more. No bound by default",
    ),
    key(
        "quotas.namespaces",
        List,
        "[]",
        "quotas of single namespaces, which win over those above: `team-a/open_runs=100`, `team-a/stored_bytes=1000000000`",
    ),
    key(
        "secrets.file",
        Text,
        "\".reflux/secrets.toml\"",
        "the file with secrets, relative to the project; only its owner may read it",
    ),
    key(
        "server.ip",
        Text,
        "\"127.0.0.1\"",
        "address of the ports. Another one than loopback needs keys and encryption: see [security](security.md)",
    ),
    key("server.port", Number, "7233", "port of gRPC; 0 takes any that is free"),
    key("server.http_port", Number, "8233", "port of HTTP; 0 takes any that is free"),
    key(
        "server.metrics_port",
        Number,
        "",
        "a port with `/metrics`, `/healthz` and `/readyz` only, beside the HTTP port, which has them too",
    ),
    key(
        "server.drain",
        Text,
        "\"10s\"",
        "how long requests and nodes that are under way may take when the server stops",
    ),
    key(
        "server.grace",
        Text,
        "\"0s\"",
        "how long a server that stops keeps its ports open and answers that it is not ready, for load balancers; part of `server.drain`",
    ),
    key(
        "server.namespaces",
        List,
        "[]",
        "namespaces that are registered at the start if they are missing",
    ),
    key(
        "access.anonymous",
        Switch,
        "true",
        "whether callers without a key may look, and use the Temporal API, on a loopback address; elsewhere nobody may",
    ),
    key(
        "access.keys",
        Text,
        "\".reflux/keys.json\"",
        "the file with the hashes of API keys, relative to the project",
    ),
    key(
        "access.hosts",
        List,
        "[]",
        "names by which the HTTP port is called, beside localhost and addresses",
    ),
    key(
        "access.origins",
        List,
        "[]",
        "web origins whose pages may call the HTTP port, such as `https://console.example.org`",
    ),
    key(
        "tls.cert",
        Text,
        "",
        "PEM file with the certificate of both ports and its chain, relative to the project; read again on SIGHUP",
    ),
    key("tls.key", Text, "", "PEM file with its private key"),
    key(
        "tls.client_ca",
        Text,
        "",
        "PEM file with the authorities of clients; when set, a client needs a certificate of theirs",
    ),
    key(
        "tls.elsewhere",
        Switch,
        "false",
        "says that a proxy in front of the server encrypts, so that it may listen without a certificate",
    ),
    key("limits.connections", Number, "1000", "connections of each port"),
    key("limits.connections_per_address", Number, "256", "connections of one address to each port"),
    key("limits.streams", Number, "1000", "requests under way on one connection"),
    key(
        "limits.requests_per_second",
        Number,
        "10000",
        "requests a second of one key, or of one address without a key; a second's worth may come at once",
    ),
    key(
        "limits.head",
        Text,
        "\"10s\"",
        "how long the head of a request, or a TLS handshake, may take",
    ),
    key("limits.body", Text, "\"30s\"", "how long the body of a request may take"),
    key("log.format", Text, "\"text\"", "`text` or `json`"),
    key(
        "log.level",
        Text,
        "\"info\"",
        "`error`, `warn`, `info`, `debug` or `trace`, also by part: `info,reflux_engine=debug`",
    ),
    key(
        "telemetry.otlp",
        Text,
        "",
        "where one span per attempt is sent by OTLP over HTTP, such as `http://localhost:4318/v1/traces`; nowhere by default",
    ),
];

/// The reference page.
pub fn reference() -> String {
    let mut page = String::from(HEAD);
    let mut section = "";
    for key in KEYS {
        let (of, _) = key.name.split_once('.').unwrap_or_default();
        if of != section {
            section = of;
            page.push_str(&format!(
                "\n## {section}\n\n| key | variable | default | |\n|---|---|---|---|\n"
            ));
        }
        let default = match key.default {
            "" => String::new(),
            default => format!("`{default}`"),
        };
        page.push_str(&format!(
            "| `{}` | `{}` | {default} | {} |\n",
            key.name,
            key.variable(),
            key.about
        ));
    }
    page
}

const HEAD: &str = "\
# Configuration

Generated by `reflux config reference`; a test fails when it is not up to date.

A key has one name in three places. A flag wins over the environment, the environment over the file.

| | |
|---|---|
| flag of `reflux server` | `--set server.port=7000`, any number of times; the usual ones have a short form, such as `--port` |
| environment | `REFLUX_SERVER_PORT=7000` |
| file | `.reflux/config.toml`: `[server]`, `port = 7000` |

An unknown key is an error that says what was probably meant. Lengths of time are text: `500ms`, `90s`, `12h`, `30d`. In a
flag or variable a list is written with commas: `REFLUX_ACCESS_HOSTS=a.example,b.example`. `reflux config show` prints what is in
effect, and where it comes from.

Beside the keys there are `REFLUX_DIR` (the project), `REFLUX_SECRET_NAME` (the value of a secret), `NO_COLOR`, and `RUST_LOG`,
which takes the place of `log.level` where that is not set otherwise, and asks commands other than the server for diagnostics.
";
