// SPDX-License-Identifier: MIT OR Apache-2.0
//! A CD with all the bytes of its sectors, and a cue sheet: for discs with sound,
//! which no plain file can hold.
//!
//! Sectors with data carry checksums, and what these contradict is read again.
//! Sound has none: what a drive gives is kept as it is.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::contents::Contents;
use super::copy::{Copied, Copying, Other, Shape};
use super::drive::{self, Drive, RawFileOfDisc};
use super::output::{Begun, Output, check_name, refuse_existing};
use super::read::{Done, Options, check_room, check_volume, name_of, now, sectors_of};
use super::record::{Behind, Record};
use super::sector::{self, Found};
use super::volume::{SECTOR, most_of};
use super::{cue, digest, protection, same};
use crate::device::{RAW_SECTOR, Source, Toc, Track};
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::rescue::{Blocks, RawFile};
use crate::io::{ReadAt, WriteAt as _, check_range};
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::store;

/// At the end of a track with data, where sound follows or the disc ends, nobody
/// can read this many sectors: a pause of two seconds, and two of run-out.
const PAUSE: u64 = 152;

/// An error if a disc cannot be read raw.
///
/// # Errors
/// Unsupported, with the reason.
pub fn check(contents: &Contents) -> Result<&Toc> {
    contents.check_written()?;
    let is_cd = contents.medium.as_deref().is_none_or(|medium| medium.starts_with("CD"));
    match &contents.toc {
        Some(toc) if is_cd && u64::from(toc.lead_out) * SECTOR > most_of(Some("CD")) => {
            Err(Error::damaged(format!(
                "the table of contents of the disc is damaged: it has {} sectors, more than any CD",
                toc.lead_out
            ))
            .hint("another drive may read it right"))
        }
        Some(toc) if is_cd => Ok(toc),
        _ => Err(Error::unsupported(
            "only CDs in a drive, and .bin files of CDs with their .json, have raw sectors",
        )
        .hint("without --raw the disc becomes a plain .iso")),
    }
}

/// The sheet of a raw copy.
#[must_use]
pub fn cue_of(image: &Path) -> PathBuf {
    image.with_extension("cue")
}

/// Reads a CD to a file of raw sectors at `path`, and writes the cue sheet and
/// the record beside it.
///
/// # Errors
/// As [`read::run`](super::read::run).
pub fn run(
    drive: &dyn Drive,
    contents: &Contents,
    path: &Path,
    options: &Options,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Done> {
    let toc = check(contents)?;
    let shape = shape(toc);
    let cue = cue_of(path);
    check_name(path, Some(&cue))?;
    let copies = open_copies(&options.others, contents, toc)?;
    let (mut out, known, old) = if options.resume {
        let begun = Begun::find(path, drive.path())?;
        check_begun(&begun, drive, contents, cancel)?;
        let out = Output::resume(path, &begun, shape.len)?;
        (out, Some(begun.map), begun.record.unwrap_or_default())
    } else {
        refuse_existing(&cue)?;
        let out = Output::create(path, drive.path(), shape.len)?;
        check_room(path, shape.len)?;
        (out, None, Record::default())
    };
    progress.stage("reading", shape.len);
    let kept = Some(Arc::clone(out.file()));
    let source = RawSectors { drive, toc, kept };
    let others: Vec<Other<'_>> = copies
        .iter()
        .map(|copy| {
            let drive = Box::new(RawSectors { drive: &**copy, toc, kept: None });
            Other { drive, is_known: false }
        })
        .collect();
    let known = known.as_ref();
    let mut copying = Copying::new(&mut out, &shape, known, options, cancel, progress);
    let Copied { digests, merged: filled } = copying.run(&source, &others)?;
    let size = RAW_SECTOR as u64;
    let lost = copying.missing().align_outwards(size, u64::MAX);
    let lost: ExtentSet =
        lost.iter().map(|it| Extent::new(it.start() / size, it.end() / size)).collect();
    let run_out = run_out(toc, contents.sizes.filesystems(), &lost);
    let missing = lost.subtract(&run_out);
    let map = (!missing.is_empty()).then(|| copying.map());
    for extent in missing.iter() {
        let extent = Extent::new(extent.start() * size, extent.end() * size);
        progress.note(&Event::Unreadable { extent, cause: "all attempts have failed".into() });
    }
    let digests = match digests {
        Some(digests) => digests,
        None => {
            progress.stage("hashing", shape.len);
            let hashed = digest::hash_all(&Source::open(out.partial())?, cancel, progress);
            hashed.map_err(|error| options.with_way_on(error))?
        }
    };
    let mut merged = old.merged_from;
    merged.extend(filled);
    let about = &options.about;
    let record = Record {
        file: name_of(path),
        bytes: shape.len,
        sector_size: RAW_SECTOR as u32,
        cue: Some(name_of(&cue)),
        title: about.title.clone().or(old.title),
        note: about.note.clone().or(old.note),
        serial: about.serial.clone().or(old.serial),
        read_at: now(),
        digests,
        volume: contents.volume.clone(),
        sizes: contents.sizes.clone(),
        behind: Behind { run_out_sectors: run_out.bytes(), ..Behind::default() },
        run_out: sectors_of(&run_out, 1),
        unreadable: sectors_of(&missing, 1),
        suspicion: suspicion(toc, &missing),
        merged_from: merged,
        medium: contents.medium.clone().or(old.medium),
        drive: contents.drive.clone().or(old.drive),
        toc: Some(toc.clone()),
        ..Record::new()
    };
    cancel.finish();
    let mode = |track: &Track| mode_of(&**out.file(), track, toc).unwrap_or(1);
    let sheet = cue::sheet(&name_of(path), toc, mode);
    store::replace(&cue, |file| file.write_all(sheet.as_bytes()))?;
    out.commit(&record, map.as_ref())?;
    Ok(Done { path: path.to_owned(), record, untold: None })
}

/// What the pattern of bad sectors with data looks like.
fn suspicion(toc: &Toc, missing: &ExtentSet) -> Option<String> {
    let tracks = toc.tracks.iter().filter(|track| track.is_data());
    let data = tracks.flat_map(|track| {
        missing.within(Extent::new(track.start.into(), toc.end_of(track).into()))
    });
    let bytes = data.map(|it| Extent::new(it.start() * SECTOR, it.end() * SECTOR));
    protection::suspicion(&bytes.collect())
}

/// A CD by its raw sectors.
fn shape(toc: &Toc) -> Shape {
    let size = RAW_SECTOR as u64;
    let bytes = |start: u32, end: u32| Extent::new(u64::from(start) * size, u64::from(end) * size);
    let gaps = toc.gaps().into_iter().map(|(start, end)| bytes(start, end)).collect();
    let first = toc.tracks.first().map(|track| track.number);
    // A song in front of the first track is read as that.
    let start = |track: &Track| if Some(track.number) == first { 0 } else { track.start };
    let sound = toc.tracks.iter().filter(|track| !track.is_data());
    let sound = sound.map(|track| bytes(start(track), toc.end_of(track))).collect();
    Shape { len: u64::from(toc.lead_out) * size, gaps, sector: size, sound }
}

/// The mode of the first sector of a track that says one.
fn mode_of(file: &dyn ReadAt, track: &Track, toc: &Toc) -> Option<u8> {
    let mut bytes = vec![0; RAW_SECTOR];
    (track.start..toc.end_of(track)).find_map(|number| {
        file.read_at(u64::from(number) * RAW_SECTOR as u64, &mut bytes).ok()?;
        sector::mode(&bytes)
    })
}

/// Opens all other copies of the disc, before anything is read.
fn open_copies(paths: &[PathBuf], contents: &Contents, toc: &Toc) -> Result<Vec<Box<dyn Drive>>> {
    let open = |path: &PathBuf| {
        let drive = drive::open(path)?;
        let shown = path.display();
        let other = Contents::of(&*drive);
        let Some(tracks) = other.toc else {
            return Err(Error::refused(format!("{shown} has no table of contents")).hint(
                "only a drive with the same disc fills gaps, or a .bin that was read from it, \
                 with its .json",
            ));
        };
        check_tracks(toc, &tracks, &shown.to_string())?;
        if !other.volume.is_of_same_disc(&contents.volume) {
            let text = format!("{shown} is not the same disc: its volume descriptors differ");
            return Err(Error::refused(text)
                .hint("only another copy of the same disc can fill what is missing"));
        }
        Ok(drive)
    };
    paths.iter().map(open).collect()
}

/// Refuses a disc that has other tracks.
fn check_tracks(toc: &Toc, other: &Toc, shown: &str) -> Result<()> {
    let tracks = |toc: &Toc| -> Vec<(u32, bool)> {
        toc.tracks.iter().map(|track| (track.start, track.is_data())).collect()
    };
    if tracks(toc) == tracks(other) && toc.lead_out == other.lead_out {
        return Ok(());
    }
    Err(Error::refused(format!("{shown} is not the same disc: its tracks differ"))
        .hint("only another copy of the same disc can fill what is missing"))
}

/// Refuses to go on with a file that is of another disc.
pub(super) fn check_begun(
    begun: &Begun,
    drive: &dyn Drive,
    contents: &Contents,
    cancel: &Cancel,
) -> Result<()> {
    let toc = check(contents)?;
    let (shape, drive) = (shape(toc), RawSectors { drive, toc, kept: None });
    let shown = begun.file.display().to_string();
    if let Some(toc) = begun.record.as_ref().and_then(|record| record.toc.as_ref()) {
        check_tracks(drive.toc, toc, &shown)?;
    }
    let file = Source::open(&begun.file)?;
    if file.len() > shape.len {
        return Err(Error::refused(format!(
            "{shown} was read from another disc: it has {} bytes, and the disc {}",
            file.len(),
            shape.len
        ))
        .hint("put that disc in, or choose another name"));
    }
    let finished = Blocks::new(file.len(), &begun.map.blocks).finished();
    let found = same::compare(&file, &finished, &drive, &shape, cancel)?;
    let missing = finished.complement(file.len());
    let there = RawFileOfDisc::new(&begun.file, file, missing, drive.toc);
    let is_known = check_volume(&shown, &there, contents)?;
    same::check(&shown, found, is_known)
}

/// A CD by the bytes of its raw sectors. Data that their own checksums
/// contradict count as unreadable.
struct RawSectors<'a> {
    drive: &'a dyn Drive,
    toc: &'a Toc,
    /// Where such a sector is kept all the same, as it came.
    kept: Option<Arc<RawFile>>,
}

impl ReadAt for RawSectors<'_> {
    fn len(&self) -> u64 {
        u64::from(self.toc.lead_out) * RAW_SECTOR as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let is_alone = buf.len() == RAW_SECTOR;
        // OK because it is below the lead-out.
        let (mut position, mut rest) = ((offset / RAW_SECTOR as u64) as u32, buf);
        while !rest.is_empty() {
            let (track, end) = part_at(self.toc, position);
            let len = rest.len().min((end - position) as usize * RAW_SECTOR);
            let (part, behind) = rest.split_at_mut(len);
            self.drive.read_raw(position, part)?;
            let sectors = (position..).zip(part.chunks(RAW_SECTOR));
            let mut bad = sectors.filter(|(_, it)| sector::check(it) == Found::Damaged);
            if let Some((number, bytes)) = bad.next().filter(|_| track.is_some_and(Track::is_data))
            {
                if let Some(kept) = self.kept.as_ref().filter(|_| is_alone) {
                    kept.write_at(offset, bytes)?;
                }
                let cause = std::io::Error::from_raw_os_error(libc::EIO);
                let what = format!("reading sector {number}, whose checksums contradict it");
                return Err(Error::io(what, cause));
            }
            position += (len / RAW_SECTOR) as u32;
            rest = behind;
        }
        Ok(())
    }
}

impl Drive for RawSectors<'_> {
    fn path(&self) -> &Path {
        self.drive.path()
    }
}

/// The track that a sector is read as, and where that ends; None between
/// sessions, where nobody can read. What is in front of the first track belongs
/// to it: discs hide a song there.
fn part_at(toc: &Toc, position: u32) -> (Option<&Track>, u32) {
    let gaps = toc.gaps();
    if let Some((_, end)) = gaps.iter().find(|(start, end)| (*start..*end).contains(&position)) {
        return (None, *end);
    }
    let holds = |track: &&Track| track.start <= position && position < toc.end_of(track);
    let next = || toc.tracks.iter().find(|track| position < track.start);
    match (toc.tracks.iter().find(holds), next()) {
        (Some(track), _) => (Some(track), toc.end_of(track)),
        (None, Some(track)) => (Some(track), track.start),
        (None, None) => (toc.tracks.last(), toc.lead_out),
    }
}

/// The sectors that nobody can read, of those that are lost: what ends a track
/// with data where sound follows or the disc ends, without a gap up to its last
/// sector. What a filesystem may have there is a loss.
fn run_out(toc: &Toc, filesystems: u64, lost: &ExtentSet) -> ExtentSet {
    if filesystems == 0 {
        return ExtentSet::new();
    }
    let filesystems = filesystems.div_ceil(SECTOR);
    let excused = |track: &Track| {
        let end = toc.end_of(track);
        let next = toc.tracks.iter().find(|it| it.start == end);
        if !track.is_data() || next.is_some_and(Track::is_data) {
            return None;
        }
        let (start, end) = (u64::from(track.start), u64::from(end));
        let last = lost.within(Extent::new(start.max(filesystems), end)).last()?;
        (last.end() == end && last.len() <= PAUSE).then_some(last)
    };
    toc.tracks.iter().filter_map(excused).collect()
}
