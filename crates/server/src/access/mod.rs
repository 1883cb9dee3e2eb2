//! Who calls, and what they may do.
//!
//! ```text
//! Authorization: Bearer … ─→ Access ─→ Caller ─→ may(need, namespace)?
//!                              ▲
//!            .reflux/token, .reflux/keys.json (hashes)
//! ```
//!
//! Absent: sockets, headers, and what a call does. The gate of a port (`net/gate.rs`) asks here.

pub mod keys;
pub mod namespaces;
pub mod rules;
pub mod secret;
pub mod token;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::config;
use crate::{Error, Project};
use keys::KeyRing;

/// What a key allows. Each includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To look.
    Read,
    /// To start, signal, cancel, work on tasks, deploy.
    Write,
    /// To change namespaces and whatever else concerns everybody.
    Admin,
}

/// Who makes a call. It is in the extensions of every request that passed the gate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The key's name, `token` for the local token, `anonymous` without either.
    pub name: Arc<str>,
    /// What the caller may do; `None` without a key.
    pub scope: Option<Scope>,
    /// The namespaces a caller is confined to; `None` for all.
    pub namespaces: Option<Arc<[String]>>,
}

impl Caller {
    /// A caller without a key.
    pub fn anonymous() -> Self {
        Self { name: "anonymous".into(), scope: None, namespaces: None }
    }

    /// Whoever knows the local token.
    pub fn local() -> Self {
        Self { name: "token".into(), scope: Some(Scope::Admin), namespaces: None }
    }

    /// Whether the caller may touch a namespace.
    pub fn may_enter(&self, namespace: &str) -> bool {
        match &self.namespaces {
            None => true,
            Some(allowed) => allowed.iter().any(|one| one == namespace),
        }
    }
}

/// Tells callers by what they present.
#[derive(Debug)]
pub struct Access {
    token: blake3::Hash,
    keys: KeyRing,
}

impl Access {
    /// The access rules of a project. Makes the local token when there is none.
    ///
    /// # Errors
    /// The token or the keys cannot be read, or others may read them.
    pub fn open(project: &Project, config: &config::Access) -> Result<Self, Error> {
        let token = token::ensure(project)?;
        let keys = KeyRing::open(project.root().join(&config.keys))?;
        Ok(Self { token: secret::hash(&token), keys })
    }

    /// Whether there is any key that is valid now.
    pub fn has_keys(&self) -> bool {
        self.keys.any()
    }

    /// Who presents this credential; `None` when it is not valid.
    pub fn caller(&self, credential: &str) -> Option<Caller> {
        // `blake3::Hash` compares in constant time.
        if secret::hash(credential) == self.token {
            return Some(Caller::local());
        }
        self.keys.caller(credential)
    }
}
