//! The bundles that this process has read, by digest, shared by all partitions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use reflux_flow::Bundle;

use crate::Error;

/// How many bundles are kept parsed.
const SPECS_MAX: usize = 1024; // a busy project has tens; each is some 10 KiB

/// Parsed bundles by digest.
#[derive(Default)]
pub struct Specs {
    known: Mutex<BTreeMap<[u8; 32], Known>>,
}

#[derive(Clone)]
struct Known {
    bundle: Arc<Bundle>,
    bytes: Bytes,
}

impl Specs {
    /// The bundle of that digest; `fetch` gives its bytes when it is not known.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes are missing or not a bundle.
    pub fn get(
        &self,
        digest: [u8; 32],
        fetch: impl FnOnce() -> Result<Option<Bytes>, Error>,
    ) -> Result<Arc<Bundle>, Error> {
        if let Some(known) = self.lock().get(&digest) {
            return Ok(known.bundle.clone());
        }
        let name = blake3::Hash::from_bytes(digest).to_hex();
        let bytes = fetch()?.ok_or_else(|| {
            Error::Corrupt(format!(
                "flow definition {name} is missing; restore the data directory from a backup"
            ))
        })?;
        self.learn(digest, bytes)
    }

    /// Takes up a bundle.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the bytes are not a bundle.
    pub fn learn(&self, digest: [u8; 32], bytes: Bytes) -> Result<Arc<Bundle>, Error> {
        let mut known = self.lock();
        if let Some(known) = known.get(&digest) {
            return Ok(known.bundle.clone());
        }
        let bundle = Bundle::from_bytes(&bytes).map_err(|problems| {
            let problems: Vec<String> = problems.iter().map(ToString::to_string).collect();
            Error::Corrupt(format!("a flow definition cannot be read: {}", problems.join("; ")))
        })?;
        let bundle = Arc::new(bundle);
        if known.len() >= SPECS_MAX {
            known.pop_first();
        }
        known.insert(digest, Known { bundle: bundle.clone(), bytes });
        Ok(bundle)
    }

    /// A known bundle.
    pub fn known(&self, digest: &[u8; 32]) -> Option<Arc<Bundle>> {
        self.lock().get(digest).map(|known| known.bundle.clone())
    }

    /// The bytes of a known bundle, for a partition that uses it for the first time.
    pub fn bytes(&self, digest: &[u8; 32]) -> Option<Bytes> {
        self.lock().get(digest).map(|known| known.bytes.clone())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<[u8; 32], Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
