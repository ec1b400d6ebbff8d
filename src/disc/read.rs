// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disc to a file.
//!
//! How long a disc is, nobody knows for sure: drives give a size that can be
//! short, a disc written track at once ends in two sectors that cannot be read,
//! programs pad it. So everything is read to the end that is the furthest by
//! any structure or by the drive; what lies behind the end of the filesystems
//! is kept if it can be read, and what is missing in front of it is a loss.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::digest::{self, Digests, PIECE};
use super::drive::Drive;
use super::record::{self, Behind, Record, Sectors};
use super::volume::SECTOR;
use crate::device::Source;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::store;
use crate::units::human;

/// Sectors at the end of a disc that may be unreadable without a loss: the pad
/// of 150 sectors that programs add, and two of run-out.
const RUN_OUT: u64 = 152 * SECTOR;

/// What the user says about a disc.
#[derive(Debug, Clone, Default)]
pub struct About {
    /// Its title.
    pub title: Option<String>,
    /// A remark.
    pub note: Option<String>,
    /// The serial number of what is on it.
    pub serial: Option<String>,
}

/// A disc that was read.
#[derive(Debug)]
pub struct Done {
    /// The file with its bytes.
    pub path: PathBuf,
    /// The record beside it.
    pub record: Record,
}

impl Done {
    /// An error if something is missing.
    ///
    /// # Errors
    /// Losses, with the sectors.
    pub fn check(&self) -> Result<()> {
        check_losses(&self.record)
    }
}

/// An error if something is missing of an archived disc.
///
/// # Errors
/// Losses, with the sectors.
pub fn check_losses(record: &Record) -> Result<()> {
    /// How many ranges a message names.
    const NAMED: usize = 6;
    let missing = record.missing_sectors();
    if missing == 0 {
        return Ok(());
    }
    let mut named: Vec<String> = record
        .unreadable
        .iter()
        .take(NAMED)
        .map(|it| match it.count {
            1 => it.first.to_string(),
            count => format!("{}-{}", it.first, it.first.saturating_add(count) - 1),
        })
        .collect();
    if record.unreadable.len() > NAMED {
        named.push("...".into());
    }
    let unit = if missing == 1 { "sector" } else { "sectors" };
    Err(Error::new(
        ErrorKind::Losses,
        format!("{missing} {unit} of the disc could not be read: {}", named.join(", ")),
    )
    .hint("they are zero in the file; another drive may read them, or another copy of the disc"))
}

/// The file that a disc will be read to: `out` itself, or in a folder one named
/// after the label.
#[must_use]
pub fn path_for(out: &Path, contents: &Contents, extension: &str) -> PathBuf {
    if out.is_dir() {
        return out.join(format!("{}.{extension}", contents.stem()));
    }
    out.to_owned()
}

/// Reads a disc to a plain file at `path`, and writes the record beside it.
///
/// # Errors
/// Refused if something of that name is there; if it cannot be written; or the
/// drive fails. That sectors are missing is no error here.
pub fn run(
    drive: &dyn Drive,
    contents: &Contents,
    path: &Path,
    about: &About,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Done> {
    contents.check_plain()?;
    let out = Output::create(path, drive)?;
    let len = contents.len();
    let room = store::room_at(path)?;
    if len > room {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!("the disc has {}, and there is room for {}", human(len), human(room)),
        ));
    }
    progress.stage("reading", len);
    let mut reading =
        Reading { drive, contents, out: &out, cancel, progress, lost: ExtentSet::new() };
    let (read, digests) = digest::hash(|feed| reading.copy(feed))?;
    let lost = reading.lost;
    let ends = Ends::of(contents, &lost);
    let digests = if read == ends.len {
        digests
    } else {
        out.set_len(ends.len)?;
        hash_file(&out, ends.len, cancel, progress)?
    };
    let is_zero = out.is_zero(Extent::new(contents.sizes.filesystems().min(ends.len), ends.len))?;
    let record = Record {
        file: name_of(path),
        bytes: ends.len,
        sector_size: 2048,
        title: about.title.clone(),
        note: about.note.clone(),
        serial: about.serial.clone(),
        read_at: jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string(),
        digests,
        volume: contents.volume.clone(),
        sizes: contents.sizes.clone(),
        behind: Behind {
            bytes: ends.len.saturating_sub(contents.sizes.filesystems()),
            is_zero,
            run_out_sectors: ends.run_out / SECTOR,
        },
        unreadable: sectors(&ends.lost),
        medium: contents.medium.clone(),
        drive: contents.drive.clone(),
        toc: contents.toc.clone(),
        ..Record::new()
    };
    cancel.check()?;
    cancel.finish();
    out.commit(&record)?;
    Ok(Done { path: path.to_owned(), record })
}

/// The last part of a path, which the record keeps.
fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Byte ranges as sectors; one of which a part is missing is missing.
fn sectors(lost: &ExtentSet) -> Vec<Sectors> {
    let whole = lost.align_outwards(SECTOR, u64::MAX);
    whole
        .iter()
        .map(|it| Sectors { first: it.start() / SECTOR, count: it.len().div_ceil(SECTOR) })
        .collect()
}

/// Where a disc ends, now that it is known what can be read.
struct Ends {
    len: u64,
    run_out: u64,
    lost: ExtentSet,
}

impl Ends {
    fn of(contents: &Contents, lost: &ExtentSet) -> Self {
        let len = contents.len();
        let end = contents.sizes.filesystems();
        let last = lost.iter().last().filter(|last| last.end() == len && last.end() > end);
        let start = last.map_or(len, |last| last.start().max(end));
        if len - start > RUN_OUT {
            return Self { len, run_out: 0, lost: lost.clone() };
        }
        let kept = lost.within(Extent::new(0, start)).collect();
        Self { len: start, run_out: len - start, lost: kept }
    }
}

struct Reading<'a> {
    drive: &'a dyn Drive,
    contents: &'a Contents,
    out: &'a Output,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
    lost: ExtentSet,
}

impl Reading<'_> {
    /// Reads everything. Returns up to where the hashes are those of the file.
    fn copy(&mut self, feed: &digest::Feed) -> Result<u64> {
        let len = self.contents.len();
        let gaps = self.contents.gaps();
        let (mut position, mut hashed) = (0, 0);
        while position < len {
            self.cancel.check()?;
            let piece = Extent::at(position, PIECE).intersect(&Extent::new(0, len));
            // At most PIECE.
            let mut bytes = vec![0; piece.len() as usize];
            let before = self.lost.bytes();
            for part in gaps.holes_within(piece) {
                let from = (part.start() - piece.start()) as usize;
                self.fill(part, &mut bytes[from..from + part.len() as usize])?;
            }
            self.out
                .file
                .write_all_at(&bytes, position)
                .context(|| format!("writing {}", self.out.partial.display()))?;
            if self.lost.bytes() == before && hashed == position {
                feed.bytes(bytes)?;
                hashed = piece.end();
            }
            self.progress.advance(piece.len());
            position = piece.end();
        }
        Ok(hashed)
    }

    /// Reads a range, sector by sector if that fails; what cannot be read stays
    /// zero.
    fn fill(&mut self, range: Extent, bytes: &mut [u8]) -> Result<()> {
        let there = range.intersect(&Extent::new(0, self.contents.sizes.capacity));
        let beyond = Extent::new(range.start().max(there.end()), range.end());
        if !beyond.is_empty() {
            self.lose(beyond, "the disc ends before it");
        }
        let len = there.len() as usize;
        let Some(bytes) = bytes.get_mut(..len).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        let error = match self.drive.read_at(there.start(), bytes) {
            Ok(()) => return Ok(()),
            Err(error) if error.is_media_error() => error,
            Err(error) => return Err(error),
        };
        if there.len() <= SECTOR {
            bytes.fill(0);
            self.lose(there, &error.to_string());
            return Ok(());
        }
        for (number, sector) in bytes.chunks_mut(SECTOR as usize).enumerate() {
            self.cancel.check()?;
            let start = there.start() + number as u64 * SECTOR;
            self.fill(Extent::at(start, sector.len() as u64), sector)?;
        }
        Ok(())
    }

    fn lose(&mut self, extent: Extent, cause: &str) {
        self.lost.insert(extent);
        self.progress.note(&Event::Unreadable { extent, cause: cause.to_owned() });
    }
}

/// The hashes of a file that was not read in one go.
fn hash_file(out: &Output, len: u64, cancel: &Cancel, progress: &dyn Progress) -> Result<Digests> {
    progress.stage("hashing", len);
    digest::hash_all(&Source::open(&out.partial)?, cancel, progress)
}

/// The file that is written: under another name until it is whole, and gone if
/// it does not get there.
struct Output {
    path: PathBuf,
    partial: PathBuf,
    file: File,
    is_named: bool,
}

impl Output {
    fn create(path: &Path, drive: &dyn Drive) -> Result<Self> {
        store::refuse_device(path)?;
        refuse_existing(path)?;
        refuse_existing(&record::path_of(path))?;
        let partial = store::partial_path(path);
        for taken in [path, &partial] {
            let same = |it: &Path| it.metadata().map(|it| (it.dev(), it.ino())).ok();
            if same(taken).is_some_and(|it| same(drive.path()) == Some(it)) {
                return Err(Error::refused(format!("{} is what is read", taken.display())));
            }
        }
        let opened = OpenOptions::new().read(true).write(true).create_new(true).open(&partial);
        let file = match opened {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                return Err(Error::refused(format!("{} exists already", partial.display())).hint(
                    "if nothing else is writing it, it is left of a disc that was interrupted: \
                     delete it",
                ));
            }
            Err(error) => return Err(Error::io(format!("making {}", partial.display()), error)),
        };
        Ok(Self { path: path.to_owned(), partial, file, is_named: false })
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.file.set_len(len).context(|| format!("cutting {}", self.partial.display()))
    }

    /// True if all of a range is zero.
    fn is_zero(&self, range: Extent) -> Result<bool> {
        let mut bytes = vec![0; 64 << 10];
        let mut position = range.start();
        while position < range.end() {
            let len = (range.end() - position).min(bytes.len() as u64) as usize;
            self.file
                .read_exact_at(&mut bytes[..len], position)
                .context(|| format!("reading {}", self.partial.display()))?;
            if bytes[..len].iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            position += len as u64;
        }
        Ok(true)
    }

    fn commit(mut self, record: &Record) -> Result<()> {
        self.file.sync_all().context(|| format!("flushing {}", self.partial.display()))?;
        store::rename_new(&self.partial, &self.path)?;
        self.is_named = true;
        store::flush_folder(&self.path)?;
        record.write(&record::path_of(&self.path))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if !self.is_named {
            let _ = std::fs::remove_file(&self.partial);
        }
    }
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_err() {
        return Ok(());
    }
    Err(Error::refused(format!("{} exists already", path.display()))
        .hint("an archived disc is never overwritten: give another name, or delete it first"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disc::volume::Sizes;

    fn contents(filesystems: u64, capacity: u64) -> Contents {
        let primary = Some(filesystems * SECTOR);
        let sizes = Sizes { primary, capacity: capacity * SECTOR, ..Sizes::default() };
        Contents { sizes, ..Contents::default() }
    }

    fn lost(ranges: &[(u64, u64)]) -> ExtentSet {
        ranges.iter().map(|(from, to)| Extent::new(from * SECTOR, to * SECTOR)).collect()
    }

    fn ends(filesystems: u64, capacity: u64, bad: &[(u64, u64)]) -> (u64, u64, u64) {
        let ends = Ends::of(&contents(filesystems, capacity), &lost(bad));
        (ends.len / SECTOR, ends.run_out / SECTOR, ends.lost.bytes() / SECTOR)
    }

    #[test]
    fn run_out_is_no_loss_and_everything_in_front_of_it_is() {
        assert_eq!(ends(100, 100, &[]), (100, 0, 0));
        // Two sectors of run-out, behind the filesystem and behind padding.
        assert_eq!(ends(100, 102, &[(100, 102)]), (100, 2, 0));
        assert_eq!(ends(100, 252, &[(250, 252)]), (250, 2, 0));
        assert_eq!(ends(100, 252, &[(100, 252)]), (100, 152, 0));
        // The last sectors of a filesystem are never run-out.
        assert_eq!(ends(100, 102, &[(99, 102)]), (100, 2, 1));
        assert_eq!(ends(100, 100, &[(98, 100)]), (100, 0, 2));
        // More than a pad is a loss, and so is what has something behind it.
        assert_eq!(ends(100, 300, &[(100, 300)]), (300, 0, 200));
        assert_eq!(ends(100, 300, &[(120, 125), (298, 300)]), (298, 2, 5));
        // A disc that stops short of what its filesystem needs.
        assert_eq!(ends(100, 80, &[(80, 100)]), (100, 0, 20));
        // Nothing is known of it: all is its content.
        assert_eq!(ends(0, 100, &[(98, 100)]), (98, 2, 0));
    }
}
