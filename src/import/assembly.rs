// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk that is put together from old images, and what is known of each
//! of its bytes.

use std::path::Path;

use super::scratch::Scratch;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::units::SectorSize;

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
        })
    }

    /// A part of it. What is put there comes as it is if `is_whole`, else it
    /// was chosen because it is in use.
    pub fn place(&mut self, extent: Extent, is_whole: bool) -> Place<'_> {
        Place { assembly: self, extent, is_whole }
    }
}

/// A part of a disk that is put together, in which positions count from 0.
#[derive(Debug)]
pub struct Place<'a> {
    assembly: &'a mut Assembly,
    extent: Extent,
    is_whole: bool,
}

impl Place<'_> {
    /// How many bytes fit.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.extent.len()
    }

    /// True if none fit.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.extent.is_empty()
    }

    /// Puts bytes at a position.
    ///
    /// # Errors
    /// Damaged, if they are not inside; and if there is no room.
    pub fn store(&mut self, position: u64, bytes: &[u8]) -> Result<()> {
        let extent = self.write(position, bytes)?;
        self.given().insert(extent);
        Ok(())
    }

    /// Puts bytes at a position, and says where on the disk that is.
    fn write(&mut self, position: u64, bytes: &[u8]) -> Result<Extent> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let extent = Extent::at(self.extent.start().saturating_add(position), len);
        if !self.extent.contains(&extent) || extent.len() != len {
            return Err(Error::damaged(format!(
                "{len} bytes at {position} do not fit into {} bytes",
                self.extent.len()
            ))
            .hint("the image is not of this partition, or damaged"));
        }
        self.assembly.scratch.write(extent.start(), bytes)?;
        Ok(extent)
    }

    /// Says that these bytes of the disk are there.
    pub fn give(&mut self, extents: impl IntoIterator<Item = Extent>) {
        self.given().extend(extents);
    }

    fn given(&mut self) -> &mut ExtentSet {
        if self.is_whole { &mut self.assembly.whole } else { &mut self.assembly.chosen }
    }

    /// As [`Place::store`], of bytes among which may be the marks of sectors
    /// that could not be read.
    ///
    /// # Errors
    /// As [`Place::store`].
    pub fn store_marked(&mut self, position: u64, bytes: &[u8]) -> Result<()> {
        let extent = self.write_marked(position, bytes)?;
        self.given().insert(extent);
        Ok(())
    }

    /// As [`Place::store_marked`], without saying that they are there, which
    /// [`Place::give`] has to with what comes out: for who jumps to and fro.
    ///
    /// # Errors
    /// As [`Place::store`].
    pub fn write_marked(&mut self, position: u64, bytes: &[u8]) -> Result<Extent> {
        let extent = self.write(position, bytes)?;
        let sectors = bytes.chunks_exact(BAD_SECTOR_LEN);
        for (start, sector) in (position..).step_by(BAD_SECTOR_LEN).zip(sectors) {
            let is_mark = sector.starts_with(BAD_SECTOR)
                && sector.iter().skip(BAD_SECTOR.len().saturating_add(1)).all(|b| *b == b'?');
            if is_mark {
                let start = self.extent.start().saturating_add(start);
                let len = u64::try_from(BAD_SECTOR_LEN).unwrap_or_default();
                self.assembly.unreadable.insert(Extent::at(start, len));
            }
        }
        Ok(extent)
    }
}
