use super::*;
use crate::syntax::parse;
use crate::validate::{AnyNodes, validate_parsed};

/// What is found in a flow with these triggers from line 3 on.
fn check(triggers: &str, expected: &[&str]) {
    found(&format!("name: f\ntriggers:\n{triggers}steps: [{{id: a, node: n}}]\n"), expected);
}

fn found(text: &str, expected: &[&str]) {
    let problems = match parse("f.yaml", text) {
        Ok(parsed) => validate_parsed(&parsed, &AnyNodes),
        Err(problems) => problems,
    };
    let shown: Vec<String> =
        problems.iter().map(|problem| problem.to_string().replace("f.yaml:", "")).collect();
    assert_eq!(shown, expected, "{text}");
}

fn flow(text: &str) -> Flow {
    parse("f.yaml", text).unwrap_or_else(|problems| panic!("{text}{}", problems[0])).flow
}

fn kinds(flow: &Flow) -> Vec<String> {
    flow.triggers
        .iter()
        .map(|trigger| {
            let what = match &trigger.kind {
                TriggerKind::Webhook(webhook) => format!(
                    "{} {} {:?} {:?} {}s {}",
                    webhook.method,
                    webhook.path,
                    webhook.secret,
                    webhook.reply,
                    webhook.timeout.as_secs(),
                    webhook.idempotency_header
                ),
                TriggerKind::Schedule(spec) => format!(
                    "{} jitter {}s catch up {}s",
                    spec.overlap.name(),
                    spec.jitter.as_secs(),
                    spec.catch_up.as_secs()
                ),
                TriggerKind::Event(event) => {
                    format!("{} {:?}", event.name, event.filter.as_ref().map(|f| f.source()))
                }
                TriggerKind::Manual => "by hand".into(),
            };
            format!("{}: {what}", trigger.id)
        })
        .collect()
}

fn read(triggers: &str, expected: &[&str]) {
    let flow = flow(&format!("name: f\ntriggers:\n{triggers}steps: [{{id: a, node: n}}]\n"));
    assert_eq!(kinds(&flow), expected, "{triggers}");
    // What is stored says the same.
    let again = Flow::from_canonical(&flow.to_canonical()).unwrap();
    assert_eq!(again, flow, "{triggers}");
}

#[test]
fn each_kind_is_read_with_its_defaults() {
    read("- webhook: /orders\n", &["webhook: POST /orders None Now 30s idempotency-key"]);
    read(
        "- {id: in, webhook: {path: a/b, method: put, secret: '{{ secrets.HOOK }}', reply: output, timeout: 5s, idempotencyHeader: X-Delivery}}\n",
        &["in: PUT /a/b Some(\"HOOK\") Output 5s x-delivery"],
    );
    read(
        "- {type: webhook, path: /x}\n- {type: cli, command: x}\n",
        &["webhook: POST /x None Now 30s idempotency-key", "cli: by hand"],
    );
    read(
        "- {cron: '0 9 * * 1-5', time_zone: Europe/Berlin}\n- {every: 5m, offset: 1m, jitter: 10s, overlap: buffer_all, catchUp: 1h}\n",
        &["cron: skip jitter 0s catch up 86400s", "every: buffer_all jitter 10s catch up 3600s"],
    );
    read("- {type: schedule, cron: '@daily'}\n", &["cron: skip jitter 0s catch up 86400s"]);
    read("- {type: cron, schedule: '@daily'}\n", &["cron: skip jitter 0s catch up 86400s"]);
    read(
        "- {event: order.placed, filter: '{{ trigger.data.total > 100 }}', input: {}}\n",
        &["event: order.placed Some(\"trigger.data.total > 100\")"],
    );
}

#[test]
fn mistakes_are_found_at_their_place() {
    check(
        "- {corn: '* * * * *'}\n",
        &[
            "3:3: error: a trigger needs `webhook`, `cron`, `every`, `event`, or the `type` `cli` (did you mean `cron`?)",
        ],
    );
    check(
        "- {type: wehook, path: /x}\n",
        &["3:10: error: unknown type of a trigger `wehook` (did you mean `webhook`?)"],
    );
    check(
        "- {cron: '* * * *'}\n",
        &[
            "3:10: error: `* * * *` is no cron expression: Invalid pattern: Pattern must have 5 or 6 fields when years are disallowed; write for example `0 9 * * 1-5`",
        ],
    );
    check(
        "- {cron: '0 0 30 2 *'}\n",
        &["3:10: error: `0 0 30 2 *` never happens: there is no such day"],
    );
    check(
        "- {cron: '@daily', time_zone: Europe/Berln}\n",
        &["3:31: error: unknown time zone `Europe/Berln` (did you mean `Europe/Berlin`?)"],
    );
    check("- {every: 100ms}\n", &["3:11: error: an interval is at least 1s; do more in one run"]);
    check(
        "- {every: 1m, overlap: skp}\n",
        &[
            "3:24: error: overlap is one of skip, buffer_one, buffer_all, cancel_other, terminate_other, allow_all (did you mean `skip`?)",
        ],
    );
    check(
        "- {every: 1m, jiter: 5s}\n",
        &["3:15: error: unknown key `jiter` in a trigger (did you mean `jitter`?)"],
    );
    check(
        "- {every: 1m, cron: '@daily'}\n",
        &["3:4: error: a trigger is one thing; make two of `cron` and `every`"],
    );
    for path in ["//x", "/a//b", "/../x", "/a b", "/%2e", "/a?b", ""] {
        check(
            &format!("- {{webhook: '{path}'}}\n"),
            &[
                "3:13: error: a path such as `/orders/new` has letters a-z, digits, `-`, `.`, `_`, `~` and single slashes, at most 200 bytes",
            ],
        );
    }
    check(
        "- {webhook: {path: /x, secret: hunter2}}\n",
        &[
            "3:32: error: a secret is named as `{{ secrets.NAME }}`; put its value into the project's secrets",
        ],
    );
    check(
        "- {webhook: {path: /x, method: HEAD}}\n",
        &["3:32: error: a webhook takes one of POST, PUT, PATCH, DELETE, GET"],
    );
    check(
        "- {webhook: {path: /x, timeout: 5s}}\n",
        &["3:24: error: `timeout` is for `reply: output`; remove it"],
    );
    check(
        "- {webhook: {path: /x, reply: output, timeout: 1h}}\n",
        &["3:48: error: a caller waits 10m at most; answer `now` and let it ask for the run"],
    );
    check(
        "- {webhook: /x}\n- {id: b, webhook: /x}\n",
        &["4:3: error: POST /x is taken by the trigger `webhook`; choose another path"],
    );
    check(
        "- {event: x}\n- {event: y}\n",
        &["4:3: error: there is a trigger `event` already; give each an `id` of its own"],
    );
    check(
        "- {event: x, filter: '{{ trigger.dta.a }}'}\n",
        &[
            "3:26: error: what starts a run here has no `dta`; it has id, name, data, time (did you mean `data`?)",
        ],
    );
    check(
        "- {event: x, filter: '{{ steps.a.output }}'}\n",
        &["3:26: error: `steps` is not known before the run; a trigger reads `trigger`"],
    );
}

#[test]
fn what_a_trigger_gives_has_to_fit_the_flow() {
    let text = |trigger: &str| {
        format!(
            "name: f\ninput: {{n: integer}}\ntriggers:\n- {trigger}\nsteps: [{{id: a, node: n, with: {{n: '{{{{ input.n }}}}'}}}}]\n"
        )
    };
    found(&text("{every: 1m, input: {n: 3}}"), &[]);
    found(
        &text("{every: 1m, input: {n: x}}"),
        &["4:26: error: the input `n` must be a whole number, not text"],
    );
    found(
        &text("{every: 1m, input: {n: 3, m: 4}}"),
        &["4:32: error: the flow `f` has no input `m`"],
    );
    found(
        &text("{every: 1m}"),
        &["4:3: error: the trigger `every` gives no `n`, which the flow needs; give it an `input`"],
    );
    found(&text("{webhook: {path: /x, input: '{{ trigger.body }}'}}"), &[]);
}

#[test]
fn a_step_can_be_the_trigger() {
    let flow = flow(
        "name: f\nsteps:\n- {id: hook, node: trigger.webhook, with: {path: /x, secret: '{{ secrets.S }}'}}\n- {id: b, node: n, with: {v: '{{ steps.hook.output.body.v }}'}}\n",
    );
    assert_eq!(kinds(&flow), ["hook: POST /x Some(\"S\") Now 30s idempotency-key"]);
    let Action::Node { node, with } = &flow.steps[0].action else { panic!() };
    assert_eq!((node.name.as_str(), with.to_value()), ("trigger.webhook", json!(OCCURRENCE)));
    assert!(flow.parameters.is_empty());
    assert_eq!(Flow::from_canonical(&flow.to_canonical()).unwrap(), flow);

    let canvas = json!({
        "name": "c",
        "nodes": [
            {"id": "tick", "type": "trigger.schedule", "position": {"x": 0, "y": 0}, "data": {"label": "t", "cron": "@daily"}},
            {"id": "on", "type": "trigger.event", "data": {"event": "e", "filter": "{{ trigger.data.v == 1 }}"}},
            {"id": "b", "type": "n", "data": {"v": "{{ tick.time }}"}},
        ],
        "edges": [{"source": "tick", "target": "b"}],
    });
    let flow = parse("c.json", &canvas.to_string()).unwrap().flow;
    assert_eq!(
        kinds(&flow),
        ["tick: skip jitter 0s catch up 86400s", "on: e Some(\"trigger.data.v == 1\")"]
    );
    let again = Flow::from_canonical(&flow.to_canonical()).unwrap();
    assert_eq!(again.to_canonical(), flow.to_canonical());
}

#[test]
fn a_step_that_is_the_trigger_waits_for_nothing() {
    found(
        "name: f\nsteps:\n- {id: a, node: n}\n- {id: hook, node: trigger.webhook, needs: a, with: {path: /x}}\n",
        &["4:8: error: `hook` is what starts the run: remove its `needs`, `when` and `for_each`"],
    );
    found(
        "name: f\nsteps:\n- {id: hook, node: trigger.webhok, with: {path: /x}}\n",
        &["3:8: error: unknown trigger `trigger.webhok` (did you mean `trigger.webhook`?)"],
    );
    found(
        "name: f\nsteps:\n- {id: hook, node: trigger.webhook}\n",
        &["3:8: error: a webhook needs a `path` such as `/orders`"],
    );
}
