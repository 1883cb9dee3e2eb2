//! Holds what clients and nodes were told against what the log says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use reflux_core::{AttemptOutcome, EventId, Rejection, RunKey, Status};
use reflux_engine::{Answer, Attempt, Error};
use reflux_flow::payload;

use crate::client::{Asked, How, Wish, request_id};
use crate::flows::Workload;
use crate::model::{Facts, Model};

/// What was promised so far.
#[derive(Default)]
pub(crate) struct Oracle {
    /// The run that each acknowledged start is.
    pub(crate) starts: BTreeMap<u64, (usize, RunKey)>,
    signals: BTreeSet<(RunKey, Arc<str>)>,
    completed: BTreeSet<(RunKey, EventId)>,
    terminated: BTreeSet<RunKey>,
    calls: BTreeMap<(RunKey, EventId), BTreeMap<u32, u32>>,
    /// Acknowledgements of any kind.
    pub(crate) acknowledged: u64,
}

/// What the one who asked does next.
pub(crate) enum Next {
    Nothing,
    AskAgain,
}

impl Oracle {
    /// A node was called. A process that does not know yet that it was replaced may call late what
    /// it had begun before.
    pub(crate) fn called(
        &mut self,
        model: &Model,
        attempt: &Attempt,
        by_zombie: bool,
    ) -> Result<(), String> {
        let name = format!("{} of {} in {}", attempt.attempt, attempt.activity_id, attempt.run);
        let key = (attempt.run.clone(), attempt.scheduled);
        let facts = model.run(&attempt.run);
        if !facts.is_some_and(|it| it.attempts.contains(&(attempt.scheduled, attempt.attempt))) {
            return Err(format!("attempt {name} was called before it was durable as begun"));
        }
        if !by_zombie && self.completed.contains(&key) {
            return Err(format!("attempt {name} was called after its step was acknowledged"));
        }
        let calls = self.calls.entry(key).or_default();
        let count = calls.entry(attempt.attempt).or_default();
        *count += 1;
        if *count > 1 {
            return Err(format!("attempt {name} was called twice"));
        }
        let recorded = facts.map_or(0, |facts| facts.attempts_of(attempt.scheduled));
        if calls.len() > recorded {
            return Err(format!("{} calls for {recorded} attempts: {name}", calls.len()));
        }
        Ok(())
    }

    /// An answer came. What it promises must be durable; what it refuses must not.
    pub(crate) fn answered(
        &mut self,
        model: &Model,
        asked: &Asked,
        answer: &Result<Answer, Error>,
    ) -> Result<Next, String> {
        match answer {
            Ok(answer) => {
                self.acknowledged += 1;
                self.promised(model, &asked.wish, answer)?;
                Ok(Next::Nothing)
            }
            Err(Error::Rejected(Rejection::AlreadyDone(_))) => Ok(Next::Nothing),
            Err(error) if error.is_retryable() => {
                if asked.repeats == 0 {
                    not_done(model, &asked.wish, error)?;
                }
                Ok(Next::AskAgain)
            }
            Err(error) => match &asked.wish {
                Wish::Start { n, .. } => Err(format!("start {n} was refused: {error}")),
                _ => Ok(Next::Nothing),
            },
        }
    }

    fn promised(&mut self, model: &Model, wish: &Wish, answer: &Answer) -> Result<(), String> {
        let facts = |run: &RunKey| {
            model
                .run(run)
                .ok_or_else(|| format!("{wish:?} was acknowledged, but the log has no such run"))
        };
        let lost = || Err(format!("{wish:?} was acknowledged, but the log does not have it"));
        match wish {
            Wish::Start { workload, n, .. } => {
                let run = &answer.run;
                if model.started.get(&request_id(*n)) != Some(run) {
                    return lost();
                }
                let left = |run: &RunKey| model.run(run).is_some_and(|it| it.run.retired);
                if let Some((_, before)) = self.starts.insert(*n, (*workload, run.clone()))
                    && before != *run
                    && !left(&before)
                {
                    return Err(format!("start {n} is {before} and {run}"));
                }
            }
            Wish::Signal { run, token, .. } => {
                if facts(run)?.signals.get(token) != Some(&1) {
                    return lost();
                }
                self.signals.insert((run.clone(), token.clone()));
            }
            Wish::Cancel { run, .. } if facts(run)?.cancels == 0 => return lost(),
            Wish::Terminate { run } => {
                if !facts(run)?.terminated {
                    return lost();
                }
                self.terminated.insert(run.clone());
            }
            Wish::Resolve { run, scheduled, how: How::Completed(_) } => {
                if !facts(run)?.completed.contains(scheduled) {
                    return lost();
                }
                self.completed.insert((run.clone(), *scheduled));
            }
            Wish::Ended { run, scheduled, attempt, how } => {
                let facts = facts(run)?;
                let ended = facts.ended.get(&(*scheduled, *attempt));
                match how {
                    How::Completed(_) => {
                        if !facts.completed.contains(scheduled) {
                            return lost();
                        }
                        self.completed.insert((run.clone(), *scheduled));
                    }
                    How::Failed | How::FailedForGood | How::Again => {
                        if ended != Some(&AttemptOutcome::Failed) {
                            return lost();
                        }
                    }
                    How::Canceled if ended.is_none() => return lost(),
                    How::Canceled => {}
                }
            }
            Wish::Cancel { .. }
            | Wish::Pause { .. }
            | Wish::Unpause { .. }
            | Wish::Resolve { .. } => {}
        }
        Ok(())
    }

    /// Everything that was ever promised still holds, and every run has ended as its flow says.
    pub(crate) fn settled(&self, model: &Model, workloads: &[Workload]) -> Result<(), String> {
        for (run, token) in &self.signals {
            if model.run(run).and_then(|facts| facts.signals.get(token)) != Some(&1) {
                return Err(format!(
                    "signal {token} to {run} was acknowledged and is lost or doubled"
                ));
            }
        }
        for (run, scheduled) in &self.completed {
            if !model.run(run).is_some_and(|facts| facts.completed.contains(scheduled)) {
                return Err(format!("activity {scheduled} of {run} was acknowledged and is lost"));
            }
        }
        for run in &self.terminated {
            if !model.run(run).is_some_and(|facts| facts.run.status == Status::Terminated) {
                return Err(format!("{run} was terminated and is not"));
            }
        }
        for ((run, scheduled), calls) in &self.calls {
            let recorded = model.run(run).map_or(0, |facts| facts.attempts_of(*scheduled));
            if calls.len() > recorded {
                return Err(format!(
                    "{run}: {} calls of {scheduled}, {recorded} attempts",
                    calls.len()
                ));
            }
        }
        for (n, (workload, run)) in &self.starts {
            let facts = model.run(run).ok_or_else(|| format!("start {n} is lost"))?;
            if let Some(workload) = workloads.get(*workload) {
                output(facts, workload, *n)?;
            }
        }
        Ok(())
    }
}

/// A run that completed without a handled failure gives what its flow says.
fn output(facts: &Facts, workload: &Workload, n: u64) -> Result<(), String> {
    let (Some(expected), Some(result)) = (workload.output, &facts.result) else { return Ok(()) };
    if payload::is_handled_failure(result) {
        return Ok(());
    }
    let given = payload::value_of(result).map_err(|error| error.to_string())?;
    let expected = expected(n);
    if given != expected {
        return Err(format!("{} gave {given} instead of {expected}", facts.run.key));
    }
    Ok(())
}

/// The answer said that nothing was changed.
fn not_done(model: &Model, wish: &Wish, error: &Error) -> Result<(), String> {
    let done = match wish {
        Wish::Start { n, .. } => model.started.contains_key(&request_id(*n)),
        Wish::Signal { run, token, .. } => {
            model.run(run).is_some_and(|facts| facts.signals.contains_key(token))
        }
        Wish::Ended { run, scheduled, how: How::Completed(_), attempt } => model
            .run(run)
            .and_then(|facts| facts.ended.get(&(*scheduled, *attempt)))
            .is_some_and(|outcome| *outcome == AttemptOutcome::Completed),
        _ => false,
    };
    if done {
        Err(format!("{wish:?} was answered `{error}`, but it is in the log"))
    } else {
        Ok(())
    }
}
