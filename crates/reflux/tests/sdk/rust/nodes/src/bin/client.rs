//! What the client of the packed crate does with a server: deploys, starts, follows, answers, ends.

use reflux_sdk::client::{Client, Error, Options, RunStatus, Start};
use serde_json::{Value, json};

const HELD: &str = "name: held\ninput: {name: string}\nsteps:\n\
    \x20 - {id: payment, wait: {signal: payment}}\n\
    \x20 - {id: agreed, wait: {approval: 'Send for {{ steps.payment.output.amount }}?'}}\n\
    output: {name: '{{ input.name }}', paid: '{{ steps.payment.output.amount }}', by: '{{ steps.agreed.output.by }}'}\n";

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::new(Options::default())?;
    let refused = client.deploy("name: 1\nsteps: []\n", "wrong.yaml").await;
    assert!(refused.is_err_and(|error| !error.is_retryable()));
    client.deploy(HELD, "held.yaml").await?;

    let start = || Start { workflow_id: "held-1".to_owned(), ..Start::default() };
    let run = client.start("held", json!({"name": "Ada"}), start()).await?;
    assert_eq!((run.workflow_id.as_str(), run.status), ("held-1", RunStatus::Running));
    let taken = client.start("held", json!({"name": "Bo"}), start()).await;
    assert_eq!(code(&taken), "already_exists");
    let existing = Start { use_existing: true, ..start() };
    let same = client.start("held", json!({"name": "Bo"}), existing).await?;
    assert_eq!(same.run_id, run.run_id);

    let mut watch = client.watch(&run.run_id, 0);
    let waits = loop {
        let update = watch.next().await?.ok_or("the run closed")?;
        if !update.current_steps.is_empty() {
            break update;
        }
    };
    assert_eq!(waits.current_steps, ["payment"]);
    client.pause("held-1", "a break").await?;
    client.resume("held-1").await?;
    client.signal("held-1", "payment", json!({"amount": 12.5})).await?;
    loop {
        let update = watch.next().await?.ok_or("the run closed")?;
        if update.current_steps == ["agreed"] {
            break;
        }
    }
    assert_eq!(client.query("held-1", "input").await?, json!({"name": "Ada"}));
    client.approve("held-1", "", true, "Ada", "").await?;
    assert_eq!(client.result("held-1").await?, json!({"name": "Ada", "paid": 12.5, "by": "Ada"}));
    while let Some(update) = watch.next().await? {
        assert_eq!(update.closed, update.run.status == RunStatus::Completed);
    }
    assert_eq!(client.get(&run.run_id).await?.progress_percent, 100);
    let described = client.describe(&run.run_id).await?;
    assert_eq!(described["steps"].as_array().map(Vec::len), Some(2), "{described:#}");

    for (id, ends) in [("held-2", RunStatus::Canceled), ("held-3", RunStatus::Terminated)] {
        let more = Start { workflow_id: id.to_owned(), ..Start::default() };
        client.start("held", json!({"name": "Cy"}), more).await?;
        match ends {
            RunStatus::Canceled => client.cancel(id, "enough").await?,
            _ => client.terminate(id, "enough").await?,
        }
        match client.result(id).await {
            Err(Error::Run(failed)) => assert_eq!(failed.run.status, ends, "{failed}"),
            other => return Err(format!("{id}: {other:?}").into()),
        }
    }
    let listed = client.runs("held", "", "").await?;
    let ids: Vec<&str> = listed.items.iter().map(|run| run.workflow_id.as_str()).collect();
    assert_eq!((ids, listed.next.as_str()), (vec!["held-3", "held-2", "held-1"], ""));
    let nodes = client.nodes("http.request", "").await?;
    assert!(nodes.items.iter().any(|node| node["name"] == "http.request"), "{:?}", nodes.items);
    assert_eq!(code(&client.get("nobody").await), "not_found");
    assert_eq!(code(&client.signal("held-1", "late", Value::Null).await), "failed_precondition");
    Ok(())
}

/// The code of a refusal; what else there is, as text.
fn code<T: std::fmt::Debug>(answer: &Result<T, Error>) -> String {
    match answer {
        Err(Error::Refused(refusal)) => refusal.code.clone(),
        other => format!("{other:?}"),
    }
}
