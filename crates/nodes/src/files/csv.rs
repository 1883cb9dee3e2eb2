//! `csv.read`: the rows of a CSV text or file as objects.

use std::sync::Arc;

use ::csv::{ReaderBuilder, StringRecord};
use reflux_sdk::{Call, Context, Failure, Manifest, Node};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::Root;
use crate::support;

const MANIFEST: &str = r#"{
  "name": "csv.read",
  "version": "1.0.0",
  "description": "Read the rows of a CSV text or file as objects",
  "inputs": {
    "type": "object",
    "properties": {
      "path": { "type": "string" },
      "text": { "type": "string" },
      "delimiter": { "type": "string", "default": "," },
      "header": { "type": "boolean", "default": true },
      "typed": { "type": "boolean", "default": false, "description": "numbers, booleans and empty fields become numbers, booleans and null" },
      "max_rows": { "type": "integer", "default": 100000 }
    }
  },
  "outputs": {
    "type": "object",
    "properties": {
      "rows": { "type": "array", "items": { "type": "object" } },
      "columns": { "type": "array", "items": { "type": "string" } },
      "count": { "type": "integer" }
    },
    "required": ["rows", "columns", "count"]
  },
  "policies": { "timeoutSec": 60, "retries": [1, 3] },
  "effects": "reads",
  "metrics": ["rows", "cols"]
}"#;

/// A table with more rows is for the tabular nodes, which do not hold it in memory.
const ROWS_MAX: usize = 100_000;
/// A wider table has a wrong delimiter.
const COLUMNS_MAX: usize = 1_000;
/// Every field becomes a value with its name, which together must not outgrow the memory.
const FIELDS_MAX: usize = 1_000_000;

pub(crate) struct CsvRead {
    manifest: Manifest,
    root: Arc<Root>,
    bytes_max: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    path: Option<String>,
    text: Option<String>,
    delimiter: Option<String>,
    header: Option<bool>,
    typed: Option<bool>,
    max_rows: Option<usize>,
}

impl CsvRead {
    pub(crate) fn new(root: Arc<Root>, bytes_max: usize) -> Self {
        Self { manifest: support::manifest(MANIFEST), root, bytes_max }
    }
}

impl Node for CsvRead {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn call<'a>(&'a self, ctx: &'a Context, input: Value) -> Call<'a> {
        Box::pin(async move {
            let input: Input = self.manifest.read_input(input)?;
            let (root, bytes_max) = (Arc::clone(&self.root), self.bytes_max);
            let table = support::blocking(move || {
                let bytes = match (&input.path, &input.text) {
                    (Some(path), None) => root.read(path, bytes_max)?,
                    (None, Some(text)) if text.len() <= bytes_max => text.as_bytes().to_vec(),
                    (None, Some(_)) => {
                        return Err(Failure::bad_input(format!(
                            "text: longer than {bytes_max} bytes"
                        )));
                    }
                    _ => return Err(Failure::bad_input("give `path` or `text`")),
                };
                read(&input, &bytes)
            });
            let (columns, rows) = table.await?;
            ctx.metric("rows", rows.len() as f64);
            ctx.metric("cols", columns.len() as f64);
            Ok(json!({ "count": rows.len(), "rows": rows, "columns": columns }))
        })
    }
}

type Table = (Vec<String>, Vec<Value>);

fn read(input: &Input, bytes: &[u8]) -> Result<Table, Failure> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes); // spreadsheets write a byte order mark
    let header = input.header.unwrap_or(true);
    let rows_max = input.max_rows.unwrap_or(ROWS_MAX).min(ROWS_MAX);
    let mut reader =
        ReaderBuilder::new().delimiter(delimiter(input)?).has_headers(false).from_reader(bytes);
    let mut records = reader.records();
    let mut columns = Vec::new();
    let mut rows = Vec::new();
    let mut fields = 0;
    if header && let Some(first) = records.next() {
        columns = unique(first.map_err(|e| syntax(&e))?)?;
    }
    for record in records {
        let record = record.map_err(|e| syntax(&e))?;
        if columns.is_empty() && !header {
            columns = (1..=record.len()).map(|number| format!("column{number}")).collect();
        }
        fields += record.len();
        if rows.len() == rows_max || fields > FIELDS_MAX {
            let message = format!(
                "more than {rows_max} rows or {FIELDS_MAX} fields; split the file, or use the tabular nodes"
            );
            return Err(Failure::permanent("Csv.TooLarge", message));
        }
        if record.len() > COLUMNS_MAX {
            return Err(Failure::permanent(
                "Csv.TooLarge",
                format!("more than {COLUMNS_MAX} columns; is the delimiter right?"),
            ));
        }
        let fields = columns
            .iter()
            .cloned()
            .zip(record.iter().map(|field| value(field, input.typed == Some(true))));
        rows.push(Value::Object(fields.collect::<Map<_, _>>()));
    }
    Ok((columns, rows))
}

fn delimiter(input: &Input) -> Result<u8, Failure> {
    match input.delimiter.as_deref().map(str::as_bytes) {
        None => Ok(b','),
        Some([one]) if !matches!(one, b'"' | b'\n' | b'\r') => Ok(*one),
        Some(_) => {
            Err(Failure::bad_input("delimiter: use one ASCII character, such as `;` or a tab"))
        }
    }
}

/// Rows are objects, so two columns of one name would lose a value.
fn unique(names: StringRecord) -> Result<Vec<String>, Failure> {
    let names: Vec<String> = names.iter().map(|name| name.trim().to_owned()).collect();
    let mut seen = std::collections::BTreeSet::new();
    match names.iter().find(|name| !seen.insert(name.as_str())) {
        Some(twice) => Err(Failure::permanent(
            "Csv.Header",
            format!("column {twice:?} appears twice; rename one, or set header: false"),
        )),
        None => Ok(names),
    }
}

fn syntax(error: &::csv::Error) -> Failure {
    let at =
        error.position().map(|position| format!("line {}: ", position.line())).unwrap_or_default();
    let what = match error.kind() {
        ::csv::ErrorKind::UnequalLengths { expected_len, len, .. } => {
            format!("expected {expected_len} fields, found {len}")
        }
        ::csv::ErrorKind::Utf8 { .. } => "not UTF-8; convert the file first".to_owned(),
        _ => error.to_string(),
    };
    Failure::permanent("Csv.Syntax", format!("{at}{what}"))
}

/// A number only if it is written as a number is: `007` and `+1` are not, a phone number must survive.
fn value(field: &str, typed: bool) -> Value {
    if !typed {
        return field.into();
    }
    match field {
        "" => Value::Null,
        "true" | "TRUE" | "True" => true.into(),
        "false" | "FALSE" | "False" => false.into(),
        _ => match serde_json::from_str(field) {
            Ok(Value::Number(number)) if number.is_i64() || number.is_u64() || !is_whole(field) => {
                Value::Number(number)
            }
            Ok(_) | Err(_) => field.into(),
        },
    }
}

/// Written without a fraction: beyond 64 bits such a number would lose its last digits.
fn is_whole(field: &str) -> bool {
    field.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-')
}
