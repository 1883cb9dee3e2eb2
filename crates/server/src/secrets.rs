//! Secrets by name: from `REFLUX_SECRET_NAME`, else from a file that only its owner may read.
//! Their values are put into an input when a node is called and taken out of whatever comes back.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use base64::Engine as _;
use reflux_core::Payloads;
use reflux_flow::payload;
use reflux_flow::template::{SecretPart, SecretSlot};
use reflux_sdk::Failure;
use serde_json::Value;

use crate::config;
use crate::{Config, Error, Project};

/// Shorter ones cannot be told from ordinary text when they are taken out of outputs.
const SECRET_BYTES_MIN: usize = 4;
/// What an environment variable with a secret starts with.
pub const ENV_PREFIX: &str = "REFLUX_SECRET_";

/// The secrets of a project.
#[derive(Default)]
pub struct Secrets {
    by_name: BTreeMap<String, String>,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.by_name.keys()).finish()
    }
}

impl Secrets {
    /// The secrets of a project: those of the environment win over those of the file.
    ///
    /// # Errors
    /// Others may read the file, or it is not TOML with one text per name.
    pub fn load(
        project: &Project,
        config: &Config,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, Error> {
        let mut by_name = from_file(&project.root().join(&config.secrets.file))?;
        for (variable, value) in environment {
            if let Some(name) = variable.strip_prefix(ENV_PREFIX) {
                by_name.insert(name.to_owned(), value);
            }
        }
        Self::of(by_name)
    }

    /// Secrets by name.
    ///
    /// # Errors
    /// One is too short to be recognised where it must not appear.
    pub fn of(by_name: BTreeMap<String, String>) -> Result<Self, Error> {
        let short = by_name.iter().find(|(_, value)| value.len() < SECRET_BYTES_MIN);
        match short {
            Some((name, _)) => Err(Error::invalid(format!(
                "secret {name} has less than {SECRET_BYTES_MIN} characters and cannot be kept out of outputs"
            ))
            .suggest("use a longer secret, or write the value into the flow if it is none")),
            None => Ok(Self { by_name }),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    /// The value of a secret. An environment name is upper case; so a flow may write either.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.by_name.get(name).or_else(|| self.by_name.get(&name.to_uppercase()));
        found.map(String::as_str)
    }

    /// A recorded input with secrets put in, and what takes them out again.
    ///
    /// # Errors
    /// The failure of an attempt that cannot be made: a secret is not set, or the input is broken.
    pub fn input(&self, recorded: &Payloads) -> Result<(Value, Scrub), Failure> {
        let mut value = payload::value_of(recorded).map_err(unreadable)?;
        let slots = payload::secrets_of(recorded).map_err(unreadable)?;
        if slots.is_empty() {
            return Ok((value, Scrub::default()));
        }
        let scrub = self.fill(&mut value, &slots).map_err(|name| {
            Failure::permanent(
                "SecretMissing",
                format!(
                    "secret {name} is not set; set {ENV_PREFIX}{} or add it to .reflux/secrets.toml, then run the step again",
                    name.to_uppercase()
                ),
            )
        })?;
        Ok((value, scrub))
    }

    /// Puts values into the places of an input, and gives what takes them out again.
    ///
    /// # Errors
    /// The name of the first secret that is not known.
    pub fn fill(&self, input: &mut Value, slots: &[SecretSlot]) -> Result<Scrub, String> {
        let mut scrub = Scrub::default();
        for slot in slots {
            let mut text = String::new();
            for part in &slot.parts {
                match part {
                    SecretPart::Text(part) => text.push_str(part),
                    SecretPart::Secret(name) => {
                        let value = self.get(name).ok_or_else(|| name.clone())?;
                        scrub.add(name, value);
                        text.push_str(value);
                    }
                }
            }
            if let Some(place) = input.pointer_mut(&slot.pointer) {
                *place = Value::String(text);
            }
        }
        scrub.order();
        Ok(scrub)
    }
}

fn unreadable(error: serde_json::Error) -> Failure {
    Failure::permanent("BadInput", format!("the recorded input is not JSON: {error}"))
}

fn from_file(path: &Path) -> Result<BTreeMap<String, String>, Error> {
    let Some(text) = config::read(path)? else { return Ok(BTreeMap::new()) };
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let metadata = std::fs::metadata(path)
            .map_err(|error| Error::invalid(format!("cannot read {}: {error}", path.display())))?;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(Error::invalid(format!("others may read {}", path.display()))
                .suggest(format!("run `chmod 600 {}`", path.display())));
        }
    }
    toml::from_str(&text).map_err(|error| {
        // The parser's message may quote a value.
        let place = error
            .span()
            .map_or(0, |span| text.get(..span.start).unwrap_or_default().matches('\n').count() + 1);
        Error::invalid(format!("{}:{place}: not a list of secrets", path.display()))
            .suggest("write one `NAME = \"value\"` per line")
    })
}

/// Takes the values of secrets out of what a node gave.
#[derive(Debug, Default)]
pub struct Scrub {
    /// What to find and what to write instead, the longest first.
    forms: Vec<(String, String)>,
}

impl Scrub {
    /// Whether there is nothing to take out.
    pub fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// The text without secrets.
    pub fn text(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (form, shown) in &self.forms {
            if text.contains(form.as_str()) {
                text = text.replace(form.as_str(), shown);
            }
        }
        text
    }

    /// Takes secrets out of every text and key of a value.
    pub fn value(&self, value: &mut Value) {
        match value {
            Value::String(text) => self.in_place(text),
            Value::Array(items) => items.iter_mut().for_each(|item| self.value(item)),
            Value::Object(fields) => {
                if fields.keys().any(|key| self.finds(key)) {
                    let taken = std::mem::take(fields);
                    fields.extend(taken.into_iter().map(|(key, value)| (self.text(&key), value)));
                }
                fields.values_mut().for_each(|field| self.value(field));
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Takes secrets out of a text.
    pub fn in_place(&self, text: &mut String) {
        if self.finds(text) {
            *text = self.text(text);
        }
    }

    fn finds(&self, text: &str) -> bool {
        self.forms.iter().any(|(form, _)| text.contains(form.as_str()))
    }

    /// A secret comes back as it is, or as something on the way has written it.
    fn add(&mut self, name: &str, value: &str) {
        let shown = format!("{{{{ secrets.{name} }}}}");
        let quoted = Value::from(value).to_string();
        let forms = [
            value.to_owned(),
            quoted.trim_matches('"').to_owned(),
            percent_encoded(value),
            base64::prelude::BASE64_STANDARD.encode(value),
            base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(value),
        ];
        for form in forms {
            if !self.forms.iter().any(|(known, _)| *known == form) {
                self.forms.push((form, shown.clone()));
            }
        }
    }

    /// One secret may be part of another.
    fn order(&mut self) {
        self.forms.sort_by_key(|(form, _)| std::cmp::Reverse(form.len()));
    }
}

/// As a URL's query writes it (RFC 3986: everything but the unreserved characters).
fn percent_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => drop(write!(out, "%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn secrets(pairs: &[(&str, &str)]) -> Secrets {
        let pairs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Secrets::of(pairs.collect()).unwrap()
    }

    fn slot(pointer: &str, parts: Vec<SecretPart>) -> SecretSlot {
        SecretSlot { pointer: pointer.into(), parts }
    }

    #[test]
    fn values_are_put_in_at_their_places_only() {
        let secrets = secrets(&[("TOKEN", "s3cret")]);
        let slots = [slot(
            "/headers/auth",
            vec![SecretPart::Text("Bearer ".into()), SecretPart::Secret("TOKEN".into())],
        )];
        let mut input = json!({"headers": {"auth": "x"}, "text": "{{ secrets.TOKEN }}"});
        let scrub = secrets.fill(&mut input, &slots).unwrap();
        assert_eq!(
            input,
            json!({"headers": {"auth": "Bearer s3cret"}, "text": "{{ secrets.TOKEN }}"})
        );
        assert_eq!(scrub.text("got s3cret"), "got {{ secrets.TOKEN }}");
    }

    #[test]
    fn a_missing_secret_is_named() {
        let slots = [slot("", vec![SecretPart::Secret("NOPE".into())])];
        assert_eq!(secrets(&[]).fill(&mut json!(""), &slots).unwrap_err(), "NOPE");
    }

    #[test]
    fn every_form_of_a_secret_is_taken_out() {
        let secrets = secrets(&[("A", "p\"w d/+"), ("AB", "p\"w d/+long")]);
        let slots = ["A", "AB"].map(|name| slot("", vec![SecretPart::Secret(name.into())]));
        let scrub = secrets.fill(&mut json!(""), &slots).unwrap();
        for text in ["p\"w d/+", "p\\\"w d/+", "p%22w%20d%2F%2B", "cCJ3IGQvKw==", "cCJ3IGQvKw"] {
            assert_eq!(scrub.text(&format!("<{text}>")), "<{{ secrets.A }}>", "{text}");
        }
        let mut value = json!({"p\"w d/+": ["p\"w d/+long", 1, null]});
        scrub.value(&mut value);
        assert_eq!(value, json!({"{{ secrets.A }}": ["{{ secrets.AB }}", 1, null]}));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let project = Project::at(dir.path()).unwrap();
        project.create_dir().unwrap();
        let path = project.dir().join("secrets.toml");
        std::fs::write(&path, "TOKEN = \"from-file\"\nOTHER = \"other\"\n").unwrap();
        let load = |env: &[(&str, &str)]| {
            let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            Secrets::load(&project, &Config::default(), env)
        };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let refused = load(&[]).unwrap_err();
        assert!(refused.suggestion.unwrap().starts_with("run `chmod 600"), "{}", refused.message);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let secrets = load(&[("REFLUX_SECRET_TOKEN", "from-env"), ("PATH", "/bin")]).unwrap();
        assert_eq!(secrets.get("TOKEN"), Some("from-env"));
        assert_eq!(secrets.get("other"), Some("other"));
        assert_eq!(secrets.get("PATH"), None);
        std::fs::write(&path, "TOKEN = 5\nX = \"hidden-value\"\n").unwrap();
        assert!(!load(&[]).unwrap_err().message.contains("hidden"));
        assert!(
            load(&[("REFLUX_SECRET_A", "abc")]).is_err(),
            "the file is broken or the secret too short"
        );
    }
}
