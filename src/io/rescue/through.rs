// SPDX-License-Identifier: MIT OR Apache-2.0
//! A drive that is looked at while it is rescued: what was read once comes from
//! the file, and what is read is kept there, so that a look around costs the
//! drive no read twice.

use std::sync::{Mutex, PoisonError};

use super::blocks::Blocks;
use super::mapfile::Status;
use crate::device::AlignedBuffer;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, WriteAt, check_range};
use crate::units::SectorSize;

/// Small reads take this much with them, if it can be read.
const AROUND: u64 = 64 << 10;

/// A drive through the file that it is rescued to.
pub struct Through<'a> {
    drive: &'a dyn ReadAt,
    store: &'a dyn WriteAt,
    look: Mutex<Look<'a>>,
}

/// A look around.
struct Look<'a> {
    blocks: &'a mut Blocks,
    /// What could not be read alone; it is not asked for twice.
    failed: ExtentSet,
    /// What was read from the drive.
    fetched: ExtentSet,
    /// What was asked for.
    asked: ExtentSet,
}

impl std::fmt::Debug for Through<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Through")
    }
}

impl<'a> Through<'a> {
    /// `drive`, of which `blocks` are in `store`; all of it must be the domain.
    pub fn new(drive: &'a dyn ReadAt, store: &'a dyn WriteAt, blocks: &'a mut Blocks) -> Self {
        let [failed, fetched, asked] = [ExtentSet::new(), ExtentSet::new(), ExtentSet::new()];
        Self { drive, store, look: Mutex::new(Look { blocks, failed, fetched, asked }) }
    }

    /// What of that which was there before the look around was asked for.
    #[must_use]
    pub fn seen(&self) -> ExtentSet {
        let look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        look.asked.intersect(&look.blocks.finished()).subtract(&look.fetched)
    }

    /// What was asked for and is in the file now.
    #[must_use]
    pub fn looked_at(&self) -> ExtentSet {
        let look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        look.asked.intersect(&look.blocks.finished())
    }

    /// Brings a range to the file.
    fn fetch(&self, look: &mut Look, range: Extent) -> Result<()> {
        let around = range.align_outwards(AROUND).intersect(&Extent::new(0, self.drive.len()));
        let left: Vec<Extent> = look
            .blocks
            .within(around)
            .filter(|block| block.status == Status::NonTried)
            .map(|block| block.extent)
            .filter(|extent| extent.overlaps(&range))
            .collect();
        for extent in left {
            for piece in extent.pieces(AROUND) {
                if !self.copy(look, piece)? {
                    self.fetch_sectors(look, piece.intersect(&range))?;
                }
            }
        }
        let sector = self.drive.sector_size().bytes();
        // What has failed as part of a large read may be good itself.
        for block in look.blocks.within(range).collect::<Vec<_>>() {
            if matches!(block.status, Status::NonTrimmed | Status::NonScraped) {
                let whole = block.extent.align_outwards(sector);
                self.fetch_sectors(look, whole.intersect(&Extent::new(0, self.drive.len())))?;
            }
        }
        Ok(())
    }

    fn fetch_sectors(&self, look: &mut Look, range: Extent) -> Result<()> {
        let sector = self.drive.sector_size().bytes();
        let whole = range.align_outwards(sector).intersect(&Extent::new(0, self.drive.len()));
        for piece in whole.pieces(sector) {
            let left: Vec<Extent> = look
                .blocks
                .within(piece)
                .filter(|block| !matches!(block.status, Status::Finished | Status::Bad))
                .map(|block| block.extent)
                .collect();
            if left.is_empty() || look.failed.touches(piece) || self.copy(look, piece)? {
                continue;
            }
            look.failed.insert(piece);
            // Not bad for good: the drive may be away.
            for extent in left {
                look.blocks.set(extent, Status::NonScraped);
            }
        }
        Ok(())
    }

    /// Reads a piece into the file; false if it cannot be read.
    fn copy(&self, look: &mut Look, piece: Extent) -> Result<bool> {
        let mut buffer = AlignedBuffer::new(piece.len() as usize);
        match self.drive.read_at(piece.start(), buffer.as_mut_slice()) {
            Ok(()) => {}
            Err(error) if error.is_media_error() => return Ok(false),
            Err(error) => return Err(error),
        }
        self.store.write_at(piece.start(), buffer.as_slice())?;
        look.blocks.set(piece, Status::Finished);
        look.fetched.insert(piece);
        Ok(true)
    }
}

impl ReadAt for Through<'_> {
    fn len(&self) -> u64 {
        self.drive.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.drive.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let asked = Extent::at(offset, buf.len() as u64);
        let mut look = self.look.lock().unwrap_or_else(PoisonError::into_inner);
        look.asked.insert(asked);
        self.fetch(&mut look, asked)?;
        let bad = look.blocks.within(asked).find(|block| block.status != Status::Finished);
        if let Some(bad) = bad {
            let error = std::io::Error::from_raw_os_error(libc::EIO);
            return Err(Error::io(format!("reading {} of the drive", bad.extent), error));
        }
        drop(look);
        self.store.read_at(offset, buf)
    }

    fn known_zeros(&self) -> ExtentSet {
        self.drive.known_zeros()
    }
}
