//! `signal`.

use reflux_server::Error;
use reflux_server::protocol::{Request, new_request_id};
use serde_json::Value;

use super::{Done, changed, done, leave, look};
use crate::cli::Global;
use crate::out::Out;

/// Send a signal to a run. A signal that comes before a step waits for it is kept.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    run: String,
    /// Name of the signal
    name: String,
    /// What the waiting step gets as its output
    #[arg(long, value_name = "JSON")]
    data: Option<String>,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let data = match &args.data {
        Some(text) => json(text, "--data")?,
        None => Value::Null,
    };
    let client = look(global)?;
    let row = client.find(&args.run)?;
    let status = client.act(Request::Signal {
        run: row.run.clone(),
        name: args.name.clone(),
        data,
        request_id: new_request_id(),
    })?;
    changed(&client, &row, &status, "signalled", out);
    leave(client);
    done()
}

/// JSON of an argument.
pub fn json(text: &str, argument: &str) -> Result<Value, Error> {
    serde_json::from_str(text).map_err(|error| {
        Error::invalid(format!("{argument} is not JSON: {error}")).suggest(
            "write JSON, for example '{\"ok\": true}' or '\"text\"', in quotes for the shell",
        )
    })
}
