//! What callers in a runtime ask for: nothing here blocks their threads.

use reflux_core::{Command, EventId, Phase, Run, RunId, RunKey, Worker};
use tokio::sync::oneshot;

use crate::matching::{Offer, Queue};
use crate::request::{Answer, Ask, Lane, Reply, Request, no_reply};
use crate::{Engine, Error, Execution};

impl Engine {
    /// Asks for something and waits until the answer is durable. `look` then reads what the caller
    /// wants of the run, on the partition's thread: it must be cheap. A caller that goes away has
    /// asked all the same.
    ///
    /// # Errors
    /// [`Error::Busy`] when the partition has as many requests as it may; what the request itself
    /// is refused for.
    pub async fn ask<T: Send + 'static>(
        &self,
        lane: Lane,
        ask: Ask,
        look: impl FnOnce(&Answer, &Run) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.ask_execution(lane, ask, move |answer, execution| look(answer, execution.run())).await
    }

    /// As [`Engine::ask`], for who also reads what the partition has at hand of the run's history.
    ///
    /// # Errors
    /// As [`Engine::ask`].
    pub async fn ask_execution<T: Send + 'static>(
        &self,
        lane: Lane,
        ask: Ask,
        look: impl FnOnce(&Answer, &Execution) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, receiver) = oneshot::channel();
        let reply: Reply = Box::new(move |result| {
            // Nobody waits any more when the other end is gone.
            drop(sender.send(result.map(|(answer, execution)| look(answer, execution))));
        });
        self.try_submit(Request { lane, ask, reply });
        receiver.await.unwrap_or(Err(Error::Stopping))
    }

    /// Reads what the caller wants of a run, after everything that was asked of it before; `None`
    /// is the open or latest one of the workflow id. Only what is durable is seen.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Busy`], [`Error::Corrupt`].
    pub async fn look<T: Send + 'static>(
        &self,
        lane: Lane,
        run_id: Option<RunId>,
        look: impl FnOnce(&Run) -> T + Send + 'static,
    ) -> Result<T, Error> {
        self.ask(lane, Ask::Look { run_id }, |_, run| look(run)).await
    }

    /// Waits for something to do in a queue, as long as it takes: the caller sets the limit.
    /// Dropping the future takes the poll back; an offer that was on its way is offered again.
    /// The offer is to be claimed next; that it is refused then means to poll again.
    pub async fn poll(&self, queue: &Queue) -> Offer {
        self.inner.matching.poll(queue).await
    }

    /// Claims an activity for a worker; `look` reads what the worker is told. When the caller goes
    /// away before it has the answer, the claim is given back and the attempt does not count.
    ///
    /// # Errors
    /// [`Error::Rejected`] and [`Error::NotFound`] when it does not wait any more: poll again.
    pub async fn claim_activity<T: Send + 'static>(
        &self,
        run: &RunKey,
        scheduled: EventId,
        worker: Worker,
        look: impl FnOnce(&Answer, &Run) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (lane, run_id) = (Lane::of(run), Some(run.run_id));
        let command = Command::ClaimActivity { scheduled, worker };
        let ask = Ask::Command { run_id, first_run: None, command };
        let router = self.inner.router.clone();
        let claimed = move |answer: &Answer, run: &Run| {
            let attempt = run.activities.get(&scheduled).and_then(|activity| {
                matches!(activity.phase, Phase::Started { .. }).then_some(activity.attempt)
            });
            let (lane, run_id) = (Lane::of(&run.key), Some(run.key.run_id));
            let give_back = attempt.map(|attempt| {
                let command = Command::UnclaimActivity { scheduled, attempt };
                let ask = Ask::Command { run_id, first_run: None, command };
                GiveBack(Some(Box::new(move || {
                    router.request(Request { lane, ask, reply: no_reply() });
                })))
            });
            (look(answer, run), give_back)
        };
        let (told, give_back) = self.ask(lane, ask, claimed).await?;
        if let Some(give_back) = give_back {
            give_back.keep();
        }
        Ok(told)
    }

    /// Claims an activity of this process's nodes that was given back because it had to wait: the
    /// host is then asked to start it again.
    ///
    /// # Errors
    /// [`Error::Rejected`] and [`Error::NotFound`] when it does not wait any more.
    pub async fn claim_local(&self, run: &RunKey, scheduled: EventId) -> Result<(), Error> {
        let worker = self.inner.local.worker.clone();
        let command = Command::ClaimActivity { scheduled, worker };
        let ask = Ask::Command { run_id: Some(run.run_id), first_run: None, command };
        self.ask(Lane::of(run), ask, |_, _| ()).await
    }

    /// As [`Engine::submit`], but refuses instead of waiting for room.
    pub fn try_submit(&self, request: Request) {
        let partition = self.inner.router.partition_of(&request.lane);
        let Some(mailbox) = self.inner.mailboxes.get(partition) else { return };
        match mailbox.requests.try_send(request) {
            Ok(()) => {}
            Err(crossbeam_channel::TrySendError::Full(request)) => {
                crate::metrics::refused(&Error::Busy);
                (request.reply)(Err(Error::Busy));
            }
            Err(crossbeam_channel::TrySendError::Disconnected(request)) => {
                (request.reply)(Err(Error::Stopping));
            }
        }
    }
}

/// Gives a claim back when it is dropped on its way to the caller.
struct GiveBack(Option<Box<dyn FnOnce() + Send>>);

impl GiveBack {
    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for GiveBack {
    fn drop(&mut self) {
        if let Some(give_back) = self.0.take() {
            give_back();
        }
    }
}
