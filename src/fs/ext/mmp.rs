// SPDX-License-Identifier: MIT OR Apache-2.0
//! Multiple mount protection: a block in which whoever has the filesystem
//! mounted counts upwards, so that a second machine on the same disk notices.

use super::checksum::crc32c;
use super::features::INCOMPAT_MMP;
use super::superblock::Superblock;
use super::volume::Volume;
use crate::extent::Extent;
use crate::ondisk::{Fields, FormatError, text};

const MAGIC: u32 = 0x004D_4D50;
const SEQUENCE_CLEAN: u32 = 0xFF4D_4D50;
const SEQUENCE_FSCK: u32 = 0xE24D_4D50;
const CHECKSUM_OFFSET: usize = 0x3FC;

/// What the block says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mmp {
    /// Where it is; empty without the feature.
    pub(super) extent: Extent,
    /// Who uses the filesystem, if the block does not say that nobody does.
    pub(super) in_use: Option<String>,
}

/// Reads the block, if the filesystem has one.
pub(super) fn read(volume: &Volume, superblock: &Superblock) -> Result<Mmp, FormatError> {
    if !superblock.features.has_incompat(INCOMPAT_MMP) {
        return Ok(Mmp { extent: Extent::new(0, 0), in_use: None });
    }
    let block = superblock.mmp_block;
    let extent = volume.extent(block, 1);
    if block <= superblock.geometry.superblock_block() {
        return Err(FormatError::corrupt("s_mmp_block", 1024, "a block of its own", block));
    }
    let bytes = volume.read("mmp block", block, 1)?;
    let corrupt = |what, expected: u32, found: Option<u32>| {
        let found = found.map_or_else(|| "nothing".to_owned(), |found| format!("{found:#x}"));
        FormatError::corrupt(what, extent.start(), format!("{expected:#x}"), found)
    };
    let magic = bytes.u32_le(0);
    if magic != Some(MAGIC) {
        return Err(corrupt("mmp_magic", MAGIC, magic));
    }
    if superblock.has_metadata_checksums() {
        let covered = bytes.get(..CHECKSUM_OFFSET).unwrap_or_default();
        let computed = crc32c(superblock.checksum_seed, covered);
        let stored = bytes.u32_le(CHECKSUM_OFFSET);
        if stored != Some(computed) {
            return Err(corrupt("mmp_checksum", computed, stored));
        }
    }
    let sequence = bytes.u32_le(0x4);
    if sequence == Some(SEQUENCE_CLEAN) {
        return Ok(Mmp { extent, in_use: None });
    }
    let node = text(bytes.bytes_at(0x10, 64).unwrap_or_default());
    let who = if sequence == Some(SEQUENCE_FSCK) { "e2fsck" } else { "a mount" };
    Ok(Mmp {
        extent,
        in_use: Some(format!(
            "the filesystem's multiple mount protection says that it is in use by {who} on \
             '{node}', or was when that machine stopped: unmount it there, or run e2fsck on it"
        )),
    })
}
