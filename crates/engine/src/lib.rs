//! Partitions: the only place where the run's state machine, the log and the store meet.
//!
//! ```text
//! Engine ─ request ─→ Partition ─ record ─→ log
//!    ▲                    │ durable
//!    └── answer ──────────┼── effects ─→ Host (nodes), Router (other runs), Watches
//!                         └── changes ─→ materialiser ─→ store
//! ```
//!
//! Knows nothing of sockets, files of flows, or how a node works. Nothing is visible, replied or
//! acted upon before it is durable.

mod assembly;
mod cache;
mod calls;
mod codec;
mod effect;
mod engine;
mod error;
mod execution;
mod history;
mod host;
mod judge;
mod keeper;
mod keeping;
mod layout;
mod ledger;
mod mailbox;
mod matching;
mod materialise;
mod metrics;
mod pace;
mod partition;
mod queries;
mod quotas;
mod recent;
mod record;
mod recover;
mod recovered;
mod redrive;
mod request;
mod results;
mod router;
mod specs;
mod start;
mod stepper;
mod thread;
mod timers;
mod upkeep;
mod watch;

pub use assembly::World;
pub use codec::references;
pub use effect::idempotency_key;
pub use engine::{Engine, LOCAL_QUEUE, Options, Usage};
pub use error::Error;
pub use execution::Execution;
pub use history::Events;
pub use host::{Attempt, Host};
pub use matching::{Offer, Queue, QueueKind};
pub use metrics::describe as describe_metrics;
pub use pace::{
    Breaker, FAILURES_MAX, GATES_MAX, GateState, Gates, Held, Opened, Rate, Rules, Subject,
};
pub use queries::{OpenQuery, QueryOutcome};
pub use quotas::{Quota, Quotas};
pub use recent::put_event;
pub use recovered::Recovered;
pub use redrive::Redriving;
pub use request::{
    Answer, Ask, Lane, NewRun, Reply, Request, Spec, WhenClosed, WhenOpen, no_reply,
};
pub use results::{CacheBounds, CacheFilter, CacheRow, CacheUsage};
pub use start::StartFlow;
pub use stepper::Stepper;
pub use upkeep::Kept;
pub use watch::Change;
