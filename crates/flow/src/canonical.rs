//! One JSON form of a flow, with every default written out: what is stored, compared and hashed.
//! It is a document of the step syntax, so it is read back by the same parser.

#[cfg(test)]
mod tests;

use serde_json::{Map, Value, json};

use crate::diagnostic::Diagnostic;
use crate::duration::format_duration;
use crate::expr::Expr;
use crate::graph::{
    Action, Alternatives, CacheScope, Caching, Compensation, Flow, ForEach, Join, NodeRef,
    Parameter, Retry, Rule, Step, StepId, Wait,
};
use crate::syntax::parse_value;

impl Flow {
    /// The canonical document.
    pub fn to_canonical(&self) -> Value {
        let mut map = Map::new();
        map.insert("name".into(), json!(self.name));
        map.insert("version".into(), json!(self.version));
        map.insert("description".into(), json!(self.description));
        map.insert("category".into(), json!(self.category));
        map.insert("input".into(), self.parameters.iter().map(parameter).collect());
        let triggers = self.triggers.iter().map(|trigger| trigger.source.clone());
        map.insert("triggers".into(), triggers.collect());
        map.insert("steps".into(), self.steps.iter().map(step).collect());
        if let Some(output) = &self.output {
            map.insert("output".into(), output.to_value());
        }
        map.insert("on_failure".into(), rules(&self.on_failure));
        Value::Object(map)
    }

    /// Reads a canonical document, or any other that is a flow as JSON.
    ///
    /// # Errors
    /// As [`crate::syntax::parse`], without places.
    pub fn from_canonical(value: &Value) -> Result<Self, Vec<Diagnostic>> {
        parse_value(value).map(|parsed| parsed.flow)
    }
}

/// JSON with its keys sorted and no spaces: equal values give equal bytes.
pub fn canonical_json(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out, value);
    out
}

fn write(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(out, item);
            }
            out.push(b']');
        }
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().collect();
            entries.sort_by_key(|(key, _)| *key);
            out.push(b'{');
            for (at, (key, item)) in entries.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                out.push(b':');
                write(out, item);
            }
            out.push(b'}');
        }
        scalar => out.extend_from_slice(scalar.to_string().as_bytes()),
    }
}

fn parameter(p: &Parameter) -> Value {
    let mut map = Map::new();
    map.insert("name".into(), json!(p.name));
    map.insert("type".into(), json!(p.kind.name()));
    map.insert("required".into(), json!(p.required));
    map.insert("description".into(), json!(p.description));
    if let Some(default) = &p.default {
        map.insert("default".into(), default.clone());
    }
    Value::Object(map)
}

/// The canonical document of a step.
pub(crate) fn step(step: &Step) -> Value {
    let mut map = Map::new();
    map.insert("id".into(), json!(step.id));
    action(&step.action, &mut map);
    map.insert("needs".into(), names(&step.needs));
    map.insert("join".into(), json!(if step.join == Join::Any { "any" } else { "all" }));
    map.insert(
        "on".into(),
        json!({"success": rules(&step.on_success), "failure": rules(&step.on_failure)}),
    );
    map.insert("max_visits".into(), json!(step.max_visits));
    map.insert(
        "outputs".into(),
        step.outputs.iter().map(|o| json!({"name": o.name, "type": o.kind})).collect(),
    );
    map.insert("spawns".into(), json!(step.spawns));
    let mut optional = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            map.insert(key.into(), value);
        }
    };
    optional("when", step.when.as_ref().map(condition));
    optional("for_each", step.for_each.as_ref().map(for_each));
    optional("retry", step.retry.as_ref().map(retry));
    optional("timeout", step.timeout.map(|d| json!(format_duration(d))));
    optional("total_timeout", step.total_timeout.map(|d| json!(format_duration(d))));
    optional("heartbeat", step.heartbeat_timeout.map(|d| json!(format_duration(d))));
    optional("queue", step.task_queue.as_ref().map(|q| json!(q)));
    optional("alternatives", step.alternatives.as_ref().map(alternatives));
    optional("compensate", step.compensate.as_ref().map(compensate));
    optional("cache", step.cache.as_ref().map(caching));
    Value::Object(map)
}

fn action(action: &Action, map: &mut Map<String, Value>) {
    let mut put = |key: &str, value: Value| {
        map.insert(key.into(), value);
    };
    match action {
        Action::Node { node, with } => {
            put("node", json!(node_text(node)));
            put("with", with.to_value());
        }
        Action::Flow { flow, with } => {
            put("flow", json!(flow));
            put("with", with.to_value());
        }
        Action::Wait(wait) => put("wait", wait_value(wait)),
        Action::Pass => put("pass", json!(true)),
    }
}

/// What is waited for, in the canonical document of a step.
pub(crate) fn wait_value(wait: &Wait) -> Value {
    let timed = |name: &str, value: Value, timeout: &Option<std::time::Duration>| {
        let mut map = Map::from_iter([(name.to_owned(), value)]);
        if let Some(timeout) = timeout {
            map.insert("timeout".into(), json!(format_duration(*timeout)));
        }
        Value::Object(map)
    };
    match wait {
        Wait::Duration(template) => json!({"duration": template.to_value()}),
        Wait::Until(template) => json!({"until": template.to_value()}),
        Wait::Signal { name, timeout } => timed("signal", json!(name), timeout),
        Wait::Approval { title, timeout } => timed("approval", title.to_value(), timeout),
    }
}

fn for_each(for_each: &ForEach) -> Value {
    json!({"items": for_each.items.to_value(), "concurrency": for_each.concurrency})
}

fn retry(retry: &Retry) -> Value {
    match retry {
        Retry::Intervals(waits) => waits.iter().map(|d| json!(format_duration(*d))).collect(),
        Retry::Exponential { attempts, initial, coefficient, maximum } => json!({
            "attempts": attempts,
            "initial": format_duration(*initial),
            "coefficient": coefficient,
            "maximum": format_duration(*maximum),
        }),
    }
}

fn alternatives(alternatives: &Alternatives) -> Value {
    match alternatives {
        Alternatives::Auto => json!("auto"),
        Alternatives::Listed(nodes) => nodes.iter().map(|node| json!(node_text(node))).collect(),
    }
}

/// What a step says of results of other runs, in its canonical document.
pub(crate) fn caching(caching: &Caching) -> Value {
    let scope = match caching.scope {
        CacheScope::Flow => "flow",
        CacheScope::Namespace => "namespace",
    };
    let mut map = Map::from_iter([("scope".to_owned(), json!(scope))]);
    if let Some(ttl) = caching.ttl {
        map.insert("ttl".into(), json!(format_duration(ttl)));
    }
    Value::Object(map)
}

fn compensate(c: &Compensation) -> Value {
    json!({"node": node_text(&c.node), "with": c.with.to_value()})
}

fn rules(rules: &[Rule]) -> Value {
    rules
        .iter()
        .map(|rule| {
            let mut map = Map::new();
            if let Some(expr) = &rule.condition {
                map.insert("condition".into(), condition(expr));
            }
            map.insert("then".into(), names(&rule.then));
            if !rule.otherwise.is_empty() {
                map.insert("else".into(), names(&rule.otherwise));
            }
            Value::Object(map)
        })
        .collect()
}

fn condition(expr: &Expr) -> Value {
    json!(expr.to_string())
}

fn names(ids: &[StepId]) -> Value {
    ids.iter().map(|id| json!(id)).collect()
}

/// `name`, or `name@version`.
pub fn node_text(node: &NodeRef) -> String {
    match &node.version {
        Some(version) => format!("{}@{version}", node.name),
        None => node.name.clone(),
    }
}
