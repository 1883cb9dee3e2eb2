//! The scenario of ../../README.md with the Rust SDK.

mod workflows;

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use temporalio_client::{
    Client, ClientOptions, Connection, ConnectionOptions, Url, WorkflowExecutionInfo,
    WorkflowFetchHistoryOptions, WorkflowGetResultOptions, WorkflowHistory, WorkflowQueryOptions,
    WorkflowSignalOptions, WorkflowStartOptions,
};
use temporalio_common::protos::temporal::api::history::v1::history_event::Attributes;
use temporalio_common::protos::temporal::api::history::v1::{History, HistoryEvent};
use temporalio_sdk::workflow_replayer::{WorkflowReplayer, WorkflowReplayerOptions};
use temporalio_sdk::{Runtime, Worker, WorkerOptions};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};
use workflows::{Activities, Outcome, Rounds, Scenario};

const QUEUE: &str = "scenario";
const ID: &str = "scenario-rust";
const CHILD: &str = "scenario-rust-child";
/// The longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main]
async fn main() -> Result<()> {
    let address =
        std::env::var("TEMPORAL_ADDRESS").context("TEMPORAL_ADDRESS says where the server is")?;
    let connection = ConnectionOptions::new(Url::parse(&format!("http://{address}"))?).build();
    let connection = Connection::connect(connection).await?;
    let client = Client::new(connection, ClientOptions::new("default").build())?;
    match std::env::args().nth(1).as_deref() {
        Some("worker") => work(client).await,
        _ => timeout(PATIENCE * 3, scenario(client)).await?,
    }
}

async fn work(client: Client) -> Result<()> {
    let runtime = Runtime::from_current_tokio(Default::default())?;
    let options = WorkerOptions::new(QUEUE)
        .sticky_queue_schedule_to_start_timeout(Duration::from_secs(1))
        .register_workflow::<Scenario>()?
        .register_workflow::<Rounds>()?
        .register_activities(Activities)
        .build();
    Worker::new(&runtime, client, options)?.run().await?;
    Ok(())
}

/// A worker that dies with this process, and of a SIGKILL when told.
fn start_worker() -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    Ok(command.arg("worker").stdin(Stdio::null()).kill_on_drop(true).spawn()?)
}

async fn scenario(client: Client) -> Result<()> {
    let mut first = start_worker()?;
    let options = WorkflowStartOptions::new(QUEUE, ID).build();
    let run = client.start_workflow(Scenario::run, CHILD.to_owned(), options).await?;
    wait_for_state(&client, "waiting").await?;
    first.kill().await?;
    let _second = start_worker()?;
    wait_for_state(&client, "waiting").await.context("after the restart")?;
    run.signal(Scenario::go, "go".to_owned(), WorkflowSignalOptions::default()).await?;
    let outcome = run.get_result(WorkflowGetResultOptions::default()).await?;
    let expected = Outcome {
        flaky: 3,
        resumed: 3,
        beats: 5,
        signal: "go".to_owned(),
        rounds: 2,
        greeting: "hello go".to_owned(),
    };
    ensure!(outcome == expected, "expected {expected:?}, found {outcome:?}");
    wait_for_state(&client, "done").await?;
    replay(&client, run.run_id().context("a run that was started has an id")?).await
}

/// Asks until the run says so. A query may time out while no worker is there.
async fn wait_for_state(client: &Client, wanted: &str) -> Result<()> {
    let run = client.get_workflow_handle::<Scenario>(ID);
    let mut found = String::new();
    for _ in 0..PATIENCE.as_millis() / 100 {
        let asked = run.query(Scenario::told, (), WorkflowQueryOptions::default());
        found = match timeout(Duration::from_secs(5), asked).await {
            Ok(Ok(state)) if state == wanted => return Ok(()),
            Ok(answer) => format!("{answer:?}"),
            Err(late) => late.to_string(),
        };
        sleep(Duration::from_millis(100)).await;
    }
    bail!("the run never was {wanted}: {found}")
}

/// The parent's history and those of both runs of the child.
async fn replay(client: &Client, run_id: &str) -> Result<()> {
    let parent = history(client, ID, run_id).await?;
    let child = parent.iter().find_map(|event| match &event.attributes {
        Some(Attributes::ChildWorkflowExecutionStartedEventAttributes(started)) => {
            started.workflow_execution.clone()
        }
        _ => None,
    });
    let first = history(client, CHILD, &child.context("no child was started")?.run_id).await?;
    let Some(Attributes::WorkflowExecutionContinuedAsNewEventAttributes(continued)) =
        first.last().and_then(|event| event.attributes.clone())
    else {
        bail!("the child's first run did not continue as new")
    };
    let second = history(client, CHILD, &continued.new_execution_run_id).await?;
    let options = WorkflowReplayerOptions::new()
        .register_workflow::<Scenario>()?
        .register_workflow::<Rounds>()?
        .build();
    let replayer = WorkflowReplayer::new(options)?;
    for (name, events) in [("parent", parent), ("first child", first), ("second child", second)] {
        let history = WorkflowHistory::from(History { events });
        replayer.replay_workflow(history).await.with_context(|| format!("replay of the {name}"))?;
    }
    Ok(())
}

async fn history(client: &Client, id: &str, run_id: &str) -> Result<Vec<HistoryEvent>> {
    let run = WorkflowExecutionInfo::builder()
        .namespace("default")
        .workflow_id(id)
        .run_id(run_id)
        .build();
    let run = run.bind_untyped(client.clone());
    let events = run.fetch_history(WorkflowFetchHistoryOptions::default()).into_events().await?;
    ensure!(!events.is_empty(), "the history of {id} is empty");
    Ok(events)
}
