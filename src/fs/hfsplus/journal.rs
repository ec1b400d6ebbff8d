// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal: where it is, and whether it is empty (TN1150, "HFS Plus
//! Journal"). What is in it is not read: a journal that is not empty means
//! that the volume is stored whole, and that its files are not read.

use super::file::Volume;
use crate::extent::Extent;
use crate::ondisk::{Fields, FormatError};

const IN_FILESYSTEM: u32 = 1;
const ON_OTHER_DEVICE: u32 = 2;
const NEEDS_INIT: u32 = 4;

const MAGIC: u32 = 0x4a4e_4c78;
const OLD_MAGIC: u32 = 0x4a48_4452;
const ENDIAN: u32 = 0x1234_5678;

/// The bytes of the header that its checksum covers.
const HEADER_LEN: usize = 44;
const CHECKSUM: usize = 36;

/// What is known of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Journal {
    /// The volume has none.
    None,
    /// Nothing is to be replayed; these bytes are the journal's.
    Empty([Extent; 2]),
    /// Something is to be replayed.
    NotEmpty,
    /// It is on another device.
    Elsewhere,
}

impl Journal {
    pub(super) fn read(volume: &Volume) -> Result<Self, FormatError> {
        if !volume.header.is_journaled() {
            return Ok(Self::None);
        }
        let what = "journal info block";
        let block = volume.header.journal_info_block;
        let info_extent = volume.extent(block, 1);
        if block == 0 || block >= volume.header.total_blocks {
            let expected = "a block of the volume";
            return Err(FormatError::corrupt(what, info_extent.start(), expected, block));
        }
        let info = volume.read(what, info_extent.start(), 512)?;
        let flags = info.u32_be(0).unwrap_or(0);
        let known = IN_FILESYSTEM | ON_OTHER_DEVICE | NEEDS_INIT;
        if flags & !known != 0 {
            return Err(FormatError::unsupported(format!("a journal with flags {flags:#x}")));
        }
        if flags & ON_OTHER_DEVICE != 0 {
            return Ok(Self::Elsewhere);
        }
        let (start, len) = (info.u64_be(36).unwrap_or(0), info.u64_be(44).unwrap_or(0));
        let end = start.checked_add(len).filter(|end| *end <= volume.header.size());
        let (Some(end), true) = (end, flags & IN_FILESYSTEM != 0 && start != 0 && len >= 512)
        else {
            let expected = "a journal within the volume";
            let found = format!("{len} bytes at {start:#x}, flags {flags:#x}");
            return Err(FormatError::corrupt(what, info_extent.start(), expected, found));
        };
        let extents = [info_extent, Extent::new(start, end)];
        if flags & NEEDS_INIT != 0 {
            // The first mount will write a header, whatever is there.
            return Ok(Self::Empty(extents));
        }
        let header = volume.read("journal header", start, 512)?;
        Ok(if is_empty(&header, start, len)? { Self::Empty(extents) } else { Self::NotEmpty })
    }
}

impl Journal {
    /// An error if folders and maps may not be as they are once the journal was
    /// replayed: what they call a file's may be another's by now.
    pub(super) fn check_replayed(&self) -> Result<(), FormatError> {
        let why = match self {
            Self::None | Self::Empty(_) => return Ok(()),
            Self::NotEmpty => {
                "its journal has to be replayed, which macOS does: restore it to a disk and connect \
                 that to a Mac"
            }
            Self::Elsewhere => {
                "its journal is on another device, which alone knows whether it has to be replayed"
            }
        };
        Err(FormatError::unsupported(why))
    }
}

/// Whether nothing is to be replayed, by the journal's header. It is in the
/// byte order of the computer that made it.
fn is_empty(header: &[u8], position: u64, len: u64) -> Result<bool, FormatError> {
    let bad = |expected: &str, found: String| {
        Err(FormatError::corrupt("journal header", position, expected, found))
    };
    let order = if header.u32_be(0) == Some(MAGIC) && header.u32_be(4) == Some(ENDIAN) {
        Order::Big
    } else if header.u32_le(0) == Some(MAGIC) && header.u32_le(4) == Some(ENDIAN) {
        Order::Little
    } else if [header.u32_be(0), header.u32_le(0)].contains(&Some(OLD_MAGIC)) {
        return Err(FormatError::unsupported("a journal as Mac OS X 10.2 wrote it"));
    } else {
        return bad("its magic", format!("{:x?}", header.bytes_at(0, 8).unwrap_or_default()));
    };
    let stored = order.u32(header, CHECKSUM);
    let computed = checksum(header.bytes_at(0, HEADER_LEN).unwrap_or_default());
    if stored != computed {
        return bad(&format!("a checksum of {computed:#010x}"), format!("{stored:#010x}"));
    }
    let (start, end) = (order.u64(header, 8), order.u64(header, 16));
    let (size, header_len) = (order.u64(header, 24), u64::from(order.u32(header, 40)));
    if size != len {
        return bad(&format!("{len} bytes as in the journal info block"), size.to_string());
    }
    let log = header_len..=size;
    if header_len < 44 || !log.contains(&start) || !log.contains(&end) {
        return bad("a log behind the header", format!("{start:#x} to {end:#x} of {size:#x}"));
    }
    // The end of the buffer is its start.
    let wrapped = |at: u64| if at == size { header_len } else { at };
    Ok(wrapped(start) == wrapped(end))
}

#[derive(Clone, Copy)]
enum Order {
    Big,
    Little,
}

impl Order {
    fn u32(self, bytes: &[u8], offset: usize) -> u32 {
        match self {
            Self::Big => bytes.u32_be(offset).unwrap_or(0),
            Self::Little => bytes.u32_le(offset).unwrap_or(0),
        }
    }

    fn u64(self, bytes: &[u8], offset: usize) -> u64 {
        match self {
            Self::Big => bytes.u64_be(offset).unwrap_or(0),
            Self::Little => bytes.u64_le(offset).unwrap_or(0),
        }
    }
}

/// The checksum of the header, its own field taken as zero.
pub(super) fn checksum(header: &[u8]) -> u32 {
    let is_own = |at: usize| (CHECKSUM..CHECKSUM.saturating_add(4)).contains(&at);
    !header.iter().enumerate().fold(0_u32, |sum, (at, byte)| {
        let byte = if is_own(at) { 0 } else { u32::from(*byte) };
        (sum << 8) ^ sum.wrapping_add(byte)
    })
}
