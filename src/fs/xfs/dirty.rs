// SPDX-License-Identifier: MIT OR Apache-2.0
//! The used map of a filesystem whose log has to be replayed.
//!
//! The trees on the disk are older than the filesystem: blocks that were taken
//! in a transaction that is still in the log are free in them. A block is free
//! only if it is so
//!
//! - in the trees as a replay will leave them. They are judged as strictly as
//!   those of a clean filesystem, which also judges whether the log was
//!   understood;
//! - in the trees as they are on the disk, as far as they can be read, for
//!   whoever mounts the filesystem without a replay;
//! - and if the log does not name it: a replay reads what it is going to write
//!   a part of. So do blocks stay that are still to be freed.
//!
//! What follows a replay - files that were open when they were deleted, copies
//! on write that were not finished - only reads what is in use and frees it.
//! Data is on the disk before the transaction that refers to it is in the log,
//! and all of the log is stored.

use super::btree::{self, Range};
use super::group;
use super::log::Head;
use super::replay;
use super::superblock::Superblock;
use super::used;
use super::volume::Volume;
use crate::fs::Used;
use crate::fs::runs::Runs;
use crate::ondisk::FormatError;

/// The map, if the log can be followed.
pub(super) fn map(
    volume: &Volume,
    superblock: &Superblock,
    head: &Head,
    len: u64,
) -> Result<Used, FormatError> {
    let features = &superblock.geometry.features;
    if !features.has_crc {
        return Err(FormatError::unsupported(
            "its log has to be replayed, and version 4 of XFS does not say what in it is newer \
             than the disk",
        ));
    }
    if features.log_incompat != 0 {
        return Err(FormatError::unsupported(
            "its log has to be replayed, and holds items of a new kind",
        ));
    }
    let newest = Some(head.lsn);
    let replay = replay::read(volume, head)?;
    let after = volume.replayed(&replay.overlay);
    check_superblock(&after, superblock, len)?;
    let mut runs = Runs::new();
    for number in 0..u64::from(superblock.geometry.ag_count) {
        let free = used::free(&after, superblock, number, newest)?.free;
        let before = before(volume, number);
        used::push(&mut runs, superblock, number, &both(&free, &before));
    }
    let mut map = runs.into_set().union(&replay.named);
    map.extend(used::outside(superblock, len));
    Ok(Used::proven(map).note(format!(
        "its log has to be replayed ({} transactions): blocks in use before and after the replay \
         are stored",
        replay.transactions
    )))
}

/// A replay must not change where things are.
fn check_superblock(after: &Volume, superblock: &Superblock, len: u64) -> Result<(), FormatError> {
    let sector = after.read("superblock", 0, superblock.geometry.sector_size)?;
    let replayed = Superblock::parse(&sector, len)?;
    if replayed.geometry == superblock.geometry && replayed.root_inode == superblock.root_inode {
        return Ok(());
    }
    Err(FormatError::unsupported(
        "its log has to be replayed, and changes the size or the features of the filesystem",
    ))
}

/// The free ranges of a group as the disk has them, as far as it can be read.
fn before(volume: &Volume, number: u64) -> Vec<Range> {
    let Ok(group) = group::read_agf(volume, number, None) else { return Vec::new() };
    let mut ranges = btree::salvage(volume, &group, group.by_block);
    ranges.sort_unstable();
    ranges
}

/// The blocks that are in a range of each list. Both are in ascending order;
/// ranges of the second may overlap each other.
fn both(a: &[Range], b: &[Range]) -> Vec<Range> {
    let mut common: Vec<Range> = Vec::new();
    let mut next = 0_usize;
    // Up to where blocks were added: ranges must not be added twice.
    let mut added = 0_u32;
    for (start, len) in a {
        let end = start.saturating_add(*len);
        while b.get(next).is_some_and(|(first, len)| first.saturating_add(*len) <= *start) {
            next = next.saturating_add(1);
        }
        for (first, len) in b.get(next..).unwrap_or_default() {
            if *first >= end {
                break;
            }
            let from = (*first).max(*start).max(added);
            let to = first.saturating_add(*len).min(end);
            if from < to {
                common.push((from, to.saturating_sub(from)));
                added = to;
            }
        }
    }
    common
}

/// Why a dirty filesystem is stored whole.
pub(super) fn whole(len: u64, why: &FormatError) -> Used {
    let why = match why {
        FormatError::Unsupported(why) => format!("{why}: the image is exact and complete"),
        why => format!(
            "its log has to be replayed, and cannot be followed ({why}): the image is exact and \
             complete"
        ),
    };
    Used::whole(len, why).advise("to make it smaller, mount and unmount it once, then save again")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_free_only_where_both_lists_have_them() {
        assert_eq!(both(&[(5, 10), (20, 5)], &[(0, 100)]), [(5, 10), (20, 5)]);
        assert_eq!(both(&[(0, 100)], &[(5, 10), (20, 5)]), [(5, 10), (20, 5)]);
        assert_eq!(both(&[(0, 10), (12, 10)], &[(8, 6), (18, 1)]), [(8, 2), (12, 2), (18, 1)]);
        assert_eq!(both(&[(5, 10)], &[(0, 7), (3, 20), (6, 2)]), [(5, 2), (7, 8)]);
        assert_eq!(both(&[(5, 10)], &[]), []);
    }
}
