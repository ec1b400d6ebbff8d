// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where on a volume the HFS+ is: all of it, or inside of an HFS volume that
//! old Macs could boot from (TN1150, "HFS Wrapper").

use super::volume_header::{self, VolumeHeader};
use crate::error::Context;
use crate::extent::Extent;
use crate::io::{ReadAt, Window, read_vec};
use crate::ondisk::{Fields, FormatError};

const SECTOR: u64 = 512;

/// An HFS+ volume within what holds it.
pub(super) struct Place {
    /// Its bytes.
    pub(super) extent: Extent,
    pub(super) header: VolumeHeader,
    /// The size of the HFS around it.
    pub(super) wrapper: Option<u64>,
}

impl Place {
    /// `None` if this is no HFS+.
    pub(super) fn find(reader: &dyn ReadAt) -> Result<Option<Self>, FormatError> {
        let Some(bytes) = header_bytes(reader)? else { return Ok(None) };
        if let Some(header) = VolumeHeader::parse(&bytes) {
            let extent = Extent::new(0, reader.len());
            return Ok(Some(Self { extent, header, wrapper: None }));
        }
        // The master directory block of HFS, and what it says of the volume
        // in it.
        if bytes.bytes_at(0, 2) != Some(b"BD") || bytes.bytes_at(0x7c, 2) != Some(b"H+") {
            return Ok(None);
        }
        let half = |offset| u64::from(bytes.u16_be(offset).unwrap_or(0));
        let blocks = half(0x12);
        let block_size = u64::from(bytes.u32_be(0x14).unwrap_or(0));
        let first = half(0x1c).saturating_mul(SECTOR);
        let (start, count) = (half(0x7e), half(0x80));
        let position = volume_header::POSITION;
        if block_size == 0 || !block_size.is_multiple_of(SECTOR) {
            let expected = "a multiple of 512 bytes";
            return Err(FormatError::corrupt("drAlBlkSiz", position, expected, block_size));
        }
        let start_byte = first.saturating_add(start.saturating_mul(block_size));
        let extent = Extent::at(start_byte, count.saturating_mul(block_size));
        // Behind its blocks HFS has a copy of its header, too.
        let size = first.saturating_add(blocks.saturating_mul(block_size)).saturating_add(1024);
        if start.saturating_add(count) > blocks || count == 0 || extent.end() > reader.len() {
            let expected = format!("blocks within the {blocks} of the volume");
            return Err(FormatError::corrupt("drEmbedExtent", position, expected, extent));
        }
        let header = header_bytes(&Window::new(reader, extent))?;
        let Some(header) = header.and_then(|bytes| VolumeHeader::parse(&bytes)) else {
            let expected = "the volume header of an embedded HFS+";
            let position = extent.start().saturating_add(position);
            return Err(FormatError::corrupt("volume header", position, expected, "none"));
        };
        Ok(Some(Self { extent, header, wrapper: Some(size) }))
    }

    /// The name people know.
    pub(super) const fn name(&self) -> &'static str {
        if self.wrapper.is_some() { "HFS+ in HFS" } else { self.header.name() }
    }

    /// The bytes of the filesystem, with what is around it.
    pub(super) fn size(&self) -> u64 {
        self.wrapper.unwrap_or_else(|| self.header.size())
    }
}

/// The 512 bytes at byte 1024; `None` if the volume ends before.
fn header_bytes(reader: &dyn ReadAt) -> Result<Option<Vec<u8>>, FormatError> {
    // From the start of the volume, so that the read is aligned.
    const WITH_HEADER: usize = 0x800;
    const HEADER: usize = 0x400;
    if reader.len() < u64::try_from(WITH_HEADER).unwrap_or(u64::MAX) {
        return Ok(None);
    }
    let bytes = read_vec(reader, 0, WITH_HEADER)
        .context(|| format!("reading the volume header at byte {HEADER:#x}"))?;
    Ok(Some(bytes.bytes_at(HEADER, volume_header::LEN).unwrap_or_default().to_vec()))
}
