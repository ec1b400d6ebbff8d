// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folder in which the demonstration happens.

use std::fs::DirBuilder;
use std::io::ErrorKind as IoKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, ErrorKind, Result};
use crate::store::{partial_path, room_at};
use crate::units::{MIB, human};

/// The disk and the target, and the image between them.
const ROOM: u64 = 2 * 64 * MIB + 16 * MIB;

/// A folder with the three files of the demonstration. Unless it is to be
/// kept, it is removed in the end: its own files, and then itself if nothing
/// else is in it. Nothing is ever removed that was not made here.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    keep: bool,
}

impl Folder {
    /// A new folder that nobody else may look into.
    pub(super) fn temporary() -> Result<Self> {
        let parent = std::env::temp_dir();
        let mut path = parent.join(format!("dacapo-demo-{}", std::process::id()));
        for number in 2..100 {
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == IoKind::AlreadyExists => {
                    path.set_file_name(format!("dacapo-demo-{}-{number}", std::process::id()));
                }
                made => {
                    made.context(|| format!("making the folder {}", path.display())).map_err(
                        |error| error.hint("set TMPDIR to a folder that can be written to"),
                    )?;
                    return Self { path, keep: false }.checked();
                }
            }
        }
        Err(Error::failed(format!("making a folder in {}", parent.display())))
    }

    /// A folder that the user wants to look into afterwards.
    pub(super) fn kept(path: &Path) -> Result<Self> {
        std::fs::create_dir_all(path)
            .context(|| format!("making the folder {}", path.display()))?;
        let folder = Self { path: path.to_owned(), keep: true };
        if let Some(file) = folder.files().iter().find(|file| file.symlink_metadata().is_ok()) {
            return Err(Error::refused(format!("{} exists already", file.display()))
                .hint("choose another folder, or remove what an earlier demo left there"));
        }
        folder.checked()
    }

    fn checked(self) -> Result<Self> {
        let room = room_at(&self.disk())?;
        if room >= ROOM {
            return Ok(self);
        }
        let text = format!(
            "{} has {} left, and the demo needs {}",
            self.path.display(),
            human(room),
            human(ROOM)
        );
        Err(Error::new(ErrorKind::NoSpace, text)
            .hint("set TMPDIR to a folder with more space, or choose one with --keep"))
    }

    /// The disk that is saved.
    pub(super) fn disk(&self) -> PathBuf {
        self.path.join("disk.raw")
    }

    /// The image of it.
    pub(super) fn image(&self) -> PathBuf {
        self.path.join("disk.img.zst")
    }

    /// The disk that is restored.
    pub(super) fn restored(&self) -> PathBuf {
        self.path.join("restored.raw")
    }

    fn files(&self) -> [PathBuf; 4] {
        let image = self.image();
        [self.disk(), partial_path(&image), image, self.restored()]
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        // In a folder of temporary files, what cannot be removed now is
        // removed by the system later.
        for file in self.files() {
            let _ = std::fs::remove_file(file);
        }
        let _ = std::fs::remove_dir(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_folder_goes_with_its_files() {
        let folder = Folder::temporary().unwrap();
        let path = folder.path.clone();
        std::fs::write(folder.disk(), b"x").unwrap();
        std::fs::write(folder.image(), b"x").unwrap();
        drop(folder);
        assert!(!path.exists());
    }

    #[test]
    fn nothing_is_removed_that_was_not_made_here() {
        let folder = Folder::temporary().unwrap();
        let path = folder.path.clone();
        std::fs::write(folder.disk(), b"x").unwrap();
        std::fs::write(path.join("song.txt"), b"x").unwrap();
        drop(folder);
        let left: Vec<_> = std::fs::read_dir(&path).unwrap().collect();
        assert_eq!(left.len(), 1, "{left:?}");
        std::fs::remove_file(path.join("song.txt")).unwrap();
        std::fs::remove_dir(path).unwrap();
    }

    #[test]
    fn a_kept_folder_stays_and_is_not_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("demo");
        let folder = Folder::kept(&path).unwrap();
        std::fs::write(folder.restored(), b"x").unwrap();
        drop(folder);
        assert!(path.join("restored.raw").exists());
        assert_eq!(Folder::kept(&path).unwrap_err().kind(), ErrorKind::Refused);
    }
}
