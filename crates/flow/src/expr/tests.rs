use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::scope::{Scope, StepView, WorkflowView};

fn scope() -> Scope {
    let step = |output: Value| {
        Arc::new(StepView {
            output: Arc::new(output),
            status: "completed".into(),
            error: None,
            visits: 2,
        })
    };
    Scope {
        input: Arc::new(
            json!({"n": 7, "big": u64::MAX, "f": 1.0, "s": "héllo", "api-url": "http://x", "list": [3, 1, 2],
            "users": [{"name": "Ann", "age": 30}, {"name": "Bob", "age": 20}], "empty": null, "yes": true, "odd key": 1}),
        ),
        steps: [
            (
                StepId::new("fetch"),
                step(json!({"data": {"items": [{"name": "a"}, {"name": "b"}]}, "status": 200})),
            ),
            (StepId::new("error-handler"), step(json!({"ok": true}))),
            (StepId::new("2fa-check-1"), step(json!("two"))),
        ]
        .into(),
        item: Some((Arc::new(json!({"id": 5})), 3)),
        workflow: WorkflowView {
            name: "f".into(),
            id: "w".into(),
            run_id: "r".into(),
            status: "failed".into(),
            error: Some(Arc::new(json!({"message": "boom"}))),
        },
    }
}

fn check(source: &str, expected: Value) {
    match Expr::parse(source).and_then(|e| e.eval(&scope())) {
        Ok(value) => assert_eq!(value, expected, "{source}"),
        Err(error) => panic!("{source}: {error}"),
    }
}

fn refused(source: &str, part: &str) {
    let error = Expr::parse(source).and_then(|e| e.eval(&scope())).expect_err(source);
    let text = format!("{error} {:?}", error.suggestion);
    assert!(text.contains(part), "{source}: {text}");
}

#[test]
fn paths_read_the_scope() {
    check("input.n", json!(7));
    check("trigger.n", json!(7));
    check("input.big", json!(u64::MAX));
    check("input.f", json!(1.0));
    check("input.api-url", json!("http://x"));
    check("input['odd key']", json!(1));
    check("input.list[0]", json!(3));
    check("input.list[-1]", json!(2));
    check("input.list.1", json!(1));
    check("input.list[9]", json!(null));
    check("steps.fetch.output.data.items[1].name", json!("b"));
    check("steps.fetch.outputs.status", json!(200));
    check("steps['error-handler'].output.ok", json!(true));
    check("steps.error-handler.output.ok", json!(true));
    check("steps.2fa-check-1.output", json!("two"));
    check("steps.fetch.status", json!("completed"));
    check("steps.fetch.visits", json!(2));
    check("steps.fetch.error", json!(null));
    check("item.id", json!(5));
    check("index", json!(3));
    check("workflow.status", json!("failed"));
    check("workflow.error.message", json!("boom"));
    check(
        "workflow",
        json!({"name": "f", "id": "w", "run_id": "r", "status": "failed", "error": {"message": "boom"}}),
    );
    check(
        "steps.error-handler",
        json!({"output": {"ok": true}, "status": "completed", "error": null, "visits": 2}),
    );
}

#[test]
fn what_is_missing_reads_null() {
    check("input.nothing", json!(null));
    check("input.nothing.at.all[3].there", json!(null));
    check("input.s.x", json!(null));
    check("steps.later.output.x.y", json!(null));
    check("steps.later", json!(null));
    check("(input.list|first).x.y", json!(null));
    check("input.nothing is none", json!(true));
    check("input.nothing == none", json!(true));
    check("input.nothing == null", json!(true));
    check("input.list[input.n] == null", json!(true));
    check("([]|first) == null", json!(true));
    check("input.nothing is defined", json!(false));
    check("input.nothing|default('x')", json!("x"));
    check("input.empty|d(1)", json!(1));
    check("'a' ~ input.nothing ~ 'b'", json!("ab"));
    check("input.nothing|length", json!(0));
}

#[test]
fn operators_are_those_of_jinja() {
    check("1 + 2 * 3", json!(7));
    check("(1 + 2) * 3", json!(9));
    check("-input.n + 1", json!(-6));
    check("input.n - 1", json!(6));
    check("input.n-1", json!(6));
    check("7 // 2", json!(3));
    check("7 % 4", json!(3));
    check("7 / 2", json!(3.5));
    check("2 ** 10", json!(1024));
    check("'a' + 'b'", json!("ab"));
    check("'ab' * 3", json!("ababab"));
    check("[1] + [2]", json!([1, 2]));
    check("'n=' ~ input.n ~ input.yes ~ input.list", json!("n=7true[3,1,2]"));
    check("1 < 2 and not false", json!(true));
    check("not not true", json!(true));
    check("1 == 1.0", json!(true));
    check("input.list == [3, 1, 2]", json!(true));
    check("'x' if input.n > 5 else 'y'", json!("x"));
    check("'x' if input.n > 50", json!(null));
    check("2 in input.list", json!(true));
    check("9 not in input.list", json!(true));
    check("'name' in input.users[0]", json!(true));
    check("'none' in input.users[0]", json!(false));
    check("input.list[1:]", json!([1, 2]));
    check("input.list[:2]", json!([3, 1]));
    check("{'a': input.n, 'b': [1, {'c': none}]}", json!({"a": 7, "b": [1, {"c": null}]}));
    check("input.users[0]['na' ~ 'me']", json!("Ann"));
    check("steps.fetch.output.data.items[input.n - 6].name", json!("b"));
    check("'}}'", json!("}}"));
    check("'it\\'s \\u00e9\\n'", json!("it's é\n"));
    check("\"steps.x-y\"", json!("steps.x-y"));
}

#[test]
fn filters_and_tests_work_on_shared_values() {
    check("input.users|map(attribute='name')|join(', ')", json!("Ann, Bob"));
    check("input.users|selectattr('age', 'gt', 25)|map(attribute='name')|list", json!(["Ann"]));
    check("input.users|sort(attribute='age')|first", json!({"name": "Bob", "age": 20}));
    check("input.users|sum(attribute='age')", json!(50));
    check("input.list|sort", json!([1, 2, 3]));
    check("input.list|max", json!(3));
    check("input.list|select('odd')|list", json!([3, 1]));
    check("input.list|reverse|list", json!([2, 1, 3]));
    check("[1, 1, 2]|unique|list", json!([1, 2]));
    check("input.users[0]|keys", json!(["name", "age"]));
    check("input.users[0]|values", json!(["Ann", 30]));
    check("input.users[0]|items|list", json!([["name", "Ann"], ["age", 30]]));
    check("input.s|upper", json!("HÉLLO"));
    check("input.s|length", json!(5));
    check("'a b'|title", json!("A B"));
    check("'aBC'|capitalize", json!("Abc"));
    check("' x '|trim", json!("x"));
    check("'a-b-c'|replace('-', '+')", json!("a+b+c"));
    check("'a,b'|split(',')", json!(["a", "b"]));
    check("'12'|int + 1", json!(13));
    check("'x'|int(0)", json!(0));
    check("'1.5'|float", json!(1.5));
    check("2.567|round(1)", json!(2.6));
    check("input.users|tojson|fromjson|length", json!(2));
    check("range(3)", json!([0, 1, 2]));
    check("range(5, 0, -2)|list", json!([5, 3, 1]));
    check("4 is even", json!(true));
    check("input.n is in([7, 8])", json!(true));
    check("input.s is string", json!(true));
    check("input.users is sequence", json!(true));
    check("input.users[0] is mapping", json!(true));
    check("input.n is not number", json!(false));
    check("'abc' is startingwith('a')", json!(true));
    check("input.users|groupby('age')|length == 2", json!(true));
}

#[test]
fn numbers_keep_their_types() {
    check("input.big + 0", json!(u64::MAX));
    refused("input.big + 1", "64 bits");
    check("1.0 + 1", json!(2.0));
    refused("1 / 0", "unable to calculate");
    refused("10 ** 400", "");
    refused("99999999999999999999", "too large");
}

#[test]
fn hostile_expressions_end_with_an_error() {
    refused("'a' * 10**9", "too large");
    refused("('a' * 1000000) * 1000000", "too large");
    refused("[0] * 1000000000", "cannot use `*`");
    refused("range(10**12)", "range has more");
    refused("range(0, 10, 0)", "step of range");
    refused(&format!("{}input.s{}", "(".repeat(500), ")".repeat(500)), "nested");
    refused(&"[".repeat(5000), "nested");
    refused(&"-".repeat(5000), "");
    refused(&format!("1{}", "|string".repeat(1000)), "in a row");
    refused(&"x".repeat(9000), "bytes");
    refused(
        &format!("range(1000){}|list|length", "|select('in', range(1000))".repeat(8)),
        "too large",
    );
    refused("input.__class__.__mro__()", "method");
    refused("'x'.upper()", "method");
    refused("''|attr('x')", "unknown filter");
    refused("now()", "unknown function");
    refused("random()", "unknown function");
    refused("lipsum()", "unknown function");
    refused("debug()", "unknown function");
    refused("_times('a', 5)", "unknown function");
    refused("input.list|ranodm", "unknown filter");
    refused("input.list|revrese", "reverse");
    refused("input.n is evn", "even");
    refused("'a'|replace('', 'b')", "look for");
    refused("('x' * 1000000)|replace('x', 'yyyyyyyyyy')", "too large");
    refused("('x' * 1000000)|list|join('yyyyyyyyyy')", "too large");
    refused("input.list|map('nope')|list", "");
    refused("input.list|round(999)", "");
    refused("2.5|round(999)", "digits");
    check("input.__class__", json!(null));
}

#[test]
fn repeated_values_cannot_grow_without_bound() {
    let mut scope = scope();
    scope.input = Arc::new(json!({"s": "x".repeat(1_000_000)}));
    for source in [
        "[input.s, input.s, input.s, input.s, input.s]|tojson",
        "input.s ~ input.s ~ input.s ~ input.s",
        "[input.s, input.s, input.s, input.s, input.s]",
        "(input.s + input.s)|upper",
    ] {
        let error = Expr::parse(source).unwrap().eval(&scope).expect_err(source);
        assert_eq!(error.kind, ExprErrorKind::Budget, "{source}: {error}");
    }
}

#[test]
fn syntax_errors_name_their_place() {
    for (source, offset, part) in [
        ("", 0, "empty"),
        ("input.", 6, "a name after `.`"),
        ("input.n +", 9, "ends too early"),
        ("input.n = 1", 8, "compare with `==`"),
        ("'abc", 0, "not closed"),
        ("a ; b", 2, "unexpected character `;`"),
        ("(1, 2)", 2, "list with [ ]"),
        ("[1 2]", 3, "expected `,` or `]`"),
        ("steps[input.s]", 6, "written out"),
        ("secrets[input.s]", 8, "written out"),
        ("steps", 0, "followed by a name"),
        ("1x", 1, "start with a digit"),
        ("'\\q'", 1, "unknown escape"),
        ("input.list[]", 11, "index or a key"),
        ("{'a' 1}", 5, "expected `:`"),
        ("x|", 2, "a filter after"),
        ("a b", 2, "unexpected `b`"),
    ] {
        let error = Expr::parse(source).expect_err(source);
        assert!(error.message.contains(part), "{source}: {error}");
        assert_eq!(error.offset, offset, "{source}: {error}");
        assert_eq!(error.kind, ExprErrorKind::Syntax);
    }
}

#[test]
fn a_condition_must_be_a_boolean() {
    assert_eq!(Expr::parse("input.n > 3").unwrap().truth(&scope()), Ok(true));
    for (source, part) in [
        ("input.n", "the number 7"),
        ("input.s", "the text \"héllo\""),
        ("input.empty", "null"),
        ("input.list", "a list"),
    ] {
        let error = Expr::parse(source).unwrap().truth(&scope()).expect_err(source);
        assert!(error.message.contains(part), "{error}");
    }
}

#[test]
fn what_an_expression_reads_is_known_before_it_runs() {
    let refs = |source: &str| {
        let refs = Expr::parse(source).unwrap().refs().clone();
        let steps: Vec<String> = refs.steps.iter().map(ToString::to_string).collect();
        (
            steps.join(","),
            refs.inputs.into_iter().collect::<Vec<_>>().join(","),
            refs.item,
            refs.workflow,
            refs.whole_input,
        )
    };
    let of = |steps: &str, inputs: &str, item, workflow, whole| {
        (steps.to_owned(), inputs.to_owned(), item, workflow, whole)
    };
    assert_eq!(refs("steps.a-b.output.x - steps.c.output"), of("a-b,c", "", false, false, false));
    assert_eq!(
        refs("'steps.no' ~ input.x|default(steps['y z'].output)"),
        of("y z", "x", false, false, false)
    );
    assert_eq!(refs("input.a[steps.k.output]"), of("k", "a", false, false, false));
    assert_eq!(refs("[item.steps.x, index, workflow.status, input]"), of("", "", true, true, true));
    assert_eq!(refs("range(3)|map('string')"), of("", "", false, false, false));
    let names: Vec<String> =
        Expr::parse("a + b.c|default(d)").unwrap().refs().roots.iter().cloned().collect();
    assert_eq!(names, ["a", "b", "d"]);
}

#[test]
fn names_that_are_not_known_are_errors_when_read() {
    refused("inptu.x", "input");
    refused("v0 + v1", "unknown name `v0`");
    let mut outside = scope();
    outside.item = None;
    for source in ["item.x", "index + 1"] {
        let error = Expr::parse(source).unwrap().eval(&outside).expect_err(source);
        assert!(error.message.contains("for_each"), "{error}");
    }
    refused("secrets.TOKEN|upper", "secret");
}

#[test]
fn bare_names_are_rewritten_at_roots_only() {
    let known = |name: &str| {
        matches!(name, "caption" | "my-node" | "tone").then(|| format!("steps.{name}.output"))
    };
    for (source, expected) in [
        ("caption.document_id", "steps.caption.output.document_id"),
        ("my-node.x", "steps.my-node.output.x"),
        ("my-node-x", "steps.my-node.output-x"),
        ("'caption' ~ tone", "'caption' ~ steps.tone.output"),
        ("x.caption|tone is tone", "x.caption|tone is tone"),
        ("x|default(caption, also_empty=true)", "x|default(steps.caption.output, also_empty=true)"),
        ("[caption, tone]", "[steps.caption.output, steps.tone.output]"),
    ] {
        assert_eq!(lex::rewrite_roots(source, &known).unwrap(), expected, "{source}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_path_reads_the_same_with_and_without_the_engine(keys in prop::collection::vec("[a-c]|[0-2]", 1..5), value in tree()) {
        let scope = Scope { input: Arc::new(value), ..Scope::default() };
        let path = format!("input.{}", keys.join("."));
        let fast = Expr::parse(&path).unwrap().eval(&scope).unwrap();
        // The engine sees a list of the value instead of the value.
        let slow = Expr::parse(&format!("[{path}]")).unwrap().eval(&scope).unwrap();
        prop_assert_eq!(Value::Array(vec![fast]), slow);
    }

    #[test]
    fn no_text_makes_the_compiler_panic(source in "[-a-c0-9'\"(){}\\[\\].,:|~+*/%<>=! isnotif]{0,60}") {
        if let Ok(expr) = Expr::parse(&source) {
            let _ = expr.eval(&scope());
            prop_assert_eq!(Expr::parse(expr.source()).unwrap(), expr);
        }
    }
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e12..1e12).prop_map(Value::from),
        "[a-zé]{0,30}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[a-c]", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}
