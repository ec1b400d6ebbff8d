// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk that is put together from old images, and what is known of each
//! of its bytes.

use std::collections::BTreeMap;
use std::path::Path;

use super::scratch::Scratch;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::units::SectorSize;
use crate::volume::Mapped;

/// What the tools that save sectors they cannot read leave in their place: this,
/// and then question marks.
const BAD_SECTOR: &[u8] = b"BADSECTOR\0";
/// Such a sector's length.
const BAD_SECTOR_LEN: usize = 512;

/// A disk that is put together.
#[derive(Debug)]
pub struct Assembly {
    /// The bytes.
    pub scratch: Scratch,
    /// Ranges that came as they are, used or not.
    pub whole: ExtentSet,
    /// Ranges that another tool chose because they are in use.
    pub chosen: ExtentSet,
    /// Sectors that another tool could not read.
    pub unreadable: ExtentSet,
    /// Ranges of which nothing is there, although they were in use.
    pub lost: ExtentSet,
    /// Logical volumes that were put in their place, or were never saved, by their
    /// names, and where on the disk they are.
    pub volumes: BTreeMap<String, ExtentSet>,
}

impl Assembly {
    /// A disk of `len` bytes nothing is known of.
    ///
    /// # Errors
    /// If there is no room for it in `folder`.
    pub fn new(folder: &Path, len: u64, sector: SectorSize) -> Result<Self> {
        Ok(Self {
            scratch: Scratch::new(folder, len, sector)?,
            whole: ExtentSet::new(),
            chosen: ExtentSet::new(),
            unreadable: ExtentSet::new(),
            lost: ExtentSet::new(),
            volumes: BTreeMap::new(),
        })
    }

    /// A part of it. What is put there comes as it is if `is_whole`, else it
    /// was chosen because it is in use.
    pub fn place(&mut self, extent: Extent, is_whole: bool) -> Place<'_> {
        Place { assembly: self, at: At::Extent(extent), is_whole }
    }

    /// A volume that lies on it in pieces. Bytes that lie elsewhere are left out.
    pub fn place_of_pieces<'a>(
        &'a mut self,
        volume: &'a Mapped<Option<Extent>>,
        is_whole: bool,
    ) -> Place<'a> {
        Place { assembly: self, at: At::Pieces(volume), is_whole }
    }
}

/// A part of a disk that is put together, in which positions count from 0.
#[derive(Debug)]
pub struct Place<'a> {
    assembly: &'a mut Assembly,
    at: At<'a>,
    is_whole: bool,
}

/// Where on the disk a part is.
#[derive(Debug, Clone, Copy)]
enum At<'a> {
    Extent(Extent),
    Pieces(&'a Mapped<Option<Extent>>),
}

impl At<'_> {
    const fn len(&self) -> u64 {
        match self {
            Self::Extent(extent) => extent.len(),
            Self::Pieces(volume) => volume.bytes(),
        }
    }

    /// Calls `each` with a position in `wanted`, and where the bytes from there
    /// on lie on the disk.
    fn each(&self, wanted: Extent, mut each: impl FnMut(u64, Extent) -> Result<()>) -> Result<()> {
        match self {
            Self::Extent(all) => each(wanted.start(), wanted.shift(all.start())),
            Self::Pieces(volume) => {
                volume.parts_of(wanted).try_for_each(|(position, extent)| each(position, extent))
            }
        }
    }
}

impl Place<'_> {
    /// How many bytes fit.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.at.len()
    }

    /// True if none fit.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Puts bytes at a position.
    ///
    /// # Errors
    /// Damaged, if they are not inside; and if there is no room.
    pub fn store(&mut self, position: u64, bytes: &[u8]) -> Result<()> {
        let mut given = Vec::new();
        self.write(position, bytes, &mut given)?;
        self.give(given);
        Ok(())
    }

    /// Puts bytes at a position, and adds where on the disk that is.
    fn write(&mut self, position: u64, bytes: &[u8], given: &mut Vec<Extent>) -> Result<()> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let wanted = Extent::at(position, len);
        if wanted.end() > self.len() || wanted.len() != len {
            return Err(Error::damaged(format!(
                "{len} bytes at {position} do not fit into {} bytes",
                self.len()
            ))
            .hint("the image is not of this partition, or damaged"));
        }
        let Self { assembly, at, .. } = self;
        at.each(wanted, |from, extent| {
            assembly.scratch.write(extent.start(), part(bytes, position, from, extent.len()))?;
            match given.last_mut() {
                Some(last) if last.end() == extent.start() => {
                    *last = Extent::new(last.start(), extent.end());
                }
                _ => given.push(extent),
            }
            Ok(())
        })
    }

    /// Says that these bytes of the disk are there.
    pub fn give(&mut self, extents: impl IntoIterator<Item = Extent>) {
        let given =
            if self.is_whole { &mut self.assembly.whole } else { &mut self.assembly.chosen };
        given.extend(extents);
    }

    /// As [`Place::store`], of bytes among which may be the marks of sectors
    /// that could not be read.
    ///
    /// # Errors
    /// As [`Place::store`].
    pub fn store_marked(&mut self, position: u64, bytes: &[u8]) -> Result<()> {
        let mut given = Vec::new();
        self.write_marked(position, bytes, &mut given)?;
        self.give(given);
        Ok(())
    }

    /// As [`Place::store_marked`], without saying that they are there, which
    /// [`Place::give`] has to with what is added to `given`: for who jumps to and
    /// fro.
    ///
    /// # Errors
    /// As [`Place::store`].
    pub fn write_marked(
        &mut self,
        position: u64,
        bytes: &[u8],
        given: &mut Vec<Extent>,
    ) -> Result<()> {
        self.write(position, bytes, given)?;
        let sectors = bytes.chunks_exact(BAD_SECTOR_LEN);
        for (start, sector) in (position..).step_by(BAD_SECTOR_LEN).zip(sectors) {
            let is_mark = sector.starts_with(BAD_SECTOR)
                && sector.iter().skip(BAD_SECTOR.len().saturating_add(1)).all(|b| *b == b'?');
            if is_mark {
                let len = u64::try_from(BAD_SECTOR_LEN).unwrap_or_default();
                let Self { assembly, at, .. } = self;
                at.each(Extent::at(start, len), |_, extent| {
                    assembly.unreadable.insert(extent);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }
}

/// The `len` bytes from the position `from` on, of `bytes` that begin at the
/// position `start`.
fn part(bytes: &[u8], start: u64, from: u64, len: u64) -> &[u8] {
    let skip = usize::try_from(from.saturating_sub(start)).unwrap_or(usize::MAX);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    let rest = bytes.get(skip..).unwrap_or_default();
    rest.get(..len.min(rest.len())).unwrap_or_default()
}
