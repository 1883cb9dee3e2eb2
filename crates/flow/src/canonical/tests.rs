use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::graph::Bundle;
use crate::syntax::parse;

const SOURCES: &[(&str, &str)] = &[
    ("release.yaml", include_str!("../../tests/sources/release.yaml")),
    ("implement-feature.yaml", include_str!("../../tests/sources/implement-feature.yaml")),
    ("simple-flow.yaml", include_str!("../../tests/sources/simple-flow.yaml")),
    ("fetch-map-deliver.yaml", include_str!("../../tests/sources/fetch-map-deliver.yaml")),
    ("campaign.canvas.json", include_str!("../../tests/sources/campaign.canvas.json")),
    ("everything.yaml", include_str!("../../tests/sources/everything.yaml")),
];

fn flow(name: &str, text: &str) -> Flow {
    parse(name, text).unwrap_or_else(|p| panic!("{}", p[0])).flow
}

#[test]
fn a_canonical_document_reads_back_as_the_same_flow() {
    for (name, text) in SOURCES {
        let flow = flow(name, text);
        assert_eq!(Flow::from_canonical(&flow.to_canonical()).unwrap(), flow, "{name}");
        let bundle = Bundle::collect(&flow, |name| Some(sub(name))).unwrap();
        assert_eq!(Bundle::from_bytes(&bundle.to_bytes()).unwrap(), bundle, "{name}");
    }
}

fn sub(name: &str) -> Flow {
    flow("sub.yaml", &format!("name: {name}\nsteps: [{{id: a, node: n}}]\n"))
}

/// The stored bytes of a bundle never change: runs are pinned to their digest.
#[test]
fn the_bytes_of_a_bundle_are_stable() {
    let bundle =
        Bundle::collect(&flow("everything.yaml", SOURCES[5].1), |name| Some(sub(name))).unwrap();
    let stored = include_bytes!("../../tests/sources/everything.bundle.json");
    assert_eq!(
        String::from_utf8(bundle.to_bytes()).unwrap(),
        String::from_utf8(stored.to_vec()).unwrap()
    );
    assert_eq!(bundle.digest(), include_str!("../../tests/sources/everything.digest").trim());
    assert_eq!(bundle.digest(), blake3::hash(stored).to_hex().to_string());
    assert_eq!(Bundle::from_bytes(stored).unwrap(), bundle);
}

#[test]
fn damaged_bundles_are_refused() {
    for (bytes, part) in [
        (&b"\xff"[..], "no JSON"),
        (b"{}", "no format"),
        (br#"{"format": 2, "flows": {}}"#, "format 2"),
        (br#"{"format": 1}"#, "no flows"),
        (br#"{"format": 1, "flows": {"a": {}}}"#, "needs"),
    ] {
        assert!(Bundle::from_bytes(bytes).unwrap_err()[0].message.contains(part), "{part}");
    }
}

#[test]
fn equal_values_have_equal_bytes() {
    let text = |v: &Value| String::from_utf8(canonical_json(v)).unwrap();
    assert_eq!(
        text(&json!({"b": [1, {"z": null, "a": "é\n"}], "a": 1.0})),
        r#"{"a":1.0,"b":[1,{"a":"é\n","z":null}]}"#
    );
    let one: Value = serde_json::from_str(r#"{"x":1,"y":2}"#).unwrap();
    let two: Value = serde_json::from_str(r#"{"y":2,"x":1}"#).unwrap();
    assert_eq!(text(&one), text(&two));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn random_graphs_survive_the_canonical_form(seeds in prop::collection::vec(any::<u64>(), 1..12)) {
        let source = graph(&seeds);
        if let Ok(parsed) = crate::syntax::parse_value(&source) {
            let back = Flow::from_canonical(&parsed.flow.to_canonical()).unwrap();
            prop_assert_eq!(&back, &parsed.flow);
            let yaml = crate::export::to_yaml(&parsed.flow);
            prop_assert_eq!(&parse("f.yaml", &yaml).map_err(|p| p[0].to_string()).unwrap().flow, &parsed.flow, "{}", yaml);
            let bundle = Bundle::collect(&parsed.flow, |name| Some(sub(name))).unwrap();
            prop_assert_eq!(Bundle::from_bytes(&bundle.to_bytes()).unwrap().digest(), bundle.digest());
        }
    }
}

/// A graph whose every choice comes from the bits of its seeds; routes go forward, so that most are valid.
fn graph(seeds: &[u64]) -> Value {
    let steps: Vec<Value> = seeds
        .iter()
        .enumerate()
        .map(|(at, seed)| {
            let bit = |n: u32| seed >> n & 1 == 1;
            let forward = |n: u32| format!("s-{}", (at + 1 + (seed >> n & 3) as usize).min(seeds.len()));
            let mut step = json!({"id": format!("s-{at}")});
            match seed & 3 {
                0 => step["node"] = json!("n@1.0.0"),
                1 => step["flow"] = json!("sub"),
                2 => step["wait"] = [json!("30s"), json!({"until": "{{ input.when }}"}), json!({"signal": "go", "timeout": "1h"}), json!({"approval": "ok?"})][(seed >> 2 & 3) as usize].clone(),
                _ => step["pass"] = json!(true),
            }
            if seed & 3 < 2 {
                step["with"] = json!({"x": ["{{ input.a-b|default('é') }}", "t {{ secrets.T }}", {"k: y": seed >> 4 & 0xff}], "y": "line\n- two: #x"});
            }
            if bit(12) { step["on_success"] = json!([{"condition": format!("steps.s-{at}.output.n > 1"), "then": forward(13), "else": forward(15)}]); }
            if bit(17) { step["onFailure"] = json!([forward(18)]); }
            if bit(20) { step["retry"] = json!({"attempts": seed >> 21 & 7, "initial": "1500ms", "coefficient": 1.5, "maximum": "1h"}); }
            if bit(24) { step["retry"] = json!(["1s", 2]); }
            if bit(25) { step["for_each"] = json!({"items": "{{ input.list }}", "concurrency": 1 + (seed >> 26 & 15)}); }
            if bit(30) { step["when"] = json!("input.go == true"); }
            if bit(31) { step["outputs"] = json!({"r": "object"}); }
            if bit(32) { step["compensate"] = json!({"node": "undo", "with": {"id": format!("{{{{ steps.s-{at}.output.id }}}}")}}); }
            if bit(33) { step["max_visits"] = json!(1 + (seed >> 34 & 7)); }
            if bit(37) { step["spawns"] = json!(true); }
            if bit(38) { step["queue"] = json!("gpu"); }
            if bit(39) { step["join"] = json!("any"); }
            if bit(40) && at > 0 { step["needs"] = json!([format!("s-{}", at - 1)]); }
            step
        })
        .chain([json!({"id": format!("s-{}", seeds.len()), "node": "last"})])
        .collect();
    json!({"name": "random", "version": "1", "input": {"when?": "any", "a-b": "string", "list?": "array", "go": {"type": "boolean", "default": false}}, "steps": steps, "output": {"r": "{{ steps.s-0.output }}"}})
}
