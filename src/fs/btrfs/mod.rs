// SPDX-License-Identifier: MIT OR Apache-2.0
//! btrfs, on one device or several.
//!
//! What is read, in order: the superblocks of all devices; the system chunks
//! in the superblock, and with them the chunk tree; the tree of roots; the
//! device tree; the block group tree, if there is one; the extent tree and,
//! beside it, the free space tree; and, if there is something to replay, the
//! log trees. No file and no folder. The structures are described in "On-disk
//! Format" and "Btrees" of the btrfs documentation.
//!
//! Trees speak of logical addresses; the chunks tell where those are on which
//! device. The map is that of the device that is asked about. Space between
//! chunks is free, except for the first MiB and the superblocks.
//!
//! Not kept on purpose is what only older commits need: a mount that follows
//! one of the backup roots (`rescue=usebackuproot`) is an attempt even on the
//! original, since blocks that a commit has freed may be overwritten at once.

mod checksum;
mod chunk;
mod devices;
mod extents;
mod files;
mod free_space;
mod log;
mod superblock;
#[cfg(test)]
mod tests;
mod tree;
mod used;

use self::devices::{Found, GIVE_ALL};
use self::superblock::{POSITIONS, Superblock};
use self::used::{Answer, Scope};
use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::ondisk::FormatError;

/// The driver of btrfs.
#[derive(Debug, Clone, Copy)]
pub struct Btrfs;

impl Filesystem for Btrfs {
    fn name(&self) -> &'static str {
        "btrfs"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks(
                    "btrfs on one device",
                    "all profiles, checksums and compressions, snapshots, quotas, free space \
                     tree, block group tree",
                ),
                Support::used_blocks(
                    "btrfs with a log that was not replayed",
                    "what a mount would replay is stored, too",
                ),
                Support::used_blocks(
                    "btrfs on several devices, all of them at hand",
                    "RAID0, 1, 1C3, 1C4, 10, 5, 6 and mixtures",
                ),
                Support::used_blocks(
                    "btrfs on several devices, one of them alone",
                    "all that is allocated to chunks on it, used or not",
                ),
                Support::whole(
                    "btrfs with seed devices, zones, extent-tree-v2, raid-stripe-tree, \
                     remap-tree, simple quota, a device being replaced, or recorded errors",
                    "",
                ),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let Some(bytes) = superblock::read(*reader, POSITIONS[0])? else { return Ok(None) };
        Superblock::parse(bytes, POSITIONS[0]).map(|superblock| Some(superblock.identity()))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let position = POSITIONS[0];
        let reader = readers
            .first()
            .ok_or_else(|| FormatError::unsupported("there is no volume to read"))?;
        let bytes = superblock::read(*reader, position)?
            .ok_or_else(|| FormatError::corrupt("superblock", position, "its magic", "none"))?;
        let superblock = Superblock::parse(bytes, position)?;
        let len = reader.len();
        if let Some(why) = superblock.distrust() {
            return Ok(Used::whole(len, why));
        }
        let (devices, words) = match devices::find(readers, superblock)? {
            Found::All(devices, notes) => (devices, notes),
            Found::Some(devices, notes) => {
                let whole = |why| {
                    let why = format!("{why}; the image of it is exact and complete");
                    Used::whole(len, why).advise(GIVE_ALL)
                };
                return Ok(match used::map(&devices, len, Scope::Chunks) {
                    Ok(Answer::Map(extents, _)) => {
                        Used { notes, ..Used::proven(extents) }.advise(GIVE_ALL)
                    }
                    Ok(Answer::Whole(why)) => whole(why),
                    Err(error) => whole(format!("without its other devices, {error}")),
                });
            }
            Found::Whole(why, None) => return Ok(Used::whole(len, why)),
            Found::Whole(why, Some(advice)) => return Ok(Used::whole(len, why).advise(advice)),
        };
        Ok(match used::map(&devices, len, Scope::Extents)? {
            Answer::Map(extents, mut notes) => {
                notes.extend(words);
                Used { notes, ..Used::proven(extents).spare(used::unclaimed()) }
            }
            Answer::Whole(why) => Used::whole(len, why),
        })
    }

    fn absent(&self, readers: Readers) -> Option<String> {
        devices::absent(readers)
    }

    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        files::open(readers)
    }
}
