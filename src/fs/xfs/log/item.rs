// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a transaction logs: the items of `xfs_log_format.h`, as far as a used
//! map needs them. Items are little-endian, in the order of the machine that
//! wrote them.

use crate::ondisk::{Fields, FormatError};

const EFI: u16 = 0x1236;
const EFD: u16 = 0x1237;
const INODE: u16 = 0x123B;
const BUFFER: u16 = 0x123C;
const DQUOT: u16 = 0x123D;
const QUOTAOFF: u16 = 0x123E;
const ICREATE: u16 = 0x123F;
const RUI: u16 = 0x1240;
const RUD: u16 = 0x1241;
const CUI: u16 = 0x1242;
const CUD: u16 = 0x1243;
const BUI: u16 = 0x1244;
const BUD: u16 = 0x1245;

const BUFFER_CANCEL: u16 = 0x2;
/// The bytes that a bit of a buffer's map stands for.
pub(super) const CHUNK: usize = 128;

/// The parts of an item: a description, then what it describes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::fs::xfs) struct Item {
    pub(super) regions: Vec<Region>,
    /// How many there will be.
    pub(super) total: usize,
}

/// A part of an item.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::fs::xfs) struct Region {
    pub(super) len: usize,
    /// Empty unless somebody wants it.
    pub(in crate::fs::xfs) bytes: Vec<u8>,
}

/// What a buffer holds, as far as it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs::xfs) enum Content {
    /// What the free-space trees are found by or may be in.
    Allocation,
    /// Anything else.
    Other,
}

/// A logged buffer: 512-byte sectors of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs::xfs) struct Buffer {
    /// Its first sector.
    pub(in crate::fs::xfs) sector: u64,
    /// How many it has.
    pub(in crate::fs::xfs) sectors: u64,
    /// True if it was freed: nothing that was logged of it before counts.
    pub(in crate::fs::xfs) is_cancelled: bool,
    pub(in crate::fs::xfs) content: Content,
}

/// Blocks that an item names, by the filesystem's numbers or by sectors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs::xfs) enum Named {
    Blocks {
        first: u64,
        count: u64,
    },
    GroupBlocks {
        group: u64,
        first: u64,
        count: u64,
    },
    Sectors {
        first: u64,
        count: u64,
    },
    /// The first sector is of a block.
    BlocksAtSector {
        first: u64,
        count: u64,
    },
}

/// What an item says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::fs::xfs) enum Meaning {
    Buffer(Buffer),
    Names(Named),
    /// Something is going to be done to these blocks. Kind and number are
    /// those of the item that will say that it was done.
    Intent {
        done: u16,
        number: u64,
        blocks: Vec<Named>,
    },
    /// It was done.
    Done {
        done: u16,
        number: u64,
    },
    /// Nothing that concerns blocks.
    Nothing,
}

/// The inode that an item logs parts of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs::xfs) struct LoggedInode {
    /// The buffer it is in, in 512-byte sectors.
    pub(in crate::fs::xfs) sector: u64,
    pub(in crate::fs::xfs) sectors: u64,
    /// Where in the buffer it starts.
    pub(in crate::fs::xfs) offset: u64,
    /// Which parts are logged (`XFS_ILOG_*`).
    pub(in crate::fs::xfs) fields: u32,
    /// The number of a device.
    pub(in crate::fs::xfs) device: u32,
}

/// Blocks that were made to hold inodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs::xfs) struct CreatedInodes {
    pub(in crate::fs::xfs) group: u64,
    pub(in crate::fs::xfs) first: u64,
    pub(in crate::fs::xfs) blocks: u64,
    pub(in crate::fs::xfs) inode_size: u32,
    pub(in crate::fs::xfs) generation: u32,
}

impl Item {
    /// The inode that this item logs, if it does.
    pub(in crate::fs::xfs) fn logged_inode(&self) -> Option<LoggedInode> {
        let bytes = self.description();
        if bytes.u16_le(0)? != INODE {
            return None;
        }
        let Named::Sectors { first, count } = inode(bytes)? else { return None };
        let union = if bytes.len() == 52 { 20 } else { 24 };
        let offset = if bytes.len() == 52 { 48 } else { 52 };
        Some(LoggedInode {
            sector: first,
            sectors: count,
            offset: bytes.u32_le(offset)?.into(),
            fields: bytes.u32_le(4)?,
            device: bytes.u32_le(union)?,
        })
    }

    /// The inodes that this item makes, if it does.
    pub(in crate::fs::xfs) fn created_inodes(&self) -> Option<CreatedInodes> {
        let bytes = self.description();
        if bytes.u16_le(0)? != ICREATE {
            return None;
        }
        Some(CreatedInodes {
            group: bytes.u32_be(4)?.into(),
            first: bytes.u32_be(8)?.into(),
            blocks: bytes.u32_be(20)?.into(),
            inode_size: bytes.u32_be(16)?,
            generation: bytes.u32_be(24)?,
        })
    }

    /// True for a buffer of quotas, and for one of inodes of which only the
    /// pointers to the next deleted one are logged.
    pub(in crate::fs::xfs) fn is_of_quotas_or_links(&self) -> bool {
        const LINKS: u16 = 0x1;
        const QUOTAS: u16 = 0x1C;
        self.description().u16_le(4).is_some_and(|flags| flags & (LINKS | QUOTAS) != 0)
    }

    /// A part behind the description, if it was kept whole.
    pub(in crate::fs::xfs) fn part(&self, index: usize) -> Option<&[u8]> {
        let region = self.regions.get(index)?;
        (region.bytes.len() == region.len).then_some(region.bytes.as_slice())
    }

    /// The kind and the number of parts, which every description starts with.
    pub(super) fn start(bytes: &[u8]) -> Option<(u16, usize)> {
        Some((bytes.u16_le(0)?, usize::from(bytes.u16_le(2)?)))
    }

    fn description(&self) -> &[u8] {
        self.regions.first().map(|region| region.bytes.as_slice()).unwrap_or_default()
    }

    /// True if what it describes matters.
    pub(super) fn is_wanted(&self) -> bool {
        matches!(
            self.meaning(),
            Ok(Meaning::Buffer(Buffer { content: Content::Allocation, is_cancelled: false, .. }))
        )
    }

    /// What it says; an error if it is of an unknown kind or is not complete.
    pub(in crate::fs::xfs) fn meaning(&self) -> Result<Meaning, FormatError> {
        let bytes = self.description();
        let kind = bytes.u16_le(0).unwrap_or(0);
        let parsed = match kind {
            BUFFER => buffer(bytes)?.map(Meaning::Buffer),
            INODE => inode(bytes).map(Meaning::Names),
            DQUOT => (|| {
                let first = bytes.u64_le(8)?;
                let count = bytes.u32_le(16)?.into();
                Some(Meaning::Names(Named::BlocksAtSector { first, count }))
            })(),
            QUOTAOFF => Some(Meaning::Nothing),
            ICREATE => (|| {
                let group = bytes.u32_be(4)?.into();
                let (first, count) = (bytes.u32_be(8)?.into(), bytes.u32_be(20)?.into());
                Some(Meaning::Names(Named::GroupBlocks { group, first, count }))
            })(),
            EFI => intent(bytes, EFD, efi_step(bytes), 0, 8),
            RUI => intent(bytes, RUD, Some(32), 8, 24),
            CUI => intent(bytes, CUD, Some(16), 0, 8),
            BUI => intent(bytes, BUD, Some(32), 8, 24),
            EFD | RUD | CUD | BUD => {
                bytes.u64_le(8).map(|number| Meaning::Done { done: kind, number })
            }
            _ => {
                return Err(FormatError::unsupported(format!(
                    "its log has to be replayed, and holds an item of the unknown kind {kind:#x}"
                )));
            }
        };
        parsed.ok_or_else(|| {
            FormatError::unsupported(format!(
                "its log has to be replayed, and holds an item of kind {kind:#x} that is cut short"
            ))
        })
    }

    /// Writes the logged parts of a buffer into `buffer`, as a replay does.
    /// False if they do not fit.
    pub(in crate::fs::xfs) fn apply(&self, buffer: &mut [u8]) -> bool {
        let description = self.description();
        let words = description.u32_le(16).and_then(|words| usize::try_from(words).ok());
        let Some(bits) = words.and_then(|words| words.checked_mul(32)) else { return false };
        let is_set = |bit: usize| -> Option<bool> {
            if bit >= bits {
                return Some(false);
            }
            let word = description.u32_le((bit / 32).checked_mul(4)?.checked_add(20)?)?;
            let mask = 1_u32.checked_shl(u32::try_from(bit % 32).ok()?)?;
            Some(word & mask != 0)
        };
        let mut write = || -> Option<()> {
            let mut bit = 0;
            for region in self.regions.get(1..)? {
                while bit < bits && !is_set(bit)? {
                    bit = bit.checked_add(1)?;
                }
                let mut run = 0_usize;
                let most = region.bytes.len() / CHUNK;
                while run < most && is_set(bit.checked_add(run)?)? {
                    run = run.checked_add(1)?;
                }
                // A part is whole chunks that lie side by side.
                if run == 0 || run != most || region.bytes.len() != region.len {
                    return None;
                }
                let (start, len) = (bit.checked_mul(CHUNK)?, run.checked_mul(CHUNK)?);
                let place = buffer.get_mut(start..start.checked_add(len)?)?;
                place.copy_from_slice(region.bytes.get(..len)?);
                bit = bit.checked_add(run)?;
            }
            while bit < bits {
                if is_set(bit)? {
                    return None;
                }
                bit = bit.checked_add(1)?;
            }
            Some(())
        };
        write().is_some()
    }
}

fn buffer(bytes: &[u8]) -> Result<Option<Buffer>, FormatError> {
    let (Some(flags), Some(sectors), Some(sector)) =
        (bytes.u16_le(4), bytes.u16_le(6), bytes.u64_le(8))
    else {
        return Ok(None);
    };
    let is_cancelled = flags & BUFFER_CANCEL != 0;
    let content = match flags >> 11 {
        // Trees, AGF, AGFL, AGI, superblock.
        4..=7 | 18 => Content::Allocation,
        // Quotas, inodes, links, folders, attributes, realtime maps.
        1..=3 | 8..=17 | 19 | 20 => Content::Other,
        _ if is_cancelled => Content::Other,
        kind => {
            return Err(FormatError::unsupported(format!(
                "its log has to be replayed, and holds a buffer of the unknown kind {kind}"
            )));
        }
    };
    Ok(Some(Buffer { sector, sectors: sectors.into(), is_cancelled, content }))
}

/// The buffer that holds an inode; 32-bit machines leave no gap in front of
/// the inode's number.
fn inode(bytes: &[u8]) -> Option<Named> {
    let offset = if bytes.len() == 52 { 36 } else { 40 };
    let first = bytes.u64_le(offset)?;
    let count = bytes.u32_le(offset.checked_add(8)?)?.into();
    Some(Named::Sectors { first, count })
}

/// The bytes of an extent of an EFI, which differ with the machine.
fn efi_step(bytes: &[u8]) -> Option<usize> {
    let count = usize::try_from(bytes.u32_le(4)?).ok()?;
    let room = bytes.len().checked_sub(16)?;
    [16, 12].into_iter().find(|step| count.checked_mul(*step) == Some(room))
}

/// An intent whose blocks are in a table that starts at byte 16.
fn intent(
    bytes: &[u8],
    done: u16,
    step: Option<usize>,
    first_at: usize,
    count_at: usize,
) -> Option<Meaning> {
    let step = step?;
    let count = usize::try_from(bytes.u32_le(4)?).ok()?;
    let entries = bytes.get(16..)?;
    if count.checked_mul(step)? > entries.len() {
        return None;
    }
    let blocks: Option<Vec<Named>> = entries
        .chunks_exact(step)
        .take(count)
        .map(|entry| {
            Some(Named::Blocks {
                first: entry.u64_le(first_at)?,
                count: entry.u32_le(count_at)?.into(),
            })
        })
        .collect();
    Some(Meaning::Intent { done, number: bytes.u64_le(8)?, blocks: blocks? })
}
