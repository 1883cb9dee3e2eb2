//! The form a step's result takes when the step declares its outputs.

use serde_json::{Map, Value};

use crate::graph::Step;

impl Step {
    /// The output of a step as expressions see it. A step that declares exactly one output, of
    /// kind `object`, may return that object itself: the whole result is then that output.
    pub fn shape_output(&self, result: Value) -> Value {
        let [field] = self.outputs.as_slice() else {
            return result;
        };
        if field.kind != "object"
            || result.as_object().is_some_and(|map| map.contains_key(&field.name))
        {
            return result;
        }
        Value::Object(Map::from_iter([(field.name.clone(), result)]))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::syntax::parse;

    fn check(outputs: &str, result: Value, expected: Value) {
        let source = format!("name: f\nsteps:\n  - id: a\n    node: n\n    outputs: {outputs}\n");
        let parsed = parse("f.yaml", &source).unwrap();
        assert_eq!(parsed.flow.steps[0].shape_output(result), expected, "{outputs}");
    }

    #[test]
    fn a_single_object_output_takes_the_whole_result() {
        let one = "[{name: report, type: object}]";
        check(one, json!({"passed": true}), json!({"report": {"passed": true}}));
        check(
            one,
            json!({"report": {"passed": true}, "x": 1}),
            json!({"report": {"passed": true}, "x": 1}),
        );
        check(one, json!("text"), json!({"report": "text"}));
        check("[{name: report, type: string}]", json!({"passed": true}), json!({"passed": true}));
        check(
            "[{name: a, type: object}, {name: b, type: object}]",
            json!({"c": 1}),
            json!({"c": 1}),
        );
        check("[]", json!({"c": 1}), json!({"c": 1}));
    }
}
