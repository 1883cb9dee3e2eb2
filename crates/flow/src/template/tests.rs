use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::scope::Scope;

fn scope() -> Scope {
    Scope {
        input: Arc::new(
            json!({"n": 7, "s": "text", "list": [1, 2], "none": null, "fake": "{{ secrets.TOKEN }}", "user": {"a/b": 1}}),
        ),
        ..Scope::default()
    }
}

fn check(template: Value, expected: Value) {
    let parsed = Template::from_value(&template).unwrap();
    assert_eq!(
        parsed.render(&scope(), 10_000).unwrap(),
        Rendered { value: expected, secrets: vec![] }
    );
    assert_eq!(
        Template::from_value(&parsed.to_value()).unwrap(),
        parsed,
        "what is written reads back"
    );
}

#[test]
fn a_whole_expression_keeps_its_type() {
    check(json!("{{ input.n }}"), json!(7));
    check(json!("{{input.list}}"), json!([1, 2]));
    check(json!("{{ input.none }}"), json!(null));
    check(json!("{{ {'a': {'b': input.n}} }}"), json!({"a": {"b": 7}}));
    check(json!("{{ '}}' }}"), json!("}}"));
    check(
        json!({"a": ["{{ input.n }}", 1, {"b": "{{ input.s }}"}], "c": true}),
        json!({"a": [7, 1, {"b": "text"}], "c": true}),
    );
}

#[test]
fn within_text_a_value_is_written_out() {
    check(json!("n={{ input.n }}!"), json!("n=7!"));
    check(json!("{{ input.n }}{{ input.s }}"), json!("7text"));
    check(json!(" {{ input.n }}"), json!(" 7"));
    check(json!("[{{ input.none }}]"), json!("[]"));
    check(json!("l: {{ input.list }}"), json!("l: [1,2]"));
    check(json!("{{ '{{' }} is {{ input.s|upper }}"), json!("{{ is TEXT"));
    check(json!("plain } }} {% x %} text"), json!("plain } }} {% x %} text"));
}

#[test]
fn broken_templates_are_refused() {
    for (template, part) in [
        (json!("{{ input.n"), "not closed"),
        (json!("{{ }}"), "empty"),
        (json!(["{{ 1 + }}"]), "ends too early"),
        (json!({"{{ input.n }}": 1}), "only values"),
        (json!("{{ secrets.TOKEN|upper }}"), "as it is"),
        (json!("{{ 'Bearer ' ~ secrets.TOKEN }}"), "as it is"),
        (json!("{{ secrets.TOKEN.x }}"), "as it is"),
        (json!("{{ secrets }}"), "followed by a name"),
    ] {
        let error = Template::from_value(&template).expect_err(&template.to_string());
        assert!(error.message.contains(part), "{template}: {error}");
    }
}

#[test]
fn secrets_are_named_and_never_in_band() {
    let template = Template::from_value(&json!({
        "headers": {"a/b~c": "Bearer {{ secrets.TOKEN }}-{{ input.n }}", "x": ["{{ secrets.KEY }}"]},
        "fake": "{{ input.fake }}",
    }))
    .unwrap();
    let rendered = template.render(&scope(), 10_000).unwrap();
    assert_eq!(
        rendered.value,
        json!({"headers": {"a/b~c": "Bearer {{ secrets.TOKEN }}-7", "x": ["{{ secrets.KEY }}"]}, "fake": "{{ secrets.TOKEN }}"})
    );
    let text = |t: &str| SecretPart::Text(t.into());
    let secret = |t: &str| SecretPart::Secret(t.into());
    assert_eq!(
        rendered.secrets,
        [
            SecretSlot {
                pointer: "/headers/a~1b~0c".into(),
                parts: vec![text("Bearer "), secret("TOKEN"), text("-7")]
            },
            SecretSlot { pointer: "/headers/x/0".into(), parts: vec![secret("KEY")] },
        ]
    );
    for slot in &rendered.secrets {
        assert!(rendered.value.pointer(&slot.pointer).unwrap().is_string());
    }
    assert_eq!(template.refs().secrets.iter().collect::<Vec<_>>(), ["KEY", "TOKEN"]);
    assert_eq!(template.refs().inputs.iter().collect::<Vec<_>>(), ["fake", "n"]);
}

#[test]
fn rendering_has_a_budget() {
    let template = Template::from_value(
        &json!({"a": "{{ input.s }}", "b": "{{ input.s }} and {{ input.s }}"}),
    )
    .unwrap();
    assert!(template.render(&scope(), 60).is_ok());
    for budget in [0, 5, 20] {
        let error = template.render(&scope(), budget).unwrap_err();
        assert_eq!(error.kind, crate::expr::ExprErrorKind::Budget, "{budget}");
    }
}

#[test]
fn places_of_errors_are_those_in_the_file() {
    let doc =
        Doc::parse("a:\n  b: \"x {{ 1 + }}\"\n  c: {{ nope( }}\n").map_err(|p| p[0].to_string());
    // Unquoted braces are a map to YAML.
    assert!(doc.is_err(), "{doc:?}");
    let doc = Doc::parse(
        "a:\n  b: \"x {{ 1 + }}\"\n  c: 'é {{ nope() }}'\n  d: ok {{ input.n|revers }}\n",
    )
    .unwrap();
    let problems: Vec<String> =
        Template::from_doc(&doc).unwrap_err().iter().map(ToString::to_string).collect();
    assert_eq!(
        problems,
        [
            "2:15: error: expression ends too early",
            "3:12: error: unknown function `nope`",
            "4:20: error: unknown filter `revers` (did you mean `reverse`?)",
        ]
    );
}
