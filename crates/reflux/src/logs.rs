//! What the program says about itself, on stderr.

use std::io::stderr;

use reflux_server::config::{Log, LogFormat};
use reflux_server::{Error, net};
use tracing_subscriber::EnvFilter;

/// The store under ours tells of every file it makes; who wants that names it in the level.
const QUIET: &str = "fjall=warn,lsm_tree=warn";

/// A command that is not the server says nothing unless `RUST_LOG` asks for it.
pub fn of_command() {
    let Ok(filter) = EnvFilter::try_from_default_env() else { return };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    drop(subscriber.try_init());
}

/// A server says what its configuration asks for, and who changed something.
///
/// # Errors
/// The level is none.
pub fn of_server(log: &Log) -> Result<(), Error> {
    let level = match std::env::var("RUST_LOG") {
        Ok(level) if !level.is_empty() && *log == Log::default() => level,
        _ => log.level.clone(),
    };
    // What comes later wins: the level may also name these.
    let filter =
        EnvFilter::try_new(format!("{QUIET},{}=info,{level}", net::AUDIT)).map_err(|error| {
            Error::invalid(format!("log.level: `{}` is no level: {error}", level.escape_debug()))
                .suggest("use error, warn, info, debug or trace")
        })?;
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let set = match log.format {
        LogFormat::Text => subscriber.with_ansi(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    // A subscriber is there already in a process that runs two servers; it goes on.
    drop(set);
    Ok(())
}
