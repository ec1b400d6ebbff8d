// SPDX-License-Identifier: MIT OR Apache-2.0
//! A reader that records what it gave, as hashes: whether a drive that went
//! and came back is still as it was when it was looked at.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::ReadAt;
use crate::error::Result;
use crate::extent::{Extent, ExtentSet};
use crate::units::SectorSize;

/// So many reads are remembered, which takes some megabytes; the first ones, if
/// there are more.
const MOST_READS: usize = 1 << 18;

/// What was read, as hashes.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    reads: BTreeMap<Extent, blake3::Hash>,
    has_failed: bool,
}

impl Seen {
    /// The ranges that were read, each as it was asked for.
    pub fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        self.reads.keys().copied()
    }

    /// True if `content` is what was read there; also if nothing was.
    #[must_use]
    pub fn is_same(&self, extent: Extent, content: &[u8]) -> bool {
        self.reads.get(&extent).is_none_or(|hash| *hash == blake3::hash(content))
    }

    /// One hash of all that was read, and where; `None` if something could not be
    /// read, so that a second look may go another way.
    #[must_use]
    pub fn digest(&self) -> Option<blake3::Hash> {
        let mut hasher = blake3::Hasher::new();
        for (extent, hash) in &self.reads {
            hasher.update(&extent.start().to_le_bytes()).update(&extent.end().to_le_bytes());
            hasher.update(hash.as_bytes());
        }
        (!self.has_failed).then(|| hasher.finalize())
    }
}

/// A reader that records what it gave.
#[derive(Debug)]
pub struct Recorded<R> {
    inner: R,
    seen: Mutex<Seen>,
}

impl<R: ReadAt> Recorded<R> {
    /// Reads from `inner`.
    pub fn new(inner: R) -> Self {
        Self { inner, seen: Mutex::default() }
    }

    /// What was read.
    pub fn into_seen(self) -> Seen {
        self.seen.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<R: ReadAt> ReadAt for Recorded<R> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.inner.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let result = self.inner.read_at(offset, buf);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.has_failed |= result.is_err();
        if result.is_ok() && !buf.is_empty() && seen.reads.len() < MOST_READS {
            seen.reads.insert(Extent::at(offset, buf.len() as u64), blake3::hash(buf));
        }
        result
    }

    fn known_zeros(&self) -> ExtentSet {
        self.inner.known_zeros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;
    use crate::io::conformance::{check_reader, pattern};

    #[test]
    fn what_was_read_is_known_again() {
        let bytes = pattern(5000, 3);
        check_reader(&Recorded::new(Memory::new(bytes.clone())), &bytes);
        let look = |bytes: &[u8], places: &[u64]| {
            let memory = Memory::new(bytes.to_vec()).unreadable(Extent::at(4096, 1));
            let recorded = Recorded::new(memory);
            for place in places {
                let _ = recorded.read_at(*place, &mut [0; 100]);
            }
            recorded.into_seen()
        };
        let seen = look(&bytes, &[0, 1000, 0]);
        assert_eq!(seen.extents().collect::<Vec<_>>(), [Extent::at(0, 100), Extent::at(1000, 100)]);
        assert!(seen.is_same(Extent::at(1000, 100), &bytes[1000..1100]));
        assert!(!seen.is_same(Extent::at(1000, 100), &bytes[1001..1101]));
        // In any order, and as often as it is.
        assert_eq!(seen.digest(), look(&bytes, &[1000, 0]).digest());
        let mut used = bytes.clone();
        used[1050] ^= 1;
        for other in [look(&used, &[0, 1000]), look(&bytes, &[0]), look(&bytes, &[0, 1001])] {
            assert!(other.digest().is_some());
            assert_ne!(seen.digest(), other.digest());
        }
        assert_eq!(look(&bytes, &[0, 1000, 4096]).digest(), None);
    }
}
