// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the free-space trees of every group to the used map.
//!
//! A range is free only if both trees have it. What they add up to has to be
//! what the AGF says, and nothing that has a use may be in them: the trees' own
//! blocks, blocks that wait in the AGFL, roots of other trees, the log, the root
//! folder. `sb_fdblocks` is not asked: blocks are reserved in memory, and the
//! counter is only right after an unmount.

use super::btree::{self, Order, Range};
use super::group::{self, Group};
use super::superblock::Superblock;
use super::volume::Volume;
use crate::extent::Extent;
use crate::fs::runs::Runs;
use crate::ondisk::FormatError;

/// Adds the used blocks of a group to `runs`: all but `free`, in ascending
/// order.
pub(super) fn push(runs: &mut Runs, superblock: &Superblock, number: u64, free: &[Range]) {
    let geometry = &superblock.geometry;
    let mut at = 0_u32;
    let mut used = |first: u32, end: u32| {
        if first < end {
            let count = end.saturating_sub(first);
            runs.push(geometry.extent(number, first.into(), count.into()));
        }
    };
    for (first, len) in free {
        used(at, *first);
        at = first.saturating_add(*len);
    }
    used(at, geometry.ag_len(number));
}

/// What of a group is not in use.
pub(super) struct Space {
    /// The proven free ranges, in ascending order.
    pub(super) free: Vec<Range>,
    /// Blocks that are set aside for the free-space trees.
    pub(super) reserve: Vec<u32>,
}

/// The space of a group that is proven to be free.
pub(super) fn free(
    volume: &Volume,
    superblock: &Superblock,
    number: u64,
    newest: Option<u64>,
) -> Result<Space, FormatError> {
    let group = group::read(volume, superblock, number, newest)?;
    let by_block = btree::read(volume, &group, group.by_block, Order::Place, newest)?;
    let by_size = btree::read(volume, &group, group.by_size, Order::Length, newest)?;
    let free = by_block.ranges;
    check_same(&group, &free, &by_size.ranges)?;
    check_counts(volume, &group, &free, by_block.blocks.len(), by_size.blocks.len())?;

    let mut taken: Vec<u32> = by_block.blocks;
    taken.extend(by_size.blocks);
    taken.extend(&group.reserve);
    taken.extend(&group.roots);
    taken.sort_unstable();
    let mut last = None;
    for block in taken {
        if last == Some(block) {
            let place = volume.geometry.extent(number, block.into(), 1).start();
            return Err(FormatError::corrupt("metadata block", place, "one owner", "two"));
        }
        last = Some(block);
        check_not_free(volume, &group, &free, block, 1)?;
    }
    let root = superblock.geometry.block_of_inode(superblock.root_inode);
    for (block, count) in
        [(root, 1), (superblock.geometry.log_start, u64::from(superblock.geometry.log_blocks))]
    {
        let (group_of, first) = superblock.geometry.split(block);
        if block != 0 && group_of == number {
            let first = u32::try_from(first).unwrap_or(u32::MAX);
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            check_not_free(volume, &group, &free, first, count)?;
        }
    }
    Ok(Space { free, reserve: group.reserve })
}

/// Both trees hold the same ranges: each of the second is in the first, no
/// tree has one twice, and there are as many.
fn check_same(group: &Group, by_block: &[Range], by_size: &[Range]) -> Result<(), FormatError> {
    let corrupt = |expected: String, found: String| {
        Err(FormatError::corrupt("free-space tree by length", group.position, expected, found))
    };
    if by_block.len() != by_size.len() {
        let expected = format!("{} ranges as in the tree by place", by_block.len());
        return corrupt(expected, by_size.len().to_string());
    }
    for range in by_size {
        if by_block.binary_search(range).is_err() {
            return corrupt("the ranges of the tree by place".to_owned(), format!("{range:?}"));
        }
    }
    Ok(())
}

fn check_counts(
    volume: &Volume,
    group: &Group,
    free: &[Range],
    place_blocks: usize,
    length_blocks: usize,
) -> Result<(), FormatError> {
    let sum = free.iter().fold(0_u64, |sum, (_, len)| sum.saturating_add((*len).into()));
    let longest = free.iter().map(|(_, len)| *len).max().unwrap_or(0);
    // The roots are not counted.
    let trees = place_blocks.saturating_add(length_blocks).saturating_sub(2);
    let trees = u64::try_from(trees).unwrap_or(u64::MAX);
    let trees = trees.saturating_add(group.rmap_blocks.saturating_sub(1).into());
    let has_tree_count = volume.geometry.features.has_lazy_count;
    for (field, found, expected, is_kept) in [
        ("agf_freeblks", u64::from(group.free_blocks), sum, true),
        ("agf_longest", group.longest.into(), longest.into(), true),
        ("agf_btreeblks", group.btree_blocks.into(), trees, has_tree_count),
    ] {
        if is_kept && found != expected {
            let expected = format!("{expected} as in the trees of group {}", group.number);
            return Err(FormatError::corrupt(field, group.position, expected, found));
        }
    }
    Ok(())
}

/// An error if one of the blocks is free.
fn check_not_free(
    volume: &Volume,
    group: &Group,
    free: &[Range],
    first: u32,
    count: u32,
) -> Result<(), FormatError> {
    let end = first.saturating_add(count);
    let next = free.partition_point(|(start, len)| start.saturating_add(*len) <= first);
    if free.get(next).is_none_or(|(start, _)| *start >= end) {
        return Ok(());
    }
    let place = volume.geometry.extent(group.number, first.into(), count.into());
    Err(FormatError::corrupt("free-space tree", place.start(), "blocks in use", "free blocks"))
}

/// What no tree speaks of: the headers of the groups, the log, and what lies
/// behind the end of the filesystem.
pub(super) fn outside(superblock: &Superblock, len: u64) -> Vec<Extent> {
    let geometry = &superblock.geometry;
    vec![geometry.log(), Extent::new(geometry.size(), len)]
}
