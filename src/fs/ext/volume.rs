// SPDX-License-Identifier: MIT OR Apache-2.0
//! Reading by block, as the disk is or as it will be once the journal has been
//! replayed.

use std::collections::BTreeMap;

use super::geometry::Geometry;
use super::journal::MAGIC;
use crate::error::Context;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::FormatError;

/// The most that is read at once: large enough for a disk to be busy, small
/// enough not to matter.
const READ_BYTES: u64 = 1 << 20;

/// A copy of a block in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Copy {
    /// The block of the filesystem that holds the copy.
    pub(super) held_at: u64,
    /// True if the copy's first four bytes were replaced, because they would
    /// have looked like a block of the journal itself.
    pub(super) escaped: bool,
}

/// A filesystem's blocks.
#[derive(Clone, Copy)]
pub(super) struct Volume<'a> {
    reader: &'a dyn ReadAt,
    geometry: &'a Geometry,
    /// What a replay writes, by the block it is written to.
    replayed: Option<&'a BTreeMap<u64, Copy>>,
}

impl<'a> Volume<'a> {
    /// The blocks as they are on the disk.
    pub(super) const fn new(reader: &'a dyn ReadAt, geometry: &'a Geometry) -> Self {
        Self { reader, geometry, replayed: None }
    }

    /// The same blocks after a replay that writes `copies`.
    pub(super) const fn replayed(&self, copies: &'a BTreeMap<u64, Copy>) -> Self {
        Self { replayed: Some(copies), ..*self }
    }

    pub(super) const fn geometry(&self) -> &'a Geometry {
        self.geometry
    }

    /// How many blocks are read at once.
    pub(super) fn blocks_at_once(&self) -> u64 {
        READ_BYTES.checked_div(self.geometry.block_size).unwrap_or(1).max(1)
    }

    /// The bytes of a range of blocks.
    pub(super) fn extent(&self, first: u64, count: u64) -> Extent {
        let size = self.geometry.block_size;
        Extent::at(first.saturating_mul(size), count.saturating_mul(size))
    }

    /// Reads `count` blocks, of which there are no more than
    /// [`Self::blocks_at_once`]; `what` is what they hold.
    pub(super) fn read(
        &self,
        what: &'static str,
        first: u64,
        count: u64,
    ) -> Result<Vec<u8>, FormatError> {
        self.check(what, first, count)?;
        let extent = self.extent(first, count);
        let mut bytes = self.bytes(what, extent)?;
        let Some(copies) = self.replayed else { return Ok(bytes) };
        for (home, copy) in copies.range(first..first.saturating_add(count)) {
            let block = self.copy(what, *copy)?;
            let offset = home.saturating_sub(first).saturating_mul(self.geometry.block_size);
            let place = usize::try_from(offset)
                .ok()
                .and_then(|offset| bytes.get_mut(offset..offset.checked_add(block.len())?));
            if let Some(place) = place {
                place.copy_from_slice(&block);
            }
        }
        Ok(bytes)
    }

    /// Fills `buf` with the bytes at a position, all of which lie in one run of
    /// blocks.
    pub(super) fn read_into(
        &self,
        what: &'static str,
        position: u64,
        buf: &mut [u8],
    ) -> Result<(), FormatError> {
        let size = self.geometry.block_size;
        let extent = Extent::at(position, u64::try_from(buf.len()).unwrap_or(u64::MAX));
        let first = position.checked_div(size).unwrap_or(0);
        let after = extent.end().div_ceil(size.max(1));
        self.check(what, first, after.saturating_sub(first))?;
        self.reader
            .read_at(position, buf)
            .context(|| format!("reading the {what} at byte {position:#x}"))?;
        let Some(copies) = self.replayed else { return Ok(()) };
        for (home, copy) in copies.range(first..after) {
            let block = self.copy(what, *copy)?;
            let home = self.extent(*home, 1);
            let part = home.intersect(&extent);
            let within = |start: u64| {
                let from = usize::try_from(part.start().saturating_sub(start)).ok()?;
                let len = usize::try_from(part.len()).ok()?;
                Some(from..from.checked_add(len)?)
            };
            let from = within(home.start()).and_then(|range| block.get(range));
            let to = within(position).and_then(|range| buf.get_mut(range));
            if let (Some(from), Some(to)) = (from, to) {
                to.copy_from_slice(from);
            }
        }
        Ok(())
    }

    /// Reads a copy of a block out of the journal.
    pub(super) fn copy(&self, what: &'static str, copy: Copy) -> Result<Vec<u8>, FormatError> {
        self.check(what, copy.held_at, 1)?;
        let mut block = self.bytes(what, self.extent(copy.held_at, 1))?;
        if copy.escaped
            && let Some(start) = block.first_chunk_mut()
        {
            *start = MAGIC.to_be_bytes();
        }
        Ok(block)
    }

    /// An error unless the blocks are inside the filesystem.
    pub(super) fn check(
        &self,
        what: &'static str,
        first: u64,
        count: u64,
    ) -> Result<(), FormatError> {
        let blocks = self.geometry.blocks;
        if first.checked_add(count).is_some_and(|end| end <= blocks) {
            return Ok(());
        }
        Err(FormatError::corrupt(
            what,
            self.extent(first, count).start(),
            format!("a place within the {blocks} blocks of the filesystem"),
            format!("block {first}"),
        ))
    }

    fn bytes(&self, what: &'static str, extent: Extent) -> Result<Vec<u8>, FormatError> {
        let len = usize::try_from(extent.len()).unwrap_or(usize::MAX);
        let bytes = read_vec(self.reader, extent.start(), len)
            .context(|| format!("reading the {what} at byte {:#x}", extent.start()))?;
        Ok(bytes)
    }
}
