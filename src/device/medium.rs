// SPDX-License-Identifier: MIT OR Apache-2.0
//! An open block device or regular file, and the rules by which the kernel
//! lets it be addressed.
//!
//! Block devices are read and written past the page cache. A save or restore
//! would push everything else out of memory, and what the cache holds may be
//! old: a disk and each of its partitions are cached apart, so a write
//! through one is not seen through the other. Direct I/O wants whole sectors
//! and aligned memory; what does not fit goes through a bounce buffer.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::{AlignedBuffer, BUFFER_ALIGN, DeviceNumber, System, ioctl};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::Extent;
use crate::io::check_range;
use crate::units::SectorSize;

/// How much goes through a bounce buffer at once.
const BOUNCE_LEN: u64 = 1 << 20;

/// How many bounce buffers are kept for the next request.
const BOUNCE_KEPT: usize = 8;

/// What something is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Reading; others may use it at the same time.
    Read,
    /// Reading; a block device is claimed, if it is not claimed already.
    Claim,
    /// Reading and writing; a block device is claimed, as a mount does.
    Exclusive,
}

/// What an open device or file is, whatever its path leads to later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeId {
    /// A block device.
    Device {
        /// Its number, which the next disk gets after this one is unplugged.
        number: DeviceNumber,
        /// Counts the disks and media since the start, on newer kernels.
        sequence: Option<u64>,
    },
    /// A regular file.
    File {
        /// The filesystem it is in.
        filesystem: u64,
        /// Its number there.
        number: u64,
    },
}

/// An open block device or regular file.
#[derive(Debug)]
pub(super) struct Medium {
    path: String,
    file: File,
    is_device: bool,
    is_claimed: bool,
    len: u64,
    logical: SectorSize,
    physical: u32,
    direct: bool,
    bounce: Mutex<Vec<AlignedBuffer>>,
    /// Held while a part of a sector is replaced.
    partial: Mutex<()>,
}

impl Medium {
    /// Opens what is at `path`; files take `file_sector` as their sector size.
    pub(super) fn open(path: &Path, access: Access, file_sector: SectorSize) -> Result<Self> {
        let name = path.display().to_string();
        let kind = std::fs::metadata(path).context(|| format!("opening {name}"))?.file_type();
        let is_device = kind.is_block_device();
        // Opening a pipe would wait for its other end.
        if !is_device && !kind.is_file() {
            return Err(Error::usage(format!(
                "{name} is neither a block device nor a regular file"
            )));
        }
        let claim = is_device && access != Access::Read;
        let (opened, is_claimed) = match open_file(path, access, is_device, claim) {
            Err(error) if access == Access::Claim && is_busy(&error) => {
                (open_file(path, access, is_device, false), false)
            }
            opened => (opened, claim),
        };
        let (file, mut direct) = opened.map_err(|source| open_error(&name, access, source))?;
        let opened = file.metadata().context(|| format!("opening {name}"))?;
        if opened.file_type() != kind {
            return Err(Error::failed(format!("{name} was replaced while it was opened")));
        }
        let (len, logical, physical) = if is_device {
            device_geometry(&file, &name)?
        } else {
            (opened.len(), file_sector, file_sector.get())
        };
        if direct && !direct_reads_work(&file, len, logical) {
            fcntl(&file, FcntlArg::F_SETFL(OFlag::empty()))
                .map_err(io::Error::from)
                .context(|| format!("opening {name}"))?;
            direct = false;
        }
        Ok(Self {
            path: name,
            file,
            is_device,
            is_claimed,
            len,
            logical,
            physical,
            direct,
            bounce: Mutex::default(),
            partial: Mutex::default(),
        })
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }

    pub(super) const fn file(&self) -> &File {
        &self.file
    }

    pub(super) const fn is_device(&self) -> bool {
        self.is_device
    }

    /// True if the page cache is passed by.
    pub(super) const fn is_direct(&self) -> bool {
        self.direct
    }

    /// True if this device is claimed for this program alone.
    pub(super) const fn is_claimed(&self) -> bool {
        self.is_claimed
    }

    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    pub(super) const fn sector_size(&self) -> SectorSize {
        self.logical
    }

    pub(super) const fn physical_sector(&self) -> u32 {
        self.physical
    }

    pub(super) fn node(&self) -> Result<NodeId> {
        let found = self.file.metadata().context(|| format!("looking at {}", self.path))?;
        if !self.is_device {
            return Ok(NodeId::File { filesystem: found.dev(), number: found.ino() });
        }
        let number = DeviceNumber::from_raw(found.rdev());
        let block = System::running().by_number(number);
        let sequence = block.and_then(|block| block.disk().number_attribute("diskseq"));
        Ok(NodeId::Device { number, sequence })
    }

    /// Makes a regular file this long.
    pub(super) fn set_len(&mut self, len: u64) -> Result<()> {
        self.file.set_len(len).context(|| format!("making {} {len} bytes long", self.path))?;
        self.len = len;
        Ok(())
    }

    /// True if the kernel takes the request as it is.
    pub(super) fn is_aligned(&self, offset: u64, buf: &[u8]) -> bool {
        let sector = self.logical.bytes();
        !self.direct
            || (offset.is_multiple_of(sector)
                && (buf.len() as u64).is_multiple_of(sector)
                && buf.as_ptr().addr().is_multiple_of(BUFFER_ALIGN))
    }

    /// Fills `buf` from `offset`.
    pub(super) fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.check(offset, buf.len(), "reading")?;
        if self.is_aligned(offset, buf) {
            return self.read_sectors(offset, buf);
        }
        for piece in self.pieces(offset, buf.len()) {
            let mut bounce = self.take_bounce(&piece);
            self.read_sectors(piece.sectors.start(), &mut bounce)?;
            buf[piece.of_request()].copy_from_slice(&bounce[piece.of_sectors()]);
            self.give_bounce(bounce);
        }
        Ok(())
    }

    /// Writes `buf` at `offset`; the rest of a sector it covers in part stays.
    pub(super) fn write_at(&self, offset: u64, buf: &[u8]) -> Result<()> {
        self.check(offset, buf.len(), "writing")?;
        if self.is_aligned(offset, buf) {
            return self.write_sectors(offset, buf);
        }
        for piece in self.pieces(offset, buf.len()) {
            let mut bounce = self.take_bounce(&piece);
            let whole = piece.sectors == piece.asked;
            // Two writers of different parts of one sector must not undo
            // each other.
            let _guard = (!whole).then(|| lock(&self.partial));
            if !whole {
                self.read_sectors(piece.sectors.start(), &mut bounce)?;
            }
            bounce[piece.of_sectors()].copy_from_slice(&buf[piece.of_request()]);
            self.write_sectors(piece.sectors.start(), &bounce)?;
            self.give_bounce(bounce);
        }
        Ok(())
    }

    /// An error unless the range is inside, named by what was being done.
    pub(super) fn check(&self, offset: u64, len: usize, doing: &str) -> Result<()> {
        check_range(self.len, offset, len).context(|| format!("{doing} {}", self.path))
    }

    /// Cuts a request into pieces of whole sectors that fit a bounce buffer.
    fn pieces(&self, offset: u64, len: usize) -> impl Iterator<Item = Piece> + use<> {
        let request = Extent::at(offset, len as u64);
        let sector = self.logical.bytes();
        let sectors = request.align_outwards(sector).intersect(&Extent::new(0, self.len));
        let mut position = sectors.start();
        std::iter::from_fn(move || {
            (position < sectors.end()).then(|| {
                let sectors = Extent::at(position, BOUNCE_LEN).intersect(&sectors);
                position = sectors.end();
                Piece { sectors, asked: sectors.intersect(&request), request }
            })
        })
    }

    fn take_bounce(&self, piece: &Piece) -> AlignedBuffer {
        let mut buffer = lock(&self.bounce).pop().unwrap_or_default();
        // At most BOUNCE_LEN.
        buffer.set_len(piece.sectors.len() as usize);
        buffer
    }

    fn give_bounce(&self, buffer: AlignedBuffer) {
        let mut kept = lock(&self.bounce);
        if kept.len() < BOUNCE_KEPT {
            kept.push(buffer);
        }
    }

    fn read_sectors(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let position = offset.saturating_add(done as u64);
            match self.file.read_at(&mut buf[done..], position) {
                Ok(count) => {
                    let before = done;
                    done = self.whole_sectors(done + count, buf.len());
                    if done == before {
                        return Err(self.ends_early(position));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let left = buf.len() - done;
                    return Err(Error::io(self.doing("reading", left, position), error));
                }
            }
        }
        Ok(())
    }

    fn write_sectors(&self, offset: u64, buf: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let position = offset.saturating_add(done as u64);
            let left = buf.len() - done;
            match self.file.write_at(&buf[done..], position) {
                Ok(count) => {
                    let before = done;
                    done = self.whole_sectors(done + count, buf.len());
                    if done == before {
                        let source = io::Error::from(io::ErrorKind::WriteZero);
                        return Err(Error::io(self.doing("writing", left, position), source));
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::io(self.doing("writing", left, position), error));
                }
            }
        }
        Ok(())
    }

    /// Where to go on after a short transfer: direct I/O cannot go on inside
    /// of a sector.
    const fn whole_sectors(&self, done: usize, wanted: usize) -> usize {
        if self.direct && done < wanted { done - done % self.logical.get() as usize } else { done }
    }

    fn doing(&self, verb: &str, len: usize, offset: u64) -> String {
        format!("{verb} {len} bytes at {offset:#x} of {}", self.path)
    }

    fn ends_early(&self, position: u64) -> Error {
        if self.is_device {
            // The kernel calls a device whose drive is gone empty.
            let gone = io::Error::from_raw_os_error(libc::ENODEV);
            return Error::io(format!("reading {} at {position:#x}", self.path), gone);
        }
        Error::failed(format!(
            "reading {}: it ends at {position:#x}, but had {:#x} bytes when it was opened",
            self.path, self.len
        ))
        .hint("something shortened or removed it meanwhile; see to it and start again")
    }
}

/// A part of a request that goes through one bounce buffer.
struct Piece {
    sectors: Extent,
    asked: Extent,
    request: Extent,
}

impl Piece {
    // Requests come from slices, so that these differences fit a usize.
    fn of_request(&self) -> std::ops::Range<usize> {
        let start = (self.asked.start() - self.request.start()) as usize;
        start..start + self.asked.len() as usize
    }

    fn of_sectors(&self) -> std::ops::Range<usize> {
        let start = (self.asked.start() - self.sectors.start()) as usize;
        start..start + self.asked.len() as usize
    }
}

/// Locks; a thread that panicked elsewhere leaves these values intact.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_busy(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBUSY)
}

fn open_file(
    path: &Path,
    access: Access,
    is_device: bool,
    claim: bool,
) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::Exclusive);
    if !is_device {
        return options.open(path).map(|file| (file, false));
    }
    // Without O_CREAT, O_EXCL on a block device claims it.
    let claim = if claim { libc::O_EXCL } else { 0 };
    match options.custom_flags(claim | libc::O_DIRECT).open(path) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            options.custom_flags(claim).open(path).map(|file| (file, false))
        }
        opened => opened.map(|file| (file, true)),
    }
}

fn open_error(name: &str, access: Access, source: io::Error) -> Error {
    let what = format!("opening {name}");
    match source.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => {
            Error::io(what, source).hint("disks can be opened by root only; try sudo")
        }
        Some(libc::ENOMEDIUM) => Error::io(what, source).hint("there is no medium in the drive"),
        Some(libc::EBUSY) if access == Access::Exclusive => {
            Error::refused(format!("{name} is in use by the system"))
                .hint("unmount it and stop what holds it; dacapo disks shows who does")
        }
        Some(libc::EROFS) if access == Access::Exclusive => {
            Error::refused(format!("{name} is read-only"))
        }
        _ => Error::io(what, source),
    }
}

fn device_geometry(device: &File, name: &str) -> Result<(u64, SectorSize, u32)> {
    let len = ioctl::device_len(device).context(|| format!("asking {name} for its size"))?;
    let logical =
        ioctl::logical_sector(device).context(|| format!("asking {name} for its sector size"))?;
    let sector = SectorSize::new(logical).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, format!("{name} has sectors of {logical} bytes"))
    })?;
    // Only told, never computed with: a driver that does not know it is fine.
    let physical = ioctl::physical_sector(device).unwrap_or(logical);
    // A part of a sector at the end, which a loop device may have, cannot be
    // reached by anybody.
    let len = len - len % sector.bytes();
    if len == 0 {
        return Err(Error::failed(format!("{name} has no medium or no size")));
    }
    Ok((len, sector, physical))
}

/// Some drivers take O_DIRECT at open and refuse every read.
fn direct_reads_work(device: &File, len: u64, sector: SectorSize) -> bool {
    let mut buffer = AlignedBuffer::new(BUFFER_ALIGN.max(sector.get() as usize));
    if (buffer.len() as u64) > len {
        buffer.set_len(sector.get() as usize);
    }
    // Any other error is the reader's to meet and to report.
    !matches!(device.read_at(&mut buffer, 0),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL))
}
