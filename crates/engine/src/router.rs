//! Carries messages between runs, and requests to the partition of their slot.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crossbeam_channel::Sender;
use reflux_core::{
    Command, DeliveryFailure, Header, IdReusePolicy, Message, Rejection, RunKey, SLOTS, Slot,
    Target,
};
use reflux_flow::payload;

use crate::Error;
use crate::mailbox::Internal;
use crate::request::{Ask, Lane, NewRun, Reply, Request, Spec, WhenClosed, WhenOpen, no_reply};
use crate::specs::Specs;

/// Knows which partition has which slots.
pub(crate) struct Router {
    /// The engine's own doors of the partitions, in order of their slots.
    partitions: Vec<Sender<Internal>>,
    specs: Arc<Specs>,
    /// Messages that were sent and not answered, so that none is under way twice. Bounded by the
    /// outboxes of open runs.
    under_way: Mutex<BTreeSet<(RunKey, u64)>>,
}

impl Router {
    pub fn new(partitions: Vec<Sender<Internal>>, specs: Arc<Specs>) -> Self {
        Self { partitions, specs, under_way: Mutex::default() }
    }

    /// The partition of a workflow id: each owns a contiguous range of slots.
    pub fn partition_of(&self, lane: &Lane) -> usize {
        partition_of(Slot::of(&lane.namespace, &lane.workflow_id), self.partitions.len())
    }

    /// Delivers a message of a run's outbox. The source is told how it went; what could not be
    /// tried is tried again later by the source.
    pub fn send(self: &Arc<Self>, source: &RunKey, seq: u64, target: Target, message: Message) {
        if !self.lock().insert((source.clone(), seq)) {
            return;
        }
        let lane = Lane { namespace: target.namespace.clone(), workflow_id: target.workflow_id };
        let ask = match message {
            Message::StartChild { .. } | Message::StartNext { .. } => {
                match self.start(target.run_id, &message) {
                    Some(ask) => ask,
                    None => return self.reply_to(source.clone(), seq)(Err(Error::Stopping)),
                }
            }
            message => Ask::Command {
                run_id: target.run_id,
                first_run: target.first_run,
                command: Command::Deliver { source: source.clone(), seq, message },
            },
        };
        let reply = self.reply_to(source.clone(), seq);
        self.request(Request { lane, ask, reply });
    }

    fn start(&self, run_id: Option<reflux_core::RunId>, message: &Message) -> Option<Ask> {
        let (start, reuse_policy) = match message {
            Message::StartChild { start, reuse_policy, .. } => (start, *reuse_policy),
            Message::StartNext { start } => (start, IdReusePolicy::AllowDuplicate),
            _ => return None,
        };
        let (when_open, when_closed) = policies(reuse_policy);
        Some(Ask::Start(NewRun {
            run_id: run_id?,
            spec: self.spec(&start.header),
            start: Box::new((**start).clone()),
            when_open,
            when_closed,
        }))
    }

    /// The bundle of a flow: a sub-flow may start in a partition that has not seen it.
    fn spec(&self, header: &Header) -> Option<Spec> {
        let digest = <[u8; 32]>::try_from(&*payload::spec_of(header)?.data).ok()?;
        Some(Spec { digest, bytes: self.specs.bytes(&digest)? })
    }

    fn reply_to(self: &Arc<Self>, source: RunKey, seq: u64) -> Reply {
        let router = self.clone();
        Box::new(move |result| {
            router.lock().remove(&(source.clone(), seq));
            let outcome = match result {
                Ok(_) => Ok(()),
                Err(Error::Rejected(Rejection::AlreadyDone(_) | Rejection::AlreadyStarted)) => {
                    Ok(())
                }
                Err(error) if error.is_retryable() => {
                    return router.tell(&source, Internal::Stalled(source.clone()));
                }
                Err(Error::AlreadyStarted { .. }) => Err(DeliveryFailure::AlreadyExists),
                Err(Error::Rejected(Rejection::LimitExceeded { .. })) => {
                    Err(DeliveryFailure::SignalLimit)
                }
                Err(_) => Err(DeliveryFailure::NotFound),
            };
            router.answer(&source, seq, outcome);
        })
    }

    /// Tells a run what became of a message of its outbox.
    pub fn answer(&self, source: &RunKey, seq: u64, outcome: Result<(), DeliveryFailure>) {
        let command = match outcome {
            Ok(()) => Command::AckOutbox { seq },
            Err(reason) => Command::DeliveryFailed { seq, reason },
        };
        self.request(Request {
            lane: Lane::of(source),
            ask: Ask::Command { run_id: Some(source.run_id), first_run: None, command },
            reply: no_reply(),
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<(RunKey, u64)>> {
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A request of the engine's own.
    pub fn request(&self, request: Request) {
        let partition = self.partition_of(&request.lane);
        if let Some(sender) = self.partitions.get(partition) {
            // A partition that has stopped is told again after the next boot: it is in the outbox.
            drop(sender.send(Internal::Request(request)));
        }
    }

    fn tell(&self, run: &RunKey, word: Internal) {
        if let Some(sender) = self.partitions.get(self.partition_of(&Lane::of(run))) {
            drop(sender.send(word));
        }
    }
}

/// The partition of a slot, of so many.
pub(crate) fn partition_of(slot: Slot, partitions: usize) -> usize {
    usize::from(slot.0) * partitions / usize::from(SLOTS)
}

/// What a policy of Temporal's asks for.
#[allow(deprecated)] // Clients still send it.
fn policies(reuse: IdReusePolicy) -> (WhenOpen, WhenClosed) {
    match reuse {
        IdReusePolicy::Unspecified | IdReusePolicy::AllowDuplicate => {
            (WhenOpen::Refuse, WhenClosed::Allow)
        }
        IdReusePolicy::AllowDuplicateFailedOnly => (WhenOpen::Refuse, WhenClosed::AllowFailed),
        IdReusePolicy::RejectDuplicate => (WhenOpen::Refuse, WhenClosed::Refuse),
        IdReusePolicy::TerminateIfRunning => (WhenOpen::Terminate, WhenClosed::Allow),
    }
}
