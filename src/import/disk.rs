// SPDX-License-Identifier: MIT OR Apache-2.0
//! The disk that comes out of what was imported.

use std::collections::BTreeMap;
use std::path::Path;

use super::assembly::Assembly;
use super::rescued::Rescued;
use super::scratch::Scratch;
use crate::device::{DiskIdentity, Source};
use crate::error::Result;
use crate::extent::ExtentSet;
use crate::image::format::Imported;
use crate::io::ReadAt;
use crate::units::SectorSize;

/// A disk, and what is known of its bytes.
#[derive(Debug)]
pub struct Disk {
    content: Content,
    identity: DiskIdentity,
    imported: Imported,
    /// Ranges that came as they were, used or not.
    pub(super) whole: ExtentSet,
    /// Ranges that another tool chose because they are in use.
    pub(super) chosen: ExtentSet,
    /// Sectors that another tool could not read.
    pub(super) unreadable: ExtentSet,
    /// Ranges of which nothing is there, although they were in use.
    lost: ExtentSet,
    /// Logical volumes that were put in their place, or were never saved, by their
    /// names.
    pub(super) volumes: BTreeMap<String, ExtentSet>,
}

#[derive(Debug)]
enum Content {
    File(Source),
    Rescued(Rescued),
    Scratch(Scratch),
}

impl Disk {
    /// A raw image, read where it is.
    #[must_use]
    pub fn raw(source: Source, imported: Imported) -> Self {
        Self {
            identity: source.identity(),
            imported,
            whole: ExtentSet::all(source.len()),
            chosen: ExtentSet::new(),
            unreadable: ExtentSet::new(),
            lost: ExtentSet::new(),
            volumes: BTreeMap::new(),
            content: Content::File(source),
        }
    }

    /// A drive of which not everything could be read.
    #[must_use]
    pub fn rescued(rescued: Rescued, imported: Imported) -> Self {
        Self {
            identity: DiskIdentity { size: rescued.len(), ..rescued.raw().identity() },
            imported,
            whole: ExtentSet::all(rescued.len()),
            chosen: ExtentSet::new(),
            unreadable: ExtentSet::new(),
            lost: rescued.lost().clone(),
            volumes: BTreeMap::new(),
            content: Content::Rescued(rescued),
        }
    }

    /// A disk that was put together from what is at `path`.
    #[must_use]
    pub fn assembled(assembly: Assembly, path: &Path, imported: Imported) -> Self {
        let Assembly { scratch, whole, chosen, unreadable, lost, volumes } = assembly;
        let sector = scratch.sector_size().get();
        let identity = DiskIdentity {
            path: path.display().to_string(),
            size: scratch.len(),
            logical_sector: sector,
            physical_sector: sector,
            bus: Some("file".into()),
            ..DiskIdentity::default()
        };
        let content = Content::Scratch(scratch);
        Self { content, identity, imported, whole, chosen, unreadable, lost, volumes }
    }

    /// The same disk, with what is known of the device it was.
    #[must_use]
    pub fn with_model(mut self, model: Option<String>) -> Self {
        self.identity.model = model;
        self
    }

    /// What the disk was.
    #[must_use]
    pub const fn identity(&self) -> &DiskIdentity {
        &self.identity
    }

    /// What was imported.
    #[must_use]
    pub const fn imported(&self) -> &Imported {
        &self.imported
    }

    /// The file that is read where it is; `None` of what was unpacked.
    #[must_use]
    pub const fn source(&self) -> Option<&Source> {
        match &self.content {
            Content::File(source) => Some(source),
            Content::Rescued(rescued) => Some(rescued.raw()),
            Content::Scratch(_) => None,
        }
    }

    /// Sectors that the other tool could not read when it saved them. They hold
    /// its marks.
    #[must_use]
    pub const fn unreadable(&self) -> &ExtentSet {
        &self.unreadable
    }

    /// What is not there, whatever it is in the place of.
    #[must_use]
    pub const fn lost(&self) -> &ExtentSet {
        &self.lost
    }

    fn content(&self) -> &dyn ReadAt {
        match &self.content {
            Content::File(source) => source,
            Content::Rescued(rescued) => rescued,
            Content::Scratch(scratch) => scratch,
        }
    }
}

impl ReadAt for Disk {
    fn len(&self) -> u64 {
        self.content().len()
    }

    fn sector_size(&self) -> SectorSize {
        self.content().sector_size()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        self.content().read_at(offset, buf)
    }

    fn known_zeros(&self) -> ExtentSet {
        self.content().known_zeros()
    }
}
