// SPDX-License-Identifier: MIT OR Apache-2.0
//! The superblock: every field that the used map depends on, checked against
//! each other and against the size of the volume.
//!
//! Fields keep the names of the kernel's "ext4 Data Structures and Algorithms".
//! A number that passed here can be multiplied with the block size without
//! leaving the volume, and no loop that it bounds is longer than the volume
//! allows.

use uuid::Uuid;

use super::checksum::{START, crc32c};
use super::features::{
    COMPAT_HAS_JOURNAL, COMPAT_RESIZE_INODE, COMPAT_SPARSE_SUPER2, Features, INCOMPAT_64BIT,
    INCOMPAT_CSUM_SEED, INCOMPAT_META_BG, INCOMPAT_RECOVER, RO_COMPAT_BIGALLOC,
    RO_COMPAT_METADATA_CSUM, RO_COMPAT_SPARSE_SUPER,
};
use crate::fs::Identity;
use crate::ondisk::{Fields, FormatError, text};

/// Where the superblock starts, whatever the block size.
pub(super) const POSITION: u64 = 1024;
/// How long it is.
pub(super) const LEN: usize = 1024;

const MAGIC: u16 = 0xEF53;
const STATE_VALID: u16 = 1;
const STATE_ERROR: u16 = 2;
const FLAG_TEST_FILESYSTEM: u32 = 4;
const CHECKSUM_TYPE_CRC32C: u8 = 1;

/// 64 KiB, the largest block of the format.
const MAX_LOG_BLOCK_SIZE: u32 = 6;
/// The kernel's limit of a cluster: 1 GiB, counted from 1 KiB.
const MAX_LOG_CLUSTER_SIZE: u32 = 20;
/// The kernel's limit of a descriptor.
const MAX_DESC_SIZE: u16 = 1024;
/// Bounds the memory of the group table; 256 TiB with blocks of 4 KiB, where
/// vendors support 50 TiB.
const MAX_GROUPS: u64 = 1 << 21;

/// The checked superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    /// What must not differ between two copies of one superblock.
    pub(super) geometry: Geometry,
    pub(super) features: Features,
    pub(super) state: u16,
    /// Free space, in blocks (not clusters); only right if cleanly unmounted.
    pub(super) free_blocks: u64,
    /// Where metadata checksums start: a hash of the UUID, or stored.
    pub(super) checksum_seed: u32,
    pub(super) uuid: [u8; 16],
    pub(super) journal_inode: u32,
    /// True if the superblock names a journal on another device.
    pub(super) journal_is_external: bool,
    pub(super) mmp_block: u64,
}

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

fn corrupt(
    what: &'static str,
    offset: u64,
    expected: impl ToString,
    found: impl ToString,
) -> FormatError {
    FormatError::corrupt(what, POSITION.saturating_add(offset), expected, found)
}

/// Who a superblock says it is; `None` if it is no superblock of this family.
///
/// Fields that decide only where things are are not checked here, so that a
/// damaged filesystem is still called by its name. Those that would make its
/// size impossible are: the magic has 16 bits, and other data may match it.
pub(super) fn identity(bytes: &[u8]) -> Option<Identity> {
    let raw = Raw::parse(bytes).ok()?;
    let block_size = 1024_u64.checked_shl(raw.log_block_size)?;
    if raw.log_block_size > MAX_LOG_BLOCK_SIZE || raw.rev_level > 1 || raw.blocks == 0 {
        return None;
    }
    let label = Some(text(&raw.volume_name)).filter(|label| !label.is_empty());
    let uuid = (raw.uuid != [0; 16]).then(|| Uuid::from_bytes(raw.uuid).to_string());
    Some(Identity {
        name: raw.features.family(raw.flags & FLAG_TEST_FILESYSTEM != 0).to_owned(),
        label,
        uuid,
        size: raw.blocks.checked_mul(block_size)?,
        clean: raw.state == STATE_VALID && !raw.features.has_incompat(INCOMPAT_RECOVER),
    })
}

/// The features alone, for what is decided before anything else is looked at.
pub(super) fn features(bytes: &[u8]) -> Result<Features, FormatError> {
    Ok(Raw::parse(bytes)?.features)
}

/// The fields as they are, at the offsets of the specification.
struct Raw {
    inodes: u32,
    blocks: u64,
    free_blocks: u64,
    first_data_block: u32,
    log_block_size: u32,
    log_cluster_size: u32,
    blocks_per_group: u32,
    clusters_per_group: u32,
    inodes_per_group: u32,
    state: u16,
    rev_level: u32,
    inode_size: u16,
    features: Features,
    uuid: [u8; 16],
    volume_name: [u8; 16],
    reserved_gdt_blocks: u16,
    journal_uuid: [u8; 16],
    journal_inum: u32,
    journal_dev: u32,
    desc_size: u16,
    first_meta_bg: u32,
    flags: u32,
    mmp_block: u64,
    checksum_type: u8,
    backup_bgs: [u32; 2],
    checksum_seed: u32,
    checksum: u32,
}

impl Raw {
    fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let magic = bytes.u16_le(0x38);
        if magic != Some(MAGIC) {
            let found = magic.map_or_else(|| "nothing".to_owned(), |magic| format!("{magic:#x}"));
            return Err(corrupt("s_magic", 0x38, format!("{MAGIC:#x}"), found));
        }
        Self::fields(bytes)
            .ok_or_else(|| corrupt("superblock", 0, format!("{LEN} bytes"), bytes.len()))
    }

    fn fields(b: &[u8]) -> Option<Self> {
        let wide = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        Some(Self {
            inodes: b.u32_le(0x0)?,
            blocks: wide(b.u32_le(0x4)?, b.u32_le(0x150)?),
            free_blocks: wide(b.u32_le(0xC)?, b.u32_le(0x158)?),
            first_data_block: b.u32_le(0x14)?,
            log_block_size: b.u32_le(0x18)?,
            log_cluster_size: b.u32_le(0x1C)?,
            blocks_per_group: b.u32_le(0x20)?,
            clusters_per_group: b.u32_le(0x24)?,
            inodes_per_group: b.u32_le(0x28)?,
            state: b.u16_le(0x3A)?,
            rev_level: b.u32_le(0x4C)?,
            inode_size: b.u16_le(0x58)?,
            features: Features {
                compat: b.u32_le(0x5C)?,
                incompat: b.u32_le(0x60)?,
                ro_compat: b.u32_le(0x64)?,
            },
            uuid: b.array(0x68)?,
            volume_name: b.array(0x78)?,
            reserved_gdt_blocks: b.u16_le(0xCE)?,
            journal_uuid: b.array(0xD0)?,
            journal_inum: b.u32_le(0xE0)?,
            journal_dev: b.u32_le(0xE4)?,
            desc_size: b.u16_le(0xFE)?,
            first_meta_bg: b.u32_le(0x104)?,
            flags: b.u32_le(0x160)?,
            mmp_block: b.u64_le(0x168)?,
            checksum_type: b.u8_at(0x175)?,
            backup_bgs: [b.u32_le(0x24C)?, b.u32_le(0x250)?],
            checksum_seed: b.u32_le(0x270)?,
            checksum: b.u32_le(0x3FC)?,
        })
    }
}

impl Superblock {
    /// Checks the superblock of a volume of `volume_len` bytes.
    pub(super) fn parse(bytes: &[u8], volume_len: u64) -> Result<Self, FormatError> {
        let raw = Raw::parse(bytes)?;
        raw.features.check()?;
        check_checksum(bytes, &raw)?;
        match raw.rev_level {
            0 if raw.features != Features::default() => {
                return Err(corrupt("s_rev_level", 0x4C, "1, as there are features", 0));
            }
            0 | 1 => {}
            unknown => {
                return Err(FormatError::unsupported(format!(
                    "the filesystem has the unknown revision {unknown}"
                )));
            }
        }
        let geometry = Geometry::check(&raw, volume_len)?;
        if raw.free_blocks > geometry.blocks {
            return Err(corrupt(
                "s_free_blocks_count",
                0xC,
                format!("at most {}", geometry.blocks),
                raw.free_blocks,
            ));
        }
        let checksum_seed = if raw.features.has_incompat(INCOMPAT_CSUM_SEED) {
            raw.checksum_seed
        } else {
            crc32c(START, &raw.uuid)
        };
        Ok(Self {
            geometry,
            features: raw.features,
            state: raw.state,
            free_blocks: raw.free_blocks,
            checksum_seed,
            uuid: raw.uuid,
            journal_inode: raw.journal_inum,
            journal_is_external: raw.journal_inum == 0
                && (raw.journal_dev != 0 || raw.journal_uuid != [0; 16]),
            mmp_block: raw.mmp_block,
        })
    }

    /// True if the journal has to be replayed before the filesystem is whole.
    pub(super) const fn needs_recovery(&self) -> bool {
        self.features.has_incompat(INCOMPAT_RECOVER)
    }

    /// True if metadata carries checksums beyond those of the descriptors.
    pub(super) const fn has_metadata_checksums(&self) -> bool {
        self.features.has_ro_compat(RO_COMPAT_METADATA_CSUM)
    }

    /// True if both are superblocks of one filesystem in one layout.
    pub(super) fn is_same_filesystem(&self, other: &Self) -> bool {
        let identity = |superblock: &Self| {
            (
                superblock.uuid,
                superblock.checksum_seed,
                superblock.journal_inode,
                superblock.mmp_block,
                superblock.features.has_group_checksums(),
                superblock.has_metadata_checksums(),
            )
        };
        self.geometry == other.geometry && identity(self) == identity(other)
    }

    /// Why the filesystem's own record says that its map is no proof.
    pub(super) fn distrust(&self) -> Option<String> {
        if self.state & STATE_ERROR != 0 {
            return Some("errors are recorded in the filesystem: run e2fsck on it".to_owned());
        }
        if self.state == STATE_VALID {
            return None;
        }
        // The kernel clears the flag while it writes without a journal, and
        // keeps it set with one: with or without a journal, a cleared flag
        // means that somebody wrote without.
        if self.state == 0 {
            return Some(
                "the filesystem was not unmounted, and without a journal nothing says what was \
                 written: run e2fsck on it"
                    .to_owned(),
            );
        }
        Some(format!("the filesystem is in the unusual state {:#x}: run e2fsck on it", self.state))
    }

    /// True if a journal is expected somewhere.
    pub(super) const fn has_journal(&self) -> bool {
        self.features.has_compat(COMPAT_HAS_JOURNAL)
    }
}

fn check_checksum(bytes: &[u8], raw: &Raw) -> Result<(), FormatError> {
    if !raw.features.has_ro_compat(RO_COMPAT_METADATA_CSUM) {
        return Ok(());
    }
    if raw.checksum_type != CHECKSUM_TYPE_CRC32C {
        return Err(FormatError::unsupported(format!(
            "the filesystem uses the unknown checksum type {}",
            raw.checksum_type
        )));
    }
    let computed = crc32c(START, bytes.bytes_at(0, 0x3FC).unwrap_or_default());
    if computed != raw.checksum {
        return Err(corrupt(
            "s_checksum",
            0x3FC,
            format!("{computed:#010x}"),
            format!("{:#010x}", raw.checksum),
        ));
    }
    Ok(())
}

impl Geometry {
    fn check(raw: &Raw, volume_len: u64) -> Result<Self, FormatError> {
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
            has_flex_bg: features.has_incompat(super::features::INCOMPAT_FLEX_BG),
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
    let mut power = base;
    while power < number {
        power = power.saturating_mul(base);
    }
    power == number
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
