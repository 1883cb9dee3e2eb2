use std::fs;
use std::path::Path;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{Expression, FUEL};

fn find(expression: &str, data: &Value) -> Result<Value, String> {
    let mut fuel = FUEL;
    let expression = Expression::parse(expression).map_err(|e| e.to_string())?;
    expression.search(data, &mut fuel).map_err(|e| e.to_string())
}

/// 1 and 1.0 are the same number in the suite; the order of keys and of their values is free.
fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Number(a), Value::Number(b)) => a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, a)| b.get(key).is_some_and(|b| same(a, b)))
        }
        (a, b) => a == b,
    }
}

#[test]
fn the_whole_official_compliance_suite_passes() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/jmespath");
    let mut cases = 0;
    let mut wrong = Vec::new();
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|e| e == "json")) {
        let suites: Vec<Value> = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        for suite in &suites {
            for case in suite["cases"].as_array().unwrap() {
                cases += 1;
                let expression = case["expression"].as_str().unwrap();
                let found = find(expression, &suite["given"]);
                let passes = match (&found, case.get("result"), case.get("error")) {
                    (Ok(found), Some(expected), None) => same(found, expected),
                    // the benchmarks have no result: whether they can be parsed, or evaluated, is all they say
                    (Ok(_), None, None) => case.get("bench").is_some(),
                    (Err(_), None, Some(_)) => true,
                    _ => false,
                };
                if !passes {
                    wrong.push(format!(
                        "{}: {expression}: {found:?}",
                        file.file_name().unwrap().display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {cases}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(cases > 890, "only {cases} cases were found");
}

#[test]
fn what_would_never_end_or_fill_the_memory_runs_out_of_fuel() {
    let doubling = vec!["[@,@]"; 60].join(" | ");
    let flattening = vec!["[@,@][]"; 60].join(" | ");
    let text = vec!["join('', [to_string(@),to_string(@)])"; 30].join(" | ");
    let nested =
        format!("{}@{}", "map(&".repeat(20), ", [`1`,`2`,`3`,`4`,`5`,`6`,`7`,`8`])".repeat(20));
    for bomb in [doubling, flattening, text, nested] {
        let error = find(&bomb, &json!({"a": [1, 2, 3]})).unwrap_err();
        assert!(error.contains("too much work"), "{bomb}: {error}");
    }
}

#[test]
fn what_is_too_deep_is_refused_before_it_is_parsed() {
    let deep = [
        "(".repeat(10_000),
        "[".repeat(10_000),
        "!".repeat(10_000),
        "a.".repeat(8_000),
        "a||".repeat(5_000),
        "&".repeat(10_000),
        format!("{}a{}", "{a:".repeat(3_000), "}".repeat(3_000)),
        "a[?".repeat(5_000),
        "*.".repeat(5_000),
        "a[0]".repeat(4_000),
        "a[]".repeat(4_000),
        "a==".repeat(4_000),
        format!("'{}'", "a".repeat(20_000)),
    ];
    for expression in deep {
        assert!(find(&expression, &Value::Null).is_err(), "{}…", &expression[..20]);
    }
    let wide = format!("[{}a.b]", "a.b.c[0],".repeat(1_000));
    assert_eq!(find(&wide, &json!({"a": {}})).unwrap().as_array().unwrap().len(), 1_001);
}

#[test]
fn what_is_as_deep_as_it_may_be_fits_a_small_stack() {
    let deepest = [
        "(",
        "[",
        "!",
        "a.",
        "a|",
        "a||",
        "a&&",
        "*.",
        "a[0].",
        "a[].",
        "a[?",
        "a==",
        "{a:",
        "map(&",
        "not_null(",
    ];
    let small = std::thread::Builder::new().stack_size(1 << 20); // half of what a worker thread has
    let searches = small.spawn(move || {
        for part in deepest {
            for count in 1..=257 {
                let close = match part {
                    "(" | "not_null(" => ")",
                    "[" | "a[?" => "]",
                    "{a:" => "}",
                    "map(&" => ",@)",
                    _ => "",
                };
                let expression = format!("{}a{}", part.repeat(count), close.repeat(count));
                let _ = find(&expression, &json!({"a": [{"a": 1}]}));
            }
        }
    });
    searches.unwrap().join().unwrap();
}

#[test]
fn keys_keep_the_order_they_were_written_in() {
    let found = find("{z: a, b: b, a: c}", &json!({"a": 1, "b": 2, "c": 3})).unwrap();
    assert_eq!(found.to_string(), r#"{"z":1,"b":2,"a":3}"#);
}

#[test]
fn an_error_names_the_place_and_what_to_do() {
    let rows = [
        ("items[", "column 7"),
        ("foo(", "column"),
        ("lenght(@)", "unknown function `lenght`; there are abs"),
        ("length()", "takes 1 argument"),
        ("abs('a')", "argument 1 must be a number, found string"),
        ("&a", "only as an argument"),
        ("a[::0]", "step of a slice"),
    ];
    for (expression, expected) in rows {
        let error = find(expression, &json!({"a": [1]})).unwrap_err();
        assert!(error.contains(expected), "{expression}: {error}");
    }
}

proptest! {
    #[test]
    fn no_expression_makes_it_panic(expression in r#"[ab@*.|&!<>=`'"\[\](){}:,?0-9-]{0,24}"#) {
        let _ = find(&expression, &json!({"a": [1, {"b": [2, "x"]}], "b": "y"}));
    }

    #[test]
    fn no_index_or_slice_makes_it_panic(start in any::<i32>(), stop in any::<i32>(), step in any::<i32>()) {
        let _ = find(&format!("a[{start}]"), &json!({"a": [1, 2, 3]}));
        let _ = find(&format!("a[{start}:{stop}:{step}]"), &json!({"a": [1, 2, 3]}));
    }
}
