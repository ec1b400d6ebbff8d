// SPDX-License-Identifier: MIT OR Apache-2.0
//! The folder in which a rescue medium is put together.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Context, Result};
use crate::error::{Error, ErrorKind};
use crate::store::room_at;
use crate::units::{MIB, human};

/// The packages, unpacked: nearly all of it is the kernel.
const ROOM: u64 = 640 * MIB;

/// A new folder that nobody else may look into, removed with all that was
/// made in it.
#[derive(Debug)]
pub(super) struct Workshop {
    path: PathBuf,
}

impl Workshop {
    pub(super) fn new() -> Result<Self> {
        let parent = std::env::temp_dir();
        let elsewhere = "set TMPDIR to a folder on a disk with more space";
        for number in 0..100 {
            let path = parent.join(format!("dacapo-rescue-{}-{number}", std::process::id()));
            match DirBuilder::new().mode(0o700).create(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                made => {
                    made.context(|| format!("making the folder {}", path.display()))
                        .map_err(|error| error.hint(elsewhere))?;
                    let workshop = Self { path };
                    let room = room_at(&workshop.path.join("x"))?;
                    if room < ROOM {
                        let text = format!(
                            "{} has {} left, and this needs {}",
                            parent.display(),
                            human(room),
                            human(ROOM)
                        );
                        return Err(Error::new(ErrorKind::NoSpace, text).hint(elsewhere));
                    }
                    return Ok(workshop);
                }
            }
        }
        Err(Error::failed(format!("making a folder in {}", parent.display())))
    }

    /// A new folder in it.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path)
            .context(|| format!("making the folder {}", path.display()))?;
        Ok(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // The folder was made here for nothing else, and links in it are not
        // followed. What cannot be removed goes with the next start.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_goes_with_all_that_was_made_in_it() {
        let workshop = Workshop::new().unwrap();
        let path = workshop.path().to_owned();
        std::fs::write(workshop.folder("a/b").unwrap().join("c"), b"x").unwrap();
        drop(workshop);
        assert!(!path.exists());
    }
}
