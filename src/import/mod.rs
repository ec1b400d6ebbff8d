// SPDX-License-Identifier: MIT OR Apache-2.0
//! Disks out of what other tools have saved.
//!
//! What is given is recognised by its content. Most of it can only be read
//! front to back, so it is unpacked into a [`scratch`] file, which stands for
//! the disk, and is checked on the way; [`assembly`] keeps what is known of
//! each byte. That disk is then looked at and saved as any other, except that
//! [`missing`] compares what is in use with what the old image had.
//!
//! | what | read by |
//! |---|---|
//! | a raw image, also compressed | [`input`], [`compression`] |
//! | a raw image with a mapfile of GNU ddrescue | [`rescued`] |
//! | Partclone | [`partclone`] |
//! | ntfsclone's special format | [`ntfsclone`] |
//! | Partimage 0.6 | [`partimage`] |
//! | Clonezilla's folders | [`clonezilla`] |
//! | qcow2, vhdx, vmdk, vdi, vhd | [`virtual_disk`], by qemu-img |

#![warn(clippy::arithmetic_side_effects, clippy::as_conversions)]

pub mod assembly;
pub mod clonezilla;
pub mod compression;
pub mod container;
pub mod disk;
pub mod ending;
pub mod foreign;
pub mod input;
pub mod lz4;
pub mod missing;
pub mod ntfsclone;
pub mod old;
pub mod partclone;
pub mod partimage;
pub mod rescued;
pub mod scratch;
#[cfg(test)]
mod tests;
pub mod virtual_disk;

pub use disk::Disk;
pub use old::Old;

use std::path::{Path, PathBuf};

use crate::device::{Source, check_source};
use crate::error::{Error, Result};
use crate::extent::Extent;
use crate::image::format::{Imported, MAX_DISK_LEN, SKIPPABLE_MAGIC, TAG_HEAD};
use crate::pipeline::Cancel;
use crate::progress::{Progress, Silent};
use crate::units::SectorSize;

use assembly::Assembly;
use compression::Compression;
use input::{Input, Stream};
use rescued::Rescued;

/// What is to be imported, recognised.
#[derive(Debug)]
pub struct Found {
    path: PathBuf,
    sector: SectorSize,
    imported: Imported,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// A raw image, read where it is.
    Raw(Source),
    /// One of a drive that could not be read everywhere.
    Rescued(Rescued),
    /// A file of another kind, perhaps in pieces.
    File(Input),
    /// A folder of Clonezilla.
    Clonezilla(Box<clonezilla::Folder>),
    /// The disk of a virtual machine.
    Virtual(virtual_disk::Virtual),
}

/// What unpacking takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// The most bytes of the temporary file; `None` if nobody knows before.
    pub most: Option<u64>,
    /// Its length, which it takes where holes in a file take room as well.
    pub full: Option<u64>,
}

impl Found {
    /// Finds out what `path` is; a raw image has sectors of `sector`, of a
    /// folder `disk` is meant.
    ///
    /// # Errors
    /// If it is nothing that can be imported.
    pub fn open(
        path: &Path,
        sector: SectorSize,
        disk: Option<&str>,
        cancel: &Cancel,
    ) -> Result<Self> {
        if clonezilla::is_folder(path) {
            let folder = clonezilla::Folder::open(path, disk, cancel)?;
            let mut imported = folder.describe();
            imported.path = path.display().to_string();
            let kind = Kind::Clonezilla(Box::new(folder));
            return Ok(Self { path: path.to_owned(), sector, imported, kind });
        }
        if path.is_dir() {
            return Err(Error::usage(format!("{} is no folder of Clonezilla", path.display()))
                .hint("such a folder has a file 'disk' or 'parts'; give the files of others"));
        }
        if disk.is_some() {
            return Err(Error::usage("--disk is for folders of Clonezilla"));
        }
        let input = Input::open(path)?;
        if input.is_empty() {
            return Err(Error::damaged(format!("{} is empty", path.display())));
        }
        refuse_own(&input)?;
        if let [only] = input.pieces() {
            check_source(only)?;
        }
        if let Some(found) = virtual_disk::Virtual::open(path, &input, cancel)? {
            let mut imported = found.describe();
            imported.path = path.display().to_string();
            return Ok(Self {
                path: path.to_owned(),
                sector,
                imported,
                kind: Kind::Virtual(found),
            });
        }
        let compression = input.compression()?;
        let mut stream = input.stream(cancel, &Silent)?;
        let old = Old::read(&mut stream)?;
        let mut imported = old.describe();
        imported.path = path.display().to_string();
        imported.compression = compression.name().map(str::to_owned);
        if let Some(name) = compression.name()
            && old == Old::Raw
            && !compression.is_checked(&input.head()?)
        {
            imported.notes.push(format!(
                "{name} wrote no checksums: damage in the compressed data may not be noticed"
            ));
        }
        if let [first, .., last] = input.pieces() {
            imported.notes.push(format!(
                "{} files were joined to {} bytes: {} to {}",
                input.pieces().len(),
                input.len(),
                first.display(),
                last.display()
            ));
        }
        let is_plain =
            old == Old::Raw && compression == Compression::None && input.pieces().len() == 1;
        drop(stream);
        let kind = if is_plain {
            check_raw_len(input.name(), input.len())?;
            let source = Source::open_with_sector_size(path, sector)?;
            container::refuse_tail(&source, input.name())?;
            Kind::Raw(source)
        } else {
            Kind::File(input)
        };
        Ok(Self { path: path.to_owned(), sector, imported, kind })
    }

    /// The same, as a drive of which only that is there which a mapfile of GNU
    /// ddrescue calls finished.
    ///
    /// # Errors
    /// Usage if it is no raw image; as [`Rescued::new`].
    pub fn with_mapfile(self, map: &Path) -> Result<Self> {
        let Self { path, sector, mut imported, kind } = self;
        let Kind::Raw(source) = kind else {
            return Err(Error::usage(format!(
                "--mapfile is for raw images, and {} is: {}",
                path.display(),
                imported.title()
            )));
        };
        let rescued = Rescued::new(source, map)?;
        imported.notes.push(format!(
            "{} bytes of the drive were not read, according to the mapfile {}",
            rescued.lost().bytes(),
            map.display()
        ));
        Ok(Self { path, sector, imported, kind: Kind::Rescued(rescued) })
    }

    /// What it is.
    #[must_use]
    pub const fn imported(&self) -> &Imported {
        &self.imported
    }

    /// How much is read to unpack it: the length of the files.
    #[must_use]
    pub fn len(&self) -> u64 {
        match &self.kind {
            Kind::Raw(_) | Kind::Rescued(_) => 0,
            Kind::File(input) => input.len(),
            Kind::Clonezilla(folder) => folder.len(),
            Kind::Virtual(found) => found.len(),
        }
    }

    /// True if nothing has to be unpacked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What unpacking takes; `None` if it is read where it is.
    ///
    /// # Errors
    /// If a head cannot be read.
    pub fn room(&self) -> Result<Option<Room>> {
        match &self.kind {
            Kind::Raw(_) | Kind::Rescued(_) => Ok(None),
            Kind::File(input) => {
                let cancel = Cancel::default();
                let old = Old::read(&mut input.stream(&cancel, &Silent)?)?;
                Ok(Some(Room { most: old.stored_len(), full: old.len() }))
            }
            Kind::Clonezilla(folder) => {
                Ok(Some(Room { most: folder.stored_len(), full: Some(folder.disk_len()) }))
            }
            Kind::Virtual(found) => Ok(Some(Room { most: None, full: Some(found.disk_len()) })),
        }
    }

    /// Unpacks it, if need be into a temporary file in `folder`, and checks all
    /// that can be checked.
    ///
    /// # Errors
    /// Damaged, if something is wrong with it; if there is no room.
    pub fn unpack(self, folder: &Path, cancel: &Cancel, progress: &dyn Progress) -> Result<Disk> {
        let Self { path, sector, mut imported, kind } = self;
        match kind {
            Kind::Raw(source) => {
                imported.notes.extend(ending::refuse_cut(&source, source.path())?);
                Ok(Disk::raw(source, imported))
            }
            Kind::Rescued(rescued) => Ok(Disk::rescued(rescued, imported)),
            Kind::File(input) => {
                progress.stage("unpacking", input.len());
                let mut stream = input.stream(cancel, progress)?;
                let (assembly, notes) = unpack_alone(&mut stream, folder, sector)?;
                imported.notes.extend(notes);
                Ok(Disk::assembled(assembly, &path, imported))
            }
            Kind::Clonezilla(found) => {
                progress.stage("unpacking", found.len());
                let assembly = found.unpack(folder, cancel, progress)?;
                Ok(Disk::assembled(assembly, &path, imported).with_model(found.model()))
            }
            Kind::Virtual(found) => {
                progress.stage("unpacking", found.len());
                let assembly = found.unpack(folder, sector, cancel)?;
                progress.advance(found.len());
                Ok(Disk::assembled(assembly, &path, imported))
            }
        }
    }
}

/// Unpacks an old image that is all of what is imported; and what is to be told of it.
fn unpack_alone(
    stream: &mut Stream<'_>,
    folder: &Path,
    sector: SectorSize,
) -> Result<(Assembly, Vec<String>)> {
    let old = Old::read(stream)?;
    let len = old.len();
    let mut assembly = Assembly::new(folder, len.unwrap_or(0), sector)?;
    let extent = Extent::new(0, len.unwrap_or(MAX_DISK_LEN));
    let done = old.unpack(stream, &mut assembly.place(extent, old.is_whole()))?;
    let mut notes = Vec::new();
    if len.is_none() {
        check_raw_len(stream.name(), done)?;
        assembly.scratch.set_len(done)?;
        container::refuse_tail(&assembly.scratch, stream.name())?;
        notes = ending::refuse_cut(&assembly.scratch, stream.name())?;
    }
    Ok((assembly, notes))
}

/// A raw image has whole sectors.
fn check_raw_len(name: &str, len: u64) -> Result<()> {
    if len > 0 && len.is_multiple_of(SectorSize::B512.bytes()) {
        return Ok(());
    }
    Err(Error::damaged(format!(
        "{name} is no known kind of image, and its {len} bytes are no whole number of sectors, \
         as those of a raw image would be"
    ))
    .hint("it is something else, or was cut off"))
}

/// Refuses what is one of this program's own images.
fn refuse_own(input: &Input) -> Result<()> {
    let head = input.head()?;
    let magic = SKIPPABLE_MAGIC.to_le_bytes();
    if !(head.starts_with(&magic) && head.ends_with(&TAG_HEAD)) {
        return Ok(());
    }
    Err(Error::usage(format!("{} is an image of dacapo already", input.name()))
        .hint("it needs no import: restore, verify, info and the others take it as it is"))
}
