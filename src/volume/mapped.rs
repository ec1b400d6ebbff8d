// SPDX-License-Identifier: MIT OR Apache-2.0
//! A volume whose bytes lie in pieces on other readers, in a row or striped.

use std::fmt;

use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, check_range};
use crate::units::SectorSize;

/// Projected ranges before the map is made coarser: 32 MiB of them.
const MAX_RANGES: usize = 1 << 21;

/// Where one column of a piece starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    /// The reader, by its place in the list.
    pub reader: usize,
    /// The first byte there.
    pub offset: u64,
}

/// A run of bytes in one or more columns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// How many bytes of the volume.
    pub len: u64,
    /// The bytes after which the next column goes on; of one column it means
    /// nothing.
    pub stripe: u64,
    /// The columns, each of which has an equal share.
    pub areas: Vec<Area>,
}

impl Piece {
    /// How many bytes of a column come before the byte `position` of the piece.
    fn before(&self, position: u64, column: usize) -> u64 {
        let (Ok(columns), Ok(column)) = (u64::try_from(self.areas.len()), u64::try_from(column))
        else {
            return 0;
        };
        if columns <= 1 {
            return position;
        }
        let chunk = position.checked_div(self.stripe).unwrap_or(0);
        let within = position.checked_rem(self.stripe).unwrap_or(0);
        let row = chunk.checked_div(columns).unwrap_or(0);
        let rows = row.saturating_mul(self.stripe);
        match column.cmp(&chunk.checked_rem(columns).unwrap_or(0)) {
            std::cmp::Ordering::Less => rows.saturating_add(self.stripe),
            std::cmp::Ordering::Equal => rows.saturating_add(within),
            std::cmp::Ordering::Greater => rows,
        }
    }

    /// Where the byte `position` of the piece lies, and for how many bytes the
    /// place goes on.
    fn place(&self, position: u64) -> Option<(usize, u64, u64)> {
        let columns = u64::try_from(self.areas.len()).ok()?;
        let left = self.len.checked_sub(position)?;
        let (column, run) = if columns == 1 {
            (0, left)
        } else {
            let column = position.checked_div(self.stripe)?.checked_rem(columns)?;
            let within = position.checked_rem(self.stripe)?;
            (usize::try_from(column).ok()?, self.stripe.checked_sub(within)?.min(left))
        };
        let area = self.areas.get(column)?;
        let offset = area.offset.checked_add(self.before(position, column))?;
        Some((area.reader, offset, run))
    }
}

/// A volume as a reader.
#[derive(Clone)]
pub struct Mapped<R> {
    readers: Vec<R>,
    /// Where each piece starts, and the piece.
    pieces: Vec<(u64, Piece)>,
    len: u64,
}

impl<R> fmt::Debug for Mapped<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mapped").field("pieces", &self.pieces).field("len", &self.len).finish()
    }
}

impl<R> Mapped<R> {
    /// A volume of these pieces, one behind the other, on things whose lengths
    /// are known; `None` if they make no sense.
    fn over_lengths(
        readers: Vec<R>,
        pieces: Vec<Piece>,
        len_of: impl Fn(&R) -> u64,
    ) -> Option<Self> {
        let mut len = 0_u64;
        let mut placed = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let columns = u64::try_from(piece.areas.len()).ok()?;
            let share = piece.len.checked_div(columns)?;
            let is_whole = columns == 1
                || share.checked_rem(piece.stripe)? == 0
                    && share.checked_mul(columns)? == piece.len;
            if !is_whole || piece.len == 0 {
                return None;
            }
            for area in &piece.areas {
                let end = area.offset.checked_add(share)?;
                if end > len_of(readers.get(area.reader)?) {
                    return None;
                }
            }
            let start = len;
            len = len.checked_add(piece.len)?;
            placed.push((start, piece));
        }
        Some(Self { readers, pieces: placed, len })
    }

    /// Where the byte `position` lies: on which of the readers, at which of its
    /// bytes, and for how many bytes that goes on. `None` behind the end.
    #[must_use]
    pub(crate) fn place(&self, position: u64) -> Option<(&R, u64, u64)> {
        let after = self.pieces.partition_point(|(start, _)| *start <= position);
        let (start, piece) = self.pieces.get(after.checked_sub(1)?)?;
        let (reader, offset, run) = piece.place(position.checked_sub(*start)?)?;
        Some((self.readers.get(reader)?, offset, run)).filter(|_| run > 0)
    }
}

impl Mapped<Option<Extent>> {
    /// A volume of these pieces on parts of a disk, or on others of which
    /// nothing is known; `None` if they make no sense.
    #[must_use]
    pub fn on_disk(parts: Vec<Option<Extent>>, pieces: Vec<Piece>) -> Option<Self> {
        Self::over_lengths(parts, pieces, |part| part.map_or(u64::MAX, |part| part.len()))
    }

    /// How many bytes it has, on the disk and elsewhere.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.len
    }

    /// True if some of its bytes are not on the disk.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        let areas = self.pieces.iter().flat_map(|(_, piece)| &piece.areas);
        areas.map(|area| self.readers.get(area.reader)).any(|part| !matches!(part, Some(Some(_))))
    }

    /// The areas of it on the disk: one extent for each column of each piece, however
    /// many stripes that has.
    pub fn areas(&self) -> impl Iterator<Item = Extent> {
        self.pieces.iter().flat_map(move |(_, piece)| {
            let columns = u64::try_from(piece.areas.len()).unwrap_or(u64::MAX);
            // OK because a piece has equal columns, and one at least.
            let share = piece.len.checked_div(columns).unwrap_or(0);
            piece.areas.iter().filter_map(move |area| {
                let part = (*self.readers.get(area.reader)?)?;
                Some(Extent::at(part.start().saturating_add(area.offset), share))
            })
        })
    }

    /// Where these bytes of it lie on the disk, stripe by stripe; those that lie elsewhere are
    /// left out.
    pub fn parts_of(&self, extent: Extent) -> impl Iterator<Item = (u64, Extent)> {
        let mut position = extent.start();
        std::iter::from_fn(move || {
            let left = extent.end().checked_sub(position).filter(|left| *left > 0)?;
            let (part, offset, run) = self.place(position)?;
            let (from, run) = (position, run.min(left));
            position = position.saturating_add(run);
            Some((from, part.map(|part| Extent::at(part.start().saturating_add(offset), run))))
        })
        .filter_map(|(from, extent)| Some((from, extent?)))
    }
}

impl<R: ReadAt> Mapped<R> {
    /// A volume of these pieces, one behind the other; `None` if they make no
    /// sense.
    #[must_use]
    pub fn new(readers: Vec<R>, pieces: Vec<Piece>) -> Option<Self> {
        Self::over_lengths(readers, pieces, ReadAt::len)
    }

    /// The same volume, on other readers of the same bytes.
    #[must_use]
    pub fn over<S: ReadAt>(&self, other: impl FnMut(&R) -> S) -> Mapped<S> {
        Mapped {
            readers: self.readers.iter().map(other).collect(),
            pieces: self.pieces.clone(),
            len: self.len,
        }
    }

    /// Where these bytes of the volume lie on one of the readers: exactly, or
    /// a little more if that were too many ranges.
    #[must_use]
    pub fn project(&self, used: &ExtentSet, reader: usize) -> ExtentSet {
        let columns = self.pieces.iter().map(|(_, piece)| piece.areas.len()).max().unwrap_or(1);
        let most = MAX_RANGES.checked_div(columns).unwrap_or(1).max(1);
        let coarser;
        let used = if used.count() > most {
            coarser = used.joined(most);
            &coarser
        } else {
            used
        };
        self.pieces
            .iter()
            .flat_map(|(start, piece)| {
                let columns = piece.areas.iter().enumerate();
                let columns = columns.filter(move |(_, area)| area.reader == reader);
                columns.flat_map(move |(column, area)| {
                    used.within(Extent::at(*start, piece.len)).map(move |extent| {
                        let place = |position: u64| {
                            let before = piece.before(position.saturating_sub(*start), column);
                            area.offset.saturating_add(before)
                        };
                        Extent::new(place(extent.start()), place(extent.end()))
                    })
                })
            })
            .collect()
    }
}

impl<R: ReadAt> ReadAt for Mapped<R> {
    fn len(&self) -> u64 {
        self.len
    }

    fn sector_size(&self) -> SectorSize {
        let sizes = self.readers.iter().map(|reader| reader.sector_size());
        sizes.max().unwrap_or(SectorSize::B512)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        let (mut position, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let Some((reader, offset, run)) = self.place(position) else {
                return Err(Error::failed(format!(
                    "byte {position:#x} of the volume lies nowhere"
                )));
            };
            let run = usize::try_from(run).unwrap_or(usize::MAX).min(rest.len());
            let (now, later) = rest.split_at_mut(run);
            reader.read_at(offset, now)?;
            position = position.saturating_add(u64::try_from(run).unwrap_or(0));
            rest = later;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "test numbers")]

    use proptest::prelude::{prop, prop_assert_eq, proptest};

    use super::*;
    use crate::io::Memory;

    fn area(reader: usize, offset: u64) -> Area {
        Area { reader, offset }
    }

    fn linear(len: u64, reader: usize, offset: u64) -> Piece {
        Piece { len, stripe: 0, areas: vec![area(reader, offset)] }
    }

    /// 24 bytes in a row on the second reader, then 48 striped over three
    /// columns, two of them on the first.
    fn pieces() -> Vec<Piece> {
        let areas = vec![area(0, 8), area(1, 64), area(0, 40)];
        vec![linear(24, 1, 100), Piece { len: 48, stripe: 4, areas }]
    }

    fn disks() -> [Memory; 2] {
        [Memory::new((0..128).collect()), Memory::new((128..=255).collect())]
    }

    /// Which reader and byte each byte of the volume is.
    fn places() -> Vec<(usize, u64)> {
        let row = (0..24).map(|n| (1, 100 + n));
        let striped = (0..48_u64).map(|n| {
            let (chunk, within) = (n / 4, n % 4);
            let (reader, start) = [(0, 8), (1, 64), (0, 40)][(chunk % 3) as usize];
            (reader, start + chunk / 3 * 4 + within)
        });
        row.chain(striped).collect()
    }

    #[test]
    fn bytes_come_from_their_place() {
        let disks = disks();
        let volume = Mapped::new(vec![&disks[0], &disks[1]], pieces()).unwrap();
        assert_eq!(volume.len(), 72);
        let wanted: Vec<u8> =
            places().iter().map(|(reader, byte)| (*reader as u64 * 128 + byte) as u8).collect();
        for start in 0..72 {
            for end in start..=72 {
                let mut found = vec![0; end - start];
                volume.read_at(start as u64, &mut found).unwrap();
                assert_eq!(found, wanted[start..end]);
            }
        }
        assert!(volume.read_at(71, &mut [0; 2]).is_err());
        crate::io::conformance::check_reader(&volume, &wanted);
    }

    #[test]
    fn areas_are_where_the_stripes_are() {
        for parts in [
            [Some(Extent::new(1000, 1128)), Some(Extent::new(2000, 2128))],
            [Some(Extent::new(1000, 1128)), None],
            [None, Some(Extent::new(2000, 2128))],
            [None, None],
        ] {
            let volume = Mapped::on_disk(parts.to_vec(), pieces()).unwrap();
            let areas: ExtentSet = volume.areas().collect();
            let stripes = volume.parts_of(Extent::new(0, 72)).map(|(_, extent)| extent);
            assert_eq!(areas, stripes.collect());
            assert_eq!(volume.areas().next().is_none(), parts == [None, None]);
        }
    }

    #[test]
    fn areas_are_few_however_many_stripes_there_are() {
        // 2^54 stripes, half of them on the disk.
        let areas = vec![area(0, 0), area(1, 0)];
        let piece = Piece { len: 1 << 63, stripe: 512, areas };
        let here = Some(Extent::new(4096, 1 << 62));
        let volume = |parts| Mapped::on_disk(parts, vec![piece.clone()]);
        assert!(volume(vec![None, here]).is_none());
        let here = Some(Extent::new(4096, (1 << 62) + 4096));
        let volume = |parts| volume(parts).unwrap();
        let found: Vec<Extent> = volume(vec![None, here]).areas().collect();
        assert_eq!(found, Vec::from_iter(here));
        assert_eq!(volume(vec![None, None]).areas().count(), 0);
    }

    #[test]
    fn pieces_that_make_no_sense_are_no_volume() {
        let disks = disks();
        let readers: Vec<&dyn ReadAt> = vec![&disks[0]];
        let one = |piece| Mapped::new(readers.clone(), vec![piece]).is_some();
        assert!(one(linear(128, 0, 0)));
        assert!(!one(linear(128, 0, 1)));
        assert!(!one(linear(0, 0, 0)));
        assert!(!one(linear(1, 1, 0)));
        assert!(!one(linear(1, 0, u64::MAX)));
        let two = |len, stripe| Piece { len, stripe, areas: vec![area(0, 0), area(0, 64)] };
        assert!(one(two(16, 4)));
        for (len, stripe) in [(16, 0), (12, 4), (16, 5), (u64::MAX, 1)] {
            assert!(!one(two(len, stripe)));
        }
        assert!(!one(Piece { len: 16, stripe: 4, areas: Vec::new() }));
    }

    #[test]
    fn a_map_of_too_many_ranges_becomes_coarser() {
        let disk = Memory::zeros(1);
        let len = 1 << 40;
        let areas = vec![area(0, 0); 1 << 19];
        let volume = Mapped {
            readers: vec![&disk],
            pieces: vec![(0, Piece { len, stripe: 1 << 16, areas })],
            len,
        };
        let used: ExtentSet = (0..1000).map(|n| Extent::at(n << 20, 4096)).collect();
        let found = volume.project(&used, 0);
        assert!(found.count() <= MAX_RANGES);
    }

    proptest! {
        #[test]
        fn every_used_byte_is_projected_and_no_other(
            ranges in prop::collection::vec((0..72_u64, 0..72_u64), 0..6)
        ) {
            let disks = disks();
            let volume = Mapped::new(vec![&disks[0], &disks[1]], pieces()).unwrap();
            let used: ExtentSet = ranges.iter().map(|(a, b)| Extent::new(*a, *b)).collect();
            for reader in 0..3 {
                let places = places();
                let wanted: ExtentSet = (0..72)
                    .filter(|byte| used.touches(Extent::at(*byte, 1)))
                    .map(|byte| places[byte as usize])
                    .filter(|(on, _)| *on == reader)
                    .map(|(_, byte)| Extent::at(byte, 1))
                    .collect();
                prop_assert_eq!(volume.project(&used, reader), wanted);
            }
        }
    }
}
