use super::Patch;
use crate::graph::Flow;
use crate::steer::patch::{base, difference, replaced};
use crate::syntax::parse;

const FLOW: &str = "
name: f
input: {list: array}
steps:
  - {id: a, node: n.a}
  - {id: b, node: n.b, with: {x: '{{ steps.a.output.x }}'}}
  - {id: c, node: n.c, needs: [b]}
  - {id: each, for_each: '{{ input.list }}', node: n.each}
  - {id: pick, node: n.pick, on: {success: [left]}}
  - {id: left, node: n.left}
  - {id: loop, node: n.loop, needs: [c], on: {failure: [mend]}}
  - {id: mend, node: n.mend, on: {success: [turn]}}
  - {id: turn, node: n.turn, max_visits: 3, on: {failure: [mend]}}
";

fn flow() -> Flow {
    parse("f.yaml", FLOW).expect("parses").flow
}

fn apply(patch: &str) -> Result<Flow, String> {
    let patch = Patch::parse(patch).map_err(|refused| refused.0)?;
    patch.apply(&flow()).map_err(|refused| refused.0)
}

/// What differs, as `put…; -gone…`.
fn changes(patch: &str, expected: &str) {
    let changed = apply(patch).unwrap_or_else(|why| panic!("{patch}: {why}"));
    let (put, gone) = difference(&flow(), &changed);
    let put: Vec<&str> = put.iter().map(|step| step["id"].as_str().expect("an id")).collect();
    let gone: Vec<String> = gone.iter().map(|id| format!("-{id}")).collect();
    assert_eq!([put.join(" "), gone.join(" ")].join(";"), expected, "{patch}");
}

fn refuses(patch: &str, why: &str) {
    let refused = apply(patch).expect_err(patch);
    assert!(refused.contains(why), "{patch}:\n{refused}\nlacks {why}");
}

#[test]
fn each_operation_changes_what_it_names_and_what_follows_from_it() {
    changes("ops: [{add: {id: z, node: n.z, after: c}}]", "z;");
    changes("ops: [{add: {id: z, node: n.z, with: {x: '{{ steps.c.output }}'}}}]", "z;");
    changes("ops: [{remove: each}]", ";-each");
    changes("ops: [{remove: 'each[17]'}, {remove: b}]", "c;-b");
    changes("ops: [{replace: {id: c, node: n.other, needs: [b]}}]", "c;");
    changes("ops: [{set: {step: a, path: /with/url, value: here}}]", "a;");
    changes("ops: [{set: {step: a, path: /timeout, value: 5s}}]", "a;");
    changes("ops: [{set: {step: c, path: /needs/-, value: a}}]", "c;");
    changes(
        "ops: [{add: {id: z, node: n.z}}, {reroute: {step: pick, on: success, to: [left, z], condition: 'input.list'}}]",
        "pick z;",
    );
    changes("ops: [{reroute: {step: each, on: failure, to: [left]}}]", "each left;");
}

#[test]
fn what_gives_no_valid_flow_is_refused_with_what_was_meant() {
    for (patch, why) in [
        ("ops: []", "has no `ops`"),
        ("ops: [{drop: a}]", "unknown variant `drop`"),
        ("ops: [{remove: eech}]", "unknown step `eech` (did you mean `each`?)"),
        ("ops: [{remove: 'eech[1]'}]", "unknown step `eech` (did you mean `each`?)"),
        ("ops: [{add: {id: a, node: n}}]", "the step `a` is there already"),
        ("ops: [{add: {id: z, node: n, after: q}}]", "unknown step `q`"),
        ("ops: [{add: {id: z, nod: n}}]", "did you mean `node`?"),
        ("ops: [{remove: a}]", "unknown step `a`"),
        ("ops: [{set: {step: a, path: with, value: 1}}]", "is no path"),
        ("ops: [{set: {step: a, path: /id, value: z}}]", "keeps its id"),
        ("ops: [{set: {step: a, path: /node/x, value: z}}]", "no parts"),
        ("ops: [{set: {step: a, path: /needs, value: [c]}}]", "steps wait for each other"),
        ("ops: [{reroute: {step: left, on: success, to: [pick]}}]", "has no bound"),
        ("ops: [{reroute: {step: pick, on: success, to: [lefd]}}]", "did you mean `left`?"),
        ("ops: [{reroute: {step: pick, on: success, to: []}}]", "would start at once"),
        ("ops: [{reroute: {step: pick, on: done, to: []}}]", "unknown variant `done`"),
        ("ops: [{remove: left}]", "unknown step `left`"),
    ] {
        refuses(patch, why);
    }
}

#[test]
fn the_recorded_difference_alone_gives_the_changed_flow() {
    for patch in [
        "ops: [{add: {id: z, node: n.z, after: c}}, {remove: b}]",
        "ops: [{add: {id: z, node: n.z, on: {failure: [y]}}}, {add: {id: y, node: n.y}}]",
        "ops: [{replace: {id: pick, node: n.p, on: {success: [{condition: 'input.list', then: [left], else: [mend]}]}}}]",
    ] {
        let changed = apply(patch).expect(patch);
        let (put, gone) = difference(&flow(), &changed);
        let again = replaced(&flow(), &put, &|id| gone.contains(id)).expect("a flow");
        let by_id = |flow: &Flow| {
            let steps = flow.steps.iter().map(|step| (step.id.clone(), step.clone()));
            steps.collect::<std::collections::BTreeMap<_, _>>()
        };
        assert_eq!(by_id(&again), by_id(&changed), "{patch}");
    }
}

#[test]
fn an_unchanged_document_is_no_difference() {
    let changed = apply("ops: [{set: {step: a, path: /node, value: n.a}}]").expect("applies");
    assert_eq!(difference(&flow(), &changed), (Vec::new(), Vec::new()));
    assert_eq!(base(&flow()), flow());
}
