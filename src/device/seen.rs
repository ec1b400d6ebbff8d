// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a person was shown, to be known again when it is changed: while
//! somebody reads and types, a disk may be unplugged and another one get its
//! name.

use std::path::{Path, PathBuf};

use super::identity::DiskIdentity;
use super::medium::NodeId;
use super::{Source, Target};
use crate::error::{Error, Result};

/// What was at a path when it was shown.
#[derive(Debug, Clone)]
pub struct Seen {
    path: PathBuf,
    node: NodeId,
    disk: DiskIdentity,
    is_device: bool,
}

impl Seen {
    /// What is at a path now.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub fn new(path: &Path) -> Result<Self> {
        // As it was given: the name of an opened one is for people.
        Ok(Self { path: path.to_owned(), ..Self::of_source(&Source::open(path)?)? })
    }

    /// What is opened here.
    ///
    /// # Errors
    /// If the kernel cannot be asked.
    pub fn of_source(source: &Source) -> Result<Self> {
        Ok(Self {
            path: source.path().into(),
            node: source.node()?,
            disk: source.identity(),
            is_device: source.is_device(),
        })
    }

    /// As [`Seen::of_source`].
    ///
    /// # Errors
    /// As [`Seen::of_source`].
    pub fn of_target(target: &Target) -> Result<Self> {
        Ok(Self {
            path: target.path().into(),
            node: target.node()?,
            disk: target.identity(),
            is_device: target.is_device(),
        })
    }

    /// The path it was seen at.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it said of itself.
    #[must_use]
    pub const fn identity(&self) -> &DiskIdentity {
        &self.disk
    }

    /// True for a block device, false for a regular file.
    #[must_use]
    pub const fn is_device(&self) -> bool {
        self.is_device
    }

    /// Opens it to read it.
    ///
    /// # Errors
    /// Refused if another one is at its path by now.
    pub fn open(&self) -> Result<Source> {
        let source = Source::open(&self.path)?;
        self.check(&Self::of_source(&source)?)?;
        Ok(source)
    }

    /// Fails unless `now` is the same one.
    ///
    /// # Errors
    /// Refused if it is another one.
    pub fn check(&self, now: &Self) -> Result<()> {
        let (seen, disk) = (&self.disk, &now.disk);
        let is_same = self.node == now.node
            && seen.serial == disk.serial
            && seen.model == disk.model
            && seen.wwn == disk.wwn
            && seen.size == disk.size;
        if is_same {
            return Ok(());
        }
        Err(Error::refused(format!(
            "{} has become another one since it was shown",
            self.path.display()
        ))
        .hint("nothing was written; begin again, and look at it anew"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn only_what_was_shown_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.raw");
        std::fs::write(&path, [1; 8192]).unwrap();
        let seen = Seen::new(&path).unwrap();
        let target = Target::open(&path, None).unwrap();
        seen.check(&Seen::of_target(&target).unwrap()).unwrap();
        seen.open().unwrap();
        let changes: [fn(&mut DiskIdentity); 4] = [
            |disk| disk.serial = Some("S5Y1".into()),
            |disk| disk.model = Some("Samsung".into()),
            |disk| disk.wwn = Some("naa.5".into()),
            |disk| disk.size = 4096,
        ];
        for change in changes {
            let mut other = seen.clone();
            change(&mut other.disk);
            let error = seen.check(&other).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Refused, "{error}");
        }
        // The same bytes under the same name, in another file.
        let copy = folder.path().join("copy.raw");
        std::fs::copy(&path, &copy).unwrap();
        std::fs::rename(&copy, &path).unwrap();
        assert_eq!(seen.open().unwrap_err().kind(), ErrorKind::Refused);
    }
}
