//! Nodes that give steps, in runs of the real binary: what they say is done, is seen outside.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::{Condvar, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use support::{Project, Server};

/// The longest wait for others to come.
const COMPANY_MAX: Duration = Duration::from_secs(30);

/// Answers each request when so many have come together; and says whether they did.
fn meeting(company: usize) -> Server {
    let (here, came) = (Mutex::new(0_usize), Condvar::new());
    Server::new(move |request| {
        let mut count = here.lock().unwrap();
        *count += 1;
        came.notify_all();
        let alone = |count: &mut usize| *count < company;
        let late = came.wait_timeout_while(count, COMPANY_MAX, alone).unwrap().1.timed_out();
        (200, json!({"of": request.body["n"], "together": !late}))
    })
}

/// Runs a flow of one step that gives steps; its output.
#[track_caller]
fn run(node: &str, with: &Value, args: &[&str]) -> Value {
    let project = Project::new();
    project.write(".reflux/config.toml", "[net]\nallow = [\"127.0.0.1\"]\n");
    let flow = json!({
        "name": "given",
        "input": {"hot?": "boolean"},
        "steps": [{"id": "given", "node": node, "spawns": true, "with": with}],
        "output": "{{ steps.given.output }}",
    });
    project.write("flows/given.yaml", &flow.to_string());
    project.run(&[&["--json", "run", "given"][..], args].concat()).with_code(0).json()["output"]
        .clone()
}

fn call(server: &Server, id: &str, body: &Value) -> Value {
    json!({"id": id, "node": "http.request",
        "with": {"method": "PUT", "url": format!("{}/{id}", server.url), "body": body}})
}

fn paths(server: &Server) -> Vec<String> {
    server.got().into_iter().map(|request| request.path).collect()
}

#[test]
fn meta_parallel_runs_its_steps_side_by_side() {
    let server = meeting(2);
    let steps =
        json!([call(&server, "one", &json!({"n": 1})), call(&server, "two", &json!({"n": 2}))]);
    let output = run("meta.parallel", &json!({"steps": steps}), &[]);
    assert_eq!(output["one"]["data"], json!({"of": 1, "together": true}), "{output:#}");
    assert_eq!(output["two"]["data"], json!({"of": 2, "together": true}), "{output:#}");
}

#[test]
fn meta_conditional_runs_one_list_of_steps_and_not_the_other() {
    for (hot, path) in [("true", "/fan"), ("false", "/heater")] {
        let server = meeting(1);
        let with = json!({
            "condition": "{{ input.hot }}",
            "then": [call(&server, "fan", &json!({"n": 1}))],
            "else": [call(&server, "heater", &json!({"n": 2}))],
        });
        run("meta.conditional", &with, &[&format!("--hot={hot}")]);
        assert_eq!(paths(&server), [path], "hot is {hot}");
    }
}

#[test]
fn meta_loop_runs_its_step_so_many_times_one_after_the_other() {
    let server = meeting(1);
    let pages = json!({"times": 3, "as": "body", "step": call(&server, "page", &json!(null))});
    run("meta.loop", &pages, &[]);
    let got = server.got();
    let numbers: Vec<&Value> = got.iter().map(|request| &request.body).collect();
    assert_eq!(numbers, [&json!(0), &json!(1), &json!(2)]);
    assert!(got.windows(2).all(|pair| pair[0].ended <= pair[1].began), "they overlapped");
}

#[test]
fn meta_map_runs_its_step_once_for_each_item_side_by_side() {
    let server = meeting(3);
    let items = json!([{"n": "a"}, {"n": "b"}, {"n": "c"}]);
    let with = json!({"items": items, "as": "body", "step": call(&server, "each", &json!(null))});
    let output = run("meta.map", &with, &[]);
    for (at, item) in ["a", "b", "c"].iter().enumerate() {
        let data = &output[format!("each-{at}")]["data"];
        assert_eq!(*data, json!({"of": item, "together": true}), "{output:#}");
    }
}
