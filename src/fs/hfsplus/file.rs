// SPDX-License-Identifier: MIT OR Apache-2.0
//! The special files: where all of their bytes are, and reading them.

use super::fork::{ExtentRecord, Fork};
use super::volume_header::VolumeHeader;
use crate::error::Context;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::FormatError;

/// A volume's bytes and its header.
#[derive(Clone, Copy)]
pub(super) struct Volume<'a> {
    pub(super) reader: &'a dyn ReadAt,
    pub(super) header: &'a VolumeHeader,
}

impl Volume<'_> {
    /// The bytes of a range of blocks.
    pub(super) const fn extent(&self, start: u64, count: u64) -> Extent {
        let size = self.header.block_size;
        Extent::at(start.saturating_mul(size), count.saturating_mul(size))
    }

    /// Bytes of the volume; `what` is what they hold.
    pub(super) fn read(
        &self,
        what: &'static str,
        position: u64,
        len: usize,
    ) -> Result<Vec<u8>, FormatError> {
        let bytes = read_vec(self.reader, position, len)
            .context(|| format!("reading the {what} at byte {position:#x}"))?;
        Ok(bytes)
    }
}

/// A special file.
pub(super) struct File<'a> {
    volume: Volume<'a>,
    pub(super) what: &'static str,
    pub(super) logical_size: u64,
    /// Where in the file each extent starts, and its bytes on the volume.
    pieces: Vec<(u64, Extent)>,
}

impl<'a> File<'a> {
    /// A file of which the overflow file knows these records, each with the
    /// block of the file that it starts at.
    pub(super) fn new(
        volume: Volume<'a>,
        what: &'static str,
        fork: &Fork,
        overflow: &[(u64, ExtentRecord)],
    ) -> Result<Self, FormatError> {
        let mut pieces = Vec::new();
        let mut blocks = 0_u64;
        for (start, record) in std::iter::once(&(0, fork.extents)).chain(overflow) {
            if *start != blocks {
                let expected = format!("extents from its block {blocks} on");
                let position = super::volume_header::POSITION;
                return Err(FormatError::corrupt(what, position, expected, start));
            }
            for (start, count) in record.iter() {
                let in_file = volume.extent(blocks, 0).start();
                pieces.push((in_file, volume.extent(start, count)));
                blocks = blocks.saturating_add(count);
            }
        }
        if blocks != fork.total_blocks {
            let expected = format!("extents of {} blocks", fork.total_blocks);
            let position = super::volume_header::POSITION;
            return Err(FormatError::corrupt(what, position, expected, blocks));
        }
        Ok(Self { volume, what, logical_size: fork.logical_size, pieces })
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.logical_size == 0
    }

    pub(super) const fn header(&self) -> &'a VolumeHeader {
        self.volume.header
    }

    /// All bytes of the file, in the order of the file.
    pub(super) fn extents(&self) -> impl Iterator<Item = Extent> + '_ {
        self.pieces.iter().map(|(_, extent)| *extent)
    }

    /// Where a byte of the file is, in bytes from the start of the volume.
    pub(super) fn position(&self, offset: u64) -> u64 {
        self.piece(offset).map_or(0, |piece| piece.start())
    }

    /// Reads bytes of the file.
    pub(super) fn read(&self, offset: u64, len: usize) -> Result<Vec<u8>, FormatError> {
        let outside = || {
            let expected = format!("{len} bytes at its byte {offset:#x}");
            FormatError::corrupt(self.what, self.position(0), expected, self.logical_size)
        };
        let wanted = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
        if wanted.is_none_or(|end| end > self.logical_size) {
            return Err(outside());
        }
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            let done = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            let piece = self.piece(offset.saturating_add(done)).ok_or_else(outside)?;
            let left = len.saturating_sub(bytes.len());
            let count = usize::try_from(piece.len()).unwrap_or(usize::MAX).min(left);
            bytes.extend(self.volume.read(self.what, piece.start(), count)?);
        }
        Ok(bytes)
    }

    /// The bytes on the volume from this one of the file to its extent's end.
    fn piece(&self, offset: u64) -> Option<Extent> {
        let number = self.pieces.partition_point(|(start, _)| *start <= offset).checked_sub(1)?;
        let (start, extent) = self.pieces.get(number)?;
        let inside = extent.start().saturating_add(offset.saturating_sub(*start));
        Some(Extent::new(inside, extent.end())).filter(|piece| !piece.is_empty())
    }
}
