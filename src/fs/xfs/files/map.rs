// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the blocks of a fork are: extents in the inode, or in a tree of which
//! the inode has the root.

use super::super::volume::Block;
use super::inode::{Fork, Format, Inode};
use super::{Use, XfsFiles};
use crate::fs::files::FileResult;
use crate::ondisk::Fields;

const MAGIC: &[u8; 4] = b"BMA3";
const OLD_MAGIC: &[u8; 4] = b"BMAP";
/// The headers of a block of a tree, in version 5 and 4; of a root.
const HEADER_LEN: usize = 72;
const OLD_HEADER_LEN: usize = 24;
const ROOT_HEADER_LEN: usize = 4;
const EXTENT_LEN: usize = 16;
/// A key and a pointer.
const ENTRY_LEN: usize = 16;
/// No tree is higher.
const MAX_LEVELS: u16 = 14;
/// The block after the last that a fork can have.
const MAX_BLOCKS: u64 = 1 << 54;

/// Consecutive blocks of a fork, consecutive on the disk, too; or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The first block, counted in the fork.
    pub(super) first: u64,
    /// The block after the last.
    pub(super) end: u64,
    /// The number of the block that holds the first; none if all is zeros.
    pub(super) place: Option<u64>,
}

impl Piece {
    pub(super) const fn count(&self) -> u64 {
        self.end.saturating_sub(self.first)
    }

    const fn hole(first: u64, end: u64) -> Self {
        Self { first, end, place: None }
    }
}

/// The piece of a fork that begins at or before a block and ends after it.
pub(super) fn piece(files: &XfsFiles, inode: &Inode, fork: &Fork, block: u64) -> FileResult<Piece> {
    if block >= MAX_BLOCKS {
        return Ok(Piece::hole(block, u64::MAX));
    }
    let piece = match fork.format {
        Format::Local => return Err(inode.corrupt("di_format", "extents", "content in the inode")),
        Format::Extents(count) => {
            let extents = usize::try_from(count)
                .ok()
                .and_then(|count| fork.bytes.bytes_at(0, count.checked_mul(EXTENT_LEN)?))
                .ok_or_else(|| {
                    inode.corrupt("di_nextents", "extents inside of the inode", count)
                })?;
            if !follow_each_other(extents) {
                return Err(inode.corrupt("extents of an inode", "ascending ones", "others"));
            }
            in_list(extents, block, 0, MAX_BLOCKS)
        }
        Format::Tree => in_tree(files, inode, fork, block)?,
    };
    let geometry = &files.superblock.geometry;
    if let Some(place) = piece.place {
        let (group, first) = geometry.split(place);
        let is_inside = group < geometry.ag_count.into()
            && first
                .checked_add(piece.count())
                .is_some_and(|end| end <= geometry.ag_len(group).into());
        if !is_inside || (group == 0 && first == 0) {
            return Err(inode.corrupt("extent of an inode", "blocks of one group", place));
        }
    }
    // Without progress there would be no end.
    if piece.first > block || piece.end <= block {
        return Err(inode.corrupt(
            "map of an inode",
            format!("block {block}"),
            format!("{piece:?}"),
        ));
    }
    Ok(piece)
}

/// The parts of an extent: 1 bit, 54, 52 and 21.
fn unpack(extent: &[u8]) -> (Piece, bool) {
    let high = extent.u64_be(0).unwrap_or(0);
    let low = extent.u64_be(8).unwrap_or(0);
    let first = (high & (u64::MAX >> 1)) >> 9;
    let place = (high & 0x1FF) << 43 | low >> 21;
    let count = low & 0x1F_FFFF;
    let is_unwritten = high >> 63 == 1;
    (Piece { first, end: first.saturating_add(count), place: Some(place) }, is_unwritten)
}

fn follow_each_other(extents: &[u8]) -> bool {
    let mut end = 0;
    extents.chunks_exact(EXTENT_LEN).all(|extent| {
        let (piece, _) = unpack(extent);
        let follows = piece.first >= end && piece.end > piece.first;
        end = piece.end;
        follows
    })
}

/// What a list of extents between two bounds says of a block.
fn in_list(extents: &[u8], block: u64, low: u64, high: u64) -> Piece {
    let count = extents.len().checked_div(EXTENT_LEN).unwrap_or(0);
    let at = |index: usize| {
        let extent = extents.bytes_at(index.saturating_mul(EXTENT_LEN), EXTENT_LEN);
        extent.map(unpack)
    };
    let after = partition(count, |index| at(index).is_some_and(|(piece, _)| piece.first <= block));
    let next = at(after).map_or(high, |(piece, _)| piece.first);
    match after.checked_sub(1).and_then(at) {
        None => Piece::hole(low, next),
        Some((piece, _)) if piece.end <= block => Piece::hole(piece.end, next),
        Some((piece, true)) => Piece::hole(piece.first, piece.end),
        Some((piece, false)) => piece,
    }
}

/// How many of the first `count` are before a place.
fn partition(count: usize, is_before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low.midpoint(high);
        if is_before(middle) {
            low = middle.saturating_add(1);
        } else {
            high = middle;
        }
    }
    low
}

/// Descends a tree. Each step lowers the level, and what a node says has to lie
/// between the bounds that its parent gives it.
fn in_tree(files: &XfsFiles, inode: &Inode, fork: &Fork, block: u64) -> FileResult<Piece> {
    let (mut level, count) = (fork.bytes.u16_be(0).unwrap_or(0), fork.bytes.u16_be(2).unwrap_or(0));
    if level == 0 || level > MAX_LEVELS {
        return Err(inode.corrupt("bb_level", format!("1 to {MAX_LEVELS}"), level));
    }
    let root = Keys::of(&fork.bytes, ROOT_HEADER_LEN, count)
        .ok_or_else(|| inode.corrupt("bb_numrecs", "entries inside of the inode", count))?;
    let (mut low, mut high) = (0, MAX_BLOCKS);
    let Some(mut child) = root.step(block, &mut low, &mut high) else {
        return Ok(Piece::hole(0, root.key(0).unwrap_or(MAX_BLOCKS)));
    };
    let header = if files.has_checksums() { HEADER_LEN } else { OLD_HEADER_LEN };
    loop {
        level = level.saturating_sub(1);
        let node = node(files, inode, child, level)?;
        if node.u16(4) != level {
            return Err(node.corrupt("bb_level", 4, level, node.u16(4)));
        }
        let count = node.u16(6);
        if level > 0 {
            let keys = Keys::of(&node.bytes, header, count)
                .filter(|keys| {
                    keys.key(0).is_some_and(|key| key >= low)
                        && keys.last().is_some_and(|key| key < high)
                })
                .ok_or_else(|| {
                    node.corrupt("keys of a map", 6, format!("{low} to {high}"), "others")
                })?;
            match keys.step(block, &mut low, &mut high) {
                Some(next) => child = next,
                None => return Ok(Piece::hole(low, keys.key(0).unwrap_or(high))),
            }
            continue;
        }
        let extents = usize::from(count)
            .checked_mul(EXTENT_LEN)
            .and_then(|len| node.bytes.bytes_at(header, len))
            .ok_or_else(|| node.corrupt("bb_numrecs", 6, "extents inside of the block", count))?;
        let first = extents.get(..EXTENT_LEN).map(unpack);
        let last = extents.rchunks_exact(EXTENT_LEN).next().map(unpack);
        let is_inside = first.is_none_or(|(piece, _)| piece.first >= low)
            && last.is_none_or(|(piece, _)| piece.end <= high);
        if !is_inside {
            return Err(node.corrupt(
                "extents of a map",
                header,
                format!("{low} to {high}"),
                "others",
            ));
        }
        return Ok(in_list(extents, block, low, high));
    }
}

/// A block of a tree, checked for its inode.
fn node(
    files: &XfsFiles,
    inode: &Inode,
    block: u64,
    level: u16,
) -> FileResult<std::sync::Arc<Block>> {
    let geometry = &files.superblock.geometry;
    if !geometry.has_block(block) {
        return Err(inode.corrupt("pointer of a map", "a block", block));
    }
    let (group, first) = geometry.split(block);
    let place = geometry.extent(group, first, 1);
    files.block(Use::Map, place.start(), place.len(), inode.number, |block| {
        let (magic, header) =
            if files.has_checksums() { (MAGIC, HEADER_LEN) } else { (OLD_MAGIC, OLD_HEADER_LEN) };
        if block.bytes.bytes_at(0, 4) != Some(magic.as_slice()) {
            let expected = String::from_utf8_lossy(magic);
            return Err(block.corrupt("bb_magic", 0, expected, format!("{:#x}", block.u32(0))));
        }
        if files.has_checksums() {
            block.expect_checksum("bb_crc", 64)?;
            block.expect_uuid("bb_uuid", 40, geometry)?;
            if block.u64(56) != inode.number {
                return Err(block.corrupt("bb_owner", 56, inode.number, block.u64(56)));
            }
        }
        let count = block.u16(6);
        let follow = if level == 0 {
            let len = usize::from(count).saturating_mul(EXTENT_LEN);
            block.bytes.bytes_at(header, len).is_some_and(follow_each_other)
        } else {
            Keys::of(&block.bytes, header, count).is_some_and(|keys| keys.follow_each_other())
        };
        if !follow || block.u16(4) != level {
            return Err(block.corrupt(
                "map of an inode",
                6,
                format!("entries of level {level}"),
                count,
            ));
        }
        Ok(())
    })
}

/// The keys of a node, behind which are as many pointers.
struct Keys<'a> {
    keys: &'a [u8],
    pointers: &'a [u8],
}

impl<'a> Keys<'a> {
    fn of(node: &'a [u8], header: usize, count: u16) -> Option<Self> {
        let room = node.len().checked_sub(header)?.checked_div(ENTRY_LEN)?;
        let count = usize::from(count);
        if count == 0 || count > room {
            return None;
        }
        let len = count.checked_mul(8)?;
        let keys = node.bytes_at(header, len)?;
        let pointers = node.bytes_at(room.checked_mul(8)?.checked_add(header)?, len)?;
        Some(Self { keys, pointers })
    }

    fn key(&self, index: usize) -> Option<u64> {
        self.keys.u64_be(index.checked_mul(8)?)
    }

    fn count(&self) -> usize {
        self.keys.len().checked_div(8).unwrap_or(0)
    }

    fn last(&self) -> Option<u64> {
        self.key(self.count().checked_sub(1)?)
    }

    fn follow_each_other(&self) -> bool {
        (1..self.count()).all(|index| self.key(index) > self.key(index.saturating_sub(1)))
    }

    /// The pointer to where a block is, and the bounds of what is there.
    fn step(&self, block: u64, low: &mut u64, high: &mut u64) -> Option<u64> {
        let after =
            partition(self.count(), |index| self.key(index).is_some_and(|key| key <= block));
        let index = after.checked_sub(1)?;
        *low = self.key(index)?;
        *high = self.key(after).unwrap_or(*high);
        self.pointers.u64_be(index.checked_mul(8)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(first: u64, place: u64, count: u64, is_unwritten: bool) -> Vec<u8> {
        let high = u64::from(is_unwritten) << 63 | first << 9 | place >> 43;
        let low = place << 21 | count;
        [high.to_be_bytes(), low.to_be_bytes()].concat()
    }

    #[test]
    fn a_list_says_what_each_block_is() {
        let list = [
            extent(5, 0xF_FFFF_FFFF_FFFF, 3, false),
            extent(8, 7, 2, true),
            extent(20, 100, 0x1F_FFFF, false),
        ]
        .concat();
        assert!(follow_each_other(&list));
        let at = |block| in_list(&list, block, 2, 1 << 40);
        assert_eq!(at(2), Piece::hole(2, 5));
        assert_eq!(at(7), Piece { first: 5, end: 8, place: Some(0xF_FFFF_FFFF_FFFF) });
        assert_eq!(at(9), Piece::hole(8, 10));
        assert_eq!(at(10), Piece::hole(10, 20));
        assert_eq!(at(21).end, 20 + 0x1F_FFFF);
        assert_eq!(at(1 << 30), Piece::hole(20 + 0x1F_FFFF, 1 << 40));
        assert!(!follow_each_other(&[extent(5, 1, 3, false), extent(7, 1, 1, false)].concat()));
        assert!(!follow_each_other(&extent(5, 1, 0, false)));
    }
}
