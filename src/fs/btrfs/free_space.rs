// SPDX-License-Identifier: MIT OR Apache-2.0
//! The free space tree: what is free in each block group, told a second time.
//!
//! A block group has an item with the number of its free ranges, then either
//! an item for each of them, or bitmaps of one bit for a sector. Kernels have
//! kept it since 4.5; it is what they allocate from.
//!
//! mkfs.btrfs leaves items of a block group that it has removed again. Nobody
//! asks for those.

use std::collections::VecDeque;

use super::chunk::Chunks;
use super::tree::{Item, Key, Walk};
use crate::extent::Extent;
use crate::fs::bitmap::ones;
use crate::ondisk::{Fields, FormatError};

/// The free ranges of all block groups, in ascending order. Those that touch
/// are one, unless they belong to two block groups.
#[derive(Debug)]
pub(super) struct FreeSpace<'f, 'a> {
    walk: Walk<'f, 'a>,
    ranges: Ranges<'f>,
    is_done: bool,
}

#[derive(Debug)]
struct Ranges<'c> {
    chunks: &'c Chunks,
    sector_size: u64,
    ready: VecDeque<Extent>,
    /// The last range, to which the next may be joined.
    open: Option<Extent>,
    group: Option<Group>,
}

/// The block group that the walk is in.
#[derive(Debug)]
struct Group {
    extent: Extent,
    /// False for a block group that is no more.
    is_live: bool,
    has_bitmaps: bool,
    expected: u64,
    found: u64,
    position: u64,
    /// Where the last item ended.
    end: u64,
}

impl<'f, 'a> FreeSpace<'f, 'a> {
    pub(super) const fn new(walk: Walk<'f, 'a>, chunks: &'f Chunks, sector_size: u64) -> Self {
        let ranges =
            Ranges { chunks, sector_size, ready: VecDeque::new(), open: None, group: None };
        Self { walk, ranges, is_done: false }
    }

    /// The next free range.
    pub(super) fn next(&mut self) -> Result<Option<Extent>, FormatError> {
        loop {
            if let Some(range) = self.ranges.ready.pop_front() {
                return Ok(Some(range));
            }
            if self.is_done {
                return Ok(None);
            }
            match self.walk.next()? {
                Some(item) => self.ranges.item(item)?,
                None => {
                    self.ranges.close()?;
                    self.is_done = true;
                }
            }
        }
    }
}

impl Ranges<'_> {
    fn item(&mut self, item: Item) -> Result<(), FormatError> {
        let Item { key, data, position } = item;
        let wrong = |expected: &str, found: String| {
            Err(FormatError::corrupt("free space tree", position, expected, found))
        };
        let end = key.objectid.checked_add(key.offset);
        let Some(end) = end.filter(|end| *end > key.objectid) else {
            return wrong("a range", format!("{key:?}"));
        };
        let extent = Extent::new(key.objectid, end);
        if key.kind == Key::FREE_SPACE_INFO {
            self.close()?;
            let overlapping = self.chunks.overlapping(extent).map(|chunk| chunk.logical);
            if overlapping.is_some_and(|chunk| chunk != extent) {
                return wrong("the range of a chunk", extent.to_string());
            }
            let fields = || Some((data.u32_le(0)?, data.u32_le(4)?));
            let Some((count, flags)) = fields().filter(|(_, flags)| *flags <= 1) else {
                return wrong("a count and the flag for bitmaps", format!("{data:?}"));
            };
            self.group = Some(Group {
                extent,
                is_live: overlapping.is_some(),
                has_bitmaps: flags == 1,
                expected: u64::from(count),
                found: 0,
                position,
                end: extent.start(),
            });
            return Ok(());
        }
        let Some(group) = &mut self.group else {
            return wrong("an item of a block group first", format!("{key:?}"));
        };
        if !group.extent.contains(&extent) || extent.start() < group.end {
            return wrong("ranges of its block group that do not overlap", extent.to_string());
        }
        group.end = extent.end();
        if !group.is_live {
            return Ok(());
        }
        match (key.kind, group.has_bitmaps) {
            (Key::FREE_SPACE_EXTENT, false) => self.push(extent),
            (Key::FREE_SPACE_BITMAP, true) => {
                let bits = extent.len().checked_div(self.sector_size).unwrap_or(0);
                let bytes = usize::try_from(bits.div_ceil(8)).unwrap_or(usize::MAX);
                if !extent.len().is_multiple_of(self.sector_size) || data.len() != bytes {
                    return wrong("a bit for each sector", format!("{} bytes", data.len()));
                }
                for (first, last) in ones(data, bits) {
                    let at = |bit: u64| {
                        extent.start().saturating_add(bit.saturating_mul(self.sector_size))
                    };
                    let range = Extent::new(at(first), at(last));
                    self.push(range);
                }
            }
            _ => return wrong("free ranges, or bitmaps, and nothing else", format!("{key:?}")),
        }
        Ok(())
    }

    fn push(&mut self, range: Extent) {
        self.open = match self.open {
            Some(open) if open.end() == range.start() => {
                Some(Extent::new(open.start(), range.end()))
            }
            Some(open) => {
                self.release(open);
                Some(range)
            }
            None => Some(range),
        };
    }

    fn release(&mut self, range: Extent) {
        self.ready.push_back(range);
        if let Some(group) = &mut self.group {
            group.found = group.found.saturating_add(1);
        }
    }

    /// Ends a block group.
    fn close(&mut self) -> Result<(), FormatError> {
        if let Some(open) = self.open.take() {
            self.release(open);
        }
        match self.group.take() {
            Some(group) if group.is_live && group.expected != group.found => {
                Err(FormatError::corrupt(
                    "free space tree",
                    group.position,
                    format!("{} free ranges in block group {}", group.expected, group.extent),
                    group.found,
                ))
            }
            _ => Ok(()),
        }
    }
}
