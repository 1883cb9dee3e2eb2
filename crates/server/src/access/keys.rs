//! `.reflux/keys.json`: API keys, of which only hashes are kept.
//!
//! A key is `rfx_ID_SECRET`. The id finds the entry and may be seen by anybody; the whole is
//! compared by its hash, in constant time.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{Caller, Scope, secret};
use crate::config::read;
use crate::{Error, Kind, clock};

/// How often it is looked whether the file has changed: so long a revoked key still works.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Most keys: people make them by hand.
const KEYS_MAX: usize = 10_000;
/// Longest name, in characters.
const NAME_CHARS_MAX: usize = 100;
/// What a key begins with, so that scanners for leaked credentials can find it.
const PREFIX: &str = "rfx_";

/// What is kept of a key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Finds the key; no secret.
    pub id: String,
    /// What people call it; audit lines have it.
    pub name: String,
    /// BLAKE3 of the whole key, in hexadecimal.
    pub hash: String,
    /// What it allows.
    pub scope: Scope,
    /// The namespaces it is confined to; all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespaces: Option<Vec<String>>,
    /// When it was made, RFC 3339.
    pub created: String,
    /// When it ends, in seconds since 1970; never when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_s: Option<u64>,
}

/// What is asked for in a new key.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// What people call it; no two have the same name.
    pub name: String,
    /// What it allows.
    pub scope: Scope,
    /// The namespaces it is confined to; all when `None`.
    pub namespaces: Option<Vec<String>>,
    /// How long it is valid; for ever when `None`.
    pub valid: Option<Duration>,
}

#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    keys: Vec<Key>,
}

/// The keys of a file.
///
/// # Errors
/// The file is not one of keys, or others may write it.
pub fn list(path: &Path) -> Result<Vec<Key>, Error> {
    let Some(text) = read(path)? else { return Ok(Vec::new()) };
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.mode());
    // Hashes may be read: they give nothing away. Whoever writes them makes keys.
    if mode & 0o022 != 0 {
        return Err(Error::invalid(format!("others may write {}", path.display()))
            .suggest(format!("run `chmod 600 {}`", path.display())));
    }
    let document: Document = serde_json::from_str(&text)
        .map_err(|error| Error::invalid(format!("{}: {error}", path.display())))?;
    Ok(document.keys)
}

/// Makes a key and adds it to the file; gives the key, which is not kept anywhere.
///
/// # Errors
/// The name is taken or not one, or the file cannot be written.
pub fn create(path: &Path, wanted: Wanted) -> Result<String, Error> {
    let mut keys = list(path)?;
    let name = wanted.name;
    if name.is_empty()
        || name.chars().count() > NAME_CHARS_MAX
        || name.chars().any(|c| !(c.is_alphanumeric() || "-_.@".contains(c)))
    {
        return Err(Error::invalid("a key's name has 1 to 100 letters, digits, -, _, . or @"));
    }
    if keys.iter().any(|key| key.name == name) {
        return Err(Error::new(Kind::Exists, format!("there is a key `{name}`"))
            .suggest("choose another name, or revoke it first with `reflux keys revoke`"));
    }
    if keys.len() >= KEYS_MAX {
        return Err(Error::invalid(format!("there are {KEYS_MAX} keys already"))
            .suggest("revoke some with `reflux keys revoke`"));
    }
    let id = hex(&secret::random::<5>()?);
    let key = format!("{PREFIX}{id}_{}", secret::generate()?);
    let expires_s = wanted.valid.map(|valid| now_s().saturating_add(valid.as_secs()));
    keys.push(Key {
        id,
        name,
        hash: secret::hash(&key).to_hex().to_string(),
        scope: wanted.scope,
        namespaces: wanted.namespaces,
        created: clock::rfc3339(clock::now()),
        expires_s,
    });
    write(path, keys)?;
    Ok(key)
}

/// Takes a key out of the file, by its name or id; a running server follows within a second.
///
/// # Errors
/// There is none, or the file cannot be written.
pub fn revoke(path: &Path, name: &str) -> Result<Key, Error> {
    let mut keys = list(path)?;
    let Some(place) = keys.iter().position(|key| key.name == name || key.id == name) else {
        return Err(Error::not_found(format!("no key `{name}`")).suggest("see `reflux keys list`"));
    };
    let revoked = keys.remove(place);
    write(path, keys)?;
    Ok(revoked)
}

/// Replaces the file in one step: a server that reads meanwhile sees the old or the new one.
fn write(path: &Path, keys: Vec<Key>) -> Result<(), Error> {
    let failed = |error: std::io::Error| {
        Error::unavailable(format!("cannot write {}: {error}", path.display()))
    };
    let text = serde_json::to_string_pretty(&Document { keys })
        .map_err(|error| Error::invalid(format!("cannot write keys: {error}")))?;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)
}

/// The keys as they are in the file, followed when it changes.
#[derive(Debug)]
pub(super) struct KeyRing {
    path: PathBuf,
    now: RwLock<Now>,
}

#[derive(Debug)]
struct Now {
    keys: Arc<[Known]>,
    stamp: Option<Stamp>,
    looked: Instant,
}

#[derive(Debug)]
struct Known {
    id: String,
    hash: blake3::Hash,
    expires_s: Option<u64>,
    caller: Caller,
}

/// Tells two states of a file apart.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl KeyRing {
    pub(super) fn open(path: PathBuf) -> Result<Self, Error> {
        let stamp = stamp(&path);
        let keys = known(list(&path)?)?;
        Ok(Self { path, now: RwLock::new(Now { keys, stamp, looked: Instant::now() }) })
    }

    pub(super) fn any(&self) -> bool {
        self.keys().iter().any(Known::is_valid)
    }

    pub(super) fn caller(&self, credential: &str) -> Option<Caller> {
        if credential.len() > secret::CHARS_MAX {
            return None;
        }
        let (id, _) = credential.strip_prefix(PREFIX)?.split_once('_')?;
        let keys = self.keys();
        let known = keys.iter().find(|known| known.id == id)?;
        (secret::hash(credential) == known.hash && known.is_valid()).then(|| known.caller.clone())
    }

    fn keys(&self) -> Arc<[Known]> {
        {
            let now = self.now.read().unwrap_or_else(PoisonError::into_inner);
            if now.looked.elapsed() < LOOK_EVERY {
                return now.keys.clone();
            }
        }
        let mut now = self.now.write().unwrap_or_else(PoisonError::into_inner);
        now.looked = Instant::now();
        let stamp = stamp(&self.path);
        if stamp != now.stamp {
            match list(&self.path).and_then(known) {
                Ok(keys) => {
                    now.keys = keys;
                    now.stamp = stamp;
                }
                Err(error) => {
                    tracing::error!(%error, "the keys cannot be read; those read before still hold");
                }
            }
        }
        now.keys.clone()
    }
}

impl Known {
    fn is_valid(&self) -> bool {
        self.expires_s.is_none_or(|expires_s| now_s() < expires_s)
    }
}

fn known(keys: Vec<Key>) -> Result<Arc<[Known]>, Error> {
    keys.into_iter()
        .map(|key| {
            let hash = blake3::Hash::from_hex(&key.hash).map_err(|_| {
                Error::invalid(format!("the hash of key `{}` is none", key.name))
                    .suggest("make the key again with `reflux keys create`")
            })?;
            let caller = Caller {
                name: key.name.into(),
                scope: Some(key.scope),
                namespaces: key.namespaces.map(Arc::from),
            };
            Ok(Known { id: key.id, hash, expires_s: key.expires_s, caller })
        })
        .collect()
}

fn stamp(path: &Path) -> Option<Stamp> {
    let metadata = std::fs::metadata(path).ok()?;
    Some(Stamp {
        inode: metadata.ino(),
        bytes: metadata.len(),
        changed: (metadata.mtime(), metadata.mtime_nsec()),
    })
}

fn now_s() -> u64 {
    u64::try_from(clock::now().0 / 1_000_000_000).unwrap_or(0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(name: &str, valid: Option<Duration>) -> Wanted {
        let namespaces = Some(vec!["orders".to_owned()]);
        Wanted { name: name.to_owned(), scope: Scope::Write, namespaces, valid }
    }

    #[test]
    fn a_key_is_known_by_its_hash_until_it_is_revoked() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let key = create(&path, wanted("ci", None)).unwrap();
        assert!(!std::fs::read_to_string(&path).unwrap().contains(key.rsplit('_').next().unwrap()));
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let ring = KeyRing::open(path.clone()).unwrap();
        let caller = ring.caller(&key).unwrap();
        assert_eq!((&*caller.name, caller.scope), ("ci", Some(Scope::Write)));
        assert!(caller.may_enter("orders") && !caller.may_enter("default"));
        let other = format!("{}x", &key[..key.len() - 1]);
        for wrong in ["", "rfx_", "rfx__", "rfx_a_b", &other, &key[..20], &format!("{key}a")] {
            assert_eq!(ring.caller(wrong), None, "{wrong}");
        }
        assert_eq!(create(&path, wanted("ci", None)).unwrap_err().kind, Kind::Exists);
        assert_eq!(revoke(&path, "ci").unwrap().name, "ci");
        assert_eq!(revoke(&path, "ci").unwrap_err().kind, Kind::NotFound);
        ring.now.write().unwrap().looked -= LOOK_EVERY;
        assert_eq!(ring.caller(&key), None);
    }

    #[test]
    fn a_key_that_has_ended_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let key = create(&path, wanted("short", Some(Duration::ZERO))).unwrap();
        let ring = KeyRing::open(path).unwrap();
        assert_eq!(ring.caller(&key), None);
        assert!(!ring.any());
    }

    #[test]
    fn names_that_could_forge_a_log_line_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        for name in ["", "a b", "a\nb", "a\u{202e}b", &"n".repeat(101)] {
            assert!(create(&path, wanted(name, None)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        create(&path, wanted("ci", None)).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        assert!(list(&path).unwrap_err().message.contains("others may write"));
    }
}
