//! Living objects by number, for callers that carry integers alone.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};

/// Objects by key. Keys are random numbers, also in a forked child, so that a stale one, or one that a saved program
/// brings from elsewhere, names nothing rather than somebody else's object.
pub struct Handles<T> {
    living: LazyLock<RwLock<HashMap<i64, Weak<T>>>>,
    drawn: AtomicU64,
    dice: LazyLock<RandomState>,
}

impl<T> Handles<T> {
    /// No object yet.
    pub const fn new() -> Self {
        Self { living: LazyLock::new(RwLock::default), drawn: AtomicU64::new(0), dice: LazyLock::new(RandomState::new) }
    }

    /// A key for an object: 62 random bits that nothing of this process, of its parent or of its children had before.
    pub fn enter(&self, object: &Arc<T>) -> i64 {
        let drawn = self.drawn.fetch_add(1, Ordering::Relaxed);
        let key = (self.dice.hash_one((std::process::id(), drawn)) >> 2) as i64;
        self.living.write().unwrap_or_else(PoisonError::into_inner).insert(key, Arc::downgrade(object));
        key
    }

    /// The object of a key, if it lives.
    pub fn get(&self, key: i64) -> Option<Arc<T>> {
        self.living.read().unwrap_or_else(PoisonError::into_inner).get(&key).and_then(Weak::upgrade)
    }

    /// Forgets a key.
    pub fn leave(&self, key: i64) {
        self.living.write().unwrap_or_else(PoisonError::into_inner).remove(&key);
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
        let [at, bt] = [&a, &b].map(|object| handles.enter(object));
        assert_ne!(at, bt);
        assert_eq!((handles.get(at), handles.get(bt)), (Some(a.clone()), Some(b.clone())));
        handles.leave(at);
        assert_eq!(handles.get(at), None);
        drop(b);
        assert_eq!(handles.get(bt), None);
    }

    #[test]
    fn keys_are_not_to_be_guessed() {
        let [one, other] = [Handles::new(), Handles::new()];
        let object = Arc::new(());
        let keys: Vec<_> = (0..1000).map(|_| one.enter(&object)).collect();
        assert!(keys.iter().all(|&key| key >= 0 && other.get(key).is_none()));
        other.enter(&object);
        assert!(keys.iter().all(|&key| other.get(key).is_none()));
    }
}
