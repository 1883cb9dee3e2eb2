//! Questions to runs: asked by themselves, riding on a task, of closed runs, lost.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod code;

use std::time::Duration;

use code::{Code, Task, complete};
use reflux_core::{Command, Payloads, RunKey, Sticky, Terminate, json_payload};
use reflux_engine::{Engine, Error, Offer, QueryOutcome, QueueKind};
use reflux_proto::temporal::api::query::v1::WorkflowQuery;
use tokio::task::JoinHandle;

type Asked = JoinHandle<Result<QueryOutcome, Error>>;

fn what(kind: &str) -> WorkflowQuery {
    WorkflowQuery { query_type: kind.into(), ..WorkflowQuery::default() }
}

fn answer(text: &str) -> QueryOutcome {
    QueryOutcome::Answered(Payloads { payloads: vec![json_payload(text.to_owned())] })
}

/// Asks, and waits until the run's partition has taken the question in.
async fn ask(code: &Code, run: &RunKey, kind: &str) -> Asked {
    let (engine, run, query): (Engine, _, _) = (code.engine.clone(), run.clone(), what(kind));
    let asked = tokio::spawn({
        let run = run.clone();
        async move { engine.query(run, query).await }
    });
    tokio::task::yield_now().await;
    code.status(&run).await;
    asked
}

/// Takes a question from a queue and answers it.
async fn serve(code: &Code, queue: &str, kind: &str, text: &str) {
    let Offer::Query { run, id } = code.poll(queue, QueueKind::Workflow).await else { panic!() };
    assert_eq!(code.engine.open_query(&run, &id).unwrap().query_type, kind);
    assert!(code.engine.answer_query(&run, &id, answer(text)));
    assert!(!code.engine.answer_query(&run, &id, answer(text)), "once");
    assert!(code.engine.open_query(&run, &id).is_none());
}

async fn finish_task(code: &Code, task: &Task) {
    code.complete_task(task, vec![]).await.unwrap();
}

#[tokio::test]
async fn a_run_whose_worker_is_free_is_asked_directly() {
    let code = Code::open();
    let run = code.start("w").await;
    finish_task(&code, &code.task("tasks").await).await;
    let asked = ask(&code, &run, "state").await;
    serve(&code, "tasks", "state", "1").await;
    assert_eq!(asked.await.unwrap().unwrap(), answer("1"));
}

#[tokio::test]
async fn a_worker_that_has_the_run_in_its_cache_is_asked_first() {
    let code = Code::open();
    let run = code.start("w").await;
    let schedule_to_start = Duration::from_secs(5);
    let sticky = Some(Sticky { task_queue: "mine".into(), schedule_to_start });
    let task = code.task("tasks").await;
    code.complete_sticky(&task, vec![], sticky).await.unwrap();
    assert!(code.is_empty("mine", QueueKind::Workflow).await);
    let asked = ask(&code, &run, "state").await;
    serve(&code, "mine", "state", "2").await;
    assert_eq!(asked.await.unwrap().unwrap(), answer("2"));
}

#[tokio::test]
async fn a_question_to_a_run_that_has_a_task_pending_rides_on_it() {
    let code = Code::open();
    let run = code.start("w").await;
    let asked = ask(&code, &run, "state").await;
    let task = code.task("tasks").await;
    let [query] = &task.queries[..] else { panic!("{:?}", task.queries) };
    assert_eq!(query.query.query_type, "state");
    assert!(code.engine.answer_query(&run, &query.id, answer("3")));
    finish_task(&code, &task).await;
    assert_eq!(asked.await.unwrap().unwrap(), answer("3"));
    assert!(code.is_empty("tasks", QueueKind::Workflow).await);
}

#[tokio::test]
async fn a_task_in_hand_does_not_answer_what_came_later() {
    let code = Code::open();
    let run = code.start("w").await;
    let task = code.task("tasks").await;
    code.signal(&run, "before the question").await;
    let asked = ask(&code, &run, "state").await;
    let again = code.start_task(&run, task.scheduled, &task.request_id).await.unwrap();
    assert!(again.queries.is_empty(), "the worker has not seen the signal");
    finish_task(&code, &task).await;
    // The signal makes a task, and the question rides on it.
    let task = code.task("tasks").await;
    assert_eq!(task.queries.len(), 1);
    assert!(code.engine.answer_query(&run, &task.queries[0].id, answer("4")));
    assert_eq!(asked.await.unwrap().unwrap(), answer("4"));
    finish_task(&code, &task).await;
}

#[tokio::test]
async fn a_question_that_no_task_took_along_is_asked_when_the_worker_is_free() {
    let code = Code::open();
    let run = code.start("w").await;
    let task = code.task("tasks").await;
    let asked = ask(&code, &run, "state").await;
    finish_task(&code, &task).await;
    serve(&code, "tasks", "state", "5").await;
    assert_eq!(asked.await.unwrap().unwrap(), answer("5"));
}

#[tokio::test]
async fn a_closed_run_can_be_asked_if_its_code_ever_ran() {
    let code = Code::open();
    let run = code.start("w").await;
    code.decide(vec![complete()]).await;
    let asked = ask(&code, &run, "state").await;
    serve(&code, "tasks", "state", "6").await;
    assert_eq!(asked.await.unwrap().unwrap(), answer("6"));

    let mute = code.start("mute").await;
    let asked = ask(&code, &mute, "state").await;
    code.command(&mute, Command::Terminate(Terminate::default())).await.unwrap();
    assert!(matches!(asked.await.unwrap(), Err(Error::Rejected(_))));
    assert!(matches!(code.engine.query(mute, what("state")).await, Err(Error::Rejected(_))));
}

#[tokio::test]
async fn a_question_whose_caller_has_gone_is_gone_too() {
    let code = Code::open();
    let run = code.start("w").await;
    let asked = ask(&code, &run, "state").await;
    asked.abort();
    assert!(asked.await.unwrap_err().is_cancelled());
    assert!(code.task("tasks").await.queries.is_empty());
}

#[tokio::test]
async fn a_failed_answer_reaches_the_caller() {
    let code = Code::open();
    let run = code.start("w").await;
    finish_task(&code, &code.task("tasks").await).await;
    let asked = ask(&code, &run, "state").await;
    let Offer::Query { run, id } = code.poll("tasks", QueueKind::Workflow).await else { panic!() };
    let failed = QueryOutcome::Failed { message: "unknown query".into(), failure: None };
    assert!(code.engine.answer_query(&run, &id, failed.clone()));
    assert_eq!(asked.await.unwrap().unwrap(), failed);
}

#[tokio::test]
async fn a_stop_loses_questions_and_says_so() {
    let code = Code::open();
    let run = code.start("w").await;
    let asked = ask(&code, &run, "state").await;
    let engine = code.engine.clone();
    tokio::task::spawn_blocking(move || engine.shutdown()).await.unwrap();
    let lost = asked.await.unwrap().unwrap_err();
    assert!(lost.is_retryable(), "{lost}");
}

#[tokio::test]
async fn a_run_has_a_bounded_number_of_open_questions() {
    let code = Code::open();
    let run = code.start("w").await;
    let mut asked = Vec::new();
    for _ in 0..reflux_core::QUERIES_MAX {
        asked.push(ask(&code, &run, "state").await);
    }
    let refused = code.engine.query(run.clone(), what("one more")).await;
    assert!(matches!(refused, Err(Error::Rejected(_))), "{refused:?}");
    let task = code.task("tasks").await;
    assert_eq!(task.queries.len(), reflux_core::QUERIES_MAX);
    asked.iter().for_each(JoinHandle::abort);
}
