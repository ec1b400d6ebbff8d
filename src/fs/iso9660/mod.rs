// SPDX-License-Identifier: MIT OR Apache-2.0
//! ISO 9660, the filesystem of CDs and of installer images.
//!
//! Read are the volume descriptors of a session (`descriptor`), the path table
//! (`path_table`), and what a machine starts from (`boot_catalog`); `files` reads
//! the folders. All of the volume is stored: it is written once, and full.
//!
//! Specifications: ECMA-119, fourth edition, which is ISO 9660:1999; the Joliet
//! specification; System Use Sharing Protocol and Rock Ridge Interchange
//! Protocol 1.12; "El Torito" 1.0.

pub mod boot_catalog;
mod date;
pub mod descriptor;
mod files;
mod identity;
pub mod path_table;
mod session;

pub use boot_catalog::BootCatalog;
pub use descriptor::{Descriptors, VolumeDescriptor};
pub use session::{Session, sessions};

use super::signature::Volume;
use std::sync::Arc;

use files::IsoFiles;

use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The size of a sector of a disc.
pub const SECTOR: u64 = 2048;

/// The driver of ISO 9660.
#[derive(Debug, Clone, Copy)]
pub struct Iso9660;

impl Filesystem for Iso9660 {
    fn name(&self) -> &'static str {
        "ISO 9660"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("ISO 9660", "written once, and full")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let Some(identity) = identity::identity(&Volume::open(*reader)?)? else {
            return Ok(None);
        };
        // One whose descriptors make no sense is one all the same.
        let end = match Descriptors::read(*reader, 0) {
            Ok(Some(descriptors)) => descriptors.primary.end(),
            _ => 0,
        };
        Ok(Some(identity.ending_at(end, reader.len())))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not an ISO 9660");
        let reader = readers.first().ok_or_else(none)?;
        Ok(Used::whole(
            reader.len(),
            "an ISO 9660 filesystem is written once and full: the image is exact and complete",
        ))
    }

    /// Those of the first session, as Linux has it for what is no drive.
    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        let Some(volume) = readers.first() else { return Ok(None) };
        files_of_session(volume, 0)
    }
}

/// The files of the session that begins at this sector of 2048 bytes; `None` if
/// there is none.
///
/// # Errors
/// Anything that keeps the session from being read at all.
pub fn files_of_session(
    disc: &Arc<dyn ReadAt>,
    session: u64,
) -> Result<Option<Box<dyn Files>>, FormatError> {
    let Some(descriptors) = Descriptors::read(disc.as_ref(), session)? else { return Ok(None) };
    Ok(Some(Box::new(IsoFiles::new(Arc::clone(disc), &descriptors)?)))
}

#[cfg(test)]
mod tests;
