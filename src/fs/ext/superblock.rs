// SPDX-License-Identifier: MIT OR Apache-2.0
//! The superblock: who the filesystem is, in which state, and with which
//! features. Where things are follows from it in `geometry.rs`.
//!
//! Fields keep the names of the kernel's "ext4 Data Structures and Algorithms".

use uuid::Uuid;

use super::checksum::{START, crc32c};
use super::features::{
    COMPAT_HAS_JOURNAL, Features, INCOMPAT_CSUM_SEED, INCOMPAT_RECOVER, RO_COMPAT_METADATA_CSUM,
};
use super::geometry::{Geometry, MAX_LOG_BLOCK_SIZE};
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

/// A field of the superblock that contradicts the specification.
pub(super) fn corrupt(
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
        unclean: if raw.features.has_incompat(INCOMPAT_RECOVER) {
            Some("journal not replayed".to_owned())
        } else if raw.state & STATE_ERROR != 0 {
            Some("errors are recorded".to_owned())
        } else {
            (raw.state != STATE_VALID).then(|| "not unmounted".to_owned())
        },
    })
}

/// The features alone, for what is decided before anything else is looked at.
pub(super) fn features(bytes: &[u8]) -> Result<Features, FormatError> {
    Ok(Raw::parse(bytes)?.features)
}

/// The fields as they are, at the offsets of the specification.
pub(super) struct Raw {
    pub(super) inodes: u32,
    pub(super) blocks: u64,
    pub(super) free_blocks: u64,
    pub(super) first_data_block: u32,
    pub(super) log_block_size: u32,
    pub(super) log_cluster_size: u32,
    pub(super) blocks_per_group: u32,
    pub(super) clusters_per_group: u32,
    pub(super) inodes_per_group: u32,
    pub(super) state: u16,
    pub(super) rev_level: u32,
    pub(super) inode_size: u16,
    pub(super) features: Features,
    pub(super) uuid: [u8; 16],
    pub(super) volume_name: [u8; 16],
    pub(super) reserved_gdt_blocks: u16,
    pub(super) journal_uuid: [u8; 16],
    pub(super) journal_inum: u32,
    pub(super) journal_dev: u32,
    pub(super) desc_size: u16,
    pub(super) first_meta_bg: u32,
    pub(super) flags: u32,
    pub(super) mmp_block: u64,
    pub(super) checksum_type: u8,
    pub(super) backup_bgs: [u32; 2],
    pub(super) checksum_seed: u32,
    pub(super) checksum: u32,
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
        features(bytes)?.check()?;
        Self::parse_for_reading(bytes, volume_len)
    }

    /// As [`Self::parse`], but with every feature with which files can be read.
    pub(super) fn parse_for_reading(bytes: &[u8], volume_len: u64) -> Result<Self, FormatError> {
        let raw = Raw::parse(bytes)?;
        raw.features.check_for_reading()?;
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
            journal_is_external: raw.features.has_compat(COMPAT_HAS_JOURNAL)
                && raw.journal_inum == 0
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
