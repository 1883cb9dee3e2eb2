//! `show`.

use reflux_server::story::render;

use super::{Done, done, leave, look, story};
use crate::cli::Global;
use crate::out::Out;

/// What happened in a run, why, and what it waits for.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    #[arg(default_value = "last")]
    run: String,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let client = look(global)?;
    let row = client.find(&args.run)?;
    let story = story(&client, &row)?;
    match out.is_json() {
        true => out.value(&story),
        false => out.text(render(&story, out.style())),
    }
    leave(client);
    done()
}
