//! Polls: they wait for an offer, and what nobody takes any more is given back.

use std::time::Duration;

use reflux_core::Rejection;
use reflux_engine::{Answer, Ask, Error, Execution, Lane, Offer, Queue};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tonic::Status;

use super::Frontend;
use super::errors::refused;
use super::tokens::Task;

/// Between two tries to claim what was offered: nobody else has the offer, so it is not given up.
const CLAIM_AGAIN: Duration = Duration::from_millis(50);

/// How often a poll looks whether what a rate or a circuit held may go: a tenth of a second is less
/// than anybody sees, and a thousand polls cost a core some percent.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often it looks whether there are rates and circuits at all.
const LOOK_FOR_GATES: Duration = Duration::from_secs(10);

impl Frontend {
    /// The next offer of a queue; `None` when it is time, or the server stops.
    pub(super) async fn next_offer(&self, queue: &Queue, until: Instant) -> Option<Offer> {
        loop {
            let look = if self.app.engine.gates().is_any() { LOOK_AGAIN } else { LOOK_FOR_GATES };
            let again = (Instant::now() + look).min(until);
            tokio::select! {
                biased;
                () = self.app.drained() => return None,
                offer = self.app.engine.poll(queue) => return Some(offer),
                () = tokio::time::sleep_until(again) => {}
            }
            if Instant::now() >= until {
                return None;
            }
        }
    }

    /// Claims what was offered; `None` when another has it, or it is over.
    ///
    /// # Errors
    /// The server stops.
    pub(super) async fn claim<T: Send + 'static>(
        &self,
        lane: Lane,
        ask: impl Fn() -> Ask,
        look: impl FnOnce(&Answer, &Execution) -> T + Clone + Send + 'static,
    ) -> Result<Option<T>, Status> {
        loop {
            match self.app.engine.ask_execution(lane.clone(), ask(), look.clone()).await {
                Ok(claimed) => return Ok(Some(claimed)),
                Err(Error::NotFound { .. } | Error::Rejected(_)) => return Ok(None),
                Err(error) if error.is_retryable() && !self.app.is_draining() => {
                    tokio::time::sleep(CLAIM_AGAIN).await;
                }
                Err(error) => return Err(refused(error)),
            }
        }
    }

    /// Carries out a claim also when the poll that asked for it has gone: then the task is given
    /// back.
    pub(super) async fn delivered<T: Send + 'static>(
        &self,
        claim: impl Future<Output = Result<Option<(T, Task)>, Status>> + Send + 'static,
    ) -> Result<Option<T>, Status> {
        let (give, take) = oneshot::channel();
        let frontend = self.clone();
        tokio::spawn(async move {
            if let Err(Ok(Some((_, task)))) = give.send(claim.await) {
                frontend.give_back(task).await;
            }
        });
        match take.await {
            Ok(claimed) => Ok(claimed?.map(|(answer, _)| answer)),
            Err(_) => Err(Status::unavailable("the server is stopping; poll again")),
        }
    }

    /// What a worker was to get and did not.
    pub(super) async fn give_back(&self, task: Task) {
        let run = task.run().clone();
        let command = match &task {
            Task::Activity { scheduled, attempt, .. } => {
                reflux_core::Command::UnclaimActivity { scheduled: *scheduled, attempt: *attempt }
            }
            Task::Workflow { scheduled, attempt, .. } => reflux_core::Command::FailTask {
                scheduled: *scheduled,
                attempt: *attempt,
                cause: reflux_core::TaskFailedCause::Unspecified,
                failure: None,
                identity: "reflux".into(),
            },
            // Whoever asked waits for an answer in vain, and asks again.
            Task::Query { .. } => return,
        };
        let ask = Ask::Command { run_id: Some(run.run_id), first_run: None, command };
        match self.app.engine.ask(Lane::of(&run), ask, |_, _| ()).await {
            Ok(()) | Err(Error::Rejected(Rejection::AlreadyClosed | Rejection::Stale { .. })) => {}
            // Its time-out brings it back.
            Err(error) => tracing::debug!(run = %run, %error, "a task could not be given back"),
        }
    }
}
