// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a failing drive is read into: a raw file beside the image, and its
//! mapfile. Both are GNU ddrescue's, and stay when the program ends.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use uuid::Uuid;

use crate::device::{AlignedBuffer, DiskIdentity, Source};
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::format::Kind;
use crate::image::frame::{Decompressor, is_zero};
use crate::image::reader;
use crate::image::rescan::{Rescan, read_head, rescan};
use crate::io::rescue::{Block, Mapfile, RawFile, State, Status};
use crate::io::{ReadAt, WriteAt, read_vec};
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::save::{now, range};
use crate::store::flush_folder;

/// In front of what the drive says of itself, in the comments of a mapfile.
const DRIVE: &str = "Drive: ";
/// In front of the identity of the interrupted image that is being taken over.
const TAKES_OVER: &str = "Takes over: ";
/// The map is brought to the medium at this interval.
pub(super) const SAVE_EVERY: Duration = Duration::from_secs(30);
/// In so many places the drive is compared with what was read of it before,
/// unless they are zero.
const COMPARED: u64 = 256;
/// The longest command line that is kept in a map.
const MAX_COMMAND: usize = 8 << 10;
/// What is compared in each place.
const PLACE: u64 = 4096;

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
    a.serial == b.serial
        && a.model == b.model
        && a.wwn == b.wwn
        && a.size == b.size
        && (is_named || a.path == b.path)
}

/// A raw file and its mapfile.
#[derive(Debug)]
pub(super) struct Store {
    pub(super) raw: RawFile,
    map: PathBuf,
    comments: Vec<String>,
    pub(super) state: State,
}

impl Store {
    /// Begins a rescue; `takes_over` is the interrupted image of this state of
    /// the drive, of which the content comes first.
    pub(super) fn create(
        path: &Path,
        source: &Source,
        command: &[String],
        takes_over: Option<Uuid>,
    ) -> Result<Self> {
        let map = map_path(path);
        for taken in [path, &map, &with_ending(&map, ".new")] {
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
            format!("Command line: {}", shortened(command.join(" "))),
            format!("{DRIVE}{drive}"),
            format!("Start time:   {}", now()),
        ];
        comments.extend(takes_over.map(|image| format!("{TAKES_OVER}{image}")));
        let raw = RawFile::create(path, source.len(), source.sector_size())?;
        let store = Self { raw, map, comments, state: State::new(source.len(), None) };
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
    pub(super) fn open(path: &Path, source: &Source, progress: &dyn Progress) -> Result<Self> {
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
            .hint("give another name for the image, or with --rescue"));
        }
        let state = State::new(len, Some(&map));
        let finished = state.blocks.finished();
        raw.check_reaches(finished.iter().last().map_or(0, |last| last.end()))?;
        let known = drive_of(&map);
        let is_same = known.as_ref().map(|known| is_same_drive(known, &source.identity()));
        let compared = compare(&raw, &places(&finished), source)?;
        match is_same {
            Some(false) if compared == 0 => {
                return Err(Error::refused(format!("{shown} is of another drive"))
                    .hint("give another name for the image, or with --rescue"));
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
        Ok(Self { raw, map: map_file, comments: map.comments, state })
    }

    /// Compares the drive with what was read of it, in places all over it.
    ///
    /// # Errors
    /// Refused if it differs.
    pub(super) fn check(&self, drive: &dyn ReadAt) -> Result<()> {
        compare(&self.raw, &places(&self.state.blocks.finished()), drive).map(drop)
    }

    /// Compares the drive with what a look around on it has taken from the file:
    /// what filesystems keep of themselves changes with every use.
    ///
    /// # Errors
    /// Refused if it differs.
    pub(super) fn check_seen(&self, seen: &ExtentSet, drive: &dyn ReadAt) -> Result<()> {
        let starts = seen.iter().take(COMPARED as usize);
        let starts: ExtentSet =
            starts.map(|extent| Extent::at(extent.start(), PLACE).intersect(&extent)).collect();
        let all = starts.union(&places(seen).into_iter().collect());
        compare(&self.raw, &all.iter().collect::<Vec<_>>(), drive).map(drop)
    }

    /// True if the rescue was begun here, and both files are ours to remove.
    pub(super) fn is_ours(&self) -> bool {
        self.comments.iter().any(|comment| comment.starts_with(DRIVE))
    }

    /// Brings both files to the medium: the map never says more than the raw
    /// file has.
    pub(super) fn save(&self, state: &State) -> Result<()> {
        self.raw.flush()?;
        let what = || format!("writing the mapfile {}", self.map.display());
        let new = with_ending(&self.map, ".new");
        let mut comments = self.comments.clone();
        comments.retain(|it| !it.starts_with("current_pos") && !it.starts_with("Current time:"));
        comments.push(format!("Current time: {}", now()));
        let mut options = File::options();
        options.write(true).create(true).truncate(true);
        // Whatever a link of that name leads to is not ours to overwrite.
        let file = options.custom_flags(OFlag::O_NOFOLLOW.bits()).open(&new).context(what)?;
        let mut out = BufWriter::new(file);
        state.mapfile(comments).write(&mut out).context(what)?;
        out.get_ref().sync_data().context(what)?;
        fs::rename(&new, &self.map).context(what)?;
        flush_folder(&self.map)
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
        let Ok((head, _, _)) = read_head(partial) else { return false };
        let wanted = format!("{TAKES_OVER}{}", head.image_id);
        self.comments.contains(&wanted)
    }

    /// Takes over what an interrupted image has, so that it is not read from the
    /// drive again. What is damaged in it is left out. False if it is nothing
    /// that could be taken over. It must be known to be of this state of the
    /// drive; where the drive was read already both are compared. What was
    /// taken over stays so, also if this ends early.
    ///
    /// # Errors
    /// Refused if they differ.
    pub(super) fn adopt(
        &mut self,
        partial: &dyn ReadAt,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<bool> {
        let found = match rescan(partial) {
            Ok(found) if found.head.disk_len == self.raw.len() => found,
            Err(error) if error.kind() != ErrorKind::Damaged => return Err(error),
            _ => return Ok(false),
        };
        let adopted = self.adopt_entries(&found, partial, cancel, progress);
        if adopted.is_err() {
            // In any case, and that may take longer than an interrupted program
            // is given to end.
            cancel.finish();
        }
        let saved = self.save(&self.state);
        adopted.and(saved).map(|()| true)
    }

    /// Forgets the image that was taken over: all of it is here.
    pub(super) fn has_taken_over(&mut self) {
        self.comments.retain(|comment| !comment.starts_with(TAKES_OVER));
    }

    fn adopt_entries(
        &mut self,
        found: &Rescan,
        partial: &dyn ReadAt,
        cancel: &Cancel,
        progress: &dyn Progress,
    ) -> Result<()> {
        let head = &found.head;
        let total = found.entries.last().map_or(0, |last| last.extent(head).end());
        progress.stage("taking over what was saved already", total);
        let mut decompressor = Decompressor::new()?;
        let mut content = vec![0; head.chunk_size as usize];
        let mut saved = Instant::now();
        for entry in &found.entries {
            cancel.check()?;
            if saved.elapsed() >= SAVE_EVERY {
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
            if entry.lossy || decoded.is_err() {
                continue;
            }
            for part in head.used.within(extent) {
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

/// A command line, cut so that it is no line that is too long for a map.
fn shortened(mut command: String) -> String {
    command.truncate(command.floor_char_boundary(MAX_COMMAND));
    command
}

/// Compares the drive with what was read of it, in those places that are not
/// zero and can be read; gives back how many.
///
/// # Errors
/// Refused if it differs.
pub(super) fn compare(raw: &RawFile, places: &[Extent], drive: &dyn ReadAt) -> Result<usize> {
    let mut compared = 0;
    for place in places {
        let wanted = read_vec(raw, place.start(), place.len() as usize)?;
        if is_zero(&wanted) {
            continue;
        }
        let mut found = AlignedBuffer::new(wanted.len());
        match drive.read_at(place.start(), found.as_mut_slice()) {
            Ok(()) if found.as_slice() == wanted => compared += 1,
            Ok(()) => {
                return Err(differs(raw, *place));
            }
            // It is a failing drive.
            Err(error) if error.is_media_error() => {}
            Err(error) => return Err(error),
        }
    }
    Ok(compared)
}

fn differs(raw: &RawFile, place: Extent) -> Error {
    Error::refused(format!(
        "{} is of another drive, or the drive was used since: they differ at {:#x}",
        raw.path().display(),
        place.start()
    ))
    .hint("give another name for the image, or with --rescue")
}

/// Places spread evenly over a set, about [`COMPARED`].
pub(super) fn places(set: &ExtentSet) -> Vec<Extent> {
    let step = (set.bytes() / COMPARED).max(PLACE);
    let (mut places, mut before, mut next) = (Vec::new(), 0, 0);
    for extent in set.iter() {
        while next < before + extent.len() {
            let start = extent.start() + (next - before);
            let start = (start - start % PLACE).max(extent.start());
            places.push(Extent::at(start, PLACE).intersect(&extent));
            next += step;
        }
        before += extent.len();
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_spread_over_all_that_is_there() {
        let set: ExtentSet =
            [Extent::new(512, 8192), Extent::new(1 << 20, 1 << 30)].into_iter().collect();
        let places = places(&set);
        assert!((200..=257).contains(&places.len()), "{}", places.len());
        assert!(places.iter().all(|place| !place.is_empty() && set.covers(*place)));
        assert!(places.last().unwrap().start() > 900 << 20);
        assert!(super::places(&ExtentSet::new()).is_empty());
        assert_eq!(super::places(&Extent::new(512, 1024).into()), [Extent::new(512, 1024)]);
    }

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
        let mut store = Store::create(&raw, &source, &[], image).unwrap();
        assert!(store.takes_over(&partial));
        let stopper = Stopper(&cancel, 64 << 10);
        let stopped = store.adopt(&partial, &cancel, &stopper).unwrap_err();
        assert_eq!(stopped.kind(), ErrorKind::Interrupted);
        drop(store);

        let mut store = Store::open(&raw, &source, &quiet).unwrap();
        assert!(store.takes_over(&partial), "it was forgotten");
        let finished = store.state.blocks.finished().bytes();
        assert!((64 << 10..3 << 20).contains(&finished), "{finished}");
        let goes_on = Cancel::default();
        // What was used since shows where both are known.
        let mut used = read_vec(&store.raw, 512, 1).unwrap();
        used[0] ^= 1;
        store.raw.write_at(512, &used).unwrap();
        let error = store.adopt(&partial, &goes_on, &quiet).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Refused);
        used[0] ^= 1;
        store.raw.write_at(512, &used).unwrap();
        assert!(store.adopt(&partial, &goes_on, &quiet).unwrap());
        assert_eq!(read_vec(&store.raw, 0, disk.len()).unwrap(), disk);
        assert!(store.state.lost().is_empty());
        store.has_taken_over();
        assert!(!store.takes_over(&partial));
    }

    #[test]
    fn names_are_those_of_the_image_with_endings() {
        let raw = raw_path(Path::new("/mnt/a.img.zst"));
        assert_eq!(raw, Path::new("/mnt/a.img.zst.rescue"));
        assert_eq!(map_path(&raw), Path::new("/mnt/a.img.zst.rescue.map"));
    }
}
