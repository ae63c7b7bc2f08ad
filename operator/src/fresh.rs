//! Copies that are never older than one's own last write.
//!
//! A watch lags behind the writes of its own process. Deciding on the watch's copy after a write would decide twice on
//! the same state: harmless for the result, a wasted conflict each time. So the answer of every write is kept, and the
//! newer of the two is used. Versions are compared as numbers, as API servers promise for objects of one kind; where one
//! is no number, the watch's copy wins.

use std::{collections::HashMap, sync::Arc};

use kube::{Resource, ResourceExt as _};
use std::sync::{Mutex, PoisonError};

/// The answers of own writes, by uid.
#[derive(Debug)]
pub struct Fresh<K>(Mutex<HashMap<String, Arc<K>>>);

impl<K> Default for Fresh<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Resource> Fresh<K> {
    /// Keeps the answer of a write.
    pub fn wrote(&self, object: Arc<K>) {
        let Some(uid) = object.meta().uid.clone() else { return };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = kept
            .get(&uid)
            .is_none_or(|known| version(known.as_ref()) <= version(object.as_ref()));
        if newer {
            kept.insert(uid, object);
        }
    }

    /// The newer of the watch's copy and the kept answer. A kept answer that the watch has reached is let go.
    pub fn newest(&self, seen: Arc<K>) -> Arc<K> {
        let Some(uid) = seen.meta().uid.as_deref() else {
            return seen;
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(uid) {
            Some(known) if version(known.as_ref()) > version(seen.as_ref()) => known.clone(),
            Some(_) => {
                kept.remove(uid);
                seen
            }
            None => seen,
        }
    }

    /// Lets go of an object that is gone, or of which the kept answer is in doubt.
    pub fn forget(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }
}

fn version<K: Resource>(object: &K) -> Option<u128> {
    object.resource_version().and_then(|version| version.parse().ok())
}
