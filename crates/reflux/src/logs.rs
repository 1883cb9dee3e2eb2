//! What the program says about itself, on stderr.

use std::io::stderr;

use reflux_server::config::{Log, LogFormat};
use reflux_server::{Error, net};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::Directive;

/// The store under ours tells of every file it makes; who wants that names it in the level.
const QUIET: &str = "fjall=warn,lsm_tree=warn";

/// A command that is not the server says nothing unless `RUST_LOG` asks for it.
pub fn of_command() {
    let Ok(filter) = EnvFilter::try_from_default_env() else { return };
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    drop(subscriber.try_init());
}

/// A server says what its configuration asks for, and always who changed something.
///
/// # Errors
/// The level is none.
pub fn of_server(log: &Log) -> Result<(), Error> {
    let level = match std::env::var("RUST_LOG") {
        Ok(level) if !level.is_empty() && *log == Log::default() => level,
        _ => log.level.clone(),
    };
    let wrong = |error: &dyn std::fmt::Display| {
        Error::invalid(format!("log.level: `{}` is no level: {error}", level.escape_debug()))
            .suggest("use error, warn, info, debug or trace")
    };
    let filter = EnvFilter::try_new(format!("{QUIET},{level}")).map_err(|error| wrong(&error))?;
    let audit: Directive = format!("{}=info", net::AUDIT).parse().map_err(|error| wrong(&error))?;
    let filter = filter.add_directive(audit);
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(stderr);
    let set = match log.format {
        LogFormat::Text => subscriber.with_ansi(false).try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    // A subscriber is there already in a process that runs two servers; it goes on.
    drop(set);
    Ok(())
}
