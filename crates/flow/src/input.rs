//! Checks what a run is started with against the inputs its flow declares.

#[cfg(test)]
mod tests;

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::expr::json_kind;
use crate::graph::{Flow, ParameterKind};
use crate::name::suggest;

/// Why a run cannot start with an input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Name of the input; `""` when it is about the whole.
    pub input: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The name that was probably meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.suggestion {
            Some(name) => write!(f, " (did you mean `{name}`?)"),
            None => Ok(()),
        }
    }
}

/// The input with defaults filled in. Null counts as absent for an input that is not `any`. A flow
/// that reads `input` as a whole takes further inputs too.
///
/// # Errors
/// Every input that is missing, unknown or of another type.
pub fn check_input(flow: &Flow, input: Value) -> Result<Value, Vec<Problem>> {
    let mut given = match input {
        Value::Null => Map::new(),
        Value::Object(map) => map,
        other => {
            let message = format!("the input must be an object, not {}", json_kind(&other));
            return Err(vec![problem("", message)]);
        }
    };
    let mut problems = Vec::new();
    let mut out = Map::new();
    for parameter in &flow.parameters {
        let value = given
            .remove(&parameter.name)
            .filter(|value| !value.is_null() || parameter.kind == ParameterKind::Any);
        match value.or_else(|| parameter.default.clone()) {
            Some(value) if fits(parameter.kind, &value) => {
                out.insert(parameter.name.clone(), value);
            }
            Some(value) => problems.push(problem(
                &parameter.name,
                format!(
                    "the input `{}` must be {}, not {}",
                    parameter.name,
                    parameter.kind.article(),
                    json_kind(&value)
                ),
            )),
            None if parameter.required => problems.push(problem(
                &parameter.name,
                format!("the input `{}` ({}) is missing", parameter.name, parameter.kind.name()),
            )),
            None => {}
        }
    }
    if flow.refs().whole_input {
        out.append(&mut given);
    }
    for name in given.keys() {
        problems.push(Problem {
            suggestion: suggest(name, flow.parameters.iter().map(|p| p.name.as_str())),
            ..problem(name, format!("the flow `{}` has no input `{name}`", flow.name))
        });
    }
    if problems.is_empty() { Ok(Value::Object(out)) } else { Err(problems) }
}

impl ParameterKind {
    /// `text`, `a number`…, for messages.
    pub fn article(self) -> &'static str {
        match self {
            Self::String => "text",
            Self::Number => "a number",
            Self::Integer => "a whole number",
            Self::Boolean => "a boolean",
            Self::Array => "a list",
            Self::Object => "an object",
            Self::Any => "any value",
        }
    }

    /// The value that text from a command line stands for.
    ///
    /// # Errors
    /// Says what the text should look like.
    pub fn coerce(self, text: &str) -> Result<Value, String> {
        let wrong = || format!("`{text}` is not {}", self.article());
        match self {
            Self::String => Ok(Value::from(text)),
            Self::Boolean => match text.to_ascii_lowercase().as_str() {
                "true" | "yes" | "on" | "1" => Ok(Value::Bool(true)),
                "false" | "no" | "off" | "0" => Ok(Value::Bool(false)),
                _ => Err(format!("{}; write true or false", wrong())),
            },
            Self::Number | Self::Integer => serde_json::from_str::<Value>(text.trim())
                .ok()
                .filter(|value| fits(self, value))
                .ok_or_else(wrong),
            Self::Array => match serde_json::from_str::<Value>(text) {
                Ok(value @ Value::Array(_)) => Ok(value),
                _ if text.trim_start().starts_with('[') => {
                    Err(format!("{}; check its JSON", wrong()))
                }
                _ if text.is_empty() => Ok(Value::Array(Vec::new())),
                _ => Ok(text.split(',').map(|item| Value::from(item.trim())).collect()),
            },
            Self::Object => serde_json::from_str::<Value>(text)
                .ok()
                .filter(Value::is_object)
                .ok_or_else(|| format!("{}; write JSON such as {{\"key\": 1}}", wrong())),
            Self::Any => Ok(serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))),
        }
    }
}

/// Whether a value is of a kind.
pub fn fits(kind: ParameterKind, value: &Value) -> bool {
    match kind {
        ParameterKind::String => value.is_string(),
        ParameterKind::Number => value.is_number(),
        ParameterKind::Integer => {
            value.is_i64()
                || value.is_u64()
                || value.as_f64().is_some_and(|f| f.fract() == 0.0 && f.abs() < 9e15)
        }
        ParameterKind::Boolean => value.is_boolean(),
        ParameterKind::Array => value.is_array(),
        ParameterKind::Object => value.is_object(),
        ParameterKind::Any => true,
    }
}

fn problem(input: &str, message: String) -> Problem {
    Problem { input: input.to_owned(), message, suggestion: None }
}
