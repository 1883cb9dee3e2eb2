//! The node files of a directory: their nodes, or everything that is wrong with them.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use reflux_sdk::{Manifest, Node, Served};

use super::declare::{Command, Module};
use super::exec::ExecCommand;
use super::local::LocalCommand;
use super::yaml;
use crate::NodesConfig;

/// Something wrong with a node file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was found.
    pub file: PathBuf,
    /// The line, from 1; 0 if the problem is with the file as a whole.
    pub line: u32,
    /// The column, from 1; 0 if the problem is with the file as a whole.
    pub column: u32,
    /// What is wrong and what to write.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.file.display(), self.message),
            line => write!(f, "{}:{line}:{}: {}", self.file.display(), self.column, self.message),
        }
    }
}

/// The nodes declared in a directory (`nodes/` of a project): modules in `*.yaml` and `*.yml`, single
/// manifests in `*.json`, and an `exec.command` that may run what they declare. A directory
/// that does not exist declares nothing. With problems, all of them and no node.
pub fn load_dir(dir: &Path, config: &NodesConfig) -> Result<Vec<Arc<dyn Node>>, Vec<Problem>> {
    let mut loader = Loader { dir, config, declared: BTreeMap::new(), problems: Vec::new() };
    for file in loader.files() {
        match file.extension().and_then(|extension| extension.to_str()) {
            Some("json") => loader.manifest(&file),
            _ => loader.module(&file),
        }
    }
    if !loader.problems.is_empty() {
        return Err(loader.problems);
    }
    let commands: BTreeMap<String, Command> = loader
        .declared
        .iter()
        .filter_map(|(name, declared)| match &declared.code {
            Code::Here(command) => Some((name.clone(), command.clone())),
            Code::Elsewhere | Code::Missing => None,
        })
        .collect();
    let mut nodes: Vec<Arc<dyn Node>> = Vec::with_capacity(loader.declared.len() + 1);
    for declared in loader.declared.into_values() {
        nodes.push(declared.node(config));
    }
    if !commands.is_empty() {
        nodes.push(Arc::new(ExecCommand::new(commands, config)));
    }
    Ok(nodes)
}

struct Loader<'a> {
    dir: &'a Path,
    config: &'a NodesConfig,
    declared: BTreeMap<String, Found>,
    problems: Vec<Problem>,
}

struct Found {
    manifest: Manifest,
    code: Code,
    file: PathBuf,
}

/// Where the work of a declared node is done.
enum Code {
    /// By a command of this machine.
    Here(Command),
    /// By workers.
    Elsewhere,
    /// Nobody has said.
    Missing,
}

impl Found {
    fn node(self, config: &NodesConfig) -> Arc<dyn Node> {
        let hint = how_to_implement(&self.file, &self.manifest);
        match self.code {
            Code::Here(command) => {
                Arc::new(LocalCommand::new(self.manifest, Some(command), String::new(), config))
            }
            Code::Missing => Arc::new(LocalCommand::new(self.manifest, None, hint, config)),
            Code::Elsewhere => Arc::new(Served::new(self.manifest)),
        }
    }
}

impl Loader<'_> {
    /// The node files in the order of their names, so that problems come in the same order every time.
    fn files(&mut self) -> Vec<PathBuf> {
        let entries = match fs::read_dir(self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
            Err(error) => {
                self.problem(self.dir, error.to_string());
                return Vec::new();
            }
        };
        let wanted = |path: &PathBuf| {
            let extension = path.extension().and_then(|extension| extension.to_str());
            matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file()
        };
        let mut files: Vec<PathBuf> =
            entries.filter_map(|entry| Some(entry.ok()?.path())).filter(wanted).collect();
        files.sort();
        files
    }

    fn module(&mut self, file: &Path) {
        let Some(text) = self.text(file) else { return };
        let mut module: Module = match yaml::parse(file, &text) {
            Ok(module) => module,
            Err(problem) => return self.problems.push(problem),
        };
        for action in std::mem::take(&mut module.actions) {
            let by_convention = |action: &str| self.convention(module.module.get(), action);
            match action.declare(file, &module, by_convention) {
                Ok(declared) => {
                    let code = declared.command.map_or(Code::Missing, Code::Here);
                    self.declare(file, declared.manifest, code);
                }
                Err(problem) => self.problems.push(problem),
            }
        }
    }

    fn manifest(&mut self, file: &Path) {
        let Some(text) = self.text(file) else { return };
        match serde_json::from_str::<Manifest>(&text) {
            Ok(manifest) => self.declare(file, manifest, Code::Elsewhere),
            Err(error) => self.problems.push(Problem {
                file: file.to_path_buf(),
                line: u32::try_from(error.line()).unwrap_or(0),
                column: u32::try_from(error.column()).unwrap_or(0),
                message: error.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
            }),
        }
    }

    fn declare(&mut self, file: &Path, manifest: Manifest, code: Code) {
        if let Some(first) = self.declared.get(&manifest.name) {
            let message = format!(
                "{} is declared in {} as well; rename one",
                manifest.name,
                first.file.display()
            );
            return self.problem(file, message);
        }
        let found = Found { manifest, code, file: file.to_path_buf() };
        self.declared.insert(found.manifest.name.clone(), found);
    }

    /// `nodes/<module>/<action>`, with any extension or none, as a program relative to the project.
    fn convention(&self, module: &str, action: &str) -> Option<String> {
        let entries = fs::read_dir(self.dir.join(module)).ok()?;
        let mut programs: Vec<PathBuf> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file() && path.file_stem().is_some_and(|stem| stem == action))
            .collect();
        programs.sort();
        let program = fs::canonicalize(programs.first()?).ok()?;
        let project = fs::canonicalize(&self.config.project_root).ok()?;
        let program = program
            .strip_prefix(&project)
            .map_or(program.clone(), |inside| Path::new(".").join(inside));
        program.to_str().map(str::to_owned)
    }

    fn text(&mut self, file: &Path) -> Option<String> {
        let read = fs::read_to_string(file);
        read.map_err(|error| self.problem(file, error.to_string())).ok()
    }

    fn problem(&mut self, file: &Path, message: String) {
        self.problems.push(Problem { file: file.to_path_buf(), line: 0, column: 0, message });
    }
}

fn how_to_implement(file: &Path, manifest: &Manifest) -> String {
    let name = &manifest.name;
    let file = file.file_name().unwrap_or_default().display();
    let (module, action) = name.split_once('.').unwrap_or(("", name));
    format!(
        "{name} is declared in nodes/{file} but has no command; add `command: [...]` there, \
         add an executable nodes/{module}/{action}, or put its manifest into a JSON file beside it and start a worker that serves it"
    )
}
