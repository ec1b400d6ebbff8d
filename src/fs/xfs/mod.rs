// SPDX-License-Identifier: MIT OR Apache-2.0
//! XFS.
//!
//! What is read, in order: the superblock at byte 0; the end of the log, to see
//! whether it has to be replayed, and if so, the log; of every allocation group the copy of the
//! superblock, AGF, AGI and AGFL; both trees of free space, whole. Nothing
//! else: no folder, no file. The structures are described in "XFS Algorithms &
//! Data Structures" and in the kernel's `xfs_format.h` and `xfs_log_format.h`.
//!
//! Everything that two structures say is compared: checksums, identifiers,
//! counts, neighbours, and the two trees with each other. One contradiction,
//! and nothing is free.

mod btree;
mod checksum;
mod dirty;
mod features;
mod files;
mod group;
mod log;
mod recovery;
mod replay;
mod superblock;
#[cfg(test)]
mod tests;
mod used;
mod volume;

use self::log::Log;
use self::superblock::Superblock;
use self::volume::{Block, Volume};
use super::runs::Runs;
use super::{Files, Filesystem, Identity, Readers, SharedReaders, Support, Used};
use crate::error::{Context, Error};
use crate::extent::ExtentSet;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// The driver of XFS.
#[derive(Debug, Clone, Copy)]
pub struct Xfs;

const NOT_REPLAYED: &str = "log not replayed";

impl Filesystem for Xfs {
    fn name(&self) -> &'static str {
        "XFS"
    }

    fn support(&self) -> &'static [Support] {
        const {
            &[
                Support::used_blocks("XFS", "version 4 and 5, by an exact list of features"),
                Support::used_blocks(
                    "XFS version 5 with a log that was not replayed",
                    "what a mount would recover is stored, too",
                ),
                Support::whole(
                    "XFS version 4 with a log that was not replayed",
                    "it does not say what in the log is newer than the disk",
                ),
                Support::whole(
                    "XFS with a log on another device, unknown features, or marked for repair",
                    "",
                ),
            ]
        }
    }

    fn probe(&self, readers: Readers) -> Result<Option<Identity>, FormatError> {
        let Some(reader) = readers.first() else { return Ok(None) };
        let Some(block) = read_superblock(*reader)? else { return Ok(None) };
        let (label, uuid, size) = superblock::identity(&block.bytes);
        let unclean = match state(*reader, &block) {
            Ok(unclean) => unclean,
            Err(error @ FormatError::Io(_)) => return Err(error),
            Err(FormatError::Unsupported(_)) => None,
            Err(FormatError::Corrupt { .. }) => Some("damaged"),
        };
        Ok(Some(Identity {
            name: "XFS".to_owned(),
            label,
            uuid,
            size: size.unwrap_or_else(|| reader.len()),
            clean: unclean.is_none(),
            unclean: unclean.map(str::to_owned),
        }))
    }

    fn used(&self, readers: Readers) -> Result<Used, FormatError> {
        let reader = readers.first().ok_or_else(|| Error::failed("there is no volume to read"))?;
        used(*reader)
    }

    fn files(&self, readers: SharedReaders) -> Result<Option<Box<dyn Files>>, FormatError> {
        files::open(readers)
    }
}

/// The superblock's sector; `None` if there is none.
fn read_superblock(reader: &dyn ReadAt) -> Result<Option<Block>, FormatError> {
    let read = |len: u64| {
        let size = usize::try_from(len.min(reader.len())).unwrap_or(0);
        read_vec(reader, 0, size).context(|| "reading the superblock at byte 0x0".to_owned())
    };
    let block = |bytes| Block { position: 0, bytes, is_replayed: false };
    if reader.len() < superblock::LEN {
        return Ok(None);
    }
    let first = block(read(superblock::LEN)?);
    if first.bytes.bytes_at(0, 4) != Some(superblock::MAGIC.as_slice()) {
        return Ok(None);
    }
    // The checksum is over a whole sector.
    match superblock::sector_size(&first) {
        Ok(size) if size > superblock::LEN => Ok(Some(block(read(size)?))),
        _ => Ok(Some(first)),
    }
}

/// Why it is not clean, if it is not.
fn state(reader: &dyn ReadAt, block: &Block) -> Result<Option<&'static str>, FormatError> {
    let superblock = Superblock::parse(block, reader.len())?;
    if superblock.geometry.features.needs_repair {
        return Ok(Some("marked for repair"));
    }
    if superblock.geometry.log_start == 0 {
        return Ok(None);
    }
    let volume = Volume::new(reader, &superblock.geometry);
    let head = Log::new(&volume).head()?;
    Ok((!head.is_clean).then_some(NOT_REPLAYED))
}

fn used(reader: &dyn ReadAt) -> Result<Used, FormatError> {
    let len = reader.len();
    let block = read_superblock(reader)?
        .ok_or_else(|| FormatError::corrupt("sb_magicnum", 0, "XFSB", "something else"))?;
    let superblock = Superblock::parse(&block, len)?;
    let geometry = &superblock.geometry;
    if geometry.features.needs_repair {
        return Ok(Used::whole(len, "it is marked for repair: the image is exact and complete")
            .advise("to make it smaller, run xfs_repair on it, then save again"));
    }
    if geometry.log_start == 0 {
        return Ok(Used::whole(
            len,
            "its log is on another device, which alone knows whether it has to be replayed: the \
             image is exact and complete",
        )
        .advise("save the device of its log, too"));
    }
    let volume = Volume::new(reader, geometry);
    let head = Log::new(&volume).head()?;
    let mut used = if head.is_clean {
        clean(&volume, &superblock, head.lsn, len)?
    } else {
        dirty::map(&volume, &superblock, &head, len).unwrap_or_else(|why| dirty::whole(len, &why))
    };
    if geometry.realtime_blocks > 0 {
        used = used.note("it has a realtime section on another device: save that, too");
    }
    Ok(used)
}

/// The map of a filesystem that was unmounted.
fn clean(
    volume: &Volume,
    superblock: &Superblock,
    newest: u64,
    len: u64,
) -> Result<Used, FormatError> {
    let newest = superblock.geometry.features.has_crc.then_some(newest);
    check_newest(superblock, newest)?;
    let mut runs = Runs::new();
    let mut spare = ExtentSet::new();
    for number in 0..u64::from(superblock.geometry.ag_count) {
        let space = used::free(volume, superblock, number, newest)?;
        used::push(&mut runs, superblock, number, &space.free);
        let reserve = space.reserve.iter().map(|block| (*block).into());
        spare.extend(reserve.map(|block| superblock.geometry.extent(number, block, 1)));
    }
    let mut map = runs.into_set();
    map.extend(used::outside(superblock, len));
    Ok(Used::proven(map).spare(spare))
}

fn check_newest(superblock: &Superblock, newest: Option<u64>) -> Result<(), FormatError> {
    match newest {
        Some(newest) if superblock.lsn > newest && superblock.lsn != u64::MAX => {
            let expected = format!("a place in the log up to its end, {newest:#x}");
            Err(FormatError::corrupt("sb_lsn", 240, expected, format!("{:#x}", superblock.lsn)))
        }
        _ => Ok(()),
    }
}
