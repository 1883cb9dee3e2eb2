//! Prints what the language costs: `cargo run --release -p reflux-flow --example measure`.
#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::disallowed_types, missing_docs)]

use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use reflux_flow::expr::Expr;
use reflux_flow::graph::StepId;
use reflux_flow::scope::{Scope, StepView};
use reflux_flow::syntax::parse;
use reflux_flow::template::Template;
use reflux_flow::validate::{AnyNodes, validate};
use serde_json::json;

fn main() {
    let step = StepView {
        output: Arc::new(json!({"data": {"id": 17, "name": "Ann"}})),
        ..StepView::default()
    };
    let scope = Scope {
        input: Arc::new(json!({"url": "http://localhost/x"})),
        steps: [(StepId::new("fetch"), Arc::new(step))].into(),
        ..Scope::default()
    };
    let template = Template::from_value(
        &json!({"url": "{{ input.url }}", "id": "{{ steps.fetch.output.data.id }}"}),
    )
    .unwrap();
    let condition = Expr::parse("steps.fetch.output.data.id > 3").unwrap();
    let filter = Expr::parse("steps.fetch.output.data.name|upper ~ '!'").unwrap();
    print("render two references", each(|| drop(template.render(&scope, 65_536).unwrap())));
    print("condition", each(|| assert!(condition.truth(&scope).unwrap())));
    print("filter and concatenation", each(|| drop(filter.eval(&scope).unwrap())));

    let mut text = String::from("name: long\ninput: {x: string}\nsteps:\n- {id: s0, node: n}\n");
    for n in 1..1_000 {
        writeln!(text, "- {{id: s{n}, node: n, with: {{a: '{{{{ steps.s{}.output }}}}', b: '{{{{ input.x }}}}'}}}}", n - 1).unwrap();
    }
    let parsed = parse("long.yaml", &text).unwrap();
    print("parse 1,000 steps", once(|| drop(parse("long.yaml", &text).unwrap())));
    print(
        "validate 1,000 steps",
        once(|| assert!(validate(&parsed.flow, &AnyNodes, &parsed.spans).is_empty())),
    );
    print("canonical form of 1,000 steps", once(|| drop(parsed.flow.to_canonical())));
}

fn each(mut f: impl FnMut()) -> Duration {
    const ROUNDS: u32 = 200_000;
    (0..1_000).for_each(|_| f());
    let start = Instant::now();
    (0..ROUNDS).for_each(|_| f());
    start.elapsed() / ROUNDS
}

fn once(mut f: impl FnMut()) -> Duration {
    (0..10)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
}

fn print(what: &str, time: Duration) {
    println!("{what:32} {time:?}");
}
