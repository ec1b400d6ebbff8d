// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a disc is read from: a drive, or a regular file that stands for one.

use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use super::volume::SECTOR;
use super::{missing, record, sector};
use crate::device::{DiscState, DiskIdentity, OpticalDrive, RAW_SECTOR, Source, Toc, is_optical};
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::{ReadAt, check_range};
use crate::units::SectorSize;

/// A disc in a drive. Its bytes are those of its sectors of 2048 bytes; its
/// length is what READ CAPACITY says.
pub trait Drive: ReadAt {
    /// The path it was opened by.
    fn path(&self) -> &Path;

    /// What the drive says of itself; None of a file.
    fn identity(&self) -> Option<DiskIdentity> {
        None
    }

    /// The kind of disc: "CD-R".
    fn medium(&self) -> Option<String> {
        None
    }

    /// How far the disc was written.
    fn state(&self) -> Option<DiscState> {
        None
    }

    /// The table of contents.
    fn toc(&self) -> Option<Toc> {
        None
    }

    /// How a DVD is protected: 0 not at all, 1 CSS, 2 CPRM, 16 AACS.
    fn copyright(&self) -> Option<u8> {
        None
    }

    /// Reads sectors of a CD with all their 2352 bytes.
    ///
    /// # Errors
    /// If one cannot be read; unsupported of a file.
    fn read_raw(&self, sector: u32, buf: &mut [u8]) -> Result<()> {
        let _ = (sector, buf);
        Err(Error::unsupported(format!("{} has no raw sectors", self.path().display()))
            .hint("only a CD in a drive can be read raw"))
    }
}

/// Opens a drive, or a file that stands for one.
///
/// # Errors
/// Refused if it is a disk; and if there is no disc, or it cannot be opened.
pub fn open(path: &Path) -> Result<Box<dyn Drive>> {
    if is_optical(path) {
        let drive = OpticalDrive::open(path)?;
        return Ok(Box::new(InDrive { path: path.to_owned(), drive }));
    }
    let shown = path.display();
    let kind = std::fs::metadata(path).context(|| format!("opening {shown}"))?.file_type();
    if kind.is_block_device() {
        return Err(Error::refused(format!("{shown} is a disk, not a drive for discs")).hint(
            "disks, USB sticks and floppies are saved with 'dacapo save'; drives for discs are \
             /dev/sr0, /dev/sr1 ...",
        ));
    }
    if kind.is_dir() {
        return Err(Error::usage(format!("{shown} is a folder"))
            .hint("name the drive, such as /dev/sr0, or the file of a disc"));
    }
    let source = Source::open(path)?;
    let record = record::beside(path)?;
    let missing = missing::of(path, source.len(), record.as_ref())?;
    let path = path.to_owned();
    Ok(match record.filter(|record| record.sector_size as usize == RAW_SECTOR) {
        None => Box::new(AsFile { path, file: WithGaps::new(source, missing) }),
        Some(record) => {
            // What nobody could read is no data either.
            let size = RAW_SECTOR as u64;
            let run_out = record.run_out.iter();
            let run_out = run_out
                .map(|it| Extent::at(it.first.saturating_mul(size), it.count.saturating_mul(size)));
            let missing = missing.union(&run_out.collect());
            Box::new(RawFileOfDisc { path, file: WithGaps::new(source, missing), toc: record.toc })
        }
    })
}

/// Bytes of which some are missing: reading them fails as on a bad disc.
#[derive(Debug)]
pub(super) struct WithGaps<R> {
    inner: R,
    missing: ExtentSet,
}

impl<R: ReadAt> WithGaps<R> {
    pub(super) const fn new(inner: R, missing: ExtentSet) -> Self {
        Self { inner, missing }
    }
}

impl<R: ReadAt> ReadAt for WithGaps<R> {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        if self.missing.touches(Extent::at(offset, buf.len() as u64)) {
            let error = std::io::Error::from_raw_os_error(libc::EIO);
            return Err(Error::io(
                format!("reading at {offset:#x}, where the file has a gap"),
                error,
            ));
        }
        self.inner.read_at(offset, buf)
    }
}

struct InDrive {
    path: PathBuf,
    drive: OpticalDrive,
}

impl ReadAt for InDrive {
    fn len(&self) -> u64 {
        self.drive.len()
    }

    fn sector_size(&self) -> SectorSize {
        self.drive.sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.drive.read_at(offset, buf)
    }
}

impl Drive for InDrive {
    fn path(&self) -> &Path {
        &self.path
    }

    fn identity(&self) -> Option<DiskIdentity> {
        Some(self.drive.identity())
    }

    fn medium(&self) -> Option<String> {
        self.drive.medium().map(str::to_owned)
    }

    fn state(&self) -> Option<DiscState> {
        self.drive.state()
    }

    fn toc(&self) -> Option<Toc> {
        self.drive.toc()
    }

    fn copyright(&self) -> Option<u8> {
        self.drive.copyright()
    }

    fn read_raw(&self, sector: u32, buf: &mut [u8]) -> Result<()> {
        self.drive.read_raw(sector, buf)
    }
}

/// The file of a CD with all the bytes of its sectors.
pub(super) struct RawFileOfDisc {
    path: PathBuf,
    file: WithGaps<Source>,
    toc: Option<Toc>,
}

impl RawFileOfDisc {
    /// One of which some bytes are missing.
    pub(super) fn new(path: &Path, source: Source, missing: ExtentSet, toc: &Toc) -> Self {
        let file = WithGaps::new(source, missing);
        Self { path: path.to_owned(), file, toc: Some(toc.clone()) }
    }
}

impl ReadAt for RawFileOfDisc {
    fn len(&self) -> u64 {
        self.file.len() / RAW_SECTOR as u64 * SECTOR
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let mut raw = vec![0; RAW_SECTOR];
        let (mut offset, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let (number, skip) = (offset / SECTOR, (offset % SECTOR) as usize);
            self.file.read_at(number * RAW_SECTOR as u64, &mut raw)?;
            let data = sector::data(&raw).and_then(|data| data.get(skip..)).ok_or_else(|| {
                let cause = std::io::Error::from_raw_os_error(libc::EIO);
                Error::io(format!("reading sector {number}, which has no data"), cause)
            })?;
            let len = data.len().min(rest.len());
            let (part, behind) = rest.split_at_mut(len);
            part.copy_from_slice(&data[..len]);
            (offset, rest) = (offset + len as u64, behind);
        }
        Ok(())
    }
}

impl Drive for RawFileOfDisc {
    fn path(&self) -> &Path {
        &self.path
    }

    fn toc(&self) -> Option<Toc> {
        self.toc.clone()
    }

    fn read_raw(&self, sector: u32, buf: &mut [u8]) -> Result<()> {
        self.file.read_at(u64::from(sector) * RAW_SECTOR as u64, buf)
    }
}

struct AsFile {
    path: PathBuf,
    file: WithGaps<Source>,
}

impl ReadAt for AsFile {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.file.read_at(offset, buf)
    }
}

impl Drive for AsFile {
    fn path(&self) -> &Path {
        &self.path
    }
}
