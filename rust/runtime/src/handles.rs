//! Live objects by integer key, for callers that can carry only integers.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};

/// Objects by key. Keys are random, also in a forked child, so that a stale key, or one in a program saved by another
/// process, names no object rather than a wrong one.
pub struct Handles<T> {
    live: LazyLock<RwLock<HashMap<i64, Weak<T>>>>,
    drawn: AtomicU64,
    hasher: LazyLock<RandomState>,
}

impl<T> Handles<T> {
    /// An empty table.
    pub const fn new() -> Self {
        Self { live: LazyLock::new(RwLock::default), drawn: AtomicU64::new(0), hasher: LazyLock::new(RandomState::new) }
    }

    /// Gives an object a key: 62 random bits, never used before in this process, its parent or its children.
    pub fn insert(&self, object: &Arc<T>) -> i64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let key = (self.hasher.hash_one((std::process::id(), drawn)) >> 2) as i64;
        self.live.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::downgrade(object));
        key
    }

    /// The object of a key, if it is alive.
    pub fn get(&self, key: i64) -> Option<Arc<T>> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).get(&key).and_then(Weak::upgrade)
    }

    /// Removes a key.
    pub fn remove(&self, key: i64) {
        self.live.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
    }
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_names_its_object_while_that_lives() {
        let handles = Handles::new();
        let [a, b] = ["a", "b"].map(Arc::new);
        let [at, bt] = [&a, &b].map(|object| handles.insert(object));
        assert_ne!(at, bt);
        assert_eq!((handles.get(at), handles.get(bt)), (Some(a.clone()), Some(b.clone())));
        handles.remove(at);
        assert_eq!(handles.get(at), None);
        drop(b);
        assert_eq!(handles.get(bt), None);
    }

    #[test]
    fn keys_are_not_to_be_guessed() {
        let [one, other] = [Handles::new(), Handles::new()];
        let object = Arc::new(());
        let keys: Vec<_> = (0..1000).map(|_| one.insert(&object)).collect();
        assert!(keys.iter().all(|&key| key >= 0 && other.get(key).is_none()));
        other.insert(&object);
        assert!(keys.iter().all(|&key| other.get(key).is_none()));
    }
}
