// SPDX-License-Identifier: MIT OR Apache-2.0
//! The used map of a container.

use super::checkpoint::{Checkpoint, newest};
use super::free_queue;
use super::object::{Blocks, kind};
use super::spaceman::Spaceman;
use super::superblock::{Range, Superblock};
use super::volumes::{self, Required};
use crate::extent::ExtentSet;
use crate::fs::Used;
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

/// The map of a container whose superblock in block 0 is `copy`.
pub(super) fn map(reader: &dyn ReadAt, copy: &Superblock) -> Result<Used, FormatError> {
    let whole = |why: String| Ok(Used::whole(reader.len(), why));
    // Its checkpoints may be on the other device.
    if copy.is_fusion() {
        return whole(copy.doubt().unwrap_or_default());
    }
    if copy.size() > reader.len() {
        return Err(FormatError::corrupt(
            "nx_block_count",
            0x28,
            format!("at most the {} bytes of the volume", reader.len()),
            copy.size(),
        ));
    }
    if let Some(why) = copy.doubt() {
        return whole(why);
    }
    let blocks = Blocks::new(reader, copy);
    let (index, superblock) = newest(blocks, copy)?;
    if let Some(why) = superblock.doubt() {
        return whole(why);
    }
    let checkpoint = Checkpoint::read(blocks, index, superblock)?;
    let superblock = &checkpoint.superblock;
    // What has blocks to free is one of the objects, and read so far only.
    checkpoint.get("reaper", superblock.reaper_oid, kind::NX_REAPER, 0)?;
    let spaceman = match Spaceman::new(blocks, &checkpoint)? {
        Ok(spaceman) => spaceman,
        Err(why) => return whole(why),
    };
    let fixed = fixed(blocks, superblock, &spaceman)?;
    let mut pool = spaceman.pool()?;
    let used = spaceman.map(&mut pool)?.into_set();
    let queued = free_queue::extents(blocks, &checkpoint, &spaceman, &mut pool)?;

    let volumes = volumes::list(blocks, superblock)?;
    if let Some(why) = volumes.iter().find_map(volumes::Volume::doubt) {
        return whole(why);
    }
    let mut required = Required::new(blocks, &used);
    for (what, range) in &fixed.ranges {
        required.check(what, range.first, range.count)?;
    }
    if let Some(missing) = queued.subtract(&used).iter().next() {
        return Err(FormatError::corrupt(
            "free queue",
            missing.start(),
            "blocks that are marked as in use",
            format!("free ones at bytes {missing}"),
        ));
    }
    volumes::check(blocks, superblock, &volumes, &mut required)?;
    let mut all = used.union(&queued).union(&fixed.bytes);
    all.insert(superblock.tail(reader.len()));
    Ok(Used::proven(all))
}

/// What has a fixed place.
struct Fixed {
    ranges: Vec<Named>,
    bytes: ExtentSet,
}

/// Blocks, and what they are.
type Named = (&'static str, Range);

/// What has a fixed place, none of which may be another's.
fn fixed(
    blocks: Blocks,
    superblock: &Superblock,
    spaceman: &Spaceman,
) -> Result<Fixed, FormatError> {
    let mut ranges = superblock.fixed().to_vec();
    ranges.extend([
        ("internal pool", spaceman.pool),
        ("bitmaps of the internal pool", spaceman.pool_bitmaps),
        ("keybag", superblock.keylocker),
        ("media keys", superblock.media_key_locker),
    ]);
    ranges.extend(jumpstart(blocks, superblock)?);
    ranges.retain(|(_, range)| range.count > 0);
    let mut all = ExtentSet::new();
    for (what, range) in &ranges {
        let extent = blocks.extent(what, range.first, range.count)?;
        if all.touches(extent) {
            return Err(FormatError::corrupt(
                what,
                extent.start(),
                "blocks of its own",
                "some that have another use",
            ));
        }
        all.insert(extent);
    }
    Ok(Fixed { ranges, bytes: all })
}

/// The driver that a Mac starts from, `nx_efi_jumpstart_t`.
fn jumpstart(blocks: Blocks, superblock: &Superblock) -> Result<Vec<Named>, FormatError> {
    const WHAT: &str = "EFI driver";
    let block = superblock.efi_jumpstart;
    if block == 0 {
        return Ok(Vec::new());
    }
    let (_, bytes) = blocks.physical(WHAT, block, (kind::EFI_JUMPSTART, 0), superblock.xid)?;
    let len = bytes.u32_le(0x2c).and_then(|count| usize::try_from(count).ok()?.checked_mul(16));
    let extents = len.and_then(|len| bytes.bytes_at(0xb0, len)).ok_or_else(|| {
        FormatError::corrupt(WHAT, blocks.position(block), "extents that fit", "too many")
    })?;
    let mut ranges = vec![(WHAT, Range { first: block, count: 1 })];
    for extent in extents.chunks_exact(16) {
        let (first, count) = (extent.u64_le(0).unwrap_or(0), extent.u64_le(8).unwrap_or(0));
        ranges.push((WHAT, Range { first, count }));
    }
    Ok(ranges)
}

/// The names of the volumes, as far as they can be told.
pub(super) fn names(reader: &dyn ReadAt, copy: &Superblock) -> Result<Vec<String>, FormatError> {
    let blocks = Blocks::new(reader, copy);
    let (_, superblock) = newest(blocks, copy)?;
    let volumes = volumes::list(blocks, &superblock)?;
    Ok(volumes.into_iter().map(|volume| volume.name).filter(|name| !name.is_empty()).collect())
}
