// SPDX-License-Identifier: MIT OR Apache-2.0
//! A metadata area: its header, and the text that the header points to in the
//! ring behind it.

use super::checksum::checksum;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// The header; the ring of texts is behind it.
const HEADER: usize = 512;
const MAGIC: &[u8] = b" LVM2 x[5A%r0N*>";
const VERSION: u32 = 1;
const IGNORED: u32 = 1;
/// The longest text that is read. One of 1 MiB describes thousands of volumes.
const MAX_TEXT: u64 = 16 << 20;

/// What a metadata area holds.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// The description of a group.
    Text(Vec<u8>),
    /// Nothing yet.
    Empty,
    /// Something old: the area is not kept up to date.
    Ignored,
}

/// Reads the area that fills these bytes of the volume.
pub(super) fn read(volume: &dyn ReadAt, area: Extent) -> Result<Content, FormatError> {
    let position = area.start();
    let short = || FormatError::corrupt("metadata area", position, "room for a header", area.len());
    if area.len() <= u64::try_from(HEADER).unwrap_or(u64::MAX) {
        return Err(short());
    }
    let header = read_vec(volume, position, HEADER)?;
    let stored = header.u32_le(0).ok_or_else(short)?;
    let wanted = checksum(&[header.get(4..).unwrap_or_default()]);
    if stored != wanted {
        let (wanted, stored) = (format!("{wanted:#x}"), format!("{stored:#x}"));
        return Err(FormatError::corrupt("checksum of mda_header", position, wanted, stored));
    }
    if header.bytes_at(4, 16) != Some(MAGIC) {
        return Err(FormatError::corrupt("magic of mda_header", position, "its magic", "another"));
    }
    let version = header.u32_le(20).ok_or_else(short)?;
    if version != VERSION {
        let text = format!("version {version} of an LVM2 metadata area");
        return Err(FormatError::unsupported(text));
    }
    let place = (header.u64_le(24).ok_or_else(short)?, header.u64_le(32).ok_or_else(short)?);
    if place != (position, area.len()) {
        let found = format!("{} bytes at {:#x}", place.1, place.0);
        let wanted = format!("{} bytes at {position:#x}", area.len());
        return Err(FormatError::corrupt("place of mda_header", position, wanted, found));
    }
    let location = |at: usize| header.bytes_at(at, 24).ok_or_else(short);
    let (current, next) = (location(40)?, location(64)?);
    if next.iter().any(|byte| *byte != 0) {
        // The text of a change that was written and not yet made valid.
        return Err(FormatError::unsupported("a change of the LVM2 group was interrupted"));
    }
    let flags = current.u32_le(20).unwrap_or(0);
    if flags & !IGNORED != 0 {
        let text = format!("the flags {flags:#x} of an LVM2 metadata area");
        return Err(FormatError::unsupported(text));
    }
    if flags & IGNORED != 0 {
        return Ok(Content::Ignored);
    }
    match (current.u64_le(0), current.u64_le(8), current.u32_le(16)) {
        (Some(0), Some(0), _) => Ok(Content::Empty),
        (Some(offset), Some(size), Some(stored)) => text(volume, area, offset, size, stored),
        _ => Err(short()),
    }
}

/// The text at an offset of the area; behind the end of the area it goes on
/// behind the header.
fn text(
    volume: &dyn ReadAt,
    area: Extent,
    offset: u64,
    size: u64,
    stored: u32,
) -> Result<Content, FormatError> {
    let header = u64::try_from(HEADER).unwrap_or(u64::MAX);
    let position = area.start();
    let ring = area.len().saturating_sub(header);
    if offset < header || offset >= area.len() || size == 0 || size > ring {
        let found = format!("{size} bytes at {offset:#x}");
        return Err(FormatError::corrupt("raw_locn", position, "bytes of the ring", found));
    }
    if size > MAX_TEXT {
        return Err(FormatError::unsupported(format!("LVM2 metadata of {size} bytes")));
    }
    let first = size.min(area.len().saturating_sub(offset));
    let read = |offset: u64, len: u64| {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        read_vec(volume, position.saturating_add(offset), len)
    };
    let mut text = read(offset, first)?;
    text.extend(read(header, size.saturating_sub(first))?);
    let wanted = checksum(&[&text]);
    if wanted != stored {
        let (wanted, stored) = (format!("{wanted:#x}"), format!("{stored:#x}"));
        let place = position.saturating_add(offset);
        return Err(FormatError::corrupt("checksum of the LVM2 metadata", place, wanted, stored));
    }
    Ok(Content::Text(text))
}
