//! `config`.

use reflux_server::Config;
use reflux_server::config::keys;
use serde_json::json;

use super::{Done, done, project};
use crate::cli::Global;
use crate::out::Out;

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// What is in effect, and where each value comes from
    Show,
    /// Every key, as the page docs/configuration.md
    Reference,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    match args.command {
        Command::Reference => out.text(keys::reference()),
        Command::Show => {
            let project = project(global)?;
            // What cannot be used is not in effect.
            Config::load(&project)?;
            let origins = Config::origins(&project, |name| std::env::var(name).ok())?;
            if out.is_json() {
                let keys: Vec<_> = origins
                    .iter()
                    .map(|(key, value, origin)| json!({ "key": key, "value": value, "origin": origin }))
                    .collect();
                out.value(&json!({ "keys": keys }));
                return done();
            }
            for (key, value, origin) in origins {
                out.line(format!("{key} = {value}  # {origin}"));
            }
        }
    }
    done()
}
