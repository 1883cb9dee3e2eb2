//! How a quiet run ends.

use reflux_core::Decision;
use serde_json::{Map, Value, json};

use crate::expr::ExprError;
use crate::payload;
use crate::planted::Defect;
use crate::progress::{Outcome, Progress};

impl Progress {
    /// Nothing runs and nothing is left to start: the run completes, with its output.
    pub(super) fn close(&self) -> Vec<Decision> {
        let output = match self.output() {
            Ok(output) => output,
            Err(error) => {
                let error = json!({ "kind": "Output", "message": error.to_string() });
                return vec![Decision::FailRun { failure: payload::failure_of(&error).into() }];
            }
        };
        let result = match self.error().filter(|_| !Defect::HandledFailuresForgotten.is_planted()) {
            None => payload::of_value(&output),
            Some(error) => payload::of_handled_failure(&json!({
                "status": "failed",
                "error": **error,
                "output": output,
            })),
        };
        vec![Decision::CompleteRun { result }]
    }

    /// What the flow says its output is, else the outputs of the steps that nothing follows.
    fn output(&self) -> Result<Value, ExprError> {
        let flow = self.flow().clone();
        if let Some(template) = &flow.output {
            // Seen from the top of the flow, where only its own steps have names.
            let top = crate::graph::StepId::new("");
            return self.render(&top, template, None).map(|rendered| rendered.value);
        }
        let mut output = Map::new();
        for (at, (step, state)) in self.steps().enumerate() {
            let last = !self.is_needed(at) && !step.id.as_str().contains('/');
            if last && state.outcome == Some(Outcome::Succeeded) && step.on_success.is_empty() {
                let value = state.view().map_or(Value::Null, |view| (*view.output).clone());
                if !value.is_null() {
                    output.insert(step.id.to_string(), value);
                }
            }
        }
        Ok(Value::Object(output))
    }
}
