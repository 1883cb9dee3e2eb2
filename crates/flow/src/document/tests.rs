use proptest::prelude::*;
use serde_json::json;

use super::*;

fn check(text: &str, expected: Value) {
    let doc = Doc::parse(text).unwrap_or_else(|p| panic!("{text:?}: {}", p[0]));
    assert_eq!(doc.to_value(), expected, "{text:?}");
}

fn refused(text: &str, expected: &str) {
    let problems = Doc::parse(text).expect_err(text.get(..40).unwrap_or(text));
    let shown: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert!(shown.join("\n").contains(expected), "{:?}: {shown:?}", text.get(..40).unwrap_or(text));
}

#[test]
fn yaml_and_json_give_the_same_tree() {
    check(
        "a: 1\nb: [x, 'y', \"z\"]\nc: {d: true, e: ~}\n",
        json!({"a": 1, "b": ["x", "y", "z"], "c": {"d": true, "e": null}}),
    );
    check(
        r#"{"a": 1, "b": ["x", "y"], "c": {"d": true, "e": null, "f": -1.5e3}}"#,
        json!({"a": 1, "b": ["x", "y"], "c": {"d": true, "e": null, "f": -1500.0}}),
    );
    check("{\n\t\"a\":\t[\n\t\t1,\n\t\t2\n\t]\n}\n", json!({"a": [1, 2]}));
    check(r#"{"a":1,"b":"\u00e9\/\n\ud83d\ude00"}"#, json!({"a": 1, "b": "é/\n😀"}));
    check("\u{feff}a: 1\n", json!({"a": 1}));
    check("a: 1\r\nb:\r\n  - 2\r\n", json!({"a": 1, "b": [2]}));
    check("---\na: 1\n...\n", json!({"a": 1}));
    check("# comment\na: 1 # more\n", json!({"a": 1}));
    check("a: |\n  x\n  y\nb: >\n  x\n  y\n", json!({"a": "x\ny\n", "b": "x y\n"}));
    check("a: &x [1]\nb: *x\n", json!({"a": [1], "b": [1]}));
    check("1: a\ntrue: b\n", json!({"1": "a", "true": "b"}));
    check("on: x\nno: off\n", json!({"on": "x", "no": "off"}));
    check(
        "a: 1.2.3\nb: 007\nc: 0x1F\nd: 1_000\ne: '1'\nf: +5\ng: 1e3\n",
        json!({"a": "1.2.3", "b": 7, "c": 31, "d": "1_000", "e": "1", "f": 5, "g": 1000.0}),
    );
    check(
        "a: 18446744073709551615\nb: -9223372036854775808\n",
        json!({"a": u64::MAX, "b": i64::MIN}),
    );
}

#[test]
fn broken_documents_are_refused_at_their_place() {
    refused("", "1:1: error: the document is empty");
    refused("# only a comment\n", "empty");
    refused("a: 1\na: 2\n", "2:1: error: the key `a` was already given on line 1");
    refused(r#"{"a": 1, "a": 2}"#, "1:10: error: the key `a` was already given");
    refused("a: [1, 2\n", "error:");
    refused("a: 'x\n", "error:");
    refused("a: 1\n\tb: 2\n", "error:");
    refused("a: \0\n", "1:4: error: the control character U+0000");
    refused("a: 1\nb: \u{7}\n", "2:4: error: the control character U+0007");
    refused("a: 1\n---\nb: 2\n", "second document");
    refused("a: !!python/object x\n", "tag");
    refused("a: !custom x\n", "tags");
    refused("? [a]\n: 1\n", "a key must be text");
    refused("a: .inf\n", "no number");
    refused("b: &b {x: 1}\na:\n  <<: *b\n", "merge keys");
    refused("a: *nope\n", "error:");
    refused("a: &a [*a]\n", "error:");
}

#[test]
fn small_texts_cannot_grow_large() {
    refused(&"[".repeat(100_000), "nested more than 100 deep");
    refused(&"{\"a\":".repeat(100_000), "nested more than 100 deep");
    refused(
        &format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000)),
        "nested more than 100 deep",
    );
    refused(
        &(0..1000).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>(),
        "nested more than 100 deep",
    );
    refused(&"- ".repeat(100_000), "nested more than 100 deep");
    refused(&"a".repeat(SOURCE_BYTES_MAX + 1), "at most 1048576");
    refused(&"- 1\n".repeat(NODES_MAX + 1), "more than 200000 values");
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..10 {
        bomb.push_str(&format!("a{n}: &a{n} [{}]\n", vec![format!("*a{}", n - 1); 10].join(", ")));
    }
    refused(&bomb, "more than 200000 values");
    let nested: String = (0..99).map(|n| format!("&n{n} [")).collect();
    refused(
        &format!("{nested}{}{}", "1,".repeat(10_000), "]".repeat(99)),
        "more than 200000 values",
    );
    assert!(Doc::parse(&format!("{}1{}", "[".repeat(100), "]".repeat(100))).is_ok());
}

#[test]
fn every_value_and_key_knows_its_place() {
    let doc = Doc::parse("name: x\nsteps:\n  - id: a\n    with: {k: \"v\"}\n").unwrap();
    let step = &doc.get("steps").unwrap().items().unwrap()[0];
    let with = step.get("with").unwrap();
    assert_eq!(doc.get("name").unwrap().span, Span::new(1, 7));
    assert_eq!(step.span, Span::new(3, 5));
    assert_eq!(step.entries().unwrap()[1].key_span, Span::new(4, 5));
    assert_eq!(with.get("k").unwrap().span, Span::new(4, 15));
    assert_eq!(with.get("k").unwrap().text_start(), Span::new(4, 16));
    let json = Doc::parse("{\n  \"é\": {\"b\": [1,\n 2]}}").unwrap();
    let b = json.get("é").unwrap().get("b").unwrap();
    assert_eq!(b.span, Span::new(2, 14));
    assert_eq!(b.items().unwrap()[1].span, Span::new(3, 2));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn json_text_reads_as_json(value in crate::document::tests::tree()) {
        let compact = value.to_string();
        prop_assert_eq!(Doc::parse(&compact).unwrap().to_value(), value.clone());
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(Doc::parse(&pretty).unwrap().to_value(), value);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in "[-a-c0-9:,\\[\\]{}\"'|>&*!%#?@ \n\t\\\\]{0,80}") {
        let _ = Doc::parse(&text);
    }
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        (-1e6..1e6).prop_map(Value::from),
        "[ -~é\n\t]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-z: #-]{0,6}", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}
