//! Nodes that are commands of this machine, declared in files under `nodes/`.
//!
//! ```text
//! yaml.rs     YAML with positions
//! declare.rs  what a node file may say
//! load.rs     the files of a directory, their nodes and their problems
//! local.rs    an action as a node: JSON in on stdin, JSON out on stdout
//! exec.rs     exec.command: any declared command, its output as text
//! process.rs  one process and all that it starts: bounded, timed, ended as a group
//! digest.rs   the version of an action is the content of its files
//! ```

mod declare;
mod digest;
mod exec;
mod load;
mod local;
mod process;
#[cfg(test)]
mod tests;
mod yaml;

pub(crate) use exec::ExecCommand;
pub use load::{Problem, load_dir};
