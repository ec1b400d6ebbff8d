// SPDX-License-Identifier: MIT OR Apache-2.0
//! A CD with all the bytes of its sectors, and a cue sheet: for discs with sound,
//! which no plain file can hold.
//!
//! Sectors with data carry checksums, and what these contradict is read again.
//! Sound has none: what a drive gives is kept as it is.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::contents::Contents;
use super::drive::Drive;
use super::output::{Output, check_name, refuse_existing};
use super::read::{Done, Options, name_of, now, sectors_of};
use super::record::{Behind, Record};
use super::sector::{self, Found};
use super::volume::{SECTOR, most_of};
use super::{cue, digest};
use crate::device::{RAW_SECTOR, Toc, Track};
use crate::error::{Context, Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::io::WriteAt as _;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};

/// Sectors that are read at once.
const AT_ONCE: u32 = 27;
/// How often a sector is tried whose checksums are wrong, or that fails.
const TRIES: u32 = 3;
/// At the end of a track with data, where sound follows or the disc ends, nobody
/// can read this many sectors: a pause of two seconds, and two of run-out.
const PAUSE: u64 = 152;

/// An error if a disc cannot be read raw.
///
/// # Errors
/// Unsupported, with the reason.
pub fn check(contents: &Contents) -> Result<&Toc> {
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
        _ => Err(Error::unsupported("only CDs in a drive have raw sectors")
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
    let size = RAW_SECTOR as u64;
    let len = u64::from(toc.lead_out) * size;
    check_name(path, Some(&cue_of(path)))?;
    refuse_existing(&cue_of(path))?;
    let out = Output::create(path, drive.path(), len)?;
    progress.stage("reading", len);
    let mut lost = ExtentSet::new();
    let mut modes: Vec<(u8, u8)> = Vec::new();
    let ((), digests) = digest::hash(|feed| {
        let mut position = 0;
        while position < toc.lead_out {
            cancel.check()?;
            let (track, end) = part_at(toc, position);
            let count = AT_ONCE.min(end - position);
            let mut bytes = vec![0; count as usize * RAW_SECTOR];
            if let Some(track) = track {
                read(drive, track, position, &mut bytes, &mut lost, cancel)?;
                if track.is_data()
                    && position >= track.start
                    && !modes.iter().any(|(number, _)| *number == track.number)
                {
                    modes.push((track.number, sector::mode(&bytes).unwrap_or(1)));
                }
            }
            out.file().write_at(u64::from(position) * size, &bytes)?;
            progress.advance(bytes.len() as u64);
            feed.bytes(bytes)?;
            position += count;
        }
        Ok(())
    })?;
    let run_out = run_out(toc, contents.sizes.filesystems(), &lost);
    let missing = lost.subtract(&run_out);
    for extent in missing.iter() {
        let extent = Extent::new(extent.start() * size, extent.end() * size);
        progress.note(&Event::Unreadable { extent, cause: "all attempts have failed".into() });
    }
    let mode = |track: &Track| {
        modes.iter().find(|(number, _)| *number == track.number).map_or(1, |(_, mode)| *mode)
    };
    let about = &options.about;
    let record = Record {
        file: name_of(path),
        bytes: len,
        sector_size: RAW_SECTOR as u32,
        cue: Some(name_of(&cue_of(path))),
        title: about.title.clone(),
        note: about.note.clone(),
        serial: about.serial.clone(),
        read_at: now(),
        digests,
        volume: contents.volume.clone(),
        sizes: contents.sizes.clone(),
        behind: Behind { run_out_sectors: run_out.bytes(), ..Behind::default() },
        run_out: sectors_of(&run_out, 1),
        unreadable: sectors_of(&missing, 1),
        medium: contents.medium.clone(),
        drive: contents.drive.clone(),
        toc: Some(toc.clone()),
        ..Record::new()
    };
    cancel.finish();
    let sheet = cue::sheet(&name_of(path), toc, mode);
    let (cue, what) = (cue_of(path), || format!("writing {}", cue_of(path).display()));
    let mut file = File::create_new(&cue).context(what)?;
    file.write_all(sheet.as_bytes()).and_then(|()| file.sync_all()).context(what)?;
    out.commit(&record, None)?;
    Ok(Done { path: path.to_owned(), record })
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

/// Reads sectors of a track; what cannot be read stays zero, and what its
/// checksums contradict to the end is kept and counts as lost.
fn read(
    drive: &dyn Drive,
    track: &Track,
    first: u32,
    bytes: &mut [u8],
    lost: &mut ExtentSet,
    cancel: &Cancel,
) -> Result<()> {
    let is_good = |bytes: &[u8]| {
        !track.is_data() || bytes.chunks(RAW_SECTOR).all(|it| sector::check(it) != Found::Damaged)
    };
    match drive.read_raw(first, bytes) {
        Ok(()) if is_good(bytes) => return Ok(()),
        Ok(()) => {}
        Err(error) if error.is_media_error() => {}
        Err(error) => return Err(error),
    }
    for (number, sector) in (first..).zip(bytes.chunks_mut(RAW_SECTOR)) {
        cancel.check()?;
        let mut is_read = false;
        for _ in 0..TRIES {
            match drive.read_raw(number, sector) {
                Ok(()) => is_read = is_good(sector),
                Err(error) if error.is_media_error() => sector.fill(0),
                Err(error) => return Err(error),
            }
            if is_read {
                break;
            }
        }
        if !is_read {
            lost.insert(Extent::at(number.into(), 1));
        }
    }
    Ok(())
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
