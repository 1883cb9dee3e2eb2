//! Counts the calls of nodes.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// A server on loopback.
pub(super) struct Receiver {
    pub(super) url: String,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    calls: Mutex<BTreeMap<String, u32>>,
    open: AtomicU64,
    events: AtomicU64,
}

impl Receiver {
    pub(super) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let state: Arc<State> = Arc::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                std::thread::spawn(move || drop(serve(stream, &state)));
            }
        });
        Ok(Self { url, state })
    }

    /// Calls by path.
    pub(super) fn calls(&self) -> BTreeMap<String, u32> {
        self.state.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Calls that are not answered.
    pub(super) fn open(&self) -> u64 {
        self.state.open.load(Ordering::Relaxed)
    }

    /// Beginnings and ends of calls so far.
    pub(super) fn events(&self) -> u64 {
        self.state.events.load(Ordering::Relaxed)
    }
}

fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut from = BufReader::new(stream.try_clone()?);
    let mut to = stream;
    loop {
        let mut line = String::new();
        if from.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        let mut length = 0;
        loop {
            let mut header = String::new();
            if from.read_line(&mut header)? == 0 || header.trim().is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap_or(0);
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body)?;
        *state.calls.lock().unwrap_or_else(PoisonError::into_inner).entry(path).or_default() += 1;
        state.open.fetch_add(1, Ordering::Relaxed);
        state.events.fetch_add(1, Ordering::Relaxed);
        // Long enough that many kills strike a call.
        std::thread::sleep(Duration::from_millis(8));
        state.open.fetch_sub(1, Ordering::Relaxed);
        state.events.fetch_add(1, Ordering::Relaxed);
        to.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
        )?;
    }
}
