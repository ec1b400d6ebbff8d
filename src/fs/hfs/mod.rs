// SPDX-License-Identifier: MIT OR Apache-2.0
//! HFS, the filesystem of Macs before HFS+, and of installer discs for them:
//! there often beside an ISO 9660 on the same disc.
//!
//! What is read, in order: the master directory block; its copy at the end; the
//! volume bitmap (`used`); the extents overflow file and the catalog, which are
//! B-trees (`tree`, `files`). Specification: Apple, "Inside Macintosh: Files",
//! chapter 2, "Data Organization on Volumes" (1992).
//!
//! A volume that was not unmounted has no proven map. Neither has a disc for
//! others, too: what is HFS on it is one of its files, as far as these know.

pub(super) mod balance;
mod files;
mod fork;
pub mod master_directory_block;
mod record;
mod roman;
pub(super) mod tree;
mod trees;
pub(super) mod unclean;
mod used;

pub use master_directory_block::MasterDirectoryBlock;

use self::files::HfsFiles;
use super::signature::Volume;
use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::ondisk::{FormatError, text};

/// The extended attribute as which macOS shows what the Finder keeps.
pub(super) const FINDER_INFO: &[u8] = b"com.apple.FinderInfo";

/// The driver of HFS.
#[derive(Debug, Clone, Copy)]
pub struct Hfs;

impl Filesystem for Hfs {
    fn name(&self) -> &'static str {
        "HFS"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks("HFS", "bitmap united with the extents of all files"),
                Support::whole("HFS that was not ejected", "its bitmap may be behind its files"),
            ]
        }
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
        // On a disc there may be no room for the copy behind the last block.
        let blocks = block.blocks(0, block.block_count).end();
        let end = if blocks > reader.len() { blocks } else { block.end().min(reader.len()) };
        Ok(Some(identity.ending_at(end, reader.len())))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let none = || FormatError::unsupported("not an HFS");
        let reader = readers.first().ok_or_else(none)?;
        let block = MasterDirectoryBlock::read(*reader)?.ok_or_else(none)?;
        if block.end() > reader.len() || block.block_count == 0 {
            return Err(FormatError::corrupt(
                "size of the HFS",
                master_directory_block::POSITION,
                format!("at most the {} bytes of the volume", reader.len()),
                block.end(),
            ));
        }
        block.check_supported()?;
        if let Some(why) = block.unclean() {
            return Ok(Used::whole(reader.len(), why.sentence()).advise(super::foreign::FILL));
        }
        block.check_copy(*reader)?;
        let map = used::map(*reader, &block)?;
        let mut used = Used::proven(map.extents);
        if map.unmarked {
            used = used.note("files have blocks that the bitmap calls free: they are stored, too");
        }
        if block.has_bad_blocks() {
            used = used.note("the volume has a list of bad blocks");
        }
        Ok(used)
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
pub(super) mod tests;
