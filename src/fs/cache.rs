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
    /// Each with its bytes.
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    /// The bytes of the young ones.
    size: usize,
}

impl<K: Eq + Hash, V> Generations<K, V> {
    /// Keeps something among the young ones, of which there are at most `most`
    /// bytes.
    fn keep(&mut self, key: K, value: V, size: usize, most: usize) {
        self.old.remove(&key);
        if let Some((_, before)) = self.young.remove(&key) {
            self.size = self.size.saturating_sub(before);
        }
        if self.size.saturating_add(size) > most {
            self.old = std::mem::take(&mut self.young);
            self.size = 0;
        }
        // Larger than all that is kept: it is not.
        if size <= most {
            self.young.insert(key, (value, size));
            self.size = self.size.saturating_add(size);
        }
    }
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
        if let Some((value, _)) = shard.young.get(&key) {
            return Some(value.clone());
        }
        // It is of use: it stays for another round.
        let (value, size) = shard.old.remove(&key)?;
        shard.keep(key, value.clone(), size, self.most);
        Some(value)
    }

    /// Keeps something that was made without being asked for.
    pub(super) fn keep(&self, key: K, value: V, size: usize) {
        self.shard(key).keep(key, value, size, self.most);
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
    fn what_stays_for_another_round_is_counted() {
        let cache: Cache<u64, u64> = Cache::of_few(1000);
        let kept = || {
            let shard = cache.shard(0);
            shard.young.len() + shard.old.len()
        };
        for round in 0..20 {
            for key in 0..6 {
                cache.keep(round * 6 + key, key, 100);
                for before in 0..round * 6 + key {
                    cache.find(before);
                    assert!(kept() <= 10, "{} things of 100 bytes", kept());
                }
            }
        }
        // The same thing twice is there once.
        for _ in 0..100 {
            cache.keep(7, 7, 100);
        }
        assert!((5..=10).contains(&kept()), "{}", kept());
        assert_eq!(cache.find(7), Some(7));
    }

    #[test]
    fn what_is_too_large_is_given_and_not_kept() {
        let cache: Cache<u64, u64> = Cache::new(1000);
        assert_eq!(cache.get(1, || Ok::<_, Infallible>((5, 1 << 40))), Ok(5));
        assert_eq!(cache.find(1), None);
        assert_eq!(cache.get(1, || Err("no")), Err("no"));
    }
}
