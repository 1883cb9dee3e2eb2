//! A run as it goes, for those who watch it.
//!
//! ```text
//! engine ─ items, then changes ─→ Telling ─→ RunUpdate ─→ bounded channel ─→ gRPC, SSE, WebSocket
//! ```
//!
//! A watcher that is slow slows its own task, never the run: what it missed is read again.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use reflux_core::Item;
use reflux_engine::Change;
use reflux_proto::api as v1;
use tokio::sync::mpsc;

use super::{convert, runs};
use crate::clock;
use crate::history::Entry;
use crate::net::App;
use crate::story::Telling;
use crate::{Error, Kind};

/// Streams at once: each has a task and what the run told so far.
const STREAMS_MAX: usize = 1_000;
/// Updates between the run and its watcher.
const UNREAD_MAX: usize = 16;
/// Entries of one update: a message stays small however long the run is.
const ENTRIES_MAX: usize = 100;

/// Updates of a run; ends behind the one that says so, or with an error.
pub struct Live {
    updates: mpsc::Receiver<Result<v1::RunUpdate, Error>>,
    _open: Open,
}

impl Live {
    /// The next update.
    pub async fn next(&mut self) -> Option<Result<v1::RunUpdate, Error>> {
        self.updates.recv().await
    }
}

/// Follows a run until it closes, the watcher goes, or the server drains.
///
/// # Errors
/// There is no such run, or there are too many watchers.
pub async fn follow(app: Arc<App>, request: v1::WatchRunRequest) -> Result<Live, Error> {
    let open = Open::take(&app)?;
    let (namespace, run) = (request.namespace, request.run);
    let found = app.call(move |service| {
        let summary = runs::find(service, &namespace, &run)?;
        Ok((convert::run(&summary, clock::now()), summary))
    });
    let (row, summary) = found.await?;
    let (sender, updates) = mpsc::channel(UNREAD_MAX);
    let watcher =
        Watcher { app: app.clone(), row, key: summary.key, after: request.after.into(), sender };
    tokio::spawn(async move {
        tokio::select! {
            () = app.drained() => {}
            () = watcher.sender.closed() => {}
            () = watcher.run() => {}
        }
    });
    Ok(Live { updates, _open: open })
}

struct Watcher {
    app: Arc<App>,
    row: v1::Run,
    key: reflux_core::RunKey,
    /// The ordinal from which on entries are told.
    after: u64,
    sender: mpsc::Sender<Result<v1::RunUpdate, Error>>,
}

impl Watcher {
    async fn run(&self) {
        if let Err(error) = self.follow().await {
            // Nobody listens any more when the other end is gone.
            drop(self.sender.send(Err(error)).await);
        }
    }

    async fn follow(&self) -> Result<(), Error> {
        let mut told = self.after;
        loop {
            // Watched before it is read, so that nothing falls between.
            let mut changes = self.app.engine.watch(&self.key);
            let key = self.key.clone();
            let read = self.app.call(move |service| {
                let items = service.engine().items(&key)?;
                let bundle = Telling::digest(&items).and_then(|digest| service.bundle(&digest));
                Ok((items, bundle))
            });
            let (items, bundle) = read.await?;
            let mut telling = Telling::new(self.key.clone(), bundle);
            let mut known = 0;
            if self.tell(&mut telling, &items, &mut known, &mut told).await.is_none() {
                return Ok(());
            }
            while let Some(Change { items, next, .. }) = changes.recv().await {
                let first = next.saturating_sub(u64::try_from(items.len()).unwrap_or(0));
                if first > known {
                    break; // something was missed: read again
                }
                let new = items.get(usize::try_from(known - first).unwrap_or(usize::MAX)..);
                let new = new.unwrap_or_default();
                if self.tell(&mut telling, new, &mut known, &mut told).await.is_none() {
                    return Ok(());
                }
            }
        }
    }

    /// Goes on with items; `None` when nothing follows any more. A run that has nothing new is told
    /// once, so that its watcher knows how it stands.
    async fn tell(
        &self,
        telling: &mut Telling,
        items: &[Item],
        known: &mut u64,
        told: &mut u64,
    ) -> Option<()> {
        let first_time = *known == 0;
        let mut entries = Vec::new();
        for item in items {
            telling.take(item);
            *known += 1;
            if *known > *told {
                entries.extend(Entry::of(item).map(|entry| convert::entry(&entry)));
            }
            if entries.len() >= ENTRIES_MAX && !telling.is_closed() {
                *told = *known;
                self.send(telling, std::mem::take(&mut entries), *known).await?;
            }
        }
        let news = *known > *told || first_time;
        *told = (*told).max(*known);
        if news {
            self.send(telling, entries, *known).await?;
        }
        (!telling.is_closed()).then_some(())
    }

    async fn send(
        &self,
        telling: &Telling,
        entries: Vec<v1::HistoryEntry>,
        known: u64,
    ) -> Option<()> {
        let glance = telling.glance();
        let update = v1::RunUpdate {
            sequence: convert::count(known),
            entries,
            run: Some(convert::glance(&glance, &self.row, clock::now())),
            usage: Some(convert::usage(glance.tokens, glance.cost_usd)),
            closed: glance.closed.is_some(),
            current_steps: glance.current,
        };
        self.sender.send(Ok(update)).await.ok()
    }
}

/// One of the streams that may be open.
struct Open(Arc<AtomicUsize>);

impl Open {
    fn take(app: &App) -> Result<Self, Error> {
        if app.is_draining() {
            return Err(Error::unavailable("the server is about to stop").suggest("try again"));
        }
        let open = Self(app.streams.clone());
        if open.0.fetch_add(1, Ordering::Relaxed) < STREAMS_MAX {
            return Ok(open);
        }
        Err(Error::new(Kind::Exhausted, format!("{STREAMS_MAX} streams are open already"))
            .suggest("close one, or try again later"))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
