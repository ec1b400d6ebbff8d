// SPDX-License-Identifier: MIT OR Apache-2.0
//! zisofs: files that were compressed before they went onto the disc, in blocks
//! by zlib. Where each block begins is a list behind a header in the file
//! (the documentation of zisofs-tools; of libisofs, `zisofs_format.txt` and
//! `zisofs2_format.txt`). The second version has wider numbers, for files of
//! 4 GiB and more, and other ways to compress, which nobody writes yet.

use flate2::{Decompress, FlushDecompress, Status};

use super::rock_ridge::Compressed;
use crate::fs::pieces::Pieces;
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

/// A version of zisofs, by zlib.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

impl Version {
    /// The version that an entry names with its number and two letters.
    pub(super) const fn of(name: &[u8]) -> Option<Self> {
        match name {
            b"\x01pz" => Some(Self::One),
            b"\x02PZ" => Some(Self::Two),
            _ => None,
        }
    }

    /// The bytes of the header, and of a place in the list of blocks.
    const fn lens(self) -> (u64, u64) {
        match self {
            Self::One => (16, 4),
            Self::Two => (24, 8),
        }
    }

    /// The size and the logarithm of the size of a block in a header, if it is
    /// one.
    fn parse(self, header: &[u8]) -> Option<(u64, u8)> {
        const ONE: &[u8] = b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07";
        const TWO: &[u8] = b"\xef\x22\x55\xa1\xbc\x1b\x95\xa0";
        let magic = header.bytes_at(0, 8)?;
        match self {
            Self::One => (magic == ONE).then_some((header.u32_le(8)?.into(), header.u8_at(13)?)),
            // Behind it: version 0, 6 * 4 bytes of header, compressed by zlib.
            Self::Two => (magic == TWO && header.bytes_at(8, 3)? == [0, 6, 1])
                .then_some((header.u64_le(12)?, header.u8_at(11)?)),
        }
    }

    /// Where a block begins and ends, of what is in the list.
    fn block(self, pointers: &[u8]) -> Option<(u64, u64)> {
        Some(match self {
            Self::One => (pointers.u32_le(0)?.into(), pointers.u32_le(4)?.into()),
            Self::Two => (pointers.u64_le(0)?, pointers.u64_le(8)?),
        })
    }
}

fn unknown() -> FormatError {
    FormatError::unsupported("it is compressed in an unknown way (zisofs)")
}

/// Checks that a file of so many bytes on the disc is what its entry says.
pub(super) fn check(
    volume: &dyn ReadAt,
    pieces: &Pieces,
    stored: u64,
    file: Compressed,
    position: u64,
) -> Result<(), FormatError> {
    let corrupt = |expected: &str, found: String| {
        Err(FormatError::corrupt("compressed file", position, expected, found))
    };
    let version = file.version.ok_or_else(unknown)?;
    let (header_len, pointer_len) = version.lens();
    if file.header_len != header_len || !(15..=20).contains(&file.block_bits) {
        return Err(unknown());
    }
    let mut header = vec![0; usize::try_from(header_len).unwrap_or(0)];
    pieces.read(volume, 0, &mut header)?;
    if version.parse(&header) != Some((file.size, file.block_bits)) {
        return corrupt("the header of a compressed file", header.escape_ascii().to_string());
    }
    let blocks = file.size.div_ceil(1_u64.wrapping_shl(file.block_bits.into()));
    let needed = blocks.saturating_add(1).saturating_mul(pointer_len).saturating_add(header_len);
    if file.size > 0 && needed > stored {
        let found = format!("{blocks} of them in {stored} bytes");
        return corrupt("a place for each of its blocks", found);
    }
    Ok(())
}

/// The content of a block.
pub(super) fn block(
    volume: &dyn ReadAt,
    pieces: &Pieces,
    file: Compressed,
    number: u64,
) -> Result<Vec<u8>, FormatError> {
    let version = file.version.ok_or_else(unknown)?;
    let (header_len, pointer_len) = version.lens();
    let block_size = 1_u64.wrapping_shl(file.block_bits.into());
    let start = number.saturating_mul(block_size);
    let len = file.size.saturating_sub(start).min(block_size);
    let mut content = vec![0; usize::try_from(len).unwrap_or(0)];
    let mut pointers = vec![0; usize::try_from(pointer_len.saturating_mul(2)).unwrap_or(0)];
    let place = number.saturating_mul(pointer_len).saturating_add(header_len);
    pieces.read(volume, place, &mut pointers)?;
    let (from, to) = version.block(&pointers).unwrap_or((0, 0));
    let corrupt = |expected: &str, found: String| {
        FormatError::corrupt("block of a compressed file", from, expected, found)
    };
    // A block of zeros takes no bytes.
    let stored = to.checked_sub(from);
    let stored =
        stored.ok_or_else(|| corrupt("a block that ends behind its start", to.to_string()))?;
    if stored == 0 {
        return Ok(content);
    }
    if stored > block_size.saturating_mul(2) {
        return Err(corrupt("a block no larger than its content", stored.to_string()));
    }
    let mut packed = vec![0; usize::try_from(stored).unwrap_or(0)];
    pieces.read(volume, from, &mut packed)?;
    let mut zlib = Decompress::new(true);
    let status = zlib.decompress(&packed, &mut content, FlushDecompress::Finish);
    match status {
        Ok(Status::StreamEnd) if zlib.total_out() == len => Ok(content),
        Ok(_) => Err(corrupt(&format!("{len} bytes"), zlib.total_out().to_string())),
        Err(error) => Err(corrupt("a block of zlib", error.to_string())),
    }
}
