// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disk that is put together in a file without a name: whatever happens, it
//! is gone when the program is.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use crate::device::Source;
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::MAX_DISK_LEN;
use crate::image::frame::is_zero;
use crate::io::{ReadAt, check_range, unnamed_file};
use crate::store::room_at;
use crate::units::{KIB, SectorSize};

/// Zeros in whole units of this many bytes take no room in the file.
const UNIT: u64 = 64 * KIB;

/// A sparse file that stands for a disk.
#[derive(Debug)]
pub struct Scratch {
    file: File,
    folder: PathBuf,
    len: u64,
    sector: SectorSize,
    /// What was written and is not zero.
    data: ExtentSet,
}

impl Scratch {
    /// A disk of `len` zeros, kept in a folder.
    ///
    /// # Errors
    /// If there can be no file of this length; unsupported, if it is too large
    /// for a disk.
    pub fn new(folder: &Path, len: u64, sector: SectorSize) -> Result<Self> {
        let file = unnamed_file(folder)
            .context(|| format!("making a temporary file in {}", folder.display()))?;
        let mut scratch =
            Self { file, folder: folder.to_owned(), len: 0, sector, data: ExtentSet::new() };
        scratch.set_len(len)?;
        Ok(scratch)
    }

    /// Makes the disk longer or shorter.
    ///
    /// # Errors
    /// As [`Scratch::new`].
    pub fn set_len(&mut self, len: u64) -> Result<()> {
        if len > MAX_DISK_LEN {
            return Err(Error::unsupported(format!("a disk of {len} bytes is too large")));
        }
        self.file.set_len(len).context(|| self.what())?;
        self.len = len;
        Ok(())
    }

    /// Writes bytes; what is beyond the end makes the disk longer.
    ///
    /// # Errors
    /// If there is no room.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> Result<()> {
        let extent = Extent::at(offset, u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if extent.end() > self.len {
            self.set_len(extent.end())?;
        }
        let mut run: Option<Extent> = None;
        for unit in extent.align_outwards(UNIT).pieces(UNIT) {
            let piece = unit.intersect(&extent);
            // What is there already may be more than zeros.
            if is_zero(part(bytes, offset, piece)) && !self.data.touches(piece) {
                self.write_run(offset, bytes, run.take())?;
                continue;
            }
            run = Some(run.map_or(piece, |run| Extent::new(run.start(), piece.end())));
        }
        self.write_run(offset, bytes, run)
    }

    fn write_run(&mut self, offset: u64, bytes: &[u8], run: Option<Extent>) -> Result<()> {
        let Some(run) = run else { return Ok(()) };
        self.file
            .write_all_at(part(bytes, offset, run), run.start())
            .map_err(|error| Error::io(self.what(), error))
            .map_err(|error| match error.hint_text() {
                None => error.hint("--scratch names a folder with more room"),
                Some(_) => error,
            })?;
        self.data.insert(run);
        Ok(())
    }

    /// A path at which another program that was started by this one finds the
    /// file.
    #[must_use]
    pub fn path_for_children(&self) -> PathBuf {
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd()).into()
    }

    /// Looks at what another program has written.
    ///
    /// # Errors
    /// If that cannot be found out, or the file is not as long as it was.
    pub fn was_written(&mut self) -> Result<()> {
        let written = Source::open(self.path_for_children())?;
        if written.len() != self.len {
            return Err(Error::failed("the temporary file has another length"));
        }
        self.data = written.known_zeros().complement(self.len);
        Ok(())
    }

    fn what(&self) -> String {
        format!("writing a temporary file in {}", self.folder.display())
    }
}

/// The part of `bytes`, which are those at `offset`, that is at `extent`.
fn part(bytes: &[u8], offset: u64, extent: Extent) -> &[u8] {
    let at = |position: u64| usize::try_from(position.saturating_sub(offset)).unwrap_or(usize::MAX);
    bytes.get(at(extent.start())..at(extent.end())).unwrap_or_default()
}

/// True if holes in a file in this folder take no room; on FAT and exFAT they
/// do.
///
/// # Errors
/// If there can be no file.
pub fn is_sparse(folder: &Path) -> Result<bool> {
    const LEN: u64 = 4 << 20;
    let what = || format!("making a temporary file in {}", folder.display());
    let before = room_at(&folder.join("x"))?;
    let file = unnamed_file(folder).context(what)?;
    file.set_len(LEN).context(what)?;
    // The sum of blocks alone is only an estimate on some network filesystems.
    let blocks = file.metadata().context(what)?.blocks().saturating_mul(512);
    let taken = before.saturating_sub(room_at(&folder.join("x"))?);
    Ok(blocks < LEN / 2 || taken < LEN / 2)
}

impl ReadAt for Scratch {
    fn len(&self) -> u64 {
        self.len
    }

    fn sector_size(&self) -> SectorSize {
        self.sector
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        self.file
            .read_exact_at(buf, offset)
            .context(|| format!("reading the temporary file in {}", self.folder.display()))
    }

    fn known_zeros(&self) -> ExtentSet {
        self.data.complement(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_disk_whose_zeros_are_known_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut scratch = Scratch::new(folder.path(), 1 << 20, SectorSize::B512).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        assert_eq!(scratch.known_zeros(), ExtentSet::all(1 << 20));
        let mut bytes = vec![0; 200_000];
        bytes[100_000] = 7;
        scratch.write(1000, &bytes).unwrap();
        assert_eq!(scratch.known_zeros().complement(1 << 20).bytes(), UNIT);
        // Zeros over something are zeros.
        scratch.write(101_000, &[0; 4]).unwrap();
        let mut read = vec![1; 200_000];
        scratch.read_at(1000, &mut read).unwrap();
        assert!(is_zero(&read));
        scratch.write((1 << 20) - 1, &[1, 2, 3]).unwrap();
        assert_eq!(scratch.len(), (1 << 20) + 2);
        assert!(scratch.read_at(1 << 20, &mut [0; 3]).is_err());
    }
}
