// SPDX-License-Identifier: MIT OR Apache-2.0
//! The superblock: who the filesystem is, with which features, and where its
//! areas are. There are two copies, 1024 bytes into each of the first two
//! blocks.
//!
//! Fields keep the names of `include/linux/f2fs_fs.h` of the Linux kernel.

use super::checksum::{START, crc32};
use crate::error::Context;
use crate::extent::Extent;
use crate::io::{ReadAt, read_vec};
use crate::ondisk::{Fields, FormatError};

/// The only block size that is known here.
pub(super) const BLOCK: u64 = 4096;
/// Blocks of a segment.
pub(super) const BLOCKS_PER_SEGMENT: u64 = 512;

/// Where the superblock is in its block.
const OFFSET: u64 = 1024;
/// How long it is.
const LEN: usize = 3072;
/// Where its checksum is.
const CRC: u32 = 3068;

const LOG_BLOCK: u32 = 12;
const LOG_BLOCKS_PER_SEGMENT: u32 = 9;
const LOG_SECTOR_MIN: u32 = 9;
/// The most segments that 32-bit block numbers reach.
const MAX_SEGMENTS: u64 = 1 << 23;
/// So many blocks of a checkpoint's pack can hold bitmaps.
const MAX_PAYLOAD: u64 = BLOCKS_PER_SEGMENT - 2;
/// The list of devices: a path of 64 bytes and a count of segments each.
const DEVICES: usize = 2201;
const DEVICE_LEN: usize = 68;
const MAX_DEVICES: usize = 8;
/// Why the kernel stopped writing checkpoints, a count for each reason.
const STOP_REASONS: usize = 2762;
const STOP_REASONS_LEN: usize = 32;
/// What the kernel found to be damaged, a bit for each.
const ERRORS: usize = 2794;
const ERRORS_LEN: usize = 16;
/// Reasons that are not a fault of the filesystem: a shutdown that was asked
/// for, and one that a developer injected.
const HARMLESS_STOPS: usize = 2;

const FEATURE_BLKZONED: u32 = 0x2;
const FEATURE_SB_CHKSUM: u32 = 0x800;
/// Features, by their names. None of these changes what a bit of the segment
/// information means or where it is.
const FEATURES: [(u32, &str); 14] = [
    (0x1, "encrypt"),
    (0x4, "atomic_write"),
    (0x8, "extra_attr"),
    (0x10, "project_quota"),
    (0x20, "inode_checksum"),
    (0x40, "flexible_inline_xattr"),
    (0x80, "quota"),
    (0x100, "inode_crtime"),
    (0x200, "lost_found"),
    (0x400, "verity"),
    (FEATURE_SB_CHKSUM, "sb_checksum"),
    (0x1000, "casefold"),
    (0x2000, "compression"),
    (FEATURE_READ_ONLY, "ro"),
];
/// The image was made to be read only; two of its logs are all that it has.
const FEATURE_READ_ONLY: u32 = 0x4000;

/// A field that contradicts the specification; `offset` is that of the field.
fn corrupt(
    what: &'static str,
    offset: u64,
    expected: impl ToString,
    found: impl ToString,
) -> FormatError {
    FormatError::corrupt(what, OFFSET.saturating_add(offset), expected, found)
}

/// The checked superblock. Positions are in blocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Superblock {
    /// The first pack of checkpoints; the second starts a segment later.
    pub(super) cp_blkaddr: u64,
    pub(super) sit_blkaddr: u64,
    pub(super) main_blkaddr: u64,
    pub(super) segment_count_sit: u64,
    pub(super) segment_count_nat: u64,
    pub(super) segment_count_main: u64,
    /// Blocks of each pack, behind its first, that hold bitmaps.
    pub(super) cp_payload: u64,
    pub(super) feature: u32,
    /// The kernel has found damage, or could not write.
    pub(super) has_errors: bool,
}

impl Superblock {
    pub(super) const fn is_read_only(&self) -> bool {
        self.feature & FEATURE_READ_ONLY != 0
    }

    /// The bytes of a range of blocks.
    pub(super) const fn extent(first: u64, count: u64) -> Extent {
        Extent::at(first.saturating_mul(BLOCK), count.saturating_mul(BLOCK))
    }

    /// The first block of a segment of the main area.
    pub(super) const fn segment_start(&self, segment: u64) -> u64 {
        self.main_blkaddr.saturating_add(segment.saturating_mul(BLOCKS_PER_SEGMENT))
    }

    /// The block behind the main area.
    pub(super) const fn main_end(&self) -> u64 {
        self.segment_start(self.segment_count_main)
    }
}

/// The two copies of the superblock; `None` if the first is not one, or if
/// the volume ends before.
pub(super) fn read(reader: &dyn ReadAt) -> Result<Option<[Vec<u8>; 2]>, FormatError> {
    let copies = BLOCK.saturating_mul(2);
    if reader.len() < copies {
        return Ok(None);
    }
    let blocks = read_vec(reader, 0, usize::try_from(copies).unwrap_or(0))
        .context(|| "reading the superblocks of F2FS at byte 0".to_owned())?;
    let copy = |block: u64| {
        let start = block.saturating_mul(BLOCK).saturating_add(OFFSET);
        let start = usize::try_from(start).unwrap_or(usize::MAX);
        blocks.bytes_at(start, LEN).unwrap_or_default().to_vec()
    };
    let copies = [copy(0), copy(1)];
    let is_one = copies.first().and_then(|copy| copy.u32_le(0)) == Some(START);
    Ok(is_one.then_some(copies))
}

/// The size that a superblock says the filesystem has, in bytes.
pub(super) fn size(bytes: &[u8]) -> u64 {
    bytes.u64_le(36).unwrap_or(0).saturating_mul(BLOCK)
}

/// Reads and checks the superblock of a volume of `len` bytes, given both
/// copies of it.
pub(super) fn parse(copies: &[Vec<u8>; 2], len: u64) -> Result<Superblock, FormatError> {
    let [bytes, second] = copies;
    let short = || corrupt("superblock", 0, format!("{LEN} bytes"), "the volume's end");
    let u32_at = |offset: usize| bytes.u32_le(offset).ok_or_else(short);

    // The features first: without them, nothing else has a meaning.
    let feature = u32_at(2180)?;
    let known = FEATURES.iter().fold(FEATURE_BLKZONED, |known, (bit, _)| known | bit);
    if feature & !known != 0 {
        let unknown = feature & !known;
        return Err(FormatError::unsupported(format!("unknown features of F2FS: {unknown:#x}")));
    }
    let log_blocksize = u32_at(16)?;
    if log_blocksize != LOG_BLOCK {
        let what = "blocks of F2FS that are not of 4096 bytes are not supported";
        return match log_blocksize {
            // As large as a page of memory of some machine.
            13..=16 => Err(FormatError::unsupported(what)),
            _ => Err(corrupt("log_blocksize", 16, LOG_BLOCK, log_blocksize)),
        };
    }
    if feature & FEATURE_SB_CHKSUM != 0 {
        let offset = u32_at(32)?;
        if offset != CRC {
            return Err(corrupt("checksum_offset", 32, CRC, offset));
        }
        let stored = u32_at(3068)?;
        let computed = crc32(START, bytes.bytes_at(0, 3068).ok_or_else(short)?);
        if stored != computed {
            let [stored, computed] = [stored, computed].map(|crc| format!("{crc:#010x}"));
            return Err(corrupt("crc of the superblock", 3068, computed, stored));
        }
    }
    // A mount repairs one from the other: only if they agree is it certain which one it takes.
    if bytes != second {
        let at = bytes.iter().zip(second).position(|(one, other)| one != other).unwrap_or(0);
        let at = u64::try_from(at).unwrap_or(0);
        return Err(FormatError::corrupt(
            "second superblock",
            BLOCK.saturating_add(OFFSET).saturating_add(at),
            "what the first says",
            "something else",
        ));
    }
    let major = bytes.u16_le(4).ok_or_else(short)?;
    if major != 1 {
        return Err(FormatError::unsupported(format!("version {major} of F2FS is not known")));
    }
    if let Some(why) = distrust(bytes, feature) {
        return Err(FormatError::unsupported(why));
    }
    geometry(bytes, feature, len)
}

fn geometry(bytes: &[u8], feature: u32, len: u64) -> Result<Superblock, FormatError> {
    let short = || corrupt("superblock", 0, format!("{LEN} bytes"), "the volume's end");
    let number = |offset: usize| bytes.u32_le(offset).map(u64::from).ok_or_else(short);
    let expect = |what: &'static str, offset: u64, expected: u64| {
        let found = number(usize::try_from(offset).unwrap_or(usize::MAX))?;
        if found == expected { Ok(()) } else { Err(corrupt(what, offset, expected, found)) }
    };
    let log_sectorsize = u64::from(bytes.u32_le(8).ok_or_else(short)?);
    if !(u64::from(LOG_SECTOR_MIN)..=u64::from(LOG_BLOCK)).contains(&log_sectorsize) {
        return Err(corrupt("log_sectorsize", 8, "9 to 12", log_sectorsize));
    }
    let left = u64::from(LOG_BLOCK).saturating_sub(log_sectorsize);
    expect("log_sectors_per_block", 12, left)?;
    expect("log_blocks_per_seg", 20, u64::from(LOG_BLOCKS_PER_SEGMENT))?;
    expect("node_ino", 100, 1)?;
    expect("meta_ino", 104, 2)?;
    expect("root_ino", 96, 3)?;

    let block_count = bytes.u64_le(36).ok_or_else(short)?;
    let size = block_count.saturating_mul(BLOCK);
    if size > len {
        let most = format!("at most the {len} bytes of the volume");
        return Err(corrupt("block_count", 36, most, size));
    }
    let segment_count = number(48)?;
    if segment_count == 0 || segment_count > MAX_SEGMENTS {
        return Err(corrupt("segment_count", 48, "1 to 2^23", segment_count));
    }
    let [ckpt, sit, nat, ssa, main] =
        [number(52)?, number(56)?, number(60)?, number(64)?, number(68)?];
    if ckpt != 2 {
        return Err(corrupt("segment_count_ckpt", 52, 2, ckpt));
    }
    for (what, offset, count) in [("segment_count_sit", 56, sit), ("segment_count_nat", 60, nat)] {
        // There is a second place for each of their blocks.
        if count == 0 || count % 2 != 0 {
            return Err(corrupt(what, offset, "an even number", count));
        }
    }
    // Where nothing is ever cleaned, there are no summaries.
    if feature & FEATURE_READ_ONLY == 0 && ssa < main.div_ceil(BLOCKS_PER_SEGMENT) {
        let least = format!("a block for each of the {main} segments");
        return Err(corrupt("segment_count_ssa", 64, least, ssa));
    }

    // The areas follow each other without a gap.
    let segments = |count: u64| count.saturating_mul(BLOCKS_PER_SEGMENT);
    let segment0 = number(72)?;
    if segment0 < 2 {
        return Err(corrupt("segment0_blkaddr", 72, "a place behind the superblocks", segment0));
    }
    let mut next = segment0;
    for (what, offset, count) in [
        ("cp_blkaddr", 76, ckpt),
        ("sit_blkaddr", 80, sit),
        ("nat_blkaddr", 84, nat),
        ("ssa_blkaddr", 88, ssa),
    ] {
        expect(what, offset, next)?;
        next = next.saturating_add(segments(count));
    }
    expect("main_blkaddr", 92, next)?;
    let (main_blkaddr, main_end) = (next, next.saturating_add(segments(main)));
    // Old programs left segments unused at the end; whatever is there is stored.
    let end = segment0.saturating_add(segments(segment_count));
    if main == 0 || main_end > end {
        let most = format!("1 to the {segment_count} segments of all, less those of the metadata");
        return Err(corrupt("segment_count_main", 68, most, main));
    }
    if main_end > block_count {
        let most = format!("at most the {block_count} blocks of the filesystem");
        return Err(corrupt("end of the main area", 68, most, main_end));
    }
    sections(bytes, segment_count, main)?;
    let cp_payload = number(1664)?;
    if cp_payload > MAX_PAYLOAD {
        return Err(corrupt("cp_payload", 1664, format!("at most {MAX_PAYLOAD}"), cp_payload));
    }
    Ok(Superblock {
        cp_blkaddr: segment0,
        sit_blkaddr: segment0.saturating_add(segments(ckpt)),
        main_blkaddr,
        segment_count_sit: sit,
        segment_count_nat: nat,
        segment_count_main: main,
        cp_payload,
        feature,
        has_errors: has_errors(bytes),
    })
}

/// Sections and zones, which decide only where the filesystem writes next.
fn sections(bytes: &[u8], segment_count: u64, main: u64) -> Result<(), FormatError> {
    let number = |offset: usize| bytes.u32_le(offset).map_or(0, u64::from);
    let [segs_per_sec, secs_per_zone, section_count] = [number(24), number(28), number(44)];
    if segs_per_sec == 0 || segs_per_sec > segment_count {
        let expected = format!("1 to the {segment_count} segments");
        return Err(corrupt("segs_per_sec", 24, expected, segs_per_sec));
    }
    if section_count.checked_mul(segs_per_sec) != Some(main) {
        let expected = format!("all of the {main} segments in sections of {segs_per_sec}");
        return Err(corrupt("section_count", 44, expected, section_count));
    }
    if secs_per_zone == 0 || secs_per_zone > section_count {
        let expected = format!("1 to the {section_count} sections");
        return Err(corrupt("secs_per_zone", 28, expected, secs_per_zone));
    }
    Ok(())
}

/// Why a healthy superblock proves nothing.
fn distrust(bytes: &[u8], feature: u32) -> Option<&'static str> {
    if feature & FEATURE_BLKZONED != 0 {
        return Some("it is on a zoned disk");
    }
    let devices = (0..MAX_DEVICES)
        .filter_map(|number| bytes.u8_at(DEVICES.checked_add(number.checked_mul(DEVICE_LEN)?)?))
        .any(|first| first != 0);
    devices.then_some("it spans several devices: save the others, too")
}

fn has_errors(bytes: &[u8]) -> bool {
    let errors = bytes.bytes_at(ERRORS, ERRORS_LEN).unwrap_or_default();
    let stops = bytes.bytes_at(STOP_REASONS, STOP_REASONS_LEN).unwrap_or_default();
    errors.iter().chain(stops.iter().skip(HARMLESS_STOPS)).any(|byte| *byte != 0)
}
