//! Answers requests from an engine, the same for a caller in this process and one at the socket.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::{Duration, Instant};

use reflux_core::{
    Command, EventId, Item, RequestCancel, Resolution as CoreResolution, RunId, Signal,
    Status as RunStatus, Suspend, Terminate, Timestamp, application_failure,
};
use reflux_engine::{Change, Engine, Lane, Spec, StartFlow, WhenClosed, WhenOpen};
use reflux_flow::graph::Bundle;
use reflux_flow::input::check_input;
use reflux_flow::payload;
use reflux_store::{Filter, Position, Summary};
use tokio::sync::mpsc::Receiver;
use uuid::Uuid;

use crate::catalogue::Nodes;
use crate::host::LocalHost;
use crate::net::Addresses;
use crate::protocol::{
    ListRuns, NAMESPACE, Request, Resolution, Response, Row, RunRef, StartRun, Status, WireItem,
    status_name, status_of,
};
use crate::secrets::Secrets;
use crate::stamp::Stamp;
use crate::triggers::Triggers;
use crate::{Config, Error, Kind, Project, clock};

/// How often a follower is told that the run is still there: so that one who has gone is noticed.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// Most rows that are looked at to find a run by the beginning of its id.
const FIND_PAGES_MAX: usize = 100;
/// Shortest beginning of a run id.
const PREFIX_CHARS_MIN: usize = 4;

/// Answers requests, in somebody's name. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    engine: Engine,
    host: Arc<LocalHost>,
    project: Project,
    identity: Arc<str>,
    triggers: Arc<Triggers>,
    serves: Arc<OnceLock<Addresses>>,
    /// Of the files that nodes and secrets were last read from.
    stamp: Arc<Mutex<Option<Stamp>>>,
}

/// Takes answers; `false` when nobody listens any more.
pub type Sink<'a> = &'a mut dyn FnMut(Response) -> bool;

impl Service {
    /// A service over an engine and its host.
    pub fn new(engine: Engine, host: Arc<LocalHost>, project: Project) -> Self {
        let user = std::env::var("USER").unwrap_or_else(|_| "cli".to_owned());
        let identity: Arc<str> = user.into();
        let triggers =
            Triggers::new(engine.clone(), host.clone(), project.clone(), identity.clone());
        let triggers = Arc::new(triggers);
        Self {
            engine,
            host,
            project,
            identity,
            triggers,
            serves: Arc::default(),
            stamp: Arc::default(),
        }
    }

    /// The same in the name of a caller: what is recorded says who wanted it.
    #[must_use]
    pub fn acting_for(&self, caller: &Arc<str>) -> Self {
        Self { identity: caller.clone(), ..self.clone() }
    }

    /// The engine.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The host.
    pub fn host(&self) -> &Arc<LocalHost> {
        &self.host
    }

    /// What starts runs besides people.
    pub fn triggers(&self) -> &Triggers {
        &self.triggers
    }

    /// Reads nodes and secrets again.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn reload(&self) -> Result<(), Error> {
        self.read_again(&mut self.stamp())
    }

    /// As [`Service::reload`], if their files have changed since they were read: somebody may have
    /// edited them.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn refresh(&self) -> Result<(), Error> {
        let mut stamp = self.stamp();
        match stamp.as_ref().is_some_and(Stamp::holds) {
            true => Ok(()),
            false => self.read_again(&mut stamp),
        }
    }

    fn read_again(&self, stamp: &mut Option<Stamp>) -> Result<(), Error> {
        *stamp = None;
        let before = Stamp::of(&self.project, &Config::load(&self.project)?);
        let (nodes, secrets) = load(&self.project)?;
        self.host.replace(nodes, secrets);
        *stamp = Some(before);
        Ok(())
    }

    fn stamp(&self) -> MutexGuard<'_, Option<Stamp>> {
        self.stamp.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The project.
    pub fn project(&self) -> &Project {
        &self.project
    }

    /// Notes where the process serves ports.
    pub(crate) fn serves(&self, addresses: Addresses) {
        // A process opens its ports once.
        let _ = self.serves.set(addresses);
    }

    /// Who acts here, for people.
    pub fn identity(&self) -> &Arc<str> {
        &self.identity
    }

    /// Answers a request: any number of items for those that stream, and one last answer.
    pub fn answer(&self, request: Request, sink: Sink<'_>) {
        let answer = match request {
            Request::Items { run, follow } => {
                self.items(&run, follow, sink).map(|()| Response::End)
            }
            other => self.one(other),
        };
        sink(answer.unwrap_or_else(Response::Error));
    }

    fn one(&self, request: Request) -> Result<Response, Error> {
        match request {
            Request::Ping => Ok(Response::Pong {
                pid: std::process::id(),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            Request::Start(start) => self.start(*start),
            Request::Signal { run, name, data, request_id } => {
                let signal = Signal {
                    name: name.into(),
                    input: payload::of_value(&data),
                    identity: self.identity.clone(),
                    request_id: request_id.into(),
                    ..Signal::default()
                };
                self.command(&run, Command::Signal(signal))
            }
            Request::Cancel { run, reason, request_id } => self.command(
                &run,
                Command::RequestCancel(RequestCancel {
                    reason: reason.into(),
                    identity: self.identity.clone(),
                    request_id: request_id.into(),
                }),
            ),
            Request::Terminate { run, reason } => self.command(
                &run,
                Command::Terminate(Terminate {
                    reason: reason.into(),
                    identity: self.identity.clone(),
                    ..Terminate::default()
                }),
            ),
            Request::Resolve { run, scheduled, resolution } => {
                let resolution = match resolution {
                    Resolution::Retry => CoreResolution::Retry,
                    Resolution::Complete(output) => {
                        CoreResolution::Complete(payload::of_value(&output))
                    }
                    Resolution::Fail(message) => CoreResolution::Fail(Arc::new(
                        application_failure(message, "Resolved", true),
                    )),
                };
                let scheduled = EventId(scheduled);
                self.command(
                    &run,
                    Command::Resolve { scheduled, resolution, identity: self.identity.clone() },
                )
            }
            Request::Unpause { run } => self.command(
                &run,
                Command::Unpause(Suspend { identity: self.identity.clone(), ..Suspend::default() }),
            ),
            Request::Find { name } => {
                let found = self.settled(self.find(&name)?)?;
                Ok(Response::Run(Row::of(&found, clock::now())))
            }
            Request::List(wanted) => self.list(&wanted),
            Request::Items { .. } => Err(Error::invalid("items are a stream")),
            Request::Definition { digest } => {
                Ok(Response::Definition { bytes: self.definition(&digest)? })
            }
            Request::Api { method, request } => {
                Ok(Response::Api { response: crate::api::call(self, &method, request)? })
            }
            Request::Deployed { name } => self.deployed(&name),
            Request::Status => self.status(),
            Request::StateHash => {
                let hash = self.engine.state_hash()?;
                Ok(Response::StateHash { hash: hex(&hash) })
            }
            Request::Backup { url } => {
                let manifest = self.engine.backup(&url)?;
                Ok(Response::BackedUp {
                    runs: manifest.partitions.iter().map(|partition| partition.entities).sum(),
                    bytes: manifest.partitions.iter().map(|partition| partition.bytes).sum(),
                })
            }
        }
    }

    fn deployed(&self, name: &str) -> Result<Response, Error> {
        let registry = self.host.registry();
        let flow = match registry.flow(NAMESPACE, name, 0) {
            Ok(flow) => flow,
            Err(error) if error.kind == Kind::NotFound => {
                return Ok(Response::Definition { bytes: None });
            }
            Err(error) => return Err(error),
        };
        let bytes = registry.definition(&self.engine, &flow)?.bytes.clone();
        Ok(Response::Definition { bytes: String::from_utf8(bytes.into()).ok() })
    }

    fn status(&self) -> Result<Response, Error> {
        let filter = Filter { statuses: vec![RunStatus::Running], ..Filter::all(NAMESPACE) };
        let (open, more) = self.page(&filter, None, reflux_store::PAGE_RUNS_MAX)?;
        let serves = self.serves.get();
        Ok(Response::Status(Status {
            pid: std::process::id(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            grpc: serves.map(|addresses| addresses.grpc),
            http: serves.map(|addresses| addresses.http),
            open_runs: open.len(),
            open_runs_truncated: more.is_some(),
            running_nodes: self.host.running(),
            deployed_flows: self.host.registry().flows().len(),
            registered_nodes: self.host.registry().nodes().len(),
        }))
    }

    fn start(&self, start: StartRun) -> Result<Response, Error> {
        let bytes = start.bundle.into_bytes();
        let bundle = Bundle::from_bytes(&bytes).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Error::invalid(problems.join("; "))
                .suggest("check the definition with `reflux validate`")
        })?;
        let flow = bundle.flows.get(&start.flow).ok_or_else(|| {
            Error::invalid(format!("the definition has no flow `{}`", start.flow))
        })?;
        let input = check_input(flow, start.input).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Error::invalid(problems.join("; "))
        })?;
        let run_id = RunId(Uuid::now_v7());
        let digest = *blake3::hash(&bytes).as_bytes();
        let answer = self.engine.start(StartFlow {
            namespace: NAMESPACE.into(),
            workflow_id: start.workflow_id.into(),
            run_id,
            spec: Spec { digest, bytes: bytes.into() },
            flow: start.flow.into(),
            input: payload::of_value(&input),
            request_id: start.request_id.into(),
            when_open: if start.use_existing { WhenOpen::UseExisting } else { WhenOpen::Refuse },
            when_closed: WhenClosed::Allow,
            identity: self.identity.clone(),
        })?;
        Ok(Response::Started { run: RunRef::from(&answer.run), existing: answer.existing })
    }

    fn command(&self, run: &RunRef, command: Command) -> Result<Response, Error> {
        let answer = self.engine.command(Lane::of(&run.key()), Some(run.run_id), command)?;
        Ok(Response::Done { status: status_name(answer.status).to_owned() })
    }

    fn find(&self, name: &str) -> Result<Summary, Error> {
        let missing = || {
            Error::not_found(format!("no run `{name}`"))
                .suggest("see `reflux list`; a run is named by its id, the beginning of it, its workflow id, or `last`")
        };
        if name == "last" {
            let page = self.engine.list(&Filter::all(NAMESPACE), None, 1)?;
            return page.runs.into_iter().next().ok_or_else(|| {
                Error::not_found("there are no runs yet")
                    .suggest("start one with `reflux run FLOW`")
            });
        }
        if let Some(found) = self.named(NAMESPACE, name)? {
            return Ok(found);
        }
        let is_prefix = name.len() >= PREFIX_CHARS_MIN
            && name.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
        if !is_prefix {
            return Err(missing());
        }
        let mut found = self.with_prefix(&name.to_lowercase())?.into_iter();
        match (found.next(), found.next()) {
            (None, _) => Err(missing()),
            (Some(only), None) => Ok(only),
            (Some(one), Some(other)) => {
                Err(Error::invalid(format!("`{name}` is the beginning of several run ids"))
                    .suggest(format!(
                        "write more of it: {} or {}",
                        one.key.run_id, other.key.run_id
                    )))
            }
        }
    }

    /// The run of that id, or the newest run of that workflow id.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) fn named(&self, namespace: &str, name: &str) -> Result<Option<Summary>, Error> {
        if let Ok(id) = Uuid::parse_str(name)
            && let Some(found) = self.engine.find(namespace, RunId(id))?
        {
            return Ok(Some(found));
        }
        let lane = Lane { namespace: namespace.into(), workflow_id: name.into() };
        match self.engine.current(&lane)? {
            Some(key) => Ok(self.engine.summary(&key)?),
            None => Ok(None),
        }
    }

    /// The run after everything that was asked of it before: after a boot, its recovery too.
    fn settled(&self, found: Summary) -> Result<Summary, Error> {
        if !found.is_open() {
            return Ok(found);
        }
        // Commands to one run are decided one after the other, and this one changes nothing that
        // would not change by itself.
        let woken =
            self.engine.command(Lane::of(&found.key), Some(found.key.run_id), Command::Wake);
        if let Err(error) = woken {
            tracing::debug!(run = %found.key, %error, "cannot wait for what was asked of the run before");
        }
        Ok(self.engine.summary(&found.key)?.unwrap_or(found))
    }

    /// Up to two runs whose ids begin so.
    fn with_prefix(&self, prefix: &str) -> Result<Vec<Summary>, Error> {
        let filter = Filter { text: Some(prefix.into()), ..Filter::all(NAMESPACE) };
        let mut found = Vec::new();
        let mut after = None;
        for _ in 0..FIND_PAGES_MAX {
            let page = self.engine.list(&filter, after, reflux_store::PAGE_RUNS_MAX)?;
            found.extend(
                page.runs.into_iter().filter(|run| run.key.run_id.to_string().starts_with(prefix)),
            );
            after = page.next;
            if found.len() > 1 || after.is_none() {
                break;
            }
        }
        Ok(found)
    }

    fn list(&self, wanted: &ListRuns) -> Result<Response, Error> {
        let statuses: Result<Vec<_>, Error> =
            wanted.statuses.iter().map(|name| status_of(name)).collect();
        let filter = Filter {
            workflow_type: wanted.flow.as_deref().map(Arc::from),
            statuses: statuses?,
            started_from: wanted.since.map(Timestamp),
            ..Filter::all(NAMESPACE)
        };
        let limit = wanted.limit.clamp(1, reflux_store::PAGE_RUNS_MAX);
        let (mut runs, mut next) = self.page(&filter, wanted.after.as_deref(), limit)?;
        if wanted.latest {
            self.keep_latest(&mut runs)?;
            while let Some(after) = next.take_if(|_| runs.len() < limit) {
                let (mut more, behind) = self.page(&filter, Some(&after), limit - runs.len())?;
                self.keep_latest(&mut more)?;
                runs.extend(more);
                next = behind;
            }
        }
        let now = clock::now();
        Ok(Response::Page { runs: runs.iter().map(|run| Row::of(run, now)).collect(), next })
    }

    /// Leaves out runs that a later one of their workflow id has taken the place of.
    fn keep_latest(&self, runs: &mut Vec<Summary>) -> Result<(), Error> {
        let mut kept = Vec::with_capacity(runs.len());
        for run in runs.drain(..) {
            if self.engine.current(&Lane::of(&run.key))?.is_none_or(|latest| latest == run.key) {
                kept.push(run);
            }
        }
        *runs = kept;
        Ok(())
    }

    /// Runs behind a page token, newest first, and the token of the next page.
    ///
    /// # Errors
    /// The token is not one of ours.
    pub(crate) fn page(
        &self,
        filter: &Filter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Summary>, Option<String>), Error> {
        let mut after = after.map(position).transpose()?;
        let mut runs = Vec::new();
        // A page may be short although more follow.
        loop {
            let page = self.engine.list(filter, after, limit - runs.len())?;
            runs.extend(page.runs);
            after = page.next;
            if runs.len() >= limit || after.is_none() {
                break;
            }
        }
        Ok((runs, after.map(|place| hex(&place.to_bytes()))))
    }

    fn items(&self, run: &RunRef, follow: bool, sink: Sink<'_>) -> Result<(), Error> {
        let key = run.key();
        let mut sent = 0_u64;
        loop {
            // Watched before it is read, so that nothing falls between.
            let changes = follow.then(|| self.engine.watch(&key));
            let mut closed = false;
            for item in self
                .engine
                .items(&key)?
                .into_iter()
                .skip(usize::try_from(sent).unwrap_or(usize::MAX))
            {
                sent += 1;
                closed |= closes(&item);
                if !sink(Response::Item { item: WireItem(item) }) {
                    return Ok(());
                }
            }
            let Some(mut changes) = changes.filter(|_| !closed) else { return Ok(()) };
            loop {
                match next_change(&mut changes, ALIVE_EVERY) {
                    Poll::Ready(Some(change)) => {
                        let count = u64::try_from(change.items.len()).unwrap_or(0);
                        let first = change.next.saturating_sub(count);
                        if first > sent {
                            break; // something was missed: read again
                        }
                        for item in
                            change.items.iter().skip(usize::try_from(sent - first).unwrap_or(0))
                        {
                            sent += 1;
                            if !sink(Response::Item { item: WireItem(item.clone()) }) {
                                return Ok(());
                            }
                        }
                        if change.closed.is_some() {
                            return Ok(());
                        }
                    }
                    Poll::Pending if sink(Response::Alive) => {}
                    Poll::Pending => return Ok(()),
                    Poll::Ready(None) => break,
                }
            }
        }
    }

    /// The flows of a run, by the digest that it is pinned to.
    pub(crate) fn bundle(&self, digest: &str) -> Option<Arc<Bundle>> {
        let digest = blake3::Hash::from_hex(digest).ok()?;
        self.engine.flows(digest.as_bytes()).ok().flatten()
    }

    /// The bundle of that digest, if a run that is kept has it.
    fn definition(&self, digest: &str) -> Result<Option<String>, Error> {
        let Ok(digest) = blake3::Hash::from_hex(digest) else { return Ok(None) };
        let bytes = self.engine.bundle(digest.as_bytes())?;
        Ok(bytes.and_then(|bytes| String::from_utf8(bytes.into()).ok()))
    }
}

/// The next change, waited for on this thread: it belongs to no runtime. `Pending` when there was
/// none in time, `None` when there will be none.
fn next_change(changes: &mut Receiver<Change>, limit: Duration) -> Poll<Option<Change>> {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let until = Instant::now() + limit;
    loop {
        let next = changes.poll_recv(&mut Context::from_waker(&waker));
        let left = until.saturating_duration_since(Instant::now());
        if next.is_ready() || left.is_zero() {
            return next;
        }
        std::thread::park_timeout(left);
    }
}

/// The nodes and secrets of a project.
///
/// # Errors
/// What is wrong with its configuration, its node files or its secrets.
pub fn load(project: &Project) -> Result<(Nodes, Secrets), Error> {
    let config = Config::load(project)?;
    let secrets = Secrets::load(project, &config, environment())?;
    let nodes = Nodes::load(project, &config).map_err(|problems| {
        let lines: Vec<String> = problems.iter().map(ToString::to_string).collect();
        Error::invalid(lines.join("\n")).suggest("mend the node files, or move them out of nodes/")
    })?;
    Ok((nodes, secrets))
}

/// Variables of the environment that are text.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// Whether an item closes its run.
pub fn closes(item: &Item) -> bool {
    matches!(item, Item::Event(event) if event.kind.closes_run())
}

fn position(token: &str) -> Result<Position, Error> {
    let place = Position::from_bytes(&unhex(token).unwrap_or_default());
    place.map_err(|error| Error::new(Kind::Invalid, error.to_string()))
}

/// What [`hex`] wrote.
pub(crate) fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits =
        |at: usize| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).map(digits).collect()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
