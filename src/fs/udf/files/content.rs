// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the content of a file is, and where it has none.

use crate::error::Context as _;
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The most pieces of a file that are kept.
const MAX_PIECES: usize = 1 << 20;

/// A piece of the content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fs::udf) struct Piece {
    /// Where in the content it begins.
    start: u64,
    len: u64,
    /// Where on the volume it is; `None` if it reads as zeros.
    pub(in crate::fs::udf) place: Option<u64>,
}

impl Piece {
    const fn end(&self) -> u64 {
        self.start.saturating_add(self.len)
    }

    /// Its bytes in the content.
    pub(in crate::fs::udf) const fn extent(&self) -> Extent {
        Extent::at(self.start, self.len)
    }
}

/// The pieces of a content, in their order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::fs::udf) struct Content {
    pieces: Vec<Piece>,
    size: u64,
}

impl Content {
    /// One of which no place is known yet.
    pub(super) const fn new(size: u64) -> Self {
        Self { pieces: Vec::new(), size }
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    fn known(&self) -> u64 {
        self.pieces.last().map_or(0, Piece::end)
    }

    /// True if the place of every byte is known.
    pub(super) fn is_whole(&self) -> bool {
        self.known() >= self.size
    }

    /// Adds the next bytes; those behind the end are nobody's.
    pub(super) fn push(&mut self, len: u64, place: Option<u64>) -> Result<(), FormatError> {
        let start = self.known();
        let len = len.min(self.size.saturating_sub(start));
        if len == 0 {
            return Ok(());
        }
        if let Some(last) = self.pieces.last_mut() {
            let goes_on = match (last.place, place) {
                (Some(last_place), Some(place)) => last_place.saturating_add(last.len) == place,
                (None, None) => true,
                _ => false,
            };
            if goes_on {
                last.len = last.len.saturating_add(len);
                return Ok(());
            }
        }
        if self.pieces.len() >= MAX_PIECES {
            let what = format!("the file is in more than {MAX_PIECES} pieces");
            return Err(FormatError::unsupported(what));
        }
        self.pieces.push(Piece { start, len, place });
        Ok(())
    }

    /// Takes the rest of the last block for the content that is left. Linux does
    /// not always note that a file has grown within its last block, and reads
    /// it all the same.
    pub(super) fn fill_last_block(&mut self, block_size: u64) {
        let end = self.known().checked_next_multiple_of(block_size).unwrap_or(0).min(self.size);
        if let Some(last) = self.pieces.last_mut() {
            last.len = last.len.max(end.saturating_sub(last.start));
        }
    }

    /// The pieces from the one on that holds byte `start`.
    pub(in crate::fs::udf) fn pieces_from(&self, start: u64) -> &[Piece] {
        let from = self.pieces.partition_point(|piece| piece.end() <= start);
        self.pieces.get(from..).unwrap_or_default()
    }

    /// Bytes of memory that they take.
    pub(super) const fn weight(&self) -> usize {
        self.pieces.len().saturating_mul(size_of::<Piece>())
    }

    /// Fills `buf` with the content at `offset`, all of which has to be there.
    pub(in crate::fs::udf) fn read(
        &self,
        volume: &dyn ReadAt,
        mut offset: u64,
        mut buf: &mut [u8],
    ) -> Result<(), FormatError> {
        for piece in self.pieces_from(offset) {
            if buf.is_empty() {
                return Ok(());
            }
            let skip = offset.saturating_sub(piece.start);
            let left = usize::try_from(piece.len.saturating_sub(skip)).unwrap_or(usize::MAX);
            let (part, rest) = buf.split_at_mut_checked(left.min(buf.len())).unwrap_or_default();
            match piece.place {
                Some(place) => {
                    let place = place.saturating_add(skip);
                    volume.read_at(place, part).context(|| {
                        format!("reading the content of the file at byte {place:#x}")
                    })?;
                }
                None => part.fill(0),
            }
            offset = offset.saturating_add(u64::try_from(part.len()).unwrap_or(u64::MAX));
            buf = rest;
        }
        if buf.is_empty() {
            return Ok(());
        }
        let expected = format!("a place for its byte {offset}");
        let found = format!("places for {} bytes", self.known());
        Err(FormatError::corrupt("content of a file", 0, expected, found))
    }

    /// The bytes of the content that are stored.
    pub(super) fn stored(&self) -> ExtentSet {
        let stored = self.pieces.iter().filter(|piece| piece.place.is_some());
        let stored: ExtentSet = stored.map(|piece| Extent::at(piece.start, piece.len)).collect();
        // Those without a place are no zeros: to read them is an error.
        stored.union(&Extent::new(self.known(), self.size).into())
    }

    /// Where they are on the volume.
    pub(super) fn places(&self) -> ExtentSet {
        let places = self.pieces.iter().filter_map(|it| Some(Extent::at(it.place?, it.len)));
        places.collect()
    }
}
