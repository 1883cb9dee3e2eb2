//! What a worker or a client is given to name a task or a place again.
//!
//! ```text
//! task token:  version │ 16 bytes of keyed BLAKE3 │ message
//! page token:  version │ message
//! ```
//!
//! A task token is signed with a key that the project keeps, so that it holds across restarts and
//! no other server's is taken. That it is not stale is for the run to say: the token names the
//! attempt. A page token needs no signature: it only moves within what its request may read.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message;
use reflux_core::{EventId, RunId, RunKey};
use tonic::Status;
use uuid::Uuid;

use super::errors::{invalid, not_found};
use crate::{Error, Project};

const VERSION: u8 = 1;
const SIGNATURE_BYTES: usize = 16; // 2^128 guesses
const KEY_BYTES: usize = 32;

/// Signs and reads task tokens.
#[derive(Clone)]
pub(super) struct Tokens {
    key: Arc<[u8; KEY_BYTES]>,
}

/// What a task token names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Task {
    /// A started workflow task.
    Workflow { run: RunKey, scheduled: EventId, attempt: u32 },
    /// A query that was handed out by itself.
    Query { run: RunKey, id: Arc<str> },
    /// A started attempt of an activity.
    Activity { run: RunKey, scheduled: EventId, attempt: u32 },
}

impl Tokens {
    /// With the key of the project, which is made when there is none.
    pub(super) fn of(project: &Project) -> Result<Self, Error> {
        let path = project.dir().join("task-token.key");
        let failed = |error: std::io::Error| {
            Error::unavailable(format!("cannot use {}: {error}", path.display()))
                .suggest("remove the file: tasks that workers have in hand are then started again")
        };
        let mut key = [0; KEY_BYTES];
        match File::open(&path).and_then(|mut file| file.read_exact(&mut key)) {
            Ok(()) => return Ok(Self { key: Arc::new(key) }),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof) => {}
            Err(error) => return Err(failed(error)),
        }
        File::open("/dev/urandom")
            .and_then(|mut file| file.read_exact(&mut key))
            .map_err(failed)?;
        let mut options = File::options();
        options
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(&key).and_then(|()| file.sync_all()))
            .map_err(failed)?;
        Ok(Self { key: Arc::new(key) })
    }

    pub(super) fn write(&self, task: &Task) -> Bytes {
        let message = TaskToken::of(task).encode_to_vec();
        let mut token = Vec::with_capacity(1 + SIGNATURE_BYTES + message.len());
        token.push(VERSION);
        token.extend_from_slice(&self.sign(&message));
        token.extend_from_slice(&message);
        token.into()
    }

    /// What the token names, in the namespace of the request; an empty namespace is any.
    ///
    /// # Errors
    /// `NOT_FOUND` for what is not a token of this server.
    pub(super) fn read(&self, token: &[u8], namespace: &str) -> Result<Task, Status> {
        if token.is_empty() {
            return Err(invalid("Task token not set on request."));
        }
        let foreign = || not_found("task token: not one of this server; drop the task");
        let (VERSION, rest) =
            token.split_first().map(|(v, rest)| (*v, rest)).ok_or_else(foreign)?
        else {
            return Err(foreign());
        };
        let (signature, message) =
            rest.split_first_chunk::<SIGNATURE_BYTES>().ok_or_else(foreign)?;
        if !equal(signature, &self.sign(message)) {
            return Err(foreign());
        }
        let task = TaskToken::decode(message).ok().and_then(TaskToken::task).ok_or_else(foreign)?;
        if !namespace.is_empty() && *task.run().namespace != *namespace {
            return Err(foreign());
        }
        Ok(task)
    }

    fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        let hash = blake3::keyed_hash(&self.key, message);
        let mut signature = [0; SIGNATURE_BYTES];
        signature.iter_mut().zip(hash.as_bytes()).for_each(|(to, from)| *to = *from);
        signature
    }
}

/// In a time that does not tell where they differ.
fn equal(one: &[u8; SIGNATURE_BYTES], other: &[u8; SIGNATURE_BYTES]) -> bool {
    one.iter().zip(other).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

impl Task {
    pub(super) fn run(&self) -> &RunKey {
        match self {
            Self::Workflow { run, .. } | Self::Query { run, .. } | Self::Activity { run, .. } => {
                run
            }
        }
    }
}

#[derive(Clone, PartialEq, Message)]
struct TaskToken {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    workflow_id: String,
    #[prost(bytes = "bytes", tag = "3")]
    run_id: Bytes,
    #[prost(oneof = "Named", tags = "4, 5, 6")]
    named: Option<Named>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Named {
    #[prost(message, tag = "4")]
    Workflow(Attempt),
    #[prost(message, tag = "5")]
    Activity(Attempt),
    #[prost(string, tag = "6")]
    Query(String),
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Attempt {
    #[prost(int64, tag = "1")]
    scheduled: i64,
    #[prost(uint32, tag = "2")]
    attempt: u32,
}

impl TaskToken {
    fn of(task: &Task) -> Self {
        let run = task.run();
        let named = match task {
            Task::Workflow { scheduled, attempt, .. } => {
                Named::Workflow(Attempt { scheduled: scheduled.0, attempt: *attempt })
            }
            Task::Activity { scheduled, attempt, .. } => {
                Named::Activity(Attempt { scheduled: scheduled.0, attempt: *attempt })
            }
            Task::Query { id, .. } => Named::Query(id.to_string()),
        };
        Self {
            namespace: run.namespace.to_string(),
            workflow_id: run.workflow_id.to_string(),
            run_id: Bytes::copy_from_slice(run.run_id.0.as_bytes()),
            named: Some(named),
        }
    }

    fn task(self) -> Option<Task> {
        let run = RunKey {
            namespace: self.namespace.into(),
            workflow_id: self.workflow_id.into(),
            run_id: id(&self.run_id)?,
        };
        Some(match self.named? {
            Named::Workflow(Attempt { scheduled, attempt }) => {
                Task::Workflow { run, scheduled: EventId(scheduled), attempt }
            }
            Named::Activity(Attempt { scheduled, attempt }) => {
                Task::Activity { run, scheduled: EventId(scheduled), attempt }
            }
            Named::Query(id) => Task::Query { run, id: id.into() },
        })
    }
}

fn id(bytes: &[u8]) -> Option<RunId> {
    Uuid::from_slice(bytes).ok().map(RunId)
}

/// A place in a run's history.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Place {
    #[prost(bytes = "bytes", tag = "1")]
    pub(super) run_id: Bytes,
    /// Number of the last event that was read.
    #[prost(int64, tag = "2")]
    pub(super) after: i64,
    /// Number of the last event to read; 0 when there is no end.
    #[prost(int64, tag = "3")]
    pub(super) until: i64,
    /// Encoded events that follow the last one: those of a workflow task that is not in the history.
    #[prost(bytes = "bytes", repeated, tag = "4")]
    pub(super) suffix: Vec<Bytes>,
    /// Whether there may be more events later.
    #[prost(bool, tag = "5")]
    pub(super) follows: bool,
}

impl Place {
    pub(super) fn of(run_id: RunId, after: EventId) -> Self {
        let run_id = Bytes::copy_from_slice(run_id.0.as_bytes());
        Self { run_id, after: after.0, ..Self::default() }
    }

    pub(super) fn run_id(&self) -> Option<RunId> {
        id(&self.run_id)
    }

    pub(super) fn write(&self) -> Bytes {
        let mut token = vec![VERSION];
        token.extend_from_slice(&self.encode_to_vec());
        token.into()
    }

    /// # Errors
    /// `INVALID_ARGUMENT` for what is not a place.
    pub(super) fn read(token: &[u8]) -> Result<Self, Status> {
        let wrong = || invalid("Invalid NextPageToken: ask for the first page again");
        let (VERSION, message) = token.split_first().map(|(v, m)| (*v, m)).ok_or_else(wrong)?
        else {
            return Err(wrong());
        };
        let place = Self::decode(message).map_err(|_| wrong())?;
        if place.run_id().is_none() || place.after < 0 || place.until < 0 {
            return Err(wrong());
        }
        Ok(place)
    }
}
