// SPDX-License-Identifier: MIT OR Apache-2.0
//! The superblock: who the filesystem is, with which features, and where its
//! allocation groups and its log are.
//!
//! Every allocation group starts with a copy. Growing rewrites them, counters
//! and flags are kept in the first one only: the copies have to agree on the
//! geometry and on nothing else.

use super::features::{Features, Words};
use super::volume::Block;
use crate::extent::Extent;
use crate::ondisk::{Fields, FormatError, text};

pub(super) const MAGIC: &[u8; 4] = b"XFSB";
/// The bytes that have a meaning.
pub(super) const LEN: u64 = 512;
const CRC: usize = 224;
const LSN: usize = 240;

/// Where everything is, and what must not differ between two superblocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Geometry {
    pub(super) block_size: u64,
    pub(super) sector_size: u64,
    /// All blocks of the data device.
    pub(super) blocks: u64,
    pub(super) ag_blocks: u32,
    pub(super) ag_count: u32,
    /// In the number of a block, its group starts at this bit.
    pub(super) ag_block_log: u32,
    /// The blocks of the log, 0 if it is on another device.
    pub(super) log_start: u64,
    pub(super) log_blocks: u32,
    pub(super) realtime_blocks: u64,
    /// The identifier that every structure of version 5 carries.
    pub(super) meta_uuid: [u8; 16],
    /// The identifier that is shown, and that the log carries.
    pub(super) uuid: [u8; 16],
    pub(super) features: Features,
    /// Bit of an inode's number at which its block starts.
    inodes_per_block_log: u32,
    /// The bytes of a block of a folder.
    pub(super) folder_block_size: u64,
}

/// The checked superblock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    pub(super) geometry: Geometry,
    pub(super) root_inode: u64,
    /// When it was last written, as a place in the log; version 5 only.
    pub(super) lsn: u64,
}

/// What can be said before anything is checked: label, UUID and size.
pub(super) fn identity(bytes: &[u8]) -> (Option<String>, Option<String>, Option<u64>) {
    let label = bytes.bytes_at(108, 12).map(text).filter(|label| !label.is_empty());
    let uuid = bytes.array::<16>(32).map(uuid::Uuid::from_bytes).filter(|uuid| !uuid.is_nil());
    let blocks = bytes.u64_be(8).unwrap_or(0);
    let size = blocks.checked_mul(bytes.u32_be(4).unwrap_or(0).into());
    (label, uuid.map(|uuid| uuid.to_string()), size)
}

/// The sector size that a superblock names, if it can be one.
pub(super) fn sector_size(block: &Block) -> Result<u64, FormatError> {
    let size = u64::from(block.u16(102));
    let log = block.bytes.u8_at(121).unwrap_or(0);
    if (512..=32768).contains(&size) && 1_u64.checked_shl(log.into()) == Some(size) {
        return Ok(size);
    }
    Err(block.corrupt("sb_sectsize", 102, "a power of two from 512 to 32768", size))
}

impl Superblock {
    /// Checks a superblock of a volume of `len` bytes.
    pub(super) fn parse(block: &Block, len: u64) -> Result<Self, FormatError> {
        let byte = |offset| u32::from(block.bytes.u8_at(offset).unwrap_or(0));
        if block.bytes.bytes_at(0, 4) != Some(MAGIC.as_slice()) {
            return Err(block.corrupt("sb_magicnum", 0, "XFSB", format!("{:#x}", block.u32(0))));
        }
        let features = Words {
            versionnum: block.u16(100),
            features2: block.u32(200) | block.u32(204),
            compat: block.u32(208),
            ro_compat: block.u32(212),
            incompat: block.u32(216),
            log_incompat: block.u32(220),
        }
        .features()?;
        if features.has_crc {
            block.expect_checksum("sb_crc", CRC)?;
        }
        // The only flag there is says that a filesystem is read-only.
        if byte(178) & !1 != 0 {
            return Err(FormatError::unsupported(format!("it has unknown flags {:#x}", byte(178))));
        }
        if byte(179) != 0 {
            return Err(FormatError::unsupported("it is shared"));
        }
        if byte(126) != 0 {
            return Err(block.corrupt("sb_inprogress", 126, 0, byte(126)));
        }
        let geometry = Geometry::parse(block, features, len)?;
        let root_inode = block.u64(56);
        if !geometry.has_block(geometry.block_of_inode(root_inode)) {
            return Err(block.corrupt("sb_rootino", 56, "an inode inside", root_inode));
        }
        Ok(Self { geometry, root_inode, lsn: if features.has_crc { block.u64(LSN) } else { 0 } })
    }

    /// An error unless this copy, at the start of another group, has the same
    /// geometry.
    pub(super) fn check_copy(&self, block: &Block) -> Result<(), FormatError> {
        if block.bytes.bytes_at(0, 4) != Some(MAGIC.as_slice()) {
            return Err(block.corrupt("sb_magicnum", 0, "XFSB", format!("{:#x}", block.u32(0))));
        }
        let geometry = &self.geometry;
        if geometry.features.has_crc {
            block.expect_checksum("sb_crc", CRC)?;
        }
        for (field, offset, found, expected) in [
            ("sb_blocksize", 4, block.u32(4).into(), geometry.block_size),
            ("sb_dblocks", 8, block.u64(8), geometry.blocks),
            ("sb_logstart", 48, block.u64(48), geometry.log_start),
            ("sb_agblocks", 84, block.u32(84).into(), geometry.ag_blocks.into()),
            ("sb_agcount", 88, block.u32(88).into(), geometry.ag_count.into()),
            ("sb_logblocks", 96, block.u32(96).into(), geometry.log_blocks.into()),
            ("sb_sectsize", 102, block.u16(102).into(), geometry.sector_size),
        ] {
            if found != expected {
                let expected = format!("{expected} as in the first superblock");
                return Err(block.corrupt(field, offset, expected, found));
            }
        }
        Ok(())
    }
}

impl Geometry {
    fn parse(block: &Block, features: Features, len: u64) -> Result<Self, FormatError> {
        let byte = |offset| u32::from(block.bytes.u8_at(offset).unwrap_or(0));
        let sector_size = sector_size(block)?;
        let block_size = u64::from(block.u32(4));
        let is_size = (sector_size.max(512)..=65536).contains(&block_size)
            && 1_u64.checked_shl(byte(120)) == Some(block_size);
        if !is_size {
            let expected = "a power of two from the sector size to 65536";
            return Err(block.corrupt("sb_blocksize", 4, expected, block_size));
        }
        let ag_blocks = block.u32(84);
        // A group has at most 1 TiB, and has to hold its headers and roots.
        let most = (1_u64 << 40).checked_div(block_size).unwrap_or(0);
        if !(64..=most).contains(&u64::from(ag_blocks)) {
            return Err(block.corrupt("sb_agblocks", 84, format!("64 to {most}"), ag_blocks));
        }
        let ag_block_log = byte(124);
        let wanted = ag_blocks.checked_next_power_of_two().map(u32::trailing_zeros);
        if wanted != Some(ag_block_log) {
            let expected = format!("{} for {ag_blocks} blocks", wanted.unwrap_or(32));
            return Err(block.corrupt("sb_agblklog", 124, expected, ag_block_log));
        }
        let (blocks, ag_count) = (block.u64(8), block.u32(88));
        let fewest = u64::from(ag_count)
            .checked_sub(1)
            .map(|before| before.saturating_mul(ag_blocks.into()).saturating_add(64));
        let most = u64::from(ag_count).saturating_mul(ag_blocks.into());
        if fewest.is_none_or(|fewest| !(fewest..=most).contains(&blocks)) {
            let expected = format!("a number of blocks for {ag_count} groups of {ag_blocks}");
            return Err(block.corrupt("sb_dblocks", 8, expected, blocks));
        }
        if blocks.checked_mul(block_size).is_none_or(|size| size > len) {
            let expected = format!("at most the {len} bytes of the volume");
            let found = format!("{blocks} blocks of {block_size}");
            return Err(block.corrupt("sb_dblocks", 8, expected, found));
        }
        let inode_size = u64::from(block.u16(104));
        let per_block = block_size.checked_div(inode_size).unwrap_or(0);
        let is_inode_size = (256..=2048).contains(&inode_size)
            && 1_u64.checked_shl(byte(122)) == Some(inode_size)
            && 1_u64.checked_shl(byte(123)) == Some(per_block);
        if !is_inode_size {
            return Err(block.corrupt("sb_inodesize", 104, "256 to 2048", inode_size));
        }
        let uuid = block.bytes.array(32).unwrap_or_default();
        let meta_uuid = block.bytes.array(248).filter(|_| features.has_meta_uuid).unwrap_or(uuid);
        // The kernel's limit of a block of a folder is 64 KiB.
        if byte(192) > 7 || block_size.checked_shl(byte(192)).is_none_or(|size| size > 65536) {
            return Err(block.corrupt(
                "sb_dirblklog",
                192,
                "folders in blocks up to 64 KiB",
                byte(192),
            ));
        }
        let geometry = Self {
            block_size,
            sector_size,
            blocks,
            ag_blocks,
            ag_count,
            ag_block_log,
            log_start: block.u64(48),
            log_blocks: block.u32(96),
            realtime_blocks: block.u64(16),
            meta_uuid,
            uuid,
            features,
            inodes_per_block_log: byte(123),
            folder_block_size: block_size.checked_shl(byte(192)).unwrap_or(0),
        };
        geometry.check_log(block)?;
        Ok(geometry)
    }

    fn check_log(&self, block: &Block) -> Result<(), FormatError> {
        if self.log_start == 0 {
            return Ok(());
        }
        let count = u64::from(self.log_blocks);
        let bytes = count.saturating_mul(self.block_size);
        if !(64 << 10..=2 << 30).contains(&bytes) {
            return Err(block.corrupt("sb_logblocks", 96, "64 KiB to 2 GiB", count));
        }
        let (group, first) = self.split(self.log_start);
        let end = first.saturating_add(count);
        if group >= self.ag_count.into()
            || first < self.header_blocks()
            || end > self.ag_len(group).into()
        {
            let expected = format!("{count} blocks inside of a group");
            return Err(block.corrupt("sb_logstart", 48, expected, self.log_start));
        }
        Ok(())
    }

    /// The group and the block in it, of a block number.
    pub(super) fn split(&self, block: u64) -> (u64, u64) {
        let group = block.checked_shr(self.ag_block_log).unwrap_or(0);
        let start = group.checked_shl(self.ag_block_log).unwrap_or(0);
        (group, block.saturating_sub(start))
    }

    /// The blocks of a group.
    pub(super) fn ag_len(&self, group: u64) -> u32 {
        let start = group.saturating_mul(self.ag_blocks.into());
        let left = self.blocks.saturating_sub(start).min(self.ag_blocks.into());
        u32::try_from(left).unwrap_or(0)
    }

    /// The bytes of some blocks of a group.
    pub(super) fn extent(&self, group: u64, first: u64, count: u64) -> Extent {
        let start = group.saturating_mul(self.ag_blocks.into()).saturating_add(first);
        Extent::at(start.saturating_mul(self.block_size), count.saturating_mul(self.block_size))
    }

    /// The blocks at the start of a group that superblock, AGF, AGI and AGFL
    /// take.
    pub(super) fn header_blocks(&self) -> u64 {
        self.sector_size.saturating_mul(4).div_ceil(self.block_size.max(1))
    }

    /// The number of the block that holds an inode.
    pub(super) fn block_of_inode(&self, inode: u64) -> u64 {
        inode.checked_shr(self.inodes_per_block_log).unwrap_or(0)
    }

    /// The number of the first inode in a block of a group.
    pub(super) fn inode_of_block(&self, group: u64, block: u64) -> u64 {
        let start = group.checked_shl(self.ag_block_log).unwrap_or(0);
        (start | block).checked_shl(self.inodes_per_block_log).unwrap_or(0)
    }

    /// Where in its block an inode is, and how long it is.
    pub(super) fn inode_in_block(&self, inode: u64) -> (u64, usize) {
        let per_block = 1_u64.checked_shl(self.inodes_per_block_log).unwrap_or(1);
        let len = self.block_size.checked_div(per_block).unwrap_or(0);
        let index = inode & per_block.saturating_sub(1);
        (index.saturating_mul(len), usize::try_from(len).unwrap_or(0))
    }

    /// True if there is such a block.
    pub(super) fn has_block(&self, block: u64) -> bool {
        let (group, first) = self.split(block);
        group < self.ag_count.into() && first < self.ag_len(group).into()
    }

    /// The bytes of the filesystem.
    pub(super) const fn size(&self) -> u64 {
        self.blocks.saturating_mul(self.block_size)
    }

    /// The bytes of the log.
    pub(super) fn log(&self) -> Extent {
        if self.log_start == 0 {
            return Extent::at(0, 0);
        }
        let (group, first) = self.split(self.log_start);
        self.extent(group, first, self.log_blocks.into())
    }
}
