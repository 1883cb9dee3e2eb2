use crate::graph::{Action, Flow, Join, Retry, Step};

use super::*;

fn source(name: &str) -> &'static str {
    match name {
        "release.yaml" => include_str!("../../tests/sources/release.yaml"),
        "implement-feature.yaml" => include_str!("../../tests/sources/implement-feature.yaml"),
        "simple-flow.yaml" => include_str!("../../tests/sources/simple-flow.yaml"),
        "fetch-map-deliver.yaml" => include_str!("../../tests/sources/fetch-map-deliver.yaml"),
        "campaign.canvas.json" => include_str!("../../tests/sources/campaign.canvas.json"),
        other => panic!("no source {other}"),
    }
}

fn shown(problems: &[Diagnostic]) -> String {
    problems.iter().map(|p| format!("{p}\n")).collect()
}

fn read(text: &str) -> Parsed {
    parse("f.yaml", text).unwrap_or_else(|problems| panic!("{}", shown(&problems)))
}

fn ids(list: &[crate::graph::StepId]) -> String {
    list.iter().map(|id| id.as_str()).collect::<Vec<_>>().join(",")
}

/// `id<need,need>*visits!routed` for each step.
fn facts(flow: &Flow) -> Vec<String> {
    flow.steps
        .iter()
        .map(|s| {
            let routed = if s.routed { "!" } else { "" };
            let any = if s.join == Join::Any { "any" } else { "" };
            let when = s.when.as_ref().map(|w| format!("?{}", w.source())).unwrap_or_default();
            format!("{}<{}{any}>*{}{routed}{when}", s.id, ids(&s.needs), s.max_visits)
        })
        .collect()
}

fn routes(step: &Step) -> String {
    let side = |rules: &[crate::graph::Rule]| {
        rules
            .iter()
            .map(|r| match &r.condition {
                Some(c) => format!("{}?{}:{}", c.source(), ids(&r.then), ids(&r.otherwise)),
                None => ids(&r.then),
            })
            .collect::<Vec<_>>()
            .join(" & ")
    };
    format!("{} / {}", side(&step.on_success), side(&step.on_failure))
}

fn node(step: &Step) -> String {
    match &step.action {
        Action::Node { node, .. } => node.name.clone(),
        Action::Flow { flow, .. } => format!("flow {flow}"),
        Action::Wait(_) => "wait".into(),
        Action::Pass => "pass".into(),
    }
}

#[test]
fn the_sources_become_graphs() {
    for (name, expected) in [
        ("fetch-map-deliver.yaml", vec!["fetch<>*1", "shape<fetch>*1", "deliver<shape>*1"]),
        ("simple-flow.yaml", vec!["fetch<>*1", "transform<fetch>*1", "deliver<transform>*1"]),
        (
            "release.yaml",
            vec![
                "build<>*1",
                "test<>*4!",
                "repair<>*3!",
                "publish<>*4!",
                "withdraw<>*4!",
                "error-handler<>*12!",
                "announce<>*16!",
            ],
        ),
        (
            "campaign.canvas.json",
            vec![
                "start<>*1",
                "split<start>*1",
                "caption<split>*1",
                "picture<split>*1",
                "attach<caption,picture>*1",
                "review<attach,caption>*1",
                "end<review>*1",
            ],
        ),
    ] {
        let parsed = read(source(name));
        assert_eq!(facts(&parsed.flow), expected, "{name}");
        assert_eq!(parsed.warnings, [], "{name}");
    }
}

#[test]
fn a_flow_without_declared_inputs_takes_what_it_reads() {
    let flow = read(source("simple-flow.yaml")).flow;
    let names: Vec<_> =
        flow.parameters.iter().map(|p| (p.name.as_str(), p.required, p.kind)).collect();
    let any = crate::graph::ParameterKind::Any;
    assert_eq!(names, [("api_url", true, any), ("callback", true, any)]);
}

#[test]
fn the_feature_flow_loops_three_times() {
    let flow = read(source("implement-feature.yaml")).flow;
    let step = |id: &str| flow.step(id).unwrap();
    assert_eq!(step("fix-tests").max_visits, 3);
    assert_eq!(step("test").max_visits, 4);
    assert_eq!(step("fix-tests").retry, None);
    assert_eq!(
        routes(step("test")),
        "steps.test.outputs.testResults.passed?document:fix-tests / error-handler"
    );
    assert_eq!(routes(step("rollback")), "error-handler / error-handler");
    assert_eq!(node(step("test")), "testing.run-tests");
    assert_eq!(flow.name, "Implement New Feature");
    assert_eq!(flow.parameters[0].name, "feature");
    assert!(flow.parameters[0].required);
    assert_eq!(flow.triggers[0].source["command"], "kad workflow implement-feature");
}

#[test]
fn bare_names_of_a_canvas_become_paths() {
    let flow = read(source("campaign.canvas.json")).flow;
    let Action::Node { with, .. } = &flow.step("attach").unwrap().action else { panic!() };
    assert_eq!(
        with.to_value(),
        serde_json::json!({"document": "{{ steps.caption.output.document_id }}", "image": "{{ steps.picture.output.document_id }}", "primary": true})
    );
    let Action::Node { with, .. } = &flow.step("caption").unwrap().action else { panic!() };
    assert_eq!(with.to_value()["prompt"], "A {{ input.tone }} caption for {{ input.product }}");
}

#[test]
fn retries_outside_of_a_loop_are_attempts() {
    let flow = read("name: f\nsteps:\n  - {id: a, module: m, action: a, maxRetries: 3, onSuccess: b}\n  - {id: b, module: m, action: b}\n").flow;
    assert_eq!(flow.steps[0].retry, Some(Retry::times(3)));
    assert_eq!(flow.steps[0].max_visits, 1);
}

fn refused(text: &str, expected: &[&str]) {
    match parse("f.yaml", text) {
        Ok(parsed) => panic!("{text}\nis no error: {:?}", facts(&parsed.flow)),
        Err(problems) => {
            let found: Vec<String> =
                problems.iter().map(|p| p.to_string().replace("f.yaml:", "")).collect();
            assert_eq!(found, expected, "{text}");
        }
    }
}

/// A flow with these steps, from line 3 on.
fn with_steps(steps: &str) -> String {
    format!("name: f\nsteps:\n{steps}")
}

fn steps_are(steps: &str, expected: &[&str]) {
    assert_eq!(facts(&read(&with_steps(steps)).flow), expected, "{steps}");
}

#[test]
fn needs_are_stated_or_inferred() {
    steps_are("- {id: a, node: n}\n- {id: b, node: n}\n", &["a<>*1", "b<>*1"]);
    steps_are(
        "- {id: a, node: n}\n- {id: b, node: n, needs: a}\n- {id: c, node: n, needs: [a, b], join: any}\n",
        &["a<>*1", "b<a>*1", "c<a,bany>*1"],
    );
    steps_are(
        "- {id: a-1, node: n}\n- {id: b, node: n, when: '{{ steps.a-1.output.ok }}', with: {x: '{{ steps.c.output }}'}}\n- {id: c, node: n, for_each: '{{ steps.a-1.output.list }}'}\n",
        &["a-1<>*1", "b<a-1,c>*1?steps.a-1.output.ok", "c<a-1>*1"],
    );
    steps_are(
        "- {id: a, wait: 30s}\n- {id: b, wait: {until: '{{ steps.a.output }}'}}\n- {id: c, pass: true, needs: b}\n",
        &["a<>*1", "b<a>*1", "c<b>*1"],
    );
    steps_are("- {id: a, node: n, with: {x: '{{ steps.a.output }}'}}\n", &["a<>*1"]);
}

#[test]
fn routes_take_every_form() {
    let flow = read(&with_steps(
        "- id: a\n  node: n\n  onSuccess: [b, c, {condition: '{{ steps.a.output.x == 1 }}', then: [d, e], else: b}]\n  on_failure: {if: steps.a.error.retryable, to: e}\n\
         - {id: b, node: n, on: {success: c, failure: [d]}}\n- {id: c, module: m, action: x}\n- {id: d, node: n}\n- {id: e, flow: other}\n",
    ))
    .flow;
    assert_eq!(
        routes(&flow.steps[0]),
        "b,c & steps.a.output.x == 1?d,e:b / steps.a.error.retryable?e:"
    );
    assert_eq!(routes(&flow.steps[1]), "c / d");
    assert_eq!(
        flow.steps.iter().map(node).collect::<Vec<_>>(),
        ["n", "n", "m.x", "n", "flow other"]
    );
    assert_eq!(facts(&flow), ["a<>*1", "b<>*2!", "c<>*3!", "d<>*3!", "e<>*1!"]);
}

#[test]
fn an_else_may_ask_further_conditions() {
    let nested = |route: &str| {
        let steps = format!(
            "- {{id: a, module: m, action: x, onSuccess: {route}}}\n\
             - {{id: b, node: n}}\n- {{id: c, node: n}}\n- {{id: d, node: n}}\n"
        );
        routes(&read(&with_steps(&steps)).flow.steps[0])
    };
    let (x, y) = ("input.x", "input.y or input.z");
    assert_eq!(
        nested(&format!("{{condition: {x}, then: b, else: {{condition: {y}, then: c, else: d}}}}")),
        "input.x?b: & not (input.x) and (input.y or input.z)?c: & not (input.x) and not (input.y or input.z)?d: / "
    );
    assert_eq!(
        nested(&format!("{{condition: {x}, then: b, else: {{then: [c, d]}}}}")),
        "input.x?b: & not (input.x)?c,d: / "
    );
    assert_eq!(
        nested("{if: input.x, to: b, else: {if: input.y, to: c, else: {if: input.z, to: d}}}"),
        "input.x?b: & not (input.x) and (input.y)?c: & not (input.x) and not (input.y) and (input.z)?d: / "
    );
    refused(
        &with_steps(
            "- {id: a, node: n, onSuccess: {if: input.x, else: {if: input.y, to: b}}}\n- {id: b, node: n}\n",
        ),
        &[
            "3:45: error: a route with an `else` of conditions needs `then`; turn the condition round",
        ],
    );
}

#[test]
fn visits_are_bounded_by_what_the_author_said() {
    steps_are(
        "- {id: a, node: n, on: {success: b}}\n- {id: b, node: n, max_visits: 5, on: {failure: b}}\n",
        &["a<>*1", "b<>*5!"],
    );
    steps_are(
        "- {id: a, node: n, on: {success: b}}\n- {id: b, node: n, on: {failure: c, success: d}}\n- {id: c, node: n, max_visits: 2, on: {success: b}}\n- {id: d, node: n}\n",
        &["a<>*1", "b<>*3!", "c<>*2!", "d<>*3!"],
    );
    let chain: String = (0..40).map(|n| format!("- {{id: s{n}, node: n, on: {{success: [s{}, {{condition: 'true', then: s{}}}]}}}}\n", n + 1, n + 1)).collect();
    let flow = read(&with_steps(&format!("{chain}- {{id: s40, node: n}}\n"))).flow;
    assert_eq!(flow.steps[3].max_visits, 8);
    assert_eq!(flow.steps[40].max_visits, VISITS_MAX);
    let source = "name: f\non_failure: h\nsteps:\n- {id: a, node: n}\n- {id: b, node: n}\n- {id: h, node: n, on: {success: i}}\n- {id: i, node: n}\n";
    assert_eq!(facts(&read(source).flow), ["a<>*1", "b<>*1", "h<>*2!", "i<>*2!"]);
}

#[test]
fn a_first_step_that_is_routed_to_gets_an_entry() {
    let flow = read(&with_steps(
        "- {id: start, module: m, action: a, onFailure: start, maxRetries: 3}\n- {id: b, module: m, action: b}\n",
    ));
    assert_eq!(facts(&flow.flow), ["start-2<>*1", "start<>*3!", "b<>*1"]);
    assert_eq!(
        flow.warnings.iter().map(ToString::to_string).collect::<Vec<_>>(),
        [
            "f.yaml:4:8: warning: nothing leads to the step `b`, so it starts at once beside `start-2`; route to it or give it `needs`"
        ]
    );
}

#[test]
fn settings_of_a_step_are_read() {
    let flow = read(&with_steps(
        "- id: a\n  node: excel.toParquet@1.4.2\n  retry: [1s, 3s, 10]\n  timeout: 30s\n  totalTimeout: 5m\n  heartbeat: 10s\n  queue: gpu\n  spawns: true\n  \
         compensate: {node: undo, with: {x: '{{ steps.a.output.id }}'}}\n  outputs: {rows: number, sheets: {type: array}}\n\
         - {id: b, node: n, retry: {attempts: 5, initial: 2s, coefficient: 3, maximum: 1m}, for_each: {items: [1, 2], concurrency: 4}}\n\
         - {id: c, node: n, retry: 2}\n- {id: d, wait: {signal: go, timeout: 1h}}\n- {id: e, wait: {approval: 'Publish {{ input.x }}?', timeout: 2d}}\n",
    ))
    .flow;
    let secs = std::time::Duration::from_secs;
    let a = &flow.steps[0];
    assert_eq!(
        a.action,
        Action::Node {
            node: crate::graph::NodeRef {
                name: "excel.toParquet".into(),
                version: Some("1.4.2".into())
            },
            with: crate::template::Template::literal(serde_json::json!({}))
        }
    );
    assert_eq!(a.retry, Some(Retry::Intervals(vec![secs(1), secs(3), secs(10)])));
    assert_eq!(
        (a.timeout, a.total_timeout, a.heartbeat_timeout),
        (Some(secs(30)), Some(secs(300)), Some(secs(10)))
    );
    assert_eq!((a.task_queue.as_deref(), a.spawns), (Some("gpu"), true));
    assert_eq!(a.compensate.as_ref().unwrap().node.name, "undo");
    assert_eq!(
        a.outputs.iter().map(|o| (o.name.as_str(), o.kind.as_str())).collect::<Vec<_>>(),
        [("rows", "number"), ("sheets", "array")]
    );
    assert_eq!(
        flow.steps[1].retry,
        Some(Retry::Exponential {
            attempts: 5,
            initial: secs(2),
            coefficient: 3.0,
            maximum: secs(60)
        })
    );
    assert_eq!(flow.steps[1].for_each.as_ref().unwrap().concurrency, 4);
    assert_eq!(flow.steps[2].retry, Some(Retry::times(2)));
    assert!(
        matches!(&flow.steps[3].action, Action::Wait(crate::graph::Wait::Signal { name, timeout: Some(t) }) if name == "go" && *t == secs(3600))
    );
    assert!(
        matches!(&flow.steps[4].action, Action::Wait(crate::graph::Wait::Approval { timeout: Some(t), .. }) if *t == secs(172_800))
    );
}

#[test]
fn inputs_are_declared_in_any_form() {
    let parameters = |input: &str| {
        let flow = read(&format!("name: f\n{input}\nsteps: [{{id: a, node: n}}]\n")).flow;
        flow.parameters
            .iter()
            .map(|p| {
                format!(
                    "{}:{}{}{}",
                    p.name,
                    p.kind.name(),
                    if p.required { "!" } else { "" },
                    p.default.as_ref().map(|d| format!("={d}")).unwrap_or_default()
                )
            })
            .collect::<Vec<_>>()
            .join(" ")
    };
    assert_eq!(
        parameters("input: {a: string, 'b?': number, c: 'int?', d: }"),
        "a:string! b:number c:integer d:any!"
    );
    assert_eq!(
        parameters("input: { file_url, question, callback }"),
        "file_url:any! question:any! callback:any!"
    );
    assert_eq!(
        parameters(
            "parameters: [{name: a, type: string, required: true}, {name: b, default: 1}, c, 'd?']"
        ),
        "a:string! b:any=1 c:any! d:any"
    );
    assert_eq!(
        parameters(
            "inputs: {type: object, properties: {a: {type: string}, b: {type: array, items: {type: string}}}, required: [a]}"
        ),
        "a:string! b:array"
    );
    assert_eq!(
        parameters("params: {a: {type: bool, default: true, description: x}}"),
        "a:boolean=true"
    );
    assert_eq!(
        parameters(
            "triggers: [{type: webhook, path: /x}, {type: cli, command: x, params: [{name: a}]}]"
        ),
        "a:any"
    );
}

#[test]
fn mistakes_are_found_at_their_place() {
    refused("- a\n", &["1:1: error: a flow must be a map, not a list"]);
    refused("name: f\n", &["1:1: error: a flow needs `steps` (or `nodes` and `edges`)"]);
    refused("steps: [{id: a, node: n}]\n", &["1:1: error: a flow needs a `name`"]);
    refused("name: f\nsteps: []\n", &["2:8: error: a flow needs at least one step"]);
    refused("name: f\nsteps: x\n", &["2:8: error: steps must be a list, not text"]);
    refused(
        "name: f\nstpes: []\nsteps: [{id: a, node: n}]\n",
        &["2:1: error: unknown key `stpes` in a flow (did you mean `steps`?)"],
    );
    refused(&with_steps("- {node: n}\n"), &["3:3: error: a step needs an `id`"]);
    refused(
        &with_steps("- {id: a}\n"),
        &[
            "3:3: error: the step does nothing; give it a `node`, a `flow`, `wait`, `pass: true`, or a `module` and an `action`",
        ],
    );
    refused(
        &with_steps("- {id: a, node: n, wait: 1s}\n"),
        &["3:20: error: a step does one thing; remove `node` or `wait`"],
    );
    refused(
        &with_steps("- {id: a, module: m}\n"),
        &["3:11: error: `module` and `action` belong together; `action` is missing"],
    );
    refused(
        &with_steps("- {id: a, node: n}\n- {id: a, node: n}\n"),
        &["4:8: error: the step `a` is already defined on line 3"],
    );
    refused(
        &with_steps("- {id: tеst, node: n}\n"),
        &[
            "3:8: error: the step id `tеst` holds `е` (U+0435, not one of a-z even if it looks like it); use letters a-z, digits, `_` and `-`",
        ],
    );
    refused(
        &with_steps("- {id: test, node: n}\n- {id: b, node: n, onSuccess: tset}\n"),
        &["4:31: error: unknown step `tset` (did you mean `test`?)"],
    );
    refused(
        &with_steps("- {id: test, node: n}\n- {id: b, node: n, needs: [test, tst]}\n"),
        &["4:34: error: unknown step `tst` (did you mean `test`?)"],
    );
    refused(
        &with_steps("- {id: a, node: n, needs: a}\n"),
        &["3:27: error: the step `a` needs itself; remove it from its `needs`"],
    );
    refused(
        &with_steps("- {id: a, node: n, on: {success: b}}\n- {id: b, node: n, needs: a}\n"),
        &[
            "4:27: error: `b` is started by a route, so it cannot have `needs`; remove them, or the route to it",
        ],
    );
    refused(
        &with_steps("- {id: a, node: n, on: {success: b}}\n- {id: b, node: n, on: {failure: b}}\n"),
        &["4:8: error: the loop b → b has no bound; give one of its steps `max_visits`"],
    );
    refused(
        &with_steps(
            "- {id: a, node: n, on: {success: b}}\n- {id: b, node: n, on: {success: c}}\n- {id: c, node: n, on: {failure: b}}\n",
        ),
        &["4:8: error: the loop b → c → b has no bound; give one of its steps `max_visits`"],
    );
    refused(
        &with_steps("- {id: a, node: n, tiemout: 1s}\n"),
        &["3:20: error: unknown key `tiemout` in a step (did you mean `timeout`?)"],
    );
    refused(
        &with_steps("- {id: a, node: n, timeout: 1x}\n"),
        &["3:29: error: `1x` is no duration; write for example `30s`, `1h30m` or `500ms`"],
    );
    refused(
        &with_steps("- {id: a, node: n, timeout: 0}\n"),
        &["3:29: error: a timeout must be longer than 0"],
    );
    refused(
        &with_steps("- {id: a, node: n, max_visits: 0}\n"),
        &["3:32: error: max_visits must be a whole number from 1 to 1000000"],
    );
    refused(
        &with_steps("- {id: a, node: n, for_each: {items: [1], concurrency: 10001}}\n"),
        &["3:56: error: concurrency must be a whole number from 1 to 10000"],
    );
    refused(
        &with_steps("- {id: a, node: n, for_each: 'x {{ input.y }}'}\n"),
        &["3:30: error: `for_each` needs a list such as `{{ steps.x.output.items }}`, not text"],
    );
    refused(
        &with_steps("- {id: a, node: n, join: some}\n"),
        &["3:26: error: join is `all` or `any`"],
    );
    refused(
        &with_steps("- {id: a, node: n, on_failure: b, onFailure: b}\n- {id: b, node: n}\n"),
        &["3:35: error: `on_failure` and `onFailure` mean the same; keep one"],
    );
    refused(
        &with_steps("- {id: a, node: n, when: '{{ 1 + }}'}\n"),
        &["3:33: error: expression ends too early"],
    );
    refused(
        &with_steps(
            "- {id: a, node: n, on: {success: {then: b, else: c}}}\n- {id: b, node: n}\n- {id: c, node: n}\n",
        ),
        &["3:44: error: `else` needs a `condition`"],
    );
    refused(
        &with_steps("- {id: a, wait: {}}\n"),
        &["3:17: error: wait for one of `duration`, `until`, `signal` and `approval`"],
    );
    refused(
        &with_steps("- {id: a, wait: soon}\n"),
        &["3:17: error: `soon` is no duration; write for example `30s`, `1h30m` or `500ms`"],
    );
    refused(
        &with_steps("- {id: a, node: 'bad name'}\n"),
        &[
            "3:17: error: the node name `bad name` holds a space; use letters a-z, digits, `.`, `_`, `-` and `/`",
        ],
    );
    refused(
        &with_steps("- {id: a, node: 'n@'}\n"),
        &["3:17: error: `n@` has no proper version; write for example `n@1.2.3`"],
    );
    refused(
        "name: f\ninput: {a: strng}\nsteps: [{id: a, node: n}]\n",
        &[
            "2:12: error: unknown type `strng`; known are string, number, integer, boolean, array, object and any (did you mean `string`?)",
        ],
    );
    refused(
        "name: f\ninput: {a: {type: number, default: x}}\nsteps: [{id: a, node: n}]\n",
        &["2:36: error: the default of `a` must be a number, not text"],
    );
    refused(
        "name: f\non_failure: hndler\nsteps: [{id: handler, node: n}]\n",
        &["2:13: error: unknown step `hndler` (did you mean `handler`?)"],
    );
}

#[test]
fn a_sketch_that_is_no_flow_is_refused_clearly() {
    refused(
        include_str!("../../tests/sources/xls-qa-agent.sketch.yaml"),
        &["4:3: error: steps must be a list, not text"],
    );
}

#[test]
fn flows_in_the_same_file_are_read() {
    let parsed = read(
        "name: f\nsteps: [{id: a, flow: inner, with: {x: 1}}]\nflows:\n  inner:\n    input: {x: number}\n    steps: [{id: b, node: n}]\n",
    );
    assert_eq!(parsed.embedded.len(), 1);
    assert_eq!(parsed.embedded[0].flow.name, "inner");
    refused(
        "name: f\nsteps: [{id: a, flow: inner}]\nflows:\n  inner:\n    steps: [{id: b}]\n",
        &[
            "5:13: error: the step does nothing; give it a `node`, a `flow`, `wait`, `pass: true`, or a `module` and an `action`",
        ],
    );
}

fn canvas(nodes: &str, edges: &str) -> String {
    format!(r#"{{"name": "c", "nodes": [{nodes}], "edges": [{edges}]}}"#)
}

fn n(id: &str, kind: &str, data: &str) -> String {
    format!(
        r#"{{"id": "{id}", "type": "{kind}", "position": {{"x": 0, "y": 0}}, "selected": true, "data": {data}}}"#
    )
}

fn e(from: &str, to: &str, more: &str) -> String {
    format!(r#"{{"id": "{from}-{to}", "source": "{from}", "target": "{to}"{more}}}"#)
}

#[test]
fn canvas_branches_meet_again() {
    let nodes = [
        n("a", "x", "{}"),
        n("check", "if", r#"{"condition": "{{ a.ok }}"}"#),
        n("yes", "x", "{}"),
        n("no", "x", "{}"),
        n("after", "x", r#"{"label": "After", "v": "{{yes.v}}"}"#),
    ]
    .join(",");
    let edges = [
        e("a", "check", ""),
        e("check", "yes", r#", "sourceHandle": "true""#),
        e("check", "no", r#", "sourceHandle": "false""#),
        e("yes", "after", ""),
        e("no", "after", ""),
    ]
    .join(",");
    let flow = read(&canvas(&nodes, &edges)).flow;
    assert_eq!(
        facts(&flow),
        [
            "a<>*1",
            "check<a>*1",
            "yes<check,a>*1?steps.a.output.ok",
            "no<check,a>*1?not (steps.a.output.ok)",
            "after<yes,noany>*1"
        ]
    );
    let Action::Node { with, .. } = &flow.steps[4].action else { panic!() };
    assert_eq!(with.to_value(), serde_json::json!({"v": "{{ steps.yes.output.v }}"}));
}

#[test]
fn canvas_handles_are_routes() {
    let nodes = [n("a", "x", "{}"), n("ok", "x", "{}"), n("bad", "x", "{}")].join(",");
    let edges = [
        e("a", "ok", r#", "sourceHandle": "success""#),
        e("a", "bad", r#", "sourceHandle": "failure""#),
        e("ok", "bad", r#", "condition": "{{ ok.wrong }}""#),
    ]
    .join(",");
    let flow = read(&canvas(&nodes, &edges)).flow;
    assert_eq!(facts(&flow), ["a<>*1", "ok<>*1!", "bad<>*2!"]);
    assert_eq!(routes(&flow.steps[0]), "ok / bad");
    assert_eq!(routes(&flow.steps[1]), "steps.ok.output.wrong?bad: / ");
    let nodes =
        [n("s", "switch", r#"{"value": "{{ kind }}"}"#), n("x", "x", "{}"), n("y", "x", "{}")]
            .join(",");
    let edges =
        [e("s", "x", r#", "sourceHandle": "it's""#), e("s", "y", r#", "sourceHandle": "default""#)]
            .join(",");
    let flow = read(&canvas(&nodes, &edges)).flow;
    assert_eq!(
        facts(&flow),
        [
            "s<>*1",
            r"x<s>*1?(input.kind)|string == 'it\'s'",
            r"y<s>*1?(input.kind)|string not in ['it\'s']"
        ]
    );
}

#[test]
fn canvas_mistakes_are_found_at_their_place() {
    refused(&canvas(&n("a", "x", "{}"), &e("a", "b", "")), &["1:161: error: unknown node `b`"]);
    refused(
        r#"{"name": "c", "nodes": [{"id": "a"}], "edges": []}"#,
        &["1:25: error: the node `a` needs a `type`"],
    );
    refused(
        r#"{"name": "c", "nodes": [], "edges": []}"#,
        &["1:1: error: a flow needs at least one node"],
    );
    refused(
        r#"{"name": "c", "parameters": [{"name": "a"}], "nodes": [{"id": "a", "type": "x"}], "edges": []}"#,
        &["1:30: error: `a` names a parameter and a node; rename one"],
    );
    refused(
        r#"{"name": "c", "parameters": [{"name": "tone"}], "nodes": [{"id": "a", "type": "x", "data": {"p": "{{ tnoe }}"}}], "edges": []}"#,
        &["1:102: error: `tnoe` is neither a node nor a parameter (did you mean `tone`?)"],
    );
    refused(
        &canvas(&[n("a", "x", "{}"), n("a", "x", "{}")].join(","), ""),
        &["1:110: error: the node `a` is defined twice"],
    );
}

#[test]
fn an_excerpt_shows_the_place() {
    let text = with_steps("- {id: test, node: n}\n- {id: b, node: n, onSuccess: tset}\n");
    let problem = &parse("flow.yaml", &text).unwrap_err()[0];
    assert_eq!(
        problem.render(&text),
        "flow.yaml:4:31: error: unknown step `tset` (did you mean `test`?)\n   |\n 4 | - {id: b, node: n, onSuccess: tset}\n   |                               ^"
    );
    assert_eq!(
        serde_json::to_value(problem).unwrap(),
        serde_json::json!({"severity": "error", "code": "unknown-step", "message": "unknown step `tset`", "file": "flow.yaml", "line": 4, "column": 31, "suggestion": "test"})
    );
}

#[test]
fn alternatives_are_read_in_every_step_syntax_and_written_out_again() {
    use crate::graph::Alternatives;
    let step = |words: &str| format!("name: f\nsteps:\n  - {{id: a, {words}}}\n");
    for (words, nodes) in [
        ("node: n", None),
        ("node: n, alternatives: auto", Some("auto")),
        ("node: n, alternatives: m@1.2.0", Some("m@1.2.0")),
        ("node: n, alternatives: [m, o.p]", Some("m,o.p")),
        ("module: n, action: o, alternatives: [auto]", Some("auto,")),
    ] {
        let flow = read(&step(words)).flow;
        let written = flow.steps[0].alternatives.as_ref().map(|it| match it {
            Alternatives::Auto => "auto".to_owned(),
            Alternatives::Listed(nodes) => {
                let nodes: Vec<String> = nodes.iter().map(crate::canonical::node_text).collect();
                // A node may be called like that.
                nodes.join(",") + if nodes == ["auto"] { "," } else { "" }
            }
        });
        assert_eq!(written.as_deref(), nodes, "{words}");
        assert_eq!(Flow::from_canonical(&flow.to_canonical()).unwrap(), flow, "{words}");
    }
    for words in ["alternatives: []", "alternatives: 3", "alternatives: ['a b']"] {
        let problems = parse("f.yaml", &step(&format!("node: n, {words}"))).unwrap_err();
        assert_eq!(problems.len(), 1, "{words}: {}", shown(&problems));
    }
}

#[test]
fn each_syntax_says_which_results_of_other_runs_a_step_takes() {
    use crate::graph::{CacheScope, Caching};
    let hour = Some(std::time::Duration::from_secs(3600));
    let of = |text: &str| read(text).flow.steps.last().unwrap().cache;
    let any = Some(Caching { ttl: None, scope: CacheScope::Namespace });
    assert_eq!(of(&with_steps("- {id: a, node: n}\n")), None);
    assert_eq!(of(&with_steps("- {id: a, node: n, cache: false}\n")), None);
    assert_eq!(of(&with_steps("- {id: a, node: n, cache: true}\n")), any);
    let own = Some(Caching { ttl: hour, scope: CacheScope::Flow });
    assert_eq!(of(&with_steps("- {id: a, node: n, cache: {ttl: 1h, scope: flow}}\n")), own);
    assert_eq!(
        of(&with_steps("- {id: a, module: m, action: x, cache: {ttl: 1h, scope: flow}}\n")),
        own
    );
    let canvas = r#"{"name": "f", "nodes": [{"id": "a", "type": "n", "data": {}, "cache": {"ttl": "1h", "scope": "flow"}}], "edges": []}"#;
    assert_eq!(of(canvas), own);
    for text in ["{ttl: 1h, scope: flow}", "true"] {
        let flow = read(&with_steps(&format!("- {{id: a, node: n, cache: {text}}}\n"))).flow;
        let again = crate::graph::Flow::from_canonical(&flow.to_canonical()).unwrap();
        assert_eq!(again, flow);
        let yaml = crate::export::to_yaml(&flow);
        assert!(yaml.contains("cache: true") || yaml.contains("scope: flow"), "{yaml}");
        assert_eq!(read(&yaml).flow, flow);
        let drawing = crate::export::to_canvas(&flow).unwrap();
        assert_eq!(parse_value(&drawing).unwrap().flow, flow);
    }
}

#[test]
fn what_is_wrong_with_a_cache_is_told() {
    let told = |cache: &str| {
        let text = with_steps(&format!("- {{id: a, node: n, cache: {cache}}}\n"));
        parse("f.yaml", &text).unwrap_err()[0].to_string()
    };
    assert!(told("1h").contains("`cache` is `true` or a map such as"), "{}", told("1h"));
    assert!(told("{ttl: 0s}").contains("longer than 0"), "{}", told("{ttl: 0s}"));
    assert!(told("{scope: flows}").contains("did you mean `flow`?"), "{}", told("{scope: flows}"));
    assert!(told("{size: 3}").contains("unknown key `size`"), "{}", told("{size: 3}"));
}
