//! Decides a recorded run again and compares: the first event that its definition would have
//! decided otherwise.
//!
//! The decider is asked where a decision is recorded, with the state and the time it had then. What
//! came from outside (results, signals, fired timers, what operators did) is taken as it is.

use std::collections::VecDeque;
use std::sync::Arc;

use reflux_core::{Decision, EffectClass, Event, Item, Kind, Marker, RunKey, Timestamp};
use serde::Serialize;
use serde_json::Value;

use super::facts::{Difference, agree, differences, of_decision, of_event, phrase, reuse};
use super::short::{VALUE_BYTES, short};
use super::{Bundles, MARKER_MUTATION, Problem, Replay};
use crate::advance::{CacheAsk, Cached, NodePolicy, Policies};
use crate::graph::NodeRef;
use crate::payload;
use crate::progress::{Mark, Reuse};
use crate::schedule::rfc3339;

/// Markers that tell what an operator did, or when a delayed run began: nobody decided them. A
/// change of the graph that answers a failure was decided.
const OUTSIDE: &[&str] =
    &[MARKER_MUTATION, "reflux.breakpoints", "reflux.stepping", "reflux.begin"];

/// Bytes of one moment's items up to which its record was not closed because it was full: half of
/// what closes one. Behind a full record something may come from outside before the rest is decided.
const RECORD_BYTES_SURE: usize = 64 * 1024;

/// What came of deciding a run again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verified {
    /// Events that were looked at.
    pub events: u64,
    /// Those of them that record a decision and were decided again.
    pub decisions: u64,
    /// Whether the run is still open: more may follow.
    pub open: bool,
    /// The first difference; `None`: the definition gives the record.
    pub divergence: Option<Divergence>,
}

/// An event that would be decided otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Divergence {
    /// Number of the event; of the one that would come next when the record ends before it.
    pub event: i64,
    /// When it was recorded, RFC 3339.
    pub time: String,
    /// What is recorded; `None`: nothing.
    pub recorded: Option<Value>,
    /// What is decided; `None`: nothing, the run would wait.
    pub decided: Option<Value>,
    /// Where the two differ, when both are of one kind.
    pub differences: Vec<Difference>,
    /// All of it as a sentence.
    pub text: String,
}

/// Decides a run again from its items.
///
/// # Errors
/// The run is not a flow's, or its definition cannot be had. What does not fit the definition is
/// the divergence of the answer, not an error.
pub fn verify(key: RunKey, items: &[Item], bundles: &Bundles<'_>) -> Result<Verified, Problem> {
    let mut verifier = Verifier {
        replay: Replay::new(key, bundles),
        queue: VecDeque::new(),
        steered: false,
        last: Timestamp::default(),
        moment_bytes: 0,
        loose_bytes: 0,
        events: 0,
        decisions: 0,
    };
    let mut divergence = None;
    for item in items {
        divergence = verifier.take(item)?;
        if divergence.is_some() {
            break;
        }
    }
    if divergence.is_none() {
        divergence = verifier.finish()?;
    }
    let Verifier { replay, events, decisions, .. } = verifier;
    Ok(Verified { events, decisions, open: replay.run().is_open(), divergence })
}

struct Verifier<'a> {
    replay: Replay<'a>,
    /// What was decided with the last recorded decision and is to be recorded next.
    queue: VecDeque<Decision>,
    /// Whether an operator's change has just been recorded: what it calls off follows it.
    steered: bool,
    last: Timestamp,
    /// Bytes of the items since the last event that came later than the one before it.
    moment_bytes: usize,
    /// Bytes of the deltas since the last event: they may belong to the next one.
    loose_bytes: usize,
    events: u64,
    decisions: u64,
}

impl Verifier<'_> {
    fn take(&mut self, item: &Item) -> Result<Option<Divergence>, Problem> {
        if let Item::Event(event) = item {
            if let Some(divergence) = self.judge(event) {
                return Ok(Some(divergence));
            }
            self.events += 1;
            if event.time > self.last {
                self.moment_bytes = self.loose_bytes;
            }
            self.last = event.time;
            self.loose_bytes = 0;
        } else {
            self.loose_bytes += item.weight_bytes();
        }
        self.moment_bytes += item.weight_bytes();
        match self.replay.absorb(item) {
            Ok(()) => {}
            Err(Problem::Broken(text)) => {
                let id = self.replay.run().next_event_id.0;
                return Ok(Some(match item {
                    Item::Event(event) => broken(event, &text),
                    Item::Delta(delta) => Divergence {
                        event: id,
                        time: rfc3339(self.last),
                        recorded: Some(Value::from(delta.name())),
                        decided: None,
                        differences: Vec::new(),
                        text,
                    },
                }));
            }
            Err(problem) => return Err(problem),
        }
        if let Item::Event(Event { kind: Kind::Started(_), .. }) = item {
            match self.replay.run().decider() {
                Some(reflux_core::Decider::Flow) => {}
                Some(reflux_core::Decider::Code) | None => return Err(Problem::Code),
                Some(reflux_core::Decider::System) => return Err(Problem::Record),
            }
        }
        Ok(None)
    }

    /// Whether an event is what was decided; the difference when it is not.
    fn judge(&mut self, event: &Event) -> Option<Divergence> {
        let expected = self.replay.run().next_event_id;
        if event.id != expected {
            let decided = self.decide(&event.kind, event.time);
            return Some(gap(expected.0, event, decided.as_ref()));
        }
        if !is_decided(&event.kind) {
            self.steered = is_steering(&event.kind);
            if self.queue.is_empty()
                && event.time > self.last
                && self.moment_bytes < RECORD_BYTES_SURE
            {
                // What was due before is decided before anything else comes from outside.
                let due = self.due();
                return due.first().map(|due| differs(event, Some(due)));
            }
            let waiting = self.queue.front()?;
            if agree(&event.kind, waiting) {
                self.queue.pop_front();
                self.decisions += 1;
                return None;
            }
            return Some(differs(event, Some(waiting)));
        }
        let decided = self.decide(&event.kind, event.time);
        match decided {
            Some(decision) if agree(&event.kind, &decision) => {
                self.steered = false;
                self.decisions += 1;
                None
            }
            // What an operator took out of the run was called off with the same change.
            _ if self.steered && calls_off(&event.kind) => {
                self.queue.clear();
                None
            }
            decided => Some(differs(event, decided.as_ref())),
        }
    }

    /// What is decided next.
    fn decide(&mut self, recorded: &Kind, now: Timestamp) -> Option<Decision> {
        let (run, decider) = (self.replay.run(), self.replay.decider()?);
        if self.queue.is_empty() && run.is_open() && run.has_begun() {
            self.queue.extend(decider.next(run, &Recorded(Some(recorded)), now));
        }
        self.queue.pop_front()
    }

    /// What had to be decided when the last event was recorded.
    fn due(&self) -> Vec<Decision> {
        let run = self.replay.run();
        match self.replay.decider() {
            Some(decider) if run.is_open() && run.has_begun() => {
                decider.next(run, &Recorded(None), self.last)
            }
            Some(_) | None => Vec::new(),
        }
    }

    /// At the end of its record an open run waits: nothing may be left to decide.
    fn finish(&mut self) -> Result<Option<Divergence>, Problem> {
        if self.replay.decider().is_none() {
            return Err(Problem::Broken("the run was not started".to_owned()));
        }
        if self.queue.is_empty() {
            self.queue.extend(self.due());
        }
        Ok(self.queue.front().map(|decision| {
            let decided = of_decision(decision);
            let event = self.replay.run().next_event_id.0;
            let text = format!("event {event}: the record ends, decided is {}", phrase(&decided));
            Divergence {
                event,
                time: rfc3339(self.last),
                recorded: None,
                decided: Some(shortened(decided)),
                differences: Vec::new(),
                text,
            }
        }))
    }
}

/// Whether a decider decides events of this kind.
fn is_decided(kind: &Kind) -> bool {
    match kind {
        Kind::Marker(marker) => !OUTSIDE.contains(&&*marker.name) || answers_a_failure(marker),
        Kind::ActivityScheduled(_)
        | Kind::ActivityCancelRequested(_)
        | Kind::TimerStarted(_)
        | Kind::TimerCanceled(_)
        | Kind::ChildInitiated(_)
        | Kind::ExternalSignalInitiated(_)
        | Kind::ExternalCancelInitiated(_)
        | Kind::Completed(_)
        | Kind::Failed(_)
        | Kind::Canceled(_)
        | Kind::ContinuedAsNew(_)
        | Kind::SearchAttributesUpserted(_)
        | Kind::PropertiesModified(_) => true,
        // A pause is a person's, or a breakpoint's: then it was decided with the marker before it.
        _ => false,
    }
}

fn is_steering(kind: &Kind) -> bool {
    matches!(kind, Kind::Marker(marker) if *marker.name == *MARKER_MUTATION)
}

/// Whether the run has changed itself because a node failed.
fn answers_a_failure(marker: &Marker) -> bool {
    let mark = Mark::read(&marker.name, payload::marker_json(marker));
    matches!(mark, Ok(Some(Mark::Mutation(mutation))) if mutation.answers.is_some())
}

fn calls_off(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::ActivityCancelRequested(_)
            | Kind::TimerCanceled(_)
            | Kind::ExternalCancelInitiated(_)
    )
}

fn differs(event: &Event, decided: Option<&Decision>) -> Divergence {
    let recorded = of_event(&event.kind);
    let decided = decided.map(of_decision);
    let alike = decided.as_ref().is_some_and(|decided| phrase(decided) == phrase(&recorded));
    let differences = match &decided {
        Some(decided) if alike => differences(&recorded, decided),
        _ => Vec::new(),
    };
    let text = match (&decided, differences.first()) {
        (None, _) => format!(
            "event {}: recorded is {}, decided is nothing: the run would wait",
            event.id,
            phrase(&recorded)
        ),
        (Some(_), Some(first)) => format!(
            "event {}, {}: {} is recorded as {} and decided as {}",
            event.id,
            phrase(&recorded),
            if first.path.is_empty() { "it" } else { &first.path },
            told(first.recorded.as_ref()),
            told(first.decided.as_ref())
        ),
        (Some(decided), None) => format!(
            "event {}: recorded is {}, decided is {}",
            event.id,
            phrase(&recorded),
            phrase(decided)
        ),
    };
    Divergence {
        event: event.id.0,
        time: rfc3339(event.time),
        recorded: Some(shortened(recorded)),
        decided: decided.map(shortened),
        differences,
        text,
    }
}

/// The event of that number is not there.
fn gap(expected: i64, found: &Event, decided: Option<&Decision>) -> Divergence {
    let decided = decided.map(of_decision);
    let text = format!(
        "event {expected} is missing: the record goes on with event {}, {}; decided is {}",
        found.id,
        phrase(&of_event(&found.kind)),
        decided.as_ref().map_or_else(|| "nothing".to_owned(), phrase)
    );
    Divergence {
        event: expected,
        time: rfc3339(found.time),
        recorded: None,
        decided: decided.map(shortened),
        differences: Vec::new(),
        text,
    }
}

/// The event cannot follow from what the run is then.
fn broken(event: &Event, problem: &str) -> Divergence {
    let recorded = of_event(&event.kind);
    Divergence {
        event: event.id.0,
        time: rfc3339(event.time),
        text: format!(
            "event {}: recorded is {}, which cannot follow: {problem}",
            event.id,
            phrase(&recorded)
        ),
        recorded: Some(shortened(recorded)),
        decided: None,
        differences: Vec::new(),
    }
}

/// The facts with long values by hash and beginning.
fn shortened(facts: Value) -> Value {
    match facts {
        Value::Object(map) => Value::Object(
            map.into_iter().map(|(name, value)| (name, short(&value, VALUE_BYTES))).collect(),
        ),
        other => other,
    }
}

/// A value within a sentence.
fn told(value: Option<&Value>) -> String {
    const CHARS_MAX: usize = 80;
    let Some(value) = value else { return "absent".to_owned() };
    let text = value.to_string();
    match text.char_indices().nth(CHARS_MAX) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text,
    }
}

/// How the recorded event says its node was called.
struct Recorded<'a>(Option<&'a Kind>);

impl Policies for Recorded<'_> {
    fn policy(&self, _: &NodeRef, _: &Value) -> Option<NodePolicy> {
        let policy = NodePolicy {
            version: Arc::from(""),
            task_queue: Arc::from(""),
            retry: None,
            timeout: None,
            heartbeat: None,
            effects: EffectClass::Idempotent,
        };
        match self.0 {
            Some(Kind::ActivityScheduled(scheduled)) => Some(NodePolicy {
                version: payload::node_version(&scheduled.header),
                task_queue: scheduled.task_queue.clone(),
                timeout: scheduled.start_to_close,
                heartbeat: scheduled.heartbeat,
                effects: scheduled.effects.unwrap_or(EffectClass::Idempotent),
                ..policy
            }),
            // Nobody served the node then.
            Some(Kind::Marker(marker)) if is_node_missing(marker) => None,
            Some(Kind::Marker(marker)) => Some(NodePolicy {
                version: reuse(marker).and_then(|mark| mark.version).unwrap_or_default(),
                ..policy
            }),
            Some(_) | None => Some(policy),
        }
    }

    /// A step may have waited for another run's call until what is recorded of it.
    fn cached(&self, ask: &CacheAsk<'_>) -> Cached {
        let id = ask.activation.to_string();
        match self.0 {
            Some(Kind::ActivityScheduled(scheduled)) if *scheduled.activity_id == *id => {
                Cached::Uncached
            }
            Some(Kind::Marker(marker)) => {
                match reuse(marker) {
                    Some(Reuse {
                        activation, output, from: Some(from), call: Some(call), ..
                    }) if activation == id && call == ask.key => Cached::Found { output, from },
                    Some(reuse) if reuse.activation == id => Cached::Uncached,
                    Some(_) | None => Cached::Held,
                }
            }
            Some(_) | None => Cached::Held,
        }
    }
}

fn is_node_missing(marker: &Marker) -> bool {
    let mark: Option<Value> = serde_json::from_slice(payload::marker_json(marker)).ok();
    &*marker.name == "reflux.failed"
        && mark.is_some_and(|mark| mark.get("kind").is_some_and(|kind| kind == "NodeNotFound"))
}
