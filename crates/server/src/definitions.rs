//! Flow definitions in files: found by path or by name, read, checked, bundled with their
//! sub-flows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use reflux_flow::diagnostic::{Diagnostic, Severity};
use reflux_flow::graph::{Bundle, Flow};
use reflux_flow::name::suggest;
use reflux_flow::syntax::{self, Parsed};
use reflux_flow::validate;

use crate::{Error, Project};

/// Most bytes of a definition.
pub(crate) const SOURCE_BYTES_MAX: u64 = 1 << 20; // the parser's own bound, checked before the file is read
/// Most files that are looked at in `flows/`.
const FILES_MAX: usize = 10_000;
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// A definition as it stands in a file.
#[derive(Debug, Clone)]
pub struct Source {
    /// The file as a person would write it.
    pub file: String,
    /// Its text.
    pub text: String,
}

/// A definition that was read.
#[derive(Debug, Clone)]
pub struct Definition {
    /// Where it stands.
    pub source: Source,
    /// What it says.
    pub parsed: Parsed,
    /// The flow with every sub-flow that it reaches.
    pub bundle: Bundle,
    /// What is wrong with it; with an error in it, it must not be started.
    pub problems: Vec<Diagnostic>,
}

impl Definition {
    /// The flow.
    pub fn flow(&self) -> &Flow {
        &self.parsed.flow
    }

    /// Whether it may be started.
    pub fn is_sound(&self) -> bool {
        !self.problems.iter().any(|problem| problem.severity == Severity::Error)
    }
}

/// A definition, or everything that keeps it from being one.
pub type Checked = Result<Definition, Vec<Diagnostic>>;

/// The definitions of a project.
pub struct Definitions<'a> {
    project: &'a Project,
}

impl<'a> Definitions<'a> {
    /// The definitions of a project.
    pub fn of(project: &'a Project) -> Self {
        Self { project }
    }

    /// The source that `wanted` names: a file, or a flow in `flows/` by its file's name or its own.
    ///
    /// # Errors
    /// There is no such file or flow.
    pub fn source(&self, wanted: &str) -> Result<Source, Error> {
        let path = Path::new(wanted);
        let looks_like_path = wanted.contains('/') || has_extension(path);
        if looks_like_path || path.is_file() {
            return match path.is_file() || !self.project.flows().join(wanted).is_file() {
                true => read(path, wanted),
                false => read(&self.project.flows().join(wanted), wanted),
            };
        }
        let files = self.files();
        if let Some(file) = files.iter().find(|file| stem(file) == wanted) {
            return read(file, &self.shown(file));
        }
        let mut names = BTreeMap::new();
        for file in &files {
            let Ok(source) = read(file, &self.shown(file)) else { continue };
            if let Ok(parsed) = syntax::parse(&source.file, &source.text) {
                names.insert(parsed.flow.name.clone(), source);
            }
        }
        if let Some(source) = names.remove(wanted) {
            return Ok(source);
        }
        let known = names.keys().cloned().chain(files.iter().map(|file| stem(file)));
        let known: Vec<String> = known.collect();
        let error = Error::not_found(format!(
            "no flow `{wanted}`: neither a file nor in {}",
            self.project.flows().display()
        ));
        Err(match suggest(wanted, known.iter().map(String::as_str)) {
            Some(name) => error.suggest(format!("did you mean `{name}`?")),
            None => error.suggest("see `reflux flows`, or give the path of a file"),
        })
    }

    /// Reads and checks a source.
    ///
    /// # Errors
    /// Everything that is wrong with the text, when it cannot be read as a flow.
    pub fn check(&self, source: Source, nodes: &dyn validate::Nodes) -> Checked {
        let parsed = syntax::parse(&source.file, &source.text)?;
        let bundle = Bundle::collect_parsed(&parsed, |name| self.flow(name))?;
        let mut problems = validate::validate_parsed(&parsed, nodes);
        problems.extend(validate::validate_calls(&parsed.flow, &bundle, &parsed.spans));
        if bundle.flows.len() > 1 {
            let entry = &parsed.flow.name;
            let others = bundle.flows.iter().filter(|(name, _)| *name != entry);
            let others =
                Bundle { flows: others.map(|(name, flow)| (name.clone(), flow.clone())).collect() };
            let known: Vec<String> =
                problems.iter().map(|problem| problem.message.clone()).collect();
            let found = validate::validate_bundle(&others, nodes);
            problems.extend(
                found
                    .into_iter()
                    .filter(|p| !known.iter().any(|k| p.message.ends_with(k.as_str()))),
            );
        }
        Ok(Definition { source, parsed, bundle, problems })
    }

    /// Every source in `flows/`, by file name.
    pub fn sources(&self) -> Vec<Result<Source, Error>> {
        self.files().iter().map(|file| read(file, &self.shown(file))).collect()
    }

    /// The source of that name in `flows/`: by its file's name or its own, never a path.
    pub fn named(&self, name: &str) -> Option<Source> {
        (!name.contains(['/', '\\']) && !has_extension(Path::new(name)))
            .then(|| self.source(name).ok())?
    }

    /// The flow of that name in `flows/`.
    pub fn flow(&self, name: &str) -> Option<Flow> {
        let source = self.source(name).ok()?;
        Some(syntax::parse(&source.file, &source.text).ok()?.flow)
    }

    fn files(&self) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.project.flows()) else { return Vec::new() };
        let mut files: Vec<PathBuf> = entries
            .take(FILES_MAX)
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| has_extension(path))
            .collect();
        files.sort();
        files
    }

    /// A file of `flows/` relative to the project.
    fn shown(&self, file: &Path) -> String {
        file.strip_prefix(self.project.root()).unwrap_or(file).display().to_string()
    }
}

fn has_extension(path: &Path) -> bool {
    path.extension().is_some_and(|e| EXTENSIONS.iter().any(|known| e == *known))
}

/// `hello` of `flows/hello.yaml`, and of `flows/hello.canvas.json`.
fn stem(file: &Path) -> String {
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    name.strip_suffix(".canvas").unwrap_or(&name).to_owned()
}

fn read(path: &Path, shown: &str) -> Result<Source, Error> {
    let failed = |error: std::io::Error| {
        Error::not_found(format!("cannot read {shown}: {error}"))
            .suggest("see `reflux flows`, or give the path of a file")
    };
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if metadata.len() > SOURCE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{shown} has {} bytes; a flow may have {SOURCE_BYTES_MAX}",
            metadata.len()
        ))
        .suggest("keep data in files of its own and read them with `file.read`"));
    }
    let bytes = std::fs::read(path).map_err(failed)?;
    let text = String::from_utf8(bytes)
        .map_err(|_| Error::invalid(format!("{shown} is not UTF-8 text")))?;
    Ok(Source { file: shown.to_owned(), text })
}
