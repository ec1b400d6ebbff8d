// SPDX-License-Identifier: MIT OR Apache-2.0
//! The master directory block: who an HFS volume is, how large, and where its
//! files begin ("Inside Macintosh: Files", 2-61).

use jiff::Timestamp;

use super::fork::Fork;
use super::roman;
use super::unclean::Unclean;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// Where it is, in bytes from the start of the volume.
pub const POSITION: u64 = 1024;
/// The unit of the first allocation block.
const SECTOR: u64 = 512;

/// Bits of drAtrb; the second is Mac OS 7.6's and later ones'.
const UNMOUNTED: u16 = 1 << 8;
const INCONSISTENT: u16 = 1 << 11;
const SPARED_BLOCKS: u16 = 1 << 9;
/// The others change nothing: locked by hardware, no cache needed, locked by
/// software.
const KNOWN: u16 = 1 << 7 | UNMOUNTED | SPARED_BLOCKS | 1 << 10 | INCONSISTENT | 1 << 15;

/// Places of a fork: first allocation block and how many.
pub type ForkExtents = [(u16, u16); 3];

/// The master directory block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MasterDirectoryBlock {
    /// The label.
    pub name: String,
    /// When the volume was made.
    pub created: Option<Timestamp>,
    /// When it was last changed.
    pub modified: Option<Timestamp>,
    /// What is to be known of its state: drAtrb.
    attributes: u16,
    /// How many allocation blocks there are.
    pub block_count: u16,
    /// The size of one, in bytes.
    pub block_size: u32,
    /// Where the first one begins, in bytes from the start of the volume.
    pub first_block: u64,
    /// How many are free.
    pub free_blocks: u16,
    /// How many files there are.
    pub files: u32,
    /// How many folders there are.
    pub folders: u32,
    /// Where the bitmap of blocks in use begins, in bytes from the start of the
    /// volume.
    pub(super) bitmap: u64,
    /// The file of further places, and the catalog.
    pub(super) overflow: Fork,
    pub(super) catalog: Fork,
}

impl MasterDirectoryBlock {
    /// The master directory block of a volume; `None` if there is none, or it is
    /// the wrapper of an HFS+.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn read(volume: &dyn ReadAt) -> Result<Option<Self>, FormatError> {
        if volume.len() < POSITION.saturating_add(SECTOR) {
            return Ok(None);
        }
        Ok(Self::parse(&read_vec(volume, POSITION, 512)?))
    }

    /// The same of its bytes.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let block_size = bytes.u32_be(20).unwrap_or(0);
        if bytes.bytes_at(0, 2) != Some(b"BD")
            || matches!(bytes.bytes_at(0x7c, 2), Some(b"H+" | b"HX"))
            || block_size == 0
            || !block_size.is_multiple_of(512)
        {
            return None;
        }
        let short = |offset: usize| bytes.u16_be(offset).unwrap_or(0);
        let long = |offset: usize| bytes.u32_be(offset).unwrap_or(0);
        // Their lengths are those of their blocks.
        let fork = |offset: usize| Fork {
            len: long(offset),
            allocated: long(offset),
            extents: fork_extents(bytes, offset.saturating_add(4)),
        };
        let len = usize::from(bytes.u8_at(36).unwrap_or(0).min(27));
        Some(Self {
            name: roman::decode(bytes.bytes_at(37, len).unwrap_or_default()),
            created: time(long(2)),
            modified: time(long(6)),
            attributes: short(10),
            block_count: short(18),
            block_size,
            first_block: u64::from(short(28)).saturating_mul(SECTOR),
            free_blocks: short(34),
            files: long(84),
            folders: long(88),
            bitmap: u64::from(short(14)).saturating_mul(SECTOR),
            overflow: fork(130),
            catalog: fork(146),
        })
    }

    /// An error unless there is a copy of it at the end of a volume of so many
    /// bytes, or behind the last block, that says the same of the volume's shape.
    pub(super) fn check_copy(&self, volume: &dyn ReadAt) -> Result<(), FormatError> {
        const WHAT: &str = "copy of the master directory block";
        const BEHIND: u64 = 2 * SECTOR;
        let shape =
            |it: &Self| (it.created, it.block_count, it.block_size, it.first_block, it.bitmap);
        let end = volume.len() & !SECTOR.saturating_sub(1);
        let places = [end, self.end()].map(|end| end.saturating_sub(BEHIND));
        for place in places {
            let copy = Self::parse(&read_vec(volume, place, 512)?);
            let is_same = copy.is_some_and(|copy| shape(&copy) == shape(self));
            if is_same && place >= self.blocks(0, self.block_count).end() {
                return Ok(());
            }
        }
        Err(FormatError::corrupt(WHAT, places[0], "the same numbers", "others, or none"))
    }

    /// An error unless all of its attributes are known.
    pub(super) fn check_supported(&self) -> Result<(), FormatError> {
        let unknown = self.attributes & !KNOWN;
        if unknown == 0 {
            return Ok(());
        }
        let what = format!("HFS with unknown volume attributes {unknown:#06x}");
        Err(FormatError::unsupported(what))
    }

    pub(super) const fn has_bad_blocks(&self) -> bool {
        self.attributes & SPARED_BLOCKS != 0
    }

    /// Why the volume is not clean.
    pub(super) const fn unclean(&self) -> Option<Unclean> {
        if self.attributes & UNMOUNTED == 0 {
            return Some(Unclean::NotUnmounted);
        }
        if self.attributes & INCONSISTENT != 0 { Some(Unclean::HasErrors) } else { None }
    }

    /// The bytes of some allocation blocks.
    #[must_use]
    pub fn blocks(&self, first: u16, count: u16) -> Extent {
        let bytes = |count: u16| u64::from(count).saturating_mul(self.block_size.into());
        Extent::at(self.first_block.saturating_add(bytes(first)), bytes(count))
    }

    /// The end of the volume: of its last allocation block, and of the two
    /// sectors behind it, in the first of which a copy of this block is.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.blocks(0, self.block_count).end().saturating_add(SECTOR.saturating_mul(2))
    }
}

/// Three places of a fork at an offset.
pub(super) fn fork_extents(bytes: &[u8], offset: usize) -> ForkExtents {
    [0, 4, 8].map(|place| {
        let start = offset.saturating_add(place);
        let count = bytes.u16_be(start.saturating_add(2)).unwrap_or(0);
        (bytes.u16_be(start).unwrap_or(0), count)
    })
}

/// A time in seconds since 1904, of a clock without a zone, which is taken as
/// UTC; 0 is none.
pub(super) fn time(seconds: u32) -> Option<Timestamp> {
    const EPOCH: i64 = -2_082_844_800;
    let time = i64::from(seconds).checked_add(EPOCH)?;
    (seconds != 0).then(|| Timestamp::from_second(time).ok()).flatten()
}
