//! The flows that simulated clients start: one for each shape of the language.

use std::sync::{Arc, OnceLock};

use reflux_engine::Spec;
use reflux_flow::{Bundle, syntax};
use serde_json::{Value, json};

/// A flow, and what it must give.
pub struct Workload {
    /// Name of the flow.
    pub name: Arc<str>,
    /// Its bundle.
    pub spec: Spec,
    /// Its output for the number it was started with, unless a failure was handled; `None` when it
    /// depends on what the nodes said.
    pub output: Option<fn(u64) -> Value>,
    /// Signals that it waits for.
    pub signals: &'static [&'static str],
    /// Whether it waits for an approval.
    pub approves: bool,
}

/// All workloads. `sim.echo` gives its input back, `sim.coin` gives `{passed}`, `sim.fail` always
/// fails for good, `sim.unsafe` must not be done twice, `sim.cached` is as `sim.echo`.
///
/// # Errors
/// A flow of this file is not valid: a defect of it, or of the flow language.
pub fn workloads() -> Result<&'static [Workload], String> {
    static ALL: OnceLock<Result<Vec<Workload>, String>> = OnceLock::new();
    let all = ALL.get_or_init(|| SOURCES.iter().map(read).collect());
    all.as_deref().map_err(Clone::clone)
}

struct Source {
    text: &'static str,
    output: Option<fn(u64) -> Value>,
    signals: &'static [&'static str],
    approves: bool,
}

const fn plain(text: &'static str, output: Option<fn(u64) -> Value>) -> Source {
    Source { text, output, signals: &[], approves: false }
}

const SOURCES: &[Source] = &[
    plain(STRAIGHT, Some(|n| json!(n))),
    plain(PARALLEL, Some(|n| json!([n, n, n, n]))),
    plain(LOOP, None),
    plain(EACH, Some(|n| json!([n, n + 1, n + 2, n + 3, n + 4, n + 5]))),
    plain(PARENT, Some(|n| json!([n + 1, n + 1]))),
    plain(SLEEPER, Some(|n| json!(n))),
    Source { text: SIGNALLED, output: None, signals: &["go", "and-on"], approves: false },
    Source { text: APPROVED, output: Some(|n| json!(n)), signals: &[], approves: true },
    plain(TAKEN_BACK, None),
    plain(UNSAFE, None),
    plain(LARGE, Some(|n| json!(n))),
    plain(FAMILY, None),
    plain(CACHING, Some(|n| json!([n % 3, [0, 1, 2], n % 3]))),
];

/// The node whose calls are cached: no two runs make the same one at once.
pub(crate) const CACHED: &str = "sim.cached";

const STRAIGHT: &str = "
name: straight
input: {n: integer}
steps:
  - {id: a, node: sim.echo, with: {v: '{{ input.n }}'}}
  - {id: b, node: sim.echo, with: {v: '{{ steps.a.output.v }}'}}
  - {id: c, node: sim.echo, with: {v: '{{ steps.b.output.v }}'}}
output: '{{ steps.c.output.v }}'
";

const PARALLEL: &str = "
name: parallel
input: {n: integer}
steps:
  - {id: a, node: sim.echo, with: {v: '{{ input.n }}'}, retry: [1s, 3s, 10s]}
  - {id: b, node: sim.echo, with: {v: '{{ input.n }}'}, retry: 5, timeout: 30s}
  - {id: c, node: sim.echo, with: {v: '{{ input.n }}'}, total_timeout: 6h, retry: 20}
  - {id: d, node: sim.echo, with: {v: '{{ input.n }}'}}
  - id: join
    node: sim.echo
    with: {v: ['{{ steps.a.output.v }}', '{{ steps.b.output.v }}', '{{ steps.c.output.v }}', '{{ steps.d.output.v }}']}
output: '{{ steps.join.output.v }}'
";

const LOOP: &str = "
name: loop
input: {n: integer}
steps:
  - {id: build, node: sim.echo, with: {v: '{{ input.n }}'}, on: {success: test}}
  - id: test
    node: sim.coin
    retry: [2s]
    on:
      success: {condition: '{{ steps.test.output.passed }}', then: finish, else: repair}
      failure: finish
  - {id: repair, node: sim.echo, max_visits: 3, on: {success: test, failure: finish}}
  - {id: finish, node: sim.echo, with: {visits: '{{ steps.test.visits }}'}}
output: '{{ steps.finish.output.visits }}'
";

const EACH: &str = "
name: each
input: {n: integer}
steps:
  - id: each
    for_each: {items: '{{ range(input.n, input.n + 6) }}', concurrency: 3}
    node: sim.echo
    with: {v: '{{ item }}', at: '{{ index }}'}
    retry: [1s, 1s, 1s, 5s]
output: \"{{ steps.each.output|map(attribute='v')|list }}\"
";

const PARENT: &str = "
name: parent
input: {n: integer}
steps:
  - {id: one, flow: child, with: {n: '{{ input.n }}'}}
  - {id: two, flow: child, with: {n: '{{ steps.one.output - 1 }}'}}
output: ['{{ steps.one.output }}', '{{ steps.two.output }}']
flows:
  child:
    name: child
    input: {n: integer}
    steps:
      - {id: a, node: sim.echo, with: {v: '{{ input.n + 1 }}'}, retry: [1s, 1s, 1s]}
      - {id: nap, wait: 2s, needs: a}
    output: '{{ steps.a.output.v }}'
";

const SLEEPER: &str = "
name: sleeper
input: {n: integer}
steps:
  - {id: short, wait: 5s}
  - {id: a, node: sim.echo, needs: short, with: {v: '{{ input.n }}'}, retry: 3}
  - {id: long, wait: 10m, needs: a}
  - {id: longest, wait: 7h, needs: short}
  - {id: b, node: sim.echo, needs: [long, longest], with: {v: '{{ steps.a.output.v }}'}}
output: '{{ steps.b.output.v }}'
";

const SIGNALLED: &str = "
name: signalled
input: {n: integer}
steps:
  - {id: first, wait: {signal: go, timeout: 1h}, on: {success: mid, failure: mid}}
  - {id: mid, node: sim.echo, with: {got: '{{ steps.first.output }}'}, on: {success: second, failure: second}}
  - {id: second, wait: {signal: and-on}, on: {success: last}}
  - {id: last, node: sim.echo, with: {got: '{{ steps.second.output }}'}}
output: '{{ steps.last.output.got }}'
";

const APPROVED: &str = "
name: approved
input: {n: integer}
steps:
  - {id: draft, node: sim.echo, with: {v: '{{ input.n }}'}}
  - {id: ask, wait: {approval: 'Publish {{ input.n }}?'}, needs: draft}
  - {id: publish, node: sim.echo, needs: ask, with: {v: '{{ steps.draft.output.v }}'}, retry: [10s, 10s]}
output: '{{ steps.publish.output.v }}'
";

const TAKEN_BACK: &str = "
name: taken_back
input: {n: integer}
steps:
  - id: reserve
    node: sim.echo
    with: {v: '{{ input.n }}'}
    compensate: {node: sim.echo, with: {back: '{{ steps.reserve.output.v }}'}}
  - id: charge
    node: sim.echo
    needs: reserve
    compensate: {node: sim.echo, with: {back: 'charge'}}
  - {id: nap, wait: 1m, needs: charge}
  - {id: ship, node: sim.fail, needs: nap, retry: [1s]}
";

const UNSAFE: &str = "
name: unsafe
input: {n: integer}
steps:
  - {id: pay, node: sim.unsafe, with: {v: '{{ input.n }}'}, retry: [1s]}
  - {id: tell, node: sim.echo, with: {v: '{{ steps.pay.output.v }}'}}
output: '{{ steps.tell.output.v }}'
";

const LARGE: &str = "
name: large
input: {n: integer, text: string}
steps:
  - {id: a, node: sim.echo, with: {v: '{{ input.n }}', text: '{{ input.text }}'}}
  - {id: b, node: sim.echo, with: {v: '{{ steps.a.output.v }}', text: '{{ steps.a.output.text }}'}}
output: '{{ steps.b.output.v }}'
";

const FAMILY: &str = "
name: family
input: {n: integer}
steps:
  - id: kids
    for_each: {items: [1, 2, 3], concurrency: 2}
    flow: kid
    with: {n: '{{ item }}'}
    on: {success: done, failure: done}
  - {id: done, node: sim.echo, with: {v: '{{ input.n }}'}}
flows:
  kid:
    name: kid
    input: {n: integer}
    steps:
      - {id: a, node: sim.echo, with: {v: '{{ input.n }}'}}
      - {id: grand, flow: grandchild, with: {n: '{{ steps.a.output.v }}'}}
    output: '{{ steps.grand.output }}'
  grandchild:
    name: grandchild
    input: {n: integer}
    steps:
      - {id: a, node: sim.echo, with: {v: '{{ input.n }}'}}
    output: '{{ steps.a.output.v }}'
";

const CACHING: &str = "
name: caching
input: {n: integer}
steps:
  - {id: a, node: sim.cached, with: {v: '{{ input.n % 3 }}'}, cache: {ttl: 5m}, retry: [1s, 1s, 1s, 5s]}
  - id: each
    needs: a
    for_each: {items: '{{ range(3) }}', concurrency: 2}
    node: sim.cached
    with: {v: '{{ item }}', each: true}
    cache: {ttl: 5m, scope: flow}
    retry: [1s, 1s, 1s, 5s]
  - {id: b, node: sim.cached, needs: each, with: {v: '{{ input.n % 3 }}'}, cache: {ttl: 10s}, retry: 5}
output: ['{{ steps.a.output.v }}', \"{{ steps.each.output|map(attribute='v')|list }}\", '{{ steps.b.output.v }}']
";

/// The input of a run with that number.
pub fn input(workload: &Workload, n: u64) -> Value {
    if &*workload.name == "large" {
        return json!({ "n": n, "text": "x".repeat(40_000) });
    }
    json!({ "n": n })
}

fn read(source: &Source) -> Result<Workload, String> {
    let told = |problems: Vec<reflux_flow::diagnostic::Diagnostic>| {
        problems.iter().map(|problem| format!("{problem}\n")).collect::<String>()
    };
    let parsed = syntax::parse("flow.yaml", source.text.trim_start()).map_err(told)?;
    let bundle = Bundle::collect_parsed(&parsed, |_| None).map_err(told)?;
    let bytes = bundle.to_bytes();
    Ok(Workload {
        name: parsed.flow.name.as_str().into(),
        spec: Spec { digest: *blake3::hash(&bytes).as_bytes(), bytes: bytes.into() },
        output: source.output,
        signals: source.signals,
        approves: source.approves,
    })
}
