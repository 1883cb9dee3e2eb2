//! Manifests and schemas as people write them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::time::Duration;

use reflux_sdk::{Effects, Manifest, Schema};
use serde_json::{Value, json};

fn schema(written: Value) -> Schema {
    Schema::new(&written).unwrap()
}

fn problems(schema: &Schema, value: &Value) -> Vec<String> {
    let problems = schema.check(value).err().unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn the_manifest_that_was_asked_for_is_read_as_it_stands() {
    let manifest = Manifest::from_json(
        r#"{
  "name": "excel.toParquet",
  "version": "1.4.2",
  "inputs": { "file_url": "string", "sheet?": "string" },
  "outputs": { "parquet_url": "string", "rows": "number" },
  "policies": {
    "timeoutSec": 180,
    "retries": [1, 3, 10, 30],
    "idempotency": "sha1(inputs)"
  },
  "metrics": ["rows", "cols", "latency_ms"]
}"#,
    )
    .unwrap();
    assert_eq!(manifest.reference(), "excel.toParquet@1.4.2");
    assert_eq!(manifest.policies.timeout, Some(Duration::from_secs(180)));
    assert_eq!(manifest.policies.retries, Some([1, 3, 10, 30].map(Duration::from_secs).to_vec()));
    assert_eq!(manifest.effects, Effects::Idempotent);
    let inputs: Vec<_> = manifest.inputs.properties().collect();
    assert_eq!(inputs, [("file_url", "string", true), ("sheet", "string", false)]);
    let written = serde_json::to_string(&manifest).unwrap();
    assert_eq!(Manifest::from_json(&written), Ok(manifest));
}

#[test]
fn effects_that_are_not_stated_are_the_careful_ones() {
    let rows = [
        ("{}", None, Effects::Unsafe),
        (r#"{"idempotency": "x"}"#, None, Effects::Idempotent),
        ("{}", Some("reads"), Effects::Reads),
    ];
    for (policies, effects, expected) in rows {
        let mut written = json!({"name": "a.b", "version": "1.0.0", "policies": serde_json::from_str::<Value>(policies).unwrap()});
        if let Some(effects) = effects {
            written["effects"] = effects.into();
        }
        assert_eq!(
            Manifest::from_json(&written.to_string()).unwrap().effects,
            expected,
            "{written}"
        );
    }
}

#[test]
fn a_manifest_that_cannot_be_used_says_what_to_write() {
    let rows = [
        (json!({"version": "1.0.0"}), "missing field `name`"),
        (json!({"name": "a b", "version": "1.0.0"}), "use letters, digits"),
        (json!({"name": "a\u{202e}b", "version": "1.0.0"}), "use letters, digits"),
        (json!({"name": "а", "version": "1.0.0"}), "use letters, digits"), // a Cyrillic letter
        (json!({"name": "", "version": "1.0.0"}), "use letters, digits"),
        (json!({"name": "a".repeat(201), "version": "1.0.0"}), "at most 200"),
        (json!({"name": "a", "version": "1"}), "use major.minor.patch"),
        (
            json!({"name": "a", "version": "1.0.0", "inputs": {"x": "strng"}}),
            "`x`: unknown type `strng`",
        ),
        (
            json!({"name": "a", "version": "1.0.0", "inputs": {"x": {"y": "strng"}}}),
            "`x`: `y`: unknown type",
        ),
        (json!({"name": "a", "version": "1.0.0", "inputs": 5}), "5 is not a schema"),
        (
            json!({"name": "a", "version": "1.0.0", "inputs": [{"type": "string"}]}),
            "needs a `name`",
        ),
        (
            json!({"name": "a", "version": "1.0.0", "policies": {"timeoutSec": -1}}),
            "-1 is not a number of seconds",
        ),
        (
            json!({"name": "a", "version": "1.0.0", "policies": {"retries": [1e300]}}),
            "is not a number of seconds",
        ),
        (json!({"name": "a", "version": "1.0.0", "effects": "some"}), "unknown variant `some`"),
    ];
    for (written, expected) in rows {
        let error = Manifest::from_json(&written.to_string()).unwrap_err().to_string();
        assert!(error.contains(expected), "{written}: {error}");
    }
}

#[test]
fn every_way_to_write_a_schema_means_the_same() {
    let object = |properties: Value, required: Value| json!({"type": "object", "properties": properties, "required": required});
    let rows = [
        (json!({"a": "string"}), object(json!({"a": {"type": "string"}}), json!(["a"]))),
        (
            json!({"a?": "string[]"}),
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "string"}}}}),
        ),
        (
            json!([{"name": "a", "type": "bool", "required": true}]),
            object(json!({"a": {"type": "boolean"}}), json!(["a"])),
        ),
        (json!([{"name": "a"}]), json!({"type": "object", "properties": {"a": {}}})),
        (
            json!([{"name": "r", "type": "object", "properties": {"passed": "boolean"}}]),
            json!({"type": "object", "properties": {"r": {"type": "object", "properties": {"passed": {"type": "boolean"}}}}}),
        ),
        (json!({"type": "string"}), object(json!({"type": {"type": "string"}}), json!(["type"]))),
        (
            json!({"type": "string", "items": {"sku": "string"}}),
            json!({"type": "string", "items": {"sku": "string"}}),
        ),
        (
            json!({"type": "string", "data": {"x": "any"}}),
            object(
                json!({"type": {"type": "string"}, "data": object(json!({"x": {}}), json!(["x"]))}),
                json!(["type", "data"]),
            ),
        ),
        (
            json!({"a": {"type": "integer", "minimum": 1}}),
            object(json!({"a": {"type": "integer", "minimum": 1}}), json!(["a"])),
        ),
        (json!({"type": "object", "x-mine": 1}), json!({"type": "object", "x-mine": 1})),
        (json!({"$ref": "#/x"}), json!({"$ref": "#/x"})),
        (json!(null), json!({})),
        (json!({}), json!({})),
    ];
    for (written, expected) in rows {
        let expanded = schema(written.clone());
        assert_eq!(*expanded.json(), expected, "{written}");
        assert_eq!(schema(expected.clone()).json(), &expected, "a full schema stays as it is");
    }
}

#[test]
fn a_value_is_checked_by_types_and_required_fields() {
    let written = schema(json!({
        "type": "object",
        "properties": {
            "n": {"type": "integer"},
            "list": {"type": "array", "items": {"type": "object", "properties": {"x": {"type": "number"}}, "required": ["x"]}},
            "either": {"type": ["string", "null"]},
            "choice": {"enum": ["a", 1]},
        },
        "required": ["n"],
    }));
    let rows: &[(Value, &[&str])] = &[
        (json!({"n": 1}), &[]),
        (json!({"n": 2.0, "list": [{"x": 1.5}], "either": null, "choice": 1, "more": true}), &[]),
        (json!({"n": 1, "list": null, "choice": null}), &[]),
        (json!({}), &["`n` is missing"]),
        (json!({"n": null}), &["n: expected integer, found null"]),
        (json!({"n": 1.5}), &["n: expected integer, found number"]),
        (json!([]), &["expected object, found array"]),
        (
            json!({"n": 1, "list": [{"x": 1}, {"x": "1"}, {}]}),
            &["list[1].x: expected number, found string", "list[2]: `x` is missing"],
        ),
        (
            json!({"n": 1, "either": 5, "choice": "s3cret"}),
            &["either: expected string or null, found number", "choice: expected one of \"a\", 1"],
        ),
    ];
    for (value, expected) in rows {
        assert_eq!(problems(&written, value), *expected, "{value}");
    }
    assert_eq!(problems(&written, &json!({"n": 1, "list": vec![1; 1_000]})).len(), 32);
    assert!(problems(&Schema::default(), &json!(5)).is_empty());
}

#[test]
fn an_input_that_cannot_be_read_is_not_repeated_in_the_failure() {
    #[derive(Debug, serde::Deserialize)]
    struct Input {
        #[allow(dead_code)]
        n: u8,
    }
    let mut manifest = Manifest::new("a.b", "1.0.0").unwrap();
    assert!(manifest.read_input::<Input>(json!({"n": 5})).is_ok());
    let failure =
        manifest.read_input::<Input>(json!({"n": "a s3cret \"quoted\" one"})).unwrap_err();
    assert_eq!(failure.message, "input of a.b: invalid type: string \"…\", expected u8");
    manifest.inputs = schema(json!({"n": "integer"}));
    let failure = manifest.read_input::<Input>(json!({"n": "s3cret"})).unwrap_err();
    assert_eq!(
        (failure.message.as_str(), failure.retryable),
        ("input of a.b: n: expected integer, found string", false)
    );
}
