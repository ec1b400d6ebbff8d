// SPDX-License-Identifier: MIT OR Apache-2.0
//! Structures that were read and checked, kept for whoever asks for them next,
//! within a limit in bytes and for many threads at once.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher as _, Hash};
use std::sync::{Mutex, PoisonError};

/// So many threads are seldom in each other's way.
const SHARDS: usize = 16;

/// A cache. What was not asked for during two fillings of it is forgotten.
pub(super) struct Cache<K, V> {
    shards: Vec<Mutex<Generations<K, V>>>,
    hasher: RandomState,
    /// The bytes of a generation of a shard.
    most: usize,
}

struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// The bytes of the young ones.
    size: usize,
}

impl<K, V> fmt::Debug for Cache<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("most", &self.most).finish_non_exhaustive()
    }
}

impl<K: Copy + Eq + Hash, V: Clone> Cache<K, V> {
    /// Keeps at most `most` bytes of many small things.
    pub(super) fn new(most: usize) -> Self {
        Self::of_shards(SHARDS, most)
    }

    /// Keeps at most `most` bytes of a few things, each of which may take half
    /// of them.
    pub(super) fn of_few(most: usize) -> Self {
        Self::of_shards(1, most)
    }

    fn of_shards(count: usize, most: usize) -> Self {
        let shard = |_| {
            let (young, old) = (HashMap::new(), HashMap::new());
            Mutex::new(Generations { young, old, size: 0 })
        };
        Self {
            shards: (0..count).map(shard).collect(),
            hasher: RandomState::new(),
            most: most.checked_div(count.saturating_mul(2)).unwrap_or(0),
        }
    }

    /// What is kept for a key, or else what `make` gives, with its bytes. Two
    /// threads that ask at the same time may both make it; nobody waits.
    pub(super) fn get<E>(
        &self,
        key: K,
        make: impl FnOnce() -> Result<(V, usize), E>,
    ) -> Result<V, E> {
        if let Some(value) = self.find(key) {
            return Ok(value);
        }
        let (value, size) = make()?;
        self.keep(key, value.clone(), size);
        Ok(value)
    }

    /// What is kept for a key.
    pub(super) fn find(&self, key: K) -> Option<V> {
        let mut shard = self.shard(key);
        if let Some(value) = shard.young.get(&key) {
            return Some(value.clone());
        }
        // It is of use: it stays for another round.
        let value = shard.old.remove(&key)?;
        shard.young.insert(key, value.clone());
        Some(value)
    }

    /// Keeps something that was made without being asked for.
    pub(super) fn keep(&self, key: K, value: V, size: usize) {
        let mut shard = self.shard(key);
        if shard.size.saturating_add(size) > self.most {
            shard.old = std::mem::take(&mut shard.young);
            shard.size = 0;
        }
        // Larger than all that is kept: it is not.
        if size <= self.most {
            shard.young.insert(key, value);
            shard.size = shard.size.saturating_add(size);
        }
    }

    fn shard(&self, key: K) -> std::sync::MutexGuard<'_, Generations<K, V>> {
        let [byte, ..] = self.hasher.hash_one(key).to_le_bytes();
        let index = usize::from(byte).checked_rem(self.shards.len()).unwrap_or(0);
        #[expect(clippy::indexing_slicing, reason = "less than their number")]
        self.shards[index].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use std::cell::Cell;
    use std::convert::Infallible;

    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let cache: Cache<u64, u64> = Cache::new(SHARDS * 2 * 100);
        let made = Cell::new(0);
        let get = |key: u64| {
            cache.get(key, || {
                made.set(made.get() + 1);
                Ok::<_, Infallible>((key * 2, 10))
            })
        };
        for key in 0..10_000 {
            assert_eq!(get(key), Ok(key * 2));
            assert_eq!(get(0), Ok(0));
        }
        assert_eq!(made.get(), 10_000);
        let kept = (0..10_000).filter(|key| cache.find(*key).is_some()).count();
        assert!((100..=SHARDS * 20).contains(&kept), "{kept}");
        assert_eq!(get(1), Ok(2));
        assert_eq!(made.get(), 10_001);
    }

    #[test]
    fn what_is_too_large_is_given_and_not_kept() {
        let cache: Cache<u64, u64> = Cache::new(1000);
        assert_eq!(cache.get(1, || Ok::<_, Infallible>((5, 1 << 40))), Ok(5));
        assert_eq!(cache.find(1), None);
        assert_eq!(cache.get(1, || Err("no")), Err("no"));
    }
}
