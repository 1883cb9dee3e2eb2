//! Re-drive with the real binary: what was done is not done again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use serde_json::{Value, json};
use support::chain::{STEPS, chain, times, world};
use support::rest::Rest;
use support::served::Served;
use support::wait_until;

#[test]
fn a_mended_step_completes_the_run_and_nothing_is_called_twice() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/broken"));
    project.run(&["run", "chain"]).with_code(1);
    assert_eq!((times(&server, "/s11"), times(&server, "/broken")), (1, 1));
    let dead = || project.run(&["list", "--dead", "--json"]).with_code(0).json();
    assert_eq!(dead()["runs"].as_array().unwrap().len(), 1, "a person should look at it");
    project.write("mended.yaml", &chain(&server.url, "/s12"));

    let plan = project.run(&["redrive", "last", "--with", "mended.yaml", "--plan", "--json"]);
    let plan = plan.with_code(0).json();
    assert_eq!((&plan["kept"], &plan["runs"]), (&json!(11), &json!(9)), "{plan:#}");
    assert_eq!(server.got().len(), 12, "a plan called something");

    let consent: Vec<String> = plan["needs_consent"]
        .as_array()
        .map(|steps| steps.iter().map(|step| step.as_str().unwrap().to_owned()).collect())
        .unwrap_or_default();
    let mut args = vec!["redrive", "last", "--with", "mended.yaml", "--reason", "mended", "--json"];
    if !consent.is_empty() {
        // A POST may not simply be sent twice: without a word it is not.
        let refused = project.run(&args);
        assert_ne!(refused.code, 0, "{refused:?}");
        assert_eq!(server.got().len(), 12, "it was called without consent");
    }
    for step in &consent {
        args.extend(["--allow-unsafe", step.as_str()]);
    }
    let gave = project.run(&args).with_code(0).json();
    assert_eq!(gave["output"], json!(20), "{gave:#}");
    for step in 1..=STEPS {
        assert_eq!(times(&server, &format!("/s{step}")), 1, "step {step}");
    }
    let shown = project.run(&["show", "last"]).with_code(0).stdout;
    assert!(shown.contains("re-drive  of ") && shown.contains(": mended"), "{shown}");
    assert!(shown.contains("kept, of run "), "{shown}");
    let runs = project.run(&["list", "--json"]).with_code(0).json();
    assert_eq!(runs["runs"][0]["workflow_id"], runs["runs"][1]["workflow_id"]);
    assert_eq!(dead()["runs"], json!([]), "it was run again");
}

#[test]
fn a_plan_is_a_table_for_people() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/broken"));
    project.run(&["run", "chain"]).with_code(1);
    let plan = project.run(&["redrive", "last", "--plan"]).with_code(0);
    assert!(plan.stdout.lines().next().unwrap().starts_with("kept"), "{}", plan.stdout);
    assert!(plan.stdout.contains("it failed in the base"), "{}", plan.stdout);
    assert!(plan.stderr.contains("11 kept, 9 to run"), "{}", plan.stderr);
    let wrong = project.run(&["redrive", "last", "--step", "s1x"]);
    assert!(wrong.code != 0 && wrong.stderr.contains("did you mean"), "{wrong:?}");
}

#[test]
fn a_patch_stands_for_the_definition_that_it_makes() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/broken"));
    project.run(&["run", "chain"]).with_code(1);
    let set = json!({"step": "s12", "path": "/with/url", "value": format!("{}/s12", server.url)});
    let patch = json!({"revision": 0, "reason": "mended", "ops": [{"set": set}]});
    project.write("patch.yaml", &patch.to_string());

    let replayed = project.run(&["replay", "last", "--with", "patch.yaml"]).with_code(1);
    assert!(replayed.stdout.contains("ActivityTaskScheduled of `s12`"), "{replayed:?}");
    let plan = project.run(&["redrive", "last", "--with", "patch.yaml", "--plan"]).with_code(0);
    assert!(plan.stderr.contains("11 kept, 9 to run"), "{}", plan.stderr);
    let args = ["redrive", "last", "--with", "patch.yaml", "--allow-unsafe", "s12", "--json"];
    let gave = project.run(&args).with_code(0).json();
    assert_eq!((&gave["output"], times(&server, "/s11")), (&json!(20), 1), "{gave:#}");
    let shown = project.run(&["show", "last"]).with_code(0).stdout;
    assert!(shown.contains(": mended"), "{shown}");
}

#[test]
fn a_step_is_repeated_with_an_edited_output_of_another() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/s12"));
    project.run(&["run", "chain"]).with_code(0);
    let output = "s18={\"data\": {\"n\": 100}}";
    let allowed = ["--allow-unsafe", "s19", "--allow-unsafe", "s20"];
    let args = [&["redrive", "last", "--output", output, "--json"][..], &allowed].concat();
    let gave = project.run(&args).with_code(0).json();
    assert_eq!(gave["output"], json!(102), "{gave:#}");
    assert_eq!((times(&server, "/s18"), times(&server, "/s19")), (1, 2));
}

#[test]
fn a_fork_has_the_state_of_an_event() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/s12"));
    project.run(&["run", "chain"]).with_code(0);
    let allow: Vec<String> = (1..=STEPS).map(|step| format!("s{step}")).collect();
    let mut args = vec!["fork", "last", "--from-event", "1", "--workflow-id", "other", "--json"];
    allow.iter().for_each(|step| args.extend(["--allow-unsafe", step.as_str()]));
    let gave = project.run(&args).with_code(0).json();
    assert_eq!(gave["workflow_id"], json!("other"), "{gave:#}");
    assert_eq!(times(&server, "/s1"), 2);
}

#[test]
fn a_run_is_re_driven_over_rest() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/broken"));
    let served = Served::start(&project);
    let rest = Rest::of(&project, &served);
    let post = |path: &str, body: &Value| rest.ask("POST", path, &body.to_string()).unwrap();
    let get = |path: &str| rest.get(path);
    let (status, started) = post("/api/v1/runs", &json!({"flow": "chain", "workflow_id": "w"}));
    assert_eq!(status, 200, "{started}");
    wait_until("the failure", || get("/api/v1/runs/w")["run"]["status"] == "RUN_STATUS_FAILED");
    let source = json!({"text": chain(&server.url, "/s12"), "file": "mended.yaml"});
    let redrive = json!({"source": source});
    let (status, plan) = post("/api/v1/runs/w/redrive/plan", &json!({"redrive": redrive}));
    assert_eq!(status, 200, "{plan}");
    assert_eq!((&plan["kept"], &plan["runs"]), (&json!(11), &json!(9)), "{plan:#}");
    let redrive = json!({"source": source, "allow_unsafe": ["s12"], "reason": "mended"});
    let request = json!({"redrive": redrive, "request_id": "once"});
    let (status, first) = post("/api/v1/runs/w/redrive", &request);
    assert_eq!(status, 200, "{first}");
    let (status, second) = post("/api/v1/runs/w/redrive", &request);
    assert_eq!((status, &second["existing"]), (200, &json!(true)), "{second}");
    assert_eq!(first["run"]["run_id"], second["run"]["run_id"]);
    wait_until("the end", || get("/api/v1/runs/w")["run"]["status"] == "RUN_STATUS_COMPLETED");
    let told = get("/api/v1/runs/w/describe");
    assert_eq!(told["redriven_from"]["epoch"], json!(1), "{told:#}");
    assert_eq!(told["run"]["redrive_of"], started["run"]["run_id"]);
    assert_eq!((times(&server, "/s1"), times(&server, "/s20")), (1, 1));
    let (status, refused) = post("/api/v1/runs/w/redrive", &json!({"redrive": {"step": "zz"}}));
    assert!((400..500).contains(&status), "{refused}");
}

/// A step, one beside it, items, a step behind them, and a sub-flow; each call is counted outside.
fn shapes(url: &str) -> String {
    let call = |path: &str, body: &str| {
        format!("node: http.request, with: {{method: PUT, url: '{url}/{path}', body: {body}}}")
    };
    format!(
        "name: shapes\nsteps:\n\
         \x20 - {{id: a, {}}}\n\
         \x20 - {{id: b, needs: [a, c, each], {}}}\n\
         \x20 - {{id: c, {}}}\n\
         \x20 - {{id: each, for_each: {{items: [1, 2, 3]}}, {}}}\n\
         \x20 - {{id: kid, needs: [b], flow: sub, on: {{failure: after}}}}\n\
         \x20 - {{id: after, node: util.template, with: {{template: handled}}}}\n\
         flows:\n  sub:\n    steps:\n\
         \x20     - {{id: x, {}}}\n\
         \x20     - {{id: y, needs: [x], {}}}\n",
        call("a", "{n: 0}"),
        call("b", "{n: 1}"),
        call("c", "{n: 2}"),
        call("each", "{n: '{{ item }}'}"),
        call("x", "{n: 3}"),
        call("broken", "{n: 4}"),
    )
}

#[test]
fn each_scope_runs_again_what_it_names_and_nothing_else() {
    let (project, server) = world();
    project.write("flows/shapes.yaml", &shapes(&server.url));
    project.run(&["run", "shapes", "--id", "base"]).with_code(3);
    let base = project.run(&["--json", "show", "base"]).json();
    let event = |step: &str| {
        let history = project.run(&["--json", "history", "base"]).with_code(0).json();
        let at = history.as_array().unwrap().iter().find(|entry| {
            entry["type"] == "ActivityTaskScheduled" && entry["facts"]["activation"] == step
        });
        at.unwrap_or_else(|| panic!("{history:#}"))["event"].as_u64().unwrap()
    };
    let before_b = (event("b") - 1).to_string();
    let paths = ["/a", "/b", "/c", "/each", "/x", "/broken"];
    let count = || paths.map(|path| times(&server, path));
    for (scope, again) in [
        (&["--step", "c"][..], [0, 0, 1, 0, 0, 0]),
        (&["--from", "b"], [0, 1, 0, 0, 1, 1]),
        (&["--item", "each[1]"], [0, 0, 0, 1, 0, 0]),
        (&["--sub-run", "kid"], [0, 0, 0, 0, 0, 1]),
        (&["--from-event", &before_b], [0, 1, 0, 0, 1, 1]),
    ] {
        let before = count();
        let run = base["run_id"].as_str().unwrap();
        project.run(&[&["redrive", run][..], scope].concat()).with_code(3);
        let after = count();
        let more: Vec<usize> =
            after.iter().zip(before).map(|(after, before)| after - before).collect();
        assert_eq!(more, again, "{scope:?}");
    }
}

#[test]
fn a_re_drive_takes_the_pinned_the_latest_a_numbered_or_a_given_definition() {
    let (project, server) = world();
    let flow = |word: &str| {
        format!(
            "name: word\nsteps:\n\
             \x20 - {{id: a, node: http.request, with: {{method: PUT, url: '{}/a', body: {{n: 0}}}}}}\n\
             \x20 - {{id: b, needs: [a], node: util.template, with: {{template: {word}}}}}\n\
             output: '{{{{ steps.b.output.text }}}}'\n",
            server.url
        )
    };
    for word in ["one", "two", "three"] {
        project.write("flows/word.yaml", &flow(word));
        project.run(&["deploy", "word", "--check", "0"]).with_code(0);
        if word == "one" {
            project.run(&["run", "word", "--id", "w"]).with_code(0);
        }
    }
    let base = project.run(&["--json", "show", "w"]).json()["run_id"].as_str().unwrap().to_owned();
    project.write("mended.yaml", &flow("four"));
    for (definition, word) in [
        (&["--definition", "pinned"][..], "one"),
        (&["--definition", "latest"], "three"),
        (&["--definition", "2"], "two"),
        (&["--with", "mended.yaml"], "four"),
    ] {
        let gave = project.run(&[&["redrive", &base, "--json"][..], definition].concat());
        assert_eq!(gave.with_code(0).json()["output"], json!(word), "{definition:?}");
    }
    assert_eq!(times(&server, "/a"), 1, "what no definition changed was done again");
    let none = project.run(&["redrive", &base, "--definition", "9"]).with_code(2).stderr;
    assert!(none.contains('9'), "{none}");
}

#[test]
fn re_drives_are_linked_to_their_bases_which_stay_as_they_were() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/broken"));
    project.run(&["run", "chain", "--id", "w"]).with_code(1);
    let newest = || project.run(&["--json", "show", "w"]).with_code(0).json();
    let id = |run: &Value| run["run_id"].as_str().unwrap().to_owned();
    let first = newest();
    let history = || project.run(&["--json", "history", &id(&first), "--attempts"]).stdout;
    let before = history();
    let redrive = ["redrive", "w", "--allow-unsafe", "s12", "--reason", "again"];
    project.run(&redrive).with_code(1);
    let second = newest();
    project.run(&redrive).with_code(1);
    let third = newest();
    let base = |run: &Value| {
        (run["redriven_from"]["run_id"].clone(), run["redriven_from"]["epoch"].clone())
    };
    assert!(first["redriven_from"].is_null(), "{first:#}");
    assert_eq!(base(&second), (json!(id(&first)), json!(1)), "{second:#}");
    assert_eq!(base(&third), (json!(id(&second)), json!(2)), "{third:#}");
    assert_eq!(history(), before, "the base has changed");
    assert_eq!(times(&server, "/broken"), 3);
    assert_eq!(times(&server, "/s1"), 1);
}

#[test]
fn dead_letters_are_the_newest_runs_that_nobody_has_run_again() {
    let (project, server) = world();
    project.write("flows/chain.yaml", &chain(&server.url, "/broken"));
    // Its process is killed, and what became of its step is not known.
    project.write("flows/harm.yaml", "name: harm\nsteps:\n  - {id: hold, node: t.hold}\n");
    project.write(
        "nodes/t.yaml",
        "module: t\nversion: 1.0.0\nactions:\n  - {name: hold, command: [./hold.sh], effects: unsafe}\n",
    );
    project
        .write("hold.sh", "#!/bin/sh\necho >> holds\nwhile [ -e hold.sh ]; do sleep 0.02; done\n");
    project.write("mended.yaml", &chain(&server.url, "/s12"));
    for id in ["d1", "d2", "d3"] {
        project.run(&["run", "chain", "--id", id]).with_code(1);
    }
    let harm = project.start(&["run", "harm", "--id", "unknown"]);
    project.wait_for("holds");
    harm.kill();
    project.run(&["resume"]).with_code(0);
    let mend = ["--with", "mended.yaml", "--allow-unsafe", "s12"];
    for id in ["d3", "d2"] {
        project.run(&[&["redrive", id][..], &mend].concat()).with_code(0);
    }
    let dead = |more: &[&str]| -> Vec<String> {
        let told =
            project.run(&[&["list", "--dead", "--json"][..], more].concat()).with_code(0).json();
        let runs = told["runs"].as_array().unwrap().clone();
        runs.iter().map(|run| run["workflow_id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(dead(&[]), ["unknown", "d1"]);
    // Those that were run again take no place of the page.
    assert_eq!(dead(&["--flow", "chain", "--limit", "1"]), ["d1"]);
    assert_eq!(dead(&["--limit", "1"]), ["unknown"]);
}
