//! `util.template`: text from a template and data, in the syntax of Jinja.

use std::io::{self, Write};
use std::num::NonZeroUsize;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, ErrorKind, UndefinedBehavior};
use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use serde::Deserialize;
use serde_json::{Value, json};

use super::template_rules;
use crate::support;

const MANIFEST: &str = r#"{
  "name": "util.template",
  "version": "1.0.0",
  "description": "Text from a template and data, in the syntax of Jinja",
  "inputs": {
    "type": "object",
    "properties": {
      "template": { "type": "string" },
      "data": { "type": "object", "description": "the names the template uses" },
      "html": { "type": "boolean", "default": false, "description": "escape what is put in for HTML" }
    },
    "required": ["template"]
  },
  "outputs": { "text": "string" },
  "policies": { "timeoutSec": 10, "retries": [] },
  "effects": "pure"
}"#;

/// Instructions of one rendering: enough for some ten thousand rows of a table.
const FUEL: u64 = 1_000_000;
/// A template is written by a person.
pub(super) const TEMPLATE_BYTES_MAX: usize = 64 << 10;

pub(crate) struct Template {
    manifest: Manifest,
    bytes_max: NonZeroUsize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    template: String,
    data: Option<Value>,
    html: Option<bool>,
}

impl Template {
    pub(crate) fn new(bytes_max: usize) -> Self {
        Self {
            manifest: support::manifest(MANIFEST),
            bytes_max: NonZeroUsize::new(bytes_max).unwrap_or(NonZeroUsize::MIN),
        }
    }
}

impl Node for Template {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, _ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move { render(self.manifest.read_input(input)?, self.bytes_max.get()) })
    }
}

fn render(input: Input, bytes_max: usize) -> Result<Value, Failure> {
    if input.template.len() > TEMPLATE_BYTES_MAX {
        return Err(Failure::bad_input(format!(
            "template: longer than {TEMPLATE_BYTES_MAX} bytes"
        )));
    }
    let mut environment = Environment::empty();
    environment.set_fuel(Some(FUEL));
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    let syntax = SyntaxConfig::builder().keep_trailing_newline(true).build();
    environment.set_syntax(syntax.map_err(|e| failure(&e, bytes_max))?);
    let html = input.html == Some(true);
    environment.set_auto_escape_callback(
        move |_| {
            if html { AutoEscape::Html } else { AutoEscape::None }
        },
    );
    template_rules::install(&mut environment, bytes_max);
    template_rules::check(&input.template).map_err(|e| failure(&e, bytes_max))?;
    let template =
        environment.template_from_str(&input.template).map_err(|e| failure(&e, bytes_max))?;
    let data = input.data.unwrap_or_else(|| json!({}));
    let mut text = Bounded { text: Vec::new(), bytes_max };
    template.render_captured_to(Serde(&data), &mut text).map_err(|e| failure(&e, bytes_max))?;
    Ok(json!({ "text": String::from_utf8_lossy(&text.text) }))
}

fn failure(error: &minijinja::Error, bytes_max: usize) -> Failure {
    let line = error.line().map(|line| format!(" line {line}")).unwrap_or_default();
    let what = match error.kind() {
        ErrorKind::OutOfFuel => {
            "it takes too many steps; make the data or the template smaller".to_owned()
        }
        ErrorKind::WriteFailure => format!("the text is longer than {bytes_max} bytes"),
        ErrorKind::UndefinedError => match error.detail() {
            Some(detail) => format!("{detail}; add it to `data`, or write `| default('')`"),
            None => "a name has no value; add it to `data`, or write `| default('')`".to_owned(),
        },
        kind => match error.detail() {
            Some(detail) => format!("{kind}: {detail}"),
            None => kind.to_string(),
        },
    };
    Failure::bad_input(format!("template{line}: {what}"))
}

/// Refuses to grow beyond a bound.
struct Bounded {
    text: Vec<u8>,
    bytes_max: usize,
}

impl Write for Bounded {
    fn write(&mut self, part: &[u8]) -> io::Result<usize> {
        if self.text.len() + part.len() > self.bytes_max {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(part);
        Ok(part.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
