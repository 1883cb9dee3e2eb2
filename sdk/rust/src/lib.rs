//! What a node is, for those who write nodes and for those who run them.
//!
//! ```text
//! Manifest   what the node is called, takes, gives and promises
//! Node       the manifest and one asynchronous call: (Context, input) -> output | Failure
//! Context    the attempt being made; collects logs, metrics, tokens, cost; carries cancellation
//! Catalogue  nodes by name and version
//! ```
//!
//! Absent on purpose: an executor, timers, sockets, retries. A host decides when a
//! node is called, how often, and what is done with its report. Two features bring more, for programs that are
//! not the server: `worker` serves nodes, `client` calls the server's API.
//!
//! ```
//! use reflux_sdk::{node, Context, Failure, Manifest};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize)]
//! struct Greeting { name: String }
//! #[derive(Serialize)]
//! struct Greeted { text: String }
//!
//! let manifest = Manifest::from_json(r#"{
//!     "name": "demo.greet", "version": "1.0.0", "effects": "pure",
//!     "inputs": { "name": "string" }, "outputs": { "text": "string" }
//! }"#)?;
//! let greet = node(manifest, |ctx: Context, input: Greeting| async move {
//!     ctx.metric("letters", input.name.len() as f64);
//!     Ok::<_, Failure>(Greeted { text: format!("hello {}", input.name) })
//! });
//! # let _ = greet;
//! # Ok::<(), reflux_sdk::ManifestError>(())
//! ```

mod cancel;
mod catalogue;
#[cfg(feature = "client")]
pub mod client;
mod context;
mod failure;
mod manifest;
mod node;
mod pace;
mod schema;
mod served;
mod shorthand;
#[cfg(feature = "worker")]
pub mod worker;

pub use cancel::Cancellation;
pub use catalogue::Catalogue;
pub use context::{Attempt, Context, Host, Level, Limits, LogLine, Notice, Report, Tokens};
pub use failure::Failure;
pub use manifest::{Effects, Manifest, ManifestError, Policies, Tunable};
pub use node::{Call, Node, TypedNode, node};
pub use pace::{Circuit, Rate};
pub use schema::{Problem, Schema};
pub use served::Served;
