// SPDX-License-Identifier: MIT OR Apache-2.0
//! The segment information table ("SIT"): for each segment of the main area,
//! which of its blocks are in use.
//!
//! Every block of the table has two places; the checkpoint says which one is
//! right. What changed last is not in the table yet but in a journal of the
//! checkpoint. Here, all of it is read once, in order.

use std::collections::BTreeMap;

use super::checkpoint::{Checkpoint, Log};
use super::superblock::{BLOCK, BLOCKS_PER_SEGMENT, Superblock};
use crate::error::Context;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// Bytes of an entry: a count with a type, a bitmap, a time.
const ENTRY_LEN: usize = 74;
const ENTRIES_PER_BLOCK: u64 = 55;
const MAP_LEN: usize = 64;
/// Hot, warm and cold data, then hot, warm and cold nodes.
const TYPES: u16 = 6;
const FIRST_NODE_TYPE: u16 = 3;
/// Entries in a journal.
const JOURNAL_ENTRIES: u16 = 6;
/// Blocks of the table that are read at once: 1 MiB.
const READ_BLOCKS: u64 = 256;

/// One segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    /// A bit for each block that is in use; bit 0 of byte 0 comes first.
    pub(super) blocks: [u8; MAP_LEN],
    /// How many are.
    pub(super) count: u32,
    pub(super) holds_nodes: bool,
}

impl Segment {
    fn parse(bytes: &[u8], position: u64) -> Result<Self, FormatError> {
        let (Some(vblocks), Some(map)) = (bytes.u16_le(0), bytes.array::<MAP_LEN>(2)) else {
            return Err(FormatError::corrupt("segment information", position, "74 bytes", "fewer"));
        };
        // The disk has the most significant bit first.
        let blocks = map.map(u8::reverse_bits);
        let count: u32 = blocks.iter().map(|byte| byte.count_ones()).sum();
        let (stored, kind) = (vblocks & 0x3FF, vblocks >> 10);
        if u32::from(stored) != count {
            let what = "valid blocks of a segment";
            return Err(FormatError::corrupt(what, position, count, stored));
        }
        if kind >= TYPES {
            return Err(FormatError::corrupt("type of a segment", position, "0 to 5", kind));
        }
        Ok(Self { blocks, count, holds_nodes: kind >= FIRST_NODE_TYPE })
    }

    /// True if this block is in use, or any behind it if `behind` is set.
    fn is_used(&self, block: u64, behind: bool) -> bool {
        let end = if behind { BLOCKS_PER_SEGMENT } else { block.saturating_add(1) };
        (block..end).any(|block| {
            let byte = usize::try_from(block / 8).ok().and_then(|byte| self.blocks.get(byte));
            byte.is_none_or(|byte| byte.reverse_bits() & (0x80 >> (block % 8)) != 0)
        })
    }
}

/// What the table must add up to.
#[derive(Debug, Default)]
struct Sums {
    blocks: u64,
    nodes: u64,
    free: u64,
}

/// Reads the table, checks it against the checkpoint, and calls `take` with
/// each segment that has blocks in use, in order.
pub(super) fn read(
    reader: &dyn ReadAt,
    superblock: &Superblock,
    checkpoint: &Checkpoint,
    mut take: impl FnMut(u64, &Segment),
) -> Result<(), FormatError> {
    let journal = journal(superblock, checkpoint)?;
    let main = superblock.segment_count_main;
    let blocks = main.div_ceil(ENTRIES_PER_BLOCK);
    // The second place of each block, from the start of the table.
    let apart = superblock.segment_count_sit.saturating_mul(BLOCKS_PER_SEGMENT) / 2;
    if blocks > apart {
        return Err(FormatError::corrupt(
            "segment_count_sit",
            superblock.sit_blkaddr.saturating_mul(BLOCK),
            format!("room for the {main} segments"),
            superblock.segment_count_sit,
        ));
    }
    // A read-only image was written with the hot ones of either kind; the
    // others say nothing.
    let hot_only = superblock.is_read_only();
    let logs: BTreeMap<u64, &Log> = checkpoint
        .logs
        .iter()
        .enumerate()
        .filter(|(number, _)| !hot_only || number.is_multiple_of(3))
        .map(|(_, log)| (log.segment, log))
        .collect();
    let mut sums = Sums::default();
    let mut segment = 0_u64;
    let mut block = 0;
    while block < blocks {
        // Neighbours in the same place are read together.
        let second = place(checkpoint, block)?;
        let mut end = block.saturating_add(1);
        while end < blocks
            && end.saturating_sub(block) < READ_BLOCKS
            && place(checkpoint, end)? == second
        {
            end = end.saturating_add(1);
        }
        let first = superblock.sit_blkaddr.saturating_add(block).saturating_add(if second {
            apart
        } else {
            0
        });
        let position = first.saturating_mul(BLOCK);
        let len = end.saturating_sub(block).saturating_mul(BLOCK);
        let bytes = read_vec(reader, position, usize::try_from(len).unwrap_or(usize::MAX))
            .context(|| format!("reading the segments of F2FS at byte {position:#x}"))?;
        let (mut at, size) = (position, usize::try_from(BLOCK).unwrap_or(1));
        for table in bytes.chunks(size) {
            let entries = table.chunks_exact(ENTRY_LEN);
            let mut entry_at = at;
            for entry in entries {
                if segment >= main {
                    break;
                }
                let found = match journal.get(&segment) {
                    Some(found) => *found,
                    None => Segment::parse(entry, entry_at)?,
                };
                add(&mut sums, segment, &found, logs.get(&segment).copied(), entry_at)?;
                if found.count > 0 {
                    take(segment, &found);
                }
                segment = segment.saturating_add(1);
                entry_at = entry_at.saturating_add(u64::try_from(ENTRY_LEN).unwrap_or(0));
            }
            at = at.saturating_add(BLOCK);
        }
        block = end;
    }
    compare(&sums, checkpoint)
}

/// True if the right copy of a block of the table is the second one.
fn place(checkpoint: &Checkpoint, block: u64) -> Result<bool, FormatError> {
    let byte = usize::try_from(block / 8).ok().and_then(|byte| checkpoint.sit_bitmap.get(byte));
    let byte = byte.ok_or_else(|| {
        let expected = format!("a bit for block {block} of the table");
        FormatError::corrupt("SIT version bitmap", checkpoint.position, expected, "none")
    })?;
    Ok(byte & (0x80 >> (block % 8)) != 0)
}

/// The entries of the journal, by segment.
fn journal(
    superblock: &Superblock,
    checkpoint: &Checkpoint,
) -> Result<BTreeMap<u64, Segment>, FormatError> {
    let (bytes, position) = (checkpoint.sit_journal.as_slice(), checkpoint.sit_journal_position);
    let count = bytes.u16_le(0).unwrap_or(u16::MAX);
    if count > JOURNAL_ENTRIES {
        let what = "entries of the SIT journal";
        return Err(FormatError::corrupt(what, position, "at most 6", count));
    }
    let mut segments = BTreeMap::new();
    let mut offset = 2_usize;
    for _ in 0..count {
        let at = position.saturating_add(u64::try_from(offset).unwrap_or(0));
        let segment = bytes.u32_le(offset).map_or(u64::MAX, u64::from);
        let entry = bytes.bytes_at(offset.saturating_add(4), ENTRY_LEN).unwrap_or_default();
        if segment >= superblock.segment_count_main {
            let expected = format!("less than {}", superblock.segment_count_main);
            return Err(FormatError::corrupt("segment in the SIT journal", at, expected, segment));
        }
        let entry = Segment::parse(entry, at.saturating_add(4))?;
        if segments.insert(segment, entry).is_some() {
            let expected = "each segment once";
            return Err(FormatError::corrupt("segment in the SIT journal", at, expected, segment));
        }
        offset = offset.saturating_add(4).saturating_add(ENTRY_LEN);
    }
    Ok(segments)
}

/// Adds a segment to the sums, and compares it with the log that writes to it.
fn add(
    sums: &mut Sums,
    number: u64,
    segment: &Segment,
    log: Option<&Log>,
    position: u64,
) -> Result<(), FormatError> {
    let count = u64::from(segment.count);
    sums.blocks = sums.blocks.saturating_add(count);
    if segment.holds_nodes {
        sums.nodes = sums.nodes.saturating_add(count);
    }
    let Some(log) = log else {
        sums.free = sums.free.saturating_add(u64::from(count == 0));
        return Ok(());
    };
    if count > 0 && log.holds_nodes != segment.holds_nodes {
        let kind = |nodes| if nodes { "nodes" } else { "data" };
        return Err(FormatError::corrupt(
            "type of the segment of a log",
            position,
            kind(log.holds_nodes),
            kind(segment.holds_nodes),
        ));
    }
    // What a log writes next is free.
    if segment.is_used(log.next, !log.fills_holes) {
        return Err(FormatError::corrupt(
            "next block of a log",
            position,
            format!("a free block {} of segment {number}", log.next),
            "one in use",
        ));
    }
    Ok(())
}

/// Compares the table with the counters of the checkpoint.
fn compare(sums: &Sums, checkpoint: &Checkpoint) -> Result<(), FormatError> {
    let counter = |what, offset: u64, expected: String, found: u64| {
        let position = checkpoint.position.saturating_add(offset);
        Err(FormatError::corrupt(what, position, expected, found))
    };
    if sums.nodes != checkpoint.valid_node_count {
        let found = checkpoint.valid_node_count;
        return counter("valid_node_count", 144, sums.nodes.to_string(), found);
    }
    // Blocks that are promised to a file, but have no place yet, count, too.
    if sums.blocks > checkpoint.valid_block_count {
        let expected = format!("at least {}", sums.blocks);
        return counter("valid_block_count", 16, expected, checkpoint.valid_block_count);
    }
    // A segment becomes free with the checkpoint after the one that emptied it.
    if checkpoint.free_segment_count > sums.free {
        let expected = format!("at most {}", sums.free);
        return counter("free_segment_count", 32, expected, checkpoint.free_segment_count);
    }
    Ok(())
}
