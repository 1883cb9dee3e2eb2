//! Lists runs of a namespace, newest first, a bounded piece of work at a time.

use std::sync::Arc;

use reflux_core::{Status, Timestamp};

use crate::error::Error;
use crate::rows::address::{ADDRESS_BYTES, Address};
use crate::rows::{moment, started, summary};
use crate::summary::Summary;
use crate::view::View;

/// Rows one call looks at: a filter that matches nothing answers in milliseconds, and its caller
/// goes on from there or gives up.
pub const SCAN_ROWS_MAX: usize = 10_000;

/// Most summaries of one page.
pub const PAGE_RUNS_MAX: usize = 1_000;

/// Which runs to list. What is `None` or empty does not restrict. Everything is compared as text
/// that means nothing: there is no query language here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// Runs of this namespace only.
    pub namespace: Arc<str>,
    /// Runs of exactly this workflow type.
    pub workflow_type: Option<Arc<str>>,
    /// Runs in one of these.
    pub statuses: Vec<Status>,
    /// Runs whose workflow id starts so.
    pub workflow_id_prefix: Option<Arc<str>>,
    /// Started then or later.
    pub started_from: Option<Timestamp>,
    /// Started earlier.
    pub started_before: Option<Timestamp>,
    /// Found, in any case, in workflow id, workflow type, run id or error.
    pub text: Option<Arc<str>>,
}

impl Filter {
    /// Every run of a namespace.
    pub fn all(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
            workflow_type: None,
            statuses: Vec::new(),
            workflow_id_prefix: None,
            started_from: None,
            started_before: None,
            text: None,
        }
    }

    /// Whether a run belongs into the list.
    pub fn matches(&self, run: &Summary) -> bool {
        run.key.namespace == self.namespace
            && self.workflow_type.as_ref().is_none_or(|name| *name == run.workflow_type)
            && (self.statuses.is_empty() || self.statuses.contains(&run.status))
            && self
                .workflow_id_prefix
                .as_ref()
                .is_none_or(|prefix| run.key.workflow_id.starts_with(&**prefix))
            && self.started_from.is_none_or(|from| run.started >= from)
            && self.started_before.is_none_or(|before| run.started < before)
            && self.text.as_ref().is_none_or(|text| contains(run, text))
    }
}

fn contains(run: &Summary, text: &str) -> bool {
    let text = text.to_lowercase();
    run.key.workflow_id.to_lowercase().contains(&text)
        || run.workflow_type.to_lowercase().contains(&text)
        || run.key.run_id.to_string().contains(&text)
        || run.error.as_ref().is_some_and(|error| error.to_lowercase().contains(&text))
}

/// A place in a list, the same in every partition: where the next page goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    started: Timestamp,
    run: Address,
}

impl Position {
    /// Length of an encoded position.
    pub const BYTES: usize = started::POSITION_BYTES;

    /// The place of a run.
    pub fn of(run: &Summary) -> Self {
        Self { started: run.started, run: Address::of(&run.key) }
    }

    /// As a page token. It sorts as the list does.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        let parts = moment::descending(self.started).into_iter().chain(*self.run.as_array());
        bytes.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        bytes
    }

    /// Of a page token. It holds no name: a forged one only moves within what the filter allows.
    ///
    /// # Errors
    /// [`Error::Invalid`] when it is not one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let place = bytes.split_first_chunk::<8>();
        let place =
            place.map(|(started, run)| (started, run.try_into() as Result<[u8; ADDRESS_BYTES], _>));
        match place {
            Some((started, Ok(run))) => Ok(Self {
                started: moment::from_descending(*started),
                run: Address::from_array(run),
            }),
            _ => Err(Error::Invalid(
                "page token: not one of ours; ask for the first page again".into(),
            )),
        }
    }
}

/// A piece of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Newest first. May be short, even empty, although more follow: see [`SCAN_ROWS_MAX`].
    pub runs: Vec<Summary>,
    /// Where to go on; `None` at the end of the list.
    pub next: Option<Position>,
}

impl Page {
    /// One page of the pages that several partitions gave for the same filter, position and limit.
    pub fn merge(pages: impl IntoIterator<Item = Self>, limit: usize) -> Self {
        let mut runs = Vec::new();
        let mut known_to: Option<Position> = None;
        for page in pages {
            runs.extend(page.runs.into_iter().map(|run| (Position::of(&run).to_bytes(), run)));
            known_to = match (known_to, page.next) {
                (Some(one), Some(other)) if other.to_bytes() < one.to_bytes() => Some(other),
                (None, other) => other,
                (one, _) => one,
            };
        }
        runs.sort_by_key(|(position, _)| *position);
        // Behind the first place where a partition stopped looking, runs may be missing.
        if let Some(known_to) = known_to.map(Position::to_bytes) {
            runs.retain(|(position, _)| *position <= known_to);
        }
        let full = runs.len() > limit;
        runs.truncate(limit);
        let runs: Vec<_> = runs.into_iter().map(|(_, run)| run).collect();
        let next = if full { runs.last().map(Position::of) } else { known_to };
        Self { runs, next }
    }
}

/// The first `limit` runs behind `after` that match.
pub(crate) fn list(
    view: &View,
    filter: &Filter,
    after: Option<Position>,
    limit: usize,
) -> Result<Page, Error> {
    let limit = limit.clamp(1, PAGE_RUNS_MAX);
    let oldest = filter.started_from.unwrap_or(Timestamp(i64::MIN));
    let after = after.map(|position| (position.started, position.run));
    let (from, to) = started::range(&filter.namespace, oldest, filter.started_before, after);
    let mut runs = Vec::new();
    if from >= to {
        return Ok(Page { runs, next: None });
    }
    let mut rows = view.rows.range(from, to);
    let mut last = None;
    for _ in 0..SCAN_ROWS_MAX {
        let Some(row) = rows.next() else { return Ok(Page { runs, next: None }) };
        let (started, run) = started::decode(&row?.0)?;
        // A run may have been retired since the row was read.
        if let Some(value) = view.rows.get(&summary::key(run))? {
            let summary = summary::decode(&value)?;
            if filter.matches(&summary) {
                runs.push(summary);
            }
        }
        if runs.len() == limit {
            let next = rows.next().is_some().then_some(Position { started, run });
            return Ok(Page { runs, next });
        }
        last = Some(Position { started, run });
    }
    Ok(Page { runs, next: last })
}
