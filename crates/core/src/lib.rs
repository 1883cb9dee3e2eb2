//! One run of a workflow as a pure state machine.
//!
//! ```text
//! command ──decide──▶ items ──apply──▶ run ──effects──▶ what is to be done
//!            ▲          │                ▲
//!            └─ draft ──┘                └── replay: the same items, the same run
//! ```
//!
//! [`decide`] turns a [`Command`] into [`Item`]s, [`apply`] folds an item into a [`Run`],
//! [`effects`] says what must happen once the items are durable. Live execution and recovery go
//! through the same [`apply`].
//!
//! Absent: clocks, random numbers, files, sockets, threads, maps without an order. Time and
//! ids come in as arguments ([`Context`]).

mod activity;
mod activity_commands;
mod apply;
mod child;
mod close;
mod codec;
mod command;
mod context;
mod decide;
mod decisions;
mod deliver;
mod delta;
mod draft;
mod effect;
mod event;
mod external;
mod hash;
mod id;
mod item;
mod kind;
mod limits;
mod message;
mod payload;
mod recover;
mod rejection;
mod retry;
mod run;
mod start;
mod task;
mod time;
mod timer;
mod update;
mod visit;
mod volatile;
mod waiting;
mod wake;

pub use activity::{Activity, Phase};
pub use apply::{IllegalItem, apply};
pub use child::{Child, Told, told_child};
pub use close::{Close, Ending};
pub use codec::Malformed;
pub use command::*;
pub use context::{Context, Local};
pub use decide::decide;
pub use delta::*;
pub use draft::Draft;
pub use effect::{Effect, effects};
pub use event::*;
pub use external::{ExternalCancel, ExternalSignal};
pub use id::*;
pub use item::Item;
pub use limits::*;
pub use message::{DeliveryFailure, Message, Outgoing, Target};
pub use payload::*;
pub use rejection::Rejection;
pub use retry::Retry;
pub use run::{Buffer, Deadline, Decider, Paused, ReplayError, Run, Status, replay};
pub use task::{ScheduledTask, StartedTask, Sticky, WorkflowTask};
pub use time::Timestamp;
pub use timer::Timer;
pub use update::Update;
pub use volatile::{AdmittedUpdate, QUERIES_MAX, Query, Volatile};
pub use waiting::Waiting;

/// Single fields of Temporal's messages as values, and back; for those who read requests.
pub mod wire {
    pub use crate::codec::fields::{
        length, retry, run_id, time, to_attributes, to_execution, to_header, to_length, to_lengths,
        to_memo, to_payloads, to_retry, to_run_id, to_time,
    };
}

#[cfg(test)]
mod tests;
