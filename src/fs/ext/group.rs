// SPDX-License-Identifier: MIT OR Apache-2.0
//! Block groups: their descriptors, and the metadata whose places follow from
//! the layout and the descriptors alone.
//!
//! The descriptor table follows the superblock in one piece, or, from the
//! first block that meta_bg places, lies in pieces of one block, each in the
//! first group that it describes.

use super::checksum::{crc16, crc32c};
use super::features::RO_COMPAT_METADATA_CSUM;
use super::geometry::Geometry;
use super::superblock::Superblock;
use super::volume::Volume;
use crate::extent::{Extent, ExtentSet};
use crate::ondisk::{Fields, FormatError};

const FLAG_BLOCK_UNINIT: u16 = 0x2;
/// `bg_checksum`, which is left out of what it covers.
const CHECKSUM_OFFSET: usize = 0x1E;
/// A descriptor that reaches to here holds all 32 bits of its bitmap's checksum.
const BITMAP_CHECKSUM_END: usize = 0x3A;

/// What the used map needs of a group descriptor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Blocks.
    pub(super) block_bitmap: u64,
    pub(super) inode_bitmap: u64,
    pub(super) inode_table: u64,
    /// Clusters.
    pub(super) free: u32,
    /// True if the block bitmap was never written, proven by the checksum.
    pub(super) is_uninit: bool,
    pub(super) bitmap_checksum: u32,
}

/// How much a structure on the disk can be relied upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Trust {
    /// A filesystem that was unmounted: every checksum and every count has to
    /// be right.
    Clean,
    /// The state that a replay makes: the same, except for the superblock's
    /// count of free blocks, which is brought up to date by unmounting only.
    Replayed,
    /// The state before a replay, which may be half-way between two
    /// transactions: only positions are checked. Never used alone.
    Before,
}

/// Reads all group descriptors.
pub(super) fn read(
    volume: &Volume,
    superblock: &Superblock,
    trust: Trust,
) -> Result<Vec<Group>, FormatError> {
    let geometry = &superblock.geometry;
    let mut groups = Vec::with_capacity(usize::try_from(geometry.groups).unwrap_or(0));
    let mut index = 0;
    while index < geometry.desc_blocks {
        let first = table_block(geometry, index);
        // The part of the table that lies in one piece is read in long runs.
        let count = geometry.first_meta_bg.saturating_sub(index).clamp(1, volume.blocks_at_once());
        let bytes = volume.read("group descriptors", first, count)?;
        for (at, raw) in bytes.chunks_exact(geometry.desc_size).enumerate() {
            let number = groups.len();
            if u64::try_from(number).unwrap_or(u64::MAX) >= geometry.groups {
                break;
            }
            let offset = at.saturating_mul(geometry.desc_size);
            let position = volume
                .extent(first, 1)
                .start()
                .saturating_add(u64::try_from(offset).unwrap_or(u64::MAX));
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            let group = parse(superblock, number, raw, position, trust)?;
            check_places(volume, u64::from(number), &group)?;
            groups.push(group);
        }
        index = index.saturating_add(count);
    }
    Ok(groups)
}

/// Reads the descriptor of one group.
pub(super) fn read_one(
    volume: &Volume,
    superblock: &Superblock,
    number: u64,
) -> Result<Group, FormatError> {
    let geometry = &superblock.geometry;
    let index = number.checked_div(geometry.descs_per_block).unwrap_or(0);
    let at = number.checked_rem(geometry.descs_per_block).unwrap_or(0);
    let block = table_block(geometry, index);
    let bytes = volume.read("group descriptors", block, 1)?;
    let start = volume.extent(block, 1).start();
    let offset = usize::try_from(at).unwrap_or(usize::MAX).saturating_mul(geometry.desc_size);
    let raw = bytes.bytes_at(offset, geometry.desc_size).unwrap_or_default();
    let position = start.saturating_add(u64::try_from(offset).unwrap_or(u64::MAX));
    let group =
        parse(superblock, u32::try_from(number).unwrap_or(u32::MAX), raw, position, Trust::Clean)?;
    check_places(volume, number, &group)?;
    Ok(group)
}

/// The block of the primary descriptor table with this index.
pub(super) fn table_block(geometry: &Geometry, index: u64) -> u64 {
    if index < geometry.first_meta_bg {
        return geometry.superblock_block().saturating_add(1).saturating_add(index);
    }
    meta_bg_block(geometry, index.saturating_mul(geometry.descs_per_block))
}

/// Where a group that holds one block of descriptors by the rule of meta_bg
/// holds it: behind the superblock, if it has one, else first.
fn meta_bg_block(geometry: &Geometry, group: u64) -> u64 {
    superblock_copy(geometry, group)
        .map_or_else(|| geometry.group_start(group), |block| block.saturating_add(1))
}

/// The block of a group's copy of the superblock.
fn superblock_copy(geometry: &Geometry, group: u64) -> Option<u64> {
    if group == 0 {
        return Some(geometry.superblock_block());
    }
    geometry.has_superblock(group).then(|| geometry.group_start(group))
}

fn parse(
    superblock: &Superblock,
    number: u32,
    raw: &[u8],
    position: u64,
    trust: Trust,
) -> Result<Group, FormatError> {
    let short = || FormatError::corrupt("group descriptor", position, "32 bytes", raw.len());
    let features = superblock.features;
    if trust != Trust::Before && features.has_group_checksums() {
        let stored = raw.u16_le(CHECKSUM_OFFSET).ok_or_else(short)?;
        let computed = checksum(superblock, number, raw).ok_or_else(short)?;
        if stored != computed {
            return Err(FormatError::corrupt(
                "checksum of a group descriptor",
                position,
                format!("{computed:#06x}"),
                format!("{stored:#06x}"),
            ));
        }
    }
    let group = || -> Option<Group> {
        // The upper halves exist with 64bit only.
        let wide = raw.len() >= 64;
        let high32 = |offset| if wide { raw.u32_le(offset).map(u64::from) } else { Some(0) };
        let high16 = |offset| if wide { raw.u16_le(offset).map(u32::from) } else { Some(0) };
        let block = |low, high| Some(high32(high)? << 32 | u64::from(raw.u32_le(low)?));
        let checksum_high = if raw.len() >= BITMAP_CHECKSUM_END { high16(0x38)? } else { 0 };
        Some(Group {
            block_bitmap: block(0x0, 0x20)?,
            inode_bitmap: block(0x4, 0x24)?,
            inode_table: block(0x8, 0x28)?,
            free: high16(0x2C)? << 16 | u32::from(raw.u16_le(0xC)?),
            // Without a checksum the kernel does not believe the flag either.
            is_uninit: features.has_group_checksums() && raw.u16_le(0x12)? & FLAG_BLOCK_UNINIT != 0,
            bitmap_checksum: checksum_high << 16 | u32::from(raw.u16_le(0x18)?),
        })
    };
    group().ok_or_else(short)
}

/// What `bg_checksum` should be.
fn checksum(superblock: &Superblock, number: u32, raw: &[u8]) -> Option<u16> {
    let before = raw.get(..CHECKSUM_OFFSET)?;
    let after = raw.get(CHECKSUM_OFFSET.checked_add(2)?..)?;
    let number = number.to_le_bytes();
    if superblock.features.has_ro_compat(RO_COMPAT_METADATA_CSUM) {
        let crc = crc32c(crc32c(superblock.checksum_seed, &number), before);
        let [low, high, ..] = crc32c(crc32c(crc, &[0, 0]), after).to_le_bytes();
        return Some(u16::from_le_bytes([low, high]));
    }
    let crc = crc16(crc16(crc16(u16::MAX, &superblock.uuid), &number), before);
    Some(crc16(crc, after))
}

/// The checksum that a block bitmap should have, as far as a descriptor of
/// this filesystem can hold it.
pub(super) fn bitmap_checksum(superblock: &Superblock, bitmap: &[u8]) -> u32 {
    let crc = crc32c(superblock.checksum_seed, bitmap);
    if superblock.geometry.desc_size >= BITMAP_CHECKSUM_END { crc } else { crc & 0xFFFF }
}

fn check_places(volume: &Volume, number: u64, group: &Group) -> Result<(), FormatError> {
    let geometry = volume.geometry();
    // Without flex_bg a group's metadata lies in the group.
    let (start, end) = if geometry.has_flex_bg {
        (geometry.first_data_block, geometry.blocks)
    } else {
        (geometry.group_start(number), geometry.group_end(number))
    };
    for (what, first, count) in [
        ("block bitmap", group.block_bitmap, 1),
        ("inode bitmap", group.inode_bitmap, 1),
        ("inode table", group.inode_table, geometry.inode_table_blocks),
    ] {
        let last = first.checked_add(count);
        if first < start || last.is_none_or(|last| last > end) {
            return Err(FormatError::corrupt(
                what,
                volume.extent(first, count).start(),
                format!("that of group {number} between blocks {start} and {end}"),
                format!("block {first}"),
            ));
        }
    }
    Ok(())
}

/// The bytes of all metadata whose place is fixed: superblocks and descriptor
/// tables with their copies, bitmaps and inode tables.
pub(super) fn metadata(volume: &Volume, groups: &[Group]) -> Result<ExtentSet, FormatError> {
    let geometry = volume.geometry();
    let mut extents: Vec<Extent> = Vec::new();
    for (number, group) in (0_u64..).zip(groups) {
        extents.extend([
            volume.extent(group.block_bitmap, 1),
            volume.extent(group.inode_bitmap, 1),
            volume.extent(group.inode_table, geometry.inode_table_blocks),
        ]);
        if let Some(copy) = superblock_copy(geometry, number) {
            extents.push(volume.extent(copy, 1));
            if has_table(geometry, number) {
                extents.push(within(volume, copy.saturating_add(1), geometry.first_meta_bg));
            }
        }
        if has_meta_bg_block(geometry, number) {
            extents.push(within(volume, meta_bg_block(geometry, number), 1));
        }
    }
    let sum = extents.iter().fold(0_u64, |sum, extent| sum.saturating_add(extent.len()));
    let set: ExtentSet = extents.into_iter().collect();
    // Two structures in one place: one of them is not where it is said to be,
    // so neither proves what is free.
    if set.bytes() != sum {
        return Err(FormatError::corrupt(
            "metadata",
            0,
            format!("{sum} bytes of superblocks, descriptors, bitmaps and inode tables"),
            format!("{} bytes, as some overlap", set.bytes()),
        ));
    }
    Ok(set)
}

/// The bytes kept free behind each descriptor table for more descriptors.
pub(super) fn reserved_descriptors(volume: &Volume) -> ExtentSet {
    let geometry = volume.geometry();
    if geometry.reserved_gdt_blocks == 0 {
        return ExtentSet::new();
    }
    (0..geometry.groups)
        .filter(|group| has_table(geometry, *group))
        .filter_map(|group| superblock_copy(geometry, group))
        .map(|copy| {
            let first = copy.saturating_add(1).saturating_add(geometry.first_meta_bg);
            within(volume, first, geometry.reserved_gdt_blocks)
        })
        .collect()
}

/// True if a copy of the superblock in the group is followed by a copy of the
/// table: meta_bg ends that with the first group that it describes.
fn has_table(geometry: &Geometry, group: u64) -> bool {
    group.checked_div(geometry.descs_per_block).unwrap_or(0) < geometry.first_meta_bg
}

/// True if meta_bg places a block of descriptors, or a copy of one, in the group:
/// the first, second and last group of those that the block describes.
fn has_meta_bg_block(geometry: &Geometry, group: u64) -> bool {
    let per_block = geometry.descs_per_block;
    let member = group.checked_rem(per_block).unwrap_or(0);
    !has_table(geometry, group) && (member <= 1 || member == per_block.saturating_sub(1))
}

/// A range of blocks, cut at the end of the filesystem: a copy in a short last
/// group need not be complete.
fn within(volume: &Volume, first: u64, count: u64) -> Extent {
    let end = first.saturating_add(count).min(volume.geometry().blocks);
    volume.extent(first, end.saturating_sub(first))
}
