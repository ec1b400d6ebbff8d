// SPDX-License-Identifier: MIT OR Apache-2.0
//! What was saved of a drive before its first bad place moves to the file that it
//! is rescued to.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use super::failing;
use super::store::{Store, map_path, notes, raw_path, waits_for_image_of};
use crate::device::Source;
use crate::error::{Context, Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::image::rescan::rescan;
use crate::io::ReadAt;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};
use crate::save::Plan;
use crate::store::{partial_path, room_at};
use crate::units::human;

/// Takes over the interrupted image of the same state of the drive, if there is
/// one that is not all in the store yet. A `drive` is compared with it: it may
/// have been used since.
///
/// # Errors
/// Refused if it was; if there is no room.
pub(super) fn take_over(
    store: &mut Store,
    plan: &Plan,
    drive: Option<&Source>,
    path: &Path,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<()> {
    let interrupted = partial_path(path);
    let raw = store.raw.path().to_owned();
    let old = Source::open(&interrupted).ok().filter(|old| store.takes_over(old));
    let Some(old) = old else {
        if store.waits_for_image() {
            progress.note(&Event::Notice(format!(
                "what was read before the first bad place is not in {}, and the interrupted image \
                 with it is not in {} any more: it is read from the drive again, as far as that \
                 can still be read",
                raw.display(),
                interrupted.display()
            )));
        }
        return Ok(());
    };
    // Without holes it has all of its room already.
    if failing::is_sparse(&raw)? {
        let left = plan.to_read().subtract(&store.state.blocks.finished());
        failing::check_room(&raw, store.raw.len(), left.bytes(), progress).map_err(|error| {
            if error.kind() != ErrorKind::NoSpace {
                return error;
            }
            error.hint(format!(
                "free some space, or move {0} and {1} to a disk with more room and give {0} there \
                 to --rescue, or read the drive front to back with --in-place --resume, which is \
                 harder on it; {2} has what was read and must stay",
                raw.display(),
                map_path(&raw).display(),
                interrupted.display()
            ))
        })?;
    }
    let drive = drive.map(|drive| drive as &dyn ReadAt);
    if !store.adopt(&old, drive, cancel, progress)? {
        return Ok(());
    }
    finish(store, &interrupted)
}

/// All of the interrupted image is in the store.
fn finish(store: &mut Store, interrupted: &Path) -> Result<()> {
    store.has_taken_over()?;
    std::fs::remove_file(interrupted).context(|| format!("removing {}", interrupted.display()))
}

/// The raw file of the rescue that has still to take over `interrupted`, what is
/// there of the image `path`.
pub(crate) fn rescue_of(path: &Path, interrupted: &dyn ReadAt) -> Option<PathBuf> {
    let raw = raw_path(path);
    notes(&raw, interrupted).then_some(raw)
}

/// The interrupted image that the rescue in `raw` with this `map` has still to take
/// over, of which the image `path` is to be made; `None` if there is nothing to be
/// taken over.
///
/// # Errors
/// Refused if it is not there, or the map is not that of `raw`: what was read before
/// the first bad place would be missing in the image. If the map cannot be read.
pub fn interrupted_image_of(raw: &Path, map: &Path, path: &Path) -> Result<Option<PathBuf>> {
    let Some(command) = waits_for_image_of(map)? else { return Ok(None) };
    let refused = |why: String| {
        Error::refused(format!(
            "{} says that what was read of the drive before its first bad place has still to move \
             to its raw file, but {why}",
            map.display()
        ))
    };
    // By whatever names they are given: the map beside the file is the one that is
    // written.
    let whole = real(raw)?;
    if real(map)? != map_path(&whole) {
        return Err(refused(format!("that is not {}", raw.display()))
            .hint("call them FILE and FILE.map, in one folder"));
    }
    // Where it will be, or beside where it was to be.
    let found = [Some(path.to_owned()), image_of(raw), image_of(&whole)].into_iter().flatten();
    let mut found = found.map(|path| partial_path(&path));
    let found = found.find(|it| Source::open(it).is_ok_and(|old| notes(&whole, &old)));
    found.map(Some).ok_or_else(|| {
        let beside = image_of(&whole).unwrap_or_else(|| path.to_owned());
        refused("the interrupted image with that is not there".into()).hint(format!(
            "bring it here as {}: it is beside where the image was to be, and the rescue began by: \
             {}; only if it is lost for good, make the image without it: then delete the line \
             '# Takes over: ...' in {}",
            partial_path(&beside).display(),
            command,
            map.display()
        ))
    })
}

/// The image that a raw file is beside, by its name.
fn image_of(raw: &Path) -> Option<PathBuf> {
    let name = raw.as_os_str().as_encoded_bytes().strip_suffix(b".rescue");
    name.map(|name| PathBuf::from(OsStr::from_bytes(name)))
}

fn real(path: &Path) -> Result<PathBuf> {
    path.canonicalize().context(|| format!("looking for {}", path.display()))
}

/// As [`take_over`], for a drive that never works again: `interrupted` is its
/// [`interrupted_image_of`].
///
/// # Errors
/// Damaged or refused if they do not fit; if there is no room.
pub fn take_over_without_drive(
    raw: &Path,
    interrupted: &Path,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<()> {
    let raw = &real(raw)?;
    let old = Source::open(interrupted)?;
    let mut store = Store::open_without_drive(raw)?;
    let held = rescan(&old)?;
    let end = held.entries.last().map_or(0, |last| last.extent(&held.head).end());
    let left: ExtentSet = held.head.used.within(Extent::new(0, end)).collect();
    let left = left.subtract(&store.state.blocks.finished()).bytes();
    let room = room_at(raw)?;
    if failing::is_sparse(raw)? && room < left {
        return Err(Error::new(
            ErrorKind::NoSpace,
            format!(
                "{} has {} that must move to {} first, and {} are free there",
                interrupted.display(),
                human(left),
                raw.display(),
                human(room)
            ),
        )
        .hint(format!(
            "free some space, or move {} and {} to a disk with more room; the interrupted image \
             must stay",
            raw.display(),
            map_path(raw).display()
        )));
    }
    if !store.adopt(&old, None, cancel, progress)? {
        return Err(Error::damaged(format!(
            "{} is not of the drive in {}",
            interrupted.display(),
            raw.display()
        )));
    }
    finish(&mut store, interrupted)
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::save::Options;

    /// Keeps what it is told.
    #[derive(Default)]
    struct Told(Mutex<Vec<String>>);

    impl Progress for Told {
        fn stage(&self, _: &str, _: u64) {}
        fn advance(&self, _: u64) {}
        fn note(&self, event: &Event) {
            if let Event::Notice(text) = event {
                self.0.lock().unwrap().push(text.clone());
            }
        }
    }

    #[test]
    fn an_interrupted_image_that_is_missing_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::write(at("drive"), vec![7; 1 << 20]).unwrap();
        let source = Source::open(at("drive")).unwrap();
        let plan = Plan::new(&source, source.identity(), &Options::default()).unwrap();
        let told = |raw: &str, image| {
            let mut store = Store::create(&at(raw), &source, &[], image, None).unwrap();
            let (told, cancel) = (Told::default(), Cancel::default());
            take_over(&mut store, &plan, Some(&source), &at("a"), &cancel, &told).unwrap();
            told.0.into_inner().unwrap()
        };
        assert!(told("one", None).is_empty());
        let said = told("two", Some(plan.head.image_id));
        assert!(said.len() == 1 && said[0].contains("a.partial any more"), "{said:?}");
    }
}
