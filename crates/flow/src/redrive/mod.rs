//! Running a run again without doing again what it did.
//!
//! ```text
//! events of the base ─→ Base ─ scope, outputs ─→ Memo ─→ header of the new run
//!                                                           │
//!                  advance: is the result there? ◄──────────┘ ─→ `reflux.reuse` instead of a call
//! ```
//!
//! What is kept is decided when an activation would begin, by the [`Key`] of what it would do. The
//! base is never changed, and the new run needs nothing of it once it has begun. Nothing is read
//! or appended here.

mod base;
mod key;
mod memo;
mod plan;
mod read;
mod scope;
#[cfg(test)]
mod tests;

pub use base::{Base, Past, PastWork};
pub use key::Key;
pub(crate) use key::{Work, input_digest};
pub use memo::{Kept, Memo, Redrive, Remaining, Untaken, base_of};
pub use plan::{Dry, Plan, Row, Verdict};
pub use scope::Scope;

/// Why a re-drive makes no sense; what to do instead is in the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    /// With that reason.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }
}
