// SPDX-License-Identifier: MIT OR Apache-2.0
//! APFS.
//!
//! Read in this order: the superblock in block 0, which is a copy and may be an
//! old one; the newest superblock in the checkpoint descriptor area, and all
//! that its checkpoint consists of (`checkpoint`); the space manager with the
//! bitmaps of all chunks (`spaceman`); the free queues, whose blocks older
//! checkpoints still have (`free_queue`). The checkpoint areas and the internal
//! pool, where the bitmaps themselves are, are always in use as a whole, and so
//! is whatever is behind the container.
//!
//! APFS never writes over what a checkpoint has, so the map of the newest one
//! is right after a power cut, too: a mount goes on from there. What snapshots
//! hold, and encrypted volumes, are marked as everything else is; no key is
//! needed.
//!
//! The bitmaps have no checksums. They are believed only if every count is
//! right, and if they mark what object maps, volumes, snapshots and files say
//! must be in use (`volumes`).
//!
//! Files (`files`) are read of volumes that are not encrypted, as the newest
//! checkpoint has them.
//!
//! Specification: Apple, "Apple File System Reference", 2020-06-22.

mod btree;
mod checkpoint;
mod files;
mod free_queue;
mod object;
mod spaceman;
mod superblock;
mod used;
mod volumes;

use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::io::{ReadAt, read_vec};
use crate::ondisk::FormatError;
use superblock::Superblock;

/// The driver of APFS.
#[derive(Debug, Clone, Copy)]
pub struct Apfs;

impl Filesystem for Apfs {
    fn name(&self) -> &'static str {
        "APFS"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks(
                    "APFS",
                    "one container with all of its volumes and snapshots, encrypted ones, too",
                ),
                Support::whole("APFS on a Fusion drive", "one container on two disks"),
                Support::whole(
                    "APFS with unknown features, damage, or while it is shrunk",
                    "the reason is shown",
                ),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some((volume, superblock)) = open(readers)? else { return Ok(None) };
        let uuid = uuid::Uuid::from_bytes(superblock.uuid);
        let mut identity = Identity {
            name: "APFS".to_owned(),
            label: None,
            uuid: (!uuid.is_nil()).then(|| uuid.to_string()),
            size: superblock.size(),
            clean: true,
            unclean: None,
        };
        if superblock.is_fusion() || superblock.doubt().is_some() {
            return Ok(Some(identity));
        }
        if superblock.size() > volume.len() {
            identity.unclean = Some("larger than its partition".to_owned());
        } else {
            match used::summary(volume, &superblock) {
                Ok(summary) => {
                    let label = summary.names.join(", ");
                    identity.label = Some(label).filter(|label| !label.is_empty());
                    identity.unclean = (!summary.is_unmounted).then(|| "not unmounted".to_owned());
                }
                Err(FormatError::Corrupt { .. }) => {
                    identity.unclean = Some("its newest checkpoint is damaged".to_owned());
                }
                // Names are for people only: a block that cannot be read shows
                // when it matters.
                Err(_) => {}
            }
        }
        identity.clean = identity.unclean.is_none();
        Ok(Some(identity))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let (volume, superblock) =
            open(readers)?.ok_or_else(|| FormatError::unsupported("not an APFS container"))?;
        used::map(volume, &superblock)
    }

    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let Some((_, superblock)) = open(&[reader.as_ref()])? else { return Ok(None) };
        Ok(Some(Box::new(files::ApfsFiles::open(reader, &superblock)?)))
    }
}

/// The volume that is asked about, and the superblock in its first block.
fn open<'a>(readers: Readers<'a>) -> Result<Option<(&'a dyn ReadAt, Superblock)>, FormatError> {
    const HEAD: usize = 4096;
    let Some(volume) = readers.first().filter(|volume| volume.len() >= 4096) else {
        return Ok(None);
    };
    let head = read_vec(*volume, 0, HEAD)?;
    let Some(size) = Superblock::block_size(&head) else { return Ok(None) };
    let len = usize::try_from(size).ok().filter(|_| Superblock::is_block_size(size));
    let len = len.filter(|_| size <= volume.len()).ok_or_else(|| {
        FormatError::corrupt("nx_block_size", 0x24, "4096 to 65536 bytes, a power of two", size)
    })?;
    let block = read_vec(*volume, 0, len)?;
    Superblock::parse(&block, 0).map(|superblock| Some((*volume, superblock)))
}

#[cfg(test)]
mod tests;
