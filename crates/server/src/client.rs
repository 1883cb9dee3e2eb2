//! The door to a project's runs: through the process that holds its directory, or as that process.

use std::io::BufReader;
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use reflux_core::Item;
use serde_json::Value;

pub use crate::holder::Mode;
use crate::holder::{self, Holder};
use crate::protocol::{
    Call, ListRuns, Request, Response, Row, RunRef, StartRun, VERSION, read_line, write_line,
};
use crate::service::Service;
use crate::{Error, Kind, Project};

/// How long a holder may take between its lock and its socket, or between its socket's end and its
/// lock's.
const HANDOVER_MAX: Duration = Duration::from_secs(10);
const HANDOVER_POLL: Duration = Duration::from_millis(10);
/// Items between the run and whoever reads them.
const ITEMS_UNREAD_MAX: usize = 256;

/// A way to a project's runs. When the process that holds the directory goes, another one is
/// found, or this one takes over.
pub struct Client {
    project: Project,
    mode: Mode,
    link: Mutex<Link>,
}

enum Link {
    Holds(Box<Holder>),
    Attached,
}

impl Client {
    /// Attaches to the process that holds the directory, or becomes it.
    ///
    /// # Errors
    /// The directory cannot be used, or its holder does not answer.
    pub fn open(project: &Project, mode: Mode) -> Result<Self, Error> {
        if mode == Mode::Look && !project.data().is_dir() {
            return Err(Error::not_found(format!("no runs in {}", project.root().display()))
                .suggest("start one with `reflux run FLOW`, or name another project with --dir"));
        }
        Self::open_or_make(project, mode)
    }

    /// As [`Client::open`], in a project without runs too.
    ///
    /// # Errors
    /// As [`Client::open`].
    pub fn open_or_make(project: &Project, mode: Mode) -> Result<Self, Error> {
        let link = Mutex::new(link(project, mode)?);
        Ok(Self { project: project.clone(), mode, link })
    }

    /// Whether this process holds the directory.
    pub fn holds(&self) -> bool {
        self.service().is_some()
    }

    /// Asks for something that has one answer.
    ///
    /// # Errors
    /// The answer was an error, or the holder went away and nobody knows what it did.
    pub fn call(&self, request: Request) -> Result<Response, Error> {
        loop {
            let answer = match self.service() {
                None => self.connect().and_then(|stream| ask(stream, &request)),
                Some(service) => {
                    let mut answer = Err(unanswered());
                    service.answer(request.clone(), &mut |response| {
                        answer = checked(response);
                        true
                    });
                    answer
                }
            };
            match answer {
                Err(error) if error == unsent() => self.open_again()?,
                Err(error) if error == unanswered() && request.is_repeatable() && !self.holds() => {
                    self.open_again()?
                }
                answer => return answer,
            }
        }
    }

    /// What a run went through, in order; with `follow`, until it closes. The channel ends after
    /// the last item, or with an error.
    ///
    /// # Errors
    /// The holder has gone.
    pub fn items(
        &self,
        run: &RunRef,
        follow: bool,
    ) -> Result<Receiver<Result<Item, Error>>, Error> {
        let (sender, receiver) = sync_channel(ITEMS_UNREAD_MAX);
        let request = Request::Items { run: run.clone(), follow };
        let work: Box<dyn FnOnce() + Send> = loop {
            if let Some(service) = self.service() {
                break Box::new(move || take_items(&service, request, &sender));
            }
            match self.connect() {
                Ok(stream) => break Box::new(move || read_items(stream, &request, &sender)),
                Err(_) => self.open_again()?,
            }
        };
        let spawned = std::thread::Builder::new().name("items".to_owned()).spawn(work);
        spawned.map_err(|error| Error::unavailable(format!("cannot start a thread: {error}")))?;
        Ok(receiver)
    }

    /// Everything a run went through until now.
    ///
    /// # Errors
    /// There is no such run, or the holder has gone.
    pub fn history(&self, run: &RunRef) -> Result<Vec<Item>, Error> {
        self.items(run, false)?.into_iter().collect()
    }

    /// Starts a run; also whether it was there already.
    ///
    /// # Errors
    /// The input does not fit, or the workflow id is taken.
    pub fn start(&self, start: StartRun) -> Result<(RunRef, bool), Error> {
        match self.call(Request::Start(Box::new(start)))? {
            Response::Started { run, existing } => Ok((run, existing)),
            other => Err(unexpected(&other)),
        }
    }

    /// The run that a person names.
    ///
    /// # Errors
    /// There is none, or there are several.
    pub fn find(&self, name: &str) -> Result<Row, Error> {
        match self.call(Request::Find { name: name.to_owned() })? {
            Response::Run(row) => Ok(row),
            other => Err(unexpected(&other)),
        }
    }

    /// Runs, newest first, and where the next page begins.
    ///
    /// # Errors
    /// The filter makes no sense.
    pub fn list(&self, wanted: ListRuns) -> Result<(Vec<Row>, Option<String>), Error> {
        match self.call(Request::List(wanted))? {
            Response::Page { runs, next } => Ok((runs, next)),
            other => Err(unexpected(&other)),
        }
    }

    /// Does something to a run; its status afterwards.
    ///
    /// # Errors
    /// The run does not allow it.
    pub fn act(&self, request: Request) -> Result<String, Error> {
        match self.call(request)? {
            Response::Done { status } => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// The bytes of the bundle of that digest, if they are kept.
    ///
    /// # Errors
    /// The holder has gone.
    pub fn definition(&self, digest: &str) -> Result<Option<String>, Error> {
        match self.call(Request::Definition { digest: digest.to_owned() })? {
            Response::Definition { bytes } => Ok(bytes),
            other => Err(unexpected(&other)),
        }
    }

    /// Makes a call of the API: `Service/Method`, with the JSON of its messages.
    ///
    /// # Errors
    /// Those of the call.
    pub fn api(&self, method: &str, request: Value) -> Result<Value, Error> {
        match self.call(Request::Api { method: method.to_owned(), request })? {
            Response::Api { response } => Ok(response),
            other => Err(unexpected(&other)),
        }
    }

    /// Leaves. A holder gives the directory up: see [`Holder::close`].
    pub fn close(self, enough: impl Fn(usize) -> bool) {
        if let Link::Holds(holder) = self.link.into_inner().unwrap_or_else(PoisonError::into_inner)
        {
            holder.close(enough);
        }
    }

    fn connect(&self) -> Result<UnixStream, Error> {
        holder::connect(&self.project).map_err(|_| unsent())
    }

    fn service(&self) -> Option<Arc<Service>> {
        match &*self.link.lock().unwrap_or_else(PoisonError::into_inner) {
            Link::Holds(holder) => Some(holder.service().clone()),
            Link::Attached => None,
        }
    }

    fn open_again(&self) -> Result<(), Error> {
        let found = link(&self.project, self.mode)?;
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = found;
        Ok(())
    }
}

/// Attaches to the holder, or takes the directory.
fn link(project: &Project, mode: Mode) -> Result<Link, Error> {
    let begun = Instant::now();
    loop {
        if let Ok(stream) = holder::connect(project) {
            match ask(stream, &Request::Ping) {
                Ok(_) => return Ok(Link::Attached),
                Err(error) if error.kind == Kind::Version => return Err(error),
                Err(_) => {} // it is about to go
            }
        }
        if let Some(holder) = Holder::take(project, mode)? {
            return Ok(Link::Holds(Box::new(holder)));
        }
        if begun.elapsed() > HANDOVER_MAX {
            let pid = std::fs::read_to_string(project.dir().join("lock")).unwrap_or_default();
            return Err(Error::unavailable(format!(
                "process {} holds {} and does not answer",
                pid.trim(),
                project.dir().display()
            ))
            .suggest("wait for it or end it; nothing is lost"));
        }
        std::thread::sleep(HANDOVER_POLL);
    }
}

/// An answer of a kind that the request does not have.
pub fn unexpected(response: &Response) -> Error {
    let name = serde_json::to_value(response).ok();
    let name = name
        .as_ref()
        .and_then(|value| value.get("answer")?.as_str())
        .unwrap_or("nothing")
        .to_owned();
    Error::new(Kind::Version, format!("the holder answered `{name}`"))
        .suggest("use the same version of reflux on both sides")
}

/// Whether the holder went away while it was listened to.
pub fn is_gone(error: &Error) -> bool {
    *error == unsent() || *error == unanswered()
}

/// The holder went away before it was asked.
fn unsent() -> Error {
    Error::unavailable("the process that held the directory has gone")
        .suggest("run the command again")
}

/// The holder went away after it was asked.
fn unanswered() -> Error {
    Error::unavailable("the process that held the directory has gone without an answer").suggest(
        "see with `reflux show` what has happened, then run the command again if it has not",
    )
}

fn ask(mut stream: UnixStream, request: &Request) -> Result<Response, Error> {
    tell(&mut stream, request)?;
    checked(next(&mut BufReader::new(stream))?)
}

fn read_items(mut stream: UnixStream, request: &Request, to: &SyncSender<Result<Item, Error>>) {
    if let Err(error) = tell(&mut stream, request) {
        drop(to.send(Err(error)));
        return;
    }
    let mut from = BufReader::new(stream);
    loop {
        let sent = match next(&mut from).and_then(checked) {
            Ok(Response::Item { item }) => to.send(Ok(item.0)),
            Ok(Response::Alive) => Ok(()),
            Ok(Response::End) => return,
            Ok(other) => return drop(to.send(Err(unexpected(&other)))),
            Err(error) => return drop(to.send(Err(error))),
        };
        if sent.is_err() {
            return; // nobody reads
        }
    }
}

fn take_items(service: &Arc<Service>, request: Request, to: &SyncSender<Result<Item, Error>>) {
    service.answer(request, &mut |response| match response {
        Response::Item { item } => to.send(Ok(item.0)).is_ok(),
        Response::Error(error) => to.send(Err(error)).is_ok(),
        _ => true,
    });
}

fn tell(stream: &mut UnixStream, request: &Request) -> Result<(), Error> {
    let call = Call { v: VERSION, request: request.clone() };
    write_line(stream, &call).map_err(|error| match error.kind() {
        std::io::ErrorKind::InvalidInput => {
            Error::invalid(format!("the request is too large: {error}"))
                .suggest("keep large data in files and pass their paths")
        }
        _ => unsent(),
    })
}

fn next(from: &mut BufReader<UnixStream>) -> Result<Response, Error> {
    let line = read_line(from).map_err(|_| unanswered())?.ok_or_else(unanswered)?;
    serde_json::from_slice(&line).map_err(|error| {
        Error::new(Kind::Version, format!("unreadable answer: {error}"))
            .suggest("use the same version of reflux on both sides")
    })
}

fn checked(response: Response) -> Result<Response, Error> {
    match response {
        Response::Error(error) => Err(error),
        Response::Leaving => Err(unsent()),
        other => Ok(other),
    }
}
