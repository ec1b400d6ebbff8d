// SPDX-License-Identifier: MIT OR Apache-2.0
//! zisofs: files that were compressed before they went onto the disc, in blocks
//! by zlib. Where each block begins is a list behind a header in the file
//! (the documentation of zisofs-tools, and of libisofs, `zisofs_format.txt`).

use flate2::{Decompress, FlushDecompress, Status};

use super::rock_ridge::Compressed;
use crate::fs::pieces::Pieces;
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

const MAGIC: &[u8] = b"\x37\xe4\x53\x96\xc9\xdb\xd6\x07";
/// The length of the header.
const HEADER: usize = 16;

/// Checks that a file is what its entry says.
pub(super) fn check(
    volume: &dyn ReadAt,
    pieces: &Pieces,
    file: Compressed,
    position: u64,
) -> Result<(), FormatError> {
    if !file.is_known || file.header_len != 16 || !(15..=20).contains(&file.block_bits) {
        return Err(FormatError::unsupported("it is compressed in an unknown way (zisofs)"));
    }
    let mut header = [0; HEADER];
    pieces.read(volume, 0, &mut header)?;
    let (size, bits) = (header.u32_le(8).map(u64::from), header.u8_at(13));
    if header.bytes_at(0, 8) == Some(MAGIC)
        && size == Some(file.size)
        && bits == Some(file.block_bits)
    {
        return Ok(());
    }
    let (expected, found) = ("the header of a compressed file", header.escape_ascii());
    Err(FormatError::corrupt("compressed file", position, expected, found))
}

/// The content of a block.
pub(super) fn block(
    volume: &dyn ReadAt,
    pieces: &Pieces,
    file: Compressed,
    number: u64,
) -> Result<Vec<u8>, FormatError> {
    let block_size = 1_u64.wrapping_shl(file.block_bits.into());
    let start = number.saturating_mul(block_size);
    let len = file.size.saturating_sub(start).min(block_size);
    let mut content = vec![0; usize::try_from(len).unwrap_or(0)];
    let mut pointers = [0; 8];
    let place = number.saturating_mul(4).saturating_add(file.header_len);
    pieces.read(volume, place, &mut pointers)?;
    let (from, to) = (pointers.u32_le(0).unwrap_or(0), pointers.u32_le(4).unwrap_or(0));
    let corrupt = |expected: &str, found: String| {
        FormatError::corrupt("block of a compressed file", from.into(), expected, found)
    };
    // A block of zeros takes no bytes.
    let stored = u64::from(to).checked_sub(from.into());
    let stored =
        stored.ok_or_else(|| corrupt("a block that ends behind its start", to.to_string()))?;
    if stored == 0 {
        return Ok(content);
    }
    if stored > block_size.saturating_mul(2) {
        return Err(corrupt("a block no larger than its content", stored.to_string()));
    }
    let mut packed = vec![0; usize::try_from(stored).unwrap_or(0)];
    pieces.read(volume, from.into(), &mut packed)?;
    let mut zlib = Decompress::new(true);
    let status = zlib.decompress(&packed, &mut content, FlushDecompress::Finish);
    match status {
        Ok(Status::StreamEnd) if zlib.total_out() == len => Ok(content),
        Ok(_) => Err(corrupt(&format!("{len} bytes"), zlib.total_out().to_string())),
        Err(error) => Err(corrupt("a block of zlib", error.to_string())),
    }
}
