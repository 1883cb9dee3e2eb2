//! `keys`.

use reflux_server::Config;
use reflux_server::access::Scope;
use reflux_server::access::keys::{self, Wanted};
use reflux_server::clock;
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
    /// Make a key; it is printed once and kept as a hash
    Create {
        /// What it is called, in lists and in the audit log
        name: String,
        /// What it allows: read, write (and read), or admin (and both)
        #[arg(long, default_value = "write")]
        scope: ScopeName,
        /// Confine it to a namespace; may be repeated
        #[arg(long, value_name = "NAME")]
        namespace: Vec<String>,
        /// How long it is valid, such as 30d; for ever without it
        #[arg(long, value_name = "TIME", value_parser = reflux_flow::duration::parse_duration)]
        valid: Option<std::time::Duration>,
    },
    /// The keys there are, without the keys themselves
    List,
    /// Take a key away; a running server follows within a second
    Revoke {
        /// Its name or id
        name: String,
    },
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum ScopeName {
    Read,
    Write,
    Admin,
}

pub fn run(args: Args, global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    project.create_dir()?;
    let path = project.root().join(Config::load(&project)?.access.keys);
    match args.command {
        Command::Create { name, scope, namespace, valid } => {
            let scope = match scope {
                ScopeName::Read => Scope::Read,
                ScopeName::Write => Scope::Write,
                ScopeName::Admin => Scope::Admin,
            };
            let namespaces = (!namespace.is_empty()).then_some(namespace);
            let wanted = Wanted { name: name.clone(), scope, namespaces, valid };
            let key = keys::create(&path, wanted)?;
            match out.is_json() {
                true => out.value(&json!({ "name": name, "key": key })),
                false => {
                    out.line(key);
                    out.note("keep it: it is not shown again");
                }
            }
        }
        Command::List => {
            let keys = keys::list(&path)?;
            if out.is_json() {
                let keys: Vec<_> = keys
                    .iter()
                    .map(|key| {
                        json!({
                            "id": key.id, "name": key.name, "scope": key.scope,
                            "namespaces": key.namespaces, "created": key.created,
                            "expires": key.expires_s.map(moment),
                        })
                    })
                    .collect();
                out.value(&json!({ "keys": keys }));
                return done();
            }
            for key in keys {
                let scope = format!("{:?}", key.scope).to_lowercase();
                let namespaces = key.namespaces.map_or("all".to_owned(), |names| names.join(","));
                let expires = key.expires_s.map_or("never".to_owned(), moment);
                out.line(format!(
                    "{}  {}  {scope}  namespaces {namespaces}  made {}  ends {expires}",
                    key.id, key.name, key.created
                ));
            }
        }
        Command::Revoke { name } => {
            let revoked = keys::revoke(&path, &name)?;
            match out.is_json() {
                true => out.value(&json!({ "id": revoked.id, "name": revoked.name })),
                false => out.line(format!("revoked {} ({})", revoked.name, revoked.id)),
            }
        }
    }
    done()
}

fn moment(seconds: u64) -> String {
    let nanos = i64::try_from(seconds).unwrap_or(i64::MAX).saturating_mul(1_000_000_000);
    clock::rfc3339(reflux_core::Timestamp(nanos))
}
