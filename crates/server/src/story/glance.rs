//! How a run stands at one moment, in figures: cheap enough to be told with every change.

use std::collections::BTreeSet;

use reflux_core::{Phase, Status, Timestamp};
use reflux_flow::progress::Activation;

use super::fold::Telling;

/// How a run stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Glance {
    /// How it stands or ended.
    pub status: Status,
    /// When it began.
    pub started: Timestamp,
    /// When it closed.
    pub closed: Option<Timestamp>,
    /// Steps that are over.
    pub steps_done: u32,
    /// Steps known so far.
    pub steps_total: u32,
    /// Events in its history.
    pub events: u64,
    /// Why it failed, in words.
    pub error: Option<String>,
    /// Ids of the steps that are at work or wait.
    pub current: Vec<String>,
    /// Tokens read and written by all attempts.
    pub tokens: (u64, u64),
    /// What all attempts cost.
    pub cost_usd: f64,
}

impl Telling {
    /// How the run stands now. Looks at what is open, not at every step.
    pub fn glance(&self) -> Glance {
        let closed = self.run.closed.as_ref().map(|close| close.time);
        let (steps_done, steps_total) =
            self.progress.as_ref().map_or((0, 0), reflux_flow::Progress::counts);
        let error = self.error.as_ref().filter(|_| closed.is_some());
        let error = error.and_then(|error| error.get("message")?.as_str().map(str::to_owned));
        Glance {
            status: self.run.status,
            started: self.run.started_at,
            closed,
            steps_done,
            steps_total,
            events: self.run.history_events(),
            error: error.filter(|_| self.run.status != Status::Completed),
            current: if closed.is_some() { Vec::new() } else { self.current() },
            tokens: self.tokens,
            cost_usd: self.cost_usd,
        }
    }

    fn current(&self) -> Vec<String> {
        let run = &self.run;
        let prefix = format!("{}/", self.key.workflow_id);
        let at_work = run.activities.values().filter(|it| !matches!(it.phase, Phase::Ended { .. }));
        let at_work = at_work.map(|it| &*it.what.activity_id);
        let timers = run.timers.keys().map(|id| &**id);
        let children = run.children.values().map(|child| &*child.what.workflow_id);
        let children = children.map(|id| id.strip_prefix(&prefix).unwrap_or(id));
        let steps: BTreeSet<String> = at_work
            .chain(timers)
            .chain(children)
            .map(|id| Activation::parse(id).map_or_else(|| id.to_owned(), |it| it.step.to_string()))
            .chain(self.waits.iter().filter_map(|at| Some(self.steps.get(at.step)?.id.clone())))
            .collect();
        steps.into_iter().collect()
    }
}
