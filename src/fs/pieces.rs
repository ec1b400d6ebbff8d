// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the content of a file lies on its volume, piece by piece.

use crate::error::Context;
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The most pieces of a file that are kept: 24 MiB of them.
const MAX_PIECES: usize = 1 << 20;

/// The pieces of a file, in the order of its content.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pieces {
    /// Where in the file each begins, and its bytes on the volume.
    pieces: Vec<(u64, Extent)>,
    len: u64,
}

impl Pieces {
    /// Adds the next bytes of the file.
    pub(super) fn push(&mut self, extent: Extent) -> Result<(), FormatError> {
        let count = self.pieces.len();
        match self.pieces.last_mut() {
            Some((_, last)) if last.end() == extent.start() => {
                *last = Extent::new(last.start(), extent.end());
            }
            _ if count >= MAX_PIECES => {
                let what = format!("the file is in more than {MAX_PIECES} pieces");
                return Err(FormatError::unsupported(what));
            }
            _ => self.pieces.push((self.len, extent)),
        }
        self.len = self.len.saturating_add(extent.len());
        Ok(())
    }

    /// Bytes of memory that they take.
    pub(super) const fn weight(&self) -> usize {
        self.pieces.len().saturating_mul(size_of::<(u64, Extent)>())
    }

    /// The places of the first `len` bytes of the file.
    pub(super) fn places(&self, len: u64) -> impl Iterator<Item = Extent> + '_ {
        self.pieces.iter().take_while(move |(start, _)| *start < len).map(move |(start, it)| {
            Extent::at(it.start(), it.len().min(len.saturating_sub(*start)))
        })
    }

    /// As [`Pieces::places`], as a set.
    pub(super) fn places_of(&self, len: u64) -> ExtentSet {
        self.places(len).collect()
    }

    /// Fills `buf` with the content at `offset`, all of which has to be there.
    pub(super) fn read(
        &self,
        volume: &dyn ReadAt,
        mut offset: u64,
        mut buf: &mut [u8],
    ) -> Result<(), FormatError> {
        let from = self.pieces.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        for (start, extent) in self.pieces.get(from..).unwrap_or_default() {
            if buf.is_empty() {
                return Ok(());
            }
            let skip = offset.saturating_sub(*start);
            let left = usize::try_from(extent.len().saturating_sub(skip)).unwrap_or(usize::MAX);
            let len = left.min(buf.len());
            let (part, rest) = buf.split_at_mut_checked(len).unwrap_or_default();
            let place = extent.start().saturating_add(skip);
            volume
                .read_at(place, part)
                .context(|| format!("reading the content of the file at byte {place:#x}"))?;
            offset = offset.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
            buf = rest;
        }
        if buf.is_empty() {
            return Ok(());
        }
        let (expected, found) = (format!("a place for its byte {offset}"), self.len);
        let found = format!("places for {found} bytes");
        Err(FormatError::corrupt("content of a file", 0, expected, found))
    }
}

/// Places on a volume of `len` bytes, if they are.
pub(super) fn on_volume(places: ExtentSet, len: u64) -> Result<Option<ExtentSet>, FormatError> {
    if places.end() <= len {
        return Ok(Some(places));
    }
    let (expected, found) = (format!("places on the volume of {len} bytes"), places.end());
    Err(FormatError::corrupt("content of a file", 0, expected, format!("one up to {found}")))
}

/// The part of `buf` that lies within a content of `len` bytes.
pub(super) fn within(len: u64, offset: u64, buf: &mut [u8]) -> &mut [u8] {
    let left = usize::try_from(len.saturating_sub(offset)).unwrap_or(usize::MAX);
    let len = left.min(buf.len());
    buf.get_mut(..len).unwrap_or_default()
}

/// Follows a chain of clusters from `first` on for `needed` clusters, or to its
/// end if it is not known how many; no more than `most`.
pub(super) fn chain(
    first: u64,
    needed: Option<u64>,
    most: u64,
    extent: impl Fn(u64) -> Extent,
    mut next: impl FnMut(u64) -> Result<Option<u64>, FormatError>,
) -> Result<Pieces, FormatError> {
    let mut pieces = Pieces::default();
    let mut count: u64 = 0;
    let mut cluster = Some(first);
    while let Some(number) = cluster {
        if needed == Some(count) {
            break;
        }
        if count >= most {
            let (expected, found) = (format!("at most {most} clusters"), "more, or a loop");
            let position = extent(first).start();
            return Err(FormatError::corrupt("chain in the FAT", position, expected, found));
        }
        pieces.push(extent(number))?;
        count = count.saturating_add(1);
        // Behind the last that is needed nothing has to be in order.
        cluster = if needed == Some(count) { None } else { next(number)? };
    }
    match needed {
        Some(needed) if count < needed => Err(FormatError::corrupt(
            "chain in the FAT",
            extent(first).start(),
            format!("the {needed} clusters of its file"),
            format!("{count} clusters"),
        )),
        _ => Ok(pieces),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::io::Memory;

    fn next(links: &'static [(u64, u64)]) -> impl FnMut(u64) -> Result<Option<u64>, FormatError> {
        move |cluster| Ok(links.iter().find(|(from, _)| *from == cluster).map(|(_, to)| *to))
    }

    fn extent(cluster: u64) -> Extent {
        Extent::at(cluster.saturating_mul(4), 4)
    }

    #[test]
    fn a_chain_is_read_in_its_order() {
        let links = &[(5, 6), (6, 2), (2, 9)];
        let pieces = chain(5, None, 10, extent, next(links)).unwrap();
        assert_eq!(pieces.len, 16);
        let volume = Memory::new((0..=255).collect());
        let mut buf = [0; 9];
        pieces.read(&volume, 5, &mut buf).unwrap();
        assert_eq!(buf, [25, 26, 27, 8, 9, 10, 11, 36, 37]);
        assert!(pieces.read(&volume, 8, &mut buf).is_err());
        assert_eq!(
            pieces.places_of(10),
            [Extent::at(8, 2), Extent::at(20, 8)].into_iter().collect()
        );
        let short = chain(5, Some(2), 10, extent, next(links)).unwrap();
        assert_eq!(short.places_of(8), Extent::at(20, 8).into());
    }

    #[test]
    fn loops_and_short_chains_are_errors() {
        assert!(chain(5, None, 10, extent, next(&[(5, 7), (7, 5)])).is_err());
        assert!(chain(5, Some(3), 10, extent, next(&[(5, 7)])).is_err());
        assert!(chain(5, Some(11), 10, extent, next(&[(5, 7), (7, 5)])).is_err());
    }
}
