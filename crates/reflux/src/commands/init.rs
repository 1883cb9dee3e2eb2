//! `init`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use reflux_server::{Error, Project};
use serde_json::json;

use super::{Done, done};
use crate::cli::Global;
use crate::out::Out;

/// Make a project: a first flow, a first node, a configuration. Nothing that exists is changed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The directory; made if it does not exist
    dir: Option<PathBuf>,
}

const FILES: [(&str, &str, bool); 5] = [
    ("flows/hello.yaml", include_str!("init/hello.yaml"), false),
    ("nodes/example.yaml", include_str!("init/example.yaml"), false),
    ("nodes/count-words.sh", include_str!("init/count-words.sh"), true),
    (".reflux/config.toml", include_str!("init/config.toml"), false),
    (
        ".gitignore",
        "# what runs went through belongs to this machine; the configuration does not\n/.reflux/*\n!/.reflux/config.toml\n",
        false,
    ),
];

pub fn run(args: &Args, global: &Global, out: &Out) -> Done {
    let dir =
        args.dir.clone().or_else(|| global.wanted_dir()).unwrap_or_else(|| PathBuf::from("."));
    fs::create_dir_all(&dir).map_err(|error| unwritable(&dir, &error))?;
    let project = Project::at(&dir)?;
    project.create_dir()?;
    let (mut made, mut kept) = (Vec::new(), Vec::new());
    for (name, content, is_program) in FILES {
        let path = project.root().join(name);
        match write_new(&path, content, is_program)? {
            true => made.push(name),
            false => kept.push(name),
        }
    }
    if out.is_json() {
        out.value(&json!({ "dir": project.root(), "made": made, "kept": kept }));
        return done();
    }
    made.iter().for_each(|name| out.line(format!("made {name}")));
    kept.iter().for_each(|name| out.line(format!("kept {name}")));
    let at = args.dir.as_ref().filter(|dir| *dir != Path::new("."));
    let at = at.map_or_else(String::new, |dir| format!("cd {} && ", dir.display()));
    out.note(format!("try it: {at}reflux run hello --name you"));
    done()
}

/// Writes a file unless there is one already.
pub fn write_new(path: &Path, content: &str, is_program: bool) -> Result<bool, Error> {
    use std::os::unix::fs::OpenOptionsExt as _;
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent).map_err(|error| unwritable(parent, &error))?;
    }
    let mode = if is_program { 0o755 } else { 0o644 };
    match fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(mut file) => {
            file.write_all(content.as_bytes()).map_err(|error| unwritable(path, &error))?;
            Ok(true)
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(unwritable(path, &error)),
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Error {
    Error::invalid(format!("cannot write {}: {error}", path.display()))
        .suggest("choose a directory that you may write to")
}
