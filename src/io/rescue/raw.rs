// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file that a failing drive is read into: as long as the drive, with holes
//! where nothing was read.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FallocateFlags, OFlag, fallocate};

use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::image::frame::is_zero;
use crate::io::{ReadAt, WriteAt, check_range};
use crate::units::{MIB, SectorSize};

/// A sparse file that stands for a drive.
#[derive(Debug)]
pub struct RawFile {
    path: PathBuf,
    file: File,
    len: u64,
    sector: SectorSize,
    /// True if what was not written is zero.
    is_fresh: bool,
}

impl RawFile {
    /// Makes a file for a drive of `len` bytes.
    ///
    /// # Errors
    /// Refused if it exists; if there can be no file of this length.
    pub fn create(path: &Path, len: u64, sector: SectorSize) -> Result<Self> {
        let what = || format!("making {}", path.display());
        let mut options = Self::options();
        let file = options.create_new(true).mode(0o600).open(path).context(what)?;
        let raw = Self::of(path, file, len, sector, true)?;
        if let Err(error) = raw.file.set_len(len).context(what) {
            // It is not there for anybody else.
            let _ = std::fs::remove_file(path);
            return Err(error);
        }
        Ok(raw)
    }

    /// Opens the file of an earlier rescue; one that is too short is made
    /// longer.
    ///
    /// # Errors
    /// If it is not there, is longer than the drive, or is being written by
    /// another program like this one.
    pub fn open(path: &Path, len: u64, sector: SectorSize) -> Result<Self> {
        let what = || format!("opening {}", path.display());
        let file = Self::options().open(path).context(what)?;
        let found = file.metadata().context(what)?;
        if !found.is_file() {
            return Err(Error::refused(format!("{} is no regular file", path.display())));
        }
        if found.len() > len {
            return Err(Error::refused(format!(
                "{} has {} bytes, and the drive {len}",
                path.display(),
                found.len()
            ))
            .hint("it is of another drive: choose another name"));
        }
        let raw = Self::of(path, file, len, sector, false)?;
        raw.file.set_len(len).context(what)?;
        Ok(raw)
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits());
        options
    }

    fn of(path: &Path, file: File, len: u64, sector: SectorSize, is_fresh: bool) -> Result<Self> {
        if let Err(TryLockError::WouldBlock) = file.try_lock() {
            let shown = path.display();
            return Err(Error::refused(format!("{shown} is being written by another dacapo"))
                .hint("wait for it, or choose another name"));
        }
        Ok(Self { path: path.to_owned(), file, len, sector, is_fresh })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// True if files in a folder have holes that take no room.
    ///
    /// # Errors
    /// If no file can be made there.
    pub fn can_be_sparse(folder: &Path) -> Result<bool> {
        let what = || format!("making a file in {}", folder.display());
        let path = folder.join(format!(".dacapo-holes-{}", std::process::id()));
        let file = Self::options().create_new(true).open(&path).context(what)?;
        let room = file.set_len(8 * MIB).and_then(|()| file.metadata());
        std::fs::remove_file(&path).context(what)?;
        Ok(room.context(what)?.blocks().saturating_mul(512) < 4 * MIB)
    }
}

impl ReadAt for RawFile {
    fn len(&self) -> u64 {
        self.len
    }

    fn sector_size(&self) -> SectorSize {
        self.sector
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        // What fails here is not the drive: no media error.
        self.file.read_exact_at(buf, offset).map_err(|error| {
            Error::failed(format!("reading {} at {offset:#x}: {error}", self.path.display()))
        })
    }
}

impl WriteAt for RawFile {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        if is_zero(buf) {
            if self.is_fresh {
                return Ok(());
            }
            // What is there may be anything.
            let signed = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
            let flags = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            if fallocate(&self.file, flags, signed(offset), signed(buf.len() as u64)).is_ok() {
                return Ok(());
            }
        }
        self.file
            .write_all_at(buf, offset)
            .context(|| format!("writing {} at {offset:#x}", self.path.display()))
    }

    fn flush(&self) -> Result<()> {
        self.file.sync_data().context(|| format!("flushing {}", self.path.display()))
    }

    fn zero(&self, extent: Extent) -> Result<()> {
        static ZEROS: [u8; 65536] = [0; 65536];
        for piece in extent.pieces(ZEROS.len() as u64) {
            self.write_at(piece.start(), &ZEROS[..piece.len() as usize])?;
        }
        Ok(())
    }
}
