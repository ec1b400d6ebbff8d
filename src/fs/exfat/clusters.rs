// SPDX-License-Identifier: MIT OR Apache-2.0
//! Sets of clusters, a bit each.

use super::boot_sector::BootSector;
use crate::fs::bitmap;
use crate::ondisk::FormatError;

/// More clusters than this, and a set would take more than 32 MiB. Windows
/// formats 32 TiB with clusters of 128 KiB, so only a volume with unusually
/// small clusters has as many.
const MOST: u64 = 1 << 28;

/// A set of the clusters of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Clusters {
    bits: Vec<u8>,
    count: u64,
}

impl Clusters {
    /// None of them.
    pub(super) fn none(boot: &BootSector) -> Result<Self, FormatError> {
        if boot.clusters > MOST {
            let count = boot.clusters;
            return Err(FormatError::unsupported(format!(
                "the exFAT filesystem has {count} clusters, more than the {MOST} whose map is kept"
            )));
        }
        let bytes = usize::try_from(boot.clusters.div_ceil(8)).unwrap_or(usize::MAX);
        Ok(Self { bits: vec![0; bytes], count: boot.clusters })
    }

    /// The bytes in which they are kept, as an allocation bitmap has them.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bits
    }

    /// Adds the clusters from `first` to before `end`.
    pub(super) fn insert(&mut self, first: u64, end: u64) {
        bitmap::set(&mut self.bits, first.saturating_sub(2), end.saturating_sub(2));
    }

    /// True if the cluster is in the set; one that the volume has not is, too.
    pub(super) fn contains(&self, cluster: u64) -> bool {
        let bit = cluster.checked_sub(2);
        let byte = bit.and_then(|bit| usize::try_from(bit / 8).ok());
        let byte = byte.and_then(|byte| self.bits.get(byte));
        byte.is_none_or(|byte| {
            byte.checked_shr(u32::try_from(bit.unwrap_or(0) % 8).unwrap_or(0)).unwrap_or(1) & 1 == 1
        })
    }

    /// The first cluster from `first` to before `end` that is in the set.
    pub(super) fn first_within(&self, first: u64, end: u64) -> Option<u64> {
        let mut cluster = first;
        while cluster < end {
            // Bytes without a bit are skipped whole.
            let bit = cluster.saturating_sub(2);
            let byte = usize::try_from(bit / 8).ok().and_then(|byte| self.bits.get(byte));
            if bit.is_multiple_of(8) && byte == Some(&0) {
                cluster = cluster.saturating_add(8);
            } else if self.contains(cluster) {
                return Some(cluster);
            } else {
                cluster = cluster.saturating_add(1);
            }
        }
        None
    }

    /// Adds all of another set of the same volume.
    pub(super) fn unite(&mut self, other: &Self) {
        for (own, other) in self.bits.iter_mut().zip(&other.bits) {
            *own |= other;
        }
    }

    /// How many are in this set and not in the other.
    pub(super) fn missing_in(&self, other: &Self) -> u64 {
        let pairs = self.bits.iter().zip(&other.bits);
        pairs.map(|(own, other)| u64::from((own & !other).count_ones())).sum()
    }

    /// Runs of clusters in the set, from the first to before the end.
    pub(super) fn runs(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        bitmap::ones(&self.bits, self.count)
            .map(|(first, end)| (first.saturating_add(2), end.saturating_add(2)))
    }
}
