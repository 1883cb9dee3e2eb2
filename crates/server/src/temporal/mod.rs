//! Temporal's gRPC API over the engine: what the SDKs' workers and clients call.
//!
//! ```text
//! SDK ─ gRPC ─→ service.rs ─→ one file per group ─→ Engine
//!                 polls: poll.rs, handout.rs    names: convert.rs, tokens.rs    refusals: errors.rs
//! ```
//!
//! Holds nothing that must survive: what a worker has in hand is in its token, what a run is like
//! in the run. Absent: what `docs/temporal.md` lists as not built, which answers UNIMPLEMENTED.

mod activities;
mod commands;
mod convert;
mod errors;
mod handout;
mod history;
pub(crate) mod lists;
mod namespaces;
mod patience;
mod poll;
mod pollers;
mod query;
mod runs;
mod service;
mod start;
mod tasks;
mod tokens;
mod visibility;

use std::sync::Arc;

use pollers::Pollers;
use tokens::Tokens;

pub use service::service;

use crate::Error;
use crate::net::App;

/// What every call shares. Cheap to clone.
#[derive(Clone)]
pub struct Frontend {
    app: Arc<App>,
    tokens: Tokens,
    pollers: Arc<Pollers>,
}

impl Frontend {
    /// The frontend of an app.
    ///
    /// # Errors
    /// The key of the project's task tokens cannot be read or written.
    pub fn new(app: Arc<App>) -> Result<Self, Error> {
        let tokens = Tokens::of(&app.project)?;
        Ok(Self { app, tokens, pollers: Arc::default() })
    }
}
