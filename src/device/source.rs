// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is saved: a block device or regular file, opened to be read only.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::Path;
use std::sync::Mutex;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use nix::unistd::{Whence, lseek};

use super::medium::{Access, Medium, NodeId, lock};
use super::{AlignedBuffer, DiskIdentity, identity};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::units::{KIB, SectorSize};

/// Small reads of a device fetch and keep this much around them: parsers read
/// fields and sectors, and each would be a request to the disk.
const WINDOW_LEN: u64 = 128 * KIB;

/// A block device or regular file that is read and never written.
#[derive(Debug)]
pub struct Source {
    medium: Medium,
    /// As it was when it was opened: a drive that has gone says nothing.
    identity: DiskIdentity,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    extent: Option<Extent>,
    bytes: AlignedBuffer,
    /// The starts of those with a place that cannot be read; a failing drive is
    /// not asked for them again.
    failed: BTreeSet<u64>,
}

impl Window {
    /// Answers a small read of a disk of `len` bytes. False if the window could
    /// not be read with `read`: it is larger than what was asked for, and what
    /// was asked for may be readable.
    fn answer(
        &mut self,
        offset: u64,
        buf: &mut [u8],
        len: u64,
        read: impl FnOnce(u64, &mut [u8]) -> Result<()>,
    ) -> bool {
        let asked = Extent::at(offset, buf.len() as u64);
        if !self.extent.is_some_and(|extent| extent.contains(&asked)) {
            let start = offset - offset % WINDOW_LEN;
            if self.failed.contains(&start) {
                return false;
            }
            let extent = Extent::at(start, 2 * WINDOW_LEN).intersect(&Extent::new(0, len));
            self.extent = None;
            // At most two windows' length.
            self.bytes.set_len(extent.len() as usize);
            if let Err(error) = read(start, self.bytes.as_mut_slice()) {
                if error.is_media_error() {
                    self.failed.insert(start);
                }
                return false;
            }
            self.extent = Some(extent);
        }
        let Some(extent) = self.extent else { return false };
        let start = (offset - extent.start()) as usize;
        buf.copy_from_slice(&self.bytes[start..start + buf.len()]);
        true
    }
}

impl Source {
    /// Opens a block device or a regular file; a file has 512-byte sectors.
    ///
    /// # Errors
    /// If it is neither, cannot be opened, or has no medium.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_medium(path.as_ref(), None)
    }

    /// As [`Source::open`], for a file that is the image of a disk with
    /// sectors of this size.
    ///
    /// # Errors
    /// As [`Source::open`]; and if a device has sectors of another size.
    pub fn open_with_sector_size(path: impl AsRef<Path>, sector: SectorSize) -> Result<Self> {
        Self::open_medium(path.as_ref(), Some(sector))
    }

    /// As [`Source::open`], with sectors of this size if given, for what is
    /// to stay as it is: while a device is open nothing can mount it. One that
    /// is claimed already, as by a read-only mount, is opened nevertheless.
    ///
    /// # Errors
    /// As [`Source::open_with_sector_size`].
    pub fn claim(path: impl AsRef<Path>, sector: Option<SectorSize>) -> Result<Self> {
        let medium =
            Medium::open(path.as_ref(), Access::Claim, sector.unwrap_or(SectorSize::B512))?;
        Self::of_medium(medium, sector)
    }

    fn open_medium(path: &Path, sector: Option<SectorSize>) -> Result<Self> {
        let medium = Medium::open(path, Access::Read, sector.unwrap_or(SectorSize::B512))?;
        Self::of_medium(medium, sector)
    }

    fn of_medium(medium: Medium, sector: Option<SectorSize>) -> Result<Self> {
        if let Some(wanted) = sector
            && wanted != medium.sector_size()
        {
            return Err(Error::usage(format!(
                "{} has sectors of {} bytes, not of {wanted}",
                medium.path(),
                medium.sector_size()
            )));
        }
        if !medium.is_device() {
            // Advice only: without it the file is read as well, just slower.
            let _ = posix_fadvise(medium.file(), 0, 0, PosixFadviseAdvice::POSIX_FADV_SEQUENTIAL);
        }
        let identity = identity::of_medium(&medium);
        Ok(Self { medium, identity, window: Mutex::default() })
    }

    /// The path it was opened by.
    #[must_use]
    pub fn path(&self) -> &str {
        self.medium.path()
    }

    /// True for a block device, false for a regular file.
    #[must_use]
    pub const fn is_device(&self) -> bool {
        self.medium.is_device()
    }

    /// True if nothing can mount or claim the device while it is open.
    #[must_use]
    pub const fn is_claimed(&self) -> bool {
        self.medium.is_claimed()
    }

    /// True if reads pass the page cache by.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        self.medium.is_direct()
    }

    /// What was opened, whatever its path leads to later.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn node(&self) -> Result<NodeId> {
        self.medium.node()
    }

    /// What the disk said of itself when it was opened; of a partition, the disk
    /// it is on.
    #[must_use]
    pub fn identity(&self) -> DiskIdentity {
        self.identity.clone()
    }
}

/// The holes of a sparse file.
fn holes(file: &File, len: u64) -> nix::Result<ExtentSet> {
    let data = seek(file, 0, Whence::SeekData, len)?;
    let mut holes = ExtentSet::from(Extent::new(0, data));
    let mut position = data;
    while position < len {
        let hole = seek(file, position, Whence::SeekHole, len)?;
        // A file that shrinks while it is looked at must not loop for ever.
        position = seek(file, hole, Whence::SeekData, len)?.max(hole + 1);
        holes.insert(Extent::new(hole, position.min(len)));
    }
    Ok(holes)
}

/// Where the next data or hole from `from` on is; `len` if there is none.
fn seek(file: &File, from: u64, whence: Whence, len: u64) -> nix::Result<u64> {
    let from = i64::try_from(from).map_err(|_| nix::Error::EOVERFLOW)?;
    match lseek(file, from, whence) {
        Ok(found) => Ok(u64::try_from(found).unwrap_or(len).min(len)),
        // Nothing of that kind behind this position.
        Err(nix::Error::ENXIO) => Ok(len),
        Err(error) => Err(error),
    }
}

impl ReadAt for Source {
    fn len(&self) -> u64 {
        self.medium.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.medium.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.medium.check(offset, buf.len(), "reading")?;
        if !self.medium.is_aligned(offset, buf)
            && !buf.is_empty()
            && buf.len() as u64 <= WINDOW_LEN
            && lock(&self.window)
                .answer(offset, buf, self.medium.len(), |at, bytes| self.medium.read_at(at, bytes))
        {
            return Ok(());
        }
        self.medium.read_at(offset, buf)
    }

    fn known_zeros(&self) -> ExtentSet {
        if self.is_device() {
            return ExtentSet::new();
        }
        // Less is known where the filesystem cannot tell; nothing is wrong.
        holes(self.medium.file(), self.medium.len()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn a_window_that_cannot_be_read_is_not_asked_for_again() {
        let len = 4 * WINDOW_LEN;
        let bytes = crate::io::conformance::pattern(len as usize, 4);
        let bad = Extent::at(WINDOW_LEN + 4096, 512);
        let memory = crate::io::Memory::new(bytes.clone()).unreadable(bad);
        let (mut window, mut reads) = (Window::default(), 0);
        let mut ask = |offset: u64| {
            let mut buf = [0; 100];
            let answered = window.answer(offset, &mut buf, len, |at, bytes| {
                reads += 1;
                memory.read_at(at, bytes)
            });
            (answered && buf == bytes[offset as usize..][..100], reads)
        };
        assert_eq!(ask(2 * WINDOW_LEN), (true, 1));
        for offset in [0, 1, 700, WINDOW_LEN - 200] {
            assert_eq!(ask(offset), (false, 2), "{offset}");
        }
        assert_eq!(ask(WINDOW_LEN), (false, 3));
        assert_eq!(ask(3 * WINDOW_LEN), (true, 4));
    }

    #[test]
    fn holes_are_known_and_hold_no_data() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(64 << 20).unwrap();
        for offset in [0, 5 << 20, (40 << 20) + 4096] {
            file.as_file().write_all_at(&[7; 8192], offset).unwrap();
        }
        let source = Source::open(file.path()).unwrap();
        let holes = source.known_zeros();
        assert!(holes.bytes() > 60 << 20, "a filesystem with holes is needed here");
        assert!(holes.end() <= source.len());
        for offset in [0, 5 << 20, (40 << 20) + 4096] {
            assert!(!holes.touches(Extent::at(offset, 8192)));
        }
        let mut bytes = [1; 4096];
        for hole in holes.iter() {
            source.read_at(hole.start(), &mut bytes).unwrap();
            assert_eq!(bytes, [0; 4096]);
        }
        let full = tempfile::NamedTempFile::new().unwrap();
        full.as_file().write_all_at(&[7; 8192], 0).unwrap();
        assert!(Source::open(full.path()).unwrap().known_zeros().is_empty());
    }
}
