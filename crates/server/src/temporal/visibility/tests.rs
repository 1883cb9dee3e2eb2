use std::sync::Arc;

use reflux_core::{RunId, RunKey, Status, Timestamp};
use reflux_store::Summary;

use super::Query;

const SECOND: i64 = 1_000_000_000;

fn run(id: &str, kind: &str, status: Status, started: i64, closed: Option<i64>) -> Summary {
    let key =
        RunKey { namespace: "default".into(), workflow_id: id.into(), run_id: RunId::default() };
    Summary {
        parent: (id == "child").then(|| RunKey { workflow_id: "mother".into(), ..key.clone() }),
        key,
        workflow_type: kind.into(),
        status,
        started: Timestamp(started * SECOND),
        closed: closed.map(|at| Timestamp(at * SECOND)),
        first_run_id: RunId::default(),
        request_id: Arc::from(""),
        due: None,
        waiting: Vec::new(),
        working: false,
        expires: None,
        items: 0,
        bytes: 0,
        events: u64::try_from(id.len()).unwrap(),
        steps_done: 0,
        steps_total: 0,
        error: None,
        spec: None,
        redrive_of: None,
    }
}

/// What a filter takes of four runs, also behind what the store narrows.
fn check(text: &str, expected: &[&str]) {
    let runs = [
        run("a", "Greet", Status::Running, 100, None),
        run("b'c", "Greet", Status::Completed, 200, Some(250)),
        run("child", "Pay", Status::Failed, 300, Some(350)),
        run("d%", "Pay", Status::TimedOut, 400, Some(450)),
    ];
    let query = Query::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let filter = query.filter("default");
    let taken: Vec<_> = runs
        .iter()
        .filter(|run| query.matches(run))
        .inspect(|run| assert!(filter.matches(run), "{text}: the store would leave a run out"))
        .map(|run| &*run.key.workflow_id)
        .collect();
    assert_eq!(taken, expected, "{text}");
}

#[test]
fn a_filter_takes_what_it_says() {
    check("", &["a", "b'c", "child", "d%"]);
    check("WorkflowType = 'Pay'", &["child", "d%"]);
    check("WorkflowType != \"Pay\"", &["a", "b'c"]);
    check("WorkflowType <> 'Pay' and WorkflowId = 'a'", &["a"]);
    check("`WorkflowId` = 'b''c'", &["b'c"]);
    check(r"WorkflowId = 'b\'c'", &["b'c"]);
    check("WorkflowId STARTS_WITH 'd%'", &["d%"]);
    check("WorkflowId NOT STARTS_WITH 'd'", &["a", "b'c", "child"]);
    check("WorkflowId IN ('a', 'child', 'nobody')", &["a", "child"]);
    check("WorkflowId NOT IN ('a', 'child')", &["b'c", "d%"]);
    check("RunId = '00000000-0000-0000-0000-000000000000'", &["a", "b'c", "child", "d%"]);
    check("ExecutionStatus = 'Running'", &["a"]);
    check("ExecutionStatus = 'timedout' OR ExecutionStatus = 2", &["b'c", "d%"]);
    check("ExecutionStatus IN (\"Failed\", 'Completed')", &["b'c", "child"]);
    check("ExecutionStatus != 'Running' AND WorkflowType = 'Greet'", &["b'c"]);
    check("StartTime >= '1970-01-01T00:03:20Z'", &["b'c", "child", "d%"]);
    check("StartTime > '1970-01-01T00:03:20Z' AND StartTime < '1970-01-01T00:06:40Z'", &["child"]);
    check(
        "StartTime BETWEEN '1970-01-01T00:01:40Z' AND '1970-01-01T01:03:20+01:00'",
        &["a", "b'c"],
    );
    check("StartTime <= 100000000000", &["a"]);
    check("CloseTime > '1970-01-01T00:05:00Z'", &["child", "d%"]);
    check("HistoryLength BETWEEN 2 AND 3", &["b'c", "d%"]);
    check("ParentWorkflowId = 'mother'", &["child"]);
    check("ParentWorkflowId IS NULL", &["a", "b'c", "d%"]);
    check("CloseTime IS NOT NULL AND NOT (WorkflowType = 'Pay')", &["b'c"]);
    check("WorkflowId = 'a' OR WorkflowId = 'child' AND WorkflowType = 'Greet'", &["a"]);
    check("(WorkflowId = 'a' OR WorkflowId = 'child') AND WorkflowType = 'Pay'", &["child"]);
    check("WorkflowType = 'Pay' ORDER BY StartTime DESC", &["child", "d%"]);
    check("ORDER BY StartTime DESC", &["a", "b'c", "child", "d%"]);
}

#[test]
fn what_is_absent_is_neither_equal_nor_different() {
    check("CloseTime != '1970-01-01T00:05:00Z'", &["b'c", "child", "d%"]);
    check("NOT CloseTime = '1970-01-01T00:05:00Z'", &["b'c", "child", "d%"]);
    check("CloseTime > 0 OR WorkflowId = 'a'", &["a", "b'c", "child", "d%"]);
    check("CloseTime > 0 AND WorkflowId = 'a'", &[]);
    check("NOT (CloseTime > 0 AND WorkflowId = 'b')", &["a", "b'c", "child", "d%"]);
}

fn refused(text: &str, says: &str) {
    let error = Query::parse(text).map(|_| text).unwrap_err().to_string();
    assert!(error.contains(says), "{text}: {error}");
}

#[test]
fn what_is_not_understood_is_refused_with_its_place() {
    refused(
        "WorkflowType",
        "expected =, !=, <, <=, >, >=, IN, BETWEEN, STARTS_WITH or IS, found the end at character 13",
    );
    refused("WorkflowTipe = 'x'", "`WorkflowTipe` is not a field that can be filtered by");
    refused("workflowtype = 'x'", "write WorkflowType at character 1");
    refused("WorkflowType = x", "expected a text in quotes at character 16");
    refused("WorkflowType = 'x", "has no closing ' at character 16");
    refused("WorkflowType = 'ä' AND ;", "`;` has no meaning at character 24");
    refused(
        "WorkflowType = 'x' WorkflowId = 'y'",
        "expected AND, OR or the end, found `WorkflowId`",
    );
    refused("(WorkflowType = 'x'", "expected `)`, found the end");
    refused("WorkflowType = 'x')", "expected AND, OR or the end, found `)`");
    refused("ExecutionStatus = 'Done'", "expected one of 'Running', 'Completed'");
    refused("ExecutionStatus > 'Running'", "has no order");
    refused("ExecutionStatus = 9", "expected one of");
    refused("StartTime > 'yesterday'", "expected a time");
    refused("StartTime BETWEEN 1", "expected AND, found the end");
    refused("HistoryLength > 'x'", "expected a whole number");
    refused("HistoryLength > 1x", "`1x` is not a whole number");
    refused("StartTime STARTS_WITH '2026'", "STARTS_WITH takes");
    refused("WorkflowId LIKE 'a%'", "found `LIKE`");
    refused("WorkflowId IN ()", "expected a text in quotes");
    refused("WorkflowId NOT = 'a'", "expected IN, BETWEEN or STARTS_WITH");
    refused("ORDER BY CloseTime", "leave ORDER BY out");
    refused("GROUP BY WorkflowType", "only GROUP BY ExecutionStatus");
    refused("'; DROP TABLE runs; --", "has no closing '");
    refused(&"(".repeat(100), "nested deeper than 32 levels");
    refused(&"NOT ".repeat(100), "nested deeper than 32 levels");
    refused(&"x".repeat(20_000), "more than 16384 bytes");
    let many = format!("WorkflowId IN ('a'{})", ",'a'".repeat(1_000));
    refused(&many, "more than 1000 values");
}

#[test]
fn counts_may_be_grouped_by_status() {
    assert!(Query::parse("WorkflowType = 'x' GROUP BY ExecutionStatus").unwrap().by_status);
    assert!(!Query::parse("WorkflowType = 'x'").unwrap().by_status);
}

#[test]
fn values_are_compared_and_never_carried_out() {
    check("WorkflowType = '' OR WorkflowType = 'x'' OR ''1''=''1'", &[]);
    check("WorkflowId STARTS_WITH '%'", &[]);
}
