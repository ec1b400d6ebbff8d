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
//! Drivers get a set of readers because some filesystems span several disks;
//! the first reader is the volume that was found.

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod ext;
pub mod fat;
pub mod foreign;
pub mod member;
mod raid;
mod signature;
pub mod swap;

pub use raid::whole_disk_member;

use serde::{Deserialize, Serialize};

use crate::extent::ExtentSet;
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// All kinds, in the order in which they are asked. Members of arrays and
/// encrypted volumes come first: a filesystem seen at the start of one must not
/// be trusted. What is only known by name comes last.
pub static FILESYSTEMS: &[&dyn Filesystem] =
    &[&member::Member, &ext::Ext, &fat::Fat, &swap::Swap, &foreign::Foreign];

/// Readers of all the volumes a filesystem may span; the first is the one that
/// was found. Never empty.
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
}

/// What of a volume is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Used {
    /// The bytes to store, from the start of the volume. A superset of what
    /// the filesystem uses, the tail behind its end included.
    pub extents: ExtentSet,
    /// Why all of it is stored, in one sentence, if the driver knows the
    /// filesystem but has no proof of what is free.
    pub whole: Option<String>,
    /// What else a person should know ("journal not replayed: ...").
    pub notes: Vec<String>,
}

impl Used {
    /// A proven map.
    #[must_use]
    pub const fn proven(extents: ExtentSet) -> Self {
        Self { extents, whole: None, notes: Vec::new() }
    }

    /// The whole volume, and why.
    #[must_use]
    pub fn whole(len: u64, why: impl Into<String>) -> Self {
        Self { extents: ExtentSet::all(len), whole: Some(why.into()), notes: Vec::new() }
    }
}

/// A kind of filesystem, or of anything else that fills a volume.
pub trait Filesystem: Sync {
    /// The name in the table of supported filesystems.
    fn name(&self) -> &'static str;

    /// True if [`Filesystem::used`] can prove what is free; false if volumes
    /// of this kind are always stored whole.
    fn has_used_map(&self) -> bool {
        true
    }

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
}
