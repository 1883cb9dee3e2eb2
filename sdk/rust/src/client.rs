//! A client of the server's REST API: flows are deployed, runs started, followed and answered.
//!
//! ```text
//! Client ─ request ─→ http ─→ server          repeated while the server cannot take it
//!        └ watch ───→ watch ─ server-sent events, taken up again where they broke off
//! ```
//!
//! Absent: polls and tasks of workers, which speak Temporal's API.

mod error;
mod http;
mod run;
mod steer;
mod watch;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::Manifest;

pub use self::error::{Error, Refusal, RunFailed};
use self::http::Http;
pub use self::run::{Page, Run, RunStatus, Start, Update};
pub use self::watch::Watch;

/// Where a server is, and what it asks for.
#[derive(Clone)]
pub struct Options {
    /// Its HTTP address, such as `http://127.0.0.1:8233`.
    pub url: String,
    /// The token or key. Absent: the content of `.reflux/token` in this directory or one above it, once it is
    /// there, which is when the server has started for the first time.
    pub token: Option<String>,
    /// The namespace of the runs.
    pub namespace: String,
}

impl Default for Options {
    /// What `REFLUX_URL` and `REFLUX_TOKEN` say, else the server of this machine.
    fn default() -> Self {
        Self {
            url: said("REFLUX_URL").unwrap_or_else(|| "http://127.0.0.1:8233".to_owned()),
            token: said("REFLUX_TOKEN"),
            namespace: "default".to_owned(),
        }
    }
}

/// Calls one namespace of a server. Cheap to clone.
///
/// Every call may give [`Error::Refused`]. A request that the server could not take is repeated for a few
/// seconds; a repeated one counts once. Call it within a tokio runtime.
#[derive(Debug, Clone)]
pub struct Client {
    http: Http,
    namespace: String,
}

impl Client {
    /// A client; it connects at the first call.
    ///
    /// # Errors
    /// The address or the token cannot be used.
    pub fn new(options: Options) -> Result<Self, Error> {
        let http = Http::new(&options.url, options.token.as_deref())?;
        Ok(Self { http, namespace: options.namespace })
    }

    /// Deploys a flow's definition as the next version; the same again gives the version that is there.
    /// `file` is what problems call it; it may be empty.
    pub async fn deploy(&self, text: &str, file: &str) -> Result<Value, Error> {
        self.post(&["flows"], json!({"source": {"text": text, "file": file}})).await
    }

    /// Starts a run; it is durable when this returns. `input` becomes a JSON object.
    pub async fn start(
        &self,
        flow: &str,
        input: impl Serialize,
        more: Start,
    ) -> Result<Run, Error> {
        let request_id = more.request_id.unwrap_or_else(request_id);
        let body = json!({
            "flow": flow,
            "version": more.version,
            "input": value(&input)?,
            "workflow_id": more.workflow_id,
            "request_id": request_id,
            "use_existing": more.use_existing,
        });
        part(&mut self.post(&["runs"], body).await?, "run")
    }

    /// Starts a run and waits for its output; [`Error::Run`] if it ends without one.
    pub async fn run(
        &self,
        flow: &str,
        input: impl Serialize,
        more: Start,
    ) -> Result<Value, Error> {
        let run = self.start(flow, input, more).await?;
        self.result(&run.run_id).await
    }

    /// How a run stands, by run id or workflow id.
    pub async fn get(&self, run: &str) -> Result<Run, Error> {
        part(&mut self.read(&["runs", run], &[]).await?, "run")
    }

    /// What happened in a run, step by step, and what it waits for: the API's `DescribeRunResponse`.
    pub async fn describe(&self, run: &str) -> Result<Value, Error> {
        self.read(&["runs", run, "describe"], &[]).await
    }

    /// A page of runs, newest first; of one flow and with a text in them unless those are empty. The first page
    /// has an empty `token`.
    pub async fn runs(&self, flow: &str, text: &str, token: &str) -> Result<Page<Run>, Error> {
        let query = [("flow", flow), ("text", text), ("page_token", token)];
        page(self.read(&["runs"], &query).await?, "runs")
    }

    /// Waits until a run closes; its output, or [`Error::Run`].
    pub async fn result(&self, run: &str) -> Result<Value, Error> {
        let mut watch = self.watch(run, 0);
        while watch.next().await?.is_some() {}
        let mut described = self.describe(run).await?;
        let run: Run = part(&mut described, "run")?;
        if run.status != RunStatus::Completed {
            return Err(Error::Run(Box::new(RunFailed {
                run,
                error: take(&mut described, "error"),
            })));
        }
        Ok(take(&mut described, "output"))
    }

    /// Follows a run until it closes, behind the update with the number `after`; 0 is from its beginning.
    pub fn watch(&self, run: &str, after: u32) -> Watch {
        Watch::new(self.http.clone(), &self.namespace, run, after)
    }

    /// Sends a signal to an open run.
    pub async fn signal(&self, run: &str, name: &str, data: impl Serialize) -> Result<(), Error> {
        let body = json!({"name": name, "data": value(&data)?, "request_id": request_id()});
        self.post(&["runs", run, "signal"], body).await.map(drop)
    }

    /// Reads `state`, `input`, `output` or `steps/STEP` of a run.
    pub async fn query(&self, run: &str, query: &str) -> Result<Value, Error> {
        let mut answer = self.read(&["runs", run, "query"], &[("query", query)]).await?;
        Ok(take(&mut answer, "result"))
    }

    /// Answers an approval that a run waits for; `step` may be empty when there is only one.
    pub async fn approve(
        &self,
        run: &str,
        step: &str,
        approved: bool,
        by: &str,
        comment: &str,
    ) -> Result<(), Error> {
        let body = json!({
            "step": step, "approved": approved, "by": by, "comment": comment, "request_id": request_id(),
        });
        self.post(&["runs", run, "approve"], body).await.map(drop)
    }

    /// Asks a run to end; what it did is taken back where the flow says so.
    pub async fn cancel(&self, run: &str, reason: &str) -> Result<(), Error> {
        let body = json!({"reason": reason, "request_id": request_id()});
        self.post(&["runs", run, "cancel"], body).await.map(drop)
    }

    /// Ends a run at once.
    pub async fn terminate(&self, run: &str, reason: &str) -> Result<(), Error> {
        self.post(&["runs", run, "terminate"], json!({"reason": reason})).await.map(drop)
    }

    /// Hands out nothing new of a run until [`Client::resume`].
    pub async fn pause(&self, run: &str, reason: &str) -> Result<(), Error> {
        let body = json!({"reason": reason, "request_id": request_id()});
        self.post(&["runs", run, "pause"], body).await.map(drop)
    }

    /// Lets a paused run go on.
    pub async fn resume(&self, run: &str) -> Result<(), Error> {
        self.post(&["runs", run, "resume"], json!({"request_id": request_id()})).await.map(drop)
    }

    /// Makes a node known that workers serve on its manifest's task queue. The same again does nothing.
    pub async fn register_node(&self, manifest: &Manifest) -> Result<(), Error> {
        let body = json!({"manifest": value(manifest)?, "task_queue": manifest.task_queue()});
        let url = self.http.url(&["nodes"], &[]);
        self.http.send(reqwest::Method::POST, url, Some(&body)).await.map(drop)
    }

    /// A page of nodes in every version, by name; the API's `Node`. The first page has an empty `token`.
    pub async fn nodes(&self, text: &str, token: &str) -> Result<Page<Value>, Error> {
        let url = self.http.url(&["nodes"], &[("text", text), ("page_token", token)]);
        page(self.http.send(reqwest::Method::GET, url, None).await?, "nodes")
    }

    async fn read(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, Error> {
        let mut url = self.http.url(path, query);
        url.query_pairs_mut().append_pair("namespace", &self.namespace);
        self.http.send(reqwest::Method::GET, url, None).await
    }

    async fn post(&self, path: &[&str], mut body: Value) -> Result<Value, Error> {
        if let Some(fields) = body.as_object_mut() {
            fields.insert("namespace".to_owned(), self.namespace.clone().into());
        }
        self.http.send(reqwest::Method::POST, self.http.url(path, &[]), Some(&body)).await
    }
}

/// What an environment variable says; an empty one says nothing.
pub(crate) fn said(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// What the server of this project asks for, once it has started.
pub(crate) fn token_of_project() -> Option<String> {
    let here = std::env::current_dir().ok()?;
    let found =
        here.ancestors().find_map(|dir| std::fs::read_to_string(dir.join(".reflux/token")).ok());
    found.map(|token| token.trim().to_owned())
}

/// The same for every repetition of a request.
fn request_id() -> String {
    uuid::Uuid::now_v7().to_string()
}

fn value(from: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(from).map_err(|error| {
        Error::refused("invalid_argument", format!("what is sent is not JSON: {error}"))
    })
}

fn take(answer: &mut Value, field: &str) -> Value {
    answer.get_mut(field).map(Value::take).unwrap_or_default()
}

fn part<T: DeserializeOwned>(answer: &mut Value, field: &str) -> Result<T, Error> {
    serde_json::from_value(take(answer, field)).map_err(|error| {
        Error::refused("internal", format!("`{field}` of the answer cannot be read: {error}"))
    })
}

fn page<T: DeserializeOwned>(mut answer: Value, field: &str) -> Result<Page<T>, Error> {
    let next = answer.get("next_page_token").and_then(Value::as_str).unwrap_or_default().to_owned();
    Ok(Page { items: part(&mut answer, field)?, next })
}
