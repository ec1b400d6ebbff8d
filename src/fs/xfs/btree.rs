// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two trees of free space of an allocation group: the same ranges, one
//! ordered by place (bnobt), the other by length and place (cntbt).
//!
//! Both are walked whole, from left to right. Of each block everything is
//! checked that it says of itself and of its neighbours, so that a walk cannot
//! go round in circles: levels fall by one from parent to child, neighbours
//! point at each other, and ranges are strictly ascending.

use super::group::{Group, Root};
use super::volume::{Block, Volume};
use crate::ondisk::FormatError;

/// No neighbour.
const NULL_BLOCK: u32 = u32::MAX;
/// Bounds the memory: 32 MiB of ranges in one group.
const MAX_RANGES: usize = 4 << 20;
/// Bounds the blocks that are read of a tree that is not trusted.
const MAX_SALVAGED: usize = 1 << 18;

/// A range of free blocks of a group: first block and length.
pub(super) type Range = (u32, u32);

/// Which of the trees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// By place: bnobt.
    Place,
    /// By length, then place: cntbt.
    Length,
}

impl Order {
    const fn magic(self, has_crc: bool) -> u32 {
        match (self, has_crc) {
            (Self::Place, false) => 0x4142_5442,
            (Self::Place, true) => 0x4142_3342,
            (Self::Length, false) => 0x4142_5443,
            (Self::Length, true) => 0x4142_3343,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Place => "free-space tree by place",
            Self::Length => "free-space tree by length",
        }
    }
}

/// What a walk found.
#[derive(Debug, Default)]
pub(super) struct Tree {
    /// In the order of the tree.
    pub(super) ranges: Vec<Range>,
    /// The blocks of the tree itself.
    pub(super) blocks: Vec<u32>,
}

/// Walks a tree.
pub(super) fn read(
    volume: &Volume,
    group: &Group,
    root: Root,
    order: Order,
    newest: Option<u64>,
) -> Result<Tree, FormatError> {
    let levels = usize::try_from(root.levels).unwrap_or(0);
    let mut walk = Walk {
        volume,
        group,
        order,
        newest,
        tree: Tree::default(),
        last: vec![(NULL_BLOCK, None); levels],
        previous: None,
    };
    walk.visit(root.block, root.levels.saturating_sub(1), None)?;
    for (last, right) in &walk.last {
        if let Some(right) = right.filter(|right| *right != NULL_BLOCK) {
            let position = volume.geometry.extent(group.number, (*last).into(), 1).start();
            return Err(FormatError::corrupt("bb_rightsib", position, "no neighbour", right));
        }
    }
    Ok(walk.tree)
}

/// The ranges of whatever can be read of a tree that need not be consistent:
/// of a crash, when some of its blocks were written and others were not.
pub(super) fn salvage(volume: &Volume, group: &Group, root: Root) -> Vec<Range> {
    let mut ranges = Vec::new();
    let mut blocks = vec![(root.block, root.levels.saturating_sub(1))];
    // Levels fall, so that it ends; the bound is for blocks with many parents.
    for _ in 0..MAX_SALVAGED {
        let Some((number, level)) = blocks.pop() else { break };
        let mut walk = Walk {
            volume,
            group,
            order: Order::Place,
            newest: None,
            tree: Tree::default(),
            last: Vec::new(),
            previous: None,
        };
        let Ok(block) = walk.checked(number, level) else { continue };
        let count = usize::from(block.u16(6)).min(walk.most(&block, level));
        for index in 0..count {
            if level > 0 {
                blocks.push((walk.child(&block, index), level.saturating_sub(1)));
            } else if ranges.len() < MAX_RANGES
                && let (offset, range) = walk.pair(&block, index)
                && walk.range(&block, offset, range).is_ok()
            {
                ranges.push(range);
            }
        }
    }
    ranges
}

struct Walk<'a> {
    volume: &'a Volume<'a>,
    group: &'a Group,
    order: Order,
    newest: Option<u64>,
    tree: Tree,
    /// The block visited last on each level, and its right neighbour.
    last: Vec<(u32, Option<u32>)>,
    previous: Option<Range>,
}

impl Walk<'_> {
    /// Visits a block and what is below it. Recursion ends with the level,
    /// which is at most 8.
    fn visit(&mut self, number: u32, level: u32, key: Option<Range>) -> Result<(), FormatError> {
        let block = self.block(number, level)?;
        self.tree.blocks.push(number);
        let count = usize::from(block.u16(6));
        let most = self.most(&block, level);
        let is_root_leaf = key.is_none() && level == 0;
        if count > most || (count == 0 && !is_root_leaf) {
            return Err(block.corrupt("bb_numrecs", 6, format!("1 to {most}"), count));
        }
        if let Some(key) = key {
            let (offset, first) = self.pair(&block, 0);
            let is_same = match self.order {
                Order::Place => key.0 == first.0,
                Order::Length => key == first,
            };
            if !is_same {
                let expected = format!("{key:?} as in the block above");
                return Err(block.corrupt("bb_key", offset, expected, format!("{first:?}")));
            }
        }
        for index in 0..count {
            let (offset, range) = self.pair(&block, index);
            if level == 0 {
                self.range(&block, offset, range)?;
            } else {
                let child = self.child(&block, index);
                self.visit(child, level.saturating_sub(1), Some(range))?;
            }
        }
        Ok(())
    }

    /// How many records, or keys and pointers, a block has room for.
    fn most(&self, block: &Block, level: u32) -> usize {
        let room = block.bytes.len().saturating_sub(self.header_len());
        room.checked_div(if level == 0 { 8 } else { 12 }).unwrap_or(0)
    }

    /// A record or key, and where it is.
    fn pair(&self, block: &Block, index: usize) -> (usize, Range) {
        let offset = self.header_len().saturating_add(index.saturating_mul(8));
        (offset, (block.u32(offset), block.u32(offset.saturating_add(4))))
    }

    /// A pointer; they follow behind room for all keys.
    fn child(&self, block: &Block, index: usize) -> u32 {
        let keys = self.most(block, 1).saturating_mul(8);
        let offset = self.header_len().saturating_add(keys);
        block.u32(offset.saturating_add(index.saturating_mul(4)))
    }

    const fn header_len(&self) -> usize {
        if self.volume.geometry.features.has_crc { 56 } else { 16 }
    }

    /// Reads a block and checks what it says of itself.
    fn checked(&self, number: u32, level: u32) -> Result<Block, FormatError> {
        let geometry = self.volume.geometry;
        let extent = geometry.extent(self.group.number, number.into(), 1);
        if u64::from(number) < geometry.header_blocks() || number >= self.group.len {
            let expected = format!("a block of group {}", self.group.number);
            return Err(FormatError::corrupt(
                self.order.name(),
                self.group.position,
                expected,
                number,
            ));
        }
        let block = self.volume.read(self.order.name(), extent.start(), extent.len())?;
        block.expect("bb_magic", 0, self.order.magic(geometry.features.has_crc))?;
        if geometry.features.has_crc {
            block.expect_checksum("bb_crc", 52)?;
            block.expect_uuid("bb_uuid", 32, geometry)?;
            block.expect("bb_owner", 48, u32::try_from(self.group.number).unwrap_or(u32::MAX))?;
            let sector = block.u64(16);
            if sector.checked_mul(512) != Some(extent.start()) {
                let expected = extent.start() >> 9;
                return Err(block.corrupt("bb_blkno", 16, expected, sector));
            }
            block.expect_not_after("bb_lsn", 24, self.newest)?;
        }
        if u32::from(block.u16(4)) != level {
            return Err(block.corrupt("bb_level", 4, level, block.u16(4)));
        }
        Ok(block)
    }

    /// Reads a block and checks what it and its neighbours say.
    fn block(&mut self, number: u32, level: u32) -> Result<Block, FormatError> {
        let block = self.checked(number, level)?;
        let place = usize::try_from(level).ok().and_then(|level| self.last.get_mut(level));
        let Some(place) = place else {
            return Err(block.corrupt("bb_level", 4, "a level of the tree", level));
        };
        let (last, right) = *place;
        if right.is_some_and(|right| right != number) {
            let expected = format!("{} as its neighbour says", right.unwrap_or(NULL_BLOCK));
            return Err(block.corrupt("place of a block", 0, expected, number));
        }
        block.expect("bb_leftsib", 8, last)?;
        *place = (number, Some(block.u32(12)));
        Ok(block)
    }

    fn range(&mut self, block: &Block, offset: usize, range: Range) -> Result<(), FormatError> {
        let (first, len) = range;
        let end = first.checked_add(len).filter(|end| *end <= self.group.len);
        let headers = self.volume.geometry.header_blocks();
        if len == 0 || end.is_none() || u64::from(first) < headers {
            let expected = format!("free blocks within {headers} to {}", self.group.len);
            return Err(block.corrupt("free range", offset, expected, format!("{range:?}")));
        }
        let is_after = self.previous.is_none_or(|previous| match self.order {
            // Ranges that touch would have been merged.
            Order::Place => previous.0.saturating_add(previous.1) < first,
            Order::Length => (previous.1, previous.0) < (len, first),
        });
        if !is_after {
            let expected = format!("one behind {:?}", self.previous.unwrap_or_default());
            return Err(block.corrupt("free range", offset, expected, format!("{range:?}")));
        }
        if self.tree.ranges.len() >= MAX_RANGES {
            return Err(FormatError::unsupported(format!(
                "group {} has more than {MAX_RANGES} free ranges",
                self.group.number
            )));
        }
        self.previous = Some(range);
        self.tree.ranges.push(range);
        Ok(())
    }
}
