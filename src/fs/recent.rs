// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was opened last, kept for the next who asks: where the content of a
//! file lies need not be found again for every piece of it that is read.

use std::sync::{Arc, Mutex, PoisonError};

/// The things that were used last, in a bounded number of bytes. The lock is
/// held to look and to put away, never while something is read.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    kept: Mutex<Vec<Kept<K, V>>>,
    /// How many are kept at most, and bytes of them; one is always.
    most: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Kept<K, V> {
    key: K,
    value: Arc<V>,
    bytes: usize,
}

impl<K: PartialEq, V> Recent<K, V> {
    /// Keeps so many things, of so many bytes together.
    pub(super) const fn new(most: usize, most_bytes: usize) -> Self {
        Self { kept: Mutex::new(Vec::new()), most, most_bytes }
    }

    /// What is kept under `key`, or what `open` gives: that, and how many bytes
    /// it takes.
    pub(super) fn get_or_open<E>(
        &self,
        key: K,
        open: impl FnOnce() -> Result<(V, usize), E>,
    ) -> Result<Arc<V>, E> {
        if let Some(value) = self.get(&key) {
            return Ok(value);
        }
        let (value, bytes) = open()?;
        let value = Arc::new(value);
        self.put(key, Arc::clone(&value), bytes);
        Ok(value)
    }

    /// What is kept under `key`.
    pub(super) fn get(&self, key: &K) -> Option<Arc<V>> {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // The last is the one that was used last, and most likely the one.
        let index = kept.iter().rposition(|kept| kept.key == *key)?;
        let found = kept.remove(index);
        let value = Arc::clone(&found.value);
        kept.push(found);
        Some(value)
    }

    /// Keeps something of so many bytes.
    pub(super) fn put(&self, key: K, value: Arc<V>, bytes: usize) {
        let new = Kept { key, value, bytes };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.retain(|kept| kept.key != new.key);
        let mut bytes = new.bytes;
        let mut room = self.most.saturating_sub(1);
        // From the last one back, those that there is room for.
        let stays = kept.iter().rev().take_while(|kept| {
            bytes = bytes.saturating_add(kept.bytes);
            let fits = room > 0 && bytes <= self.most_bytes;
            room = room.saturating_sub(1);
            fits
        });
        let goes = kept.len().saturating_sub(stays.count());
        kept.drain(..goes);
        kept.push(new);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(recent: &Recent<u32, u32>, key: u32, bytes: usize) -> bool {
        let mut opened = false;
        let value = recent.get_or_open(key, || {
            opened = true;
            Ok::<_, ()>((key.saturating_mul(10), bytes))
        });
        assert_eq!(value.as_deref(), Ok(&key.saturating_mul(10)));
        opened
    }

    #[test]
    fn the_last_used_are_kept_in_number_and_bytes() {
        let recent = Recent::new(3, 100);
        assert!(open(&recent, 1, 10) && open(&recent, 2, 10) && open(&recent, 3, 10));
        assert!(!open(&recent, 1, 10));
        assert!(open(&recent, 4, 10));
        assert!(!open(&recent, 1, 10), "it was used later than 2");
        assert!(open(&recent, 2, 10));
        // What is too large is kept alone.
        assert!(open(&recent, 5, 1000));
        assert!(!open(&recent, 5, 1000));
        assert!(open(&recent, 2, 10));
        assert!(open(&recent, 5, 1000));
    }

    #[test]
    fn what_failed_is_not_kept() {
        let recent = Recent::<u32, u32>::new(3, 100);
        assert_eq!(recent.get_or_open(1, || Err("no")), Err("no"));
        assert!(open(&recent, 1, 10));
    }
}
