use serde_json::json;

use super::*;
use crate::syntax::parse;

fn flow(input: &str) -> Flow {
    let source = format!("name: f\ninput: {input}\nsteps:\n  - {{id: a, node: n}}\n");
    parse("f.yaml", &source).unwrap_or_else(|p| panic!("{}", p[0])).flow
}

const ALL: &str = "{url: string, 'n?': number, i: {type: integer, default: 3}, flag: {type: boolean, required: true}, any: }";

fn check(input: Value, expected: Result<Value, &[&str]>) {
    let found = check_input(&flow(ALL), input)
        .map_err(|p| p.iter().map(ToString::to_string).collect::<Vec<_>>());
    let expected = expected.map_err(|e| e.iter().map(ToString::to_string).collect::<Vec<_>>());
    assert_eq!(found, expected);
}

#[test]
fn inputs_are_completed_and_checked() {
    check(
        json!({"url": "x", "flag": true, "any": null}),
        Ok(json!({"url": "x", "i": 3, "flag": true, "any": null})),
    );
    check(
        json!({"url": "x", "flag": true, "any": [1], "n": 1.5, "i": 4.0}),
        Ok(json!({"url": "x", "n": 1.5, "i": 4.0, "flag": true, "any": [1]})),
    );
    check(
        json!({"ulr": "x", "flag": "yes", "i": 1.5, "n": "1"}),
        Err(&[
            "the input `url` (string) is missing",
            "the input `n` must be a number, not text",
            "the input `i` must be a whole number, not a number",
            "the input `flag` must be a boolean, not text",
            "the input `any` (any) is missing",
            "the flow `f` has no input `ulr` (did you mean `url`?)",
        ]),
    );
    check(
        json!({"url": null, "flag": true, "any": 1}),
        Err(&["the input `url` (string) is missing"]),
    );
    check(json!([]), Err(&["the input must be an object, not a list"]));
    assert_eq!(check_input(&flow("{}"), Value::Null), Ok(json!({})));
}

#[test]
fn a_flow_that_reads_its_whole_input_takes_anything() {
    let source = "name: f\nsteps:\n  - {id: a, node: n, with: {all: '{{ input }}'}}\n";
    let flow = parse("f.yaml", source).unwrap().flow;
    assert_eq!(check_input(&flow, json!({"x": 1})), Ok(json!({"x": 1})));
}

#[test]
fn text_of_a_command_line_becomes_a_value() {
    use ParameterKind::*;
    for (kind, text, expected) in [
        (String, "5", Some(json!("5"))),
        (Number, "5", Some(json!(5))),
        (Number, "1.5", Some(json!(1.5))),
        (Number, "x", None),
        (Integer, "1.5", None),
        (Integer, "-3", Some(json!(-3))),
        (Boolean, "Yes", Some(json!(true))),
        (Boolean, "0", Some(json!(false))),
        (Boolean, "maybe", None),
        (Array, "[1, 2]", Some(json!([1, 2]))),
        (Array, "a, b", Some(json!(["a", "b"]))),
        (Array, "[1", None),
        (Object, "{\"a\": 1}", Some(json!({"a": 1}))),
        (Object, "a=1", None),
        (Any, "{\"a\": 1}", Some(json!({"a": 1}))),
        (Any, "plain", Some(json!("plain"))),
    ] {
        assert_eq!(kind.coerce(text).ok(), expected, "{kind:?} {text}");
    }
}
