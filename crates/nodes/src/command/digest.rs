//! The version of an action is the content of its files.

use std::fs;
use std::path::{Path, PathBuf};

use super::declare::Command;

/// Files of one action; a directory with more holds something else than its source.
const FILES_MAX: usize = 10_000;

/// Digest of the command as it is declared, and of its files as they are now: those it names,
/// and every argument that is a file of the project. A missing file counts as missing.
pub(super) fn digest(project: &Path, command: &Command) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        // with its length, so that no two lists of parts are the same bytes
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(&(command.argv.len() as u64).to_le_bytes());
    for arg in &command.argv {
        add(arg.as_bytes());
    }
    add(&(command.env.len() as u64).to_le_bytes());
    for (name, value) in &command.env {
        add(name.as_bytes());
        add(value.as_deref().unwrap_or("\0").as_bytes());
    }
    for file in files(project, command) {
        add(file.as_os_str().as_encoded_bytes());
        match fs::read(project.join(&file)) {
            Ok(content) => add(blake3::hash(&content).as_bytes()),
            Err(_) => add(b"missing"),
        }
    }
    hasher.finalize().to_hex().to_string()
}

fn files(project: &Path, command: &Command) -> Vec<PathBuf> {
    let args = command.argv.iter().map(Path::new);
    let args = args.filter(|arg| arg.is_relative() && project.join(arg).is_file());
    let mut found: Vec<PathBuf> = args.map(Path::to_path_buf).collect();
    for declared in &command.files {
        walk(project, declared, &mut found);
    }
    found.sort();
    found.dedup();
    found
}

fn walk(project: &Path, path: &Path, found: &mut Vec<PathBuf>) {
    if found.len() >= FILES_MAX {
        return;
    }
    // links are not followed: one may lead in a circle
    let is_dir = fs::symlink_metadata(project.join(path)).is_ok_and(|metadata| metadata.is_dir());
    match fs::read_dir(project.join(path)) {
        Ok(entries) if is_dir => {
            let mut names: Vec<_> =
                entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect();
            names.sort();
            names.iter().for_each(|name| walk(project, &path.join(name), found));
        }
        Ok(_) | Err(_) => found.push(path.to_path_buf()),
    }
}
