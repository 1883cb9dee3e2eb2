//! Serves the socket: a thread that accepts, and one for each connection.

use std::io::{self, BufReader};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use super::gate::Gate;
use crate::protocol::{Request, Response, read_call, read_line, write_line};
use crate::service::Service;
use crate::{Error, Kind};

/// Connections at once: more terminals than a person has.
const CONNECTIONS_MAX: usize = 64;
/// How long a connection may say nothing, or not take what it is sent.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// Serves until the process ends or the service does: it is not kept alive from here.
/// Gives the gate that requests come in through.
pub(super) fn serve(service: Weak<Service>, listener: UnixListener) -> Result<Arc<Gate>, Error> {
    let gate: Arc<Gate> = Arc::default();
    let entrance = gate.clone();
    let open = Arc::new(AtomicUsize::new(0));
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let (service, open, gate) = (service.clone(), open.clone(), entrance.clone());
            if open.fetch_add(1, Ordering::Relaxed) >= CONNECTIONS_MAX {
                open.fetch_sub(1, Ordering::Relaxed);
                refuse(stream);
                continue;
            }
            let serve = move || {
                if let Err(error) = talk(&service, stream, &gate) {
                    tracing::debug!(%error, "a connection ended");
                }
                open.fetch_sub(1, Ordering::Relaxed);
            };
            drop(std::thread::Builder::new().name("connection".to_owned()).spawn(serve));
        }
    };
    let spawned = std::thread::Builder::new().name("socket".to_owned()).spawn(accept);
    spawned
        .map(|_| gate)
        .map_err(|error| Error::unavailable(format!("cannot start a thread: {error}")))
}

fn talk(service: &Weak<Service>, stream: UnixStream, gate: &Gate) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE_MAX))?;
    stream.set_write_timeout(Some(IDLE_MAX))?;
    let mut to = stream.try_clone()?;
    let mut from = BufReader::new(stream);
    loop {
        let line = match read_line(&mut from) {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                // What follows on this connection is the rest of that line.
                return write_line(&mut to, &Response::Error(Error::invalid(error.to_string())));
            }
            Err(error) => return Err(error),
        };
        let (Some(service), Some(entered)) = (service.upgrade(), gate.enter()) else {
            return send(&mut to, &Response::Leaving);
        };
        let service = &*service;
        let mut broken = Ok(());
        let mut left = false;
        let mut sink = |response: Response| {
            // What stops while the holder leaves goes on with the next one: nobody hears of it.
            left = gate.is_shut() && is_unavailable(&response);
            if !left {
                broken = send(&mut to, &response);
            }
            broken.is_ok() && !left
        };
        match read_call(&line).and_then(|request| refreshed(service, request)) {
            Ok(request) => {
                // A follower follows again; whoever changed something wants to hear that it was done.
                let entered = (!matches!(request, Request::Items { .. })).then_some(entered);
                service.answer(request, &mut sink);
                drop(entered);
            }
            Err(error) => drop(sink(Response::Error(error))),
        }
        broken?;
        if left {
            return Ok(());
        }
    }
}

fn is_unavailable(response: &Response) -> bool {
    matches!(response, Response::Error(error) if error.kind == Kind::Unavailable)
}

/// A start from outside counts on the nodes as they are now.
fn refreshed(service: &Service, request: Request) -> Result<Request, Error> {
    if matches!(request, Request::Start(_)) {
        service.refresh()?;
    }
    Ok(request)
}

fn send(to: &mut UnixStream, response: &Response) -> io::Result<()> {
    match write_line(to, response) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            let error = Error::invalid(format!("the answer is too large: {error}"))
                .suggest("wait until nobody holds the directory, then ask again");
            write_line(to, &Response::Error(error))
        }
        sent => sent,
    }
}

fn refuse(mut stream: UnixStream) {
    let error =
        Error::new(Kind::Unavailable, format!("{CONNECTIONS_MAX} commands are attached already"))
            .suggest("end one of them and try again");
    drop(write_line(&mut stream, &Response::Error(error)));
}
