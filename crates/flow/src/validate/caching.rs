//! Steps that take results of other runs: whether that can be sound.

use reflux_core::EffectClass;

use crate::canonical::node_text;
use crate::graph::{Action, Step};

use super::Check;

pub(super) fn check(check: &mut Check<'_>) {
    let flow = check.flow;
    for step in flow.steps.iter().filter(|step| step.cache.is_some()) {
        if let Err(problem) = problem(check, step) {
            check.error("cache", problem, &format!("steps/{}/cache", step.id));
        }
    }
}

fn problem(check: &Check<'_>, step: &Step) -> Result<(), String> {
    let ttl = step.cache.and_then(|caching| caching.ttl);
    let Action::Node { node, with } = &step.action else {
        return Err(
            "only a step that calls a node takes results of other runs; remove `cache`".into()
        );
    };
    if !with.refs().secrets.is_empty() {
        // The result is that of whoever the secret stands for, and a secret can be changed.
        return Err("a call with a secret is not cached; remove `cache`".into());
    }
    if step.compensate.is_some() {
        return Err(
            "what another run did cannot be taken back by this one; remove `cache` or `compensate`"
                .into(),
        );
    }
    match (check.nodes.effects(node, &with.to_value()), ttl) {
        (None | Some(EffectClass::Pure), _)
        | (Some(EffectClass::Reads | EffectClass::Idempotent), Some(_)) => Ok(()),
        (Some(EffectClass::Unsafe), _) => Err(format!(
            "the effects of the node `{}` are unsafe, so each run has to call it; remove `cache`",
            node_text(node)
        )),
        (Some(effects @ (EffectClass::Reads | EffectClass::Idempotent)), None) => Err(format!(
            "the node `{}` is not pure ({}), so its results age; say how long they count, as in `cache: {{ttl: 1h}}`",
            node_text(node),
            effects.as_str()
        )),
    }
}
