//! Prepares the next segment before it is needed and removes the ones no longer needed, on a thread
//! of its own: both take as long as hundreds of commits. In manual mode it works in the caller's.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::index::Segment;
use super::segment;
use crate::Files;

/// The committer's view of the helper.
pub(super) struct Helper {
    hands: Hands,
    next: Next,
    retry: Duration,
}

/// A segment to prepare: the largest of the sizes for which there is room.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) size: u64,
    pub(super) size_min: u64,
}

enum Next {
    None,
    Preparing,
    Ready(Segment),
    /// There is no room; `again` says whether another attempt is under way.
    Failed {
        reason: String,
        at: Instant,
        again: bool,
    },
}

enum Hands {
    Here(Workshop, VecDeque<io::Result<Segment>>),
    Thread {
        jobs: Option<Sender<Job>>,
        made: Receiver<io::Result<Segment>>,
        thread: Option<JoinHandle<()>>,
    },
}

enum Job {
    Prepare(Wanted),
    Remove(Vec<u64>),
}

struct Workshop {
    files: Arc<dyn Files>,
    /// Removed strictly in order: a gap between segments would look like a lost one.
    doomed: VecDeque<u64>,
}

impl Helper {
    pub(super) fn here(files: Arc<dyn Files>, retry: Duration) -> Self {
        Self { hands: Hands::Here(Workshop::new(files), VecDeque::new()), next: Next::None, retry }
    }

    pub(super) fn threaded(files: Arc<dyn Files>, retry: Duration) -> io::Result<Self> {
        let (jobs, orders) = channel();
        let (results, made) = channel();
        let mut workshop = Workshop::new(files);
        let thread =
            std::thread::Builder::new().name("log-helper".to_owned()).spawn(move || {
                for job in orders {
                    if let Some(result) = workshop.work(job)
                        && results.send(result).is_err()
                    {
                        break;
                    }
                }
            })?;
        Ok(Self {
            hands: Hands::Thread { jobs: Some(jobs), made, thread: Some(thread) },
            next: Next::None,
            retry,
        })
    }

    /// Starts to prepare a segment, unless one is there, under way, or failed a moment ago.
    pub(super) fn prepare(&mut self, wanted: Wanted) {
        self.collect();
        match &mut self.next {
            Next::None => self.next = Next::Preparing,
            Next::Failed { at, again, .. } if !*again && at.elapsed() >= self.retry => {
                *again = true
            }
            Next::Preparing | Next::Ready(_) | Next::Failed { .. } => return,
        }
        self.order(Job::Prepare(wanted));
        self.collect();
    }

    /// Whether a segment is there, after waiting for a first attempt but not for a repeated one.
    /// An error says why there is no room.
    pub(super) fn ensure(&mut self, wanted: Wanted) -> Result<(), String> {
        self.prepare(wanted);
        if matches!(self.next, Next::Preparing) {
            let result = match &mut self.hands {
                Hands::Here(_, made) => made.pop_front().unwrap_or_else(gone),
                Hands::Thread { made, .. } => made.recv().unwrap_or_else(|_| gone()),
            };
            self.settle(result);
        }
        match &self.next {
            Next::Ready(_) => Ok(()),
            Next::Failed { reason, .. } => Err(reason.clone()),
            Next::None | Next::Preparing => Err("no segment was prepared".to_owned()),
        }
    }

    /// Whether the last attempt found no room.
    pub(super) fn is_out_of_room(&self) -> bool {
        matches!(self.next, Next::Failed { .. })
    }

    /// The segment that is ready.
    pub(super) fn take(&mut self) -> Option<Segment> {
        match std::mem::replace(&mut self.next, Next::None) {
            Next::Ready(segment) => Some(segment),
            other @ (Next::None | Next::Preparing | Next::Failed { .. }) => {
                self.next = other;
                None
            }
        }
    }

    /// Removes segments, oldest first.
    pub(super) fn remove(&mut self, segments: Vec<u64>) {
        if !segments.is_empty() {
            self.order(Job::Remove(segments));
        }
    }

    fn order(&mut self, job: Job) {
        match &mut self.hands {
            Hands::Here(workshop, made) => made.extend(workshop.work(job)),
            Hands::Thread { jobs, .. } => {
                // a helper that is gone is noticed where its result is awaited
                let _ = jobs.as_ref().map(|jobs| jobs.send(job));
            }
        }
    }

    fn collect(&mut self) {
        let result = match &mut self.hands {
            Hands::Here(_, made) => made.pop_front(),
            Hands::Thread { made, .. } => match made.try_recv() {
                Ok(result) => Some(result),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => Some(gone()),
            },
        };
        if let Some(result) = result {
            self.settle(result);
        }
    }

    fn settle(&mut self, result: io::Result<Segment>) {
        self.next = match result {
            Ok(segment) => {
                if self.is_out_of_room() {
                    tracing::info!("the log has room again");
                }
                Next::Ready(segment)
            }
            Err(error) => {
                if !self.is_out_of_room() {
                    tracing::error!(%error, "no room for another log segment: free disk space");
                }
                Next::Failed { reason: error.to_string(), at: Instant::now(), again: false }
            }
        };
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        if let Hands::Thread { jobs, thread, .. } = &mut self.hands {
            jobs.take();
            // nothing may touch the directory once the log is closed
            let _ = thread.take().map(JoinHandle::join);
        }
    }
}

impl Workshop {
    fn new(files: Arc<dyn Files>) -> Self {
        Self { files, doomed: VecDeque::new() }
    }

    fn work(&mut self, job: Job) -> Option<io::Result<Segment>> {
        match job {
            Job::Prepare(wanted) => Some(self.prepare(wanted)),
            Job::Remove(segments) => {
                self.doomed.extend(segments);
                if let Err(error) = self.remove() {
                    tracing::warn!(%error, "cannot remove a trimmed log segment: tried again with the next one");
                }
                None
            }
        }
    }

    fn prepare(&self, wanted: Wanted) -> io::Result<Segment> {
        let mut size = wanted.size;
        loop {
            match segment::create(&*self.files, wanted.number, wanted.salt, size) {
                Err(error) if is_full(&error) && size > wanted.size_min => {
                    size = (size / 4).max(wanted.size_min);
                }
                other => return other,
            }
        }
    }

    fn remove(&mut self) -> io::Result<()> {
        while let Some(number) = self.doomed.front() {
            match self.files.remove(&segment::name(*number)) {
                // it went before, and only the sync failed
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
            self.files.sync_dir()?;
            self.doomed.pop_front();
        }
        Ok(())
    }
}

/// Whether an error is about room rather than about the disk's health.
pub(super) fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

fn gone() -> io::Result<Segment> {
    Err(io::Error::other("the log's helper thread is gone"))
}
