//! A schedule is a run: this is its decider.
//!
//! ```text
//! timer fires, child closes, somebody signals ─→ observe ─→ Schedule ─→ next ─→ decisions:
//!     a mark of the times that were dealt with, a child for each start, the next timer
//! ```
//!
//! Because it is a run, nothing is started twice or forgotten by a crash, and recovery, timers and
//! backups come with it. Every time up to `handled` is dealt with; what is due after it is worked
//! out anew at each look, so nothing waits in a buffer that could be lost.
//!
//! Absent: clocks and randomness. Time is that of the events.

mod mark;
mod next;
mod observe;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use reflux_core::{EventId, HEADER_SPEC, Header, Payload, RunKey, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use mark::{Counts, Resume, Tick};

use crate::graph::{Bundle, Flow};
use crate::payload;
use crate::trigger::{ScheduleSpec, TriggerKind};

/// Header field of a run that makes it a schedule: which trigger, as JSON of [`Subject`].
pub const HEADER_TRIGGER: &str = "reflux.trigger";
/// The workflow type of schedules.
pub const WORKFLOW_TYPE: &str = "reflux.schedule";
/// The namespace of schedules: they are no work of the project's own.
pub const NAMESPACE: &str = "reflux-system";
/// The signal that starts a run now; its payload is the run's input, or null for the trigger's own.
pub const SIGNAL_FIRE: &str = "reflux.fire";
/// The signal that brings another version of the flow: its header names the bundle.
pub const SIGNAL_ADOPT: &str = "reflux.adopt";

/// Events after which a schedule goes on as a new run: some hundred starts, so that loading one
/// stays quick.
const HISTORY_EVENTS_MAX: u64 = 2_000;
/// Runs started in one decision: keeps a record small when many times are due.
const STARTS_AT_ONCE: usize = 100;

/// Which trigger a schedule serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Subject {
    /// The namespace of the flow's runs.
    pub namespace: String,
    /// The flow.
    pub flow: String,
    /// The trigger's id.
    pub trigger: String,
}

impl Subject {
    /// The workflow id of the schedule, in [`NAMESPACE`].
    pub fn workflow_id(&self) -> String {
        format!("trigger/{}/{}/{}", self.namespace, self.flow, self.trigger)
    }

    /// The workflow id of a run that the trigger starts.
    pub fn run_workflow_id(&self, occurrence: &str) -> String {
        format!("{}/{}/{occurrence}", self.flow, self.trigger)
    }

    /// The header of a schedule's run over a bundle of that digest.
    pub fn header(&self, digest: [u8; 32]) -> Header {
        let mut header = payload::spec_header(digest);
        let json = serde_json::to_vec(self).unwrap_or_default();
        header.fields.insert(HEADER_TRIGGER.to_owned(), reflux_core::json_payload(json));
        header
    }

    /// The subject in a header; `None` when the run is no schedule.
    ///
    /// # Errors
    /// The field holds something else.
    pub fn of(header: &Header) -> Option<Result<Self, serde_json::Error>> {
        let field = header.fields.get(HEADER_TRIGGER)?;
        Some(serde_json::from_slice(&field.data))
    }

    /// What jitter follows from.
    fn jitter_name(&self) -> String {
        format!("{}/{}", self.flow, self.trigger)
    }
}

/// Where a schedule stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    key: RunKey,
    subject: Subject,
    bundle: Arc<Bundle>,
    spec: Payload,
    /// The bundle that the next adopting signal names.
    offered: Option<(Payload, Arc<Bundle>)>,
    /// Every time until then is dealt with.
    handled: Timestamp,
    /// When the last open run closed; what came due before it came while a run was open.
    free_since: Timestamp,
    open: BTreeMap<EventId, OpenRun>,
    timer: Option<Arc<str>>,
    fires: VecDeque<Fire>,
    counts: Counts,
    paused: Option<Arc<str>>,
    canceling: bool,
    closed: bool,
}

/// A run that was started and has not ended.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OpenRun {
    namespace: Arc<str>,
    workflow_id: Arc<str>,
    /// Whether it was asked, or told, to end.
    ending: bool,
}

/// A start that somebody asked for.
#[derive(Debug, Clone, PartialEq)]
struct Fire {
    id: Arc<str>,
    at: Timestamp,
    input: Option<Value>,
}

impl Schedule {
    /// Where a schedule over a bundle stands before its first event.
    pub fn new(bundle: Arc<Bundle>, spec: &Payload, subject: Subject, key: RunKey) -> Self {
        Self {
            key,
            subject,
            bundle,
            spec: spec.clone(),
            offered: None,
            handled: Timestamp::default(),
            free_since: Timestamp::default(),
            open: BTreeMap::new(),
            timer: None,
            fires: VecDeque::new(),
            counts: Counts::default(),
            paused: None,
            canceling: false,
            closed: false,
        }
    }

    /// The bundle that a signal about to be observed names in its header.
    pub fn offer(&mut self, spec: &Payload, bundle: Arc<Bundle>) {
        self.offered = Some((spec.clone(), bundle));
    }

    /// Which trigger it serves.
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The digest of the bundle it starts runs of.
    pub fn digest(&self) -> &[u8] {
        &self.spec.data
    }

    /// What it has done so far, in all runs of its chain.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Why it is paused, if it is.
    pub fn paused(&self) -> Option<&str> {
        self.paused.as_deref()
    }

    /// Workflow ids of the runs it has started that are open.
    pub fn open_runs(&self) -> impl Iterator<Item = &str> {
        self.open.values().map(|run| &*run.workflow_id)
    }

    /// The next times after a moment at which it acts, as far as nothing stands in their way.
    pub fn upcoming(&self, after: Timestamp, count: usize) -> Vec<Timestamp> {
        let Some(spec) = self.spec() else { return Vec::new() };
        let mut times = Vec::new();
        let mut last = after.max(self.handled);
        while times.len() < count {
            let Some(time) = spec.timetable.after(last) else { break };
            times.push(self.start_of(spec, time));
            last = time;
        }
        times
    }

    fn flow(&self) -> Option<&Flow> {
        self.bundle.flows.get(&self.subject.flow).map(|flow| &**flow)
    }

    fn spec(&self) -> Option<&ScheduleSpec> {
        spec_of(&self.bundle, &self.subject)
    }

    fn start_of(&self, spec: &ScheduleSpec, time: Timestamp) -> Timestamp {
        spec.timetable.start_of(time, spec.jitter, &self.subject.jitter_name())
    }

    /// The header by which a run, or the next run of the chain, finds the bundle.
    fn header(&self, of_schedule: bool) -> Header {
        let spec = (HEADER_SPEC.to_owned(), self.spec.clone());
        let mut header = Header { fields: BTreeMap::from([spec]) };
        if of_schedule {
            let json = serde_json::to_vec(&self.subject).unwrap_or_default();
            header.fields.insert(HEADER_TRIGGER.to_owned(), reflux_core::json_payload(json));
        }
        header
    }
}

fn spec_of<'a>(bundle: &'a Bundle, subject: &Subject) -> Option<&'a ScheduleSpec> {
    let flow = bundle.flows.get(&subject.flow)?;
    flow.triggers.iter().filter(|trigger| trigger.id == subject.trigger).find_map(|trigger| {
        match &trigger.kind {
            TriggerKind::Schedule(spec) => Some(&**spec),
            TriggerKind::Webhook(_) | TriggerKind::Event(_) | TriggerKind::Manual => None,
        }
    })
}

/// A moment as it is written: `2026-01-31T12:00:00Z`, with a fraction only when it has one.
pub fn rfc3339(moment: Timestamp) -> String {
    let nanos = i128::from(moment.0);
    // Every 64-bit number of nanoseconds is within jiff's years.
    jiff::Timestamp::from_nanosecond(nanos).map(|moment| moment.to_string()).unwrap_or_default()
}

fn moment(text: &str) -> Option<Timestamp> {
    let moment: jiff::Timestamp = text.parse().ok()?;
    i64::try_from(moment.as_nanosecond()).ok().map(Timestamp)
}

fn is_over(time: Timestamp, length: Duration, now: Timestamp) -> bool {
    now.since(time) > length
}
