//! Who decides inside the partition what a run does next: a flow, or a schedule.

use std::sync::Arc;

use reflux_core::{Decision, Event, HEADER_REDRIVE, Header, Kind, Payload, Run, RunKey, Timestamp};

use crate::advance::Policies;
use crate::graph::Bundle;
use crate::payload;
use crate::planted::Defect;
use crate::progress::{Incoherent, Progress};
use crate::redrive::Redrive;
use crate::schedule::{SIGNAL_ADOPT, Schedule, Subject};

/// Who decides what a run does next.
#[derive(Debug, Clone, PartialEq)]
pub enum Decider {
    /// The steps of a flow.
    Flow(Box<Progress>),
    /// The times of a trigger.
    Schedule(Box<Schedule>),
}

/// Why a run cannot be decided upon here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(String);

impl Decider {
    /// The decider of a run over a bundle, before the run's first event.
    ///
    /// # Errors
    /// The bundle has no such flow, or the header is not one of ours.
    pub fn new(
        bundle: Arc<Bundle>,
        workflow_type: &str,
        header: &Header,
        key: RunKey,
    ) -> Result<Self, Unfit> {
        if let (Some(subject), Some(spec)) = (Subject::of(header), payload::spec_of(header)) {
            let subject =
                subject.map_err(|error| Unfit(format!("the header `reflux.trigger`: {error}")))?;
            return Ok(Self::Schedule(Box::new(Schedule::new(bundle, spec, subject, key))));
        }
        let progress = Progress::new(bundle, workflow_type, key)
            .ok_or_else(|| Unfit(format!("the bundle has no flow `{workflow_type}`")))?;
        Ok(Self::Flow(Box::new(match Redrive::of_header(header) {
            None => progress,
            Some(Ok(redrive)) => progress.redriven(redrive),
            Some(Err(error)) => {
                return Err(Unfit(format!("the header `{HEADER_REDRIVE}`: {error}")));
            }
        })))
    }

    /// The digest of the bundle that an event about to be observed brings, if it brings one: it is
    /// to be offered first.
    pub fn wants<'a>(&self, event: &'a Kind) -> Option<&'a Payload> {
        match (self, event) {
            (Self::Schedule(_), Kind::Signaled(signaled)) if &*signaled.name == SIGNAL_ADOPT => {
                payload::spec_of(&signaled.header)
            }
            _ => None,
        }
    }

    /// The bundle of a digest that was wanted.
    pub fn offer(&mut self, spec: &Payload, bundle: Arc<Bundle>) {
        match self {
            Self::Schedule(schedule) => schedule.offer(spec, bundle),
            Self::Flow(_) => {}
        }
    }

    /// Folds one event in.
    ///
    /// # Errors
    /// The event cannot follow.
    pub fn observe(&mut self, event: &Event) -> Result<(), Incoherent> {
        match self {
            Self::Flow(progress) => progress.observe(event),
            Self::Schedule(schedule) => schedule.observe(event),
        }
    }

    /// Steps that have ended, of all; a schedule has none.
    pub fn counts(&self) -> (u32, u32) {
        match self {
            Self::Flow(progress) => progress.counts(),
            Self::Schedule(_) => (0, 0),
        }
    }

    /// Where the run stands on its flow; `None` for a schedule.
    pub fn progress(&self) -> Option<&Progress> {
        match self {
            Self::Flow(progress) => Some(progress),
            Self::Schedule(_) => None,
        }
    }

    /// Where the schedule stands; `None` for a flow.
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Self::Flow(_) => None,
            Self::Schedule(schedule) => Some(schedule),
        }
    }

    /// The decisions that follow from where it stands; none when it waits.
    pub(crate) fn next(&self, run: &Run, nodes: &dyn Policies, now: Timestamp) -> Vec<Decision> {
        match self {
            Self::Flow(progress) => {
                // A paused run starts nothing, but it can be cancelled.
                let is_paused = run.paused.is_some() && !progress.is_canceling();
                if is_paused && !Defect::PausesStopNothing.is_planted() {
                    return progress.next_of_paused(run);
                }
                let resumed = progress.resume_children();
                if resumed.is_empty() { progress.next(nodes, now) } else { resumed }
            }
            Self::Schedule(schedule) => schedule.next(run, now),
        }
    }
}
