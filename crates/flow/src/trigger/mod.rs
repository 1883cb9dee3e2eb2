//! What starts runs besides people: webhooks, timetables, events.
//!
//! ```text
//! triggers: [{webhook: …}, {cron: …}, {every: …}, {event: …}] ─→ Trigger
//! occurrence (a request, a time, an event) ─ input ─→ what the run is started with
//! ```
//!
//! Knows nothing of requests, clocks or runs: an occurrence comes in as a value.

mod timetable;

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};

pub use timetable::{DUE_MAX, Due, EVERY_MIN, Timetable};

use crate::expr::{Expr, ExprError};
use crate::graph::Flow;
use crate::input::check_input;
use crate::scope::Scope;
use crate::template::Template;

/// Most triggers of one flow: each webhook is a route, each timetable a run of its own.
pub const TRIGGERS_MAX: usize = 100;
/// Most bytes of what a trigger's `input` gives: as the input of a step.
const INPUT_BYTES_MAX: usize = crate::advance::INPUT_BYTES_MAX;
/// How long after its time a missed start is still made up for, when the author does not say: a
/// machine that was off over night or over a holiday still makes its nightly run.
pub const CATCH_UP_DEFAULT: Duration = Duration::from_secs(24 * 3600);
/// How long a caller of a webhook waits for the output, when the author does not say: what proxies
/// commonly allow.
pub const REPLY_TIMEOUT_DEFAULT: Duration = Duration::from_secs(30);
/// Longest wait of a caller: each one holds a connection.
pub const REPLY_TIMEOUT_MAX: Duration = Duration::from_secs(600);
/// The header that names a delivery, when the author does not say.
pub const IDEMPOTENCY_HEADER: &str = "idempotency-key";

/// One trigger of a flow.
#[derive(Debug, Clone, PartialEq)]
pub struct Trigger {
    /// Its name within the flow, as a step's.
    pub id: String,
    /// What it is.
    pub kind: TriggerKind,
    /// As its author wrote it: what is stored and hashed.
    pub source: Value,
}

/// What a trigger is.
#[derive(Debug, Clone, PartialEq)]
pub enum TriggerKind {
    /// A request to a path.
    Webhook(Webhook),
    /// A time.
    Schedule(Box<ScheduleSpec>),
    /// An event of a name.
    Event(EventFilter),
    /// A person: `cli` and `manual`. Nothing happens by itself.
    Manual,
}

/// A request that starts a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Webhook {
    /// Below `/webhooks`, with a slash in front.
    pub path: String,
    /// The one method that is taken, in capitals.
    pub method: String,
    /// Name of the secret that requests are signed with; `None`: they are not signed.
    pub secret: Option<String>,
    /// What the caller is answered.
    pub reply: Reply,
    /// How long the caller waits for the output.
    pub timeout: Duration,
    /// The header that names a delivery, in lower case.
    pub idempotency_header: String,
    /// What the run is started with.
    pub input: Option<Template>,
}

/// What the caller of a webhook is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// That the run is durable.
    Now,
    /// What the run gives.
    Output,
}

/// Times at which runs start.
#[derive(Debug, Clone, PartialEq)]
pub struct ScheduleSpec {
    /// When.
    pub timetable: Timetable,
    /// Longest delay of a start; which one it is follows from schedule and time.
    pub jitter: Duration,
    /// What happens while an earlier run is open.
    pub overlap: Overlap,
    /// How long after its time a start is made up for.
    pub catch_up: Duration,
    /// What the run is started with.
    pub input: Option<Template>,
}

/// What happens when a time comes while a run that the schedule started is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overlap {
    /// Nothing starts.
    Skip,
    /// One run starts when it has ended, for the newest time.
    BufferOne,
    /// One run for each time, one after the other.
    BufferAll,
    /// It is asked to end; then a run starts, for the newest time.
    CancelOther,
    /// It is ended; then a run starts, for the newest time.
    TerminateOther,
    /// Runs start beside it.
    AllowAll,
}

impl Overlap {
    /// All of them, as they are written.
    pub const NAMES: &'static [(&'static str, Self)] = &[
        ("skip", Self::Skip),
        ("buffer_one", Self::BufferOne),
        ("buffer_all", Self::BufferAll),
        ("cancel_other", Self::CancelOther),
        ("terminate_other", Self::TerminateOther),
        ("allow_all", Self::AllowAll),
    ];

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(_, overlap)| *overlap == self).map_or("skip", |(name, _)| name)
    }
}

/// Events that start a run.
#[derive(Debug, Clone, PartialEq)]
pub struct EventFilter {
    /// Their name.
    pub name: String,
    /// Which of them; `None`: all.
    pub filter: Option<Expr>,
    /// What the run is started with.
    pub input: Option<Template>,
}

impl Trigger {
    /// What an expression of this trigger reads as `trigger`: the fields of an occurrence.
    pub fn fields(&self) -> &'static [&'static str] {
        match &self.kind {
            TriggerKind::Webhook(_) => &["body", "headers", "query", "method", "path"],
            TriggerKind::Schedule(_) => &["time", "trigger"],
            TriggerKind::Event(_) => &["id", "name", "data", "time"],
            TriggerKind::Manual => &[],
        }
    }

    /// What the run is started with, its defaults filled in: what the trigger's `input` gives; and
    /// without one those fields of the occurrence that the flow declares, or all of them when it
    /// reads its input as a whole.
    ///
    /// # Errors
    /// Says what does not fit.
    pub fn input(&self, flow: &Flow, occurrence: &Arc<Value>) -> Result<Value, String> {
        let template = match &self.kind {
            TriggerKind::Webhook(webhook) => webhook.input.as_ref(),
            TriggerKind::Schedule(schedule) => schedule.input.as_ref(),
            TriggerKind::Event(event) => event.input.as_ref(),
            TriggerKind::Manual => None,
        };
        let given = match template {
            Some(template) => {
                let rendered = template.render(&scope(occurrence), INPUT_BYTES_MAX);
                rendered.map_err(|error| format!("input of trigger `{}`: {error}", self.id))?.value
            }
            None => declared(flow, occurrence),
        };
        check_input(flow, given).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            problems.join("; ")
        })
    }
}

impl EventFilter {
    /// Whether an event starts a run.
    ///
    /// # Errors
    /// The filter gave no boolean.
    pub fn takes(&self, event: &Arc<Value>) -> Result<bool, ExprError> {
        self.filter.as_ref().map_or(Ok(true), |filter| filter.truth(&scope(event)))
    }
}

fn scope(occurrence: &Arc<Value>) -> Scope {
    Scope { input: occurrence.clone(), ..Scope::default() }
}

fn declared(flow: &Flow, occurrence: &Value) -> Value {
    let Value::Object(fields) = occurrence else { return Value::Object(Map::new()) };
    if flow.refs().whole_input {
        return occurrence.clone();
    }
    let is_declared = |name: &str| flow.parameters.iter().any(|parameter| parameter.name == name);
    fields
        .iter()
        .filter(|(name, _)| is_declared(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect::<Map<_, _>>()
        .into()
}
