use std::future::Future;
use std::pin::pin;
use std::task::{Poll, Waker};

use reflux_sdk::{Attempt, Context, Failure, Level, Limits, Node};
use serde_json::{Value, json};

use super::{Fail, JsonParse, Log, Template, Transform};

/// These nodes never wait, so one poll is enough.
fn call(node: &dyn Node, ctx: &Context, input: Value) -> Result<Value, Failure> {
    let mut call = pin!(node.call(ctx, input));
    match call.as_mut().poll(&mut std::task::Context::from_waker(Waker::noop())) {
        Poll::Ready(result) => result,
        Poll::Pending => panic!("the node waits"),
    }
}

fn context() -> Context {
    Context::new(Attempt::default(), Limits::default())
}

fn template(template: &str, data: Value) -> Result<String, String> {
    let result =
        call(&Template::new(1 << 20), &context(), json!({"template": template, "data": data}));
    result.map(|output| output["text"].as_str().unwrap().to_owned()).map_err(|e| e.message)
}

#[test]
fn a_mapping_finds_each_of_its_names() {
    let data = json!({"items": [{"name": "a", "price": 2}, {"name": "b", "price": 1}]});
    let rows = [
        (json!({"mapping": {"result": "items[].name"}}), json!({"result": ["a", "b"]})),
        (
            json!({"mapping": {"z": "items[0].price", "a": {"deep": "length(items)"}}}),
            json!({"z": 2, "a": {"deep": 2}}),
        ),
        (json!({"mapping": {"none": "nothing.here"}}), json!({"none": null})),
        (json!({"mapping": {}}), json!({})),
        (json!({"expression": "sort_by(items, &price)[0].name"}), json!({"result": "b"})),
    ];
    for (mut input, expected) in rows {
        input["data"] = data.clone();
        let output = call(&Transform::new(), &context(), input.clone()).unwrap();
        assert_eq!(output.to_string(), expected.to_string(), "{input}");
    }
}

#[test]
fn a_mapping_that_cannot_be_read_says_where() {
    let rows = [
        (json!({"mapping": {"a": {"b": "items["}}}), "mapping.a.b: \"items[\", column 7"),
        (json!({"mapping": {"a": 5}}), "mapping.a: write a JMESPath"),
        (json!({"expression": "lenght(@)"}), "expression: unknown function `lenght`"),
        (json!({}), "give `mapping`"),
        (json!({"mapping": {}, "expression": "a"}), "give `mapping`"),
        (json!({"mapping": {}, "mappings": 1}), "unknown field `mappings`"),
        (json!({"mapping": "a"}), "mapping: expected object, found string"),
    ];
    for (input, expected) in rows {
        let failure = call(&Transform::new(), &context(), input.clone()).unwrap_err();
        assert!(failure.message.contains(expected) && !failure.retryable, "{input}: {failure}");
    }
}

#[test]
fn a_template_prints_chooses_and_loops() {
    let data = json!({
        "name": "Ada", "n": 3, "price": 2.5, "tags": ["x", "y"], "html": "<b>",
        "rows": [{"k": 1}, {"k": 2}], "map": {"b": 1, "a": 2},
    });
    let rows = [
        ("hello {{ name }}", "hello Ada"),
        (
            "{{ n + 1 }} {{ price | times(n) }} {{ n | plus(n) }} {{ n - 1 }} {{ 10 // n }}",
            "4 7.5 6 2 3",
        ),
        ("{% for r in rows %}{{ loop.index }}:{{ r.k }};{% endfor %}", "1:1;2:2;"),
        ("{% for k, v in map | dictsort %}{{ k }}{{ v }}{% endfor %}", "a2b1"),
        ("{% for i in range(3) %}{{ loop.cycle('-', '+') }}{% endfor %}", "-+-"),
        ("{% if n > 2 and name is defined %}big{% else %}small{% endif %}", "big"),
        ("{{ tags | join(', ') }} {{ tags | length }} {{ tags[0] | upper }}", "x, y 2 X"),
        ("{{ missing | default('none') }}", "none"),
        ("{{ rows | tojson }}", r#"[{"k":1},{"k":2}]"#),
        ("{{ name | replace('A', 'a') }}{{ html }}", "ada<b>"),
        ("{% raw %}{{ a ~ b }}{% endraw %}", "{{ a ~ b }}"),
        ("{{ 'yes' if n in [1, 3] else 'no' }}\n", "yes\n"),
    ];
    for (source, expected) in rows {
        assert_eq!(template(source, data.clone()).as_deref(), Ok(expected), "{source}");
    }
    let html = json!({"template": "{{ html }}", "data": data, "html": true});
    assert_eq!(call(&Template::new(100), &context(), html).unwrap()["text"], "&lt;b&gt;");
}

#[test]
fn a_template_that_fails_says_the_line_and_what_to_do() {
    let rows = [
        ("a\n{{ nmae }}", "template line 2"),
        ("{{ nmae }}", "add it to `data`"),
        ("{{ a.b.c }}", "template line 1"),
        ("{% if %}", "syntax error"),
        ("{{ name | nope }}", "unknown filter"),
        ("{% include 'x' %}", "template line 1"),
        ("{{ a ~ a }}", "write {{ a }}{{ b }}"),
        ("{{ a + a }}", "a | plus(b)"),
        ("{{ a * 3 }}", "a | times(b)"),
        ("{% set x = a %}", "put the value into `data`"),
        ("{% with x = a %}{% endwith %}", "put the value into `data`"),
        ("{% for x in [a, a] %}{% endfor %}", "put the list into `data`"),
        ("{% for x in a recursive %}{% endfor %}", "recursive"),
        ("{{ a.__class__() }}", "a call of anything but"),
        ("{{ debug() }}", "a call of anything but"),
    ];
    for (source, expected) in rows {
        let error = template(source, json!({"a": "x"})).unwrap_err();
        assert!(error.contains(expected), "{source}: {error}");
    }
}

#[test]
fn no_template_runs_for_ever_or_fills_the_memory() {
    let loops = format!("{}x{}", "{% for i in range(1000) %}".repeat(5), "{% endfor %}".repeat(5));
    let silent = format!("{}{}", "{% for i in range(1000) %}".repeat(5), "{% endfor %}".repeat(5));
    let replace = format!("{{{{ a {} }}}}", "| replace('x', 'xxxxxxxxxx')".repeat(30));
    let json = format!("{{{{ '\"' {} }}}}", "| tojson | string".repeat(60));
    let rows = [
        (loops, "too many steps"),
        (silent, "too many steps"),
        (replace, "longer than"),
        (json, "longer than"),
        ("{{ [a, a] | join | replace('x', a) }}".to_owned(), "longer than"),
        ("{{ ".to_owned() + &"(".repeat(20_000), "template"),
        ("{% if a %}".repeat(5_000), "template"),
        ("x".repeat(70_000), "longer than"),
        ("{% for c in a %}{% for d in a %}{{ a }}{% endfor %}{% endfor %}".to_owned(), "template"),
    ];
    for (source, expected) in rows {
        let error = template(&source, json!({"a": "x".repeat(10_000)})).unwrap_err();
        assert!(error.contains(expected), "{:.60}: {error}", source);
    }
}

#[test]
fn a_log_line_is_kept_with_the_attempt() {
    let ctx = context();
    call(&Log::new(), &ctx, json!({"message": "plain"})).unwrap();
    call(&Log::new(), &ctx, json!({"message": {"a": 1}, "level": "warn", "data": [2]})).unwrap();
    let lines: Vec<_> = ctx.report().logs.into_iter().map(|line| (line.level, line.line)).collect();
    assert_eq!(
        lines,
        [(Level::Info, "plain".to_owned()), (Level::Warn, "{\"a\":1} [2]".to_owned())]
    );
    assert!(call(&Log::new(), &ctx, json!({"message": "x", "level": "loud"})).is_err());
}

#[test]
fn a_failure_on_purpose_is_the_one_that_was_asked_for() {
    let plain = call(&Fail::new(), &context(), json!({})).unwrap_err();
    assert_eq!((plain.kind.as_str(), plain.retryable), ("Failed", false));
    let input = json!({"kind": "Stock.Empty", "message": "none left", "retryable": true, "details": {"sku": 7}});
    let failure = call(&Fail::new(), &context(), input).unwrap_err();
    assert_eq!(failure.to_string(), "Stock.Empty: none left");
    assert_eq!((failure.retryable, failure.details), (true, Some(Box::new(json!({"sku": 7})))));
}

#[test]
fn json_is_read_or_the_place_of_its_error_is_named() {
    let parse = |text: &str| call(&JsonParse::new(1_000_000), &context(), json!({"text": text}));
    assert_eq!(parse(" {\"a\": [1, null]} ").unwrap(), json!({"value": {"a": [1, null]}}));
    assert_eq!(parse("7").unwrap(), json!({"value": 7}));
    assert!(parse(&format!("{}{}", "[".repeat(120), "]".repeat(120))).is_ok());
    let rows = [
        ("{\n  \"a\": x }".to_owned(), "line 2 column 8"),
        ("".to_owned(), "EOF"),
        ("{} {}".to_owned(), "trailing characters"),
        ("[".repeat(100_000), "recursion limit"),
        (format!("\"{}\"", "x".repeat(1_000_000)), "longer than 1000000 bytes"),
        ("1e999".to_owned(), "out of range"),
    ];
    for (text, expected) in rows {
        let failure = parse(&text).unwrap_err();
        assert!(failure.message.contains(expected), "{failure}");
    }
}
