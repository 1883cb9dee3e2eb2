//! A flow as text for people: as YAML, the canonical document without its defaults, and as a canvas.

mod canvas;

use serde_json::{Map, Value, json};

pub use canvas::to_canvas;

use crate::graph::{Flow, Step};

/// The flow as YAML of the step syntax; reading it gives the same flow.
pub fn to_yaml(flow: &Flow) -> String {
    let mut document = flow.to_canonical();
    if let Value::Object(map) = &mut document {
        for key in ["version", "description", "category", "triggers", "on_failure"] {
            drop_empty(map, key);
        }
        if let Some(Value::Array(steps)) = map.get_mut("steps") {
            for (shown, step) in steps.iter_mut().zip(&flow.steps) {
                if let Value::Object(shown) = shown {
                    drop_defaults(shown, step);
                }
            }
        }
    }
    let mut out = String::new();
    block(&mut out, &document, 0);
    out
}

fn drop_defaults(shown: &mut Map<String, Value>, step: &Step) {
    for key in ["needs", "outputs", "with"] {
        drop_empty(shown, key);
    }
    if let Some(Value::Object(on)) = shown.get_mut("on") {
        drop_empty(on, "success");
        drop_empty(on, "failure");
    }
    drop_empty(shown, "on");
    if shown.get("join") == Some(&json!("all")) {
        shown.shift_remove("join");
    }
    if shown.get("spawns") == Some(&json!(false)) {
        shown.shift_remove("spawns");
    }
    if let Some(Value::Object(cache)) = shown.get_mut("cache") {
        if cache.get("scope") == Some(&json!("namespace")) {
            cache.shift_remove("scope");
        }
        if cache.is_empty() {
            shown.insert("cache".into(), json!(true));
        }
    }
    // A routed step's bound stays: whether it was stated or worked out is no longer known.
    if !step.routed && step.max_visits == 1 {
        shown.shift_remove("max_visits");
    }
}

fn drop_empty(map: &mut Map<String, Value>, key: &str) {
    let empty = match map.get(key) {
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Array(items)) => items.is_empty(),
        Some(Value::Object(fields)) => fields.is_empty(),
        _ => false,
    };
    if empty {
        map.shift_remove(key);
    }
}

fn block(out: &mut String, value: &Value, indent: usize) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (at, (key, item)) in map.iter().enumerate() {
                if at > 0 || out.ends_with('\n') {
                    pad(out, indent);
                }
                out.push_str(&scalar(&Value::from(key.as_str())));
                out.push(':');
                below(out, item, indent);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (at, item) in items.iter().enumerate() {
                if at > 0 || out.ends_with('\n') {
                    pad(out, indent);
                }
                out.push_str("- ");
                if is_block(item) {
                    block(out, item, indent + 2);
                } else {
                    out.push_str(&scalar(item));
                    out.push('\n');
                }
            }
        }
        other => {
            out.push_str(&scalar(other));
            out.push('\n');
        }
    }
}

fn below(out: &mut String, item: &Value, indent: usize) {
    if is_block(item) {
        out.push('\n');
        block(out, item, indent + 2);
    } else {
        out.push(' ');
        out.push_str(&scalar(item));
        out.push('\n');
    }
}

fn pad(out: &mut String, indent: usize) {
    out.extend(std::iter::repeat_n(' ', indent));
}

fn is_block(value: &Value) -> bool {
    match value {
        Value::Object(map) => !map.is_empty(),
        // Short lists of plain things stay on one line.
        Value::Array(items) => {
            items.iter().any(|item| item.is_object() || item.is_array()) || items.len() > 8
        }
        _ => false,
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if is_plain(text) => text.clone(),
        Value::Array(items) => {
            format!("[{}]", items.iter().map(scalar).collect::<Vec<_>>().join(", "))
        }
        // JSON is YAML.
        other => other.to_string(),
    }
}

/// Whether text means itself without quotes, in any YAML: words, names, versions.
fn is_plain(text: &str) -> bool {
    let word =
        text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '@'));
    let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/');
    let reserved = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    word && starts && !reserved.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::syntax::parse;

    #[test]
    fn a_flow_reads_back_from_its_yaml() {
        for (name, text) in [
            ("everything.yaml", include_str!("../tests/sources/everything.yaml")),
            ("release.yaml", include_str!("../tests/sources/release.yaml")),
            ("campaign.json", include_str!("../tests/sources/campaign.canvas.json")),
        ] {
            let flow = parse(name, text).unwrap().flow;
            let yaml = to_yaml(&flow);
            let back = parse("out.yaml", &yaml).unwrap_or_else(|p| panic!("{}\n{yaml}", p[0]));
            assert_eq!(back.flow, flow, "{yaml}");
        }
    }

    #[test]
    fn defaults_are_left_out() {
        let flow = parse(
            "f.yaml",
            "name: f\nsteps:\n  - {id: a, node: n, with: {x: 'on', y: [1, a b]}}\n",
        )
        .unwrap()
        .flow;
        assert_eq!(
            to_yaml(&flow),
            "name: f\ninput: []\nsteps:\n  - id: a\n    node: \"n\"\n    with:\n      x: \"on\"\n      \"y\": [1, \"a b\"]\n"
        );
    }
}
