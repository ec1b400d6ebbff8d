// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where things are: the numbers of the superblock that decide it, checked
//! against each other and against the size of the volume.
//!
//! A number that passed here can be multiplied with the block size without
//! leaving the volume, and no loop that it bounds is longer than the volume
//! allows.

use super::features::{
    COMPAT_RESIZE_INODE, COMPAT_SPARSE_SUPER2, INCOMPAT_64BIT, INCOMPAT_FLEX_BG, INCOMPAT_META_BG,
    RO_COMPAT_BIGALLOC, RO_COMPAT_SPARSE_SUPER,
};
use super::superblock::{POSITION, Raw, corrupt};
use crate::ondisk::FormatError;

/// 64 KiB, the largest block of the format.
pub(super) const MAX_LOG_BLOCK_SIZE: u32 = 6;
/// The kernel's limit of a cluster: 1 GiB, counted from 1 KiB.
const MAX_LOG_CLUSTER_SIZE: u32 = 20;
/// The kernel's limit of a descriptor.
const MAX_DESC_SIZE: u16 = 1024;
/// Bounds the memory of the group table; 256 TiB with blocks of 4 KiB, where
/// vendors support 50 TiB.
const MAX_GROUPS: u64 = 1 << 21;

/// Where things are. All counts are of blocks unless they say otherwise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    /// Bytes.
    pub(super) block_size: u64,
    pub(super) blocks: u64,
    /// 1 where the boot sector has a block of its own, else 0.
    pub(super) first_data_block: u64,
    pub(super) blocks_per_group: u64,
    pub(super) clusters_per_group: u64,
    /// Blocks in a cluster; 1 without bigalloc.
    pub(super) cluster_ratio: u64,
    pub(super) groups: u64,
    pub(super) inodes_per_group: u64,
    /// Bytes.
    pub(super) inode_size: u64,
    /// Blocks of a group's inode table.
    pub(super) inode_table_blocks: u64,
    /// Bytes of a group descriptor.
    pub(super) desc_size: usize,
    pub(super) descs_per_block: u64,
    /// Blocks of the whole descriptor table.
    pub(super) desc_blocks: u64,
    pub(super) reserved_gdt_blocks: u64,
    /// The first descriptor block that is placed by the rule of meta_bg;
    /// `desc_blocks` if there is none.
    pub(super) first_meta_bg: u64,
    /// Which groups hold copies of the superblock.
    pub(super) backups: Backups,
    /// True if reserved descriptor blocks belong to the resize inode.
    pub(super) has_resize_inode: bool,
    /// True if a group's metadata may lie in any group.
    pub(super) has_flex_bg: bool,
}

/// The rule for which groups hold copies of the superblock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backups {
    All,
    Sparse,
    These([u32; 2]),
}

impl Geometry {
    pub(super) fn check(raw: &Raw, volume_len: u64) -> Result<Self, FormatError> {
        let features = raw.features;
        if raw.log_block_size > MAX_LOG_BLOCK_SIZE {
            return Err(corrupt(
                "s_log_block_size",
                0x18,
                format!("at most {MAX_LOG_BLOCK_SIZE}"),
                raw.log_block_size,
            ));
        }
        let block_size = 1024_u64 << raw.log_block_size;
        let bits_per_block = block_size.saturating_mul(8);

        let blocks = raw.blocks;
        if !features.has_incompat(INCOMPAT_64BIT) && blocks > u64::from(u32::MAX) {
            return Err(corrupt("s_blocks_count_hi", 0x150, "0 without 64bit", blocks >> 32));
        }
        let size = blocks.checked_mul(block_size);
        if size.is_none_or(|size| size > volume_len) {
            return Err(corrupt(
                "s_blocks_count",
                0x4,
                format!(
                    "at most {} blocks, the size of the volume",
                    volume_len >> 10 >> raw.log_block_size
                ),
                blocks,
            ));
        }

        let log_ratio = raw
            .log_cluster_size
            .checked_sub(raw.log_block_size)
            .filter(|_| raw.log_cluster_size <= MAX_LOG_CLUSTER_SIZE)
            .filter(|log_ratio| *log_ratio == 0 || features.has_ro_compat(RO_COMPAT_BIGALLOC))
            .ok_or_else(|| {
                corrupt(
                    "s_log_cluster_size",
                    0x1C,
                    format!("{}, or a cluster size of bigalloc", raw.log_block_size),
                    raw.log_cluster_size,
                )
            })?;
        let cluster_ratio = 1_u64 << log_ratio;

        let first_data_block = u64::from(raw.first_data_block);
        let expected = u64::from(block_size == 1024 && cluster_ratio == 1);
        if first_data_block != expected {
            return Err(corrupt("s_first_data_block", 0x14, expected, first_data_block));
        }
        if blocks <= first_data_block.saturating_add(1) {
            return Err(corrupt("s_blocks_count", 0x4, "more blocks than the superblock", blocks));
        }

        let clusters_per_group = u64::from(raw.clusters_per_group);
        if clusters_per_group == 0
            || clusters_per_group > bits_per_block
            || clusters_per_group & 7 != 0
        {
            return Err(corrupt(
                "s_clusters_per_group",
                0x24,
                format!("a multiple of 8 up to {bits_per_block}"),
                clusters_per_group,
            ));
        }
        let blocks_per_group = clusters_per_group.saturating_mul(cluster_ratio);
        if u64::from(raw.blocks_per_group) != blocks_per_group {
            return Err(corrupt(
                "s_blocks_per_group",
                0x20,
                blocks_per_group,
                raw.blocks_per_group,
            ));
        }
        let groups = blocks
            .saturating_sub(first_data_block)
            .checked_next_multiple_of(blocks_per_group)
            .and_then(|rounded| rounded.checked_div(blocks_per_group))
            .unwrap_or(u64::MAX);
        if groups > MAX_GROUPS {
            return Err(FormatError::unsupported(format!(
                "the filesystem has {groups} block groups; up to {MAX_GROUPS} are read"
            )));
        }

        let (inode_size, inodes_per_group, inode_table_blocks) =
            check_inodes(raw, block_size, groups)?;
        let desc_size = check_desc_size(raw)?;
        let descs_per_block = per_block(block_size, u64::try_from(desc_size).unwrap_or(u64::MAX));
        let desc_blocks = groups.div_ceil(descs_per_block.max(1));

        let first_meta_bg = if features.has_incompat(INCOMPAT_META_BG) {
            u64::from(raw.first_meta_bg)
        } else {
            desc_blocks
        };
        if first_meta_bg > desc_blocks {
            return Err(corrupt(
                "s_first_meta_bg",
                0x104,
                format!("at most {desc_blocks}"),
                first_meta_bg,
            ));
        }
        let reserved_gdt_blocks = u64::from(raw.reserved_gdt_blocks);
        if reserved_gdt_blocks > block_size >> 2 {
            return Err(corrupt(
                "s_reserved_gdt_blocks",
                0xCE,
                format!("at most {}", block_size >> 2),
                reserved_gdt_blocks,
            ));
        }
        // Every copy has to fit into its group, or copies would overlap.
        let table = first_meta_bg.saturating_add(2);
        if table > blocks_per_group || first_data_block.saturating_add(table) > blocks {
            return Err(corrupt(
                "group descriptors",
                0x20,
                format!("at most {blocks_per_group} blocks, the size of a group"),
                first_meta_bg,
            ));
        }

        Ok(Self {
            block_size,
            blocks,
            first_data_block,
            blocks_per_group,
            clusters_per_group,
            cluster_ratio,
            groups,
            inodes_per_group,
            inode_size,
            inode_table_blocks,
            desc_size,
            descs_per_block,
            desc_blocks,
            reserved_gdt_blocks,
            first_meta_bg,
            backups: if features.has_compat(COMPAT_SPARSE_SUPER2) {
                Backups::These(raw.backup_bgs)
            } else if features.has_ro_compat(RO_COMPAT_SPARSE_SUPER) {
                Backups::Sparse
            } else {
                Backups::All
            },
            has_resize_inode: features.has_compat(COMPAT_RESIZE_INODE),
            has_flex_bg: features.has_incompat(INCOMPAT_FLEX_BG),
        })
    }

    /// The size of the filesystem in bytes.
    pub(super) const fn size(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size)
    }

    /// The block that holds the superblock.
    pub(super) const fn superblock_block(&self) -> u64 {
        if self.block_size == POSITION { 1 } else { 0 }
    }

    /// The first block of a group.
    pub(super) const fn group_start(&self, group: u64) -> u64 {
        self.first_data_block.saturating_add(group.saturating_mul(self.blocks_per_group))
    }

    /// The block after a group's last, which the last group need not fill.
    pub(super) fn group_end(&self, group: u64) -> u64 {
        self.group_start(group).saturating_add(self.blocks_per_group).min(self.blocks)
    }

    /// The clusters of a group, a part of one at the end included.
    pub(super) fn group_clusters(&self, group: u64) -> u64 {
        let blocks = self.group_end(group).saturating_sub(self.group_start(group));
        blocks.div_ceil(self.cluster_ratio.max(1))
    }

    /// True if a group starts with a copy of the superblock.
    pub(super) fn has_superblock(&self, group: u64) -> bool {
        if group == 0 {
            return true;
        }
        match self.backups {
            Backups::All => true,
            Backups::These(groups) => groups.into_iter().any(|backup| u64::from(backup) == group),
            Backups::Sparse => group == 1 || [3, 5, 7].into_iter().any(|n| is_power(group, n)),
        }
    }
}

/// True if `number` is `base`, or `base` multiplied with itself.
fn is_power(number: u64, base: u64) -> bool {
    let mut power = Some(base);
    while let Some(less) = power.filter(|power| *power < number) {
        power = less.checked_mul(base);
    }
    power == Some(number)
}

fn per_block(block_size: u64, size: u64) -> u64 {
    block_size.checked_div(size).unwrap_or(0)
}

/// The size of an inode, their number in a group, and the blocks they take.
fn check_inodes(raw: &Raw, block_size: u64, groups: u64) -> Result<(u64, u64, u64), FormatError> {
    // The first revision had neither the field nor another size.
    let inode_size = if raw.rev_level == 0 { 128 } else { u64::from(raw.inode_size) };
    if !(128..=block_size).contains(&inode_size) || !inode_size.is_power_of_two() {
        return Err(corrupt(
            "s_inode_size",
            0x58,
            format!("a power of two from 128 to {block_size}"),
            inode_size,
        ));
    }
    let inodes_per_group = u64::from(raw.inodes_per_group);
    let bits_per_block = block_size.saturating_mul(8);
    if inodes_per_group == 0 || inodes_per_group > bits_per_block {
        return Err(corrupt(
            "s_inodes_per_group",
            0x28,
            format!("1 to {bits_per_block}"),
            inodes_per_group,
        ));
    }
    let expected = groups.saturating_mul(inodes_per_group);
    if u64::from(raw.inodes) != expected {
        return Err(corrupt("s_inodes_count", 0x0, expected, raw.inodes));
    }
    let inode_table_blocks =
        inodes_per_group.saturating_mul(inode_size).div_ceil(block_size.max(1));
    Ok((inode_size, inodes_per_group, inode_table_blocks))
}

fn check_desc_size(raw: &Raw) -> Result<usize, FormatError> {
    // Without 64bit the field is not used.
    if !raw.features.has_incompat(INCOMPAT_64BIT) {
        return Ok(32);
    }
    if !(64..=MAX_DESC_SIZE).contains(&raw.desc_size) || !raw.desc_size.is_power_of_two() {
        return Err(corrupt(
            "s_desc_size",
            0xFE,
            format!("a power of two from 64 to {MAX_DESC_SIZE}"),
            raw.desc_size,
        ));
    }
    Ok(usize::from(raw.desc_size))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sparse_backups_are_in_groups_0_and_1_and_powers_of_3_5_and_7() {
        let powers: Vec<u64> =
            (0..1000).filter(|n| [3, 5, 7].into_iter().any(|base| is_power(*n, base))).collect();
        assert_eq!(powers, [3, 5, 7, 9, 25, 27, 49, 81, 125, 243, 343, 625, 729]);
        assert!(!is_power(u64::MAX, 3));
    }
}
