//! `history`.

use reflux_server::history::Entry;

use super::{Done, done, leave, look};
use crate::cli::Global;
use crate::out::Out;

/// Widest facts of a line; `--json` has all of them.
const FACTS_CHARS_MAX: usize = 200;

/// Everything that was recorded of a run, in order.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Run id, the beginning of one, workflow id, or `last`
    #[arg(default_value = "last")]
    run: String,
    /// Attempts and heartbeats too, with logs and metrics
    #[arg(long)]
    attempts: bool,
}

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let client = look(global)?;
    let row = client.find(&args.run)?;
    let items = client.history(&row.run)?;
    let entries =
        items.iter().filter_map(Entry::of).filter(|entry| args.attempts || entry.event.is_some());
    if out.is_json() {
        out.value(&entries.collect::<Vec<_>>());
    } else {
        entries.for_each(|entry| out.line(line(&entry)));
    }
    leave(client);
    done()
}

fn line(entry: &Entry) -> String {
    let number = entry.event.map_or_else(String::new, |event| event.to_string());
    let time = entry.time.as_deref().unwrap_or_default();
    let facts: Vec<String> =
        entry.facts.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut facts = facts.join(" ");
    if let Some((at, _)) = facts.char_indices().nth(FACTS_CHARS_MAX) {
        facts.truncate(at);
        facts.push('…');
    }
    format!("{number:>5}  {time:24}  {:32}  {facts}", entry.kind).trim_end().to_owned()
}
