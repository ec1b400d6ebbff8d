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

/// Sets the bits from `start` to before `end`; true if one was not set.
fn set(bitmap: &mut [u8], start: u64, end: u64) -> bool {
    let mut changed = false;
    let mut bit = start;
    while bit < end {
        let Some(byte) = usize::try_from(bit >> 3).ok().and_then(|byte| bitmap.get_mut(byte))
        else {
            return true;
        };
        let next = (bit | 7).saturating_add(1).min(end);
        // The bits of this byte: from `bit & 7` to before `next - (bit & !7)`.
        let low = 0xFF_u32 << (bit & 7);
        let high = 0xFF_u32 >> ((bit | 7).saturating_add(1).saturating_sub(next));
        let [mask, ..] = (low & high).to_le_bytes();
        changed |= *byte & mask != mask;
        *byte |= mask;
        bit = next;
    }
    changed
}

/// The runs of ones among the first `count` bits, in ascending order.
fn ones(bitmap: &[u8], count: u64) -> impl Iterator<Item = (u64, u64)> + '_ {
    let mut position = 0;
    std::iter::from_fn(move || {
        let start = find(bitmap, position, count, 0x00)?;
        let end = find(bitmap, start, count, 0xFF).unwrap_or(count);
        position = end;
        Some((start, end))
    })
}

/// The first bit from `from` to before `count` that differs from those of
/// `same`, which is 0x00 or 0xFF.
fn find(bitmap: &[u8], from: u64, count: u64, same: u8) -> Option<u64> {
    let mut bit = from;
    while bit < count {
        let index = usize::try_from(bit >> 3).ok()?;
        let differs = (bitmap.get(index)? ^ same).checked_shr(u32::try_from(bit & 7).ok()?)?;
        if differs != 0 {
            bit = bit.saturating_add(u64::from(differs.trailing_zeros()));
            return (bit < count).then_some(bit);
        }
        // Whole bytes of the same kind are what most of a bitmap is made of.
        let rest = bitmap.get(index.saturating_add(1)..)?;
        let skipped = rest.iter().position(|byte| *byte != same).unwrap_or(rest.len());
        let skipped = u64::try_from(skipped).ok()?.saturating_mul(8);
        bit = (bit | 7).saturating_add(1).saturating_add(skipped);
    }
    None
}

/// Collects used ranges in ascending order, in bounded memory.
///
/// When a map has become too fragmented, the smallest free ranges count as
/// used: a map may always claim more than is in use, and nobody gains from
/// skipping a few blocks at a time.
#[derive(Debug, Default)]
pub(super) struct Runs {
    set: ExtentSet,
    /// Free ranges shorter than this count as used.
    shortest_hole: u64,
}

/// 16 MiB of ranges.
const MAX_EXTENTS: usize = 1 << 20;

impl Runs {
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds a range that starts behind all others.
    pub(super) fn push(&mut self, extent: Extent) {
        self.join(extent);
        if self.set.count() <= MAX_EXTENTS {
            return;
        }
        self.shortest_hole = self.shortest_hole.saturating_mul(2).max(4096);
        for extent in std::mem::take(&mut self.set).iter() {
            self.join(extent);
        }
    }

    fn join(&mut self, extent: Extent) {
        let end = self.set.end();
        let hole = extent.start().saturating_sub(end);
        let start =
            if hole < self.shortest_hole { extent.start().min(end) } else { extent.start() };
        self.set.insert(Extent::new(start, extent.end()));
    }

    /// The collected ranges.
    pub(super) fn into_set(self) -> ExtentSet {
        self.set
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use proptest::prelude::{any, prop, prop_assert_eq, proptest};

    use super::*;

    proptest! {
        #[test]
        fn runs_are_those_of_single_bits(
            mut bitmap in prop::collection::vec(
                prop::sample::select(vec![0_u8, 0xFF, 0x0F, 0xF0, 0x55, 0x80, 0x01]), 1..40),
            count in any::<prop::sample::Index>(),
            ends in any::<(prop::sample::Index, prop::sample::Index)>(),
        ) {
            let bits = bitmap.len() * 8;
            let count = count.index(bits + 1) as u64;
            let (a, b) = (ends.0.index(bits + 1) as u64, ends.1.index(bits + 1) as u64);
            let (start, end) = (a.min(b), a.max(b));
            let is_one = |bitmap: &[u8], bit: u64| bitmap[bit as usize / 8] >> (bit % 8) & 1 == 1;

            let missing = (start..end).any(|bit| !is_one(&bitmap, bit));
            let mut expected: Vec<bool> = (0..bits as u64).map(|bit| is_one(&bitmap, bit)).collect();
            expected[start as usize..end as usize].fill(true);
            prop_assert_eq!(set(&mut bitmap, start, end), missing);
            let found: Vec<bool> = (0..bits as u64).map(|bit| is_one(&bitmap, bit)).collect();
            prop_assert_eq!(&found, &expected);

            let mut by_runs = vec![false; count as usize];
            let mut last = None;
            for (start, end) in ones(&bitmap, count) {
                assert!(start < end && end <= count && last.is_none_or(|last| last < start));
                by_runs[start as usize..end as usize].fill(true);
                last = Some(end);
            }
            prop_assert_eq!(&by_runs[..], &expected[..count as usize]);
        }
    }

    #[test]
    fn bits_outside_of_the_bitmap_are_never_set() {
        assert!(set(&mut [0xFF], 0, 9));
        assert_eq!(ones(&[0xFF], 20).collect::<Vec<_>>(), [(0, 20)]);
        assert_eq!(ones(&[], 20).count(), 0);
    }

    #[test]
    fn a_last_cluster_that_is_cut_short_ends_with_its_group() {
        let frame = Frame { bytes: Extent::new(100, 190), count: 3, cluster_bytes: 40 };
        assert_eq!(frame.extent(1, 3), Extent::new(140, 190));
        assert_eq!(frame.clusters(Extent::new(139, 141)), (0, 2));
        assert_eq!(frame.clusters(Extent::new(180, 190)), (2, 3));
    }

    #[test]
    fn a_fragmented_map_gives_up_its_smallest_holes_first() {
        let mut runs = Runs::new();
        let mut used = ExtentSet::new();
        for index in 0..MAX_EXTENTS as u64 + 10 {
            // Holes of 4 KiB, and every 1024th of 1 MiB.
            let start = index * 8192 + (index >> 10 << 20);
            runs.push(Extent::at(start, 4096));
            used.insert(Extent::at(start, 4096));
        }
        let set = runs.into_set();
        assert_eq!(used.subtract(&set), ExtentSet::new());
        assert!(set.count() <= 1026, "{}", set.count());
        assert!(set.holes_within(Extent::new(0, set.end())).all(|hole| hole.len() > 1 << 20));
        assert_eq!(set.count() - 1, set.holes_within(Extent::new(0, set.end())).count());
    }
}
