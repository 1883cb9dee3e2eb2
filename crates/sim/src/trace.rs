//! What happened, in order: hashed whole, the last lines kept.

use std::collections::VecDeque;
use std::fmt::Arguments;

/// Lines kept to show what led to a failure.
const LINES_MAX: usize = 40;

/// Takes every line of a trace.
pub type Out = Box<dyn FnMut(&str)>;

/// A growing trace.
pub(crate) struct Trace {
    hasher: blake3::Hasher,
    last: VecDeque<String>,
    /// Takes every line, if somebody wants to see them.
    out: Option<Out>,
    steps: u64,
}

impl Trace {
    pub(crate) fn new(out: Option<Out>) -> Self {
        Self { hasher: blake3::Hasher::new(), last: VecDeque::new(), out, steps: 0 }
    }

    pub(crate) fn line(&mut self, line: Arguments<'_>) {
        let line = line.to_string();
        self.steps += 1;
        self.hasher.update(line.as_bytes());
        self.hasher.update(b"\n");
        if let Some(out) = &mut self.out {
            out(&line);
        }
        if self.last.len() == LINES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    pub(crate) fn last(&self) -> Vec<String> {
        self.last.iter().cloned().collect()
    }

    pub(crate) fn hash(&self) -> [u8; 32] {
        *self.hasher.finalize().as_bytes()
    }
}
