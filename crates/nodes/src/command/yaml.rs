//! YAML with positions. The only place that knows the YAML library.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::load::Problem;

/// A node file is written by a person.
const FILE_BYTES_MAX: usize = 1 << 20;

/// A value and where it was written.
#[derive(Debug, Clone, Deserialize)]
#[serde(transparent)]
pub(super) struct Placed<T>(serde_saphyr::Spanned<T>);

impl<T> Placed<T> {
    pub(super) fn get(&self) -> &T {
        &self.0.value
    }

    /// A problem with this value.
    pub(super) fn problem(&self, file: &Path, message: impl Into<String>) -> Problem {
        let at = self.0.referenced;
        Problem {
            file: file.to_path_buf(),
            line: u32::try_from(at.line()).unwrap_or(0),
            column: u32::try_from(at.column()).unwrap_or(0),
            message: message.into(),
        }
    }
}

/// Read a document into a type; the problem says where it does not fit.
pub(super) fn parse<T: DeserializeOwned>(file: &Path, text: &str) -> Result<T, Problem> {
    let problem =
        |line, column, message: String| Problem { file: file.to_path_buf(), line, column, message };
    if text.len() > FILE_BYTES_MAX {
        return Err(problem(1, 1, format!("longer than {FILE_BYTES_MAX} bytes")));
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let at = error.location();
        let line = at.map_or(0, |at| u32::try_from(at.line()).unwrap_or(0));
        let column = at.map_or(0, |at| u32::try_from(at.column()).unwrap_or(0));
        problem(line, column, headline(&error.without_snippet().to_string()))
    })
}

/// The message without the picture of the place and without the place, which the problem has.
fn headline(message: &str) -> String {
    let first = message.lines().next().unwrap_or_default();
    let first = first.split(" at line ").next().unwrap_or(first);
    first.trim_start_matches("error: ").to_owned()
}
