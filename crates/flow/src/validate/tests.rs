use super::*;
use crate::syntax::parse;

struct Catalogue;

impl Nodes for Catalogue {
    fn find(&self, node: &NodeRef) -> Option<NodeShape> {
        let property = |name: &str, kind, required| Property { name: name.into(), kind, required };
        match (node.name.as_str(), node.version.as_deref()) {
            ("http.request", None | Some("1.0.0")) => Some(NodeShape {
                inputs: Some(vec![
                    property("url", ParameterKind::String, true),
                    property("retries", ParameterKind::Integer, false),
                ]),
                outputs: Some(vec![
                    property("status", ParameterKind::Integer, true),
                    property("data", ParameterKind::Any, true),
                ]),
            }),
            ("n", None) => Some(NodeShape::default()),
            _ => None,
        }
    }

    fn names(&self) -> Vec<String> {
        vec!["http.request".into(), "n".into()]
    }

    fn effects(&self, node: &NodeRef, input: &Value) -> Option<EffectClass> {
        match (node.name.as_str(), input.get("method")) {
            ("http.request", _) => Some(EffectClass::Reads),
            ("n", Some(_)) => Some(EffectClass::Unsafe),
            _ => None,
        }
    }
}

fn check(text: &str, expected: &[&str]) {
    let parsed = parse("f.yaml", text).unwrap_or_else(|p| panic!("{text}{}", p[0]));
    let found: Vec<String> = validate_parsed(&parsed, &Catalogue)
        .iter()
        .map(|p| p.to_string().replace("f.yaml:", ""))
        .collect();
    assert_eq!(found, expected, "{text}");
}

/// These steps from line 4 on.
fn steps(steps: &str, expected: &[&str]) {
    check(&format!("name: f\ninput: {{url: string}}\nsteps:\n{steps}"), expected);
}

#[test]
fn a_right_flow_has_no_findings() {
    steps(
        "- {id: a, node: http.request, with: {url: '{{ input.url }}', retries: 3}}\n- {id: b, node: n, with: {x: '{{ steps.a.output.status }}', t: 'Bearer {{ secrets.T }}'}}\n",
        &[],
    );
    steps(
        "- {id: a, node: n, for_each: '{{ input.url }}', with: {x: '{{ item }} {{ index }}'}}\n",
        &[],
    );
}

#[test]
fn nodes_and_their_inputs_are_checked() {
    steps(
        "- {id: a, node: htp.request}\n",
        &["4:17: error: unknown node `htp.request` (did you mean `http.request`?)"],
    );
    steps(
        "- {id: a, node: http.request@2.0.0, with: {url: x}}\n",
        &["4:17: error: the node `http.request` has no version 2.0.0"],
    );
    steps(
        "- {id: a, node: http.request}\n",
        &["4:8: error: the node `http.request` needs the input `url` (string)"],
    );
    steps(
        "- {id: a, node: http.request, with: {}}\n",
        &["4:37: error: the node `http.request` needs the input `url` (string)"],
    );
    steps(
        "- {id: a, node: http.request, with: {url: 5, retries: '{{ input.url }}'}}\n",
        &["4:43: error: the input `url` of the node `http.request` must be text, not a number"],
    );
    steps(
        "- {id: a, node: http.request, with: {url: x, retries: 'a {{ input.url }}'}}\n",
        &[
            "4:55: error: the input `retries` of the node `http.request` must be a whole number, not text",
        ],
    );
    steps(
        "- {id: a, node: http.request, with: {url: x, retires: 1}}\n",
        &[
            "4:46: error: the node `http.request` has no input `retires`; it takes url, retries (did you mean `retries`?)",
        ],
    );
    steps(
        "- {id: a, node: http.request, with: [1]}\n",
        &["4:37: error: the node `http.request` takes an object, not a list"],
    );
    steps("- {id: a, node: n, compensate: undoo}\n", &["4:32: error: unknown node `undoo`"]);
}

#[test]
fn names_in_expressions_are_checked_where_they_stand() {
    steps(
        "- {id: fetch, node: n}\n- {id: b, node: n, with: {x: 'a {{ steps.fetsh.output }}'}}\n",
        &["5:36: error: unknown step `fetsh` (did you mean `fetch`?)"],
    );
    steps(
        "- {id: a, node: n, with: {x: \"{{ input.ulr }}\"}}\n",
        &["4:34: error: unknown input `ulr` (did you mean `url`?)"],
    );
    steps(
        "- {id: a, node: n, with: {x: \"{{ fetch.x }}\"}}\n",
        &[
            "4:34: error: unknown name `fetch`; known are input, trigger, steps, item, index, workflow",
        ],
    );
    steps(
        "- {id: a, node: n, with: {x: \"{{ url }}\"}}\n",
        &[
            "4:34: error: unknown name `url`; known are input, trigger, steps, item, index, workflow (did you mean `input.url`?)",
        ],
    );
    steps(
        "- {id: a, node: n, with: {x: \"{{ workflow.stauts }}\"}}\n",
        &[
            "4:34: error: `workflow` has no `stauts`; it has name, id, run_id, status, error (did you mean `status`?)",
        ],
    );
    steps(
        "- {id: a, node: n, outputs: {rows: number}}\n- {id: b, node: n, with: {x: \"{{ 1 + steps.a.output.row }}\"}}\n",
        &[
            "5:38: error: the step `a` declares no output `row`; it declares rows (did you mean `rows`?)",
        ],
    );
    steps(
        "- {id: a, node: http.request, with: {url: x}}\n- {id: b, node: n, with: {x: \"{{ steps.a.status_code }}\"}}\n",
        &[
            "5:34: error: a step has no `status_code`; it has output, outputs, status, error, visits (did you mean `status`?)",
        ],
    );
    steps(
        "- {id: a, node: http.request, with: {url: x}}\n- {id: b, node: n, with: {x: \"{{ steps.a.data }}\"}}\n",
        &[
            "5:34: error: a step has no `data`; it has output, outputs, status, error, visits (did you mean `steps.a.output.data`?)",
        ],
    );
    steps(
        "- {id: a, node: n, with: {x: \"{{ item }}\"}}\n",
        &["4:34: error: `item` is only known in the `with` of a step with `for_each`"],
    );
    steps(
        "- {id: a, node: n, for_each: [1], when: item == 1}\n",
        &["4:41: error: `item` is only known in the `with` of a step with `for_each`"],
    );
    steps(
        "- {id: a, node: n, when: \"{{ secrets.T == 'x' }}\"}\n",
        &["4:30: error: a condition cannot read a secret"],
    );
    check(
        "name: f\nsteps: [{id: a, node: n}]\noutput: {t: 'x{{ secrets.T }}'}\n",
        &["3:9: error: a secret can only be given to a node, in the `with` of a step"],
    );
    check(
        "name: f\nsteps: [{id: a, node: n}]\noutput: {t: '{{ steps.b.output }}'}\n",
        &["3:17: error: unknown step `b`"],
    );
}

#[test]
fn the_graph_is_checked() {
    steps(
        "- {id: a, node: n, needs: c}\n- {id: b, node: n, needs: a}\n- {id: c, node: n, needs: b}\n- {id: d, node: n}\n",
        &[
            "4:8: error: steps wait for each other: a → c → b → a (each needs the next); remove one of these needs, or use routes for a loop",
        ],
    );
    steps(
        "- {id: a, node: n, needs: b}\n- {id: b, node: n, needs: a}\n",
        &[
            "3:1: error: no step can start: each is started by a route or waits for another; leave one without",
            "4:8: error: steps wait for each other: a → b → a (each needs the next); remove one of these needs, or use routes for a loop",
        ],
    );
    steps(
        "- {id: a, node: n, needs: b, on: {success: c}}\n- {id: b, node: n, needs: a}\n- {id: c, node: n}\n- {id: d, node: n}\n",
        &[
            "4:8: error: steps wait for each other: a → b → a (each needs the next); remove one of these needs, or use routes for a loop",
            "6:8: error: the step `c` can never start: only steps that never start route to it",
        ],
    );
    steps(
        "- {id: a, node: n, on: {success: b}}\n- {id: b, node: n, max_visits: 2, on: {failure: b}}\n- {id: c, node: n, with: {x: '{{ steps.b.output }}'}}\n",
        &[
            "6:8: error: `c` needs `b`, which repeats in a loop; route to `c` from the loop's end instead",
        ],
    );
    steps(
        "- {id: a, node: n, with: {x: '{{ steps.b.output }}'}, on: {success: b}}\n- {id: b, node: n}\n- {id: c, node: n}\n",
        &[
            "4:8: error: the step `a` can never start: it needs a step that never starts",
            "5:8: error: the step `b` can never start: only steps that never start route to it",
        ],
    );
    steps(
        "- {id: a, node: n, join: any}\n",
        &["4:8: warning: `join: any` of `a` has no effect with fewer than two needs"],
    );
    steps(
        "- {id: a, node: n, timeout: 2m, total_timeout: 1m}\n",
        &["4:8: error: the `timeout` of `a` is longer than its `total_timeout`"],
    );
}

#[test]
fn calls_of_sub_flows_are_checked() {
    let text = "name: f\nsteps: [{id: a, flow: inner, with: {y: 1}}]\nflows:\n  inner:\n    input: {x: number}\n    steps: [{id: b, node: n}]\n";
    let parsed = parse("f.yaml", text).unwrap();
    let bundle = Bundle::collect_parsed(&parsed, |_| None).unwrap();
    let found: Vec<String> = validate_calls(&parsed.flow, &bundle, &parsed.spans)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        found,
        [
            "2:37: error: the flow `inner` has no input `y`; it takes x",
            "2:36: error: the flow `inner` needs the input `x` (number)"
        ]
    );
    assert_eq!(validate_bundle(&bundle, &Catalogue).len(), 2);
    let missing = Bundle::collect(&parsed.flow, |_| None).unwrap_err();
    assert_eq!(missing[0].to_string(), "error: unknown flow `inner`");
}

#[test]
fn alternatives_are_nodes_that_take_the_input_of_a_step_that_calls_one() {
    steps("- {id: a, node: http.request, alternatives: [n], with: {url: x}}\n", &[]);
    for (step, found) in [
        (
            "{id: a, node: n, alternatives: [http.reqest]}",
            "unknown node `http.reqest` (did you mean `http.request`?)",
        ),
        (
            "{id: a, node: n, alternatives: [http.request]}",
            "the node `http.request` needs the input `url` (string)",
        ),
        (
            "{id: a, node: n, alternatives: auto, for_each: [1]}",
            "runs over a list and so can have no alternatives",
        ),
        ("{id: a, wait: 1s, alternatives: auto}", "calls no node that could have alternatives"),
    ] {
        let text = format!("name: f\nsteps:\n- {step}\n");
        let parsed = parse("f.yaml", &text).unwrap_or_else(|p| panic!("{text}{}", p[0]));
        let problems = validate_parsed(&parsed, &Catalogue);
        assert_eq!(problems.len(), 1, "{step}: {problems:?}");
        assert!(problems[0].to_string().contains(found), "{}", problems[0]);
    }
}

#[test]
fn a_result_of_another_run_is_taken_only_where_that_can_be_sound() {
    let get = "node: http.request, with: {url: x}";
    steps(
        &format!("- {{id: a, {get}, cache: {{ttl: 1h}}}}\n- {{id: b, node: n, cache: true}}\n"),
        &[],
    );
    steps(
        &format!("- {{id: a, {get}, cache: true}}\n"),
        &[
            "4:54: error: the node `http.request` is not pure (reads), so its results age; say how long they count, as in `cache: {ttl: 1h}`",
        ],
    );
    steps(
        "- {id: a, node: n, with: {method: POST}, cache: {ttl: 1h}}\n",
        &[
            "4:49: error: the effects of the node `n` are unsafe, so each run has to call it; remove `cache`",
        ],
    );
    steps(
        "- {id: a, node: n, with: {t: '{{ secrets.T }}'}, cache: true}\n",
        &["4:57: error: a call with a secret is not cached; remove `cache`"],
    );
    steps(
        "- {id: a, wait: 1s, cache: true}\n",
        &["4:28: error: only a step that calls a node takes results of other runs; remove `cache`"],
    );
    steps(
        "- {id: a, node: n, cache: true, compensate: n}\n",
        &[
            "4:27: error: what another run did cannot be taken back by this one; remove `cache` or `compensate`",
        ],
    );
}
