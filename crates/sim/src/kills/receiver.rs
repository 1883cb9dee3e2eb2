//! Counts the calls of nodes, and which life of the killed process made them.
//!
//! A process that has died may have left requests in the kernel's buffers; they are read before the
//! next one starts, so that each call belongs to the life that made it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest wait for what a dead process has left in the kernel.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on loopback.
pub(super) struct Receiver {
    pub(super) url: String,
    at: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    calls: Mutex<BTreeMap<String, Vec<u32>>>,
    life: AtomicU32,
    latest: Mutex<Option<SocketAddr>>,
    connected: AtomicU64,
    open: AtomicU64,
    events: AtomicU64,
}

impl Receiver {
    pub(super) fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let at = listener.local_addr()?;
        let url = format!("http://{at}");
        let state: Arc<State> = Arc::default();
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = shared.clone();
                state.connected.fetch_add(1, Ordering::SeqCst);
                *lock(&state.latest) = stream.peer_addr().ok();
                std::thread::spawn(move || {
                    drop(serve(stream, &state));
                    state.connected.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Ok(Self { url, at, state })
    }

    /// By path, the lives that called it, in order.
    pub(super) fn calls(&self) -> BTreeMap<String, Vec<u32>> {
        lock(&self.state.calls).clone()
    }

    /// How often a path was called.
    pub(super) fn count(&self, path: &str) -> usize {
        lock(&self.state.calls).get(path).map_or(0, Vec::len)
    }

    /// Reads what a dead process has left; calls belong to the next life from here on.
    pub(super) fn bury(&self) -> Result<(), String> {
        // Connections are accepted in order: behind this one, none of the dead is left.
        let own = TcpStream::connect(self.at).map_err(|error| error.to_string())?;
        let address = own.local_addr().map_err(|error| error.to_string())?;
        let begun = Instant::now();
        while *lock(&self.state.latest) != Some(address)
            || self.state.connected.load(Ordering::SeqCst) > 1
        {
            if begun.elapsed() > PATIENCE {
                return Err("connections of a dead process do not end".to_owned());
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        drop(own);
        self.state.life.fetch_add(1, Ordering::SeqCst);
        Ok(())
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
        let life = state.life.load(Ordering::SeqCst);
        lock(&state.calls).entry(path).or_default().push(life);
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
