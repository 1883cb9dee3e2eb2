//! A configuration of several sources: file, environment, flags.

use std::path::Path;

use serde::Deserialize as _;
use toml::{Table, Value};

use super::keys::{KEYS, Key, Kind, find};
use super::{Config, read};
use crate::{Error, Project};

/// A value that does not come from the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// What was written.
    pub value: String,
    /// Where, for people: the variable or the flag.
    pub origin: String,
}

impl Setting {
    /// Of a flag.
    pub fn flag(key: &str, value: impl ToString, flag: &str) -> Self {
        Self { key: key.to_owned(), value: value.to_string(), origin: flag.to_owned() }
    }

    /// Of `--set KEY=VALUE`.
    ///
    /// # Errors
    /// There is no `=`.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (key, value) = text.split_once('=').ok_or_else(|| {
            Error::invalid(format!("--set {text} has no value"))
                .suggest("write it as --set server.port=7000")
        })?;
        Ok(Self::flag(key.trim(), value, &format!("--set {}", key.trim())))
    }
}

impl Config {
    /// The configuration of a project with the environment's and the caller's settings on top, the
    /// last ones winning.
    ///
    /// # Errors
    /// What is wrong, and in which of the sources.
    pub fn with(
        project: &Project,
        environment: impl Fn(&str) -> Option<String>,
        flags: &[Setting],
    ) -> Result<Self, Error> {
        let path = project.config_file();
        let text = read(&path)?.unwrap_or_default();
        let mut config = Self::parse(&text, &path)?;
        let mut table: Table =
            toml::from_str(&text).map_err(|error| super::of_toml(&error, &text, &path))?;
        for setting in from_environment(environment).iter().chain(flags) {
            config = put(&mut table, setting, &path)?;
        }
        Ok(config)
    }

    /// Where each key that is not at its default comes from: name, value as written, origin.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn origins(
        project: &Project,
        environment: impl Fn(&str) -> Option<String>,
    ) -> Result<Vec<(&'static str, String, String)>, Error> {
        let path = project.config_file();
        let text = read(&path)?.unwrap_or_default();
        let table: Table =
            toml::from_str(&text).map_err(|error| super::of_toml(&error, &text, &path))?;
        let settings = from_environment(environment);
        Ok(KEYS
            .iter()
            .map(|key| {
                let (section, name) = key.name.split_once('.').unwrap_or_default();
                let in_file = table.get(section).and_then(|section| section.get(name));
                match (settings.iter().find(|setting| setting.key == key.name), in_file) {
                    (Some(setting), _) => (key.name, setting.value.clone(), setting.origin.clone()),
                    (None, Some(value)) => {
                        let value = serde_json::to_string(value).unwrap_or_default();
                        (key.name, value, path.display().to_string())
                    }
                    (None, None) => (key.name, key.default.to_owned(), "default".to_owned()),
                }
            })
            .collect())
    }
}

/// What the environment sets. Variables that are set to nothing set nothing.
fn from_environment(environment: impl Fn(&str) -> Option<String>) -> Vec<Setting> {
    let set = |key: &Key| {
        let origin = key.variable();
        let value = environment(&origin).filter(|value| !value.is_empty())?;
        Some(Setting { key: key.name.to_owned(), value, origin })
    };
    KEYS.iter().filter_map(set).collect()
}

/// Puts one value in and reads the whole again, so that an error has its origin.
fn put(table: &mut Table, setting: &Setting, file: &Path) -> Result<Config, Error> {
    let wrong = |message: String| Error::invalid(format!("{}: {message}", setting.origin));
    let Some(key) = find(&setting.key) else {
        let unknown = wrong(format!("there is no key `{}`", setting.key.escape_debug()));
        return Err(match likely(&setting.key) {
            Some(name) => unknown.suggest(format!("did you mean `{name}`?")),
            None => unknown.suggest("see `reflux config reference`"),
        });
    };
    let value = value(key.kind, &setting.value).map_err(wrong)?;
    let (section, name) = key.name.split_once('.').unwrap_or_default();
    let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
    if let Some(section) = section.as_table_mut() {
        section.insert(name.to_owned(), value);
    }
    let config = Config::deserialize(Value::Table(table.clone()))
        .map_err(|error| wrong(error.message().lines().next().unwrap_or_default().to_owned()))?;
    config.checked(file).map_err(|error| wrong(error.message))
}

fn value(kind: Kind, text: &str) -> Result<Value, String> {
    let text = text.trim();
    match kind {
        Kind::Text => Ok(Value::String(text.to_owned())),
        Kind::Number => text
            .parse()
            .map(Value::Integer)
            .map_err(|_| format!("`{}` is no whole number", text.escape_debug())),
        Kind::Switch => match text {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => Err(format!("`{}` is neither true nor false", text.escape_debug())),
        },
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Value::Array(items.map(|item| Value::String(item.to_owned())).collect()))
        }
    }
}

fn likely(wrong: &str) -> Option<&'static str> {
    KEYS.iter()
        .map(|key| (strsim::jaro_winkler(wrong, key.name), key.name))
        .filter(|(likeness, _)| *likeness > 0.7)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The port, or what is wrong.
    fn port(file: &str, variable: Option<&str>, flag: Option<&str>) -> Result<u16, String> {
        let dir = tempfile::tempdir().unwrap();
        let project = Project::at(dir.path()).unwrap();
        project.create_dir().unwrap();
        std::fs::write(project.config_file(), file).unwrap();
        let environment =
            |name: &str| variable.filter(|_| name == "REFLUX_SERVER_PORT").map(str::to_owned);
        let flags: Vec<_> =
            flag.map(|value| Setting::flag("server.port", value, "--port")).into_iter().collect();
        Config::with(&project, environment, &flags)
            .map(|config| config.server.port)
            .map_err(|error| error.message)
    }

    #[test]
    fn a_flag_wins_over_the_environment_and_that_over_the_file() {
        let file = "[server]\nport = 1\n";
        assert_eq!(port("", None, None), Ok(7233));
        assert_eq!(port(file, None, None), Ok(1));
        assert_eq!(port(file, Some("2"), None), Ok(2));
        assert_eq!(port(file, Some("2"), Some("3")), Ok(3));
        assert_eq!(port(file, Some(""), None), Ok(1));
    }

    #[test]
    fn a_wrong_value_is_reported_with_its_origin() {
        for (variable, flag, part) in [
            (Some("many"), None, "REFLUX_SERVER_PORT: `many` is no whole number"),
            (Some("70000"), None, "REFLUX_SERVER_PORT: "),
            (None, Some("-1"), "--port: "),
        ] {
            let message = port("", variable, flag).unwrap_err();
            assert!(message.starts_with(part), "{message}");
        }
        let message = port("[server]\nport = \"x\"\n", Some("2"), None).unwrap_err();
        assert!(message.contains("config.toml:2:"), "{message}");
    }

    #[test]
    fn a_misspelt_key_of_a_flag_is_refused_with_the_likely_one() {
        let dir = tempfile::tempdir().unwrap();
        let project = Project::at(dir.path()).unwrap();
        let set = Setting::parse("server.prot=1").unwrap();
        let error = Config::with(&project, |_| None, &[set]).unwrap_err();
        assert_eq!(error.suggestion.as_deref(), Some("did you mean `server.port`?"));
        assert!(Setting::parse("server.port").is_err());
    }

    #[test]
    fn every_key_has_its_default_and_is_read_from_every_source() {
        let mut text = String::new();
        for key in KEYS.iter().filter(|key| !key.default.is_empty()) {
            let (section, name) = key.name.split_once('.').unwrap();
            text.push_str(&format!("{section}.{name} = {}\n", key.default));
        }
        let parsed = Config::parse(&text, Path::new("c.toml")).unwrap();
        assert_eq!(parsed, Config::default(), "the defaults of the table are those of the code");
        for key in KEYS {
            let sample = match (key.name, key.kind) {
                ("server.ip", _) => "::1",
                ("quotas.namespaces", _) => "a/open_runs=1,b/stored_bytes=2",
                ("net.allow", _) => "localhost:1,127.0.0.2",
                ("log.format", _) => "json",
                ("run.concurrency" | "run.partitions", _) => "3",
                (name, Kind::Text)
                    if ["closed", "drain", "grace", "head", "body"]
                        .iter()
                        .any(|length| name.ends_with(length)) =>
                {
                    "7s"
                }
                (_, Kind::Text) => "other",
                (_, Kind::Number) => "11",
                (_, Kind::Switch) if key.default == "true" => "false",
                (_, Kind::Switch) => "true",
                (_, Kind::List) => "a.example,b.example",
            };
            let dir = tempfile::tempdir().unwrap();
            let project = Project::at(dir.path()).unwrap();
            let variable = key.variable();
            let config =
                Config::with(&project, |name| (name == variable).then(|| sample.to_owned()), &[]);
            let config = config.unwrap_or_else(|error| panic!("{}: {error}", key.name));
            assert_ne!(config, Config::default(), "{} changes nothing", key.name);
        }
    }

    #[test]
    fn no_key_of_the_code_is_missing_in_the_table() {
        // An unknown key makes serde say which ones it knows.
        for section in KEYS.iter().map(|key| key.name.split_once('.').unwrap().0) {
            let text = format!("[{section}]\nno_such_key = 1\n");
            let error = toml::from_str::<Config>(&text).unwrap_err().to_string();
            let known = error.split("unknown field `no_such_key`").nth(1).unwrap();
            for name in known.split('`').skip(1).step_by(2) {
                let key = format!("{section}.{name}");
                assert!(find(&key).is_some(), "{key} is not in the table");
            }
        }
        let error = toml::from_str::<Config>("no_such_section = 1").unwrap_err().to_string();
        for section in error.split('`').skip(3).step_by(2) {
            assert!(
                KEYS.iter().any(|key| key.name.starts_with(&format!("{section}."))),
                "{section}"
            );
        }
    }

    #[test]
    fn the_reference_page_is_up_to_date() {
        let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        let written = std::fs::read_to_string(page).unwrap_or_default();
        assert!(
            written == super::super::keys::reference(),
            "docs/configuration.md is stale; write it with `cargo run -- config reference > docs/configuration.md`"
        );
    }
}
