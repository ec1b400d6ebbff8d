// SPDX-License-Identifier: MIT OR Apache-2.0
//! Which files lie in ranges of a disk that could not be read when it was saved.
//!
//! Only what is in use is ever counted as lost, so that free space is left out.
//! A file is lost if a byte of its content lies in such a range, or if what says
//! where it lies cannot be read itself; a folder, if its names cannot.

use serde::Serialize;

use super::open::OpenDisk;
use super::volume::OpenVolume;
use super::walk::{Step, Walk};
use crate::error::Result;
use crate::extent::ExtentSet;
use crate::fs::files::NodeKind;
use crate::pipeline::Cancel;

/// The most files of a volume that are held in memory.
const MOST: usize = 1 << 20;

/// What is lost of a volume.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct LostVolume {
    /// Its name: "2", "vg0/root".
    pub volume: String,
    /// How many of its bytes are lost.
    pub bytes: u64,
    /// The files, as `VOLUME:PATH`.
    pub files: Vec<String>,
    /// How many more there are.
    pub more: u64,
    /// Why they cannot be told, if they cannot.
    pub problem: Option<String>,
}

impl LostVolume {
    /// How many files there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.more.saturating_add(self.files.len() as u64)
    }

    fn add(&mut self, path: String) {
        // What is damaged may be told of more than once in a row.
        if self.files.last() == Some(&path) {
            return;
        }
        if self.files.len() < MOST {
            self.files.push(path);
        } else {
            self.more = self.more.saturating_add(1);
        }
    }
}

/// The files of an opened image in ranges that could not be read; a volume
/// without losses is left out.
///
/// # Errors
/// [`Error::interrupted`](crate::error::Error::interrupted).
pub fn lost_files(disk: &OpenDisk, cancel: &Cancel) -> Result<Vec<LostVolume>> {
    let Some(image) = &disk.image else { return Ok(Vec::new()) };
    let losses: ExtentSet = image.reader().report().losses.iter().copied().collect();
    of_losses(disk, &losses, cancel)
}

/// The files of an opened disk in these ranges of it; a volume without losses is
/// left out.
///
/// # Errors
/// As [`lost_files`].
pub fn of_losses(disk: &OpenDisk, losses: &ExtentSet, cancel: &Cancel) -> Result<Vec<LostVolume>> {
    let mut found = Vec::new();
    if losses.is_empty() {
        return Ok(found);
    }
    let mut told = ExtentSet::new();
    let mut untold = Vec::new();
    for volume in disk.volumes() {
        let place = volume.on_disk(&ExtentSet::all(volume.reader.len()));
        let here = losses.intersect(&place);
        if here.is_empty() {
            continue;
        }
        match volume.files() {
            Ok(_) => {
                told = told.union(&place);
                found.push(of_volume(volume, losses, here.bytes(), cancel)?);
            }
            Err(error) => untold.push((volume, here, error)),
        }
    }
    // What holds other volumes has no files of its own.
    for (volume, here, error) in untold {
        let bytes = here.subtract(&told).bytes();
        if bytes > 0 {
            let (volume, problem) = (volume.name.clone(), Some(error.to_string()));
            found.push(LostVolume { volume, bytes, problem, ..LostVolume::default() });
        }
    }
    Ok(found)
}

fn of_volume(
    volume: &OpenVolume,
    losses: &ExtentSet,
    bytes: u64,
    cancel: &Cancel,
) -> Result<LostVolume> {
    let mut lost = LostVolume { volume: volume.name.clone(), bytes, ..LostVolume::default() };
    let files = volume.files()?;
    for (path, step) in Walk::new(&*files, files.root(), b"/") {
        cancel.check()?;
        match step {
            Step::Entry(entry) if entry.kind == NodeKind::File => {
                let is_lost = |places| match places {
                    Ok(Some(places)) => {
                        volume.on_disk(&places).iter().any(|place| losses.touches(place))
                    }
                    Ok(None) => false,
                    Err(_) => true,
                };
                if is_lost(files.places(entry.node)) || is_lost(files.stream_places(entry.node)) {
                    lost.add(volume.shown(&path));
                }
            }
            Step::Entry(_) | Step::Leave => {}
            // The folder, or a part of it.
            Step::Trouble(_) => lost.add(volume.shown(&path)),
        }
    }
    Ok(lost)
}

/// What is lost in a few lines for people: at most `most` files of each volume.
#[must_use]
pub fn lines(lost: &[LostVolume], most: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for volume in lost {
        let name = &volume.volume;
        if let Some(problem) = &volume.problem {
            lines.push(format!("volume {name}: which files are in them is not known: {problem}"));
            continue;
        }
        match volume.count() {
            0 => lines.push(format!("volume {name}: no file is in them")),
            1 => lines.push(format!("volume {name}: 1 file or folder is in them:")),
            count => lines.push(format!("volume {name}: {count} files or folders are in them:")),
        }
        lines.extend(volume.files.iter().take(most).map(|file| format!("  {file}")));
        let left = volume.count().saturating_sub(most as u64);
        if left > 0 {
            lines.push(format!("  and {left} more"));
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::extent::Extent;
    use crate::io::{Memory, ReadAt};

    #[test]
    fn of_a_volume_without_files_that_is_said() {
        let reader: Arc<dyn ReadAt> = Arc::new(Memory::zeros(1 << 20));
        let disk = OpenDisk::of_reader("x".into(), reader);
        let cancel = Cancel::default();
        assert!(of_losses(&disk, &ExtentSet::new(), &cancel).unwrap().is_empty());
        let lost = of_losses(&disk, &Extent::at(4096, 512).into(), &cancel).unwrap();
        assert_eq!((lost.len(), lost[0].bytes), (1, 512));
        assert!(lines(&lost, 10)[0].contains("not known"), "{lost:?}");
    }

    #[test]
    fn long_lists_are_cut() {
        let mut volume = LostVolume { volume: "2".into(), ..LostVolume::default() };
        for n in 0..30 {
            volume.add(format!("2:/{n}"));
            volume.add(format!("2:/{n}"));
        }
        let lines = lines(&[volume], 10);
        assert_eq!(lines.len(), 12);
        assert!(lines[0].contains("30 files") && lines[11].contains("20 more"), "{lines:?}");
    }
}
