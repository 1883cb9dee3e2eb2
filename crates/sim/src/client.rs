//! Clients and nodes as the server sees them: requests under a number, repeated under the same
//! request id until an answer says what became of them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use reflux_core::{
    AttemptRef, Command, EventId, Payloads, RequestCancel, Resolution, RunId, RunKey, Signal,
    Suspend, Terminate, application_failure,
};
use reflux_engine::{Answer, Ask, Error, Lane, Reply, Request, StartFlow, WhenClosed, WhenOpen};
use reflux_flow::payload;
use serde_json::{Value, json};

use crate::flows::{self, Workload};

/// Namespace of every simulated run.
pub(crate) const NAMESPACE: &str = "default";

/// What the request ids of starts begin with.
pub(crate) const START: &str = "start-";

/// What somebody wants.
#[derive(Debug, Clone)]
pub(crate) enum Wish {
    Start { workload: usize, n: u64, run_id: RunId },
    Signal { run: RunKey, name: Arc<str>, input: Value, token: Arc<str> },
    Cancel { run: RunKey, token: Arc<str> },
    Terminate { run: RunKey },
    Pause { run: RunKey, token: Arc<str> },
    Unpause { run: RunKey, token: Arc<str> },
    Resolve { run: RunKey, scheduled: EventId, how: How },
    Ended { run: RunKey, scheduled: EventId, attempt: u32, how: How },
}

/// How an attempt ended.
#[derive(Debug, Clone)]
pub(crate) enum How {
    Completed(Value),
    Failed,
    FailedForGood,
    Canceled,
    Again,
}

/// A wish that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) wish: Wish,
    /// How often it was asked for before.
    pub(crate) repeats: u32,
    pub(crate) boot: u64,
}

type Replies = Arc<Mutex<Vec<(u64, Result<Answer, Error>)>>>;

/// Everybody outside the server.
#[derive(Default)]
pub(crate) struct Client {
    asked: BTreeMap<u64, Asked>,
    next: u64,
    replies: Replies,
    /// What nobody knows the outcome of: to be asked again.
    pub(crate) uncertain: Vec<Asked>,
}

impl Client {
    /// The request for a wish, under a new number.
    pub(crate) fn ask(
        &mut self,
        wish: Wish,
        repeats: u32,
        boot: u64,
        workloads: &[Workload],
    ) -> Option<(u64, Request)> {
        let number = self.next;
        self.next += 1;
        let replies = self.replies.clone();
        let reply: Reply = Box::new(move |answer| {
            let answer = answer.map(|(answer, _)| answer.clone());
            replies.lock().unwrap_or_else(PoisonError::into_inner).push((number, answer));
        });
        self.asked.insert(number, Asked { wish: wish.clone(), repeats, boot });
        if let Wish::Start { workload, n, run_id } = wish {
            return Some((number, start(workloads.get(workload)?, n, run_id).into_request(reply)));
        }
        let (run, command) = command(wish)?;
        let ask = Ask::Command { run_id: Some(run.run_id), first_run: None, command };
        Some((number, Request { lane: Lane::of(&run), ask, reply }))
    }

    /// Answers that have come, with what they are about.
    pub(crate) fn replies(&mut self) -> Vec<(u64, Asked, Result<Answer, Error>)> {
        let replies =
            std::mem::take(&mut *self.replies.lock().unwrap_or_else(PoisonError::into_inner));
        let known = |(number, answer)| Some((number, self.asked.remove(&number)?, answer));
        replies.into_iter().filter_map(known).collect()
    }

    /// A process is gone: its answers will not come any more.
    pub(crate) fn lost(&mut self, boot: u64) {
        let gone: Vec<u64> =
            self.asked.iter().filter(|(_, asked)| asked.boot == boot).map(|(n, _)| *n).collect();
        for number in gone {
            self.uncertain.extend(self.asked.remove(&number));
        }
    }

    /// Whether nobody waits for an answer.
    pub(crate) fn is_idle(&self) -> bool {
        self.asked.is_empty() && self.uncertain.is_empty()
    }
}

/// The workflow id of a run that a client starts.
pub(crate) fn workflow_id(workload: &Workload, n: u64) -> String {
    format!("{}-{n}", workload.name)
}

/// Equal for every repetition of one start.
pub(crate) fn request_id(n: u64) -> Arc<str> {
    format!("{START}{n}").into()
}

fn start(workload: &Workload, n: u64, run_id: RunId) -> StartFlow {
    StartFlow {
        namespace: NAMESPACE.into(),
        workflow_id: workflow_id(workload, n).into(),
        run_id,
        spec: workload.spec.clone(),
        flow: workload.name.clone(),
        input: payload::of_value(&flows::input(workload, n)),
        request_id: request_id(n),
        when_open: WhenOpen::Refuse,
        when_closed: WhenClosed::Allow,
        identity: "sim".into(),
    }
}

fn command(wish: Wish) -> Option<(RunKey, Command)> {
    let suspend =
        |token| Suspend { reason: "sim".into(), identity: "sim".into(), request_id: token };
    Some(match wish {
        Wish::Start { .. } => return None,
        Wish::Signal { run, name, input, token } => {
            let input = payload::of_value(&input);
            let identity = "sim".into();
            (
                run,
                Command::Signal(Signal {
                    name,
                    input,
                    identity,
                    request_id: token,
                    ..Signal::default()
                }),
            )
        }
        Wish::Cancel { run, token } => {
            let reason = "sim".into();
            let cancel = RequestCancel { reason, identity: "sim".into(), request_id: token };
            (run, Command::RequestCancel(cancel))
        }
        Wish::Terminate { run } => {
            let terminate = Terminate {
                reason: "sim".into(),
                details: Payloads::default(),
                identity: "sim".into(),
            };
            (run, Command::Terminate(terminate))
        }
        Wish::Pause { run, token } => (run, Command::Pause(suspend(token))),
        Wish::Unpause { run, token } => (run, Command::Unpause(suspend(token))),
        Wish::Resolve { run, scheduled, how } => {
            let resolution = match how {
                How::Completed(value) => Resolution::Complete(payload::of_value(&value)),
                How::Again => Resolution::Retry,
                How::Failed | How::FailedForGood | How::Canceled => {
                    Resolution::Fail(application_failure("it did not happen", "Sim", true).into())
                }
            };
            (run, Command::Resolve { scheduled, resolution, identity: "sim".into() })
        }
        Wish::Ended { run, scheduled, attempt, how } => {
            let at = AttemptRef { scheduled, attempt, started_at: None };
            let failed = |for_good| Command::FailActivity {
                at,
                failure: application_failure("as simulated", "Sim", for_good).into(),
                next_retry_delay: None,
                report: None,
            };
            let command = match how {
                How::Completed(value) => Command::CompleteActivity {
                    at,
                    result: payload::of_value(&value),
                    report: None,
                },
                How::Failed | How::Again => failed(false),
                How::FailedForGood => failed(true),
                How::Canceled => {
                    Command::CancelActivity { at, details: Payloads::default(), report: None }
                }
            };
            (run, command)
        }
    })
}

/// A person's yes to the one step that asks.
pub(crate) fn approval() -> Value {
    json!({ "approved": true, "by": "sim", "step": "ask" })
}
