// SPDX-License-Identifier: MIT OR Apache-2.0
//! UDF, the filesystem of DVDs, Blu-ray discs, and of anything that a disc
//! recorder writes files to.
//!
//! Read in this order: the volume recognition sequence (`recognition`), the
//! anchors (`anchor`), and the volume descriptors (`descriptor`), each with a
//! tag that has a checksum and a CRC (`tag`). What a block of a partition is on
//! the disc says `space`, and `files` reads the folders. All of the volume is
//! stored.
//!
//! A disc that is a UDF and an ISO 9660 as well is a UDF here, as `blkid` and so
//! `mount`, Windows and macOS have it.
//!
//! Specifications: ECMA-167, third edition; OSTA "Universal Disk Format
//! Specification" 1.02 to 2.60.

pub mod anchor;
pub mod descriptor;
mod files;
mod identity;
pub mod partition;
pub mod recognition;
mod space;
pub mod tag;
mod text;
mod time;

pub use anchor::{Anchor, anchors};
pub use descriptor::Descriptors;
pub use recognition::Recognition;

use std::sync::Arc;

use files::UdfFiles;

use super::signature::Volume;
use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::extent::Extent;
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

/// The driver of UDF.
#[derive(Debug, Clone, Copy)]
pub struct Udf;

impl Filesystem for Udf {
    fn name(&self) -> &'static str {
        "UDF"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("UDF", "name, label and UUID are known")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        if Recognition::read(*reader)?.version().is_none() {
            return Ok(None);
        }
        let volume = Volume::open(*reader)?;
        let mut identity = volume.identity("UDF", None, None)?;
        (identity.label, identity.uuid) = identity::names(&volume)?;
        let Ok(Some(descriptors)) = Descriptors::read(*reader) else { return Ok(Some(identity)) };
        if descriptors.integrity.as_ref().is_some_and(|integrity| !integrity.is_closed) {
            identity.clean = false;
            identity.unclean = Some("not unmounted".to_owned());
        }
        Ok(Some(identity.ending_at(descriptors.end(), reader.len())))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not a UDF");
        let reader = readers.first().ok_or_else(none)?;
        Ok(Used::whole(
            reader.len(),
            "the used map of UDF is not supported: the image is exact and complete",
        ))
    }

    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        readers.first().map(|volume| files_of(Arc::clone(volume))).transpose()
    }
}

/// The files of a volume, for as long as it is there.
///
/// # Errors
/// As [`Filesystem::files`].
pub fn files_of<'v>(volume: Arc<dyn ReadAt + 'v>) -> Result<Box<dyn Files + 'v>, FormatError> {
    let Some(descriptors) = Descriptors::read(volume.as_ref())? else {
        let (expected, found) = ("an anchor at one of its places", "none");
        return Err(FormatError::corrupt("volume descriptors", 0, expected, found));
    };
    Ok(Box::new(UdfFiles::new(volume, &descriptors)?))
}

/// The bytes of an extent descriptor: a length in bytes and a block of the disc
/// (ECMA-167, 3/7.1).
fn extent_ad(bytes: &[u8], offset: usize, block_size: u32) -> Extent {
    let len = bytes.u32_le(offset).unwrap_or(0);
    let block = bytes.u32_le(offset.saturating_add(4)).unwrap_or(0);
    Extent::at(u64::from(block).saturating_mul(block_size.into()), len.into())
}

#[cfg(test)]
mod tests;
