// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the volume bitmap to the used map.
//!
//! The bitmap has a bit per allocation block, the first in the highest bit of a
//! byte ("Inside Macintosh: Files", 2-63). It is believed if it has as many free
//! bits as the master directory block says, and marks both trees. Then every
//! place that the overflow file and the catalog know of is united with it. These
//! are believed to be all if there are as many records, files and folders as
//! their headers and the master directory block say, and each fork has the
//! blocks that its record counts.

use super::MasterDirectoryBlock;
use super::balance::Balance;
use super::fork::{DATA, Fork, RESOURCE};
use super::master_directory_block::{ForkExtents, POSITION, fork_extents};
use super::record::Item;
use super::trees::{CATALOG, Trees};
use crate::error::Context as _;
use crate::extent::{Extent, ExtentSet};
use crate::fs::bitmap::{ones, set};
use crate::fs::runs::Runs;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields as _, FormatError};

/// The number of the bad blocks, which are no file.
const BAD_BLOCKS: u32 = 5;

/// The used bytes of a volume, and what was odd about the bitmap.
pub(super) struct Map {
    pub(super) extents: ExtentSet,
    /// Files have blocks that the bitmap calls free.
    pub(super) unmarked: bool,
}

/// A bit for each allocation block.
struct Marks<'a> {
    block: &'a MasterDirectoryBlock,
    bits: Vec<u8>,
    unmarked: bool,
}

impl Marks<'_> {
    fn mark(&mut self, start: u64, end: u64) -> bool {
        set(&mut self.bits, start, end)
    }

    /// Marks these places; returns how many blocks they have.
    fn claim(&mut self, extents: &ForkExtents, position: u64) -> Result<u64, FormatError> {
        let total = u64::from(self.block.block_count);
        let mut blocks = 0_u64;
        for (start, count) in extents.iter().take_while(|(_, count)| *count > 0) {
            let (start, count) = (u64::from(*start), u64::from(*count));
            let end = start.saturating_add(count);
            if end > total {
                let expected = format!("places within the {total} blocks");
                let found = format!("blocks {start} to {end}");
                return Err(FormatError::corrupt("extents of a file", position, expected, found));
            }
            self.unmarked |= self.mark(start, end);
            blocks = blocks.saturating_add(count);
        }
        Ok(blocks)
    }

    /// The same of a fork that occupies so many bytes, for the rest of which the
    /// overflow file has to account.
    fn claim_fork(
        &mut self,
        fork: &Fork,
        position: u64,
        id: (u32, u8),
        balance: &mut Balance,
    ) -> Result<(), FormatError> {
        let size = u64::from(self.block.block_size);
        let bytes = u64::from(fork.allocated);
        let first = self.claim(&fork.extents, position)?;
        let blocks = bytes.checked_div(size).unwrap_or(0);
        let more = blocks.checked_sub(first).filter(|_| bytes.is_multiple_of(size));
        let more = more.filter(|_| fork.len <= fork.allocated).ok_or_else(|| {
            let expected = format!("bytes of {first} blocks or more of {size}");
            let found = format!("{bytes} for {}", fork.len);
            FormatError::corrupt("length of a file", position, expected, found)
        })?;
        balance.missing(id.0, id.1, more);
        Ok(())
    }
}

/// The used bytes of a volume.
pub(super) fn map(volume: &dyn ReadAt, block: &MasterDirectoryBlock) -> Result<Map, FormatError> {
    let total = u64::from(block.block_count);
    let (start, len) = (block.bitmap, total.div_ceil(8));
    if start <= POSITION || start.saturating_add(len) > block.first_block {
        let expected = format!("{len} bytes in front of the first block");
        return Err(FormatError::corrupt("volume bitmap", start, expected, block.first_block));
    }
    let bytes = read_vec(volume, start, usize::try_from(len).unwrap_or(0))
        .context(|| format!("reading the volume bitmap at byte {start:#x}"))?;
    let bits: Vec<u8> = bytes.iter().map(|byte| byte.reverse_bits()).collect();
    let marked = ones(&bits, total)
        .fold(0_u64, |sum, (start, end)| sum.saturating_add(end.saturating_sub(start)));
    let free = total.saturating_sub(marked);
    if free != u64::from(block.free_blocks) {
        let expected = format!("{free} blocks, as in the volume bitmap");
        return Err(FormatError::corrupt("drFreeBks", POSITION, expected, block.free_blocks));
    }
    let mut marks = Marks { block, bits, unmarked: false };
    let trees = Trees::open(volume, block)?;
    for place in trees.extents.places().chain(trees.catalog.places()) {
        let size = u64::from(block.block_size).max(1);
        let number = |at: u64| at.saturating_sub(block.first_block).checked_div(size).unwrap_or(0);
        if marks.mark(number(place.start()), number(place.end())) {
            let expected = format!("blocks marked as in use at bytes {place}");
            return Err(FormatError::corrupt("trees", place.start(), expected, "free blocks"));
        }
    }
    claim_files(volume, block, &trees, &mut marks)?;
    let mut runs = Runs::new();
    runs.push(Extent::new(0, block.first_block));
    for (start, end) in ones(&marks.bits, total) {
        let bytes = |count: u64| count.saturating_mul(block.block_size.into());
        let extent = Extent::at(bytes(start), bytes(end.saturating_sub(start)));
        runs.push(Extent::at(block.first_block.saturating_add(extent.start()), extent.len()));
    }
    runs.push(Extent::new(block.blocks(0, block.block_count).end(), volume.len()));
    Ok(Map { extents: runs.into_set(), unmarked: marks.unmarked })
}

/// Marks every place of every file.
fn claim_files(
    volume: &dyn ReadAt,
    block: &MasterDirectoryBlock,
    trees: &Trees,
    marks: &mut Marks,
) -> Result<(), FormatError> {
    let mut balance = Balance::default();
    trees.extents.all(volume, &mut |record| {
        let what = "record of the extents overflow file";
        let key = record.key;
        let (Some(fork), Some(id), 7) = (key.u8_at(0), key.u32_be(1), key.len()) else {
            return Err(FormatError::corrupt(what, record.position, "a key of 7 bytes", key.len()));
        };
        if record.data.len() < 12 || ![DATA, RESOURCE].contains(&fork) {
            let found = format!("fork {fork} in {} bytes", record.data.len());
            return Err(FormatError::corrupt(what, record.position, "three places", found));
        }
        let blocks = marks.claim(&fork_extents(record.data, 0), record.position)?;
        if id != BAD_BLOCKS {
            balance.found(id, fork, blocks);
        }
        Ok(())
    })?;
    marks.claim_fork(&block.catalog, POSITION, (CATALOG, DATA), &mut balance)?;
    // The root folder is not counted.
    let (mut files, mut folders) = (0_u64, None);
    trees.catalog.all(volume, &mut |record| {
        let Some(item) = Item::parse(record)? else { return Ok(()) };
        match item.forks {
            None => folders = Some(folders.map_or(0, |count: u64| count.saturating_add(1))),
            Some((data, resource)) => {
                files = files.saturating_add(1);
                marks.claim_fork(&data, item.position, (item.id, DATA), &mut balance)?;
                marks.claim_fork(&resource, item.position, (item.id, RESOURCE), &mut balance)?;
            }
        }
        Ok(())
    })?;
    if (files, folders) != (block.files.into(), Some(block.folders.into())) {
        let expected = format!("{} files and {} folders", block.files, block.folders);
        let found = format!("{files} files and {} folders", folders.unwrap_or(0));
        return Err(FormatError::corrupt("catalog", POSITION, expected, found));
    }
    balance.check("extents overflow file", POSITION)
}
