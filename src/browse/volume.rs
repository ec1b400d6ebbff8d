// SPDX-License-Identifier: MIT OR Apache-2.0
//! A volume of a disk: who fills it, its bytes, and its files, opened when they are
//! asked for.

use std::fmt;
use std::sync::{Arc, OnceLock};

use super::names::shown;
use crate::error::{Error, ErrorKind, Result};
use crate::extent::{Extent, ExtentSet};
use crate::fs::hfs::Hfs;
use crate::fs::swap::Swap;
use crate::fs::{Files, Filesystem, Identity};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// Says where bytes of a volume lie on the disk.
pub(super) type OnDisk = Arc<dyn Fn(&ExtentSet) -> ExtentSet + Send + Sync>;

/// Why the files of a volume cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Unsupported if nothing here reads such files; anything else is damage.
    pub kind: ErrorKind,
    /// In words, without the name of the volume.
    pub why: String,
}

impl Trouble {
    pub(super) fn unsupported(why: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Unsupported, why: why.into() }
    }

    pub(super) fn damaged(why: impl Into<String>) -> Self {
        Self { kind: ErrorKind::Damaged, why: why.into() }
    }

    /// What a driver says that cannot make out what a volume is.
    pub(super) fn of_probe(driver: &str, error: FormatError) -> Self {
        if let FormatError::Io(error) = error {
            let why = format!("what is on it cannot be told: {error}");
            return Self::of_reading(error.kind(), why);
        }
        let error = Error::from(error);
        Self { kind: error.kind(), why: format!("looks like {driver}, but: {error}") }
    }

    /// Something cannot be read. That is damage, whatever keeps it from being.
    pub(super) fn of_reading(kind: ErrorKind, why: String) -> Self {
        let kind = if kind == ErrorKind::Unsupported { ErrorKind::Failed } else { kind };
        Self { kind, why }
    }

    /// True if something that was to be read cannot be; false if it is healthy,
    /// and nothing here reads it.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        self.kind != ErrorKind::Unsupported
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self { kind: error.kind(), why: error.to_string() }
    }
}

/// A volume of a disk.
pub struct OpenVolume {
    /// How it is named on the command line: "2", "vg0/root", "vg0/disk/1"; "disk"
    /// for all of a disk that has no partition table.
    pub name: String,
    /// The name that the partition table gives it.
    pub label: Option<String>,
    /// Where it lies on the disk, if that is one piece.
    pub extent: Option<Extent>,
    /// Who fills it, if that is known.
    pub identity: Option<Identity>,
    /// Its bytes; none at all if they cannot be read.
    pub reader: Arc<dyn ReadAt>,
    pub(super) on_disk: OnDisk,
    /// What a filesystem on it may span: the other volumes of its floor.
    pub(super) others: Vec<Arc<dyn ReadAt>>,
    pub(super) driver: Option<&'static dyn Filesystem>,
    /// Why its files are not read, if that is known without trying.
    pub(super) problem: Option<Trouble>,
    /// True if it is made of other volumes, which are here by themselves.
    pub(super) is_group: bool,
    /// What of it is, or may be, on disks that are not at hand, if that is known
    /// without a look at its filesystem.
    pub(super) absent: Option<String>,
    pub(super) files: OnceLock<std::result::Result<Arc<dyn Files>, Trouble>>,
}

impl fmt::Debug for OpenVolume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenVolume").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OpenVolume {
    /// The label that its filesystem or, without one, its table gives it.
    #[must_use]
    pub fn any_label(&self) -> Option<&str> {
        let own = self.identity.as_ref().and_then(|identity| identity.label.as_deref());
        own.or(self.label.as_deref())
    }

    /// How a path of this volume is shown: "2:/home/x".
    #[must_use]
    pub fn shown(&self, path: &[u8]) -> String {
        format!("{}:{}", self.name, shown(path))
    }

    /// True if its filesystem comes from DOS or Windows: names end at `\\` as
    /// well, and letters of another case are the same.
    #[must_use]
    pub fn is_dos(&self) -> bool {
        self.is_kind(&["NTFS", "exFAT", "FAT"])
    }

    /// True if a letter and its capital are the same in names.
    #[must_use]
    pub fn ignores_case(&self) -> bool {
        self.is_kind(&["NTFS", "exFAT", "FAT", "HFS+"]) || self.is_hfs()
    }

    /// True if its times are those of a clock on some wall, and not of a zone.
    #[must_use]
    pub fn has_local_times(&self) -> bool {
        self.is_kind(&["FAT"]) || self.is_hfs()
    }

    /// True of the HFS before HFS+.
    fn is_hfs(&self) -> bool {
        self.identity.as_ref().is_some_and(|identity| identity.name == Hfs.name())
    }

    fn is_kind(&self, kinds: &[&str]) -> bool {
        let name = self.identity.as_ref().map_or("", |identity| &identity.name);
        kinds.iter().any(|kind| name.starts_with(kind))
    }

    /// Where these bytes of the volume lie on the disk.
    #[must_use]
    pub fn on_disk(&self, extents: &ExtentSet) -> ExtentSet {
        (self.on_disk)(extents)
    }

    /// True if there may be files to read: a filesystem whose driver reads
    /// files, whether or not this one can be, or what cannot be told.
    #[must_use]
    pub fn may_have_files(&self) -> bool {
        self.trouble().is_none_or(Trouble::is_damage)
    }

    /// True if nobody would look for files in it: swap, or the frame of other
    /// volumes.
    #[must_use]
    pub fn is_without_files(&self) -> bool {
        self.is_group || self.driver.is_some_and(|driver| driver.name() == Swap.name())
    }

    /// What of it is, or may be, on disks that are not at hand, as a sentence.
    #[must_use]
    pub fn absent(&self) -> Option<String> {
        let all = std::iter::once(&self.reader).chain(&self.others);
        let readers: Vec<&dyn ReadAt> = all.map(|reader| reader.as_ref()).collect();
        self.absent.clone().or_else(|| self.driver?.absent(&readers))
    }

    /// True if nothing was recognised in it, although all of it can be read.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        self.identity.is_none() && self.driver.is_none() && self.problem.is_none()
    }

    /// True if what it is cannot be told, because it is damaged.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.problem.as_ref().is_some_and(Trouble::is_damage)
    }

    /// What keeps its files from being read; `None` if they can be.
    #[must_use]
    pub fn trouble(&self) -> Option<&Trouble> {
        self.opened().as_ref().err()
    }

    /// Its files, opened once and then shared.
    ///
    /// # Errors
    /// Unsupported if there is nothing that reads them, damaged if the
    /// filesystem is.
    pub fn files(&self) -> Result<Arc<dyn Files>> {
        self.opened().clone().map_err(|trouble| {
            let name = &self.name;
            let why = trouble.why;
            Error::new(trouble.kind, format!("the files of volume {name} cannot be read: {why}"))
        })
    }

    fn opened(&self) -> &std::result::Result<Arc<dyn Files>, Trouble> {
        self.files.get_or_init(|| self.open_files())
    }

    /// Why its files may not be as their system would show them, with its name;
    /// `None` also if there are no files.
    #[must_use]
    pub fn notice(&self) -> Option<String> {
        let notice = self.files().ok()?.notice()?;
        Some(format!("volume {}: {notice}", shown(self.name.as_bytes())))
    }

    /// A volume of which only the files are there, for tests.
    #[cfg(test)]
    pub(crate) fn of_files(name: &str, identity: Identity, files: Arc<dyn Files>) -> Self {
        Self { files: OnceLock::from(Ok(files)), ..Self::named(name, Some(identity)) }
    }

    /// A volume whose files cannot be read, for tests.
    #[cfg(test)]
    pub(crate) fn of_trouble(name: &str, identity: Option<Identity>, trouble: Trouble) -> Self {
        Self { problem: Some(trouble), ..Self::named(name, identity) }
    }

    /// A volume without bytes, for tests.
    #[cfg(test)]
    fn named(name: &str, identity: Option<Identity>) -> Self {
        Self {
            name: name.into(),
            label: None,
            extent: None,
            identity,
            reader: Arc::new(crate::io::Memory::new(Vec::new())),
            on_disk: Arc::new(Clone::clone),
            others: Vec::new(),
            driver: None,
            problem: None,
            is_group: false,
            absent: None,
            files: OnceLock::new(),
        }
    }

    fn open_files(&self) -> std::result::Result<Arc<dyn Files>, Trouble> {
        if let Some(problem) = &self.problem {
            return Err(problem.clone());
        }
        let Some(driver) = self.driver else {
            return Err(Trouble::unsupported(match &self.identity {
                Some(identity) => format!("it is {}", identity.name),
                None => "no known filesystem was found".into(),
            }));
        };
        let readers: Vec<Arc<dyn ReadAt>> =
            std::iter::once(&self.reader).chain(&self.others).cloned().collect();
        match driver.files(&readers) {
            Ok(Some(files)) => Ok(files.into()),
            Ok(None) => Err(Trouble::unsupported(match &self.identity {
                Some(identity) => format!("{} is not read file by file", identity.name),
                None => format!("{} is not read file by file", driver.name()),
            })),
            Err(FormatError::Io(error)) => {
                Err(Trouble::of_reading(error.kind(), error.to_string()))
            }
            Err(error) => Err(Error::from(error).into()),
        }
    }
}
