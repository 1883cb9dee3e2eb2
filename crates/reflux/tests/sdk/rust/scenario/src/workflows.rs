//! Workflows and activities of the scenario in ../../README.md.

use std::time::Duration;

use anyhow::anyhow;
use serde::{Deserialize, Serialize};
use temporalio_common::RetryPolicy;
use temporalio_macros::{activities, workflow, workflow_methods};
use temporalio_sdk::activities::{ActivityContext, ActivityError};
use temporalio_sdk::{
    ActivityOptions, ChildWorkflowOptions, ContinueAsNewOptions, SyncWorkflowContext,
    WorkflowContext, WorkflowContextView, WorkflowResult,
};

const SOON: Duration = Duration::from_secs(20);

/// What the scenario gives.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    pub flaky: u32,
    pub resumed: u32,
    pub beats: u32,
    pub signal: String,
    pub rounds: u32,
    pub greeting: String,
}

pub struct Activities;

#[activities]
impl Activities {
    /// Fails twice.
    #[activity(name = "flaky")]
    pub async fn flaky(ctx: ActivityContext) -> Result<u32, ActivityError> {
        match ctx.info().attempt {
            attempt @ 0..3 => Err(anyhow!("attempt {attempt} fails").into()),
            attempt => Ok(attempt),
        }
    }

    /// Fails after three heartbeats, and its next attempt goes on from there.
    #[activity(name = "beat")]
    pub async fn beat(ctx: ActivityContext) -> Result<(u32, u32), ActivityError> {
        let resumed: Option<u32> = ctx.heartbeat_details().deserialize()?;
        let begin = resumed.unwrap_or(0);
        for count in begin + 1..=5 {
            ctx.record_heartbeat(count).await?;
            if count == 3 && resumed.is_none() {
                return Err(anyhow!("the first attempt fails").into());
            }
        }
        Ok((begin, 5))
    }

    /// What comes after the signal.
    #[activity(name = "greet")]
    pub async fn greet(_ctx: ActivityContext, name: String) -> Result<String, ActivityError> {
        Ok(format!("hello {name}"))
    }
}

/// Continues as new once and gives the number of its runs.
#[workflow]
#[derive(Default)]
pub struct Rounds;

#[workflow_methods]
impl Rounds {
    #[run(name = "Rounds")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, round: u32) -> WorkflowResult<u32> {
        if round < 2 {
            ctx.continue_as_new(round + 1, ContinueAsNewOptions::default())?;
        }
        Ok(round)
    }
}

/// The parent.
#[workflow]
#[derive(Default)]
pub struct Scenario {
    state: &'static str,
    signal: String,
}

#[workflow_methods]
impl Scenario {
    #[run(name = "Scenario")]
    pub async fn run(ctx: &mut WorkflowContext<Self>, child: String) -> WorkflowResult<Outcome> {
        let quick = RetryPolicy::builder().initial_interval(Duration::from_millis(20)).build();
        let retried =
            || ActivityOptions::with_start_to_close_timeout(SOON).retry_policy(quick.clone());
        let flaky = ctx.execute_activity(Activities::flaky, (), retried().build()).await?;
        let options = retried().heartbeat_timeout(SOON).build();
        let (resumed, beats) = ctx.execute_activity(Activities::beat, (), options).await?;
        ctx.timer(Duration::from_millis(100)).await;
        ctx.state_mut(|state| state.state = "waiting");
        ctx.wait_condition(|state| !state.signal.is_empty()).await?;
        let signal = ctx.state(|state| state.signal.clone());
        let options = ChildWorkflowOptions::workflow_id(child);
        let rounds = ctx.start_child_workflow(Rounds::run, 1u32, options).await?.result().await?;
        let options = ActivityOptions::start_to_close_timeout(SOON);
        let greeting = ctx.execute_activity(Activities::greet, signal.clone(), options).await?;
        ctx.state_mut(|state| state.state = "done");
        Ok(Outcome { flaky, resumed, beats, signal, rounds, greeting })
    }

    #[signal(name = "go")]
    pub fn go(&mut self, _ctx: &mut SyncWorkflowContext<Self>, value: String) {
        self.signal = value;
    }

    #[query(name = "state")]
    pub fn told(&self, _ctx: &WorkflowContextView) -> String {
        self.state.to_owned()
    }
}
