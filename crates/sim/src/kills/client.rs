//! Clients of the killed process: they speak its socket's protocol, and sync what they were told
//! to a journal before they go on.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use prost::Message as _;
use reflux_core::Item;
use reflux_flow::{Bundle, syntax};
use reflux_proto::reflux::v1 as wire;
use serde_json::{Value, json};

use super::receiver::Receiver;

/// Runs of one client that may be open at once.
const OPEN_MAX: usize = 4;

/// All clients.
pub(super) struct Clients {
    socket: PathBuf,
    receiver: Arc<Receiver>,
    bundle: String,
    journal: Mutex<File>,
    told: Mutex<Told>,
    events: AtomicU64,
}

/// What was acknowledged, as the journal has it.
#[derive(Default)]
pub(super) struct Told {
    /// The run of each start.
    pub(super) runs: BTreeMap<String, Value>,
    /// Workflow ids whose signal was acknowledged.
    pub(super) signalled: BTreeSet<String>,
    /// Steps that were seen completed, with the calls that the receiver had counted by then.
    pub(super) completed: BTreeMap<(String, String), usize>,
    /// Workflow ids that were seen closed.
    pub(super) closed: BTreeSet<String>,
    broken: Option<String>,
}

impl Clients {
    pub(super) fn new(dir: &Path, receiver: Arc<Receiver>) -> Result<Self, String> {
        let parsed = syntax::parse("job.yaml", super::FLOW).map_err(|e| format!("{e:?}"))?;
        let bundle = Bundle::collect_parsed(&parsed, |_| None).map_err(|e| format!("{e:?}"))?;
        let journal = File::create(dir.join("journal")).map_err(|error| error.to_string())?;
        Ok(Self {
            socket: dir.join(".reflux/socket"),
            receiver,
            bundle: String::from_utf8_lossy(&bundle.to_bytes()).into_owned(),
            journal: Mutex::new(journal),
            told: Mutex::default(),
            events: AtomicU64::new(0),
        })
    }

    /// Starts runs, signals them, and watches them end, until it is over.
    pub(super) fn work(&self, nth: usize, over: &AtomicBool) {
        let mut open: Vec<String> = Vec::new();
        let mut next = 0;
        while !over.load(Ordering::Relaxed) || !open.is_empty() {
            if open.len() < OPEN_MAX && !over.load(Ordering::Relaxed) {
                next += 1;
                open.push(format!("job-{nth}-{next}"));
            }
            open.retain(|id| !self.step(id));
            std::thread::sleep(Duration::from_millis(3));
        }
    }

    /// Does what is next for a run; whether it is over.
    fn step(&self, id: &str) -> bool {
        let (run, signalled) = {
            let told = self.told();
            (told.runs.get(id).cloned(), told.signalled.contains(id))
        };
        let Some(run) = run else {
            let start = json!({"call": "start", "bundle": self.bundle, "flow": "job",
                "input": {"url": self.receiver.url}, "workflow_id": id, "request_id": id, "use_existing": false});
            if let Some(answer) = self.call(start)
                && field(&answer, "answer") == "started"
            {
                self.note(&format!("start {id} {}", field(&answer, "run")));
                let before = self.told().runs.insert(id.to_owned(), field(&answer, "run").clone());
                self.check(
                    before.is_none_or(|before| before == *field(&answer, "run")),
                    "a start is two runs",
                );
            }
            return false;
        };
        if !signalled {
            let signal = json!({"call": "signal", "run": run, "name": "go", "data": id,
                "request_id": format!("{id}-go")});
            if self.call(signal).is_some_and(|answer| field(&answer, "answer") == "done") {
                self.note(&format!("signal {id}"));
                self.told().signalled.insert(id.to_owned());
            }
            return false;
        }
        let Some(items) = self.items(&run) else { return false };
        let facts = super::verdict::Facts::of(&items);
        for step in &facts.completed {
            let step = (id.to_owned(), step.clone());
            if !self.told().completed.contains_key(&step) {
                let calls = self.receiver.count(&format!("/{id}/{}", step.1));
                self.note(&format!("completed {id} {} after {calls} calls", step.1));
                self.told().completed.insert(step, calls);
            }
        }
        if facts.closed {
            self.note(&format!("closed {id}"));
            self.told().closed.insert(id.to_owned());
        }
        facts.closed
    }

    /// Everything that was recorded of a run, if somebody answers.
    pub(super) fn items(&self, run: &Value) -> Option<Vec<Item>> {
        let mut stream = self.ask(&json!({"call": "items", "run": run, "follow": false}))?;
        let mut items = Vec::new();
        loop {
            let answer = line(&mut stream)?;
            match field(&answer, "answer").as_str()? {
                "item" => {
                    let bytes = base64::prelude::BASE64_STANDARD
                        .decode(field(&answer, "item").as_str()?)
                        .ok()?;
                    items.push(Item::decode(wire::Item::decode(bytes.as_slice()).ok()?).ok()?);
                }
                "end" => return Some(items),
                "alive" => {}
                _ => return None,
            }
        }
    }

    /// Whether a process answers.
    pub(super) fn is_up(&self) -> bool {
        self.call(json!({"call": "ping"})).is_some()
    }

    /// Answers so far.
    pub(super) fn events(&self) -> u64 {
        self.events.load(Ordering::Relaxed)
    }

    /// Runs that were started and not seen closed.
    pub(super) fn open(&self) -> usize {
        let told = self.told();
        told.runs.len() - told.closed.len()
    }

    /// Waits until every run was seen closed.
    pub(super) fn drain(&self, patience: Duration) -> bool {
        let begun = Instant::now();
        while self.open() > 0 && begun.elapsed() < patience {
            std::thread::sleep(Duration::from_millis(10));
        }
        self.open() == 0
    }

    pub(super) fn unfinished(&self) -> String {
        let told = self.told();
        let open: Vec<&str> =
            told.runs.keys().filter(|id| !told.closed.contains(*id)).map(String::as_str).collect();
        open.join(", ")
    }

    pub(super) fn told(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A promise that a client saw broken.
    pub(super) fn broken(&self) -> Option<String> {
        self.told().broken.clone()
    }

    fn check(&self, holds: bool, what: &str) {
        if !holds {
            self.told().broken = Some(what.to_owned());
        }
    }

    /// Durable before the client goes on.
    fn note(&self, line: &str) {
        let mut journal = self.journal.lock().unwrap_or_else(PoisonError::into_inner);
        if writeln!(journal, "{line}").and_then(|()| journal.sync_data()).is_err() {
            self.check(false, "the journal cannot be written");
        }
        self.events.fetch_add(1, Ordering::Relaxed);
    }

    fn call(&self, request: Value) -> Option<Value> {
        line(&mut self.ask(&request)?)
    }

    fn ask(&self, request: &Value) -> Option<BufReader<UnixStream>> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
        let mut request = request.clone();
        request.as_object_mut()?.insert("v".to_owned(), json!(1));
        writeln!(stream, "{request}").ok()?;
        Some(BufReader::new(stream))
    }
}

fn line(from: &mut BufReader<UnixStream>) -> Option<Value> {
    let mut line = String::new();
    from.read_line(&mut line).ok()?;
    serde_json::from_str(&line).ok()
}

/// A field of an answer; null when it has none.
fn field<'a>(answer: &'a Value, name: &str) -> &'a Value {
    answer.get(name).unwrap_or(&Value::Null)
}
