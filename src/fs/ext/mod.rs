// SPDX-License-Identifier: MIT OR Apache-2.0
//! ext2, ext3 and ext4.
//!
//! What is read, in order: the superblock at byte 1024; the group descriptors;
//! the multiple mount protection block; the inode of the journal, its map and
//! the journal's superblock; if the journal has to be replayed, the journal;
//! the block bitmaps of all groups that have one. Nothing else: no directory,
//! no file. The structures are described in the kernel's documentation,
//! "ext4 Data Structures and Algorithms" and "Journal (jbd2)".
//!
//! Everything that two structures say is compared: checksums, counts of free
//! blocks, metadata against bitmaps. One contradiction, and nothing is free.

mod checksum;
mod dirty;
mod fast_commit;
mod features;
mod files;
mod geometry;
mod group;
mod inode;
mod journal;
mod mmp;
mod replay;
mod superblock;
#[cfg(test)]
mod tests;
mod used;
mod volume;

use self::dirty::Disk;
use self::features::INCOMPAT_JOURNAL_DEV;
use self::group::Trust;
use self::superblock::Superblock;
use self::volume::Volume;
use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::error::{Context, Error};
use crate::extent::{Extent, ExtentSet};
use crate::io::ReadAt;
use crate::ondisk::FormatError;

/// The driver of ext2, ext3 and ext4.
#[derive(Debug, Clone, Copy)]
pub struct Ext;

impl Filesystem for Ext {
    fn name(&self) -> &'static str {
        "ext2/3/4"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks("ext2, ext3, ext4", "by an exact list of features"),
                Support::used_blocks(
                    "ext3, ext4 with a journal that was not replayed",
                    "what a mount would recover is stored, too",
                ),
                Support::whole(
                    "ext4 with fast commits to replay, errors, an external journal, or unknown \
                 features",
                    "",
                ),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let Some(bytes) = read_superblock(*reader)? else { return Ok(None) };
        Ok(superblock::identity(&bytes))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let reader = readers.first().ok_or_else(|| Error::failed("there is no volume to read"))?;
        used(*reader)
    }

    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        files::open(readers)
    }
}

/// What the driver knows of a filesystem.
enum Answer {
    /// What is in use, and what else a person should know.
    Map(ExtentSet, Vec<String>),
    /// Why nothing is proven to be free.
    Whole(String),
}

/// The bytes of the superblock; `None` if the volume ends before.
fn read_superblock(reader: &dyn ReadAt) -> Result<Option<Vec<u8>>, FormatError> {
    // From the start of the volume, so that the read is aligned.
    let mut bytes = vec![0; superblock::LEN.saturating_mul(2)];
    if reader.len() < u64::try_from(bytes.len()).unwrap_or(u64::MAX) {
        return Ok(None);
    }
    reader
        .read_at(0, &mut bytes)
        .context(|| format!("reading the superblock at byte {:#x}", superblock::POSITION))?;
    Ok(Some(bytes.split_off(superblock::LEN)))
}

fn used(reader: &dyn ReadAt) -> Result<Used, FormatError> {
    let len = reader.len();
    let bytes = read_superblock(reader)?.ok_or_else(|| {
        FormatError::corrupt("superblock", superblock::POSITION, "1024 bytes", "the volume's end")
    })?;
    if superblock::features(&bytes)?.has_incompat(INCOMPAT_JOURNAL_DEV) {
        return Ok(Used::whole(len, "it is the journal of a filesystem on another device"));
    }
    let superblock = Superblock::parse(&bytes, len)?;
    if let Some(why) = superblock.distrust() {
        return Ok(Used::whole(len, why));
    }
    if superblock.journal_is_external {
        // Only the other device knows whether it holds transactions; that the
        // superblock does not ask for a replay is one witness where two are usual.
        return Ok(Used::whole(len, "its journal is on another device: save that, too"));
    }
    let volume = Volume::new(reader, &superblock.geometry);
    Ok(match answer(volume, &superblock, len)? {
        Answer::Map(extents, notes) => Used { notes, ..Used::proven(extents) },
        Answer::Whole(why) => Used::whole(len, why),
    })
}

fn answer(volume: Volume, superblock: &Superblock, len: u64) -> Result<Answer, FormatError> {
    let trust = if superblock.needs_recovery() { Trust::Before } else { Trust::Clean };
    let groups = group::read(&volume, superblock, trust)?;
    let mmp = mmp::read(&volume, superblock)?;
    if let Some(why) = mmp.in_use {
        return Ok(Answer::Whole(why));
    }
    let mut required = group::metadata(&volume, &groups)?;
    claim(&mut required, "mmp block", [mmp.extent])?;
    // Where they belong to an inode, the bitmaps have to mark them.
    if superblock.geometry.has_resize_inode {
        let reserved = group::reserved_descriptors(&volume);
        claim(&mut required, "reserved group descriptors", reserved.iter())?;
    }
    let mut inside = None;
    if superblock.has_journal() {
        let file = inode::read(&volume, superblock, &groups, superblock.journal_inode)?;
        let blocks = file.all().map(|(first, count)| volume.extent(first, count));
        claim(&mut required, "journal", blocks)?;
        let journal = journal::read(&volume, &file)?;
        if journal.has_error {
            let why = "errors are recorded in the journal: run e2fsck on it";
            return Ok(Answer::Whole(why.to_owned()));
        }
        inside = Some((file, journal));
    }

    let disk = Disk { volume, superblock, groups: &groups, required: &required, len };
    let answer = match inside {
        Some((file, journal)) if superblock.needs_recovery() => disk.map(&file, &journal)?,
        Some((_, journal)) if journal.start != 0 => {
            // The kernel would forget what is in the journal, e2fsck would replay it.
            let why = "its superblock says that the journal is empty, and the journal says that \
                       it is not: run e2fsck on it";
            Answer::Whole(why.to_owned())
        }
        None if superblock.needs_recovery() => {
            let expected = "a journal, as it has to be replayed";
            let position = superblock::POSITION;
            return Err(FormatError::corrupt("s_feature_incompat", position, expected, "none"));
        }
        _ => Answer::Map(disk.source(Trust::Clean).map()?.into_set(), Vec::new()),
    };
    Ok(match answer {
        Answer::Map(map, notes) => {
            Answer::Map(map.union(&required).union(&outside(&volume, len)), notes)
        }
        whole @ Answer::Whole(_) => whole,
    })
}

/// Adds extents that nothing else may claim.
fn claim(
    required: &mut ExtentSet,
    what: &'static str,
    extents: impl IntoIterator<Item = Extent>,
) -> Result<(), FormatError> {
    let extents: Vec<Extent> = extents.into_iter().collect();
    for extent in &extents {
        if required.touches(*extent) {
            return Err(FormatError::corrupt(
                what,
                extent.start(),
                "blocks of its own",
                format!("blocks of other metadata in bytes {extent}"),
            ));
        }
    }
    required.extend(extents);
    Ok(())
}

/// What no bitmap speaks of: the boot sector, blocks reserved for descriptors,
/// and what lies behind the end of the filesystem.
fn outside(volume: &Volume, len: u64) -> ExtentSet {
    let geometry = volume.geometry();
    let boot = volume.extent(0, geometry.superblock_block().saturating_add(1));
    let tail = Extent::new(geometry.size(), len);
    let mut set = group::reserved_descriptors(volume);
    set.extend([boot, tail]);
    set
}
