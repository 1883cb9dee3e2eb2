//! Runs looked back at, changed and run again.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Client, Error, Run, part, request_id, take, value};

impl Client {
    /// How a run stood when that event was its last, or as it is now when `event` is 0: the API's state.
    pub async fn state(&self, run: &str, event: u32) -> Result<Value, Error> {
        let event = event.to_string();
        let mut answer = self.read(&["runs", run, "state"], &[("event", &event)]).await?;
        Ok(take(&mut answer, "state"))
    }

    /// Whether the run's flow, or the definition in `source` unless that is empty, would decide what was recorded:
    /// the API's `VerifyRunResponse`.
    pub async fn verify(&self, run: &str, source: &str) -> Result<Value, Error> {
        let body = match source {
            "" => json!({}),
            text => json!({"with": {"source": {"text": text}}}),
        };
        self.post(&["runs", run, "verify"], body).await
    }

    /// Two runs side by side, step by step: the API's `DiffRunsResponse`.
    pub async fn diff(&self, run: &str, other: &str) -> Result<Value, Error> {
        self.read(&["runs", run, "diff"], &[("other", other)]).await
    }

    /// Changes the graph of a run; the revision of its flow from then on. `patch` becomes JSON:
    /// `{"revision", "reason", "ops": […]}`.
    pub async fn mutate(&self, run: &str, patch: impl Serialize) -> Result<u32, Error> {
        let body = json!({"patch": value(&patch)?.to_string(), "request_id": request_id()});
        part(&mut self.post(&["runs", run, "mutate"], body).await?, "revision")
    }

    /// Pauses a run before the steps of `add`; no more before those of `remove`.
    pub async fn breakpoints(&self, run: &str, add: &[&str], remove: &[&str]) -> Result<(), Error> {
        let body = json!({"add": add, "remove": remove, "request_id": request_id()});
        self.post(&["runs", run, "breakpoints"], body).await.map(drop)
    }

    /// Lets a run go on for so many starts of steps and items, then pauses it again.
    pub async fn step(&self, run: &str, steps: u32) -> Result<(), Error> {
        let body = json!({"steps": steps, "request_id": request_id()});
        self.post(&["runs", run, "step"], body).await.map(drop)
    }

    /// Runs a run again without doing again what it did. `redrive` becomes the JSON of the API's `Redrive`.
    pub async fn redrive(&self, run: &str, redrive: impl Serialize) -> Result<Run, Error> {
        let body = json!({"redrive": value(&redrive)?, "request_id": request_id()});
        part(&mut self.post(&["runs", run, "redrive"], body).await?, "run")
    }

    /// What a re-drive would do: the API's `PlanRedriveResponse`. Nothing is called or recorded.
    pub async fn plan_redrive(&self, run: &str, redrive: impl Serialize) -> Result<Value, Error> {
        self.post(&["runs", run, "redrive", "plan"], json!({"redrive": value(&redrive)?})).await
    }

    /// A new run in the state that a run had at one of its events. `workflow_id` is its own; empty is that of the
    /// run, which has to be closed then.
    pub async fn fork(&self, run: &str, from_event: u32, workflow_id: &str) -> Result<Run, Error> {
        let body = json!({
            "from_event": from_event, "workflow_id": workflow_id, "request_id": request_id(),
        });
        part(&mut self.post(&["runs", run, "fork"], body).await?, "run")
    }

    /// Re-drives every run that a query takes, at most so many per second, 0 is as fast as it goes; the run that
    /// does so.
    pub async fn redrive_runs(
        &self,
        query: &str,
        redrive: impl Serialize,
        per_second: u32,
    ) -> Result<Run, Error> {
        let body = json!({
            "query": query, "redrive": value(&redrive)?, "per_second": per_second,
            "request_id": request_id(),
        });
        part(&mut self.post(&["redrives"], body).await?, "run")
    }

    /// Pauses every open run that a query takes, at most so many per second; the run that does so.
    pub async fn pause_runs(&self, query: &str, per_second: u32) -> Result<Run, Error> {
        self.suspend("runs:pause", query, per_second).await
    }

    /// Lets every paused run that a query takes go on, at most so many per second; the run that does so.
    pub async fn resume_runs(&self, query: &str, per_second: u32) -> Result<Run, Error> {
        self.suspend("runs:resume", query, per_second).await
    }

    async fn suspend(&self, call: &str, query: &str, per_second: u32) -> Result<Run, Error> {
        let body = json!({"query": query, "per_second": per_second, "request_id": request_id()});
        part(&mut self.post(&[call], body).await?, "run")
    }
}
