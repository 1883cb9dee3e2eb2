//! A thousand items are under way when their run is paused, changed and resumed, and the server is killed all the while.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::dice::Dice;
use support::rest::Rest;
use support::served::Served;
use support::{Project, Server};

const ITEMS: usize = 1_000;
/// The one that the patch takes away; it has not begun by then.
const SKIPPED: usize = 990;
/// How often the server is killed; `REFLUX_KILLS` says another number.
const KILLS: usize = 6;
/// The longest time between two kills: as long as some dozens of items take.
const BETWEEN_MS: usize = 300;
/// How long an item takes outside.
const ITEM: Duration = Duration::from_millis(50);
/// The longest wait for anything.
const SETTLE_MAX: Duration = Duration::from_secs(300);

/// Items that call `path`, and a step behind them.
fn flow(url: &str) -> String {
    format!(
        "name: items\ninput: {{items: array}}\nsteps:\n\
         \x20 - {{id: each, for_each: {{items: '{{{{ input.items }}}}', concurrency: 8}}, node: http.request, with: {{method: PUT, url: '{url}/old', body: {{n: '{{{{ item }}}}'}}}}}}\n\
         \x20 - {{id: last, needs: [each], node: util.template, with: {{template: old}}}}\n\
         output: {{each: '{{{{ steps.each.output }}}}', last: '{{{{ steps.last.output }}}}'}}\n"
    )
}

/// One item less, another address for those to come, another node for the step behind them.
fn patch(url: &str) -> String {
    json!({
        "revision": 0,
        "reason": "they have moved",
        "ops": [
            {"remove": format!("each[{SKIPPED}]")},
            {"set": {"step": "each", "path": "/with/url", "value": format!("{url}/new")}},
            {"replace": {"id": "last", "needs": ["each"], "node": "http.request",
                "with": {"method": "PUT", "url": format!("{url}/last"), "body": {"n": 0}}}},
        ],
    })
    .to_string()
}

/// What is asked of the run, one after the other; each is asked until it is answered.
fn requests(url: &str) -> [(&'static str, Value); 3] {
    [
        ("pause", json!({"reason": "a break", "request_id": "pause"})),
        ("mutate", json!({"patch": patch(url), "request_id": "mutate"})),
        ("resume", json!({"request_id": "resume"})),
    ]
}

/// The server, which is killed and started again.
struct Site {
    project: Project,
    server: Mutex<Option<(Served, Rest)>>,
}

impl Site {
    fn new(project: Project) -> Self {
        let site = Self { project, server: Mutex::default() };
        site.kill_and_restart();
        site
    }

    fn kill_and_restart(&self) {
        let before = self.server.lock().unwrap().take().map(|(served, _)| served.kill());
        let served = match before {
            Some(before) => Served::again(&self.project, &before),
            None => Served::start(&self.project),
        };
        let rest = Rest::of(&self.project, &served);
        *self.server.lock().unwrap() = Some((served, rest));
    }

    /// The answer to a request, as soon as there is one; it may be asked several times.
    #[track_caller]
    fn answer(&self, method: &str, path: &str, body: &str) -> Value {
        let begun = Instant::now();
        loop {
            let rest = self.server.lock().unwrap().as_ref().map(|(_, rest)| rest.clone());
            match rest.and_then(|rest| rest.ask(method, path, body)) {
                Some((200, answer)) => return answer,
                Some((status, answer)) if status < 500 => panic!("{path}: {status} {answer:#}"),
                Some(_) | None => std::thread::sleep(Duration::from_millis(20)),
            }
            assert!(begun.elapsed() < SETTLE_MAX, "{path} is never answered");
        }
    }
}

#[test]
fn a_thousand_items_end_as_the_patch_says_however_often_the_server_is_killed() {
    let kills = std::env::var("REFLUX_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let outside = Server::new(|request| {
        std::thread::sleep(ITEM);
        (200, json!({"path": request.path, "n": request.body["n"]}))
    });
    let project = Project::new();
    project.write(".reflux/config.toml", "[net]\nallow = [\"127.0.0.1\"]\n");
    project.write("flows/items.yaml", &flow(&outside.url));
    let site = Site::new(project);
    let items: Vec<usize> = (0..ITEMS).collect();
    let start = json!({"flow": "items", "workflow_id": "w", "input": {"items": items}});
    site.answer("POST", "/api/v1/runs", &start.to_string());

    // A quarter of the kills before, between and behind the requests; the first of each quarter in the middle of one.
    let requests = requests(&outside.url);
    let asked = AtomicUsize::new(0);
    let mut dice = Dice(20_261_121);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (at, (call, body)) in requests.iter().enumerate() {
                let begun = Instant::now();
                while asked.load(Ordering::SeqCst) <= at {
                    assert!(begun.elapsed() < SETTLE_MAX, "nobody kills any more");
                    std::thread::sleep(Duration::from_millis(1));
                }
                site.answer("POST", &format!("/api/v1/runs/w/{call}"), &body.to_string());
            }
        });
        for kill in 0..kills {
            let stage = kill * (requests.len() + 1) / kills;
            let within = if asked.swap(stage, Ordering::SeqCst) == stage { BETWEEN_MS } else { 30 };
            std::thread::sleep(Duration::from_millis(dice.below(within) as u64));
            site.kill_and_restart();
        }
        asked.store(requests.len(), Ordering::SeqCst);
    });
    let begun = Instant::now();
    let told = loop {
        let run = site.answer("GET", "/api/v1/runs/w", "");
        if run["run"]["status"] != "RUN_STATUS_RUNNING" {
            break run;
        }
        assert!(begun.elapsed() < SETTLE_MAX, "the run does not end: {run:#}");
        std::thread::sleep(Duration::from_millis(100));
    };
    assert_eq!(told["run"]["status"], "RUN_STATUS_COMPLETED", "{told:#}");

    let old = begun_before_the_patch(&site);
    let mut called: BTreeMap<(String, u64), usize> = BTreeMap::new();
    for request in outside.got() {
        *called.entry((request.path, request.body["n"].as_u64().unwrap())).or_default() += 1;
    }
    let calls: usize = called.values().sum();
    eprintln!(
        "{kills} kills, {} items began before the patch, {calls} calls",
        old.iter().filter(|old| **old).count()
    );
    assert!(old.iter().any(|old| *old) && !old.iter().all(|old| *old), "the patch changed nothing");
    assert!(!old[SKIPPED], "the item had begun when it was taken away");
    let output = site.answer("GET", "/api/v1/runs/w/query?query=output", "")["result"].clone();
    for (n, old) in old.iter().enumerate() {
        let times = |path: &str| called.get(&(path.to_owned(), n as u64)).copied().unwrap_or(0);
        let data = &output["each"][n]["data"];
        if n == SKIPPED {
            assert_eq!((&output["each"][n], times("/old"), times("/new")), (&Value::Null, 0, 0));
            continue;
        }
        let (path, other) = if *old { ("/old", "/new") } else { ("/new", "/old") };
        assert_eq!(*data, json!({"path": path, "n": n}), "item {n}");
        assert!(
            times(path) >= 1 && times(other) == 0,
            "item {n}: {} {}",
            times(path),
            times(other)
        );
    }
    assert_eq!(output["last"]["data"]["path"], "/last", "the step behind was not replaced");
    let verified = site.answer("POST", "/api/v1/runs/w/verify", "{}");
    assert_eq!(verified["verified"], true, "{verified:#}");
}

/// Of each item whether its call was recorded before the change of the flow.
fn begun_before_the_patch(site: &Site) -> Vec<bool> {
    let mut old = vec![false; ITEMS];
    let mut page = String::new();
    loop {
        let path = format!("/api/v1/runs/w/history?page_size=1000&page_token={page}");
        let answer = site.answer("GET", &path, "");
        for entry in answer["entries"].as_array().unwrap() {
            let facts = &entry["facts"];
            if entry["type"] == "MarkerRecorded" && facts["name"] == "reflux.mutation" {
                return old;
            }
            let activation = facts["activation"].as_str().unwrap_or_default();
            let item = activation.strip_prefix("each[").and_then(|rest| rest.strip_suffix(']'));
            if entry["type"] == "ActivityTaskScheduled"
                && let Some(item) = item
            {
                old[item.parse::<usize>().unwrap()] = true;
            }
        }
        page = answer["next_page_token"].as_str().unwrap().to_owned();
        assert!(!page.is_empty(), "the run was never changed");
    }
}
