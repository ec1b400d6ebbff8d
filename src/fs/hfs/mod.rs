// SPDX-License-Identifier: MIT OR Apache-2.0
//! HFS, the filesystem of Macs before HFS+, and of installer discs for them:
//! there often beside an ISO 9660 on the same disc.
//!
//! What is read, in order: the master directory block, the extents overflow file
//! and the catalog, which are B-trees (`tree`, `files`). All of the volume is
//! stored. Specification: Apple, "Inside Macintosh: Files", chapter 2, "Data
//! Organization on Volumes" (1992).

mod files;
mod fork;
pub mod master_directory_block;
mod roman;
pub(super) mod tree;
pub(super) mod unclean;

pub use master_directory_block::MasterDirectoryBlock;

use self::files::HfsFiles;
use super::signature::Volume;
use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::ondisk::{FormatError, text};

/// The driver of HFS.
#[derive(Debug, Clone, Copy)]
pub struct Hfs;

impl Filesystem for Hfs {
    fn name(&self) -> &'static str {
        "HFS"
    }

    fn support(&self) -> &'static [Support] {
        const { &[Support::whole("HFS", "name, label and UUID are known")] }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let Some(block) = MasterDirectoryBlock::read(*reader)? else { return Ok(None) };
        let volume = Volume::open(*reader)?;
        let mut identity = volume.identity("HFS", None, None)?;
        identity.label = Some(text(block.name.as_bytes())).filter(|label| !label.is_empty());
        identity.uuid = uuid(&volume)?;
        identity.unclean = block.unclean().map(|unclean| unclean.words().to_owned());
        identity.clean = identity.unclean.is_none();
        Ok(Some(identity.ending_at(block.end(), reader.len())))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not an HFS");
        let reader = readers.first().ok_or_else(none)?;
        Ok(Used::whole(
            reader.len(),
            "the used map of HFS is not supported: the image is exact and complete",
        )
        .advise(super::foreign::FILL))
    }

    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let Some(block) = MasterDirectoryBlock::read(reader.as_ref())? else { return Ok(None) };
        Ok(Some(Box::new(HfsFiles::open(reader, block)?)))
    }
}

/// As macOS and blkid make it of 64 bits of the Finder's.
fn uuid(volume: &Volume) -> Result<Option<String>, FormatError> {
    const NAMESPACE: uuid::Uuid = uuid::Uuid::from_u128(0xb3e2_0f39_f292_11d6_97a4_0030_6543_ecac);
    const FINDER: u64 = master_directory_block::POSITION + 0x74;
    let id = volume.bytes(FINDER, 8)?.filter(|id| id.iter().any(|byte| *byte != 0));
    Ok(id.map(|id| uuid::Uuid::new_v3(&NAMESPACE, &id).to_string()))
}

#[cfg(test)]
mod tests;
