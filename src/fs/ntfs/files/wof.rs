// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files that Compact OS has compressed: the main stream is a hole as long as
//! the file, and a stream of its own has the content in chunks. Before them is
//! where each begins, except for the first.
//!
//! Facts are from the documentation of WIM archives, whose resources are like
//! it, and from MS-FSCC, "FILE_PROVIDER_EXTERNAL_INFO".

use super::lzx;
use super::xpress;
use crate::ondisk::Fields;

/// The name of the stream.
pub(super) const STREAM: &[u8] = b"WofCompressedData";

/// How the chunks are packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Xpress(u64),
    Lzx,
}

impl Method {
    /// The method of this number.
    pub(super) const fn of(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::Xpress(4096)),
            1 => Some(Self::Lzx),
            2 => Some(Self::Xpress(8192)),
            3 => Some(Self::Xpress(16384)),
            _ => None,
        }
    }

    /// What a chunk unpacks to; only the last is shorter.
    pub(super) fn chunk(self) -> u64 {
        match self {
            Self::Xpress(chunk) => chunk,
            Self::Lzx => u64::try_from(lzx::CHUNK).unwrap_or(u64::MAX),
        }
    }

    /// Unpacks a chunk of so many bytes; one that packing made no shorter is as
    /// it is. `None` if it is damaged.
    pub(super) fn unpack(self, packed: Vec<u8>, len: usize) -> Option<Vec<u8>> {
        if packed.len() == len {
            return Some(packed);
        }
        let mut chunk = vec![0; len];
        match self {
            Self::Xpress(_) => xpress::unpack(&packed, &mut chunk)?,
            Self::Lzx => lzx::unpack(&packed, &mut chunk)?,
        }
        Some(chunk)
    }
}

/// Where the chunk of this number lies in the stream, of a file of so many
/// bytes. `read` reads a few bytes of the stream.
pub(super) fn place<E>(
    method: Method,
    number: u64,
    file_bytes: u64,
    stream_bytes: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> Result<(), E>,
) -> Result<Option<(u64, usize)>, E> {
    let chunks = file_bytes.div_ceil(method.chunk());
    let width = if file_bytes > u64::from(u32::MAX) { 8_u64 } else { 4 };
    let table = chunks.saturating_sub(1).saturating_mul(width);
    let mut start_of = |number: u64| -> Result<Option<u64>, E> {
        if number == 0 || number >= chunks {
            return Ok(Some(if number == 0 { table } else { stream_bytes }));
        }
        let mut bytes = [0; 8];
        let at = number.saturating_sub(1).saturating_mul(width);
        let Some(field) = usize::try_from(width).ok().and_then(|width| bytes.get_mut(..width))
        else {
            return Ok(None);
        };
        read(at, field)?;
        Ok(bytes.u64_le(0).and_then(|start| start.checked_add(table)))
    };
    if table > stream_bytes {
        return Ok(None);
    }
    let (start, end) = (start_of(number)?, start_of(number.saturating_add(1))?);
    let (Some(start), Some(end)) = (start, end) else { return Ok(None) };
    // No chunk is longer than what it unpacks to.
    let len = end.checked_sub(start).filter(|len| end <= stream_bytes && *len <= method.chunk());
    Ok(len.and_then(|len| usize::try_from(len).ok()).map(|len| (start, len)))
}
