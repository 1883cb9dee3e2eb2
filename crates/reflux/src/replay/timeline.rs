//! The events of a run, and how it stood at each: folded forwards, from the nearest state that was
//! kept when somebody goes back.

use std::collections::BTreeMap;

use reflux_core::{Item, Kind, RunKey, Timestamp};
use reflux_flow::progress::Activation;
use reflux_flow::replay::{Bundles, Replay, StateAt, View};
use reflux_server::Error;
use reflux_server::history::Entry;
use serde_json::{Map, Value};

/// Events between two states that are kept: folding that many takes some milliseconds.
const KEPT_EVERY: usize = 4_096;

/// One event.
pub struct Row {
    /// Its number.
    pub event: i64,
    /// When it was.
    pub time: Timestamp,
    /// What kind of thing.
    pub kind: &'static str,
    /// The step it is about.
    pub step: Option<String>,
    /// The activation it is about.
    pub activation: Option<String>,
    /// The facts, by name.
    pub facts: Map<String, Value>,
}

/// The events of a run.
pub struct Timeline<'a> {
    items: Vec<Item>,
    rows: Vec<Row>,
    /// Of each row, the items up to the next.
    ends: Vec<usize>,
    kept: BTreeMap<usize, Replay<'a>>,
    last: Option<(usize, Replay<'a>)>,
}

impl<'a> Timeline<'a> {
    /// The events of a run's items.
    pub fn new(key: RunKey, items: Vec<Item>, bundles: &'a Bundles<'a>) -> Self {
        let mut rows: Vec<Row> = Vec::new();
        let mut ends: Vec<usize> = Vec::new();
        let mut called: BTreeMap<i64, String> = BTreeMap::new();
        for (at, item) in items.iter().enumerate() {
            if let (Item::Event(event), Some(entry)) = (item, Entry::of(item)) {
                let activation = about(&event.kind, &key, &called);
                if let (Kind::ActivityScheduled(_) | Kind::ChildInitiated(_), Some(activation)) =
                    (&event.kind, &activation)
                {
                    called.insert(event.id.0, activation.clone());
                }
                let step = activation.as_deref().and_then(Activation::parse);
                rows.push(Row {
                    event: event.id.0,
                    time: event.time,
                    kind: entry.kind,
                    step: step.map(|activation| activation.step.to_string()),
                    activation,
                    facts: entry.facts,
                });
                ends.push(at + 1);
            } else if let Some(end) = ends.last_mut() {
                // What stands behind an event belongs to it.
                *end = at + 1;
            }
        }
        let kept = BTreeMap::from([(0, Replay::new(key, bundles))]);
        Self { items, rows, ends, kept, last: None }
    }

    /// Its events, in order.
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// How the run stood when the row of that index was its last.
    ///
    /// # Errors
    /// The items do not fit together.
    pub fn state(&mut self, row: usize) -> Result<StateAt, Error> {
        let (Some(end), Some(time)) =
            (self.ends.get(row).copied(), self.rows.get(row).map(|row| row.time))
        else {
            return Err(Error::invalid("the run has no events"));
        };
        let begin = match self.last.take() {
            Some(last) if last.0 <= end => Some(last),
            _ => self.kept.range(..=end).next_back().map(|(at, kept)| (*at, kept.clone())),
        };
        let Some((mut at, mut replay)) = begin else {
            return Err(Error::invalid("the run has no events"));
        };
        for item in self.items.iter().take(end).skip(at) {
            replay.absorb(item).map_err(|problem| Error::invalid(problem.to_string()))?;
            at += 1;
            if at % KEPT_EVERY == 0 && !self.kept.contains_key(&at) {
                self.kept.insert(at, replay.clone());
            }
        }
        let state = StateAt::of(&replay, time, View::default());
        self.last = Some((at, replay));
        Ok(state)
    }
}

/// The activation that an event is about.
fn about(kind: &Kind, key: &RunKey, called: &BTreeMap<i64, String>) -> Option<String> {
    let of_child = |workflow_id: &str| {
        let own = workflow_id.strip_prefix(&*key.workflow_id)?;
        own.strip_prefix('/').map(str::to_owned)
    };
    match kind {
        Kind::ActivityScheduled(e) => Some(e.activity_id.to_string()),
        Kind::ActivityStarted(e) => called.get(&e.scheduled.0).cloned(),
        Kind::ActivityCompleted(e) => called.get(&e.scheduled.0).cloned(),
        Kind::ActivityFailed(e) => called.get(&e.scheduled.0).cloned(),
        Kind::ActivityTimedOut(e) => called.get(&e.scheduled.0).cloned(),
        Kind::ActivityCancelRequested(e) => called.get(&e.scheduled.0).cloned(),
        Kind::ActivityCanceled(e) => called.get(&e.scheduled.0).cloned(),
        Kind::TimerStarted(e) => Some(e.timer_id.to_string()),
        Kind::TimerFired(e) => Some(e.timer_id.to_string()),
        Kind::TimerCanceled(e) => Some(e.timer_id.to_string()),
        Kind::ChildInitiated(e) => of_child(&e.workflow_id),
        Kind::ChildStarted(e) => called.get(&e.child.initiated.0).cloned(),
        Kind::ChildCompleted(e) => called.get(&e.child.initiated.0).cloned(),
        Kind::ChildFailed(e) => called.get(&e.child.initiated.0).cloned(),
        Kind::ChildCanceled(e) => called.get(&e.child.initiated.0).cloned(),
        Kind::ChildTimedOut(e) => called.get(&e.child.initiated.0).cloned(),
        Kind::ChildTerminated(e) => called.get(&e.child.initiated.0).cloned(),
        Kind::ExternalCancelInitiated(e) => of_child(&e.target.workflow_id),
        Kind::Marker(marker) => {
            let mark: Value =
                serde_json::from_slice(reflux_flow::payload::marker_json(marker)).ok()?;
            let name = |field: &str| mark.get(field).and_then(Value::as_str).map(str::to_owned);
            name("activation").or_else(|| name("step")).or_else(|| name("parent"))
        }
        // The rest is about the run.
        _ => None,
    }
}
