//! A golden history on disk: what is written there by hand, and what playing it gives.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use prost::Message as _;
use reflux_core::Item;
use reflux_flow::diagnostic::Severity;
use reflux_flow::progress::{Outcome, Phase};
use reflux_flow::validate::{AnyNodes, validate_bundle};
use reflux_flow::{Bundle, Decider, Progress};
use reflux_proto::reflux::v1 as wire;
use serde_json::Value;

use crate::script::{Ends, Script};
use crate::show;
use crate::world::{Folded, World};

/// One directory of `golden/`.
pub struct Golden {
    /// Its name.
    pub name: String,
    /// What happens.
    pub script: Script,
    folder: PathBuf,
    flow: String,
    bundle: Bundle,
    history: Vec<Value>,
}

impl Golden {
    /// Every golden history, by name.
    ///
    /// # Panics
    /// When one cannot be read.
    pub fn all() -> Vec<Self> {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("golden");
        let mut folders: Vec<PathBuf> = fs::read_dir(folder)
            .expect("golden")
            .map(|entry| entry.expect("entry").path())
            .collect();
        folders.sort();
        folders.into_iter().map(Self::load).collect()
    }

    fn load(folder: PathBuf) -> Self {
        let name = folder.file_name().expect("a name").to_string_lossy().into_owned();
        let text = |file: &str| {
            fs::read_to_string(folder.join(file)).unwrap_or_else(|e| panic!("{name}/{file}: {e}"))
        };
        let parsed = reflux_flow::syntax::parse("flow.yaml", &text("flow.yaml"))
            .unwrap_or_else(|problems| panic!("{name}: {problems:#?}"));
        let bundle = Bundle::collect_parsed(&parsed, |_| None).expect("every flow is in the file");
        let mut problems = validate_bundle(&bundle, &AnyNodes);
        problems.retain(|problem| problem.severity == Severity::Error);
        assert!(problems.is_empty(), "{name}: {problems:#?}");
        let script = serde_json::from_str(&text("script.json"));
        let history = text("history.jsonl");
        let lines = history.lines().filter(|line| !line.is_empty());
        Self {
            script: script.unwrap_or_else(|e| panic!("{name}/script.json: {e}")),
            history: lines
                .map(|line| {
                    serde_json::from_str(line)
                        .unwrap_or_else(|e| panic!("{name}/history.jsonl: {e}: {line}"))
                })
                .collect(),
            flow: parsed.flow.name.clone(),
            bundle,
            name,
            folder,
        }
    }

    /// One of its files.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Plays the script.
    ///
    /// # Errors
    /// The first act that was refused, with the history so far.
    pub fn play(&self) -> Result<World, String> {
        let mut world = World::new(self.bundle.clone());
        match (&self.script.trigger, &self.script.redrive) {
            (Some(trigger), _) => world.start_schedule(&self.flow, trigger)?,
            (None, Some(redrive)) => world.start_again(&self.flow, &self.script.input, redrive)?,
            (None, None) => world.start(&self.flow, &self.script.input)?,
        }
        for (at, act) in self.script.acts.iter().enumerate() {
            if let Err(problem) = act.play(&mut world) {
                let act = format!("act {at}, {act:?}: {problem}");
                return Err(format!("{act}\n{}", self.compare(&world).err().unwrap_or_default()));
            }
        }
        Ok(world)
    }

    /// Compares what was played with what is written.
    ///
    /// # Errors
    /// Both, line by line.
    pub fn check(&self, world: &World) -> Result<(), String> {
        self.compare(world)?;
        let ends = ends(&world.live);
        if ends == self.script.ends {
            return Ok(());
        }
        Err(format!("ends as {ends:#?}\nnot as {:#?}", self.script.ends))
    }

    fn compare(&self, world: &World) -> Result<(), String> {
        let played: Vec<Value> = world.items.iter().map(show::line).collect();
        if played == self.history {
            return Ok(());
        }
        let mut out = String::from("  what was written (-), what was played (+)\n");
        for at in 0..played.len().max(self.history.len()) {
            match (self.history.get(at), played.get(at)) {
                (Some(written), Some(played)) if written == played => {
                    let _ = writeln!(out, "  {written}");
                }
                (written, played) => {
                    for (mark, line) in [('-', written), ('+', played)] {
                        let _ = line.map(|line| writeln!(out, "{mark} {line}"));
                    }
                }
            }
        }
        Err(out)
    }

    /// What `items.bin` gives, and whether writing it again gives the same bytes.
    ///
    /// # Panics
    /// When it cannot be read.
    pub fn stored(&self) -> (Vec<Item>, Bytes) {
        let path = self.folder.join("items.bin");
        let bytes = Bytes::from(fs::read(&path).unwrap_or_else(|e| panic!("{path:?}: {e}")));
        let mut rest = bytes.clone();
        let mut items = Vec::new();
        while !rest.is_empty() {
            let item = wire::Item::decode_length_delimited(&mut rest).expect("a wire item");
            items.push(Item::decode(item).expect("an item"));
        }
        (items, bytes)
    }

    /// Writes `items.bin` if there is none: what a version once wrote is never edited.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn store(&self, world: &World) -> bool {
        let path = self.folder.join("items.bin");
        let missing = !path.exists();
        if missing {
            fs::write(path, encode(&world.items)).expect("items.bin");
        }
        missing
    }

    /// What the items give.
    pub fn fold(&self, items: &[Item]) -> Folded {
        Folded::of(items, &std::sync::Arc::new(self.bundle.clone()))
    }
}

/// Items as `items.bin` has them: each with its length before it.
///
/// # Panics
/// Never: memory grows.
pub fn encode(items: &[Item]) -> Bytes {
    let mut out = BytesMut::new();
    for item in items {
        item.encode().encode_length_delimited(&mut out).expect("memory grows");
    }
    out.freeze()
}

/// How a run stands.
pub fn ends(folded: &Folded) -> Ends {
    let progress = folded.decider.as_ref().and_then(Decider::progress);
    let steps = progress.into_iter().flat_map(Progress::steps);
    let closed = folded.run.closed.is_some();
    Ends {
        status: if folded.run.paused.is_some() {
            "paused".to_owned()
        } else {
            folded.run.status.to_string()
        },
        steps: steps
            .map(|(step, state)| {
                let stands = match (state.phase, state.outcome) {
                    (Phase::Idle, _) => "unreached",
                    (Phase::Ready, _) if closed => "unreached",
                    (Phase::Running, _) if closed => "left",
                    (Phase::Ready, _) => "ready",
                    (Phase::Running, _) | (_, None) => "running",
                    (Phase::Ended, Some(Outcome::Succeeded)) => "succeeded",
                    (Phase::Ended, Some(Outcome::Failed)) => "failed",
                    (Phase::Ended, Some(Outcome::Skipped)) => "skipped",
                };
                let visits = state.visits;
                let times = if visits > 1 { format!(" ×{visits}") } else { String::new() };
                (step.id.to_string(), format!("{stands}{times}"))
            })
            .collect(),
    }
}
