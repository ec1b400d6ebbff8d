// SPDX-License-Identifier: MIT OR Apache-2.0
//! A drive that GNU ddrescue, or a save that was given up, has read into a raw
//! file: only what its mapfile calls finished is there.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::device::Source;
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::rescue::{Mapfile, State};
use crate::io::{ReadAt, check_range};
use crate::units::SectorSize;

/// A raw file with its mapfile.
#[derive(Debug)]
pub struct Rescued {
    raw: Source,
    len: u64,
    lost: ExtentSet,
}

impl Rescued {
    /// The drive in `raw`, of which `map` says what is there.
    ///
    /// # Errors
    /// If the mapfile cannot be read; damaged, if it is none, or calls something
    /// finished that is not in the file.
    pub fn new(raw: Source, map: &Path) -> Result<Self> {
        let shown = map.display();
        let what = || format!("reading the mapfile {shown}");
        let map = Mapfile::read(BufReader::new(File::open(map).context(what)?)).context(what)?;
        // The file ends with the last byte that was read.
        let sector = raw.sector_size().bytes();
        let len = raw.len().max(map.end()).next_multiple_of(sector);
        let finished = State::new(len, Some(&map)).blocks.finished();
        if finished.end() > raw.len() {
            return Err(Error::damaged(format!(
                "{shown} says that the drive was read up to {:#x}, and {} ends at {:#x}",
                finished.end(),
                raw.path(),
                raw.len()
            ))
            .hint("they do not belong together, or the file was cut off"));
        }
        if finished.is_empty() {
            return Err(Error::damaged(format!("{shown} says that nothing was read")));
        }
        Ok(Self { raw, len, lost: finished.complement(len) })
    }

    /// What was not read.
    #[must_use]
    pub const fn lost(&self) -> &ExtentSet {
        &self.lost
    }

    /// The file.
    #[must_use]
    pub const fn raw(&self) -> &Source {
        &self.raw
    }
}

impl ReadAt for Rescued {
    fn len(&self) -> u64 {
        self.len
    }

    fn sector_size(&self) -> SectorSize {
        self.raw.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        let asked = Extent::at(offset, u64::try_from(buf.len()).unwrap_or(u64::MAX));
        if self.lost.touches(asked) {
            let error = std::io::Error::from_raw_os_error(libc::EIO);
            return Err(Error::io("reading what was not rescued", error));
        }
        self.raw.read_at(offset, buf)
    }

    fn known_zeros(&self) -> ExtentSet {
        self.raw.known_zeros().subtract(&self.lost)
    }
}
