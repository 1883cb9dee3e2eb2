//! JMESPath over JSON values, bounded in depth, time and memory.
//!
//! The crate `jmespath` parses. It would also evaluate, but without a bound: `[@,@] | [@,@] | …`
//! doubles its result with every step, and a deep expression overflows the stack. So the
//! evaluation is here, every value visited or made costs fuel, and what would be
//! too deep is refused before it is parsed.

mod depth;
mod eval;
mod functions;
#[cfg(test)]
mod tests;

use jmespath::ast::Ast;
use serde_json::Value;

/// The longest expression: written by a person, and every byte may become a node of the tree.
const EXPRESSION_BYTES_MAX: usize = 16 << 10;
/// Values visited or made by one evaluation: at the worst under a second and some 200 MiB.
pub(crate) const FUEL: u64 = 2_000_000;

/// A parsed expression.
#[derive(Debug)]
pub(crate) struct Expression(Ast);

/// Why an expression cannot be used or evaluated, for the person who wrote it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct PathError(String);

impl Expression {
    pub(crate) fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(PathError(format!(
                "the expression is longer than {EXPRESSION_BYTES_MAX} bytes"
            )));
        }
        depth::check(text)?;
        let ast = jmespath::parse(text).map_err(|e| {
            let reason = e.reason.to_string();
            PathError(format!("{text:?}, column {}: {}", e.column + 1, reason.trim()))
        })?;
        functions::check(&ast)?;
        Ok(Self(ast))
    }

    /// The value the expression finds; `fuel` is what is left for it and those that follow.
    pub(crate) fn search(&self, data: &Value, fuel: &mut u64) -> Result<Value, PathError> {
        eval::search(&self.0, data, fuel)
    }
}
