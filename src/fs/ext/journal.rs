// SPDX-License-Identifier: MIT OR Apache-2.0
//! The journal (jbd2) inside the filesystem: its superblock, and whether
//! something waits in it.
//!
//! All numbers of a journal are big-endian. What its transactions hold is read
//! in `replay.rs`.

use super::checksum::{START, crc32c};
use super::inode::FileMap;
use super::volume::Volume;
use crate::ondisk::{Fields, FormatError};

/// The first four bytes of each of a journal's own blocks.
pub(super) const MAGIC: u32 = 0xC03B_3998;

const SUPERBLOCK_V1: u32 = 3;
const SUPERBLOCK_V2: u32 = 4;
const SUPERBLOCK_LEN: usize = 1024;
const CHECKSUM_OFFSET: usize = 0xFC;
const CHECKSUM_TYPE_CRC32C: u8 = 4;

const COMPAT_CHECKSUM: u32 = 0x1;
const INCOMPAT_REVOKE: u32 = 0x1;
const INCOMPAT_64BIT: u32 = 0x2;
const INCOMPAT_ASYNC_COMMIT: u32 = 0x4;
const INCOMPAT_CSUM_V2: u32 = 0x8;
const INCOMPAT_CSUM_V3: u32 = 0x10;
const INCOMPAT_FAST_COMMIT: u32 = 0x20;
const INCOMPAT_KNOWN: u32 = INCOMPAT_REVOKE
    | INCOMPAT_64BIT
    | INCOMPAT_ASYNC_COMMIT
    | INCOMPAT_CSUM_V2
    | INCOMPAT_CSUM_V3
    | INCOMPAT_FAST_COMMIT;

/// The kernel and e2fsprogs refuse a shorter journal.
const MIN_BLOCKS: u64 = 1024;
/// The size of the fast commit area if the superblock says 0.
const DEFAULT_FAST_COMMIT_BLOCKS: u64 = 256;

/// How the blocks of a journal are protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checksums {
    None,
    /// One sum per transaction, in its commit block.
    V1,
    /// One sum per block; 16 bits of those of copies are kept.
    V2,
    /// One sum per block.
    V3,
}

/// The checked superblock of a journal. Blocks are counted in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Journal {
    pub(super) first: u64,
    /// The block after the log's last; the fast commit area follows.
    pub(super) end: u64,
    /// The block after the journal's last.
    pub(super) len: u64,
    /// The number of the first transaction to replay.
    pub(super) sequence: u32,
    /// Where it starts; 0 if there is nothing to replay.
    pub(super) start: u64,
    /// True if an error was recorded that did not reach the superblock.
    pub(super) has_error: bool,
    pub(super) checksums: Checksums,
    pub(super) checksum_seed: u32,
    pub(super) has_wide_blocks: bool,
    pub(super) has_fast_commit: bool,
}

/// Reads and checks the superblock of the journal in `file`.
pub(super) fn read(volume: &Volume, file: &FileMap) -> Result<Journal, FormatError> {
    let block = file.locate(0).unwrap_or(0);
    let bytes = volume.read("journal superblock", block, 1)?;
    let position = volume.extent(block, 1).start();
    Journal::parse(&bytes, position, volume.geometry().block_size, file.blocks())
}

impl Journal {
    fn parse(
        bytes: &[u8],
        position: u64,
        block_size: u64,
        file_blocks: u64,
    ) -> Result<Self, FormatError> {
        let field = |offset| {
            bytes.u32_be(offset).ok_or_else(|| {
                let expected = format!("{SUPERBLOCK_LEN} bytes");
                FormatError::corrupt("journal superblock", position, expected, bytes.len())
            })
        };
        let corrupt = |what, offset, expected: String, found: u64| {
            let position = position.saturating_add(offset);
            FormatError::corrupt(what, position, expected, format!("{found:#x}"))
        };
        let magic = field(0x0)?;
        if magic != MAGIC {
            return Err(corrupt("h_magic", 0x0, format!("{MAGIC:#x}"), magic.into()));
        }
        let version = field(0x4)?;
        let (compat, incompat, ro_compat) = match version {
            SUPERBLOCK_V1 => (0, 0, 0),
            SUPERBLOCK_V2 => (field(0x24)?, field(0x28)?, field(0x2C)?),
            _ => return Err(corrupt("h_blocktype", 0x4, "3 or 4".into(), version.into())),
        };
        for (word, unknown) in [
            ("compat", compat & !COMPAT_CHECKSUM),
            ("incompat", incompat & !INCOMPAT_KNOWN),
            ("ro_compat", ro_compat),
        ] {
            if unknown != 0 {
                return Err(FormatError::unsupported(format!(
                    "the journal has an unknown feature ({word} bits {unknown:#x})"
                )));
            }
        }
        let checksums = match (
            compat & COMPAT_CHECKSUM != 0,
            incompat & INCOMPAT_CSUM_V2 != 0,
            incompat & INCOMPAT_CSUM_V3 != 0,
        ) {
            (false, false, false) => Checksums::None,
            (true, false, false) => Checksums::V1,
            (false, true, false) => Checksums::V2,
            (false, false, true) => Checksums::V3,
            _ => {
                return Err(FormatError::unsupported(
                    "the journal has several kinds of checksums at once",
                ));
            }
        };
        if matches!(checksums, Checksums::V2 | Checksums::V3) {
            check_checksum(bytes, position)?;
        }

        let found = u64::from(field(0xC)?);
        if found != block_size {
            return Err(corrupt("s_blocksize", 0xC, block_size.to_string(), found));
        }
        let len = u64::from(field(0x10)?);
        if !(MIN_BLOCKS..=file_blocks).contains(&len) {
            return Err(corrupt("s_maxlen", 0x10, format!("{MIN_BLOCKS} to {file_blocks}"), len));
        }
        let has_fast_commit = incompat & INCOMPAT_FAST_COMMIT != 0;
        let fast_commit_blocks = match (has_fast_commit, u64::from(field(0x54)?)) {
            (false, _) => 0,
            (true, 0) => DEFAULT_FAST_COMMIT_BLOCKS,
            (true, blocks) => blocks,
        };
        let end = len.saturating_sub(fast_commit_blocks);
        if end < MIN_BLOCKS {
            let expected = format!("a log of at least {MIN_BLOCKS} blocks");
            return Err(corrupt("s_num_fc_blks", 0x54, expected, fast_commit_blocks));
        }
        let first = u64::from(field(0x14)?);
        if first == 0 || first >= end {
            return Err(corrupt("s_first", 0x14, format!("1 to {end}"), first));
        }
        let start = u64::from(field(0x1C)?);
        if start != 0 && !(first..end).contains(&start) {
            return Err(corrupt("s_start", 0x1C, format!("0, or {first} to {end}"), start));
        }
        let uuid: [u8; 16] = bytes.array(0x30).unwrap_or_default();
        Ok(Self {
            first,
            end,
            len,
            sequence: field(0x18)?,
            start,
            has_error: field(0x20)? != 0,
            checksums,
            checksum_seed: crc32c(START, &uuid),
            has_wide_blocks: incompat & INCOMPAT_64BIT != 0,
            has_fast_commit,
        })
    }
}

fn check_checksum(bytes: &[u8], position: u64) -> Result<(), FormatError> {
    let kind = bytes.u8_at(0x50);
    if kind != Some(CHECKSUM_TYPE_CRC32C) {
        return Err(FormatError::unsupported(format!(
            "the journal uses the unknown checksum type {}",
            kind.unwrap_or(0)
        )));
    }
    let before = bytes.bytes_at(0, CHECKSUM_OFFSET).unwrap_or_default();
    let after = bytes.get(0x100..SUPERBLOCK_LEN).unwrap_or_default();
    let computed = crc32c(crc32c(crc32c(START, before), &[0; 4]), after);
    let stored = bytes.u32_be(CHECKSUM_OFFSET).unwrap_or(0);
    if stored == computed {
        return Ok(());
    }
    Err(FormatError::corrupt(
        "checksum of the journal superblock",
        position,
        format!("{computed:#010x}"),
        format!("{stored:#010x}"),
    ))
}
