//! `backup` and `restore`.

use clap::Args;
use reflux_server::client::unexpected;
use reflux_server::protocol::{Request, Response};
use reflux_server::{Error, holder};
use serde_json::json;

use super::{Done, done, leave, look, project};
use crate::cli::Global;
use crate::out::Out;

/// Copy everything to a directory or a bucket, while runs go on.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// A new directory, or a URL such as s3://bucket/path
    url: String,
}

/// Make the project's data of a backup. The project must have no data yet.
#[derive(Debug, Args)]
pub struct RestoreArgs {
    /// The directory or the URL of the backup
    url: String,
}

pub fn backup(args: &BackupArgs, global: &Global, out: &Out) -> Done {
    let client = look(global)?;
    let url = absolute(&args.url)?;
    match client.call(Request::Backup { url: url.clone() })? {
        Response::BackedUp { runs, bytes } if out.is_json() => {
            out.value(&json!({ "url": url, "runs": runs, "bytes": bytes }));
        }
        Response::BackedUp { runs, bytes } => {
            out.line(format!("{runs} runs, {bytes} bytes, in {url}"))
        }
        other => return Err(unexpected(&other).into()),
    }
    leave(client);
    done()
}

pub fn restore(args: &RestoreArgs, global: &Global, out: &Out) -> Done {
    let project = project(global)?;
    let (runs, bytes) = holder::restore(&project, &absolute(&args.url)?)?;
    match out.is_json() {
        true => out.value(&json!({ "dir": project.root(), "runs": runs, "bytes": bytes })),
        false => {
            out.line(format!("{runs} runs, {bytes} bytes, in {}", project.root().display()));
            out.note("runs that were open go on with `reflux resume`");
        }
    }
    done()
}

/// The holder may work in another directory than the caller.
fn absolute(url: &str) -> Result<String, Error> {
    if url.contains("://") {
        return Ok(url.to_owned());
    }
    let path = std::path::absolute(url)
        .map_err(|error| Error::invalid(format!("cannot use `{url}`: {error}")))?;
    path.into_os_string()
        .into_string()
        .map_err(|_| Error::invalid(format!("`{url}` is not UTF-8 text")))
}
