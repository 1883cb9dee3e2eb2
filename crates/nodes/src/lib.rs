//! The built-in nodes, written against the public SDK, and nodes made of local commands.
//!
//! ```text
//! http/      http.request, webhook.out: every address checked, every body bounded
//! util/      util.transform, util.template, util.log, util.fail, json.parse: they only compute
//! meta       meta.parallel, meta.conditional, meta.loop, meta.map: they give steps
//! jmespath/  the paths of util.transform, bounded
//! files/     file.read, file.write, csv.read: beneath one directory
//! command/   exec.command, and the actions declared in nodes/*.yaml
//! net/       which addresses are public, and what the configuration allows beyond
//! ```
//!
//! Absent on purpose: runs, retries, histories, secrets' names. A node sees one input
//! and one [`reflux_sdk::Context`], and gives one output or failure.

mod builtin;
mod command;
mod config;
mod files;
mod http;
mod jmespath;
mod meta;
mod net;
mod support;
mod trigger;
mod util;

pub use builtin::builtin;
pub use command::{Problem, load_dir};
pub use config::NodesConfig;
pub use net::{AllowRule, NetPolicy};
