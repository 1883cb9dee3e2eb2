//! What starts runs besides people, with the real binary: webhooks, schedules, events; crashes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};
use sha2::Sha256;
use support::served::Served;
use support::{Project, wait_until};

const ORDERS: &str = "name: orders\nsteps:\n\
    - {id: hook, node: trigger.webhook, with: {path: /orders, reply: output}}\n\
    - {id: shape, node: util.transform, with: {data: '{{ steps.hook.output.body }}', mapping: {names: 'items[].name'}}}\n\
    output: {names: '{{ steps.shape.output.names }}', who: '{{ steps.hook.output.query.who }}', secretless: '{{ steps.hook.output.headers }}'}\n";

fn now(runtime: &tokio::runtime::Runtime, request: reqwest::RequestBuilder) -> (u16, Value) {
    runtime.block_on(async {
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        let text = response.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
    })
}

/// The request with the token that calls need which change something, if the project has one.
fn allowed(project: &Project, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
    match std::fs::read_to_string(project.path().join(".reflux/token")) {
        Ok(token) => request.bearer_auth(token.trim()),
        Err(_) => request,
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// Runs of a flow, every page of them.
fn runs(project: &Project, flow: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut args = vec!["list", "--json", "--flow", flow, "--limit", "1000"];
        if let Some(after) = &after {
            args.extend(["--after", after]);
        }
        let page = project.run(&args).with_code(0).json();
        all.extend(page["runs"].as_array().unwrap().iter().cloned());
        match page["next"].as_str() {
            Some(next) => after = Some(next.to_owned()),
            None => return all,
        }
    }
}

fn ids(project: &Project, flow: &str) -> Vec<String> {
    let runs = runs(project, flow);
    let mut ids: Vec<String> =
        runs.iter().map(|run| run["workflow_id"].as_str().unwrap().to_owned()).collect();
    ids.sort();
    ids
}

#[test]
fn a_webhook_answers_with_the_output_of_its_flow() {
    let project = Project::new();
    project.write("flows/orders.yaml", ORDERS);
    project.write(
        "flows/later.yaml",
        "name: later\ntriggers: [{webhook: {path: a/b, method: PUT, input: '{{ trigger.body }}'}}]\n\
         input: {n: integer}\nsteps: [{id: a, node: util.log, with: {message: '{{ input.n }}'}}]\n",
    );
    project.write(
        "flows/fails.yaml",
        "name: fails\ntriggers: [{webhook: {path: /fails, reply: output}}]\n\
         steps: [{id: a, node: util.fail, with: {kind: Bad.Day, message: it rains}}]\n",
    );
    project.write(
        "flows/slow.yaml",
        "name: slow\ntriggers: [{webhook: {path: /slow, reply: output, timeout: 200ms}}]\n\
         steps: [{id: a, wait: 1h}]\n",
    );
    let (served, runtime, client) = (Served::start(&project), runtime(), reqwest::Client::new());
    let post = |path: &str| client.post(served.url(path));

    let order = json!({"items": [{"name": "nut"}, {"name": "bolt"}]});
    let request = post("/webhooks/orders?who=ada")
        .header("authorization", "Bearer hidden")
        .header("content-type", "application/json")
        .body(order.to_string());
    let (status, body) = now(&runtime, request);
    assert_eq!(
        (status, &body["names"], &body["who"]),
        (200, &json!(["nut", "bolt"]), &json!("ada"))
    );
    assert_eq!(body["secretless"]["authorization"], Value::Null);
    assert_eq!(body["secretless"]["content-type"], "application/json");

    let (status, body) = now(&runtime, client.put(served.url("/webhooks/a/b")).body(r#"{"n": 3}"#));
    assert_eq!((status, &body["existing"]), (202, &json!(false)), "{body}");
    let run = body["run_id"].as_str().unwrap().to_owned();
    wait_until("the run", || {
        project.run(&["show", &run, "--json"]).stdout.contains("\"completed\"")
    });

    let (status, body) = now(&runtime, post("/webhooks/fails"));
    assert_eq!((status, body["error"]["code"].as_str()), (500, Some("run_failed")));
    assert!(body["error"]["message"].as_str().unwrap().contains("it rains"), "{body}");

    let (status, body) = now(&runtime, post("/webhooks/slow"));
    assert_eq!((status, &body["existing"]), (202, &json!(false)));

    // The same delivery is the same run, and answers as the first did.
    let again =
        |data: &str| post("/webhooks/orders").header("Idempotency-Key", "k1").body(data.to_owned());
    let first = now(&runtime, again(&order.to_string()));
    assert_eq!(first, now(&runtime, again(&order.to_string())));
    assert_eq!(runs(&project, "orders").len(), 2);
}

#[test]
fn deliveries_that_are_wrong_start_nothing() {
    let project = Project::new();
    project.write(
        "flows/f.yaml",
        "name: f\ntriggers: [{webhook: {path: /f, input: '{{ trigger.body }}'}}]\n\
         input: {n: integer}\nsteps: [{id: a, pass: true}]\n",
    );
    project.write("flows/broken.yaml", "name: broken\nsteps: [{id: a, node: nowhere}]\n");
    let (served, runtime, client) = (Served::start(&project), runtime(), reqwest::Client::new());
    let post = |path: &str, body: String| client.post(served.url(path)).body(body);
    let long = "x".repeat(1_001);
    let right = || r#"{"n": 1}"#.to_owned();
    for (name, request, status) in [
        ("nowhere", post("/webhooks/g", right()), 404),
        ("no path", post("/webhooks/", right()), 404),
        ("two slashes", post("/webhooks//f", right()), 400),
        ("a slash behind", post("/webhooks/f/", right()), 404),
        ("an escaped path", post("/webhooks/%66", right()), 404),
        ("another method", client.get(served.url("/webhooks/f")), 405),
        ("too large", post("/webhooks/f", "1".repeat((1 << 20) + 1)), 413),
        ("much too large", post("/webhooks/f", "1".repeat(12 << 20)), 413),
        ("no JSON", post("/webhooks/f", "{".into()), 400),
        ("deep JSON", post("/webhooks/f", "[".repeat(100_000)), 400),
        ("an image", post("/webhooks/f", right()).header("content-type", "image/png"), 415),
        ("another input", post("/webhooks/f", r#"{"m": 1}"#.into()), 422),
        ("no input", post("/webhooks/f", String::new()), 422),
        ("a long key", post("/webhooks/f", right()).header("idempotency-key", &long), 400),
    ] {
        let (got, body) = now(&runtime, request);
        assert_eq!(got, status, "{name}: {body}");
        assert!(body["error"]["message"].is_string() || got == 404, "{name}: {body}");
    }
    // A body of unknown length is cut off where it becomes too large.
    let chunks = futures::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b'1'; 1 << 16]));
    let endless = reqwest::Body::wrap_stream(futures::StreamExt::take(chunks, 1_000));
    let sent = runtime.block_on(client.post(served.url("/webhooks/f")).body(endless).send());
    assert!(sent.is_err() || sent.unwrap().status() == 413);
    assert_eq!(runs(&project, "f").len(), 0);
    assert_eq!(now(&runtime, post("/webhooks/f", right())).0, 202);
}

fn signed(secret: &str, seconds: u64, body: &str) -> (String, String) {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(format!("{seconds}.{body}").as_bytes());
    let digest = mac.finalize().into_bytes();
    let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    (seconds.to_string(), format!("sha256={hex}"))
}

#[test]
fn only_deliveries_that_are_signed_start_a_run_and_each_once() {
    let project = Project::new();
    project.write(".reflux/config.toml", "[net]\nallow = [\"127.0.0.1\"]\n");
    let secrets = project.write(".reflux/secrets.toml", "HOOK = \"correct horse\"\n");
    std::fs::set_permissions(
        secrets,
        <std::fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o600),
    )
    .unwrap();
    project.write(
        "flows/in.yaml",
        "name: in\ntriggers: [{webhook: {path: /in, secret: '{{ secrets.HOOK }}'}}]\nsteps: [{id: a, pass: true}]\n",
    );
    project.write(
        "flows/out.yaml",
        "name: out\ninput: {url: string}\nsteps:\n- {id: a, node: webhook.out, with: {url: '{{ input.url }}', body: {n: 1}, secret: '{{ secrets.HOOK }}'}}\n",
    );
    let (served, runtime, client) = (Served::start(&project), runtime(), reqwest::Client::new());
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let send = |(timestamp, signature): &(String, String), body: &str, key: Option<&str>| {
        let mut request = client
            .post(served.url("/webhooks/in"))
            .header("x-reflux-timestamp", timestamp)
            .header("x-reflux-signature", signature)
            .body(body.to_owned());
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        now(&runtime, request)
    };
    let body = r#"{"a": 1}"#;
    let right = signed("correct horse", seconds, body);
    for (name, signature, body) in [
        ("another secret", signed("wrong", seconds, body), body),
        ("another body", right.clone(), r#"{"a": 2}"#),
        ("another time", ((seconds + 1).to_string(), right.1.clone()), body),
        ("an old one", signed("correct horse", seconds - 400, body), body),
        ("one of the future", signed("correct horse", seconds + 400, body), body),
        ("none", (String::new(), String::new()), body),
    ] {
        let (status, answer) = send(&signature, body, None);
        assert_eq!(status, 401, "{name}: {answer}");
    }
    assert_eq!(runs(&project, "in").len(), 0);

    let (status, first) = send(&right, body, None);
    assert_eq!((status, &first["existing"]), (202, &json!(false)));
    // Sent again it is the same run; under a name of its own it is refused.
    let (status, again) = send(&right, body, None);
    assert_eq!(
        (status, &again["existing"], &again["run_id"]),
        (202, &json!(true), &first["run_id"])
    );
    assert_eq!(send(&right, body, Some("new")).0, 401);
    assert_eq!(runs(&project, "in").len(), 1);

    // Both ends are ours.
    let url = format!("url={}", served.url("/webhooks/in"));
    project.run(&["run", "out", "-i", &url, "--json"]).with_code(0);
    assert_eq!(runs(&project, "in").len(), 2);
}

/// Posts until somebody answers; the run's id.
async fn deliver(client: &reqwest::Client, url: &str, key: usize) -> String {
    loop {
        let request = client.post(url).header("idempotency-key", format!("k{key}")).body("{}");
        if let Ok(response) = request.send().await
            && response.status() == 202
            && let Ok(body) = response.bytes().await
            && let Ok(body) = serde_json::from_slice::<Value>(&body)
        {
            return body["run_id"].as_str().unwrap().to_owned();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn ten_thousand_deliveries_through_two_crashes_start_each_run_once() {
    const KEYS: usize = 10_000;
    let project = Project::new();
    project.write(
        "flows/f.yaml",
        "name: f\ntriggers: [{webhook: /f}]\nsteps: [{id: a, pass: true}]\n",
    );
    let runtime = runtime();
    let mut served = Served::start(&project);
    let url = Arc::new(served.url("/webhooks/f"));
    let next = Arc::new(AtomicUsize::new(0));
    let client = reqwest::Client::builder().timeout(Duration::from_secs(20)).build().unwrap();
    let senders: Vec<_> = (0..64)
        .map(|_| {
            let (client, url, next) = (client.clone(), url.clone(), next.clone());
            runtime.spawn(async move {
                let mut answers = Vec::new();
                loop {
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    // Each third one is sent twice.
                    let key = at * 3 / 4;
                    if key >= KEYS {
                        return answers;
                    }
                    answers.push((key, deliver(&client, &url, key).await));
                }
            })
        })
        .collect();
    for share in [3, 7] {
        wait_until("deliveries", || next.load(Ordering::SeqCst) > KEYS * share / 10);
        let before = served.kill();
        served = Served::again(&project, &before);
    }
    let mut answered: BTreeMap<usize, BTreeSet<String>> = BTreeMap::new();
    for sender in senders {
        for (key, run) in runtime.block_on(sender).unwrap() {
            answered.entry(key).or_default().insert(run);
        }
    }
    assert_eq!(answered.len(), KEYS);
    for (key, runs) in &answered {
        assert_eq!(runs.len(), 1, "delivery {key} was answered with several runs");
    }
    let told: BTreeSet<String> = answered.into_values().flatten().collect();
    let listed = runs(&project, "f");
    assert_eq!(listed.len(), KEYS, "a run for each delivery and no other");
    let listed: BTreeSet<String> =
        listed.iter().map(|run| run["run_id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(told, listed);
    drop(served);
}

/// Seconds since 1970 of the times that runs of a flow were started for.
fn times(project: &Project, flow: &str) -> Vec<i64> {
    let moments: Vec<i64> = ids(project, flow)
        .iter()
        .map(|id| {
            let time = id.rsplit('/').next().unwrap();
            let moment = reflux_flow::duration::moment_of(&json!(time)).unwrap();
            moment / 1_000_000_000
        })
        .collect();
    moments
}

#[test]
fn a_schedule_that_was_down_makes_up_for_it_by_its_policy() {
    let project = Project::new();
    let flow = |name: &str, overlap: &str| {
        let text = format!(
            "name: {name}\ntriggers: [{{id: s, cron: '* * * * * *', overlap: {overlap}}}]\nsteps: [{{id: a, pass: true}}]\n"
        );
        project.write(&format!("flows/{name}.yaml"), &text);
    };
    for overlap in ["allow_all", "buffer_all", "buffer_one", "skip"] {
        flow(overlap, overlap);
    }
    let served = Served::start(&project);
    wait_until("a first run", || !ids(&project, "skip").is_empty());
    let before = served.kill();
    let down = Duration::from_secs(10);
    std::thread::sleep(down);
    let served = Served::again(&project, &before);
    let restarted = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    wait_until("runs after the outage", || {
        ["allow_all", "buffer_all", "buffer_one", "skip"]
            .iter()
            .all(|flow| times(&project, flow).last().is_some_and(|last| *last > restarted + 1))
    });
    drop(served);
    for flow in ["allow_all", "buffer_all"] {
        let times = times(&project, flow);
        let (first, last) = (times[0], times[times.len() - 1]);
        assert_eq!(times, (first..=last).collect::<Vec<_>>(), "{flow}: each second once");
        assert!(last - first > 10, "{flow}");
    }
    for flow in ["buffer_one", "skip"] {
        let times = times(&project, flow);
        let gaps: Vec<i64> =
            times.windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 1).collect();
        assert!(gaps.iter().any(|gap| *gap >= 8), "{flow}: one run for the outage: {times:?}");
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{flow}: each time once");
    }
}

#[test]
fn schedules_are_paused_fired_changed_and_ended() {
    let project = Project::new();
    let write = |trigger: &str| {
        project.write(
            "flows/f.yaml",
            &format!(
                "name: f\ninput: {{'n?': integer}}\n{trigger}steps: [{{id: a, pass: true}}]\n"
            ),
        );
    };
    write("triggers: [{id: s, every: 1h}]\n");
    let (served, runtime, client) = (Served::start(&project), runtime(), reqwest::Client::new());
    let state = || project.run(&["triggers", "--json"]).with_code(0).json()["triggers"].clone();
    let next = |state: &Value| state[0]["schedule"]["next"].as_array().unwrap().len();
    assert_eq!(next(&state()), 5);

    project.run(&["triggers", "pause", "f", "s", "--reason", "quiet"]).with_code(0);
    assert_eq!((next(&state()), &state()[0]["schedule"]["pause_reason"]), (0, &json!("quiet")));
    project.run(&["triggers", "fire", "f", "s", "--data", r#"{"n": 2}"#]).with_code(0);
    let fire = served.url("/api/v1/triggers/f/s/fire");
    let post = |url: &str, body: &'static str| {
        let request = client.post(url).header("content-type", "application/json").body(body);
        now(&runtime, allowed(&project, request))
    };
    let x = r#"{"request_id": "x"}"#;
    assert_eq!(post(&fire, x), (200, json!({"workflow_id": "f/s/fired/x"})));
    assert_eq!(post(&fire, x).0, 200);
    wait_until("two runs", || ids(&project, "f").len() == 2);
    assert_eq!(post(&fire, r#"{"data": {"m": 2}}"#).0, 400);
    assert_eq!(post(&served.url("/api/v1/triggers/f/t/fire"), "{}").0, 404);
    let one = now(&runtime, client.get(served.url("/api/v1/triggers/f/s"))).1;
    assert_eq!(
        (&one["trigger"]["schedule"]["paused"], &one["trigger"]["kind"]),
        (&json!(true), &json!("schedule"))
    );
    project.run(&["triggers", "resume", "f", "s"]).with_code(0);
    assert_eq!(next(&state()), 5);

    // Another version takes over; without the trigger the schedule ends.
    write("triggers: [{id: s, every: 1s, input: {n: 1}}]\n");
    served.hang_up();
    wait_until("runs of the new version", || ids(&project, "f").len() > 2);
    write("");
    served.hang_up();
    wait_until("the end of the schedule", || state() == json!([]));
    let count = ids(&project, "f").len();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(ids(&project, "f").len(), count);
}

#[test]
fn an_event_starts_a_run_of_each_flow_that_takes_it() {
    let project = Project::new();
    let flow = |name: &str, trigger: &str| {
        project.write(
            &format!("flows/{name}.yaml"),
            &format!("name: {name}\ninput: {{'total?': number}}\ntriggers: [{{event: order.placed, {trigger}}}]\nsteps: [{{id: a, pass: true}}]\noutput: '{{{{ input.total }}}}'\n"),
        );
    };
    flow("all", "input: {total: '{{ trigger.data.total }}'}");
    flow(
        "large",
        "filter: '{{ trigger.data.total > 100 }}', input: {total: '{{ trigger.data.total }}'}",
    );
    flow("odd", "filter: '{{ trigger.data.total }}'");
    let served = Served::start(&project);
    let emit = |args: &[&str]| {
        project.run(&[&["emit", "order.placed", "--json"], args].concat()).with_code(0).json()
    };
    let flows = |emitted: &Value| -> Vec<String> {
        let runs = emitted["runs"].as_array().unwrap();
        runs.iter().map(|run| run["flow"].as_str().unwrap().to_owned()).collect()
    };
    let small = emit(&["--data", r#"{"total": 7}"#]);
    assert_eq!(flows(&small), ["all"]);
    assert!(small["refused"][0].as_str().unwrap().contains("odd/event"), "{small}");
    let large = emit(&["--data", r#"{"total": 700}"#, "--id", "e1"]);
    assert_eq!(flows(&large), ["all", "large"]);
    assert_eq!(large["runs"][0]["workflow_id"], "all/event/e1");

    // The same event again, also after a crash and over HTTP.
    let before = served.kill();
    let served = Served::again(&project, &before);
    let again = emit(&["--data", r#"{"total": 700}"#, "--id", "e1"]);
    assert_eq!(again["runs"][1]["run_id"], large["runs"][1]["run_id"]);
    assert_eq!(again["runs"][1]["existing"], json!(true));
    let (runtime, client) = (runtime(), reqwest::Client::new());
    let post = |body: &str| {
        let request = client.post(served.url("/api/v1/events"));
        let request = request.header("content-type", "application/json").body(body.to_owned());
        now(&runtime, allowed(&project, request))
    };
    let (status, body) = post(r#"{"name": "order.placed", "id": "e1", "data": {"total": 700}}"#);
    assert_eq!((status, &body["runs"]), (200, &again["runs"]));
    assert_eq!(post(r#"{"name": "nobody.cares"}"#).1["runs"], json!([]));
    assert_eq!(post(r#"{"name": ""}"#).0, 400);
    assert_eq!(post("{\"name\": \"a\", \"id\": \"\u{202e}\"}").0, 400);
    assert_eq!(ids(&project, "all").len(), 2);
    assert_eq!(ids(&project, "large").len(), 1);
}
