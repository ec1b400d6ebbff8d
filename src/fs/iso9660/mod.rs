// SPDX-License-Identifier: MIT OR Apache-2.0
//! ISO 9660, the filesystem of CDs and of installer images.
//!
//! Read are the volume descriptors of a session (`descriptor`), the path table
//! (`path_table`), and what a machine starts from (`boot_catalog`). All of the
//! volume is stored: it is written once, and full.
//!
//! Specifications: ECMA-119, fourth edition, which is ISO 9660:1999; the Joliet
//! specification; System Use Sharing Protocol and Rock Ridge Interchange
//! Protocol 1.12; "El Torito" 1.0.

pub mod boot_catalog;
mod date;
pub mod descriptor;
mod identity;
pub mod path_table;
mod session;

pub use boot_catalog::BootCatalog;
pub use descriptor::{Descriptors, VolumeDescriptor};
pub use session::{Session, sessions};

use super::signature::Volume;
use super::{Filesystem, Identity, Readers, Support, Used};
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
        identity::identity(&Volume::open(*reader)?)
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not an ISO 9660");
        let reader = readers.first().ok_or_else(none)?;
        Ok(Used::whole(
            reader.len(),
            "an ISO 9660 filesystem is written once and full: the image is exact and complete",
        ))
    }
}

#[cfg(test)]
mod tests;
