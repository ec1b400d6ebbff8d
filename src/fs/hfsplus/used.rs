// SPDX-License-Identifier: MIT OR Apache-2.0
//! From the allocation file to the used map.
//!
//! The allocation file has a bit per block, the first in the highest bit of a
//! byte. It is believed if it has as many free bits as the volume header says,
//! and marks the special files and the journal. Then every fork that the
//! catalog, the overflow file and the attributes file know of is united with
//! it: macOS is known to leave a file's blocks unmarked now and then.

use super::catalog;
use super::file::Volume;
use super::fork::ExtentRecord;
use super::overflow::{OverflowRecord, SpecialFiles};
use super::tree::Tree;
use super::volume_header::POSITION;
use crate::extent::{Extent, ExtentSet};
use crate::fs::bitmap::{ones, set};
use crate::fs::hfs::balance::Balance;
use crate::fs::runs::Runs;
use crate::ondisk::FormatError;

/// Blocks looked at in one pass over the catalog, which bounds the bitmap to
/// 64 MiB: 2 TiB of blocks of 4 KiB.
const PASS: u64 = 1 << 29;

/// Bytes of the allocation file read at a time.
const PIECE: usize = 1 << 20;

/// The used bytes of a volume, and what was odd about the bitmap.
pub(super) struct Map {
    pub(super) extents: ExtentSet,
    /// Files have blocks that the bitmap calls free.
    pub(super) unmarked: bool,
}

/// The used bytes among those of all blocks. The bytes in `required` have to be
/// marked, and so have the special files.
pub(super) fn map(
    volume: Volume,
    files: &SpecialFiles,
    required: &[Extent],
) -> Result<Map, FormatError> {
    map_within(volume, files, required, PASS)
}

/// The same in passes of so many blocks, a multiple of 8.
pub(super) fn map_within(
    volume: Volume,
    files: &SpecialFiles,
    required: &[Extent],
    pass_blocks: u64,
) -> Result<Map, FormatError> {
    let total = volume.header.total_blocks;
    let needed = total.div_ceil(8);
    if files.allocation.logical_size < needed {
        let expected = format!("{needed} bytes for {total} blocks");
        let size = files.allocation.logical_size;
        return Err(FormatError::corrupt("allocation file", POSITION, expected, size));
    }
    let mut runs = Runs::new();
    let (mut free, mut first, mut unmarked) = (0_u64, 0_u64, false);
    while first < total {
        let mut pass = Pass::read(files, first, pass_blocks.min(total.saturating_sub(first)))?;
        free = free.saturating_add(pass.free());
        for file in files.all() {
            file.extents().try_for_each(|extent| pass.require(volume, file.what, extent))?;
        }
        for extent in required {
            pass.require(volume, "journal", *extent)?;
        }
        unmarked |= pass.unite(files)?;
        for (start, end) in ones(&pass.bits, pass.count) {
            let start = first.saturating_add(start);
            let end = first.saturating_add(end);
            runs.push(volume.extent(start, end.saturating_sub(start)));
        }
        first = first.saturating_add(pass.count);
    }
    if free != volume.header.free_blocks {
        let expected = format!("{free} blocks, as in the allocation file");
        let found = volume.header.free_blocks;
        return Err(FormatError::corrupt("freeBlocks", POSITION, expected, found));
    }
    Ok(Map { extents: runs.into_set(), unmarked })
}

/// A bit for each of the blocks looked at in one pass.
struct Pass {
    first: u64,
    count: u64,
    bits: Vec<u8>,
}

impl Pass {
    fn read(files: &SpecialFiles, first: u64, count: u64) -> Result<Self, FormatError> {
        let len = usize::try_from(count.div_ceil(8)).unwrap_or(usize::MAX);
        let mut bits = Vec::with_capacity(len);
        while bits.len() < len {
            let done = u64::try_from(bits.len()).unwrap_or(u64::MAX);
            let part = PIECE.min(len.saturating_sub(bits.len()));
            let bytes = files.allocation.read((first >> 3).saturating_add(done), part)?;
            bits.extend(bytes.iter().map(|byte| byte.reverse_bits()));
        }
        Ok(Self { first, count, bits })
    }

    fn free(&self) -> u64 {
        let used = ones(&self.bits, self.count)
            .fold(0_u64, |sum, (start, end)| sum.saturating_add(end.saturating_sub(start)));
        self.count.saturating_sub(used)
    }

    /// Marks blocks; true if one was not marked.
    fn mark(&mut self, start: u64, end: u64) -> bool {
        let last = self.first.saturating_add(self.count);
        let (start, end) = (start.max(self.first), end.min(last));
        start < end
            && set(&mut self.bits, start.saturating_sub(self.first), end.saturating_sub(self.first))
    }

    /// An error unless these bytes are marked.
    fn require(
        &mut self,
        volume: Volume,
        what: &'static str,
        extent: Extent,
    ) -> Result<(), FormatError> {
        let size = volume.header.block_size.max(1);
        let start = extent.start().checked_div(size).unwrap_or(0);
        if self.mark(start, extent.end().div_ceil(size)) {
            let expected = format!("blocks marked as in use at bytes {extent}");
            return Err(FormatError::corrupt(what, extent.start(), expected, "free blocks"));
        }
        Ok(())
    }

    /// Marks every extent of every fork; true if one was not marked.
    fn unite(&mut self, files: &SpecialFiles) -> Result<bool, FormatError> {
        let mut unmarked = false;
        let mut claim = |record: &ExtentRecord| {
            for (start, count) in record.iter() {
                unmarked |= self.mark(start, start.saturating_add(count));
            }
        };
        let mut balance = Balance::default();
        Tree::open(&files.extents)?.records(&mut |record| {
            let record = OverflowRecord::parse(record, &files.extents)?;
            record.settle(&mut balance);
            claim(&record.extents);
            Ok(())
        })?;
        Tree::open(&files.catalog)?.records(&mut |record| {
            catalog::claims(record, &files.catalog, &mut balance, &mut claim)
        })?;
        balance.check(files.extents.what, files.extents.position(0))?;
        if !files.attributes.is_empty() {
            let file = &files.attributes;
            let mut balance = Balance::default();
            Tree::open(file)?.records(&mut |record| {
                catalog::attribute_claims(record, file, &mut balance, &mut claim)
            })?;
            balance.check(file.what, file.position(0))?;
        }
        Ok(unmarked)
    }
}
