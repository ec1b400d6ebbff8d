// SPDX-License-Identifier: MIT OR Apache-2.0
//! Where the blocks of a file are: by extents, or by lists of block numbers as
//! in ext2 and ext3.

use super::super::checksum::crc32c;
use super::inode::Inode;
use super::{ExtFiles, Use};
use crate::fs::files::FileResult;
use crate::ondisk::{Fields, FormatError};

const EXTENT_MAGIC: u16 = 0xF30A;
/// The kernel's limit of the depth of an extent tree.
const MAX_DEPTH: u16 = 5;
/// Longer extents are unwritten: allocated, and zero by definition.
const MAX_WRITTEN_LEN: u16 = 32768;
/// The length of the header of a node and of each of its entries.
const ENTRY_LEN: usize = 12;
/// No file has more blocks.
const MAX_BLOCKS: u64 = 1 << 32;

/// Consecutive blocks of a file, consecutive on the disk, too; or a hole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    /// The first block, counted in the file.
    pub(super) first: u64,
    /// The block after the last.
    pub(super) end: u64,
    /// The block of the filesystem that holds the first; none if all is zeros.
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

/// The piece of a file that begins at or before a block and ends after it.
pub(super) fn piece(files: &ExtFiles, inode: &Inode, block: u64) -> FileResult<Piece> {
    if block >= MAX_BLOCKS {
        return Ok(Piece::hole(block, u64::MAX));
    }
    let piece = if inode.has_extents() {
        by_extents(files, inode, block)?
    } else {
        by_pointers(files, inode, block)?
    };
    if let Some(place) = piece.place {
        files.volume().check("content of a file", place, piece.count())?;
        if place <= files.superblock.geometry.superblock_block() {
            return Err(inode.corrupt("map of a file", "a block", place));
        }
    }
    // Without progress there would be no end.
    if piece.first > block || piece.end <= block {
        return Err(inode.corrupt("map of a file", format!("block {block}"), format!("{piece:?}")));
    }
    Ok(piece)
}

/// Descends an extent tree. Each step lowers the depth, and what a node says
/// has to lie between the bounds that its parent gives it.
fn by_extents(files: &ExtFiles, inode: &Inode, block: u64) -> FileResult<Piece> {
    let root = inode.map();
    let mut depth = root.u16_le(6).unwrap_or(0);
    if depth > MAX_DEPTH {
        return Err(inode.corrupt("eh_depth", format!("at most {MAX_DEPTH}"), depth));
    }
    check_node(inode, root, depth)?;
    let (mut low, mut high) = (0, MAX_BLOCKS);
    let mut kept = None;
    loop {
        let node: &[u8] = kept.as_deref().unwrap_or(root);
        let entries = Entries::of(node);
        if entries.first().is_some_and(|first| first < low)
            || entries.end(depth).is_some_and(|end| end > high)
        {
            let found = format!("{:?} to {:?}", entries.first(), entries.end(depth));
            return Err(inode.corrupt("node of an extent tree", format!("{low} to {high}"), found));
        }
        let Some(index) = entries.at(block) else {
            return Ok(Piece::hole(low, entries.first().unwrap_or(high)));
        };
        let entry = entries.entry(index);
        let first = u64::from(entry.u32_le(0).unwrap_or(0));
        let next = entries.start(index.saturating_add(1)).unwrap_or(high);
        let Some(below) = depth.checked_sub(1) else {
            let (len, is_written) = extent_len(entry);
            let end = first.saturating_add(len);
            if block >= end {
                return Ok(Piece::hole(end, next));
            }
            return Ok(Piece { first, end, place: is_written.then(|| wide(entry, 6, 8)) });
        };
        let child = wide(entry, 8, 4);
        let node = files.block(Use::ExtentTree, child, inode.number, |bytes, position| {
            check_node(inode, bytes, below)?;
            check_node_checksum(files, inode, bytes, position)
        })?;
        // The same block may be asked for at another depth.
        if node.u16_le(6) != Some(below) {
            return Err(inode.corrupt("eh_depth", below, format!("{:?}", node.u16_le(6))));
        }
        (low, high, depth) = (first, next, below);
        kept = Some(node);
    }
}

/// The number of a block whose upper half is elsewhere.
fn wide(entry: &[u8], high: usize, low: usize) -> u64 {
    u64::from(entry.u16_le(high).unwrap_or(0)) << 32 | u64::from(entry.u32_le(low).unwrap_or(0))
}

/// The blocks of an extent, and whether they were written.
fn extent_len(entry: &[u8]) -> (u64, bool) {
    let len = entry.u16_le(4).unwrap_or(0);
    match len.checked_sub(MAX_WRITTEN_LEN) {
        None | Some(0) => (len.into(), true),
        Some(unwritten) => (unwritten.into(), false),
    }
}

/// The entries of a node of an extent tree, in ascending order.
struct Entries<'a>(&'a [u8]);

impl<'a> Entries<'a> {
    fn of(node: &'a [u8]) -> Self {
        let count = usize::from(node.u16_le(2).unwrap_or(0));
        Self(node.bytes_at(ENTRY_LEN, count.saturating_mul(ENTRY_LEN)).unwrap_or_default())
    }

    fn count(&self) -> usize {
        self.0.len().checked_div(ENTRY_LEN).unwrap_or(0)
    }

    fn entry(&self, index: usize) -> &'a [u8] {
        self.0.bytes_at(index.saturating_mul(ENTRY_LEN), ENTRY_LEN).unwrap_or_default()
    }

    fn start(&self, index: usize) -> Option<u64> {
        self.entry(index).u32_le(0).map(u64::from)
    }

    fn first(&self) -> Option<u64> {
        self.start(0)
    }

    /// The block after the last that the node speaks of.
    fn end(&self, depth: u16) -> Option<u64> {
        let last = self.count().checked_sub(1)?;
        let len = if depth == 0 { extent_len(self.entry(last)).0 } else { 1 };
        Some(self.start(last)?.saturating_add(len))
    }

    /// The last entry that starts at or before a block.
    fn at(&self, block: u64) -> Option<usize> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low.midpoint(high);
            if self.start(middle).is_some_and(|start| start <= block) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        low.checked_sub(1)
    }
}

/// Checks a node's header, and that its entries follow each other.
fn check_node(inode: &Inode, node: &[u8], depth: u16) -> FileResult<()> {
    let header = (node.u16_le(0), node.u16_le(2), node.u16_le(4), node.u16_le(6));
    let (Some(EXTENT_MAGIC), Some(count), Some(most), Some(found)) = header else {
        return Err(inode.corrupt("eh_magic", format!("{EXTENT_MAGIC:#x}"), "another"));
    };
    if found != depth {
        return Err(inode.corrupt("eh_depth", depth, found));
    }
    let room = node.len().checked_div(ENTRY_LEN).unwrap_or(0).saturating_sub(1);
    if count > most || usize::from(most) > room || (count == 0 && depth > 0) {
        let expected = format!("up to {room} entries");
        return Err(inode.corrupt("eh_entries", expected, format!("{count} of {most}")));
    }
    let mut next = 0;
    for entry in node.chunks_exact(ENTRY_LEN).skip(1).take(usize::from(count)) {
        let start = u64::from(entry.u32_le(0).unwrap_or(0));
        let len = if depth == 0 { extent_len(entry).0 } else { 1 };
        if start < next || len == 0 {
            let expected = format!("an entry from block {next}");
            return Err(inode.corrupt("extent tree of a file", expected, start));
        }
        next = start.saturating_add(len);
    }
    Ok(())
}

/// Checks the checksum behind the entries of a node in a block of its own.
fn check_node_checksum(
    files: &ExtFiles,
    inode: &Inode,
    bytes: &[u8],
    position: u64,
) -> FileResult<()> {
    if !files.superblock.has_metadata_checksums() {
        return Ok(());
    }
    let most = usize::from(bytes.u16_le(4).unwrap_or(0));
    let tail = most.saturating_mul(ENTRY_LEN).saturating_add(ENTRY_LEN);
    let computed = bytes.get(..tail).map(|bytes| crc32c(inode.checksum_seed, bytes));
    let stored = bytes.u32_le(tail);
    if stored.is_some() && stored == computed {
        return Ok(());
    }
    let show = |crc: Option<u32>| crc.map_or_else(|| "none".into(), |crc| format!("{crc:#010x}"));
    Err(FormatError::corrupt("eb_checksum", position, show(computed), show(stored)))
}

/// Follows one of the twelve direct block numbers or of the three trees.
fn by_pointers(files: &ExtFiles, inode: &Inode, block: u64) -> FileResult<Piece> {
    const DIRECT: u64 = 12;
    let slots = files.block_size() >> 2;
    let root = inode.map();
    if block < DIRECT {
        let direct = root.get(..48).unwrap_or_default();
        return Ok(run_of(direct, block, 0));
    }
    // The block, counted in the tree; the blocks that the tree has room for.
    let mut within = block.saturating_sub(DIRECT);
    let mut room = slots;
    for levels in 1..=3_u32 {
        if within >= room {
            within = within.saturating_sub(room);
            room = room.saturating_mul(slots);
            continue;
        }
        let slot = usize::try_from(levels).unwrap_or(0).saturating_add(11).saturating_mul(4);
        let mut pointer = u64::from(root.u32_le(slot).unwrap_or(0));
        let mut first = block.saturating_sub(within);
        for _ in 0..levels {
            if pointer == 0 {
                return Ok(Piece::hole(first, first.saturating_add(room)));
            }
            let node = files.block(Use::BlockNumbers, pointer, 0, |_, _| Ok(()))?;
            // What one pointer of this node stands for.
            room = room.checked_div(slots).unwrap_or(0);
            let index = within.checked_div(room).unwrap_or(0);
            if room <= 1 {
                return Ok(run_of(&node, index, first));
            }
            within = within.checked_rem(room).unwrap_or(0);
            first = first.saturating_add(index.saturating_mul(room));
            let index = usize::try_from(index).unwrap_or(usize::MAX);
            pointer = u64::from(node.u32_le(index.saturating_mul(4)).unwrap_or(0));
        }
    }
    Ok(Piece::hole(block, MAX_BLOCKS))
}

/// The consecutive blocks in a list of block numbers from one of them on.
fn run_of(list: &[u8], index: u64, first: u64) -> Piece {
    let start = usize::try_from(index).unwrap_or(usize::MAX).saturating_mul(4);
    let mut numbers = list
        .get(start..)
        .unwrap_or_default()
        .chunks_exact(4)
        .map(|number| u64::from(number.u32_le(0).unwrap_or(0)));
    let place = numbers.next().unwrap_or(0);
    let mut count = 1_u64;
    for number in numbers {
        let expected = if place == 0 { 0 } else { place.saturating_add(count) };
        if number != expected {
            break;
        }
        count = count.saturating_add(1);
    }
    let first = first.saturating_add(index);
    Piece { first, end: first.saturating_add(count), place: (place != 0).then_some(place) }
}
