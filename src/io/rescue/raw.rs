// SPDX-License-Identifier: MIT OR Apache-2.0
//! The file that a failing drive is read into: as long as the drive, with holes
//! where nothing was read.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, OFlag, fallocate};
use nix::unistd::{Whence, lseek};

use crate::error::{Context, Error, Result};
use crate::extent::Extent;
use crate::image::frame::is_zero;
use crate::io::{ReadAt, WriteAt, check_range, lock};
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
    /// True once a flush has failed: the kernel tells that only once, and the
    /// next flush succeeds though nothing was written since.
    has_failed: AtomicBool,
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
        let raw = Self::open_unchanged(path, len, sector)?;
        raw.extend()?;
        Ok(raw)
    }

    /// As [`RawFile::open`], but one that is too short stays so until
    /// [`RawFile::extend`]: it may turn out to be of another drive.
    ///
    /// # Errors
    /// As [`RawFile::open`].
    pub fn open_unchanged(path: &Path, len: u64, sector: SectorSize) -> Result<Self> {
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
        Self::of(path, file, len, sector, false)
    }

    /// Makes the file as long as the drive.
    ///
    /// # Errors
    /// If there can be no file of this length.
    pub fn extend(&self) -> Result<()> {
        self.file.set_len(self.len).context(|| format!("extending {}", self.path.display()))
    }

    /// Refuses the file if it ends in front of `end`, up to where a map calls it
    /// read: zeros would stand for what is cut off.
    ///
    /// # Errors
    /// Damaged if it is too short.
    pub fn check_reaches(&self, end: u64) -> Result<()> {
        let what = || format!("asking {} for its length", self.path.display());
        let found = self.file.metadata().context(what)?.len();
        if found >= end {
            return Ok(());
        }
        Err(Error::damaged(format!(
            "{} has {found} bytes, and its map says that it was read up to {end}: it was cut off",
            self.path.display()
        ))
        .hint("copy it once more from where it is whole, or begin a rescue with another name"))
    }

    /// True if the file is one hole: nothing was ever written to it. Of a filesystem
    /// that does not tell, false.
    ///
    /// # Errors
    /// If it cannot be asked.
    pub fn has_no_data(&self) -> Result<bool> {
        match lseek(&self.file, 0, Whence::SeekData) {
            Err(Errno::ENXIO) => Ok(true),
            Err(error) => Err(Error::io(
                format!("asking {} for its holes", self.path.display()),
                error.into(),
            )),
            Ok(_) => Ok(false),
        }
    }

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(OFlag::O_NOFOLLOW.bits());
        options
    }

    fn of(path: &Path, file: File, len: u64, sector: SectorSize, is_fresh: bool) -> Result<Self> {
        if !lock(&file) {
            let shown = path.display();
            return Err(Error::refused(format!("{shown} is being written by another dacapo"))
                .hint("wait for it, or choose another name"));
        }
        let has_failed = AtomicBool::new(false);
        Ok(Self { path: path.to_owned(), file, len, sector, is_fresh, has_failed })
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
        if self.has_failed.load(Ordering::SeqCst) {
            return Err(Error::failed(format!(
                "a part of {} did not reach the medium",
                self.path.display()
            ))
            .hint("what the last map calls read is there: run the same command again"));
        }
        self.file
            .sync_data()
            .inspect_err(|_| self.has_failed.store(true, Ordering::SeqCst))
            .context(|| format!("flushing {}", self.path.display()))
    }

    fn zero(&self, extent: Extent) -> Result<()> {
        static ZEROS: [u8; 65536] = [0; 65536];
        for piece in extent.pieces(ZEROS.len() as u64) {
            self.write_at(piece.start(), &ZEROS[..piece.len() as usize])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn after_a_flush_that_failed_none_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raw");
        let mut raw = RawFile::create(&path, 4096, SectorSize::B512).unwrap();
        raw.flush().unwrap();
        // What cannot be flushed stands for a medium that fails once.
        let (pipe, _other) = std::io::pipe().unwrap();
        let file = std::mem::replace(&mut raw.file, File::from(std::os::fd::OwnedFd::from(pipe)));
        assert!(raw.flush().is_err());
        raw.file = file;
        assert!(raw.flush().is_err(), "what is missing was forgotten");
    }

    #[test]
    fn a_short_file_is_not_made_longer_before_it_is_known_to_be_right() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("raw");
        std::fs::write(&path, [7; 1024]).unwrap();
        let raw = RawFile::open_unchanged(&path, 4096, SectorSize::B512).unwrap();
        raw.check_reaches(1024).unwrap();
        let error = raw.check_reaches(1025).unwrap_err();
        assert_eq!(error.kind(), crate::error::ErrorKind::Damaged);
        assert_eq!(path.metadata().unwrap().len(), 1024);
        raw.extend().unwrap();
        assert_eq!(path.metadata().unwrap().len(), 4096);
    }
}
