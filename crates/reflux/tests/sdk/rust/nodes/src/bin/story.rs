//! A run that failed is looked at, mended and run again; another is paused, changed, resumed and forked.

use std::time::Duration;

use reflux_sdk::client::{Client, Error, Options, RunStatus, Start};
use serde_json::{Value, json};

type Done<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main]
async fn main() -> Done<()> {
    let client = Client::new(Options::default())?;
    mended(&client).await?;
    steered(&client).await?;
    together(&client).await
}

/// Twenty steps, of which the twelfth is refused.
async fn mended(client: &Client) -> Done<()> {
    let other = std::fs::read_to_string("mended.yaml")?;
    let base = start(client, "chain", "chain-1").await?;
    assert!(
        matches!(client.result(&base).await, Err(Error::Run(failed)) if failed.run.status == RunStatus::Failed)
    );

    let state = client.state(&base, 0).await?;
    assert_eq!(
        (&state["status"], &step(&state, "s11")["outcome"]),
        (&json!("failed"), &json!("succeeded"))
    );
    assert_eq!(step(&state, "s12")["outcome"], "failed");
    assert!(step(&state, "s12")["error"].to_string().contains("400"), "{state:#}");
    assert_eq!(step(&state, "s13")["phase"], "idle");
    assert_eq!(client.verify(&base, "").await?["verified"], true);
    let elsewhere = client.verify(&base, &other).await?;
    assert_eq!(elsewhere["verified"], false);
    assert_eq!(elsewhere["divergence"]["recorded"]["activation"], "s12", "{elsewhere:#}");
    assert_eq!(elsewhere["divergence"]["differences"][0]["path"], "input/url", "{elsewhere:#}");

    let mut patch = json!({"source": {"text": other, "file": "mended.yaml"}, "reason": "mended"});
    let plan = client.plan_redrive(&base, &patch).await?;
    let counted = (&plan["kept"], &plan["runs"], &plan["needs_consent"]);
    assert_eq!(counted, (&json!(11), &json!(9), &json!(["s12"])), "{plan:#}");
    assert!(refusal(client.redrive(&base, &patch).await).contains("s12"));
    patch["allow_unsafe"] = json!(["s12"]);
    let again = client.redrive(&base, &patch).await?.run_id;
    assert_eq!(client.result(&again).await?, json!(20));
    assert_eq!(client.describe(&again).await?["redriven_from"]["run_id"], json!(base));
    assert_eq!(client.diff(&base, &again).await?["first_difference"], "s12");
    Ok(())
}

/// Stopped where it waits, changed, let go on; and once more from there.
async fn steered(client: &Client) -> Done<()> {
    let run = start(client, "held", "held-1").await?;
    waits(client, &run, "ask").await?;
    let mut event = 1;
    while step(&client.state(&run, event).await?, "first")["outcome"] != "succeeded" {
        event += 1;
    }
    client.pause(&run, "a break").await?;
    assert!(client.describe(&run).await?["paused"].to_string().contains("a break"));
    client.signal(&run, "go", json!({"by": "Ada"})).await?;
    let state = client.state(&run, 0).await?;
    assert_ne!(step(&state, "second")["phase"], "running", "a paused run has started a step");
    let set = json!([{"set": {"step": "third", "path": "/with/template", "value": "changed"}}]);
    assert_eq!(client.mutate(&run, json!({"revision": 0, "ops": set})).await?, 1);
    let stale = client.mutate(&run, json!({"revision": 0, "ops": [{"remove": "third"}]})).await;
    assert!(refusal(stale).contains("at revision 1, not 0"));
    client.resume(&run).await?;
    assert_eq!(client.result(&run).await?, json!({"n": 2, "text": "changed"}));

    let forked = client.fork(&run, event, "held-2").await?.run_id;
    waits(client, &forked, "ask").await?;
    client.signal("held-2", "go", json!({"by": "Bo"})).await?;
    assert_eq!(client.result(&forked).await?["n"], 2);
    Ok(())
}

/// Three are stopped at once, and go on one after the other.
async fn together(client: &Client) -> Done<()> {
    let ids = ["many-0", "many-1", "many-2"];
    for id in ids {
        waits(client, &start(client, "held", id).await?, "ask").await?;
    }
    let took = client.pause_runs("WorkflowId STARTS_WITH 'many-'", 0).await?;
    let took = client.result(&took.run_id).await?;
    assert!(
        took.as_array().is_some_and(|all| all.iter().all(|one| one["paused"] == true)),
        "{took}"
    );
    for id in ids {
        client.signal(id, "go", Value::Null).await?;
        assert_ne!(client.describe(id).await?["paused"], "");
    }
    let went = client.resume_runs("WorkflowId STARTS_WITH 'many-'", 50).await?;
    let went = client.result(&went.run_id).await?;
    assert!(
        went.as_array().is_some_and(|all| all.iter().all(|one| one["resumed"] == true)),
        "{went}"
    );
    for id in ids {
        client.result(id).await?;
    }
    Ok(())
}

async fn start(client: &Client, flow: &str, workflow_id: &str) -> Done<String> {
    let file = format!("{flow}.yaml");
    client.deploy(&std::fs::read_to_string(&file)?, &file).await?;
    let more = Start { workflow_id: workflow_id.to_owned(), ..Start::default() };
    Ok(client.start(flow, json!({}), more).await?.run_id)
}

async fn waits(client: &Client, run: &str, step: &str) -> Done<()> {
    for _ in 0..2_000 {
        let told = client.describe(run).await?;
        if told["waits_for"]
            .as_array()
            .is_some_and(|all| all.iter().any(|wait| wait["activation"] == step))
        {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    Err(format!("{run} does not wait at {step}").into())
}

fn step<'a>(state: &'a Value, id: &str) -> &'a Value {
    let steps = state["steps"].as_array().into_iter().flatten();
    steps.into_iter().find(|step| step["id"] == id).unwrap_or(&Value::Null)
}

/// The words of what was refused because of the run.
fn refusal<T: std::fmt::Debug>(answer: Result<T, Error>) -> String {
    match answer {
        Err(Error::Refused(refusal)) if refusal.code == "failed_precondition" => {
            format!("{refusal}")
        }
        other => panic!("{other:?} is no refusal"),
    }
}
