//! What a run did, and what of it another one may take over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reflux_core::{EffectClass, Payloads, RunId, RunKey, Signal, Timestamp};
use serde_json::Value;

use super::{Kept, Key, Memo, Refused, Remaining, Scope, Untaken};
use crate::graph::{Action, Bundle, Flow, StepId};
use crate::name::suggest;
use crate::progress::{Activation, Progress};

/// Bytes of a result that is taken over; a longer one is made again. A marker may have 2 MiB.
const RESULT_BYTES_MAX: usize = 2 * 1024 * 1024 - 64 * 1024;

/// A run as a base of another one.
#[derive(Debug, Clone)]
pub struct Base {
    /// Where it stands.
    pub progress: Progress,
    /// What it did, in the order in which it began.
    pub past: Vec<Past>,
    /// The signals it got, in order.
    pub(super) signals: Vec<Received>,
    /// Its start's input.
    pub input: Payloads,
    /// First run of its chain.
    pub first_run: RunId,
    /// How many re-drives lie behind it.
    pub epoch: u32,
    /// Failed visits that a route handled.
    pub(super) handled: BTreeSet<(StepId, u32)>,
    /// Steps whose compensation was called: their effects are gone.
    pub(super) taken_back: BTreeSet<StepId>,
    /// When each event was decided.
    pub(super) times: BTreeMap<i64, Timestamp>,
    /// When it closed; `None` while it is open.
    pub closed: Option<Timestamp>,
}

/// An activation of the base.
#[derive(Debug, Clone)]
pub struct Past {
    /// Its id.
    pub id: String,
    /// Which it is.
    pub activation: Activation,
    /// What it did.
    pub work: PastWork,
    /// What its result is found by.
    pub key: Option<Key>,
    /// The event in which it began.
    pub begun: i64,
    /// The event in which it ended.
    pub ended: Option<i64>,
    /// What it gave.
    pub result: Option<Result<Value, Value>>,
}

/// What an activation of the base did.
#[derive(Debug, Clone)]
pub enum PastWork {
    /// It called a node.
    Node {
        /// Which.
        name: Arc<str>,
        /// The exact version.
        version: Arc<str>,
        /// Digest of the input.
        input: [u8; 32],
        /// What calling it again could do.
        effects: Option<EffectClass>,
    },
    /// It ran a flow.
    Flow {
        /// Digest of its definition with all that it can call.
        version: Arc<str>,
        /// Digest of the input.
        input: [u8; 32],
        /// The run, once that is known.
        run: Option<RunKey>,
    },
    /// It waited for a time.
    Timer {
        /// When the time is over.
        due: Timestamp,
        /// How long it was.
        whole: u64,
    },
    /// It waited for somebody.
    Wait,
    /// It took a result over from an earlier run.
    Reuse {
        /// The exact version of what had been called, if that was noted.
        version: Option<Arc<str>>,
    },
}

impl PastWork {
    /// The exact version of what was called, if something was and that was noted.
    fn version(&self) -> Option<Arc<str>> {
        match self {
            Self::Node { version, .. } | Self::Flow { version, .. } => Some(version.clone()),
            Self::Reuse { version } => version.clone(),
            Self::Timer { .. } | Self::Wait => None,
        }
    }
}

#[derive(Debug, Clone)]
pub(super) struct Received {
    pub(super) event: i64,
    pub(super) signal: Signal,
    pub(super) value: Value,
    /// The activation that took it.
    pub(super) taken: Option<String>,
}

impl Base {
    /// The run's definition as it is now: changes of the running run are in it, spawned steps are
    /// not.
    pub fn definition(&self) -> Bundle {
        let mut flow = Flow::clone(self.progress.flow());
        flow.steps.retain(|step| !step.id.as_str().contains('/'));
        flow.index = flow.steps.iter().enumerate().map(|(at, it)| (it.id.clone(), at)).collect();
        let mut bundle = Bundle::clone(self.progress.bundle());
        bundle.flows.insert(flow.name.clone(), Arc::new(flow));
        bundle
    }

    /// The signals that the new run is given again, in order: those that a repeated wait had taken
    /// are not among them.
    ///
    /// # Errors
    /// As [`Base::memo`].
    pub fn signals(&self, scope: &Scope) -> Result<Vec<Signal>, Refused> {
        let forced = scope.forced(self)?;
        let until = match scope {
            Scope::Event(event) => *event,
            _ => i64::MAX,
        };
        let again = self.signals.iter().filter(|received| {
            received.event <= until
                && !received.taken.as_ref().is_some_and(|taken| forced.contains(taken))
        });
        Ok(again.map(|received| received.signal.clone()).collect())
    }

    /// What a run of the flow `next` may take over.
    ///
    /// # Errors
    /// The scope or an output names what is not there.
    pub fn memo(
        &self,
        scope: &Scope,
        outputs: BTreeMap<String, Value>,
        next: &Flow,
        now: Timestamp,
    ) -> Result<Memo, Refused> {
        if let Scope::Event(event) = scope
            && !self.times.contains_key(event)
        {
            let last = self.times.keys().next_back().copied().unwrap_or_default();
            return Err(Refused::new(format!("the base has no event {event}; its last is {last}")));
        }
        let forced = scope.forced(self)?;
        outputs.iter().try_for_each(|(id, output)| check_output(id, output, next))?;
        let mut memo = Memo { overrides: outputs, ..Memo::default() };
        memo.results = self.results(scope, &forced, false);
        memo.timers = self.remaining(scope, &forced, now);
        memo.forced = forced;
        Ok(memo)
    }

    /// What the re-drive of a sub-run may take over: what people answered too, and what they sent
    /// and nothing had taken, because nobody can send it the signals of its base.
    pub fn memo_of_child(&self, now: Timestamp) -> Memo {
        let (scope, forced) = (Scope::Rest, BTreeSet::new());
        let untaken = self.signals.iter().filter(|received| received.taken.is_none());
        Memo {
            results: self.results(&scope, &forced, true),
            timers: self.remaining(&scope, &forced, now),
            signals: untaken
                .map(|it| Untaken { name: it.signal.name.to_string(), value: it.value.clone() })
                .collect(),
            ..Memo::default()
        }
    }

    /// The sub-runs that are re-driven rather than started anew: those that did not end well, and
    /// the one that the scope names.
    ///
    /// # Errors
    /// As [`Base::memo`].
    pub fn children(&self, scope: &Scope) -> Result<Vec<(String, RunKey)>, Refused> {
        let forced = scope.forced(self)?;
        let is_named = matches!(scope, Scope::SubRun(_));
        Ok(self
            .past
            .iter()
            .filter_map(|past| match &past.work {
                PastWork::Flow { run: Some(run), .. } => {
                    let again = match forced.contains(&past.id) {
                        true => is_named,
                        false => !matches!(past.result, Some(Ok(_))),
                    };
                    again.then(|| (past.id.clone(), run.clone()))
                }
                _ => None,
            })
            .collect())
    }

    /// What a re-drive without a scope does again.
    pub fn again(&self) -> impl Iterator<Item = &Past> {
        // What began anew, at another node perhaps, counts as it ended.
        let last: BTreeMap<&str, usize> =
            self.past.iter().enumerate().map(|(at, past)| (past.id.as_str(), at)).collect();
        let counts = move |at: usize, past: &Past| last.get(past.id.as_str()) == Some(&at);
        self.past.iter().enumerate().filter_map(move |(at, past)| {
            let is_done = matches!(past.result, Some(Ok(_)));
            let again = !is_done || self.taken_back.contains(&past.activation.step);
            (again && counts(at, past)).then_some(past)
        })
    }

    /// What an activation of that id did last.
    pub fn past_of(&self, id: &str) -> Option<&Past> {
        self.past.iter().rev().find(|past| past.id == id)
    }

    fn results(&self, scope: &Scope, forced: &BTreeSet<String>, waits: bool) -> Vec<Kept> {
        let kept = self.past.iter().filter(|past| {
            let is_wait = matches!(past.work, PastWork::Wait);
            !forced.contains(&past.id)
                && !self.taken_back.contains(&past.activation.step)
                && (waits || !is_wait)
        });
        kept.filter_map(|past| {
            let (output, error) = match past.result.as_ref()? {
                Ok(output) => (output.clone(), None),
                Err(error) => {
                    let visit = (past.activation.step.clone(), past.activation.visit);
                    let keeps = scope.keeps_handled() && self.handled.contains(&visit);
                    (Value::Null, Some(error.clone()).filter(|_| keeps)?.into())
                }
            };
            let long = output.to_string().len() > RESULT_BYTES_MAX;
            (!long).then_some(Kept {
                activation: past.id.clone(),
                key: past.key?,
                version: past.work.version(),
                output,
                error,
                event: past.ended?,
            })
        })
        .collect()
    }

    fn remaining(
        &self,
        scope: &Scope,
        forced: &BTreeSet<String>,
        now: Timestamp,
    ) -> Vec<Remaining> {
        let as_of = match scope {
            Scope::Event(event) => self.times.get(event).copied(),
            _ => self.closed,
        };
        let as_of = as_of.unwrap_or(now);
        let timers = self.past.iter().filter_map(|past| match past.work {
            // At a fork, what began before it and ended after it was under way.
            PastWork::Timer { due, whole } => {
                let begun = match scope {
                    Scope::Event(event) => past.begun <= *event,
                    _ => past.ended.is_none() && !forced.contains(&past.id),
                };
                let left = u64::try_from(due.since(as_of).as_nanos()).unwrap_or(u64::MAX);
                let activation = past.id.clone();
                (begun && due > as_of).then_some(Remaining { activation, whole, left })
            }
            _ => None,
        });
        timers.collect()
    }
}

/// Whether a person can give the output of an activation.
fn check_output(id: &str, output: &Value, flow: &Flow) -> Result<(), Refused> {
    if output.to_string().len() > RESULT_BYTES_MAX {
        return Err(Refused::new(format!(
            "the output given for `{}` is over 2 MiB; keep it elsewhere and give a reference",
            id.escape_debug()
        )));
    }
    let activation = Activation::parse(id).filter(|it| !it.compensates);
    let step = activation.as_ref().and_then(|it| flow.step(it.step.as_str()));
    match step {
        // A spawned step is not in the definition, but may be in the run.
        None if activation.as_ref().is_some_and(|it| it.step.as_str().contains('/')) => Ok(()),
        None => {
            let known = flow.steps.iter().map(|step| step.id.as_str());
            let hint =
                suggest(id, known).map_or(String::new(), |it| format!("; did you mean `{it}`?"));
            let id = id.escape_debug();
            Err(Refused::new(format!("an output is given for `{id}`, which is no step{hint}")))
        }
        Some(step) if step.action == Action::Pass => Err(Refused::new(format!(
            "step `{id}` only joins others and has no output; give that of another step"
        ))),
        Some(_) => Ok(()),
    }
}
