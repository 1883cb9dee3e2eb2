//! The language of list filters: a part of Temporal's, over what a run's row holds.
//!
//! ```text
//! text ── lex ─→ tokens ── parse ─→ Condition ── matches ─→ rows
//! ```
//!
//! What is written is compared, never carried out: there is nothing to inject into.
//! Absent: search attributes of users, orders other than newest first, full text.

mod lex;
mod parse;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;
use std::fmt;

use reflux_core::{Status, Timestamp};
use reflux_store::{Filter, Summary};

/// Longest filter, in bytes: people and programs write far shorter ones.
const TEXT_BYTES_MAX: usize = 16 * 1024;
/// Deepest nesting of parentheses and `NOT`: each level is a call of the parser.
const DEPTH_MAX: usize = 32;
/// Most values of one `IN`.
const VALUES_MAX: usize = 1_000;

/// A filter that was read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Query {
    condition: Option<Condition>,
    /// Whether runs are counted by status.
    pub(super) by_status: bool,
}

/// Why a filter is refused, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    /// Characters before the place, from 0.
    at: usize,
    message: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "invalid query: {} at character {}", self.message, self.at + 1)
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Condition {
    All(Vec<Condition>),
    Any(Vec<Condition>),
    Not(Box<Condition>),
    Test(Field, Test),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    WorkflowType,
    WorkflowId,
    RunId,
    ExecutionStatus,
    StartTime,
    CloseTime,
    HistoryLength,
    ParentWorkflowId,
    ParentRunId,
}

#[derive(Debug, Clone, PartialEq)]
enum Test {
    Is(Comparison, Value),
    In(Vec<Value>),
    Between(Value, Value),
    StartsWith(String),
    Null,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd)]
enum Value {
    Text(String),
    Number(i64),
    Time(Timestamp),
}

impl Query {
    /// Reads a filter; an empty one takes every run.
    pub(super) fn parse(text: &str) -> Result<Self, Wrong> {
        parse::query(text)
    }

    /// What the store can look for by itself: a superset of what matches.
    pub(super) fn filter(&self, namespace: &str) -> Filter {
        let mut filter = Filter::all(namespace);
        match &self.condition {
            Some(Condition::All(all)) => all.iter().for_each(|one| narrow(&mut filter, one)),
            Some(one) => narrow(&mut filter, one),
            None => {}
        }
        filter
    }

    /// Whether a run belongs into the list.
    pub(super) fn matches(&self, run: &Summary) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.holds(run) == Some(true))
    }
}

fn narrow(filter: &mut Filter, condition: &Condition) {
    let Condition::Test(field, test) = condition else { return };
    match (field, test) {
        (Field::WorkflowType, Test::Is(Comparison::Equal, Value::Text(name))) => {
            filter.workflow_type = Some(name.as_str().into());
        }
        (
            Field::WorkflowId,
            Test::Is(Comparison::Equal, Value::Text(id)) | Test::StartsWith(id),
        ) => {
            filter.workflow_id_prefix = Some(id.as_str().into());
        }
        (Field::ExecutionStatus, Test::Is(Comparison::Equal, Value::Text(name))) => {
            filter.statuses = status_of(name).into_iter().collect();
        }
        (Field::StartTime, Test::Is(Comparison::Greater | Comparison::AtLeast, from)) => {
            not_before(filter, from);
        }
        (Field::StartTime, Test::Is(Comparison::Less, before)) => not_from(filter, before, 0),
        (Field::StartTime, Test::Is(Comparison::AtMost, last)) => not_from(filter, last, 1),
        (Field::StartTime, Test::Between(first, last)) => {
            not_before(filter, first);
            not_from(filter, last, 1);
        }
        _ => {}
    }
}

fn not_before(filter: &mut Filter, from: &Value) {
    if let Value::Time(from) = from {
        filter.started_from = filter.started_from.max(Some(*from));
    }
}

fn not_from(filter: &mut Filter, end: &Value, more: i64) {
    if let Value::Time(end) = end {
        let end = Timestamp(end.0.saturating_add(more));
        filter.started_before = Some(filter.started_before.map_or(end, |known| known.min(end)));
    }
}

impl Condition {
    /// As in SQL: what compares with something absent is neither true nor false.
    fn holds(&self, run: &Summary) -> Option<bool> {
        match self {
            Self::All(all) => all
                .iter()
                .try_fold(true, |so_far, one| match one.holds(run) {
                    Some(false) => Err(Some(false)),
                    Some(true) => Ok(so_far),
                    None => Ok(false),
                })
                .map_or_else(|settled| settled, |every| every.then_some(true)),
            Self::Any(any) => {
                let mut unknown = false;
                for one in any {
                    match one.holds(run) {
                        Some(true) => return Some(true),
                        Some(false) => {}
                        None => unknown = true,
                    }
                }
                (!unknown).then_some(false)
            }
            Self::Not(one) => one.holds(run).map(|holds| !holds),
            Self::Test(field, test) => test.holds(field.of(run)),
        }
    }
}

impl Test {
    fn holds(&self, actual: Option<Value>) -> Option<bool> {
        if *self == Self::Null {
            return Some(actual.is_none());
        }
        let actual = actual?;
        Some(match self {
            Self::Is(comparison, wanted) => comparison.holds(actual.partial_cmp(wanted)),
            Self::In(wanted) => wanted.contains(&actual),
            Self::Between(first, last) => actual >= *first && actual <= *last,
            Self::StartsWith(prefix) => match &actual {
                Value::Text(text) => text.starts_with(prefix),
                Value::Number(_) | Value::Time(_) => false,
            },
            Self::Null => false,
        })
    }
}

impl Comparison {
    fn holds(self, ordering: Option<Ordering>) -> bool {
        match self {
            Self::Equal => ordering == Some(Ordering::Equal),
            Self::NotEqual => ordering != Some(Ordering::Equal),
            Self::Less => ordering == Some(Ordering::Less),
            Self::AtMost => matches!(ordering, Some(Ordering::Less | Ordering::Equal)),
            Self::Greater => ordering == Some(Ordering::Greater),
            Self::AtLeast => matches!(ordering, Some(Ordering::Greater | Ordering::Equal)),
        }
    }
}

impl Field {
    const ALL: [(Self, &'static str); 9] = [
        (Self::WorkflowType, "WorkflowType"),
        (Self::WorkflowId, "WorkflowId"),
        (Self::RunId, "RunId"),
        (Self::ExecutionStatus, "ExecutionStatus"),
        (Self::StartTime, "StartTime"),
        (Self::CloseTime, "CloseTime"),
        (Self::HistoryLength, "HistoryLength"),
        (Self::ParentWorkflowId, "ParentWorkflowId"),
        (Self::ParentRunId, "ParentRunId"),
    ];

    fn of(self, run: &Summary) -> Option<Value> {
        Some(match self {
            Self::WorkflowType => Value::Text(run.workflow_type.to_string()),
            Self::WorkflowId => Value::Text(run.key.workflow_id.to_string()),
            Self::RunId => Value::Text(run.key.run_id.to_string()),
            Self::ExecutionStatus => Value::Text(status_name(run.status).to_owned()),
            Self::StartTime => Value::Time(run.started),
            Self::CloseTime => Value::Time(run.closed?),
            Self::HistoryLength => Value::Number(i64::try_from(run.events).unwrap_or(i64::MAX)),
            Self::ParentWorkflowId => Value::Text(run.parent.as_ref()?.workflow_id.to_string()),
            Self::ParentRunId => Value::Text(run.parent.as_ref()?.run_id.to_string()),
        })
    }
}

const STATUSES: [(Status, &str); 7] = [
    (Status::Running, "Running"),
    (Status::Completed, "Completed"),
    (Status::Failed, "Failed"),
    (Status::Canceled, "Canceled"),
    (Status::Terminated, "Terminated"),
    (Status::ContinuedAsNew, "ContinuedAsNew"),
    (Status::TimedOut, "TimedOut"),
];

/// As filters and counts write it.
pub(super) fn status_name(status: Status) -> &'static str {
    STATUSES.iter().find(|(known, _)| *known == status).map_or("", |(_, name)| name)
}

fn status_of(name: &str) -> Option<Status> {
    STATUSES.iter().find(|(_, known)| known.eq_ignore_ascii_case(name)).map(|(status, _)| *status)
}
