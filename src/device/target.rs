// SPDX-License-Identifier: MIT OR Apache-2.0
//! What is restored onto: a block device claimed for this program alone, or a
//! regular file.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::OnceLock;

use nix::fcntl::{FallocateFlags, OFlag, PosixFadviseAdvice, fallocate, posix_fadvise};

use super::medium::{Access, Medium, NodeId};
use super::{
    AlignedBuffer, BUFFER_ALIGN, DeviceNumber, DiskIdentity, System, check_target, identity, ioctl,
};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::io::{ReadAt, WriteAt, lock};
use crate::units::{MIB, SectorSize};

/// A block device or regular file that is written.
///
/// A device is opened as a mount opens it: while it is open, nothing else can
/// mount or claim it or one of its partitions. A file is locked against a
/// second target on it.
#[derive(Debug)]
pub struct Target {
    medium: Medium,
    created: bool,
    was_empty: bool,
    /// A file once more, for direct reads; None where there are none.
    past_the_cache: OnceLock<Option<File>>,
}

impl Target {
    /// Opens a block device or a regular file to be written.
    ///
    /// With `create_len`, a file that is missing or empty is made this long,
    /// without taking space; nothing else changes its length.
    ///
    /// # Errors
    /// Refused, if the device is in use or read-only or the file is locked.
    pub fn open(path: impl AsRef<Path>, create_len: Option<u64>) -> Result<Self> {
        Self::open_with_sector_size(path, create_len, SectorSize::B512)
    }

    /// As [`Target::open`], for a file that is the image of a disk with
    /// sectors of this size; a device has its own.
    ///
    /// # Errors
    /// As [`Target::open`].
    pub fn open_with_sector_size(
        path: impl AsRef<Path>,
        create_len: Option<u64>,
        sector: SectorSize,
    ) -> Result<Self> {
        let path = path.as_ref();
        let created = create_len.is_some_and(|_| !path.exists());
        if created {
            // A mistyped device would otherwise become a file in memory.
            if path.starts_with("/dev") && !path.starts_with("/dev/shm") {
                return Err(Error::failed(format!("there is no device {}", path.display()))
                    .hint("dacapo disks lists those of this machine"));
            }
            OpenOptions::new()
                .write(true)
                .create_new(true)
                .open(path)
                .context(|| format!("creating {}", path.display()))?;
        }
        let mut was_empty = false;
        let mut medium = Medium::open(path, Access::Exclusive, sector)
            .map_err(|error| who_uses(path).unwrap_or(error))?;
        if medium.is_device() {
            if ioctl::is_read_only(medium.file()).unwrap_or(false) {
                return Err(Error::refused(format!("{} is read-only", medium.path()))
                    .hint("check its write protection switch, or blockdev --setrw"));
            }
            // What others wrote through the page cache must not be written
            // back later over what is restored.
            flush_caches(&medium)?;
        } else {
            lock_file(&medium)?;
            was_empty = medium.len() == 0;
            if let Some(len) = create_len
                && medium.len() == 0
            {
                medium.set_len(len)?;
            }
        }
        Ok(Self { medium, created, was_empty, past_the_cache: OnceLock::new() })
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

    /// True if reads and writes pass the page cache by.
    #[must_use]
    pub const fn is_direct(&self) -> bool {
        self.medium.is_direct()
    }

    /// True if the file was made by [`Target::open`].
    #[must_use]
    pub const fn was_created(&self) -> bool {
        self.created
    }

    /// True for a file that held nothing when it was opened.
    #[must_use]
    pub const fn was_empty(&self) -> bool {
        self.was_empty
    }

    /// What was opened, whatever its path leads to later.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn node(&self) -> Result<NodeId> {
        self.medium.node()
    }

    /// What the disk says of itself; of a partition, the disk it is on.
    #[must_use]
    pub fn identity(&self) -> DiskIdentity {
        identity::of_medium(&self.medium)
    }

    pub(super) const fn file(&self) -> &File {
        self.medium.file()
    }

    /// Reads from the medium of a file whose cache was dropped; false where that
    /// cannot be done, and the request has to go through the cache.
    fn read_past_the_cache(&self, offset: u64, buf: &mut [u8]) -> bool {
        let Some(Some(file)) = self.past_the_cache.get() else { return false };
        let align = BUFFER_ALIGN as u64;
        let is_aligned = offset.is_multiple_of(align)
            && (buf.len() as u64).is_multiple_of(align)
            && buf.as_ptr().addr().is_multiple_of(BUFFER_ALIGN);
        is_aligned && file.read_exact_at(buf, offset).is_ok()
    }

    /// Writes zeros where no command makes them.
    fn write_zeros(&self, extent: Extent) -> Result<()> {
        // Shorter ranges need no full buffer; the cast is of at most 1 MiB.
        let zeros = AlignedBuffer::new(extent.len().min(MIB) as usize);
        let mut position = extent.start();
        while position < extent.end() {
            let len = (extent.end() - position).min(zeros.len() as u64);
            self.medium.write_at(position, &zeros[..len as usize])?;
            position += len;
        }
        Ok(())
    }

    fn zero_device(&self, extent: Extent) -> Result<()> {
        // The command takes whole sectors; the edges are written.
        let inner = align_inwards(extent, self.sector_size().bytes());
        if inner.is_empty() {
            return self.write_zeros(extent);
        }
        if ioctl::zero_out(self.file(), inner).is_err() {
            // Written zeros are as good, and name the place if they fail, too.
            return self.write_zeros(extent);
        }
        self.write_zeros(Extent::new(extent.start(), inner.start()))?;
        self.write_zeros(Extent::new(inner.end(), extent.end()))
    }

    fn zero_file(&self, extent: Extent) -> Result<()> {
        for mode in [
            FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE,
            FallocateFlags::FALLOC_FL_ZERO_RANGE,
        ] {
            match self.allocate(mode, extent) {
                Ok(()) => return Ok(()),
                Err(error) if is_not_supported(&error) => {}
                Err(error) => return Err(Error::io(self.doing("zeroing", extent), error)),
            }
        }
        self.write_zeros(extent)
    }

    fn allocate(&self, mode: FallocateFlags, extent: Extent) -> io::Result<()> {
        let number =
            |value: u64| value.try_into().map_err(|_| io::Error::from(io::ErrorKind::InvalidInput));
        let (start, len) = (number(extent.start())?, number(extent.len())?);
        loop {
            match fallocate(self.file(), mode, start, len) {
                Err(nix::Error::EINTR) => {}
                done => return done.map_err(io::Error::from),
            }
        }
    }

    fn doing(&self, verb: &str, extent: Extent) -> String {
        format!("{verb} {extent} of {}", self.path())
    }

    fn check(&self, extent: Extent, doing: &str) -> Result<()> {
        // A range longer than a usize cannot be inside on such a machine.
        let len = usize::try_from(extent.len()).unwrap_or(usize::MAX);
        self.medium.check(extent.start(), len, doing)
    }
}

impl ReadAt for Target {
    fn len(&self) -> u64 {
        self.medium.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.medium.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if self.read_past_the_cache(offset, buf) {
            return Ok(());
        }
        self.medium.read_at(offset, buf)
    }
}

impl WriteAt for Target {
    fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.medium.write_at(offset, buf)
    }

    fn flush(&self) -> Result<()> {
        self.file().sync_all().context(|| format!("flushing {}", self.path()))
    }

    fn zero(&self, extent: Extent) -> Result<()> {
        self.check(extent, "zeroing")?;
        if extent.is_empty() {
            return Ok(());
        }
        if self.is_device() { self.zero_device(extent) } else { self.zero_file(extent) }
    }

    fn discard(&self, extent: Extent) -> Result<bool> {
        self.check(extent, "discarding")?;
        let done = if self.is_device() {
            // Part of a sector is not worth a command: it may keep its content.
            let inner = align_inwards(extent, self.sector_size().bytes());
            if inner.is_empty() {
                return Ok(true);
            }
            ioctl::discard(self.file(), inner)
        } else if extent.is_empty() {
            return Ok(true);
        } else {
            let mode = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
            self.allocate(mode, extent)
        };
        match done {
            Ok(()) => Ok(true),
            Err(error) if is_not_supported(&error) => Ok(false),
            Err(error) => Err(Error::io(self.doing("discarding", extent), error)),
        }
    }

    fn write_back(&self, extent: Extent) {
        let (Ok(start), Ok(len)) = (extent.start().try_into(), extent.len().try_into()) else {
            return;
        };
        if !self.is_direct() && len > 0 {
            // Writes what is dirty and forgets what is written: no matter
            // whether the advice is taken.
            let advice = PosixFadviseAdvice::POSIX_FADV_DONTNEED;
            let _ = posix_fadvise(self.file(), start, len, advice);
        }
    }

    fn drop_cache(&self) -> Result<()> {
        self.flush()?;
        if self.is_device() {
            flush_caches(&self.medium)?;
        } else {
            self.past_the_cache.get_or_init(|| {
                let mut options = OpenOptions::new();
                options.read(true).custom_flags(OFlag::O_DIRECT.bits());
                options.open(self.path()).ok().filter(|again| is_same(again, self.file()))
            });
        }
        posix_fadvise(self.file(), 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED)
            .map_err(io::Error::from)
            .context(|| format!("dropping the cache of {}", self.path()))
    }
}

/// Writes back and forgets what the page cache holds of a device, by all of
/// its nodes: a disk and its partitions are cached apart.
fn flush_caches(medium: &Medium) -> Result<()> {
    ioctl::flush_buffers(medium.file())
        .context(|| format!("flushing the cache of {}", medium.path()))?;
    let number = medium.file().metadata().map(|found| DeviceNumber::from_raw(found.rdev()));
    let block = number.ok().and_then(|number| System::running().by_number(number));
    let Some(block) = block else { return Ok(()) };
    let others =
        if block.partition_number().is_some() { vec![block.disk()] } else { block.partitions() };
    for other in others {
        // A node may be missing, as udev makes it later; then nobody has
        // it open and it has no cache.
        if let Ok(node) = File::open(other.device_path()) {
            ioctl::flush_buffers(&node)
                .context(|| format!("flushing the cache of {}", other.device_path()))?;
        }
    }
    Ok(())
}

/// True if both are the same file, whatever became of its name.
fn is_same(a: &File, b: &File) -> bool {
    let identity = |file: &File| file.metadata().map(|found| (found.dev(), found.ino()));
    matches!((identity(a), identity(b)), (Ok(a), Ok(b)) if a == b)
}

/// Names who keeps a device from being opened, if that is known.
fn who_uses(path: &Path) -> Option<Error> {
    check_target(path, None).err().filter(|error| error.kind() == ErrorKind::Refused)
}

/// A second restore into the same file would mix two disks.
fn lock_file(medium: &Medium) -> Result<()> {
    if lock(medium.file()) {
        return Ok(());
    }
    Err(Error::refused(format!("{} is being written by another program", medium.path()))
        .hint("wait for it, or choose another file"))
}

/// The whole sectors of a range.
fn align_inwards(extent: Extent, unit: u64) -> Extent {
    let start = extent.start().checked_next_multiple_of(unit).unwrap_or(u64::MAX);
    Extent::new(start, extent.end() - extent.end() % unit)
}

/// True if the device or filesystem does not have the command.
fn is_not_supported(error: &io::Error) -> bool {
    // A SCSI disk that does not know a command makes the kernel say EREMOTEIO.
    matches!(
        error.raw_os_error(),
        Some(libc::EOPNOTSUPP | libc::ENOSYS | libc::ENOTTY | libc::EINVAL | libc::EREMOTEIO)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::KIB;

    fn folder() -> tempfile::TempDir {
        tempfile::tempdir().unwrap()
    }

    #[test]
    fn a_missing_file_is_made_sparse_and_an_existing_one_keeps_its_length() {
        let folder = folder();
        let path = folder.path().join("disk.raw");
        assert!(Target::open(&path, None).is_err());
        let target = Target::open(&path, Some(64 * MIB)).unwrap();
        assert!(target.was_created());
        assert_eq!(target.len(), 64 * MIB);
        assert!(std::fs::metadata(&path).unwrap().blocks() < 64);
        drop(target);
        let target = Target::open(&path, Some(MIB)).unwrap();
        assert!(!target.was_created());
        assert_eq!(target.len(), 64 * MIB);
    }

    #[test]
    fn a_mistyped_device_is_not_made_a_file() {
        let error = Target::open("/dev/dacapo-no-such-disk", Some(MIB)).unwrap_err();
        assert!(error.to_string().contains("no device"), "{error}");
        assert!(!Path::new("/dev/dacapo-no-such-disk").exists());
    }

    #[test]
    fn a_file_is_the_target_of_one_program_only() {
        let folder = folder();
        let path = folder.path().join("disk.raw");
        let first = Target::open(&path, Some(MIB)).unwrap();
        assert_eq!(Target::open(&path, None).unwrap_err().kind(), ErrorKind::Refused);
        drop(first);
        Target::open(&path, None).unwrap();
    }

    #[test]
    fn zeroing_a_file_gives_its_space_back() {
        let folder = folder();
        let path = folder.path().join("disk.raw");
        let target = Target::open(&path, Some(MIB)).unwrap();
        target.write_at(0, &vec![7; 1 << 20]).unwrap();
        target.flush().unwrap();
        target.zero(Extent::new(4 * KIB + 1, MIB - 1)).unwrap();
        target.flush().unwrap();
        let mut buf = vec![1; 1 << 20];
        target.drop_cache().unwrap();
        target.read_at(0, &mut buf).unwrap();
        assert!(buf[..4097].iter().all(|byte| *byte == 7));
        assert!(buf[4097..(1 << 20) - 1].iter().all(|byte| *byte == 0));
        assert_eq!(buf[(1 << 20) - 1], 7);
        assert!(std::fs::metadata(&path).unwrap().blocks() < 128);
        assert!(target.discard(Extent::new(0, MIB)).unwrap());
        assert!(target.zero(Extent::new(0, MIB + 1)).is_err());
        assert!(target.discard(Extent::new(MIB, MIB + 1)).is_err());
        assert_eq!(target.len(), MIB);
    }

    #[test]
    fn only_whole_sectors_are_inside_of_a_range() {
        assert_eq!(align_inwards(Extent::new(1, 4096), 512), Extent::new(512, 4096));
        assert_eq!(align_inwards(Extent::new(0, 4095), 512), Extent::new(0, 3584));
        assert!(align_inwards(Extent::new(1, 511), 512).is_empty());
        assert!(align_inwards(Extent::new(u64::MAX - 1, u64::MAX), 512).is_empty());
    }
}
