// SPDX-License-Identifier: MIT OR Apache-2.0
//! A disc to a file.
//!
//! How long a disc is, nobody knows for sure: drives give a size that can be
//! short, a disc written track at once ends in two sectors that cannot be read,
//! programs pad it. So everything is read to the end that is the furthest by
//! any structure or by the drive; what lies behind the end of the filesystems
//! is kept if it can be read, and what is missing in front of it is a loss.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::Contents;
use super::copy::{Copied, Copying, Other, Shape};
use super::digest;
use super::drive::{self, Drive, WithGaps};
use super::encryption;
use super::output::{Begun, Output};
use super::record::{self, Behind, Record, Sectors};
use super::same;
use super::volume::{self, SECTOR};
use super::{protection, raw};
use crate::browse::{OpenDisk, lost};
use crate::device::{Source, Toc};
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::io::rescue::Blocks;
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

/// How a disc is read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// What the user says about it.
    pub about: About,
    /// How many times bad sectors are tried again.
    pub retries: u32,
    /// True to go on with one that was interrupted or is incomplete.
    pub resume: bool,
    /// Other drives with the same disc, or files of it, that fill what cannot be
    /// read.
    pub others: Vec<PathBuf>,
    /// What to tell people whose reading has ended early and can be gone on with.
    pub way_on: &'static str,
}

impl Options {
    /// Adds to an error how to go on, which is possible only with a map of what
    /// was read.
    pub(super) fn with_way_on(&self, error: Error) -> Error {
        if self.way_on.is_empty() {
            return error;
        }
        let hint = error.hint_text().map(|hint| format!("{hint}; ")).unwrap_or_default();
        error.hint(format!("{hint}{}", self.way_on))
    }
}

/// A disc that was read.
#[derive(Debug)]
pub struct Done {
    /// The file with its bytes.
    pub path: PathBuf,
    /// The record beside it.
    pub record: Record,
    /// Why the files in missing sectors cannot be told, if they cannot.
    pub untold: Option<String>,
}

impl Done {
    /// An error if something is missing.
    ///
    /// # Errors
    /// Losses, with the sectors.
    pub fn check(&self) -> Result<()> {
        check_losses(&self.record)
    }

    /// What is worth knowing of it, beside what is missing.
    #[must_use]
    pub fn notes(&self) -> Vec<String> {
        let untold = self.untold.iter();
        let untold =
            untold.map(|why| format!("which files are in the missing sectors is not known: {why}"));
        notes(&self.record).into_iter().chain(untold).collect()
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
        return match &record.protection {
            None => Ok(()),
            Some(protection) => {
                let text = format!("all of the disc was read, but {}", encrypted(protection));
                Err(Error::new(ErrorKind::Losses, text).hint(KEEP_DISC))
            }
        };
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
    .hint(if record.cue.is_some() {
        "what is missing is zero in the file, or as it came; another drive may read it, or another \
         copy of the disc"
    } else {
        "what is missing is zero in the file; another drive may read it, or another copy of the \
         disc"
    }))
}

/// What to do with a disc of which films are encrypted.
pub(super) const KEEP_DISC: &str =
    "keep the disc itself, for its films; all else on it can be used from the file";

/// What it means that films are encrypted.
pub(super) fn encrypted(protection: &str) -> String {
    format!(
        "it says that it is copy-protected ({protection}): the films are in the file as they are \
         on the disc, encrypted, and cannot be played without the disc, because what their keys \
         are made from is where no drive gives it as data"
    )
}

fn notes(record: &Record) -> Vec<String> {
    let (behind, filesystems) = (record.behind, record.sizes.filesystems());
    let mut notes = Vec::new();
    if behind.bytes > 0 && filesystems > 0 {
        let what = if behind.is_zero { "all zero" } else { "not all zero" };
        notes.push(format!(
            "{} behind the end of the filesystem were kept, too; they are {what}",
            human(behind.bytes)
        ));
    }
    for other in &record.merged_from {
        notes.push(format!("sectors that could not be read were filled from {other}"));
    }
    notes.extend(record.suspicion.clone());
    if let Some(protection) = record.protection.as_deref().filter(|_| record.missing_sectors() > 0)
    {
        notes.push(format!("of the disc itself: {}", encrypted(protection)));
    }
    if record.cue.is_some() && behind.run_out_sectors > 0 {
        notes.push(format!(
            "{} sectors at the ends of tracks with data cannot be read, as is usual where these \
             meet sound or the disc ends",
            behind.run_out_sectors
        ));
    } else if behind.run_out_sectors > 0 {
        notes.push(format!(
            "the last {} sectors cannot be read, as is usual for discs that were written track \
             at once; nothing of the filesystem is in them",
            behind.run_out_sectors
        ));
    }
    if record.sizes.capacity < filesystems {
        notes.push(format!(
            "the filesystem needs {}, and there are only {}: the end is missing",
            human(filesystems),
            human(record.sizes.capacity)
        ));
    }
    if let Some(end) = record.sizes.impossible() {
        notes.push(format!(
            "the disc says that it has {}, which no such disc can hold ({} at most): that is not \
             believed, and no more was read for it",
            human(end),
            human(record.sizes.most.unwrap_or(0).max(record.sizes.capacity))
        ));
    }
    if let Some(end) = record.sizes.partition_table.filter(|end| *end > record.sizes.capacity) {
        notes.push(format!(
            "the partition table reaches to {}, behind the end of the disc at {}; such tables are \
             made for USB sticks, and no more was read for it",
            human(end),
            human(record.sizes.capacity)
        ));
    }
    if let Some(start) = record.toc.as_ref().and_then(Toc::last_session) {
        notes.push(format!(
            "the disc has several sessions; to see the last one, mount the file with the option \
             sbsector={start}"
        ));
    }
    notes
}

/// The file that a disc will be read to: `out` itself, or in a folder one named
/// after the label.
#[must_use]
pub fn path_for(out: &Path, contents: &Contents, extension: &str) -> PathBuf {
    if out.is_dir() {
        return out.join(numbered(contents, 1, extension));
    }
    out.to_owned()
}

/// The first name in a folder that no disc has yet: that of [`path_for`], or the
/// same with a number.
#[must_use]
pub fn free_path(folder: &Path, contents: &Contents, extension: &str) -> PathBuf {
    let is_free = |path: &PathBuf| {
        let beside = [record::path_of(path), record::map_of(path), raw::cue_of(path)];
        let taken = [path.clone(), store::partial_path(path)].into_iter().chain(beside);
        taken.into_iter().all(|path| path.symlink_metadata().is_err())
    };
    let mut paths = (1..).map(|number| folder.join(numbered(contents, number, extension)));
    // OK because no folder has so many files.
    paths.find(is_free).expect("a name is free")
}

/// The discs of a folder, under the names of [`free_path`], that were begun, are
/// not complete, and are the one in the drive; those of raw sectors, or the plain
/// ones.
///
/// # Errors
/// If the job was asked to stop.
pub fn begun_in(
    folder: &Path,
    drive: &dyn Drive,
    contents: &Contents,
    is_raw: bool,
    cancel: &Cancel,
) -> Result<Vec<PathBuf>> {
    /// Nobody has more discs of one label that are not complete.
    const MOST: u32 = 200;
    let mut found = Vec::new();
    for number in 1..=MOST {
        let extension = if is_raw { "bin" } else { "iso" };
        let path = folder.join(numbered(contents, number, extension));
        if !record::map_of(&path).exists() {
            continue;
        }
        let is_it = Begun::find(&path, drive.path()).and_then(|begun| match is_raw {
            true => raw::check_begun(&begun, drive, contents, cancel),
            false => check_begun(&begun, drive, contents, cancel),
        });
        match is_it {
            Ok(()) => found.push(path),
            Err(error) if error.kind() == ErrorKind::Interrupted => return Err(error),
            // Of another disc, or nothing that can be gone on with.
            Err(_) => {}
        }
    }
    Ok(found)
}

/// "SYNTH_2.iso", "SYNTH_2-2.iso" ...
fn numbered(contents: &Contents, number: u32, extension: &str) -> String {
    match number {
        1 => format!("{}.{extension}", contents.stem()),
        _ => format!("{}-{number}.{extension}", contents.stem()),
    }
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
    options: &Options,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Done> {
    contents.check_plain()?;
    let others = open_others(&options.others, contents)?;
    let (mut out, known, old) = if options.resume {
        let begun = Begun::find(path, drive.path())?;
        check_begun(&begun, drive, contents, cancel)?;
        let out = Output::resume(path, &begun, contents.len())?;
        (out, Some(begun.map), begun.record.unwrap_or_default())
    } else {
        let len = contents.len();
        let out = Output::create(path, drive.path(), len)?;
        // What nobody can give is a hole, and takes no room.
        let copies = others.iter().map(|other| other.drive.len());
        let there = copies.chain([drive.len()]).max().unwrap_or(0);
        check_room(path, len.min(there))?;
        (out, None, Record::default())
    };
    let len = out.file().len();
    progress.stage("reading", len);
    let shape = Shape::plain(len, contents.gaps());
    let known = known.as_ref();
    let mut copying = Copying::new(&mut out, &shape, known, options, cancel, progress);
    let Copied { digests, merged: filled } = copying.run(drive, &others)?;
    let ends = Ends::of(contents, len, &copying.missing());
    let map = (!ends.lost.is_empty()).then(|| copying.map());
    for extent in ends.lost.iter() {
        let cause = "all attempts have failed".to_owned();
        progress.note(&Event::Unreadable { extent, cause });
    }
    if ends.len < len {
        out.set_len(ends.len)?;
    }
    let digests = match digests.filter(|_| ends.len == len) {
        Some(digests) => digests,
        None => {
            progress.stage("hashing", ends.len);
            let hashed = digest::hash_all(&Source::open(out.partial())?, cancel, progress);
            hashed.map_err(|error| options.with_way_on(error))?
        }
    };
    let damaged = damaged_files(&out, &ends.lost, cancel);
    let (damaged_files, untold) = damaged.map_err(|error| options.with_way_on(error))?;
    // The drive may have failed where it was asked for that first.
    let protection = match contents.encryption() {
        None if ends.lost.is_empty() => encryption::of(&Source::open(out.partial())?),
        known => known.map(str::to_owned),
    };
    let is_zero = out.is_zero(Extent::new(contents.sizes.filesystems().min(ends.len), ends.len))?;
    let about = &options.about;
    let mut merged = old.merged_from;
    merged.extend(filled);
    let record = Record {
        file: name_of(path),
        bytes: ends.len,
        sector_size: 2048,
        title: about.title.clone().or(old.title),
        note: about.note.clone().or(old.note),
        serial: about.serial.clone().or(old.serial),
        read_at: now(),
        digests,
        volume: contents.volume.clone(),
        sizes: contents.sizes.clone(),
        behind: Behind {
            bytes: ends.len.saturating_sub(contents.sizes.filesystems()),
            is_zero,
            run_out_sectors: ends.run_out / SECTOR,
        },
        unreadable: sectors_of(&ends.lost, SECTOR),
        damaged_files,
        suspicion: protection::suspicion(&ends.lost),
        protection,
        merged_from: merged,
        medium: contents.medium.clone().or(old.medium),
        drive: contents.drive.clone().or(old.drive),
        toc: contents.toc.clone().or(old.toc),
        ..Record::new()
    };
    cancel.finish();
    out.commit(&record, map.as_ref())?;
    Ok(Done { path: path.to_owned(), record, untold })
}

/// Opens all other copies of the disc, before anything is read.
fn open_others(paths: &[PathBuf], contents: &Contents) -> Result<Vec<Other<'static>>> {
    let open = |path: &PathBuf| {
        let drive = drive::open(path)?;
        let other = Contents::of(&*drive);
        contents.check_same(&other).map_err(|what| {
            Error::refused(format!("{} is not the same disc: {what}", path.display()))
                .hint("only another copy of the same disc can fill what is missing")
        })?;
        let is_known = contents.volume.has_descriptors_of(&other.volume);
        Ok(Other { drive, is_known })
    };
    paths.iter().map(open).collect()
}

/// Refuses a disc that has more bytes than there is room for.
pub(super) fn check_room(path: &Path, len: u64) -> Result<()> {
    let room = store::room_at(path)?;
    if len <= room {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NoSpace,
        format!("the disc has {}, and there is room for {}", human(len), human(room)),
    )
    .hint("give a place on another disk"))
}

/// Refuses to go on with a file that is of another disc.
fn check_begun(
    begun: &Begun,
    drive: &dyn Drive,
    contents: &Contents,
    cancel: &Cancel,
) -> Result<()> {
    let shown = begun.file.display();
    let file = Source::open(&begun.file)?;
    let finished = Blocks::new(file.len(), &begun.map.blocks).finished();
    let missing = finished.complement(file.len());
    let there = WithGaps::new(file, missing);
    let is_known = check_volume(&shown.to_string(), &there, contents)?;
    let shape = Shape::plain(contents.len(), contents.gaps());
    let found = same::compare(&there, &finished, drive, &shape, cancel)?;
    same::check(&shown.to_string(), found, is_known)
}

/// Refuses what was read from a disc of another name; true if all descriptors
/// are known and the same.
pub(super) fn check_volume(shown: &str, there: &dyn ReadAt, contents: &Contents) -> Result<bool> {
    let (volume, _) = volume::read(there, contents.session());
    // An interrupted read may not have got to the descriptors.
    let is_read = volume.descriptors_blake3.is_some() || volume.label.is_some();
    if is_read && !volume.is_of_same_disc(&contents.volume) {
        return Err(Error::refused(format!(
            "{shown} was read from another disc: '{}'",
            volume.label.as_deref().unwrap_or_default()
        ))
        .hint("put that disc in, or choose another name"));
    }
    Ok(volume.has_descriptors_of(&contents.volume))
}

/// The time, as it is written into records.
pub(super) fn now() -> String {
    jiff::Timestamp::now().round(jiff::Unit::Second).unwrap_or_default().to_string()
}

/// The files of a disc in sectors that could not be read, by their paths. A
/// file that several of its filesystems know is named once. And why they cannot
/// be told of some.
fn damaged_files(
    out: &Output,
    lost: &ExtentSet,
    cancel: &Cancel,
) -> Result<(Vec<String>, Option<String>)> {
    /// As many names are kept.
    const MOST: usize = 10_000;
    if lost.is_empty() {
        return Ok((Vec::new(), None));
    }
    let look = |reader: Arc<dyn ReadAt>| {
        cancel.check()?;
        let disc = OpenDisk::of_reader(out.partial().display().to_string(), reader);
        let found = lost::of_losses(&disc, lost, cancel)?;
        Ok::<_, Error>((found, disc.volumes().iter().all(|volume| volume.files().is_ok())))
    };
    let open = || Source::open(out.partial());
    let (mut volumes, is_all) = look(Arc::new(WithGaps::new(open()?, lost.clone())))?;
    let mut untold = None;
    if !is_all {
        // Of a disc or a partition of it, the end may be missing, where arrays and
        // tables have what would change all of it: with zeros there the rest is
        // understood.
        let (zeroed, _) = look(Arc::new(open()?))?;
        untold = zeroed.iter().find_map(|volume| volume.problem.clone());
        volumes.extend(zeroed);
    }
    let names = volumes.iter().flat_map(|volume| &volume.files);
    let names: BTreeSet<&str> =
        names.map(|name| name.split_once(':').map_or(name.as_str(), |(_, path)| path)).collect();
    let names = names.into_iter().take(MOST).map(str::to_owned).collect();
    Ok((names, untold))
}

/// The last part of a path, which the record keeps.
pub(super) fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Ranges as sectors of `size`; one of which a part is missing is missing.
pub(super) fn sectors_of(lost: &ExtentSet, size: u64) -> Vec<Sectors> {
    let whole = lost.align_outwards(size, u64::MAX);
    whole
        .iter()
        .map(|it| Sectors { first: it.start() / size, count: it.len().div_ceil(size) })
        .collect()
}

/// Where a disc ends, now that it is known what can be read.
struct Ends {
    len: u64,
    run_out: u64,
    lost: ExtentSet,
}

impl Ends {
    fn of(contents: &Contents, len: u64, lost: &ExtentSet) -> Self {
        let end = contents.sizes.filesystems();
        if end == 0 {
            // Nothing is known of it: all may be its content.
            return Self { len, run_out: 0, lost: lost.clone() };
        }
        let last = lost.iter().last().filter(|last| last.end() == len && last.end() > end);
        let start = last.map_or(len, |last| last.start().max(end));
        if len - start > RUN_OUT {
            return Self { len, run_out: 0, lost: lost.clone() };
        }
        let kept = lost.within(Extent::new(0, start)).collect();
        Self { len: start, run_out: len - start, lost: kept }
    }
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
        let contents = contents(filesystems, capacity);
        let ends = Ends::of(&contents, contents.len(), &lost(bad));
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
        assert_eq!(ends(0, 100, &[(98, 100)]), (100, 0, 2));
    }
}
