// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which files differ between two images of a disk, or an image and the disk.
//!
//! First the disks are compared by the hashes of their chunks ([`Unchanged`]). A
//! volume in which nothing differs is not looked at, and a file that lies in the
//! same place on both sides, where nothing differs, is not read. What remains
//! is read on both sides. Of a set of disks only the first is compared by hashes, so that
//! nothing is known of a volume that is not all on it before its files are read. One
//! of which a part is on a disk that is not at hand is never the same.

mod tree;
mod unchanged;

pub use unchanged::Unchanged;

use super::open::OpenDisk;
use super::volume::OpenVolume;
use crate::error::{Error, Result};
use crate::extent::{Extent, ExtentSet};
use crate::fs::files::NodeKind;
use crate::pipeline::Cancel;
use crate::progress::{Event, Progress};

/// What became of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Only the second side has it.
    Added,
    /// Only the first side has it.
    Removed,
    /// Both have it, and these of it differ: "content", "time" ...
    Changed(Vec<&'static str>),
}

/// A file that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The name of its volume.
    pub volume: String,
    /// Its path there; empty for the volume itself.
    pub path: Vec<u8>,
    /// What it is, on the second side if it is there.
    pub kind: NodeKind,
    /// Its size in bytes, if that is known.
    pub size: Option<u64>,
    /// What became of it.
    pub change: Change,
}

/// What a comparison has found.
#[derive(Debug, Default)]
pub struct Diffed {
    /// In order of the volumes and of the paths.
    pub differences: Vec<Difference>,
    /// Volumes in which nothing differs, or of which no file had to be looked at.
    pub same_volumes: Vec<String>,
    /// How many files were compared without being read.
    pub known: u64,
    /// How many files were read.
    pub read: u64,
    /// How many files, folders or volumes could not be compared; each was told.
    pub lost: u64,
    /// True if some of them could be with more disks at hand.
    pub lacks_disks: bool,
}

impl Diffed {
    /// Counts and tells a volume that could not be compared.
    fn lose(&mut self, volume: &OpenVolume, why: String, progress: &dyn Progress) {
        self.lost += 1;
        progress.note(&Event::Lost { path: volume.shown(b"/"), cause: why });
    }

    /// Tells a volume that one side has, the first of these two disks, and the other
    /// not. If it is only on other disks, and of those the other side has fewer at
    /// hand, it may be there, too.
    fn tell_alone(
        &mut self,
        volume: &OpenVolume,
        [its, other]: [&OpenDisk; 2],
        change: Change,
        progress: &dyn Progress,
    ) {
        let is_beyond = !volume.reader.is_empty() && all_of(volume).is_empty();
        if is_beyond && other.others().len() < its.others().len() {
            self.lacks_disks = true;
            let why = "it was not compared: it lies on a disk that is given for one side alone";
            return self.lose(volume, why.into(), progress);
        }
        self.differences.push(whole(volume, change));
    }

    /// How many files were added, removed, changed.
    #[must_use]
    pub fn counts(&self) -> [usize; 3] {
        let count = |is: fn(&Change) -> bool| {
            self.differences.iter().filter(|difference| is(&difference.change)).count()
        };
        [
            count(|change| *change == Change::Added),
            count(|change| *change == Change::Removed),
            count(|change| matches!(change, Change::Changed(_))),
        ]
    }
}

/// Compares the files of two disks.
///
/// # Errors
/// If one of them cannot be read at all, and interruption; what cannot be
/// compared is told to `progress` and counted, also a volume whose bytes differ
/// and whose files nobody here can list.
pub fn run(
    before: &OpenDisk,
    after: &OpenDisk,
    cancel: &Cancel,
    progress: &dyn Progress,
) -> Result<Diffed> {
    let mut diffed = Diffed::default();
    let pairs: Vec<(&OpenVolume, &OpenVolume)> = before
        .volumes()
        .iter()
        .filter_map(|old| Some((old, after.volumes().iter().find(|new| new.name == old.name)?)))
        .filter(|(old, new)| !(old.is_without_files() && new.is_without_files()))
        .collect();
    let places: ExtentSet =
        pairs.iter().flat_map(|(old, _)| all_of(old).iter().collect::<Vec<_>>()).collect();
    let unchanged = Unchanged::find(before, after, &places, cancel, progress)?;
    let is_set = [before, after].iter().any(|disk| !disk.others().is_empty());
    let nothing = Unchanged::nothing();
    for old in before.volumes() {
        if !after.volumes().iter().any(|new| new.name == old.name) {
            diffed.tell_alone(old, [before, after], Change::Removed, progress);
        }
    }
    progress.stage("comparing files", 0);
    for (old, new) in pairs {
        let name = |it: &OpenVolume| it.identity.as_ref().map(|identity| identity.name.clone());
        let is_same_kind = name(old) == name(new);
        // Some of it may be elsewhere, or all that is known of it is its name.
        let is_partly = |it: &OpenVolume| all_of(it).bytes() != it.reader.len();
        let is_elsewhere = is_set && (is_partly(old) || is_partly(new))
            || old.reader.is_empty()
            || new.reader.is_empty()
            || old.identity.as_ref().is_some_and(|identity| identity.name == "btrfs");
        let (old_places, new_places) = (all_of(old), all_of(new));
        let is_same_here = is_same_kind
            && !old.is_damaged()
            && !new.is_damaged()
            && (!is_elsewhere || unchanged.is_everything() && !is_set)
            && unchanged.holds(&old_places, &new_places);
        let absent = old.absent().or_else(|| new.absent());
        if is_same_here && absent.is_none() {
            diffed.same_volumes.push(old.name.clone());
            continue;
        }
        let troubles = [old.trouble(), new.trouble()];
        if let Some(damage) = troubles.into_iter().flatten().find(|it| it.is_damage()) {
            diffed.lose(old, damage.why.clone(), progress);
            continue;
        }
        if let Some(why) = &absent {
            // What is the same on the first disk says nothing of the others.
            diffed.lacks_disks = true;
            let is_nowhere = old.reader.is_empty() || new.reader.is_empty();
            let has_files = troubles == [None, None];
            let was = if has_files && !is_same_here { "not all of it was" } else { "it was not" };
            diffed.lose(old, format!("{was} compared: {why}"), progress);
            if is_same_here || is_nowhere || is_same_kind && !has_files {
                continue;
            }
        }
        let Some(trouble) = troubles.into_iter().flatten().next() else {
            let (old_files, new_files) = (old.files()?, new.files()?);
            for (disk, volume) in [(before, old), (after, new)] {
                if let Some(notice) = volume.notice() {
                    progress.note(&Event::Notice(format!("{}: {notice}", disk.name)));
                }
            }
            let sides = [tree::Side::new(old, &*old_files), tree::Side::new(new, &*new_files)];
            // What of it lies on other disks has no place on the first.
            let is_all_here = absent.is_none() && !(is_set && is_elsewhere);
            let known = if is_all_here { &unchanged } else { &nothing };
            tree::compare(&sides, known, cancel, progress, &mut diffed)?;
            continue;
        };
        if !is_same_kind {
            // It was formatted.
            diffed.differences.push(whole(new, Change::Changed(vec!["filesystem"])));
            continue;
        }
        let places = [&old_places, &new_places];
        let bytes = match is_elsewhere || troubles.contains(&None) {
            true => Bytes::Elsewhere,
            false => compare_bytes([before, after], places, &unchanged, cancel)?,
        };
        let why = &trouble.why;
        match bytes {
            Bytes::Same => diffed.same_volumes.push(old.name.clone()),
            Bytes::Different => {
                let text = format!("its bytes differ; its files cannot be listed because {why}");
                diffed.lose(old, text, progress);
            }
            Bytes::Elsewhere => {
                let text = format!("it was not compared: its files cannot be listed because {why}");
                diffed.lose(old, text, progress);
            }
            Bytes::Unread(error) => diffed.lose(old, error.to_string(), progress),
        }
    }
    for new in after.volumes() {
        if !before.volumes().iter().any(|old| old.name == new.name) {
            diffed.tell_alone(new, [after, before], Change::Added, progress);
        }
    }
    Ok(diffed)
}

fn all_of(volume: &OpenVolume) -> ExtentSet {
    volume.on_disk(&ExtentSet::from(Extent::new(0, volume.reader.len())))
}

/// How the bytes of a volume compare whose files cannot be listed.
enum Bytes {
    Same,
    Different,
    /// They do not lie in the same place on both sides, or not all of them are
    /// there.
    Elsewhere,
    Unread(Error),
}

/// Reads what is not known to be the same.
fn compare_bytes(
    disks: [&OpenDisk; 2],
    places: [&ExtentSet; 2],
    unchanged: &Unchanged,
    cancel: &Cancel,
) -> Result<Bytes> {
    const PIECE: u64 = 1 << 20;
    if places[0] != places[1] {
        return Ok(Bytes::Elsewhere);
    }
    let mut buffers = [Vec::new(), Vec::new()];
    for piece in unchanged.doubtful(places[0]).iter().flat_map(|extent| extent.pieces(PIECE)) {
        cancel.check()?;
        for (disk, buffer) in disks.iter().zip(&mut buffers) {
            // At most PIECE.
            buffer.resize(piece.len() as usize, 0);
            if let Err(error) = disk.reader.read_at(piece.start(), buffer) {
                return Ok(Bytes::Unread(error));
            }
        }
        if buffers[0] != buffers[1] {
            return Ok(Bytes::Different);
        }
    }
    Ok(Bytes::Same)
}

fn whole(volume: &OpenVolume, change: Change) -> Difference {
    Difference {
        volume: volume.name.clone(),
        path: Vec::new(),
        kind: NodeKind::Other("volume"),
        size: Some(volume.reader.len()),
        change,
    }
}

#[cfg(test)]
mod tests;
