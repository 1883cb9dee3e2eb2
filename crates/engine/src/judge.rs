//! Which attempts of a run ended in one record, and whether they speak for or against what they
//! called.
//!
//! An attempt that succeeded speaks for it. One that failed speaks against it when it may be tried
//! again or ran out of time: a failure that can never go away, such as a wrong input, is the
//! caller's. One that was lost or asked to end says nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use reflux_core::{
    ActivityScheduled, AttemptEnded, AttemptOutcome, Command, Delta, EventId, Failure, Item, Phase,
    Run,
};
use reflux_proto::temporal::api::failure::v1::failure::FailureInfo;

use crate::pace::Verdict;

/// Characters of a failure that are kept: for a list.
const FAILURE_CHARS_MAX: usize = 200;

/// Notes how attempts end while a record is decided.
#[derive(Debug, Default)]
pub(crate) struct Judge {
    /// What runs and may end with the command: it is gone afterwards.
    running: BTreeMap<EventId, Arc<ActivityScheduled>>,
    verdicts: Vec<Verdict>,
}

impl Judge {
    /// Notes what a command may end.
    pub fn before(&mut self, run: &Run, command: &Command) {
        self.running.clear();
        match command {
            Command::CompleteActivity { at, .. }
            | Command::FailActivity { at, .. }
            | Command::TimeOutActivity { at, .. } => {
                if let Some(activity) = run.activities.get(&at.scheduled) {
                    self.running.insert(at.scheduled, activity.what.clone());
                }
            }
            Command::Wake => {
                let started = run
                    .activities
                    .values()
                    .filter(|activity| matches!(activity.phase, Phase::Started { .. }));
                self.running
                    .extend(started.map(|activity| (activity.scheduled, activity.what.clone())));
            }
            _ => {}
        }
    }

    /// Notes what it has ended.
    pub fn after(&mut self, items: &[Item]) {
        for item in items {
            let Item::Delta(Delta::AttemptEnded(ended)) = item else { continue };
            let Some(what) = self.running.get(&ended.scheduled) else { continue };
            let failure = match verdict(ended) {
                None => continue,
                Some(Ok(())) => None,
                Some(Err(text)) => Some(text),
            };
            self.verdicts.push(Verdict {
                node: what.activity_type.clone(),
                queue: what.task_queue.clone(),
                began: ended.started,
                failure,
            });
        }
    }

    /// What was noted.
    pub fn verdicts(self) -> Vec<Verdict> {
        self.verdicts
    }
}

/// `None` when it says nothing.
fn verdict(ended: &AttemptEnded) -> Option<Result<(), String>> {
    match ended.outcome {
        AttemptOutcome::Completed => Some(Ok(())),
        AttemptOutcome::TimedOut => Some(Err("it ran out of time".to_owned())),
        AttemptOutcome::Failed => {
            let failure = ended.failure.as_deref()?;
            (!is_final(failure)).then(|| Err(short(&failure.message)))
        }
        AttemptOutcome::Unspecified | AttemptOutcome::Canceled | AttemptOutcome::WorkerLost => None,
    }
}

fn is_final(failure: &Failure) -> bool {
    match &failure.failure_info {
        Some(FailureInfo::ApplicationFailureInfo(info)) => info.non_retryable,
        Some(FailureInfo::ServerFailureInfo(info)) => info.non_retryable,
        _ => false,
    }
}

fn short(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(FAILURE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use reflux_core::{Timestamp, application_failure};

    use super::*;

    fn ended(outcome: AttemptOutcome, failure: Option<Failure>) -> AttemptEnded {
        AttemptEnded {
            scheduled: EventId(5),
            attempt: 1,
            outcome,
            started: Timestamp(1),
            ended: Timestamp(2),
            failure: failure.map(Arc::new),
            next_attempt: None,
            report: None,
            uncounted: false,
        }
    }

    #[test]
    fn what_may_go_away_counts_and_what_the_caller_did_wrong_does_not() {
        let down = application_failure("down", "Http.Status", false);
        let wrong = application_failure("wrong", "BadInput", true);
        assert_eq!(verdict(&ended(AttemptOutcome::Completed, None)), Some(Ok(())));
        let failed = verdict(&ended(AttemptOutcome::Failed, Some(down)));
        assert_eq!(failed, Some(Err("down".to_owned())));
        assert_eq!(verdict(&ended(AttemptOutcome::Failed, Some(wrong))), None);
        assert!(matches!(verdict(&ended(AttemptOutcome::TimedOut, None)), Some(Err(_))));
        assert_eq!(verdict(&ended(AttemptOutcome::WorkerLost, None)), None);
        assert_eq!(verdict(&ended(AttemptOutcome::Canceled, None)), None);
    }
}
