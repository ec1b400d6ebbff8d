// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a failing drive is read into: a raw file beside the image, and its
//! mapfile. Both are GNU ddrescue's, and stay when the program ends.

use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::same::{OTHER_NAME, compare, differs, pieces, places, places_seen};
use crate::device::{DiskIdentity, Source};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::Kind;
use crate::image::frame::{Decompressor, is_zero};
use crate::image::reader;
use crate::image::rescan::{Rescan, read_head, rescan};
use crate::io::rescue::{Block, Mapfile, RawFile, State, Status};
use crate::io::{ReadAt, Seen, WriteAt, read_vec};
use crate::layout::Layout;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::save::{now, range};
use crate::store::replace;
use crate::units::SectorSize;

/// In front of what the drive says of itself, in the comments of a mapfile.
const DRIVE: &str = "Drive: ";
/// In front of the command that began it.
const COMMAND: &str = "Command line: ";
/// In front of the identity of the interrupted image that is being taken over.
const TAKES_OVER: &str = "Takes over: ";
/// In front of the hash of what was read to find out what is in use.
const LOOKED: &str = "Looked at: ";
/// Noted if the rescue began because something could not be read.
const HAS_BAD_PLACES: &str = "Began at a bad place";
/// In front of the identity of the image that is made of it.
const MAKES: &str = "Makes: ";
/// The map is brought to the medium at this interval.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(30);
/// The longest command line that is kept in a map.
const MAX_COMMAND: usize = 8 << 10;

/// The file that a failing drive is read into before its image is made.
#[must_use]
pub fn raw_path(image: &Path) -> PathBuf {
    with_ending(image, ".rescue")
}

/// The mapfile of such a file.
#[must_use]
pub fn map_path(raw: &Path) -> PathBuf {
    with_ending(raw, ".map")
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// The image that is being rescued in a folder from this drive, the latest one
/// if there are several.
pub(super) fn find_in(folder: &Path, drive: &DiskIdentity) -> Option<PathBuf> {
    let mut found: Vec<(std::time::SystemTime, PathBuf)> = fs::read_dir(folder)
        .ok()?
        .flatten()
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let image = folder.join(name.strip_suffix(".rescue.map")?);
            let map = read_map(&entry.path()).ok()?;
            let is_this = drive_of(&map).is_some_and(|it| is_same_drive(&it, drive));
            (is_this && !image.exists()).then_some((entry.metadata().ok()?.modified().ok()?, image))
        })
        .collect();
    found.sort();
    found.pop().map(|(_, image)| image)
}

fn read_map(path: &Path) -> Result<Mapfile> {
    let what = || format!("reading the mapfile {}", path.display());
    Mapfile::read(BufReader::new(File::open(path).context(what)?)).context(what)
}

/// What the drive said of itself when the rescue began.
fn drive_of(map: &Mapfile) -> Option<DiskIdentity> {
    let text = map.comments.iter().find_map(|comment| comment.strip_prefix(DRIVE))?;
    serde_json::from_str(text).ok()
}

pub(super) fn is_same_drive(a: &DiskIdentity, b: &DiskIdentity) -> bool {
    let is_named = a.serial.is_some() || a.wwn.is_some();
    partition_of(&a.path) == partition_of(&b.path)
        && a.serial == b.serial
        && a.model == b.model
        && a.wwn == b.wwn
        && a.size == b.size
        && (is_named || a.path == b.path)
}

/// The partition that a path names, by its number or else its name: a drive may
/// have several of the same size. `None` if it names a whole drive or a file.
fn partition_of(path: &str) -> Option<&str> {
    let name = path.strip_prefix("/dev/")?;
    let named = ["label/", "uuid/", "partlabel/", "partuuid/"];
    if let Some(name) = name.strip_prefix("disk/by-")
        && named.iter().any(|kind| name.starts_with(kind))
    {
        return Some(name);
    }
    let name = name.rsplit('/').next()?;
    let stem = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = name.get(stem.len()..).filter(|number| !number.is_empty())?;
    let is_disk = ["sd", "hd", "vd", "xvd"].iter().any(|kind| stem.starts_with(kind));
    let digit_p = |stem: &str| stem.ends_with(|letter: char| letter.is_ascii_digit());
    let is_part = stem.ends_with("-part") || stem.strip_suffix('p').is_some_and(digit_p);
    (is_disk || is_part).then_some(number)
}

/// What was read to find out what is in use, as a hash.
#[derive(Debug)]
pub(super) struct Look {
    /// In front of the hash: on what depends what is read for that.
    way: String,
    digest: blake3::Hash,
}

impl Look {
    /// `None` if something could not be read; with so many `others` at hand.
    pub(super) fn of(seen: &Seen, sector: SectorSize, others: usize) -> Option<Self> {
        let (version, sector) = (env!("CARGO_PKG_VERSION"), sector.bytes());
        let way = format!("{LOOKED}dacapo {version}, sectors {sector}, other disks {others}: ");
        seen.digest().map(|digest| Self { way, digest })
    }

    fn comment(&self) -> String {
        format!("{}{}", self.way, self.digest)
    }
}

/// A raw file and its mapfile.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) raw: RawFile,
    map: PathBuf,
    comments: Vec<String>,
    pub(super) state: State,
    /// Where a look around has found what changes with every use.
    pub(super) seen: Vec<Extent>,
}

impl Store {
    /// Begins a rescue; `takes_over` is the interrupted image of this state of
    /// the drive, of which the content comes first; `look` is what was read to
    /// find out what is in use.
    pub(super) fn create(
        path: &Path,
        source: &Source,
        command: &[String],
        takes_over: Option<Uuid>,
        look: Option<&Look>,
    ) -> Result<Self> {
        let map = map_path(path);
        remove_leftover(path, source);
        for taken in [path, &map] {
            if taken.symlink_metadata().is_ok() {
                return Err(Error::refused(format!(
                    "{} exists, but not what belongs to it: a rescue has a raw file and its map",
                    taken.display()
                ))
                .hint("choose another name with --rescue, or delete it first"));
            }
        }
        let drive = serde_json::to_string(&source.identity()).unwrap_or_default();
        let mut comments = vec![
            format!("Mapfile. Created by dacapo version {}", env!("CARGO_PKG_VERSION")),
            format!("{COMMAND}{}", shortened(command.join(" "))),
            format!("{DRIVE}{drive}"),
            format!("Start time:   {}", now()),
        ];
        comments.extend(takes_over.map(|image| format!("{TAKES_OVER}{image}")));
        comments.extend(look.map(Look::comment));
        let raw = RawFile::create(path, source.len(), source.sector_size())?;
        let state = State::new(source.len(), None);
        let store = Self { raw, map, comments, state, seen: Vec::new() };
        store.save(&store.state)?;
        Ok(store)
    }

    /// True if there is a rescue to go on with.
    pub(super) fn is_at(path: &Path) -> bool {
        path.is_file() && map_path(path).is_file()
    }

    /// Goes on with a rescue of this drive.
    ///
    /// # Errors
    /// Refused if it is of another one, or the drive has changed since.
    pub(super) fn open(
        path: &Path,
        source: &Source,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<Self> {
        let map_file = map_path(path);
        let (shown, len) = (path.display(), source.len());
        // First it is locked: another program may be writing the map.
        let raw = RawFile::open_unchanged(path, len, source.sector_size())?;
        let map = read_map(&map_file)?;
        if map.end() > len {
            return Err(Error::refused(format!(
                "{shown} is of a drive of {} bytes, and this one has {len}",
                map.end()
            ))
            .hint(OTHER_NAME));
        }
        let state = State::new(len, Some(&map));
        let finished = state.blocks.finished();
        raw.check_reaches(finished.iter().last().map_or(0, |last| last.end()))?;
        let known = drive_of(&map);
        if known.as_ref().is_some_and(|it| partition_of(&it.path) != partition_of(source.path())) {
            return Err(Error::refused(format!("{shown} is of another partition of the drive"))
                .hint(
                    "name the partition as when the rescue began, or give another name for the \
                     image, or with --rescue",
                ));
        }
        let is_same = known.as_ref().map(|known| is_same_drive(known, &source.identity()));
        let compared = compare(&raw, &places(&finished), source, usize::MAX, cancel)?;
        match is_same {
            Some(false) if compared == 0 => {
                return Err(Error::refused(format!("{shown} is of another drive")).hint(OTHER_NAME));
            }
            None if compared == 0 && !finished.is_empty() => {
                return Err(Error::refused(format!(
                    "{shown} may be of another drive: its map does not say of which, and nothing \
                     that was read could be compared"
                ))
                .hint("let ddrescue read more of it, or give another name with --rescue"));
            }
            _ => {}
        }
        raw.extend()?;
        if is_same == Some(false) {
            progress.note(&Event::Notice(format!(
                "the drive says another name than when the rescue began, as in another case, but \
                 what is on it is the same in {compared} places"
            )));
        }
        Ok(Self { raw, map: map_file, comments: map.comments, state, seen: Vec::new() })
    }

    /// Opens the files of a rescue whose drive is not there any more.
    ///
    /// # Errors
    /// If they cannot be read; damaged, if they do not fit.
    pub(super) fn open_without_drive(path: &Path) -> Result<Self> {
        let map_file = map_path(path);
        let len = read_map(&map_file)?.end();
        // The map is read once more when nobody else writes it.
        let raw = RawFile::open_unchanged(path, len, SectorSize::B512)?;
        let map = read_map(&map_file)?;
        let state = State::new(len, Some(&map));
        raw.check_reaches(state.blocks.finished().end())?;
        raw.extend()?;
        Ok(Self { raw, map: map_file, comments: map.comments, state, seen: Vec::new() })
    }

    /// Compares the drive with what was read of it, in places all over it.
    ///
    /// # Errors
    /// Refused if it differs.
    pub(super) fn check(&self, drive: &dyn ReadAt, cancel: &Cancel) -> Result<()> {
        let places = places(&self.state.blocks.finished());
        compare(&self.raw, &places, drive, usize::MAX, cancel).map(drop)
    }

    /// Compares the drive with what a look around on it has taken from the file:
    /// what filesystems keep of themselves changes with every use. A drive with
    /// bad places is spared most of that.
    ///
    /// # Errors
    /// Refused if it differs.
    pub(super) fn check_seen(
        &self,
        taken: &ExtentSet,
        layout: &Layout,
        drive: &dyn ReadAt,
        cancel: &Cancel,
    ) -> Result<()> {
        let places = match self.has_bad_places() {
            true => places_seen(taken, layout),
            false => pieces(taken).collect(),
        };
        compare(&self.raw, &places, drive, usize::MAX, cancel).map(drop)
    }

    /// True if something of the drive could not be read, now or on another day:
    /// the first bad place is in an interrupted image, and not in the map.
    fn has_bad_places(&self) -> bool {
        let failed = [Status::NonTrimmed, Status::NonScraped, Status::Bad];
        self.comments.iter().any(|comment| comment == HAS_BAD_PLACES)
            || failed.iter().any(|status| self.state.blocks.bytes(*status) > 0)
    }

    /// Notes that something of the drive could not be read before the rescue began.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub(super) fn began_at_bad_place(&mut self) -> Result<()> {
        self.comments.push(HAS_BAD_PLACES.into());
        self.save(&self.state)
    }

    /// Compares all that a look around has read, of which some may have been read
    /// only now, with the look around when the rescue began. Nothing is known if a
    /// part of it could not be read, or if it may have been another way.
    ///
    /// # Errors
    /// Refused if it differs.
    pub(super) fn check_look(&mut self, seen: &Seen, others: usize) -> Result<()> {
        let Some(look) = Look::of(seen, self.raw.sector_size(), others) else { return Ok(()) };
        let known = self.comments.iter().find(|it| it.starts_with(&look.way));
        if known.is_some_and(|known| *known != look.comment()) {
            return Err(Error::refused(format!(
                "the drive was used since the rescue in {} began: what its filesystems keep of \
                 themselves has changed",
                self.raw.path().display()
            ))
            .hint(OTHER_NAME));
        }
        self.comments.retain(|comment| !comment.starts_with(LOOKED));
        self.comments.push(look.comment());
        Ok(())
    }

    /// Remembers what a look around has asked for, for a drive that goes and
    /// comes back.
    pub(super) fn keep_seen(&mut self, seen: &ExtentSet, layout: &Layout) {
        self.seen = places_seen(seen, layout);
    }

    /// Notes which image is made of it.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub(super) fn is_made_into(&mut self, image: Uuid) -> Result<()> {
        self.comments.retain(|comment| !comment.starts_with(MAKES));
        self.comments.push(format!("{MAKES}{image}"));
        self.save(&self.state)
    }

    /// True if `partial` was made of it.
    pub(super) fn makes(&self, partial: &dyn ReadAt) -> bool {
        let Ok((head, _, _)) = read_head(partial) else { return false };
        self.comments.contains(&format!("{MAKES}{}", head.image_id))
    }

    /// True if the rescue was begun here, and both files are ours to remove.
    pub(super) fn is_ours(&self) -> bool {
        self.comments.iter().any(|comment| comment.starts_with(DRIVE))
    }

    /// Brings both files to the medium: the map never says more than the raw
    /// file has.
    pub(super) fn save(&self, state: &State) -> Result<()> {
        self.raw.flush()?;
        let mut comments = self.comments.clone();
        comments.retain(|it| !it.starts_with("current_pos") && !it.starts_with("Current time:"));
        comments.push(format!("Current time: {}", now()));
        replace(&self.map, |out| state.mapfile(comments).write(out))
    }

    /// Removes both files.
    pub(super) fn remove(self) -> Result<()> {
        let what = || format!("removing {}", self.raw.path().display());
        // First the map: without it the raw file is nothing.
        fs::remove_file(&self.map).context(what)?;
        fs::remove_file(self.raw.path()).context(what)
    }

    /// True if what `partial` holds belongs to this rescue, and is not all taken
    /// over yet.
    pub(super) fn takes_over(&self, partial: &dyn ReadAt) -> bool {
        is_noted(&self.comments, partial)
    }

    /// Takes over what an interrupted image has, so that it is not read from the
    /// drive again. What is damaged in it is left out, and what could not be read
    /// then. False if it is nothing that could be taken over. Without a `drive` it
    /// must be known to be of this state of the drive; what was taken over then stays
    /// so, also if this ends early. Else the drive may have been used since: where it
    /// was read already both are compared, then the drive with all of it, and before
    /// that is done nothing of it is called read.
    ///
    /// # Errors
    /// Refused if they differ; nothing of it is called read then.
    pub(super) fn adopt(
        &mut self,
        partial: &dyn ReadAt,
        drive: Option<&dyn ReadAt>,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let found = match rescan(partial) {
            Ok(found) if found.head.disk_len == self.raw.len() => found,
            Err(error) if error.kind() != ErrorKind::Damaged => return Err(error),
            _ => return Ok(false),
        };
        let before = self.state.blocks.clone();
        let adopted = self
            .adopt_entries(&found, partial, drive.is_none(), cancel, progress)
            .and_then(|()| drive.map_or(Ok(()), |drive| self.check(drive, cancel)));
        if let Err(error) = &adopted {
            // In any case, and that may take longer than an interrupted program
            // is given to end.
            cancel.finish();
            if drive.is_some() || error.kind() == ErrorKind::Refused {
                self.state.blocks = before;
            }
        }
        let saved = self.save(&self.state);
        adopted.and(saved).map(|()| true)
    }

    /// True if an interrupted image is noted that is not all taken over yet.
    pub(super) fn waits_for_image(&self) -> bool {
        self.comments.iter().any(|comment| comment.starts_with(TAKES_OVER))
    }

    /// Forgets the image that was taken over: all of it is here.
    ///
    /// # Errors
    /// If the map cannot be written.
    pub(super) fn has_taken_over(&mut self) -> Result<()> {
        self.comments.retain(|comment| !comment.starts_with(TAKES_OVER));
        self.save(&self.state)
    }

    fn adopt_entries(
        &mut self,
        found: &Rescan,
        partial: &dyn ReadAt,
        is_known: bool,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<()> {
        let head = &found.head;
        let total = found.entries.last().map_or(0, |last| last.extent(head).end());
        progress.stage("taking over what was saved already", total);
        let mut decompressor = Decompressor::new()?;
        let mut content = vec![0; head.chunk_size as usize];
        let losses: ExtentSet = found.losses.iter().copied().collect();
        let mut saved = Instant::now();
        for entry in &found.entries {
            cancel.check()?;
            if is_known && saved.elapsed() >= SAVE_EVERY {
                self.save(&self.state)?;
                saved = Instant::now();
            }
            let extent = entry.extent(head);
            progress.advance(extent.len());
            let start = entry.position + u64::from(entry.description_len);
            let stored = read_vec(partial, start, entry.stored_len as usize)?;
            // OK because a chunk is small; zeros have no content.
            let len = extent.len().min(head.chunk_size.into()) as usize;
            let decoded =
                reader::decode(entry, head, &stored, &mut decompressor, &mut content[..len]);
            if decoded.is_err() {
                continue;
            }
            // What could not be read is zero in it, and no content of the drive.
            let there = head.used.within(extent).flat_map(|part| losses.holes_within(part));
            for part in there {
                let blocks: Vec<Block> = self.state.blocks.within(part).collect();
                for Block { extent: piece, status } in blocks {
                    let bytes = match entry.kind {
                        Kind::Zero => None,
                        Kind::Data => Some(&content[range(extent.start(), piece)]),
                    };
                    match (status, bytes) {
                        (Status::Finished, _) => {
                            for piece in piece.pieces(head.chunk_size.into()) {
                                let here =
                                    read_vec(&self.raw, piece.start(), piece.len() as usize)?;
                                if bytes.map_or_else(|| !is_zero(&here), |bytes| bytes != here) {
                                    return Err(differs(&self.raw, piece));
                                }
                            }
                            continue;
                        }
                        (_, None) => self.raw.zero(piece)?,
                        (_, Some(bytes)) => self.raw.write_at(piece.start(), bytes)?,
                    }
                    self.state.blocks.set(piece, Status::Finished);
                }
            }
        }
        Ok(())
    }
}

/// If the map notes an interrupted image that is not all taken over yet: the
/// command with which the rescue began.
///
/// # Errors
/// If the map cannot be read.
pub(super) fn waits_for_image_of(map: &Path) -> Result<Option<String>> {
    let comments = read_map(map)?.comments;
    let waits = comments.iter().any(|comment| comment.starts_with(TAKES_OVER));
    let command = comments.iter().find_map(|comment| comment.strip_prefix(COMMAND));
    Ok(waits.then(|| command.unwrap_or("not known").to_owned()))
}

/// True if the map of `raw` notes that it has still to take over `partial`.
pub(super) fn notes(raw: &Path, partial: &dyn ReadAt) -> bool {
    read_map(&map_path(raw)).is_ok_and(|map| is_noted(&map.comments, partial))
}

fn is_noted(comments: &[String], partial: &dyn ReadAt) -> bool {
    let Ok((head, _, _)) = read_head(partial) else { return false };
    comments.contains(&format!("{TAKES_OVER}{}", head.image_id))
}

/// A command line, cut so that it is no line that is too long for a map.
fn shortened(mut command: String) -> String {
    command.truncate(command.floor_char_boundary(MAX_COMMAND));
    command
}

/// Removes a raw file in which nothing was ever written and that has no map: its
/// rescue was killed in its first moment. What cannot be removed, or told to be
/// that, is refused.
fn remove_leftover(path: &Path, source: &Source) {
    let is_of_len = |len| path.symlink_metadata().is_ok_and(|it| it.is_file() && it.len() == len);
    if !is_of_len(source.len()) || map_path(path).symlink_metadata().is_ok() {
        return;
    }
    // Locked: it may be another program's first moment.
    let Ok(raw) = RawFile::open_unchanged(path, source.len(), source.sector_size()) else { return };
    if raw.has_no_data().unwrap_or(false) {
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Cancels once so many bytes went by.
    struct Stopper<'a>(&'a Cancel, u64);

    impl Progress for Stopper<'_> {
        fn stage(&self, _: &str, _: u64) {}
        fn note(&self, _: &Event) {}
        fn advance(&self, bytes: u64) {
            if bytes >= self.1 {
                self.0.cancel();
            }
        }
    }

    #[test]
    fn an_image_that_was_partly_taken_over_is_gone_on_with() {
        use crate::save::{Options, Plan, run, start};
        let folder = tempfile::tempdir().unwrap();
        let mut disk = crate::io::conformance::pattern(3 << 20, 9);
        disk[1 << 20..2 << 20].fill(0);
        let drive = folder.path().join("drive");
        fs::write(&drive, &disk).unwrap();
        let source = Source::open(&drive).unwrap();
        let options = Options { chunk_size: 64 << 10, raw: true, ..Options::default() };
        let plan = Plan::new(&source, source.identity(), &options).unwrap();
        let (cancel, quiet) = (Cancel::default(), crate::progress::Silent);
        let (image, _) =
            run(&plan, &source, start(&plan, Vec::new()).unwrap(), false, &cancel, &quiet).unwrap();
        let partial = crate::io::Memory::new(image);

        let raw = folder.path().join("raw");
        let image = Some(plan.head.image_id);
        let mut store = Store::create(&raw, &source, &[], image, None).unwrap();
        assert!(store.takes_over(&partial));
        let stopper = Stopper(&cancel, 64 << 10);
        let stopped = store.adopt(&partial, None, &cancel, &stopper).unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Interrupted);
        drop(store);

        let mut store = Store::open(&raw, &source, &Cancel::default(), &quiet).unwrap();
        assert!(store.takes_over(&partial), "it was forgotten");
        let finished = store.state.blocks.finished().bytes();
        assert!((64 << 10..3 << 20).contains(&finished), "{finished}");
        let goes_on = Cancel::default();
        // What was used since shows where both are known.
        let mut used = read_vec(&store.raw, 512, 1).unwrap();
        used[0] ^= 1;
        store.raw.write_at(512, &used).unwrap();
        let error = store.adopt(&partial, None, &goes_on, &quiet).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        used[0] ^= 1;
        store.raw.write_at(512, &used).unwrap();
        assert!(store.adopt(&partial, None, &goes_on, &quiet).unwrap());
        assert_eq!(read_vec(&store.raw, 0, disk.len()).unwrap(), disk);
        assert!(store.state.lost().is_empty());
        store.has_taken_over().unwrap();
        assert!(!store.takes_over(&partial));
    }

    #[test]
    fn of_a_chunk_with_a_bad_place_the_rest_is_taken_over() {
        use crate::save::{Options, Plan, run, start};
        const LEN: usize = 1 << 20;
        let folder = tempfile::tempdir().unwrap();
        let disk = crate::io::conformance::pattern(LEN, 9);
        let drive = folder.path().join("drive");
        fs::write(&drive, &disk).unwrap();
        let source = Source::open(&drive).unwrap();
        let options = Options { chunk_size: 64 << 10, raw: true, ..Options::default() };
        let plan = Plan::new(&source, source.identity(), &options).unwrap();
        let (cancel, quiet) = (Cancel::default(), crate::progress::Silent);
        let bad = Extent::at(100 << 10, 4096);
        let failing = crate::io::Memory::new(disk.clone()).unreadable(bad);
        let out = start(&plan, Vec::new()).unwrap();
        let (image, saved) = run(&plan, &failing, out, false, &cancel, &quiet).unwrap();
        assert_eq!(saved.losses, [bad]);
        let raw = folder.path().join("raw");
        let image_id = Some(plan.head.image_id);
        let mut store = Store::create(&raw, &source, &[], image_id, None).unwrap();
        assert!(store.adopt(&crate::io::Memory::new(image), None, &cancel, &quiet).unwrap());
        let lost = ExtentSet::from(bad);
        assert_eq!(store.state.blocks.finished(), lost.complement(LEN as u64));
        for there in lost.complement(LEN as u64).iter() {
            let found = read_vec(&store.raw, there.start(), there.len() as usize).unwrap();
            assert!(found == disk[range(0, there)], "{there:?}");
        }
    }

    #[test]
    fn a_drive_that_is_known_to_have_bad_places_is_spared() {
        const LEN: u64 = 8 << 20;
        let folder = tempfile::tempdir().unwrap();
        let disk = crate::io::conformance::pattern(LEN as usize, 9);
        let drive = folder.path().join("drive");
        fs::write(&drive, &disk).unwrap();
        let source = Source::open(&drive).unwrap();
        let raw = folder.path().join("raw");
        let mut store = Store::create(&raw, &source, &[], None, None).unwrap();
        store.raw.write_at(0, &disk).unwrap();
        store.state.blocks.set(Extent::new(0, LEN / 2), Status::Finished);
        let (taken, layout) = (ExtentSet::from(Extent::new(0, LEN / 2)), Layout::default());
        // Used since, where only a look at all of it shows that.
        let mut used = disk;
        used[6000] ^= 1;
        let used = crate::io::Memory::new(used);
        let check = |store: &Store, cancel: &Cancel| {
            store.check_seen(&taken, &layout, &used, cancel).map_err(|error| error.kind())
        };
        let cancel = Cancel::default();
        assert_eq!(check(&store, &cancel), Err(ErrorKind::Refused));
        for status in [Status::NonTrimmed, Status::NonScraped, Status::Bad] {
            store.state.blocks.set(Extent::new(LEN / 2, LEN / 2 + 512), status);
            assert!(store.has_bad_places());
        }
        store.state.blocks.set(Extent::new(LEN / 2, LEN / 2 + 512), Status::NonTried);
        assert!(!store.has_bad_places());
        store.began_at_bad_place().unwrap();
        drop(store);
        let store = Store::open(&raw, &source, &cancel, &crate::progress::Silent).unwrap();
        assert!(store.has_bad_places(), "it was forgotten");
        assert_eq!(check(&store, &cancel), Ok(()));
        cancel.cancel();
        assert_eq!(check(&store, &cancel), Err(ErrorKind::Interrupted));
    }

    #[test]
    fn of_an_image_of_another_state_of_the_drive_nothing_is_taken_over() {
        use crate::save::{Options, Plan, run, start};
        const LEN: usize = 3 << 20;
        let folder = tempfile::tempdir().unwrap();
        let mut disk = crate::io::conformance::pattern(LEN, 9);
        let drive = folder.path().join("drive");
        fs::write(&drive, &disk).unwrap();
        let source = Source::open(&drive).unwrap();
        let options = Options { chunk_size: 64 << 10, raw: true, ..Options::default() };
        let plan = Plan::new(&source, source.identity(), &options).unwrap();
        let quiet = crate::progress::Silent;
        let out = start(&plan, Vec::new()).unwrap();
        let (image, _) = run(&plan, &source, out, false, &Cancel::default(), &quiet).unwrap();
        let partial = crate::io::Memory::new(image);
        let raw = folder.path().join("raw");
        drop(Store::create(&raw, &source, &[], Some(plan.head.image_id), None).unwrap());

        // Another day, and somebody has used it; some of it was read since.
        disk[LEN - (64 << 10)..].fill(7);
        fs::write(&drive, &disk).unwrap();
        let source = Source::open(&drive).unwrap();
        let mut store = Store::open(&raw, &source, &Cancel::default(), &quiet).unwrap();
        let read = Extent::new(LEN as u64 - 4096, LEN as u64);
        store.raw.write_at(read.start(), &disk[LEN - 4096..]).unwrap();
        store.state.blocks.set(read, Status::Finished);
        let on_disk = || {
            let map = read_map(&map_path(&raw)).unwrap();
            State::new(LEN as u64, Some(&map)).blocks.finished()
        };
        let cancel = Cancel::default();
        let stopper = Stopper(&cancel, 64 << 10);
        let stopped = store.adopt(&partial, Some(&source), &cancel, &stopper).unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Interrupted);
        assert_eq!(on_disk(), read.into());
        let cancel = Cancel::default();
        let error = store.adopt(&partial, Some(&source), &cancel, &quiet).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(store.state.blocks.finished(), read.into());
        assert_eq!(on_disk(), read.into());
        // Where nothing of it was read yet the drive is asked.
        store.state.blocks.set(read, Status::NonTried);
        let error = store.adopt(&partial, Some(&source), &cancel, &quiet).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(on_disk().is_empty());
        assert!(store.waits_for_image());
    }

    #[test]
    fn a_partition_is_told_from_another_one_of_its_drive() {
        let of = |path: &str| DiskIdentity {
            path: path.into(),
            serial: Some("S1".into()),
            ..DiskIdentity::default()
        };
        let is_same = |a, b| is_same_drive(&of(a), &of(b));
        assert!(is_same("/dev/sda", "/dev/sdb") && is_same("/dev/sda2", "/dev/sdb2"));
        assert!(!is_same("/dev/sda2", "/dev/sda3") && !is_same("/dev/sda", "/dev/sda3"));
        assert!(is_same("/dev/disk/by-id/usb-x-part2", "/dev/nvme0n1p2"));
        assert!(!is_same("/dev/disk/by-partlabel/boot_a", "/dev/disk/by-partlabel/boot_b"));
        assert!(is_same("/dev/disk/by-id/ata-x", "/dev/sdc"));

        let folder = tempfile::tempdir().unwrap();
        let (drive, raw) = (folder.path().join("drive"), folder.path().join("raw"));
        let content = crate::io::conformance::pattern(64 << 10, 3);
        for path in [&drive, &raw] {
            fs::write(path, &content).unwrap();
        }
        let text = serde_json::to_string(&of("/dev/sda2")).unwrap();
        fs::write(map_path(&raw), format!("# {DRIVE}{text}\n0 + 1\n0 65536 +\n")).unwrap();
        let source = Source::open(&drive).unwrap();
        let error =
            Store::open(&raw, &source, &Cancel::default(), &crate::progress::Silent).unwrap_err();
        assert!(error.to_string().contains("another partition"), "{error}");
    }

    #[test]
    fn a_raw_file_without_a_map_is_no_obstacle_if_nothing_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let (drive, raw) = (folder.path().join("drive"), folder.path().join("raw"));
        fs::write(&drive, vec![7; 1 << 20]).unwrap();
        let source = Source::open(&drive).unwrap();
        File::create(&raw).unwrap().set_len(1 << 20).unwrap();
        drop(Store::create(&raw, &source, &[], None, None).unwrap());
        fs::remove_file(map_path(&raw)).unwrap();
        RawFile::open(&raw, 1 << 20, crate::units::SectorSize::B512)
            .unwrap()
            .write_at(4096, &[1])
            .unwrap();
        let error = Store::create(&raw, &source, &[], None, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        fs::remove_file(&raw).unwrap();
        // Some filesystems call small files, and all of them for a while, empty of
        // blocks. This one has a copy of a drive that is full of zeros.
        let len = source.len();
        fs::write(&raw, vec![0; 1 << 20]).unwrap();
        let error = Store::create(&raw, &source, &[], None, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert_eq!(fs::read(&raw).unwrap().len() as u64, len);
        fs::remove_file(&raw).unwrap();
        // Somebody is at it, in the first moment.
        let _theirs = RawFile::create(&raw, len, SectorSize::B512).unwrap();
        let error = Store::create(&raw, &source, &[], None, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        assert!(raw.exists());
    }

    #[test]
    fn names_are_those_of_the_image_with_endings() {
        let raw = raw_path(Path::new("/mnt/a.img.zst"));
        assert_eq!(raw, Path::new("/mnt/a.img.zst.rescue"));
        assert_eq!(map_path(&raw), Path::new("/mnt/a.img.zst.rescue.map"));
    }
}
