//! Where the rules of nodes and queues come from, and where open circuits are recorded.
//!
//! ```text
//! manifests ─┐
//!            ├─→ align ─→ Gates ─ a circuit opened or closed ─→ record ─→ Registry
//! set ───────┘                ▲                                              │
//!                             └──────────────── boot ────────────────────────┘
//! ```
//!
//! What somebody has set wins over what a manifest declares, rate and circuit each by itself.
//! Absent: how an attempt waits (`host/turn.rs`, the engine's queues).

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use reflux_engine::{Breaker, Engine, Gates, Rate, Rules, Subject};

use crate::catalogue::Nodes;
use crate::clock;
use crate::registry::Registry;

/// How long a change that could not be recorded waits.
const RECORD_AGAIN: Duration = Duration::from_secs(1);

/// Makes the gates what manifests and settings say.
pub(crate) fn align(gates: &Gates, registry: &Registry, nodes: &Nodes) {
    let wanted = wanted(registry, nodes);
    let now = clock::now();
    let obsolete =
        gates.list(clock::now()).into_iter().filter(|gate| gate.rules != Rules::default());
    for gate in obsolete.filter(|gate| !wanted.contains_key(&gate.subject)) {
        set(gates, &gate.subject, Rules::default(), now);
    }
    for (subject, rules) in wanted {
        set(gates, &subject, rules, now);
    }
}

/// Takes up what the last process left open.
pub(crate) fn restore(gates: &Gates, registry: &Registry) {
    for (subject, opened) in registry.open_circuits() {
        if let Err(error) = gates.restore(&subject, opened) {
            tracing::error!(%subject, error, "an open circuit is left out");
        }
    }
}

/// Records each circuit that opens or closes, for as long as it is awaited.
pub(crate) async fn record(engine: Engine, registry: Arc<Registry>) {
    let gates = engine.gates().clone();
    loop {
        gates.changed.notified().await;
        for (subject, opened) in gates.take_changes() {
            let (engine, registry, of) = (engine.clone(), registry.clone(), subject.clone());
            let put = move || registry.put_circuit(&engine, &of, opened.as_ref());
            let recorded = tokio::task::spawn_blocking(put).await;
            if let Ok(Err(error)) = recorded {
                tracing::warn!(%subject, %error, "the state of a circuit is not recorded yet");
                tokio::time::sleep(RECORD_AGAIN).await;
                gates.give_back(subject);
                gates.changed.notify_one();
            }
        }
    }
}

/// The rules of every subject that has any. The latest version of a node speaks for all.
fn wanted(registry: &Registry, nodes: &Nodes) -> BTreeMap<Subject, Rules> {
    let mut wanted: BTreeMap<Subject, Rules> = BTreeMap::new();
    for node in nodes.all() {
        let name = &node.manifest().name;
        let latest = nodes.find(name).unwrap_or(node);
        let policies = &latest.manifest().policies;
        let rules = Rules { rate: policies.rate.map(rate), circuit: policies.circuit.map(breaker) };
        if rules != Rules::default() {
            wanted.insert(Subject::Node(name.as_str().into()), rules);
        }
    }
    for limit in registry.limits() {
        let Ok(subject) = Subject::from_str(&limit.subject) else { continue };
        let rules = wanted.entry(subject).or_default();
        rules.rate = limit.rate.map(rate).or(rules.rate);
        rules.circuit = limit.circuit.map(breaker).or(rules.circuit);
    }
    wanted
}

fn set(gates: &Gates, subject: &Subject, rules: Rules, now: reflux_core::Timestamp) {
    if let Err(error) = gates.set(subject, rules, now) {
        tracing::error!(%subject, error, "a limit does not hold");
    }
}

fn rate(rate: reflux_sdk::Rate) -> Rate {
    Rate { count: rate.count, per: rate.per }
}

fn breaker(circuit: reflux_sdk::Circuit) -> Breaker {
    let reflux_sdk::Circuit { failures, within, open } = circuit;
    Breaker { failures, within, open }
}
