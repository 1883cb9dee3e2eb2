//! Lists of runs and their number.

use std::collections::BTreeMap;

use reflux_core::{json_payload, wire};
use reflux_engine::Engine;
use reflux_proto::temporal::api::common::v1::WorkflowType;
use reflux_proto::temporal::api::workflow::v1::WorkflowExecutionInfo;
use reflux_proto::temporal::api::workflowservice::v1::count_workflow_executions_response::AggregationGroup;
use reflux_proto::temporal::api::workflowservice::v1::{
    CountWorkflowExecutionsRequest, CountWorkflowExecutionsResponse, ListWorkflowExecutionsRequest,
    ListWorkflowExecutionsResponse,
};
use reflux_store::{PAGE_RUNS_MAX, Position, Summary};
use tonic::Status;

use super::Frontend;
use super::convert::{to_execution, to_status};
use super::errors::{invalid, refused};
use super::visibility::{Query, status_name};

/// Pieces of the store's list that one page looks at: a filter that matches nothing answers with
/// an empty page and goes on from there.
const PIECES_MAX: usize = 20;

impl Frontend {
    pub(super) async fn list(
        &self,
        request: ListWorkflowExecutionsRequest,
    ) -> Result<ListWorkflowExecutionsResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let query = parse(&request.query)?;
        let limit = match usize::try_from(request.page_size) {
            Ok(asked @ 1..) => asked.min(PAGE_RUNS_MAX),
            Ok(0) | Err(_) => PAGE_RUNS_MAX,
        };
        let after = match &*request.next_page_token {
            [] => None,
            token => Some(
                Position::from_bytes(token)
                    .map_err(|_| invalid("Invalid NextPageToken: ask for the first page again"))?,
            ),
        };
        let engine = self.app.engine.clone();
        let list = move || page(&engine, &query, &namespace, after, limit);
        let (runs, next) = blocking(list).await?;
        Ok(ListWorkflowExecutionsResponse {
            executions: runs.iter().map(info).collect(),
            next_page_token: next.map(|next| next.to_bytes().to_vec()).unwrap_or_default().into(),
        })
    }

    pub(super) async fn count(
        &self,
        request: CountWorkflowExecutionsRequest,
    ) -> Result<CountWorkflowExecutionsResponse, Status> {
        let namespace = self.namespace(request.namespace)?;
        let query = parse(&request.query)?;
        let grouped = query.by_status;
        let engine = self.app.engine.clone();
        let counts = blocking(move || count(&engine, &query, &namespace)).await?;
        let groups = counts.iter().filter(|_| grouped).map(|(status, count)| AggregationGroup {
            group_values: vec![keyword(status)],
            count: *count,
        });
        Ok(CountWorkflowExecutionsResponse {
            count: counts.values().sum(),
            groups: groups.collect(),
        })
    }
}

fn parse(query: &str) -> Result<Query, Status> {
    Query::parse(query).map_err(|wrong| invalid(wrong.to_string()))
}

/// The store's lists block their thread.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, reflux_engine::Error> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(refused),
        Err(_) => Err(Status::unavailable("the server is stopping")),
    }
}

/// The newest runs that a filter of this language and `takes` take, at most so many.
///
/// # Errors
/// The filter cannot be read, or the store cannot.
pub(crate) fn newest(
    engine: &Engine,
    query: &str,
    namespace: &str,
    max: usize,
    takes: impl Fn(&Summary) -> bool,
) -> Result<Vec<Summary>, crate::Error> {
    let query = Query::parse(query).map_err(|wrong| crate::Error::invalid(wrong.to_string()))?;
    let (mut found, mut after) = (Vec::new(), None);
    while found.len() < max {
        let limit = PAGE_RUNS_MAX.min(max - found.len());
        let (runs, next) = page(engine, &query, namespace, after, limit)?;
        found.extend(runs.into_iter().filter(&takes));
        after = next;
        if after.is_none() {
            break;
        }
    }
    Ok(found)
}

type Runs = (Vec<Summary>, Option<Position>);

fn page(
    engine: &Engine,
    query: &Query,
    namespace: &str,
    mut after: Option<Position>,
    limit: usize,
) -> Result<Runs, reflux_engine::Error> {
    let filter = query.filter(namespace);
    let mut runs = Vec::new();
    for _ in 0..PIECES_MAX {
        let piece = engine.list(&filter, after, limit)?;
        let mut found = piece.runs.into_iter().filter(|run| query.matches(run));
        runs.extend(found.by_ref().take(limit - runs.len()));
        after = piece.next;
        if found.next().is_some() {
            // More of this piece than the page takes: the next one goes on behind its last run.
            after = runs.last().map(Position::of);
        }
        if runs.len() == limit || after.is_none() {
            break;
        }
    }
    Ok((runs, after))
}

fn count(
    engine: &Engine,
    query: &Query,
    namespace: &str,
) -> Result<BTreeMap<&'static str, i64>, reflux_engine::Error> {
    let filter = query.filter(namespace);
    let mut counts = BTreeMap::new();
    let mut after = None;
    loop {
        let piece = engine.list(&filter, after, PAGE_RUNS_MAX)?;
        for run in piece.runs.iter().filter(|run| query.matches(run)) {
            *counts.entry(status_name(run.status)).or_insert(0) += 1;
        }
        after = piece.next;
        if after.is_none() {
            return Ok(counts);
        }
    }
}

/// A search attribute's value as SDKs read it.
fn keyword(text: &str) -> reflux_core::Payload {
    let mut payload = json_payload(format!("\"{text}\""));
    payload.metadata.insert("type".to_owned(), "Keyword".into());
    payload
}

fn info(run: &Summary) -> WorkflowExecutionInfo {
    let closed = run.closed;
    WorkflowExecutionInfo {
        execution: Some(to_execution(&run.key)),
        r#type: Some(WorkflowType { name: run.workflow_type.to_string() }),
        start_time: wire::to_time(run.started),
        execution_time: wire::to_time(run.started),
        close_time: closed.and_then(wire::to_time),
        status: to_status(run.status).into(),
        history_length: i64::try_from(run.events).unwrap_or(i64::MAX),
        history_size_bytes: i64::try_from(run.bytes).unwrap_or(i64::MAX),
        parent_namespace_id: run
            .parent
            .as_ref()
            .map(|parent| super::namespaces::id(&parent.namespace))
            .unwrap_or_default(),
        parent_execution: run.parent.as_ref().map(to_execution),
        execution_duration: closed.map(|end| wire::to_length(end.since(run.started))),
        first_run_id: run.first_run_id.to_string(),
        ..Default::default()
    }
}
