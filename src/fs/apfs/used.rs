// SPDX-License-Identifier: MIT OR Apache-2.0
//! The used map of a container.

use super::checkpoint::{Checkpoint, newest};
use super::free_queue;
use super::object::{Blocks, kind};
use super::spaceman::Spaceman;
use super::superblock::{Doubt, Range, Superblock};
use super::volumes::{self, Required};
use crate::extent::ExtentSet;
use crate::fs::Used;
use crate::io::ReadAt;
use crate::ondisk::{Fields, FormatError};

/// The map of a container whose superblock in block 0 is `copy`.
pub(super) fn map(reader: &dyn ReadAt, copy: &Superblock) -> Result<Used, FormatError> {
    let whole = |doubt: Doubt| {
        let used = Used::whole(reader.len(), doubt.why);
        Ok(Used { advice: doubt.advice.map(str::to_owned), ..used })
    };
    // Its checkpoints may be on the other device.
    if copy.is_fusion() {
        return whole(Doubt::fusion());
    }
    if copy.size() > reader.len() {
        return Err(FormatError::corrupt(
            "nx_block_count",
            0x28,
            format!("at most the {} bytes of the volume", reader.len()),
            copy.size(),
        ));
    }
    if let Some(doubt) = copy.doubt() {
        return whole(doubt);
    }
    let blocks = Blocks::new(reader, copy);
    let (index, superblock) = newest(blocks, copy)?;
    if let Some(doubt) = superblock.doubt() {
        return whole(doubt);
    }
    let checkpoint = Checkpoint::read(blocks, index, superblock)?;
    let superblock = &checkpoint.superblock;
    // What has blocks to free is one of the objects, and read so far only.
    checkpoint.get("reaper", superblock.reaper_oid, kind::NX_REAPER, 0)?;
    let spaceman = match Spaceman::new(blocks, &checkpoint)? {
        Ok(spaceman) => spaceman,
        Err(doubt) => return whole(doubt),
    };
    let fixed = fixed(blocks, superblock, &spaceman)?;
    let mut pool = spaceman.pool()?;
    let used = spaceman.map(&mut pool)?.into_set();
    let queued = free_queue::extents(blocks, &checkpoint, &spaceman, &mut pool)?;

    let volumes = volumes::list(blocks, superblock)?;
    if let Some(doubt) = volumes.iter().find_map(volumes::Volume::doubt) {
        return whole(doubt);
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

/// What people want to know of the newest checkpoint.
pub(super) struct Summary {
    /// The names of the volumes.
    pub(super) names: Vec<String>,
    /// True if the first block is of the same transaction. It is written when
    /// the container is unmounted.
    pub(super) is_unmounted: bool,
}

/// The summary of a container whose superblock in block 0 is `copy`.
pub(super) fn summary(reader: &dyn ReadAt, copy: &Superblock) -> Result<Summary, FormatError> {
    let blocks = Blocks::new(reader, copy);
    let (_, superblock) = newest(blocks, copy)?;
    let volumes = volumes::list(blocks, &superblock)?;
    let names = volumes.into_iter().map(|volume| volume.name).filter(|name| !name.is_empty());
    Ok(Summary { names: names.collect(), is_unmounted: superblock.xid == copy.xid })
}
