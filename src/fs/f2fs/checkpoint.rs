// SPDX-License-Identifier: MIT OR Apache-2.0
//! The two packs of checkpoints. A pack starts and ends with the same block,
//! the checkpoint; in between are bitmaps that did not fit into it, orphan
//! inodes, and the summaries of the current segments, which have spare room
//! for a journal.
//!
//! A mount takes the newer pack whose two ends are whole. The older one is
//! there for the case that the newer is damaged. Here both have to be whole, or
//! one of them wiped, so that it is certain that a mount of the restored
//! filesystem takes the same one; what only the older one needs is free.
//!
//! Fields keep the names of `include/linux/f2fs_fs.h` of the Linux kernel.

use super::checksum::{START, crc32};
use super::superblock::{BLOCK, BLOCKS_PER_SEGMENT, Superblock};
use super::{FSCK, MOUNT};
use crate::error::Context;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// Bytes of a block, as a length in memory.
const BLOCK_LEN: usize = 4096;

const FLAG_UMOUNT: u32 = 0x1;
const FLAG_ORPHAN_PRESENT: u32 = 0x2;
const FLAG_COMPACT_SUM: u32 = 0x4;
const FLAG_ERROR: u32 = 0x8;
const FLAG_FSCK: u32 = 0x10;
const FLAG_FASTBOOT: u32 = 0x20;
const FLAG_CRC_RECOVERY: u32 = 0x40;
const FLAG_NAT_BITS: u32 = 0x80;
const FLAG_TRIMMED: u32 = 0x100;
const FLAG_NOCRC_RECOVERY: u32 = 0x200;
const FLAG_LARGE_NAT_BITMAP: u32 = 0x400;
const FLAG_QUOTA_NEED_FSCK: u32 = 0x800;
const FLAG_DISABLED: u32 = 0x1000;
const FLAG_DISABLED_QUICK: u32 = 0x2000;
const FLAG_RESIZEFS: u32 = 0x4000;

/// Flags with which the map of the checkpoint holds. Orphans are files without
/// a name: until a mount removes them, their blocks are in use like others'.
const HARMLESS: u32 = FLAG_UMOUNT
    | FLAG_ORPHAN_PRESENT
    | FLAG_COMPACT_SUM
    | FLAG_FASTBOOT
    | FLAG_CRC_RECOVERY
    | FLAG_NAT_BITS
    | FLAG_TRIMMED
    | FLAG_NOCRC_RECOVERY
    | FLAG_LARGE_NAT_BITMAP;

/// Where the bitmaps start, and the checksum can be at the earliest.
const BITMAP: usize = 192;
/// Where the checksum can be at the latest.
const CHECKSUM_MAX: usize = BLOCK_LEN - 4;
/// Data logs and node logs: hot, warm and cold.
const LOGS: usize = 3;
/// Room for a journal in a summary block, behind its entries.
const JOURNAL: usize = 3584;
const JOURNAL_LEN: usize = 507;
/// The kind of entries in a summary block.
const ENTRY_TYPE: usize = 4091;

/// A segment that is being written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Log {
    pub(super) segment: u64,
    /// The next block to be written.
    pub(super) next: u64,
    /// True if holes are filled, false if blocks are written one after another.
    pub(super) fills_holes: bool,
    pub(super) holds_nodes: bool,
}

/// Which pack a mount takes, and the block that it starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pack {
    /// Where it starts, in bytes.
    position: u64,
    block: Vec<u8>,
    version: u64,
    flags: u32,
}

/// The checked checkpoint that a mount takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checkpoint {
    /// Where it is, in bytes.
    pub(super) position: u64,
    pub(super) valid_block_count: u64,
    pub(super) valid_node_count: u64,
    pub(super) free_segment_count: u64,
    /// Hot, warm and cold data, then hot, warm and cold nodes.
    pub(super) logs: [Log; 2 * LOGS],
    /// For each block of segment information, which of its two places is
    /// the right one; the most significant bit of a byte comes first.
    pub(super) sit_bitmap: Vec<u8>,
    /// Segment information that is not in its own area yet.
    pub(super) sit_journal: Vec<u8>,
    /// Where that is, in bytes.
    pub(super) sit_journal_position: u64,
}

impl Checkpoint {
    /// The log that the recovery of fsynced files reads.
    pub(super) const fn warm_nodes(&self) -> Log {
        let [_, _, _, _, warm, _] = self.logs;
        warm
    }
}

impl Pack {
    /// The version that node blocks written since then carry.
    pub(super) const fn version(&self) -> u64 {
        self.version
    }

    /// Why the state of the filesystem is not that of a clean unmount.
    pub(super) fn unclean(&self) -> Option<&'static str> {
        let has = |flag| self.flags & flag != 0;
        if has(FLAG_ERROR) || has(FLAG_FSCK) || has(FLAG_QUOTA_NEED_FSCK) {
            Some("has to be checked")
        } else if has(FLAG_RESIZEFS) {
            Some("resized only halfway")
        } else if !has(FLAG_UMOUNT) || has(FLAG_DISABLED) || has(FLAG_DISABLED_QUICK) {
            Some("not unmounted")
        } else {
            None
        }
    }

    /// Why the checkpoint proves nothing, and what can be done about it.
    pub(super) fn distrust(&self) -> Option<(String, &'static str)> {
        let has = |flag| self.flags & flag != 0;
        let why = |why: &str, advice| Some((why.to_owned(), advice));
        let known = HARMLESS
            | FLAG_ERROR
            | FLAG_FSCK
            | FLAG_QUOTA_NEED_FSCK
            | FLAG_DISABLED
            | FLAG_DISABLED_QUICK
            | FLAG_RESIZEFS;
        if self.flags & !known != 0 {
            let unknown = self.flags & !known;
            return Some((
                format!("its checkpoint has flags that are not known: {unknown:#x}"),
                "use a newer version of dacapo",
            ));
        }
        if has(FLAG_ERROR) || has(FLAG_FSCK) {
            return why("its checkpoint says that it has errors", FSCK);
        }
        if has(FLAG_QUOTA_NEED_FSCK) {
            return why("its checkpoint says that its quotas have to be checked", FSCK);
        }
        if has(FLAG_RESIZEFS) {
            return why("it was being resized when it was stopped", FSCK);
        }
        if has(FLAG_DISABLED) || has(FLAG_DISABLED_QUICK) {
            return why("its checkpoints are switched off", MOUNT);
        }
        if !has(FLAG_UMOUNT) {
            return why("it was not unmounted", MOUNT);
        }
        None
    }
}

/// Reads both packs and chooses as a mount does.
pub(super) fn choose(reader: &dyn ReadAt, superblock: &Superblock) -> Result<Pack, FormatError> {
    let first = superblock.cp_blkaddr;
    let second = first.saturating_add(BLOCKS_PER_SEGMENT);
    match (pack(reader, first)?, pack(reader, second)?) {
        (Some(one), Some(other)) => {
            // Versions wrap around. Programs that are no kernel keep the
            // version and write the first pack only, so it wins a tie.
            let ahead = other.version.wrapping_sub(one.version);
            let newer = ahead != 0 && ahead < 1 << 63;
            Ok(if newer { other } else { one })
        }
        (Some(only), None) | (None, Some(only)) => Ok(only),
        (None, None) => {
            let position = first.saturating_mul(BLOCK);
            Err(FormatError::corrupt("checkpoints", position, "one of two", "two that were wiped"))
        }
    }
}

fn read_block(reader: &dyn ReadAt, what: &str, block: u64) -> Result<Vec<u8>, FormatError> {
    let position = block.saturating_mul(BLOCK);
    Ok(read_vec(reader, position, BLOCK_LEN)
        .context(|| format!("reading {what} of F2FS at byte {position:#x}"))?)
}

/// One pack, which starts at `first`: both of its ends are whole and the same.
/// `None` if it was wiped on purpose, as `resize.f2fs` does with the one that
/// is of the old size.
fn pack(reader: &dyn ReadAt, first: u64) -> Result<Option<Pack>, FormatError> {
    let position = first.saturating_mul(BLOCK);
    if read_block(reader, "a checkpoint", first)?.iter().all(|byte| *byte == 0) {
        return Ok(None);
    }
    let block = checked(reader, first)?;
    let bytes = block.as_slice();
    let short = || FormatError::corrupt("checkpoint", position, "4096 bytes", "fewer");
    let version = bytes.u64_le(0).ok_or_else(short)?;
    let flags = bytes.u32_le(132).ok_or_else(short)?;
    let total = u64::from(bytes.u32_le(136).ok_or_else(short)?);
    if !(3..=BLOCKS_PER_SEGMENT).contains(&total) {
        return Err(FormatError::corrupt(
            "cp_pack_total_block_count",
            position.saturating_add(136),
            "3 to 512",
            total,
        ));
    }
    let last = first.saturating_add(total).saturating_sub(1);
    if checked(reader, last)? != block {
        return Err(FormatError::corrupt(
            "last block of a checkpoint",
            last.saturating_mul(BLOCK),
            "the same as its first",
            "something else",
        ));
    }
    Ok(Some(Pack { position, version, flags, block }))
}

/// A block with a checkpoint, whose checksum is right.
fn checked(reader: &dyn ReadAt, block: u64) -> Result<Vec<u8>, FormatError> {
    let position = block.saturating_mul(BLOCK);
    let bytes = read_block(reader, "a checkpoint", block)?;
    let offset = bytes.u32_le(164).unwrap_or(0);
    let place = usize::try_from(offset).unwrap_or(usize::MAX);
    if !(BITMAP..=CHECKSUM_MAX).contains(&place) || place % 4 != 0 {
        return Err(FormatError::corrupt(
            "checksum_offset of a checkpoint",
            position.saturating_add(164),
            "a place behind the other fields",
            offset,
        ));
    }
    let behind = place.saturating_add(4);
    let (before, after) = (bytes.get(..place), bytes.get(behind..));
    let computed = crc32(crc32(START, before.unwrap_or_default()), after.unwrap_or_default());
    let stored = bytes.u32_le(place);
    if stored != Some(computed) {
        return Err(FormatError::corrupt(
            "checksum of a checkpoint",
            position.saturating_add(u64::from(offset)),
            format!("{computed:#010x}"),
            stored.map_or_else(|| "none".to_owned(), |stored| format!("{stored:#010x}")),
        ));
    }
    Ok(bytes)
}

/// What the chosen pack says. To be asked only of one that nothing is wrong
/// with ([`Pack::distrust`]).
pub(super) fn read(
    reader: &dyn ReadAt,
    superblock: &Superblock,
    pack: &Pack,
) -> Result<Checkpoint, FormatError> {
    let bytes = pack.block.as_slice();
    let corrupt = |what: &'static str, offset: u64, expected: String, found: u64| {
        FormatError::corrupt(what, pack.position.saturating_add(offset), expected, found)
    };
    let number = |offset: usize| bytes.u32_le(offset).map_or(0, u64::from);
    let long = |offset: usize| bytes.u64_le(offset).unwrap_or(0);

    let main = superblock.segment_count_main;
    let main_blocks = main.saturating_mul(BLOCKS_PER_SEGMENT);
    let (user, valid) = (long(8), long(16));
    // Where nothing is ever written, nothing is set aside for cleaning.
    let most = if superblock.is_read_only() {
        main_blocks.saturating_add(BLOCKS_PER_SEGMENT)
    } else {
        main_blocks
    };
    if user == 0 || user >= most {
        return Err(corrupt("user_block_count", 8, format!("1 to before {most}"), user));
    }
    if valid > user {
        return Err(corrupt("valid_block_count", 16, format!("at most {user}"), valid));
    }
    let (reserved, overprovision) = (number(24), number(28));
    if reserved >= main {
        return Err(corrupt("rsvd_segment_count", 24, format!("less than {main}"), reserved));
    }
    if !superblock.is_read_only() && (reserved == 0 || overprovision == 0) {
        let found = reserved.min(overprovision);
        return Err(corrupt("overprov_segment_count", 28, "more than none".to_owned(), found));
    }
    let (free, nodes) = (number(32), number(144));
    if free > main {
        return Err(corrupt("free_segment_count", 32, format!("at most {main}"), free));
    }
    if nodes > valid {
        return Err(corrupt("valid_node_count", 144, format!("at most {valid}"), nodes));
    }
    let logs = logs(superblock, pack)?;
    let (sit_bitmap, summaries) =
        (sit_bitmap(reader, superblock, pack)?, summaries(superblock, pack)?);
    let (sit_journal, sit_journal_position) = sit_journal(reader, pack, summaries)?;
    Ok(Checkpoint {
        position: pack.position,
        valid_block_count: valid,
        valid_node_count: nodes,
        free_segment_count: free,
        logs,
        sit_bitmap,
        sit_journal,
        sit_journal_position,
    })
}

/// The six segments that are being written to.
fn logs(superblock: &Superblock, pack: &Pack) -> Result<[Log; 2 * LOGS], FormatError> {
    let bytes = pack.block.as_slice();
    let main = superblock.segment_count_main;
    let mut logs = Vec::with_capacity(2 * LOGS);
    for (holds_nodes, segments, blocks, kinds) in
        [(false, 84_usize, 116_usize, 176_usize), (true, 36, 68, 179)]
    {
        for number in 0..LOGS {
            let at = |base: usize, len: usize| base.saturating_add(number.saturating_mul(len));
            let (segment_at, block_at) = (at(segments, 4), at(blocks, 2));
            let segment = bytes.u32_le(segment_at).map_or(u64::MAX, u64::from);
            let next = bytes.u16_le(block_at).map_or(u64::MAX, u64::from);
            let corrupt = |what, offset: usize, expected: String, found: u64| {
                let offset = u64::try_from(offset).unwrap_or(0);
                FormatError::corrupt(what, pack.position.saturating_add(offset), expected, found)
            };
            if segment >= main {
                let expected = format!("less than {main}");
                return Err(corrupt("segment of a log", segment_at, expected, segment));
            }
            if next >= BLOCKS_PER_SEGMENT {
                return Err(corrupt(
                    "next block of a log",
                    block_at,
                    "less than 512".to_owned(),
                    next,
                ));
            }
            // A read-only image has two logs; the others stay at their start.
            if !superblock.is_read_only() && logs.iter().any(|log: &Log| log.segment == segment) {
                let expected = "a segment of its own".to_owned();
                return Err(corrupt("segment of a log", segment_at, expected, segment));
            }
            let kind = bytes.u8_at(at(kinds, 1)).unwrap_or(0);
            if kind > 1 {
                let expected = "0 or 1".to_owned();
                return Err(corrupt("alloc_type of a log", at(kinds, 1), expected, kind.into()));
            }
            logs.push(Log { segment, next, fills_holes: kind == 1, holds_nodes });
        }
    }
    logs.try_into().map_err(|_| FormatError::unsupported("not six logs"))
}

/// The bitmap that says where the segment information is.
fn sit_bitmap(
    reader: &dyn ReadAt,
    superblock: &Superblock,
    pack: &Pack,
) -> Result<Vec<u8>, FormatError> {
    let bytes = pack.block.as_slice();
    // A bit for each block, of which there are two copies.
    let bitmap_len = |segments: u64| segments.saturating_mul(BLOCKS_PER_SEGMENT) / 2 / 8;
    let mut lens = [0; 2];
    for (len, (what, offset, segments)) in lens.iter_mut().zip([
        ("sit_ver_bitmap_bytesize", 156_usize, superblock.segment_count_sit),
        ("nat_ver_bitmap_bytesize", 160, superblock.segment_count_nat),
    ]) {
        let (found, expected) = (bytes.u32_le(offset).unwrap_or(0), bitmap_len(segments));
        if u64::from(found) != expected {
            let position = pack.position.saturating_add(u64::try_from(offset).unwrap_or(0));
            return Err(FormatError::corrupt(what, position, expected, found));
        }
        *len = usize::try_from(found).unwrap_or(usize::MAX);
    }
    let [sit, nat] = lens;
    let payload = superblock.cp_payload > 0;
    let start = if pack.flags & FLAG_LARGE_NAT_BITMAP != 0 {
        // Behind the checksum, and behind the other bitmap.
        if bytes.u32_le(164).map(usize::try_from) != Some(Ok(BITMAP)) {
            return Err(FormatError::unsupported(
                "an old layout of large bitmaps is not supported",
            ));
        }
        BITMAP.saturating_add(4).saturating_add(nat)
    } else if payload {
        BLOCK_LEN
    } else {
        BITMAP
    };
    let end = start.saturating_add(sit);
    let blocks = superblock.cp_payload.saturating_add(1);
    let room = blocks.saturating_mul(BLOCK);
    // Without blocks of their own, both bitmaps are in front of the checksum.
    let own_room = match (pack.flags & FLAG_LARGE_NAT_BITMAP != 0, payload) {
        (false, false) => end.saturating_add(nat) <= CHECKSUM_MAX,
        (false, true) => BITMAP.saturating_add(nat) <= CHECKSUM_MAX,
        (true, _) => true,
    };
    if !own_room || u64::try_from(end).unwrap_or(u64::MAX) > room {
        return Err(FormatError::corrupt(
            "sit_ver_bitmap_bytesize",
            pack.position.saturating_add(156),
            format!("room in the {blocks} blocks of the checkpoint"),
            sit,
        ));
    }
    let len = usize::try_from(room).unwrap_or(usize::MAX);
    let all = if payload {
        read_vec(reader, pack.position, len)
            .context(|| format!("reading the bitmaps of F2FS at byte {:#x}", pack.position))?
    } else {
        pack.block.clone()
    };
    Ok(all.get(start..end).unwrap_or_default().to_vec())
}

/// Where the summaries of the data logs start, in blocks from the start of the
/// pack; `None` for the block if they are not compacted.
fn summaries(superblock: &Superblock, pack: &Pack) -> Result<(u64, bool), FormatError> {
    let number = |offset: usize| pack.block.u32_le(offset).map_or(0, u64::from);
    let (total, start) = (number(136), number(140));
    let least = superblock.cp_payload.saturating_add(1);
    if start < least {
        return Err(FormatError::corrupt(
            "cp_pack_start_sum",
            pack.position.saturating_add(140),
            format!("at least {least}"),
            start,
        ));
    }
    // Behind the data logs' come three blocks for the node logs, and the end.
    let compact = pack.flags & FLAG_COMPACT_SUM != 0;
    let data = total.checked_sub(start).and_then(|left| left.checked_sub(4));
    let right = match data {
        Some(blocks) if compact => (1..=2).contains(&blocks),
        blocks => blocks == Some(3),
    };
    if !right {
        return Err(FormatError::corrupt(
            "cp_pack_total_block_count",
            pack.position.saturating_add(136),
            "the blocks of the checkpoint and its summaries",
            total,
        ));
    }
    Ok((start, compact))
}

/// The journal of segment information, and where it is.
fn sit_journal(
    reader: &dyn ReadAt,
    pack: &Pack,
    (start, compact): (u64, bool),
) -> Result<(Vec<u8>, u64), FormatError> {
    let first = (pack.position / BLOCK).saturating_add(start);
    // Compacted, it follows the one of node addresses; else it is in the
    // summary of the third log, that of cold data.
    let (block, offset) =
        if compact { (first, JOURNAL_LEN) } else { (first.saturating_add(2), JOURNAL) };
    let bytes = read_block(reader, "a summary", block)?;
    let position = block.saturating_mul(BLOCK);
    let entry_type = bytes.u8_at(ENTRY_TYPE).unwrap_or(0);
    if !compact && entry_type != 0 {
        return Err(FormatError::corrupt(
            "entry_type of the summary of cold data",
            position.saturating_add(u64::try_from(ENTRY_TYPE).unwrap_or(0)),
            0,
            entry_type,
        ));
    }
    let journal = bytes.bytes_at(offset, JOURNAL_LEN).unwrap_or_default().to_vec();
    Ok((journal, position.saturating_add(u64::try_from(offset).unwrap_or(0))))
}
