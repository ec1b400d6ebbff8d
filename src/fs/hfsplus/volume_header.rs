// SPDX-License-Identifier: MIT OR Apache-2.0
//! The volume header at byte 1024, and its copy near the end (TN1150, "Volume
//! Header").

use super::fork::{FORK_LEN, Fork};
use crate::fs::hfs::unclean::Unclean;
use crate::ondisk::{Fields, FormatError};

/// Where the header is, in bytes from the start of the volume; as far from its
/// end is the copy.
pub(super) const POSITION: u64 = 0x400;

/// The bytes of the header.
pub(super) const LEN: usize = 0x200;

const UNMOUNTED: u32 = 1 << 8;
const SPARED_BLOCKS: u32 = 1 << 9;
const BOOT_VOLUME_INCONSISTENT: u32 = 1 << 11;
const JOURNALED: u32 = 1 << 13;
const INCONSISTENT: u32 = 1 << 14;
const CONTENT_PROTECTION: u32 = 1 << 30;

/// Attributes that change nothing for a used map: locked by hardware, spared
/// blocks, no cache needed, identifiers reused, locked by software, unused
/// nodes zeroed; and those that are asked for by name.
const KNOWN_ATTRIBUTES: u32 = 1 << 7
    | UNMOUNTED
    | SPARED_BLOCKS
    | 1 << 10
    | BOOT_VOLUME_INCONSISTENT
    | 1 << 12
    | JOURNALED
    | INCONSISTENT
    | 1 << 15
    | 1 << 31;

/// The header of a volume.
#[derive(Debug, Clone)]
pub(super) struct VolumeHeader {
    pub(super) is_hfsx: bool,
    version: u16,
    attributes: u32,
    last_mounted_version: [u8; 4],
    /// The block with what there is to know of the journal.
    pub(super) journal_info_block: u64,
    create_date: u32,
    pub(super) block_size: u64,
    pub(super) total_blocks: u64,
    pub(super) free_blocks: u64,
    /// The 64 bits in which systems keep the identity of the volume.
    pub(super) identifier: [u8; 8],
    /// The header's bytes, with the forks of the five special files.
    bytes: Vec<u8>,
}

/// One of the five special files, whose forks are in the header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Special {
    Allocation,
    Extents,
    Catalog,
    Attributes,
    Startup,
}

impl Special {
    pub(super) const ALL: [Self; 5] =
        [Self::Allocation, Self::Extents, Self::Catalog, Self::Attributes, Self::Startup];

    /// The file's name, for messages.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Allocation => "allocation file",
            Self::Extents => "extents overflow file",
            Self::Catalog => "catalog file",
            Self::Attributes => "attributes file",
            Self::Startup => "startup file",
        }
    }

    /// The number by which the extents overflow file knows it.
    pub(super) const fn id(self) -> u32 {
        match self {
            Self::Extents => 3,
            Self::Catalog => 4,
            Self::Allocation => 6,
            Self::Startup => 7,
            Self::Attributes => 8,
        }
    }

    const fn offset(self) -> usize {
        match self {
            Self::Allocation => 0x70,
            Self::Extents => 0xc0,
            Self::Catalog => 0x110,
            Self::Attributes => 0x160,
            Self::Startup => 0x1b0,
        }
    }
}

impl VolumeHeader {
    /// The header in these bytes; `None` if they are none. Two letters prove
    /// little, so the block size has to make sense, too.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.bytes_at(0, LEN)?;
        let is_hfsx = match bytes.bytes_at(0, 2)? {
            b"H+" => false,
            b"HX" => true,
            _ => return None,
        };
        let block_size = u64::from(bytes.u32_be(0x28)?);
        if !block_size.is_power_of_two() || block_size < 512 {
            return None;
        }
        Some(Self {
            is_hfsx,
            version: bytes.u16_be(0x02)?,
            attributes: bytes.u32_be(0x04)?,
            last_mounted_version: bytes.array(0x08)?,
            journal_info_block: bytes.u32_be(0x0c)?.into(),
            create_date: bytes.u32_be(0x10)?,
            block_size,
            total_blocks: bytes.u32_be(0x2c)?.into(),
            free_blocks: bytes.u32_be(0x30)?.into(),
            identifier: bytes.array(0x68)?,
            bytes: bytes.to_vec(),
        })
    }

    /// The name people know.
    pub(super) const fn name(&self) -> &'static str {
        if self.is_hfsx { "HFSX" } else { "HFS+" }
    }

    /// The bytes of all blocks.
    pub(super) const fn size(&self) -> u64 {
        // Two 32-bit numbers.
        self.block_size.saturating_mul(self.total_blocks)
    }

    pub(super) const fn is_journaled(&self) -> bool {
        self.attributes & JOURNALED != 0
    }

    pub(super) const fn has_bad_blocks(&self) -> bool {
        self.attributes & SPARED_BLOCKS != 0
    }

    /// Why the volume is not clean.
    pub(super) fn unclean(&self) -> Option<Unclean> {
        if self.attributes & UNMOUNTED == 0 {
            return Some(Unclean::NotUnmounted);
        }
        if self.attributes & (BOOT_VOLUME_INCONSISTENT | INCONSISTENT) != 0 {
            return Some(Unclean::HasErrors);
        }
        // What macOS writes when it could not replay the journal.
        (&self.last_mounted_version == b"FSK!").then_some(Unclean::ReplayFailed)
    }

    /// An error unless all that the header asks for is known here.
    pub(super) fn check_supported(&self) -> Result<(), FormatError> {
        let wanted = if self.is_hfsx { 5 } else { 4 };
        if self.version != wanted {
            let what = format!("{} of version {}", self.name(), self.version);
            return Err(FormatError::unsupported(what));
        }
        if self.attributes & CONTENT_PROTECTION != 0 {
            return Err(FormatError::unsupported("HFS+ with content protection"));
        }
        let unknown = self.attributes & !KNOWN_ATTRIBUTES;
        if unknown != 0 {
            let what = format!("HFS+ with unknown volume attributes {unknown:#010x}");
            return Err(FormatError::unsupported(what));
        }
        Ok(())
    }

    /// The fork of a special file, as the header has it.
    pub(super) fn special(&self, special: Special) -> Result<Fork, FormatError> {
        let position = POSITION.saturating_add(u64::try_from(special.offset()).unwrap_or(0));
        let bytes = self.bytes.bytes_at(special.offset(), FORK_LEN).unwrap_or_default();
        Fork::parse(bytes, special.name(), position, self)
    }

    /// What a copy of the header has to agree in. Counts, dates and the forks of
    /// the catalog change more often than the copy is written; what it says of
    /// the volume's shape and of the bitmap's place does not.
    pub(super) fn check_copy(&self, copy: &Self, position: u64) -> Result<(), FormatError> {
        let bitmap = |header: &Self| {
            let start = Special::Allocation.offset();
            // Without the clump size, which is a hint.
            let size = header.bytes.bytes_at(start, 8).unwrap_or_default().to_vec();
            let blocks =
                header.bytes.bytes_at(start.saturating_add(12), FORK_LEN.saturating_sub(12));
            [size, blocks.unwrap_or_default().to_vec()].concat()
        };
        let differs = if (self.is_hfsx, self.version) != (copy.is_hfsx, copy.version) {
            "the signature and version"
        } else if self.create_date != copy.create_date {
            "the date of creation"
        } else if (self.block_size, self.total_blocks) != (copy.block_size, copy.total_blocks) {
            "the number and size of blocks"
        } else if bitmap(self) != bitmap(copy) {
            "the place of the allocation file"
        } else {
            return Ok(());
        };
        Err(FormatError::corrupt(
            "alternate volume header",
            position,
            format!("{differs} of the volume header"),
            "others",
        ))
    }
}
