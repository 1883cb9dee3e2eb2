//! What is said over the holder's socket: one JSON line per request, per answer, per item.
//!
//! ```text
//! → {"v":1,"call":"find","name":"last"}
//! ← {"answer":"run", …}
//! → {"v":1,"call":"items","run":{…},"follow":true}
//! ← {"answer":"item","item":"<base64>"} …  {"answer":"alive"} …  {"answer":"end"}
//! ```

use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;

use base64::Engine as _;
use prost::Message as _;
use reflux_core::{Item, RunId, RunKey, Status as RunStatus, Timestamp};
use reflux_store::Summary;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::{Error, Kind, clock};

/// Version of the protocol; the two sides must agree.
pub const VERSION: u32 = 1;
/// Most bytes of a line: the largest item (2 MiB) in base64, with room for its frame.
pub const LINE_BYTES_MAX: usize = 4 << 20;
/// The one namespace that the command line works in.
pub const NAMESPACE: &str = "default";

/// A request with the version it is written in.
#[derive(Debug, Serialize, Deserialize)]
pub struct Call {
    /// [`VERSION`].
    pub v: u32,
    /// What is asked.
    #[serde(flatten)]
    pub request: Request,
}

/// What is asked of the holder of a directory.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "call", rename_all = "snake_case")]
pub enum Request {
    /// Who holds the directory. Answer: [`Response::Pong`].
    Ping,
    /// Start a run. Answer: [`Response::Started`].
    Start(Box<StartRun>),
    /// Send a signal. Answer: [`Response::Done`].
    Signal {
        /// To which run.
        run: RunRef,
        /// Name of the signal.
        name: String,
        /// Its payload.
        data: Value,
        /// Equal for repetitions of one request.
        request_id: String,
    },
    /// Ask a run to end. Answer: [`Response::Done`].
    Cancel {
        /// Which.
        run: RunRef,
        /// For people.
        reason: String,
        /// Equal for repetitions of one request.
        request_id: String,
    },
    /// End a run at once. Answer: [`Response::Done`].
    Terminate {
        /// Which.
        run: RunRef,
        /// For people.
        reason: String,
    },
    /// Say what became of an attempt whose outcome is unknown. Answer: [`Response::Done`].
    Resolve {
        /// Which run.
        run: RunRef,
        /// Number of the event that scheduled it.
        scheduled: i64,
        /// What became of it.
        resolution: Resolution,
    },
    /// Hand out the work of a paused run again. Answer: [`Response::Done`].
    Unpause {
        /// Which.
        run: RunRef,
    },
    /// The run of that id, of that beginning of an id, of that workflow id, or `last`.
    /// Answer: [`Response::Run`].
    Find {
        /// What a person wrote.
        name: String,
    },
    /// Runs, newest first. Answer: [`Response::Page`].
    List(ListRuns),
    /// Everything a run went through. Answer: [`Response::Item`]s, then [`Response::End`].
    Items {
        /// Which.
        run: RunRef,
        /// Whether to go on until it closes.
        follow: bool,
    },
    /// The flows that a run is pinned to. Answer: [`Response::Definition`].
    Definition {
        /// The digest in the run's header.
        digest: String,
    },
    /// A call of the API, by `Service/Method` and the JSON of its request: see [`crate::api`].
    /// Answer: [`Response::Api`].
    Api {
        /// Such as `FlowService/DeployFlow`.
        method: String,
        /// The request's message.
        request: Value,
    },
    /// The flows of a deployed flow's latest version. Answer: [`Response::Definition`], empty when
    /// there is none of that name.
    Deployed {
        /// Name of the flow.
        name: String,
    },
    /// How the holder is. Answer: [`Response::Status`].
    Status,
    /// A digest of everything that is known. Answer: [`Response::StateHash`].
    StateHash,
    /// Copy everything to a URL or a directory. Answer: [`Response::BackedUp`].
    Backup {
        /// Where.
        url: String,
    },
}

impl Request {
    /// Whether asking twice does what asking once does.
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Terminate { .. }
            | Self::Resolve { .. }
            | Self::Unpause { .. }
            | Self::Backup { .. } => false,
            // Those that are used here do nothing the second time.
            Self::Api { .. }
            | Self::Deployed { .. }
            | Self::Status
            | Self::Ping
            | Self::Start(_)
            | Self::Signal { .. }
            | Self::Cancel { .. }
            | Self::Find { .. }
            | Self::List(_)
            | Self::Items { .. }
            | Self::Definition { .. }
            | Self::StateHash => true,
        }
    }
}

/// What is answered.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
#[allow(missing_docs)] // Each stands beside its request.
pub enum Response {
    Pong {
        pid: u32,
        version: String,
    },
    Started {
        run: RunRef,
        existing: bool,
    },
    Done {
        status: String,
    },
    Run(Row),
    Page {
        runs: Vec<Row>,
        next: Option<String>,
    },
    Item {
        item: WireItem,
    },
    Alive,
    End,
    Definition {
        bytes: Option<String>,
    },
    StateHash {
        hash: String,
    },
    Api {
        response: Value,
    },
    Status(Status),
    BackedUp {
        runs: u64,
        bytes: u64,
    },
    /// To any request: the holder goes, and has done nothing; the next one is to be asked.
    Leaving,
    Error(Error),
}

/// How the holder of a directory is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its process.
    pub pid: u32,
    /// Its version.
    pub version: String,
    /// Where it serves gRPC, if it does.
    pub grpc: Option<SocketAddr>,
    /// Where it serves HTTP, if it does.
    pub http: Option<SocketAddr>,
    /// Runs that are open.
    pub open_runs: usize,
    /// Whether there are more.
    pub open_runs_truncated: bool,
    /// Nodes at work in the process.
    pub running_nodes: usize,
    /// Flows that are deployed, each counted once.
    pub deployed_flows: usize,
    /// Versions of nodes that workers serve.
    pub registered_nodes: usize,
}

/// A run to be started.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StartRun {
    /// The bundle's canonical bytes, which are JSON.
    pub bundle: String,
    /// Which flow of it.
    pub flow: String,
    /// Its input.
    pub input: Value,
    /// The workflow id; at most one open run has it.
    pub workflow_id: String,
    /// Equal for repetitions of one request.
    pub request_id: String,
    /// Whether a run that has the workflow id already is the answer.
    pub use_existing: bool,
}

/// An id for a request that may have to be repeated.
pub fn new_request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

/// A workflow id that is readable and not taken: `fetch-map-deliver-3f9c21ab`.
pub fn new_workflow_id(flow: &str) -> String {
    let slug = flow.chars().map(|c| if c.is_alphanumeric() { c.to_ascii_lowercase() } else { '-' });
    let random = uuid::Uuid::now_v7().simple().to_string();
    format!("{}-{}", slug.collect::<String>(), random.get(24..).unwrap_or_default())
}

/// What became of an attempt whose outcome is unknown.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resolution {
    /// It may be done again.
    Retry,
    /// It was done, with this output.
    Complete(Value),
    /// It was not done, or in vain.
    Fail(String),
}

/// Which runs to list.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ListRuns {
    /// Runs of this flow only.
    pub flow: Option<String>,
    /// Runs in one of these; see [`status_name`].
    pub statuses: Vec<String>,
    /// Started then or later, nanoseconds since 1970.
    pub since: Option<i64>,
    /// Only the latest run of each workflow id.
    pub latest: bool,
    /// The `next` of the page before.
    pub after: Option<String>,
    /// How many at most.
    pub limit: usize,
}

/// A run by its ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRef {
    /// The workflow id.
    pub workflow_id: Arc<str>,
    /// The run.
    pub run_id: RunId,
}

impl RunRef {
    /// The run's address in the engine.
    pub fn key(&self) -> RunKey {
        RunKey {
            namespace: NAMESPACE.into(),
            workflow_id: self.workflow_id.clone(),
            run_id: self.run_id,
        }
    }
}

impl From<&RunKey> for RunRef {
    fn from(key: &RunKey) -> Self {
        Self { workflow_id: key.workflow_id.clone(), run_id: key.run_id }
    }
}

/// A run in one line. `list --json` prints it as it is: fields are added, never changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// The run.
    #[serde(flatten)]
    pub run: RunRef,
    /// Name of the flow.
    pub flow: String,
    /// See [`status_name`].
    pub status: String,
    /// When it was started, RFC 3339.
    pub started: String,
    /// When it closed.
    pub closed: Option<String>,
    /// How long it took, or has taken, in milliseconds.
    pub took_ms: u64,
    /// Steps that are over.
    pub steps_done: u32,
    /// Steps known so far.
    pub steps_total: u32,
    /// Events in its history.
    pub events: u64,
    /// Why it failed.
    pub error: Option<String>,
}

impl Row {
    /// The row of a summary.
    pub fn of(summary: &Summary, now: Timestamp) -> Self {
        let took = summary.closed.unwrap_or(now).since(summary.started);
        Self {
            run: RunRef::from(&summary.key),
            flow: summary.workflow_type.to_string(),
            status: status_name(summary.status).to_owned(),
            started: clock::rfc3339(summary.started),
            closed: summary.closed.map(clock::rfc3339),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            steps_done: summary.steps_done,
            steps_total: summary.steps_total,
            events: summary.events,
            error: summary.error.clone(),
        }
    }
}

/// Every status with its name.
pub const STATUSES: [(RunStatus, &str); 7] = [
    (RunStatus::Running, "running"),
    (RunStatus::Completed, "completed"),
    (RunStatus::Failed, "failed"),
    (RunStatus::Canceled, "canceled"),
    (RunStatus::Terminated, "terminated"),
    (RunStatus::TimedOut, "timed_out"),
    (RunStatus::ContinuedAsNew, "continued_as_new"),
];

/// A status as it is written everywhere.
pub fn status_name(status: RunStatus) -> &'static str {
    STATUSES.iter().find(|(known, _)| *known == status).map_or("unknown", |(_, name)| name)
}

/// Reads what [`status_name`] writes.
///
/// # Errors
/// Names all statuses.
pub fn status_of(name: &str) -> Result<RunStatus, Error> {
    let found = STATUSES.iter().find(|(_, known)| *known == name).map(|(status, _)| *status);
    found.ok_or_else(|| {
        let names: Vec<&str> = STATUSES.iter().map(|(_, name)| *name).collect();
        Error::invalid(format!("`{name}` is not a status"))
            .suggest(format!("use one of {}", names.join(", ")))
    })
}

/// An item; on the wire its protobuf bytes in base64.
#[derive(Debug, Clone)]
pub struct WireItem(pub Item);

impl Serialize for WireItem {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&base64::prelude::BASE64_STANDARD.encode(self.0.encode().encode_to_vec()))
    }
}

impl<'de> Deserialize<'de> for WireItem {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let text = String::deserialize(from)?;
        let bytes = base64::prelude::BASE64_STANDARD.decode(text).map_err(D::Error::custom)?;
        let wire =
            reflux_proto::reflux::v1::Item::decode(bytes.as_slice()).map_err(D::Error::custom)?;
        Item::decode(wire).map(Self).map_err(D::Error::custom)
    }
}

/// Reads one line; `None` at the end of the stream.
///
/// # Errors
/// The stream broke, or the line is longer than [`LINE_BYTES_MAX`].
pub fn read_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX);
    from.take(limit + 1).read_until(b'\n', &mut line)?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) if line.len() > LINE_BYTES_MAX => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("a line has more than {LINE_BYTES_MAX} bytes"),
        )),
        Some(_) => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Writes a value as one line.
///
/// # Errors
/// The stream broke, or the line is longer than [`LINE_BYTES_MAX`]: then nothing is written.
pub fn write_line(to: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    if line.len() >= LINE_BYTES_MAX {
        let message = format!("{} bytes do not fit a line of {LINE_BYTES_MAX}", line.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    line.push(b'\n');
    to.write_all(&line)
}

/// Reads a request.
///
/// # Errors
/// It is of another version, or none at all.
pub fn read_call(line: &[u8]) -> Result<Request, Error> {
    #[derive(Deserialize)]
    struct Versioned {
        v: u32,
    }
    let unreadable = |error: serde_json::Error| {
        Error::invalid(format!("unreadable request: {error}"))
            .suggest("use the same version of reflux on both sides")
    };
    let Versioned { v } = serde_json::from_slice(line).map_err(unreadable)?;
    if v != VERSION {
        return Err(Error::new(
            Kind::Version,
            format!("the request is of version {v}, the holder speaks {VERSION}"),
        )
        .suggest("use the same version of reflux on both sides"));
    }
    let call: Call = serde_json::from_slice(line).map_err(unreadable)?;
    Ok(call.request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn reads(request: Value) -> Result<Request, Error> {
        read_call(request.to_string().as_bytes())
    }

    #[test]
    fn requests_are_read_as_they_are_written() {
        let run = RunRef { workflow_id: "w".into(), run_id: RunId::default() };
        for request in [
            Request::Ping,
            Request::Signal {
                run: run.clone(),
                name: "go".into(),
                data: json!({"a": [1]}),
                request_id: "r".into(),
            },
            Request::Resolve {
                run: run.clone(),
                scheduled: 5,
                resolution: Resolution::Complete(json!(1)),
            },
            Request::Resolve { run: run.clone(), scheduled: 5, resolution: Resolution::Retry },
            Request::Items { run, follow: true },
            Request::List(ListRuns { limit: 3, ..ListRuns::default() }),
        ] {
            let mut line = Vec::new();
            write_line(&mut line, &Call { v: VERSION, request: request.clone() }).unwrap();
            let back = read_call(&read_line(&mut line.as_slice()).unwrap().unwrap()).unwrap();
            assert_eq!(format!("{back:?}"), format!("{request:?}"));
        }
    }

    #[test]
    fn another_version_is_refused_before_the_request_is_read() {
        assert_eq!(reads(json!({"v": 2, "call": "unheard_of"})).unwrap_err().kind, Kind::Version);
        assert_eq!(reads(json!({"v": 1, "call": "unheard_of"})).unwrap_err().kind, Kind::Invalid);
        assert_eq!(reads(json!({"call": "ping"})).unwrap_err().kind, Kind::Invalid);
        assert_eq!(reads(json!([])).unwrap_err().kind, Kind::Invalid);
        assert!(read_call(&[b'['; 100_000]).is_err());
    }

    #[test]
    fn an_endless_line_is_refused_without_reading_it_all() {
        let mut endless = std::io::BufReader::new(io::repeat(b'x'));
        assert_eq!(read_line(&mut endless).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(read_line(&mut b"torn".as_slice()).is_err());
        assert_eq!(read_line(&mut b"".as_slice()).unwrap(), None);
        let long = "x".repeat(LINE_BYTES_MAX);
        assert!(write_line(&mut Vec::new(), &long).is_err());
    }

    #[test]
    fn an_item_survives_the_wire() {
        let item = Item::Delta(reflux_core::Delta::OutboxAcked { seq: 7 });
        let json = serde_json::to_string(&Response::Item { item: WireItem(item.clone()) }).unwrap();
        let Response::Item { item: back } = serde_json::from_str(&json).unwrap() else {
            panic!("{json}")
        };
        assert_eq!(back.0, item);
    }

    #[test]
    fn statuses_are_read_as_they_are_written() {
        for (status, name) in STATUSES {
            assert_eq!(status_of(name), Ok(status));
            assert_eq!(status_name(status), name);
        }
        assert!(
            status_of("Running").unwrap_err().suggestion.unwrap().contains("running, completed")
        );
    }
}
