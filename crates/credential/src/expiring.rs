//! What is remembered for a short time, in memory, and never more of it than a limit.

use std::borrow::Borrow;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};

/// Entries that vanish after a time. Owned by whoever made it; a lock guards it, held for one look.
pub struct Expiring<K, V> {
    seconds: u64,
    entries_max: usize,
    inner: Mutex<Inner<K, V>>,
}

struct Inner<K, V> {
    entries: HashMap<K, (u64, V)>,
    /// Keys in the order in which they expire.
    order: VecDeque<(u64, K)>,
}

/// There are too many entries: whoever asks has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too much is under way: try again in a moment")]
pub struct Full;

impl<K: Clone + Eq + Hash, V> Expiring<K, V> {
    /// Remembers for `seconds`, at most `entries_max` entries.
    pub fn new(seconds: u64, entries_max: usize) -> Self {
        let inner = Inner { entries: HashMap::new(), order: VecDeque::new() };
        Expiring { seconds, entries_max, inner: Mutex::new(inner) }
    }

    /// Remembers a value. `false` when its key is there already: nothing changes then.
    ///
    /// # Errors
    /// [`Full`].
    pub fn insert(&self, key: K, value: V, now: u64) -> Result<bool, Full> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forget(now);
        if inner.entries.contains_key(&key) {
            return Ok(false);
        }
        if inner.entries.len() >= self.entries_max {
            return Err(Full);
        }
        let until = now + self.seconds;
        inner.order.push_back((until, key.clone()));
        inner.entries.insert(key, (until, value));
        Ok(true)
    }

    /// Takes a value out.
    pub fn take<Q: Eq + Hash + ?Sized>(&self, key: &Q, now: u64) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forget(now);
        inner.entries.remove(key).map(|(_, value)| value)
    }

    /// Looks at a value, or changes it.
    pub fn with<Q: Eq + Hash + ?Sized, R>(&self, key: &Q, now: u64, look: impl FnOnce(&mut V) -> R) -> Option<R>
    where
        K: Borrow<Q>,
    {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.forget(now);
        inner.entries.get_mut(key).map(|(_, value)| look(value))
    }
}

impl<K: Eq + Hash, V> Inner<K, V> {
    fn forget(&mut self, now: u64) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            let Some((until, key)) = self.order.pop_front() else { return };
            // An entry that was taken and made again has another time.
            if self.entries.get(&key).is_some_and(|(other, _)| *other == until) {
                self.entries.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_vanish_after_their_time_and_there_are_never_too_many() {
        let entries = Expiring::new(10, 2);
        assert_eq!(entries.insert("a", 1, 100), Ok(true));
        assert_eq!(entries.insert("a", 2, 105), Ok(false), "remembered");
        assert_eq!(entries.insert("b", 2, 105), Ok(true));
        assert_eq!(entries.insert("c", 3, 109), Err(Full));
        assert_eq!(entries.with("a", 109, |value| *value), Some(1));
        assert_eq!(entries.with("a", 110, |value| *value), None, "forgotten");
        assert_eq!(entries.insert("c", 3, 110), Ok(true));
        assert_eq!((entries.take("b", 111), entries.take("b", 111)), (Some(2), None));
        assert_eq!(entries.insert("b", 4, 111), Ok(true));
        assert_eq!(
            entries.with("b", 116, |value| *value),
            Some(4),
            "made again, so its first time is no longer its end"
        );
    }
}
