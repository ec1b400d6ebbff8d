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
    blocks: Mutex<&'a mut Blocks>,
}

impl std::fmt::Debug for Through<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Through")
    }
}

impl<'a> Through<'a> {
    /// `drive`, of which `blocks` are in `store`; all of it must be the domain.
    pub fn new(drive: &'a dyn ReadAt, store: &'a dyn WriteAt, blocks: &'a mut Blocks) -> Self {
        Self { drive, store, blocks: Mutex::new(blocks) }
    }

    /// Brings a range to the file.
    fn fetch(&self, blocks: &mut Blocks, range: Extent) -> Result<()> {
        let around = range.align_outwards(AROUND).intersect(&Extent::new(0, self.drive.len()));
        let left: Vec<Extent> = blocks
            .within(around)
            .filter(|block| block.status == Status::NonTried)
            .map(|block| block.extent)
            .filter(|extent| extent.overlaps(&range))
            .collect();
        for extent in left {
            for piece in extent.pieces(AROUND) {
                if !self.copy(blocks, piece)? {
                    self.fetch_sectors(blocks, piece.intersect(&range))?;
                }
            }
        }
        let sector = self.drive.sector_size().bytes();
        // What has failed as part of a large read may be good itself.
        for block in blocks.within(range).collect::<Vec<_>>() {
            if matches!(block.status, Status::NonTrimmed | Status::NonScraped) {
                let whole = block.extent.align_outwards(sector);
                self.fetch_sectors(blocks, whole.intersect(&Extent::new(0, self.drive.len())))?;
            }
        }
        Ok(())
    }

    fn fetch_sectors(&self, blocks: &mut Blocks, range: Extent) -> Result<()> {
        let sector = self.drive.sector_size().bytes();
        let whole = range.align_outwards(sector).intersect(&Extent::new(0, self.drive.len()));
        for piece in whole.pieces(sector) {
            if blocks.within(piece).all(|block| block.status == Status::Finished) {
                continue;
            }
            if !self.copy(blocks, piece)? {
                blocks.set(piece, Status::Bad);
            }
        }
        Ok(())
    }

    /// Reads a piece into the file; false if it cannot be read.
    fn copy(&self, blocks: &mut Blocks, piece: Extent) -> Result<bool> {
        let mut buffer = AlignedBuffer::new(piece.len() as usize);
        match self.drive.read_at(piece.start(), buffer.as_mut_slice()) {
            Ok(()) => {}
            Err(error) if error.is_media_error() => return Ok(false),
            Err(error) => return Err(error),
        }
        self.store.write_at(piece.start(), buffer.as_slice())?;
        blocks.set(piece, Status::Finished);
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
        let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        self.fetch(&mut blocks, asked)?;
        let bad = blocks.within(asked).find(|block| block.status != Status::Finished);
        if let Some(bad) = bad {
            let error = std::io::Error::from_raw_os_error(libc::EIO);
            return Err(Error::io(format!("reading {} of the drive", bad.extent), error));
        }
        drop(blocks);
        self.store.read_at(offset, buf)
    }

    fn known_zeros(&self) -> ExtentSet {
        self.drive.known_zeros()
    }
}
