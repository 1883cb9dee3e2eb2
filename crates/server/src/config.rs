//! `.reflux/config.toml`: what a project may do, every key with its default.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reflux_engine::CacheBounds;
use reflux_nodes::{NetPolicy, NodesConfig};
use serde::Deserialize;

pub use overlay::Setting;
pub use quotas::Quotas;
pub use serve::{Access, Limits, Listen, Log, LogFormat, Telemetry, Tls};

use crate::{Error, Project};

pub mod keys;
mod overlay;
mod quotas;
mod serve;

/// Most bytes of a configuration file.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20; // people write these; a larger one is another file

/// A project's configuration. Every key may be left out; an unknown one is an error.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[net]`: where nodes may connect to.
    pub net: NetPolicy,
    /// `[files]`: what nodes may read and write.
    pub files: Files,
    /// `[retention]`: how long closed runs are kept.
    pub retention: Retention,
    /// `[cache]`: how many results are kept for other runs.
    pub cache: Cache,
    /// `[run]`: how runs are executed.
    pub run: Run,
    /// `[quotas]`: what the runs of a namespace may come to.
    pub quotas: Quotas,
    /// `[secrets]`: where secrets come from.
    pub secrets: Secrets,
    /// `[server]`: where a server listens and how it stops.
    pub server: Listen,
    /// `[access]`: who may call it.
    pub access: Access,
    /// `[tls]`: encryption of its ports.
    pub tls: Tls,
    /// `[limits]`: what a caller may use.
    pub limits: Limits,
    /// `[log]`: what it says.
    pub log: Log,
    /// `[telemetry]`: where spans go.
    pub telemetry: Telemetry,
}

/// `[files]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    /// Directory that `file.read`, `file.write` and `csv.read` are confined to, relative to the
    /// project. Default: the project.
    pub root: PathBuf,
}

impl Default for Files {
    fn default() -> Self {
        Self { root: PathBuf::from(".") }
    }
}

/// `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retention {
    /// How long a closed run is kept, such as `30d`. Default: `30d`.
    pub closed: Length,
}

impl Default for Retention {
    fn default() -> Self {
        Self { closed: Length(Duration::from_secs(30 * 24 * 3600)) }
    }
}

/// `[cache]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cache {
    /// Most results. Default: 50,000.
    pub entries: usize,
    /// Most bytes of all results together. Default: 256 MiB.
    pub bytes: u64,
}

impl Default for Cache {
    fn default() -> Self {
        let CacheBounds { entries, bytes } = CacheBounds::default();
        Self { entries, bytes }
    }
}

/// `[run]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Run {
    /// How many nodes run at once. Default: 256.
    pub concurrency: u32,
    /// Partitions of a new data directory. Default: 4.
    pub partitions: u32,
}

impl Default for Run {
    fn default() -> Self {
        Self { concurrency: 256, partitions: 4 }
    }
}

/// `[secrets]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Secrets {
    /// The file with secrets, relative to the project; only its owner may read it.
    /// Default: `.reflux/secrets.toml`.
    pub file: PathBuf,
}

impl Default for Secrets {
    fn default() -> Self {
        Self { file: PathBuf::from(".reflux/secrets.toml") }
    }
}

/// A length of time as text: `90s`, `12h`, `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Length(pub Duration);

impl TryFrom<String> for Length {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        reflux_flow::duration::parse_duration(&text).map(Self)
    }
}

impl Config {
    /// The configuration of a project: its file, and the environment's settings on top.
    ///
    /// # Errors
    /// The file cannot be read, or it or the environment holds something else than a configuration.
    pub fn load(project: &Project) -> Result<Self, Error> {
        Self::with(project, |name| std::env::var(name).ok(), &[])
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// Says line, column and, for a misspelt key, what was probably meant.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Error> {
        let config: Self = toml::from_str(text).map_err(|error| of_toml(&error, text, file))?;
        config.checked(file)
    }

    fn checked(self, file: &Path) -> Result<Self, Error> {
        let wrong = |message: &str| Err(Error::invalid(format!("{}: {message}", file.display())));
        let Limits { connections, connections_per_address, streams, requests_per_second, .. } =
            self.limits;
        if self.run.concurrency == 0 || !(1..=1024).contains(&self.run.partitions) {
            return wrong("run.concurrency must be at least 1 and run.partitions from 1 to 1024");
        }
        if [connections, connections_per_address, streams, requests_per_second].contains(&0) {
            return wrong("a limit of 0 would let nobody in");
        }
        if let Err(message) = self.quotas.engine() {
            return wrong(&message);
        }
        Ok(self)
    }

    /// What the built-in nodes need of it.
    pub fn nodes(&self, project: &Project) -> NodesConfig {
        NodesConfig {
            net: self.net.clone(),
            files_root: self.files.root.clone(),
            ..NodesConfig::for_project(project.root())
        }
    }
}

/// The text of a file that may be missing.
pub(crate) fn read(path: &Path) -> Result<Option<String>, Error> {
    let failed =
        |error: std::io::Error| Error::invalid(format!("cannot read {}: {error}", path.display()));
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.len() > FILE_BYTES_MAX => Err(Error::invalid(format!(
            "{} has {} bytes, more than a configuration may have",
            path.display(),
            metadata.len()
        ))),
        Ok(_) => std::fs::read_to_string(path).map(Some).map_err(failed),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(error)),
    }
}

/// An error of the TOML parser with its place and, for an unknown key, the likeliest known one.
pub(crate) fn of_toml(error: &toml::de::Error, text: &str, file: &Path) -> Error {
    let place = error.span().map_or(String::new(), |span| {
        let before = text.get(..span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!(":{line}:{column}")
    });
    let message = error.message().lines().next().unwrap_or_default().to_owned();
    let found = Error::invalid(format!("{}{place}: {message}", file.display()));
    match meant(&message) {
        Some(name) => found.suggest(format!("did you mean `{name}`?")),
        None => found,
    }
}

/// Of serde's "unknown field `a`, expected one of `b`, `c`" the one that `a` is most like.
fn meant(message: &str) -> Option<String> {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let wrong = quoted.next().filter(|_| message.starts_with("unknown field"))?;
    quoted
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Result<Config, (String, Option<String>)> {
        Config::parse(text, Path::new("c.toml")).map_err(|error| (error.message, error.suggestion))
    }

    #[test]
    fn nothing_means_the_defaults() {
        assert_eq!(check(""), Ok(Config::default()));
        assert_eq!(check("[run]\n# concurrency = 3\n"), Ok(Config::default()));
    }

    #[test]
    fn every_key_is_read() {
        let config = check(
            "[net]\nallow = [\"127.0.0.1:80\"]\n[files]\nroot = \"data\"\n[retention]\nclosed = \"2d\"\n\
             [run]\nconcurrency = 3\npartitions = 2\n[secrets]\nfile = \"s.toml\"\n",
        )
        .unwrap();
        assert_eq!(config.net.allow.len(), 1);
        assert_eq!(config.files.root, PathBuf::from("data"));
        assert_eq!(config.retention.closed.0, Duration::from_secs(172_800));
        assert_eq!((config.run.concurrency, config.run.partitions), (3, 2));
        assert_eq!(config.secrets.file, PathBuf::from("s.toml"));
    }

    #[test]
    fn a_misspelt_key_is_refused_with_its_place_and_the_likely_one() {
        let (message, suggestion) = check("[net]\nalow = []\n").unwrap_err();
        assert!(message.starts_with("c.toml:2:1: unknown field `alow`"), "{message}");
        assert_eq!(suggestion.as_deref(), Some("did you mean `allow`?"));
        let (message, suggestion) = check("[retentoin]\nclosed = \"1d\"\n").unwrap_err();
        assert!(message.contains("c.toml:1:"), "{message}");
        assert_eq!(suggestion.as_deref(), Some("did you mean `retention`?"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        for text in [
            "[run]\nconcurrency = 0\n",
            "[run]\npartitions = 2000\n",
            "[retention]\nclosed = \"soon\"\n",
            "[net",
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }
}
