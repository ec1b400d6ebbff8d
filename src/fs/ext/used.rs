// SPDX-License-Identifier: MIT OR Apache-2.0
//! From block bitmaps to the used map.
//!
//! The bitmap of a group has a bit per cluster. It is believed only if its
//! checksum is right (where it has one), if it marks all metadata that the
//! layout places in the group, and if it has as many free bits as the group's
//! descriptor says. A group whose bitmap was never written holds nothing but
//! its metadata.

use super::group::{Group, Trust, bitmap_checksum};
use super::superblock::Superblock;
use super::volume::Volume;
use crate::extent::{Extent, ExtentSet};
use crate::fs::bitmap::{ones, set};
use crate::fs::runs::Runs;
use crate::ondisk::FormatError;

/// What the map is made of.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) volume: Volume<'a>,
    pub(super) superblock: &'a Superblock,
    pub(super) groups: &'a [Group],
    /// The bytes that a bitmap has to mark.
    pub(super) required: &'a ExtentSet,
    pub(super) trust: Trust,
}

impl Source<'_> {
    /// The used bytes of all groups; what lies outside of them is not in it.
    pub(super) fn map(&self) -> Result<Runs, FormatError> {
        let mut runs = Runs::new();
        let mut free = 0_u64;
        let mut number = 0_usize;
        while let Some(group) = self.groups.get(number) {
            if group.is_uninit {
                free = free.saturating_add(self.uninit(number, group, &mut runs)?);
                number = number.saturating_add(1);
                continue;
            }
            // With flex_bg the bitmaps of many groups lie side by side.
            let count = self.bitmaps_at_once(number);
            let blocks = u64::try_from(count).unwrap_or(1);
            let mut bytes = self.volume.read("block bitmap", group.block_bitmap, blocks)?;
            let len = bytes.len().checked_div(count).unwrap_or(0).max(1);
            for bitmap in bytes.chunks_exact_mut(len) {
                let Some(group) = self.groups.get(number) else { break };
                free = free.saturating_add(self.bitmap(number, group, bitmap, &mut runs)?);
                number = number.saturating_add(1);
            }
        }
        self.check_sum(free)?;
        Ok(runs)
    }

    /// How many groups from this one on have bitmaps that lie side by side.
    fn bitmaps_at_once(&self, number: usize) -> usize {
        let groups = self.groups.get(number..).unwrap_or_default();
        let most = usize::try_from(self.volume.blocks_at_once()).unwrap_or(1);
        let follow = |pair: &&[Group]| match pair {
            [a, b] => !b.is_uninit && a.block_bitmap.checked_add(1) == Some(b.block_bitmap),
            _ => false,
        };
        groups.windows(2).take(most.saturating_sub(1)).take_while(follow).count().saturating_add(1)
    }

    /// A group without a bitmap; returns its free clusters.
    fn uninit(&self, number: usize, group: &Group, runs: &mut Runs) -> Result<u64, FormatError> {
        let frame = self.frame(number);
        let mut used = 0_u64;
        let mut last = 0;
        for extent in self.required.within(frame.bytes) {
            // Two structures in one cluster count once.
            let (start, end) = frame.clusters(extent);
            let start = start.max(last);
            used = used.saturating_add(end.saturating_sub(start));
            runs.push(frame.extent(start, end));
            last = end.max(last);
        }
        let free = frame.count.saturating_sub(used);
        self.check_count(number, group, free)?;
        Ok(free)
    }

    /// A group's bitmap, in which the required bits are set; returns its free
    /// clusters.
    pub(super) fn bitmap(
        &self,
        number: usize,
        group: &Group,
        bitmap: &mut [u8],
        runs: &mut Runs,
    ) -> Result<u64, FormatError> {
        let frame = self.frame(number);
        let geometry = &self.superblock.geometry;
        let len = usize::try_from(geometry.clusters_per_group >> 3).unwrap_or(usize::MAX);
        let position = self.volume.extent(group.block_bitmap, 1).start();
        if self.trust != Trust::Before && self.superblock.has_metadata_checksums() {
            let covered = bitmap.get(..len).unwrap_or_default();
            let computed = bitmap_checksum(self.superblock, covered);
            if computed != group.bitmap_checksum {
                return Err(FormatError::corrupt(
                    "checksum of a block bitmap",
                    position,
                    format!(
                        "{:#010x} as in the descriptor of group {number}",
                        group.bitmap_checksum
                    ),
                    format!("{computed:#010x}"),
                ));
            }
        }
        for extent in self.required.within(frame.bytes) {
            let (start, end) = frame.clusters(extent);
            if set(bitmap, start, end) && self.trust != Trust::Before {
                return Err(FormatError::corrupt(
                    "block bitmap",
                    position,
                    format!("metadata at bytes {extent} of group {number} marked as in use"),
                    "free blocks there",
                ));
            }
        }
        let mut used = 0_u64;
        for (start, end) in ones(bitmap, frame.count) {
            used = used.saturating_add(end.saturating_sub(start));
            runs.push(frame.extent(start, end));
        }
        let free = frame.count.saturating_sub(used);
        self.check_count(number, group, free)?;
        Ok(free)
    }

    fn check_count(&self, number: usize, group: &Group, free: u64) -> Result<(), FormatError> {
        if self.trust == Trust::Before || u64::from(group.free) == free {
            return Ok(());
        }
        Err(FormatError::corrupt(
            "block bitmap",
            self.volume.extent(group.block_bitmap, 1).start(),
            format!("{} free clusters as in the descriptor of group {number}", group.free),
            free,
        ))
    }

    /// The superblock's count is brought up to date when the filesystem is
    /// unmounted, and only then.
    fn check_sum(&self, free_clusters: u64) -> Result<(), FormatError> {
        if self.trust != Trust::Clean {
            return Ok(());
        }
        let free = free_clusters.saturating_mul(self.superblock.geometry.cluster_ratio);
        if free == self.superblock.free_blocks {
            return Ok(());
        }
        Err(FormatError::corrupt(
            "s_free_blocks_count",
            super::superblock::POSITION,
            format!("{free} blocks, the sum of all groups"),
            self.superblock.free_blocks,
        ))
    }

    fn frame(&self, number: usize) -> Frame {
        let geometry = &self.superblock.geometry;
        let number = u64::try_from(number).unwrap_or(u64::MAX);
        let start = geometry.group_start(number);
        let end = geometry.group_end(number);
        Frame {
            bytes: self.volume.extent(start, end.saturating_sub(start)),
            count: geometry.group_clusters(number),
            cluster_bytes: geometry.block_size.saturating_mul(geometry.cluster_ratio).max(1),
        }
    }
}

/// A group's place, in bytes and in clusters.
struct Frame {
    bytes: Extent,
    count: u64,
    cluster_bytes: u64,
}

impl Frame {
    /// The first cluster of an extent of the group and the one after its last.
    fn clusters(&self, extent: Extent) -> (u64, u64) {
        let start = extent.start().saturating_sub(self.bytes.start());
        let end = extent.end().saturating_sub(self.bytes.start());
        let start = start.checked_div(self.cluster_bytes).unwrap_or(0);
        (start, end.div_ceil(self.cluster_bytes).min(self.count))
    }

    /// The bytes of the clusters from `start` to before `end`.
    fn extent(&self, start: u64, end: u64) -> Extent {
        let at = |cluster: u64| {
            self.bytes.start().saturating_add(cluster.saturating_mul(self.cluster_bytes))
        };
        // The last cluster of a filesystem may be cut short by its end.
        Extent::new(at(start), at(end)).intersect(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use super::*;

    #[test]
    fn a_last_cluster_that_is_cut_short_ends_with_its_group() {
        let frame = Frame { bytes: Extent::new(100, 190), count: 3, cluster_bytes: 40 };
        assert_eq!(frame.extent(1, 3), Extent::new(140, 190));
        assert_eq!(frame.clusters(Extent::new(139, 141)), (0, 2));
        assert_eq!(frame.clusters(Extent::new(180, 190)), (2, 3));
    }
}
