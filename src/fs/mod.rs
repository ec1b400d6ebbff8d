// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems and everything else that can fill a partition: who it is, and
//! which of its bytes are in use.
//!
//! A driver answers two questions: *is this mine* ([`Filesystem::probe`]) and
//! *what is in use* ([`Filesystem::used`]). "Free" must be proven: a driver
//! that meets a feature it does not know, a structure it cannot read or two
//! counters that contradict each other returns an error, and the layout stores
//! the volume whole and shows the error as the reason.
//!
//! Drivers get a set of readers because some filesystems span several disks:
//! the first is the volume that is asked about, the others are all volumes that
//! may belong to it, in no order. A driver picks those that do, and answers for
//! the first one only.

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod apfs;
mod bitlocker;
mod bitmap;
pub mod btrfs;
mod budget;
mod cache;
#[doc(hidden)]
pub mod conformance;
mod decmpfs;
pub mod exfat;
pub mod ext;
pub mod f2fs;
pub mod fat;
pub mod files;
pub mod foreign;
pub mod hfs;
pub mod hfsplus;
pub mod iso9660;
mod listing;
pub mod member;
mod names;
pub mod ntfs;
mod pieces;
mod raid;
mod recent;
mod runs;
mod signature;
pub mod swap;
pub mod udf;
pub mod xfs;

pub use files::{Files, SharedReaders};
pub use raid::{array_of, ends_as_member, whole_disk_identity, whole_disk_member};

use serde::{Deserialize, Serialize};

use crate::extent::ExtentSet;
use crate::io::ReadAt;
use crate::ondisk::FormatError;
use crate::volume::VOLUMES;

/// All kinds, in the order in which they are asked. Members of arrays and
/// encrypted volumes come first: a filesystem seen at the start of one must not
/// be trusted. What is only known by name comes last.
pub static FILESYSTEMS: &[&dyn Filesystem] = &[
    &member::Member,
    &ntfs::Ntfs,
    &exfat::Exfat,
    &ext::Ext,
    &xfs::Xfs,
    &btrfs::Btrfs,
    &f2fs::F2fs,
    &hfsplus::HfsPlus,
    &apfs::Apfs,
    &fat::Fat,
    &swap::Swap,
    // A disc for all kinds of computers is a UDF first, then an ISO 9660.
    &udf::Udf,
    &iso9660::Iso9660,
    &hfs::Hfs,
    &foreign::Foreign,
];

/// Readers of all the volumes a filesystem may span; the first is the one that
/// is asked about, the others may belong to it or not. Never empty.
pub type Readers<'a> = &'a [&'a dyn ReadAt];

/// Who a filesystem is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// The name people know: "ext4", "FAT32", "swap".
    pub name: String,
    /// The label, if it has one.
    pub label: Option<String>,
    /// The UUID or serial number, written as `blkid` writes it.
    pub uuid: Option<String>,
    /// The size of the filesystem in bytes, which need not be the volume's.
    pub size: u64,
    /// False if it was not unmounted, or has errors recorded.
    pub clean: bool,
    /// Why it is not clean, in a few words: "hibernated", "log not replayed".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unclean: Option<String>,
}

impl Identity {
    /// With the end that the filesystem gives of itself, on a volume of `len`
    /// bytes.
    fn ending_at(mut self, end: u64, len: u64) -> Self {
        if end > 0 {
            self.size = end;
        }
        if self.clean && self.size > len {
            self.clean = false;
            self.unclean = Some("larger than its partition".to_owned());
        }
        self
    }
}

/// What of a volume is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The bytes to store, from the start of the volume. A superset of what
    /// the filesystem uses, the tail behind its end included.
    pub extents: ExtentSet,
    /// Those of them that the filesystem does not call in use itself: they are
    /// kept to be on the safe side, as the copy of a boot sector behind the last
    /// cluster. Not every driver tells.
    pub spare: ExtentSet,
    /// Why all of it is stored, in one sentence, if the driver knows the
    /// filesystem but has no proof of what is free.
    pub whole: Option<String>,
    /// What else a person should know ("journal not replayed: ...").
    pub notes: Vec<String>,
    /// What the user can do about it, in one sentence: "shut Windows down with
    /// Shift held".
    pub advice: Option<String>,
}

impl Used {
    /// A proven map.
    #[must_use]
    pub const fn proven(extents: ExtentSet) -> Self {
        Self { extents, spare: ExtentSet::new(), whole: None, notes: Vec::new(), advice: None }
    }

    /// The whole volume, and why.
    #[must_use]
    pub fn whole(len: u64, why: impl Into<String>) -> Self {
        Self { whole: Some(why.into()), ..Self::proven(ExtentSet::all(len)) }
    }

    /// With what of it the filesystem does not call in use.
    #[must_use]
    pub fn spare(mut self, spare: impl Into<ExtentSet>) -> Self {
        self.spare = spare.into();
        self
    }

    /// With a note.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// With what the user can do.
    #[must_use]
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice = Some(advice.into());
        self
    }
}

/// How much of a volume is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stored {
    /// What is in use, by the filesystem's own maps.
    UsedBlocks,
    /// Every byte.
    Whole,
}

/// A row of the table of what is supported.
#[derive(Debug, Clone, Copy)]
pub struct Support {
    /// The filesystem, or the variant of it: "NTFS, hibernated".
    pub what: &'static str,
    /// How much of it is stored.
    pub stored: Stored,
    /// What else a person should know.
    pub remark: &'static str,
}

impl Support {
    /// A row for what has a used map.
    #[must_use]
    pub const fn used_blocks(what: &'static str, remark: &'static str) -> Self {
        Self { what, stored: Stored::UsedBlocks, remark }
    }

    /// A row for what is stored whole.
    #[must_use]
    pub const fn whole(what: &'static str, remark: &'static str) -> Self {
        Self { what, stored: Stored::Whole, remark }
    }
}

/// A kind of filesystem, or of anything else that fills a volume.
pub trait Filesystem: Sync {
    /// The name of the kind, for messages.
    fn name(&self) -> &'static str;

    /// The rows of the table of what is supported; never empty.
    fn support(&self) -> &'static [Support];

    /// Who this is; `None` if it is none of this driver's.
    ///
    /// # Errors
    /// If it is this driver's, but damaged or unsupported so that not even its
    /// identity can be told.
    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError>;

    /// What of the volume is in use.
    ///
    /// # Errors
    /// Anything that keeps the map from being proven.
    fn used(&self, readers: Readers) -> Result<Used, FormatError>;

    /// What of the filesystem is on volumes that are not among the readers, as a
    /// sentence; `None` if all of it is there, or that cannot be told.
    fn absent(&self, readers: Readers) -> Option<String> {
        let _ = readers;
        None
    }

    /// Its files; `None` if this driver does not read any.
    ///
    /// # Errors
    /// Anything that keeps the filesystem from being read at all.
    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        let _ = readers;
        Ok(None)
    }
}

/// The disc that a disk is, whatever its partition table says: an installer
/// that starts from a stick as well. `None` if it is none, or it cannot be told
/// where it ends.
///
/// # Errors
/// If a place where one is told by cannot be read.
pub fn disc(disk: &dyn ReadAt) -> Result<Option<Identity>, FormatError> {
    let udf = readable(udf::Udf.probe(&[disk]))?;
    let iso9660 = readable(iso9660::Iso9660.probe(&[disk]))?;
    let mut end = 0;
    if udf.is_some() {
        let found = readable(udf::Descriptors::read(disk))?;
        end = found.map_or(0, |descriptors| descriptors.end());
    }
    if iso9660.is_some() {
        let found = readable(iso9660::Descriptors::read(disk, 0))?;
        end = end.max(found.map_or(0, |descriptors| descriptors.primary.end()));
    }
    let identity = udf.or(iso9660).filter(|_| end > 0);
    Ok(identity.map(|identity| Identity { size: end, ..identity }))
}

/// `None` of what is damaged, but not of what cannot be read.
fn readable<T>(found: Result<Option<T>, FormatError>) -> Result<Option<T>, FormatError> {
    match found {
        Err(error @ FormatError::Io(_)) => Err(error),
        found => Ok(found.unwrap_or(None)),
    }
}

/// What else than the filesystem of `owner` this volume may be. One of them is
/// left over from before, and which one is a guess.
///
/// # Errors
/// If a place where another's signature may be cannot be read.
pub fn rival(owner: &dyn Filesystem, volume: &dyn ReadAt) -> Result<Option<String>, FormatError> {
    rival_of(owner.name(), volume)
}

/// As [`rival`], for the filesystem or volume whose driver has this name.
///
/// # Errors
/// As [`rival`].
pub fn rival_of(owner: &str, volume: &dyn ReadAt) -> Result<Option<String>, FormatError> {
    let readers = &[volume];
    let filesystems = FILESYSTEMS.iter().map(|driver| (driver.name(), driver.probe(readers)));
    let volumes = VOLUMES.iter().map(|driver| (driver.name(), driver.probe(readers)));
    for (name, probed) in filesystems.chain(volumes).filter(|(name, _)| *name != owner) {
        match probed {
            Ok(None) => {}
            Ok(Some(identity)) => return Ok(Some(identity.name)),
            Err(error @ FormatError::Io(_)) => return Err(error),
            // It says that it is that driver's, though not who it is.
            Err(_) => return Ok(Some(name.to_owned())),
        }
    }
    Ok(None)
}
