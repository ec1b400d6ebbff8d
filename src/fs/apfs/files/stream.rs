// SPDX-License-Identifier: MIT OR Apache-2.0
//! A content in extents: of a file, its resource fork, or a large attribute.

use super::super::object::Blocks;
use super::record::FileExtent;
use super::tree::Record;
use crate::error::Context;
use crate::extent::Extent;
use crate::fs::files::FileResult;
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The most pieces of a content that are kept.
const MAX_PIECES: usize = 1 << 20;

/// A piece of a content: where it begins there, and its bytes on the volume.
#[derive(Debug, Clone, Copy)]
struct Piece {
    range: Extent,
    /// `None` if it reads as zeros.
    place: Option<u64>,
}

/// A content, and where it is.
#[derive(Debug, Clone, Default)]
pub(super) struct Stream {
    pub(super) size: u64,
    pieces: Vec<Piece>,
    /// All of it, if it is in the tree.
    embedded: Option<Vec<u8>>,
    /// Where the last node with extents is, for messages.
    position: u64,
}

impl Stream {
    /// One of so many bytes, of whose extents none is known yet.
    pub(super) fn new(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    /// One whose bytes are these.
    pub(super) fn embedded(bytes: Vec<u8>) -> Self {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { embedded: Some(bytes), ..Self::new(size) }
    }

    /// Bytes of memory that it takes.
    pub(super) fn weight(&self) -> usize {
        let embedded = self.embedded.as_ref().map_or(0, Vec::len);
        self.pieces.len().saturating_mul(size_of::<Piece>()).saturating_add(embedded)
    }

    fn end(&self) -> u64 {
        self.pieces.last().map_or(0, |piece| piece.range.end())
    }

    /// True if there is a place for all of its bytes.
    pub(super) fn is_whole(&self) -> bool {
        self.end() >= self.size
    }

    /// Adds its next extent.
    pub(super) fn push(&mut self, record: Record, blocks: Blocks) -> FileResult<()> {
        self.position = record.position;
        let extent = FileExtent::parse(record)?;
        let count = extent.len.checked_div(blocks.size).unwrap_or(0);
        if extent.start != self.end() || count == 0 || blocks.position(count) != extent.len {
            let expected = format!("whole blocks from byte {} of the file on", self.end());
            let found = format!("{} bytes from byte {} on", extent.len, extent.start);
            return Err(FormatError::corrupt("extent of a file", self.position, expected, found));
        }
        if self.pieces.len() >= MAX_PIECES {
            let what = format!("the file is in more than {MAX_PIECES} pieces");
            return Err(FormatError::unsupported(what));
        }
        let place = match extent.block {
            0 => None,
            block => Some(blocks.extent("extent of a file", block, count)?.start()),
        };
        self.pieces.push(Piece { range: Extent::at(extent.start, extent.len), place });
        Ok(())
    }

    /// An error unless there is a place for all of its bytes.
    pub(super) fn check(&self) -> FileResult<()> {
        if self.is_whole() {
            return Ok(());
        }
        let (expected, found) = (format!("extents of {} bytes", self.size), self.end());
        Err(FormatError::corrupt("extents of a file", self.position, expected, found))
    }

    /// Its pieces that are stored: in the content, and on the volume.
    pub(super) fn stored(&self) -> impl Iterator<Item = (Extent, Extent)> + '_ {
        self.pieces.iter().filter_map(|piece| {
            let range = piece.range.intersect(&Extent::new(0, self.size));
            Some((range, Extent::at(piece.place?, range.len())))
        })
    }

    /// Fills `buf` with the content at `offset`; `None` if a part of it is behind
    /// the end.
    pub(super) fn read_inside(
        &self,
        reader: &dyn ReadAt,
        offset: u64,
        buf: &mut [u8],
    ) -> FileResult<Option<()>> {
        let end = u64::try_from(buf.len()).ok().and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.size) {
            return Ok(None);
        }
        self.read(reader, offset, buf).map(Some)
    }

    /// Fills `buf` with the content at `offset`, all of which is in front of its
    /// end.
    pub(super) fn read(
        &self,
        reader: &dyn ReadAt,
        mut offset: u64,
        mut buf: &mut [u8],
    ) -> FileResult<()> {
        if let Some(bytes) = &self.embedded {
            let start = usize::try_from(offset).unwrap_or(usize::MAX);
            let part = bytes.get(start..).and_then(|rest| rest.get(..buf.len()));
            buf.copy_from_slice(part.ok_or_else(|| self.missing(offset))?);
            return Ok(());
        }
        let from = self.pieces.partition_point(|piece| piece.range.end() <= offset);
        for piece in self.pieces.get(from..).unwrap_or_default() {
            let left = piece.range.end().saturating_sub(offset);
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(buf.len());
            let (part, rest) = buf.split_at_mut_checked(len).unwrap_or_default();
            match piece.place {
                None => part.fill(0),
                Some(place) => {
                    let skip = offset.saturating_sub(piece.range.start());
                    let place = place.saturating_add(skip);
                    reader.read_at(place, part).context(|| {
                        format!("reading the content of the file at byte {place:#x}")
                    })?;
                }
            }
            offset = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
            buf = rest;
            if buf.is_empty() {
                return Ok(());
            }
        }
        if buf.is_empty() { Ok(()) } else { Err(self.missing(offset)) }
    }

    fn missing(&self, offset: u64) -> FormatError {
        let (expected, found) = (format!("a place for its byte {offset}"), "none");
        FormatError::corrupt("content of a file", self.position, expected, found)
    }
}
