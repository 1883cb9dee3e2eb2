//! Follows runs while they go: what began, what ended, what is waited for.

mod bar;
mod tell;

pub use tell::reason;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use reflux_core::Item;
use reflux_flow::graph::Bundle;
use reflux_server::client::{Client, Mode, is_gone};
use reflux_server::protocol::RunRef;
use reflux_server::story::{Story, Telling};
use reflux_server::{Error, Project};

use crate::interrupt;
use crate::live::bar::Bar;
use crate::live::tell::Teller;
use crate::out::Out;

/// How often the display follows: what a person can still read.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// How long an interrupted command waits for nodes that must not be cut off.
const GRACE: Duration = Duration::from_secs(5);
/// How long leaving may take before it is explained.
const PATIENCE: Duration = Duration::from_millis(300);

/// How following ended.
pub enum Followed {
    /// The run closed.
    Closed(Box<Story>),
    /// The run waits for nothing but people.
    ForPeople(Box<Story>),
    /// The person at the keyboard wants to leave.
    Interrupted,
}

/// A session at a project's runs that survives the end of the process that holds them.
pub struct Session {
    client: Option<Client>,
    news: Receiver<News>,
    to_news: Sender<News>,
}

enum News {
    Item(u64, Result<Item, Error>),
    End(u64),
    Interrupt,
}

impl Session {
    /// A session that works: nodes are called here, unless another process does.
    pub fn open(project: &Project) -> Result<Self, Error> {
        let (to_news, news) = channel();
        interrupt::listen(to_news.clone(), || News::Interrupt);
        let client = Client::open(project, Mode::Work)?;
        Ok(Self { client: Some(client), news, to_news })
    }

    /// The way to the runs.
    pub fn client(&self) -> Result<&Client, Error> {
        self.client.as_ref().ok_or_else(|| Error::unavailable("the session has ended"))
    }

    /// Follows a run to its end, or until only people can go on, if that is enough.
    pub fn follow(
        &mut self,
        run: &RunRef,
        bundle: Option<Arc<Bundle>>,
        people_are_enough: bool,
        out: &Out,
    ) -> Result<Followed, Error> {
        let mut teller = Teller::new();
        let mut bar = Bar::new(out);
        let mut stream = 0;
        loop {
            stream += 1; // items of an earlier stream may still be under way
            let mut telling = Telling::new(run.key(), bundle.clone());
            self.subscribe(run, stream)?;
            let followed =
                self.read(stream, &mut telling, &mut teller, &mut bar, people_are_enough);
            match followed {
                Err(error) if is_gone(&error) => {} // the work goes on here, or with the next
                other => {
                    bar.clear();
                    return other;
                }
            }
        }
    }

    /// Leaves. What others wait for in this process may end, unless a person is in a hurry.
    pub fn close(mut self, interrupted: bool, out: &Out) {
        let Some(client) = self.client.take() else { return };
        let begun = Instant::now();
        let told = std::cell::Cell::new(false);
        client.close(|running| {
            let hurry = matches!(self.news.try_recv(), Ok(News::Interrupt));
            if begun.elapsed() > PATIENCE && !told.replace(true) {
                let steps = if running == 1 {
                    "1 step that is".to_owned()
                } else {
                    format!("{running} steps that are")
                };
                out.note(format!("waiting for {steps} under way; press Ctrl-C to leave at once"));
            }
            hurry || (interrupted && begun.elapsed() > GRACE)
        });
    }

    fn subscribe(&self, run: &RunRef, stream: u64) -> Result<(), Error> {
        let items = self.client()?.items(run, true)?;
        let news = self.to_news.clone();
        let forward = move || {
            for item in items {
                if news.send(News::Item(stream, item)).is_err() {
                    return;
                }
            }
            let _ = news.send(News::End(stream));
        };
        let spawned = std::thread::Builder::new().name("follow".to_owned()).spawn(forward);
        spawned
            .map(drop)
            .map_err(|error| Error::unavailable(format!("cannot start a thread: {error}")))
    }

    fn read(
        &self,
        stream: u64,
        telling: &mut Telling,
        teller: &mut Teller,
        bar: &mut Bar<'_>,
        people_are_enough: bool,
    ) -> Result<Followed, Error> {
        let mut shown = Instant::now();
        let mut changed = false;
        loop {
            let news = self.news.recv_timeout(SHOW_EVERY.saturating_sub(shown.elapsed()));
            match news {
                Ok(News::Interrupt) => return Ok(Followed::Interrupted),
                Ok(News::Item(from, item)) if from == stream => {
                    telling.take(&item?);
                    changed = true;
                    if telling.is_closed() {
                        let story = telling.story();
                        teller.tell(&story, bar);
                        return Ok(Followed::Closed(Box::new(story)));
                    }
                }
                Ok(News::End(from)) if from == stream => {
                    return Err(Error::unavailable("the run's news ended early"));
                }
                Ok(News::Item(..) | News::End(_))
                | Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
            }
            if shown.elapsed() >= SHOW_EVERY {
                shown = Instant::now();
                if std::mem::take(&mut changed) {
                    let story = telling.story();
                    teller.tell(&story, bar);
                    let people = !story.waits_for.is_empty()
                        && story.waits_for.iter().all(|wait| wait.is_for_a_person());
                    if people_are_enough && people {
                        return Ok(Followed::ForPeople(Box::new(story)));
                    }
                    bar.set(story);
                }
                bar.tick();
            }
        }
    }
}
