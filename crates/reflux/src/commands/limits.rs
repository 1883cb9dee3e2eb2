//! `limits`.

use std::collections::BTreeMap;
use std::str::FromStr as _;

use clap::Subcommand;
use reflux_flow::duration::parse_duration;
use reflux_server::client::{Client, Mode};
use reflux_server::{Error, Subject};
use serde_json::{Map, Value, json};

use super::{Done, done, leave, project};
use crate::cli::Global;
use crate::out::Out;

/// How fast nodes and task queues are called, circuits that keep calls from what fails anyway, and
/// the quotas of a namespace.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The namespace whose queues and quotas are listed
    #[arg(long, default_value = "default")]
    namespace: String,
    #[command(subcommand)]
    what: Option<What>,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Set the rate or the circuit of a node or a queue
    Set {
        /// `node:http.request`, `queue:emails`, `queue:NAMESPACE/emails`
        subject: String,
        /// At most so many attempts: `10/s`, `100/m`, `5/h`, `1/d`
        #[arg(long)]
        rate: Option<String>,
        /// Open the circuit after so many failed attempts
        #[arg(long, value_name = "COUNT", requires_all = ["within", "open"])]
        failures: Option<u32>,
        /// … within so long a time: `1m`
        #[arg(long, value_name = "TIME", requires = "failures")]
        within: Option<String>,
        /// … for so long: `30s`
        #[arg(long, value_name = "TIME", requires = "failures")]
        open: Option<String>,
    },
    /// Take away what was set; what a manifest declares holds again
    Unset {
        /// `node:http.request`, `queue:emails`
        subject: String,
    },
    /// Close an open circuit
    Reset {
        /// `node:http.request`, `queue:emails`
        subject: String,
    },
}

pub fn run(args: Args, global: &Global, out: &Out) -> Done {
    let client = Client::open_or_make(&project(global)?, Mode::Look)?;
    match args.what {
        None => list(&client, &args.namespace, out)?,
        Some(What::Set { subject, rate, failures, within, open }) => {
            let mut request = named(&subject)?;
            request.insert("rate".to_owned(), json!(rate.unwrap_or_default()));
            if let (Some(failures), Some(within), Some(open)) = (failures, within, open) {
                let circuit = json!({
                    "failures": failures, "within": seconds(&within)?, "open": seconds(&open)?,
                });
                request.insert("circuit".to_owned(), circuit);
            }
            let set = client.api("LimitService/SetLimit", Value::Object(request))?;
            let limit = set.get("limit").unwrap_or(&Value::Null);
            match out.is_json() {
                true => out.value(limit),
                false => line(limit, out),
            }
        }
        Some(What::Unset { subject }) => {
            client.api("LimitService/UnsetLimit", Value::Object(named(&subject)?))?;
            said(
                json!({ "unset": subject }),
                &format!("{subject} has the limits of its manifest"),
                out,
            );
        }
        Some(What::Reset { subject }) => {
            let reset = client.api("LimitService/ResetCircuit", Value::Object(named(&subject)?))?;
            let was_open = reset.get("was_open") == Some(&Value::Bool(true));
            let text = match was_open {
                true => format!("the circuit of {subject} is closed"),
                false => format!("the circuit of {subject} was not open"),
            };
            said(json!({ "was_open": was_open }), &text, out);
        }
    }
    leave(client);
    done()
}

/// What holds attempts now, by subject: why, and until when.
pub fn holds(
    client: &Client,
    namespace: &str,
) -> Result<BTreeMap<String, (String, String)>, Error> {
    let found = client.api("LimitService/ListLimits", json!({ "namespace": namespace }))?;
    let limits = found.get("limits").and_then(Value::as_array);
    let held = limits.into_iter().flatten().filter_map(|limit| {
        let why = text(limit, "holds");
        (!why.is_empty()).then(|| (text(limit, "subject"), (why, until(limit))))
    });
    Ok(held.collect())
}

/// A subject as a request names it.
fn named(subject: &str) -> Result<Map<String, Value>, Error> {
    let subject = Subject::from_str(subject).map_err(|error| {
        let (message, advice) = error.split_once("; ").unwrap_or((&error, ""));
        Error::invalid(message).suggest(advice)
    })?;
    let request = match subject {
        Subject::Node(name) => json!({ "node": *name }),
        Subject::Queue { namespace, name } => json!({ "namespace": *namespace, "queue": *name }),
    };
    Ok(request.as_object().cloned().unwrap_or_default())
}

/// A length of time as the API writes it.
fn seconds(written: &str) -> Result<String, Error> {
    let length = parse_duration(written).map_err(Error::invalid)?;
    Ok(format!("{}s", length.as_secs()))
}

fn said(value: Value, words: &str, out: &Out) {
    match out.is_json() {
        true => out.value(&value),
        false => out.line(words),
    }
}

fn list(client: &Client, namespace: &str, out: &Out) -> Result<(), Error> {
    let found = client.api("LimitService/ListLimits", json!({ "namespace": namespace }))?;
    if out.is_json() {
        out.value(&found);
        return Ok(());
    }
    let rows =
        |key: &str| found.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let limits = rows("limits");
    if limits.is_empty() {
        out.note("no node and no queue has a limit; set one with `reflux limits set node:NAME --rate 10/s`");
    }
    limits.iter().for_each(|limit| line(limit, out));
    out.line(format!("quotas of the namespace {namespace}:"));
    for quota in rows("quotas") {
        // 64-bit numbers are text in the JSON of protobuf.
        let figure = |key: &str| match quota.get(key)? {
            Value::Null => None,
            Value::String(text) => Some(text.clone()),
            other => Some(other.to_string()),
        };
        let name = text(quota, "name");
        out.line(match (figure("used"), figure("max")) {
            (Some(used), Some(max)) => format!("  {name}  {used} of {max}"),
            (Some(used), None) => format!("  {name}  {used}"),
            (None, Some(max)) => format!("  {name}  at most {max}"),
            (None, None) => format!("  {name}  no bound"),
        });
    }
    Ok(())
}

fn line(limit: &Value, out: &Out) {
    let mut parts = Vec::new();
    let rate = text(limit, "rate");
    if !rate.is_empty() {
        parts.push(rate);
    }
    let worker_rate = text(limit, "worker_rate");
    if !worker_rate.is_empty() {
        parts.push(format!("{worker_rate} by its workers"));
    }
    if let Some(circuit) = limit.get("circuit").filter(|circuit| circuit.is_object()) {
        parts.push(format!(
            "circuit {} ({} failures within {} open it for {})",
            text(limit, "state").replace('_', "-"),
            circuit["failures"],
            text(circuit, "within"),
            text(circuit, "open"),
        ));
    }
    out.line(format!("{}  {}", out.style().paint(1, &text(limit, "subject")), parts.join(", ")));
    let holds = text(limit, "holds");
    if !holds.is_empty() {
        out.line(format!("    until {}: {holds}", until(limit)));
    }
}

/// Until when a limit holds, in whole seconds.
fn until(limit: &Value) -> String {
    let written = text(limit, "holds_until");
    let whole = written.split(['.', '+', 'Z']).next().unwrap_or_default();
    format!("{whole}Z")
}

fn text(of: &Value, key: &str) -> String {
    of[key].as_str().unwrap_or_default().to_owned()
}
