//! Places in a source text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where something stands in a source text. Line and column count from 1, columns in characters;
/// `0:0` is "nowhere", the span of what was not read from text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
}

impl Span {
    /// A place.
    pub const fn new(line: u32, column: u32) -> Self {
        Self { line, column }
    }

    /// Whether it stands nowhere.
    pub const fn is_unknown(self) -> bool {
        self.line == 0
    }

    /// The place `characters` further on the same line.
    pub fn right(self, characters: usize) -> Self {
        if self.is_unknown() {
            return self;
        }
        let by = u32::try_from(characters).unwrap_or(0);
        Self::new(self.line, self.column.saturating_add(by))
    }
}

/// The places of a flow's parts, by a path such as `steps/fetch/with/url`. The graph itself
/// carries none, so that equal flows are equal wherever they were written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spans {
    file: String,
    places: BTreeMap<String, Span>,
}

impl Spans {
    /// No places yet, of a file of that name.
    pub fn of_file(file: impl Into<String>) -> Self {
        Self { file: file.into(), places: BTreeMap::new() }
    }

    /// Name of the file; `""` when the flow was not read from one.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Remembers a place; the first one given stays.
    pub fn put(&mut self, path: impl Into<String>, span: Span) {
        self.places.entry(path.into()).or_insert(span);
    }

    /// The place of a part, or of the nearest part around it that has one.
    pub fn find(&self, path: &str) -> Span {
        let mut rest = path;
        loop {
            if let Some(span) = self.places.get(rest) {
                return *span;
            }
            match rest.rfind('/') {
                Some(at) => rest = rest.get(..at).unwrap_or_default(),
                None => return Span::default(),
            }
        }
    }
}
