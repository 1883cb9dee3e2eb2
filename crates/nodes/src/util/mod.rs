//! Nodes that only compute: mapping, text, logging, failing, parsing.

mod fail;
mod json;
mod log;
mod template;
mod template_rules;
#[cfg(test)]
mod tests;
mod transform;

pub(crate) use fail::Fail;
pub(crate) use json::JsonParse;
pub(crate) use log::Log;
pub(crate) use template::Template;
pub(crate) use transform::Transform;
