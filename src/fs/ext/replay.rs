// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a replay of the journal would write, without writing it.
//!
//! The log is a ring of transactions: descriptor blocks, each followed by the
//! copies of blocks that its tags name; revoke blocks, which name blocks whose
//! older copies must not be written; and a commit block at the end. The log
//! ends at the first block that is not the next one of the expected
//! transaction, and a transaction without its commit block did not happen.
//! This is the rule of the kernel and of e2fsck, which write to a disk restored
//! from the image just what is predicted here.
//!
//! A wrong checksum below a commit block is no end but damage.

use std::collections::BTreeMap;

use super::checksum::{START, crc32_be, crc32c};
use super::inode::FileMap;
use super::journal::{Checksums, Journal, MAGIC};
use super::volume::{Copy, Volume};
use crate::ondisk::{Fields, FormatError};

const DESCRIPTOR_BLOCK: u32 = 1;
const COMMIT_BLOCK: u32 = 2;
const REVOKE_BLOCK: u32 = 5;

const TAG_ESCAPED: u16 = 0x1;
const TAG_SAME_UUID: u16 = 0x2;
const TAG_LAST: u16 = 0x8;

const HEADER_LEN: usize = 12;
const REVOKE_HEADER_LEN: usize = 16;
/// The checksum at the end of descriptor and revoke blocks.
const TAIL_LEN: usize = 4;
const CHECKSUM_TYPE_CRC32: u8 = 1;
/// Bounds the memory; a log of 4 GiB cannot hold more copies of 4 KiB.
const MAX_COPIES: usize = 1 << 20;

/// A copy of a block that somebody asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Logged {
    /// The block it is a copy of.
    pub(super) home: u64,
    /// The transaction, counted from the first of the log.
    transaction: u64,
    pub(super) copy: Copy,
}

/// What the log says of the blocks that were asked for.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// All copies in the order of the log, those of a transaction without a
    /// commit block included.
    pub(super) copies: Vec<Logged>,
    /// The last committed transaction that revoked a block.
    revokes: BTreeMap<u64, u64>,
    /// How many transactions are committed.
    pub(super) committed: u64,
    /// The number that the next transaction would have had.
    pub(super) next_sequence: u32,
}

impl Log {
    /// What a replay writes, by the block it is written to.
    pub(super) fn replay(&self) -> BTreeMap<u64, Copy> {
        let is_written = |logged: &&Logged| {
            logged.transaction < self.committed
                && self.revokes.get(&logged.home).is_none_or(|revoke| *revoke < logged.transaction)
        };
        // Later copies replace earlier ones.
        self.copies.iter().filter(is_written).map(|logged| (logged.home, logged.copy)).collect()
    }
}

/// Reads the log, keeping what concerns blocks that are `wanted`.
pub(super) fn scan(
    volume: &Volume,
    file: &FileMap,
    journal: &Journal,
    wanted: &dyn Fn(u64) -> bool,
) -> Result<Log, FormatError> {
    let log = Log { next_sequence: journal.sequence, ..Log::default() };
    if journal.start == 0 {
        return Ok(log);
    }
    let ring = Ring::new(volume, file, journal);
    let mut scan =
        Scan { volume, journal, wanted, ring, log, sum: START, damage: None, revokes: Vec::new() };
    scan.run()?;
    Ok(scan.log)
}

struct Scan<'a> {
    volume: &'a Volume<'a>,
    journal: &'a Journal,
    wanted: &'a dyn Fn(u64) -> bool,
    ring: Ring<'a>,
    log: Log,
    /// The checksum of the current transaction, of journals of version 1.
    sum: u32,
    /// What is wrong with the current transaction, if it turns out committed.
    damage: Option<FormatError>,
    /// What the current transaction revokes.
    revokes: Vec<u64>,
}

impl Scan<'_> {
    fn run(&mut self) -> Result<(), FormatError> {
        loop {
            let (position, block) = self.ring.next()?;
            let header = (block.u32_be(0), block.u32_be(4), block.u32_be(8));
            let (Some(MAGIC), Some(kind), Some(sequence)) = header else { return Ok(()) };
            if sequence != self.log.next_sequence {
                return Ok(());
            }
            match kind {
                DESCRIPTOR_BLOCK => self.descriptor(&block, position)?,
                REVOKE_BLOCK => self.revoke(&block, position)?,
                COMMIT_BLOCK => self.commit(&block, position)?,
                _ => return Ok(()),
            }
        }
    }

    /// Walks the tags of a descriptor block and the copies behind it.
    fn descriptor(&mut self, block: &[u8], position: u64) -> Result<(), FormatError> {
        let tags = self.checked(block, position)?;
        if self.journal.checksums == Checksums::V1 {
            self.sum = crc32_be(self.sum, block);
        }
        let tag_len = tag_len(self.journal);
        let mut offset = HEADER_LEN;
        while let Some(tag) = tags.bytes_at(offset, tag_len) {
            let flags = tag.u16_be(6).unwrap_or(0);
            self.copy(tag, flags)?;
            let uuid = if flags & TAG_SAME_UUID == 0 { 16 } else { 0 };
            offset = offset.saturating_add(tag_len).saturating_add(uuid);
            if flags & TAG_LAST != 0 {
                break;
            }
        }
        Ok(())
    }

    /// Takes the next block of the log as the copy that a tag names.
    fn copy(&mut self, tag: &[u8], flags: u16) -> Result<(), FormatError> {
        let high = if self.journal.has_wide_blocks { tag.u32_be(8).unwrap_or(0) } else { 0 };
        let home = u64::from(high) << 32 | u64::from(tag.u32_be(0).unwrap_or(0));
        let held_at = self.ring.skip()?;
        if let Err(outside) = self.volume.check("home of a block in the journal", home, 1) {
            self.damage.get_or_insert(outside);
            return Ok(());
        }
        if !self.copy_is_whole(tag)? {
            let damage = FormatError::corrupt(
                "block in the journal",
                self.volume.extent(held_at, 1).start(),
                "the checksum of its tag",
                "another",
            );
            self.damage.get_or_insert(damage);
            return Ok(());
        }
        if !(self.wanted)(home) {
            return Ok(());
        }
        if self.log.copies.len() >= MAX_COPIES {
            return Err(FormatError::unsupported(format!(
                "the journal holds more than {MAX_COPIES} copies of block bitmaps"
            )));
        }
        self.log.copies.push(Logged {
            home,
            transaction: self.log.committed,
            copy: Copy { held_at, escaped: flags & TAG_ESCAPED != 0 },
        });
        Ok(())
    }

    /// True if the block of the log that was skipped last has the checksum of
    /// its tag, or that kind of checksum is not in use.
    fn copy_is_whole(&mut self, tag: &[u8]) -> Result<bool, FormatError> {
        let checksums = self.journal.checksums;
        if checksums == Checksums::None {
            return Ok(true);
        }
        let block = self.ring.last()?;
        if checksums == Checksums::V1 {
            self.sum = crc32_be(self.sum, block);
            return Ok(true);
        }
        let seed = crc32c(self.journal.checksum_seed, &self.log.next_sequence.to_be_bytes());
        let computed = crc32c(seed, block);
        Ok(if checksums == Checksums::V3 {
            tag.u32_be(12) == Some(computed)
        } else {
            tag.u16_be(4).map(u32::from) == Some(computed & 0xFFFF)
        })
    }

    fn revoke(&mut self, block: &[u8], position: u64) -> Result<(), FormatError> {
        let body = self.checked(block, position)?;
        let len = block.u32_be(12).and_then(|len| usize::try_from(len).ok()).unwrap_or(usize::MAX);
        let records = body.get(REVOKE_HEADER_LEN..len).ok_or_else(|| {
            let expected = format!("{REVOKE_HEADER_LEN} to {}", body.len());
            FormatError::corrupt("r_count", position, expected, len)
        })?;
        let size = if self.journal.has_wide_blocks { 8 } else { 4 };
        for record in records.chunks_exact(size) {
            let block = record.u64_be(0).or_else(|| record.u32_be(0).map(u64::from)).unwrap_or(0);
            if (self.wanted)(block) && self.revokes.len() < MAX_COPIES {
                self.revokes.push(block);
            }
        }
        Ok(())
    }

    fn commit(&mut self, block: &[u8], position: u64) -> Result<(), FormatError> {
        let is_right = match self.journal.checksums {
            Checksums::None => true,
            Checksums::V1 => {
                let kind = (block.u8_at(12), block.u8_at(13), block.u32_be(16));
                // A commit block may also be without one.
                kind == (Some(CHECKSUM_TYPE_CRC32), Some(4), Some(self.sum))
                    || kind == (Some(0), Some(0), Some(0))
            }
            Checksums::V2 | Checksums::V3 => block_checksum_is_right(self.journal, block, 16),
        };
        if !is_right {
            return Err(FormatError::corrupt(
                "commit block of the journal",
                position,
                "the checksum of its transaction",
                "another",
            ));
        }
        if let Some(damage) = self.damage.take() {
            return Err(damage);
        }
        for block in self.revokes.drain(..) {
            self.log.revokes.insert(block, self.log.committed);
        }
        self.sum = START;
        self.log.committed = self.log.committed.saturating_add(1);
        // Numbers of transactions wrap around.
        self.log.next_sequence = self.log.next_sequence.wrapping_add(1);
        Ok(())
    }

    /// The part of a descriptor or revoke block in front of its checksum, which
    /// is checked.
    ///
    /// The kernel forgives a wrong one if no commit follows, as a torn write
    /// looks like that. It is rare, and the distinction fine: here it is doubt.
    fn checked<'b>(&self, block: &'b [u8], position: u64) -> Result<&'b [u8], FormatError> {
        if matches!(self.journal.checksums, Checksums::None | Checksums::V1) {
            return Ok(block);
        }
        let end = block.len().saturating_sub(TAIL_LEN);
        if !block_checksum_is_right(self.journal, block, end) {
            return Err(FormatError::corrupt(
                "block of the journal",
                position,
                "the checksum at its end",
                "another",
            ));
        }
        Ok(block.get(..end).unwrap_or_default())
    }
}

/// The bytes of a tag; in version 2 a 16-bit checksum was squeezed in without
/// moving the upper half of the block number.
const fn tag_len(journal: &Journal) -> usize {
    match (journal.checksums, journal.has_wide_blocks) {
        (Checksums::V3, _) => 16,
        (Checksums::V2, true) => 14,
        (Checksums::V2, false) => 10,
        (_, true) => 12,
        (_, false) => 8,
    }
}

/// True if the four bytes at `offset` are the checksum of the block with zeros
/// in their place.
fn block_checksum_is_right(journal: &Journal, block: &[u8], offset: usize) -> bool {
    let computed = || {
        let crc = crc32c(journal.checksum_seed, block.get(..offset)?);
        Some(crc32c(crc32c(crc, &[0; 4]), block.get(offset.checked_add(4)?..)?))
    };
    block.u32_be(offset).is_some_and(|stored| Some(stored) == computed())
}

/// The blocks of the log in order, from its first transaction on, each once.
struct Ring<'a> {
    volume: &'a Volume<'a>,
    file: &'a FileMap,
    journal: &'a Journal,
    /// The next block, counted in the journal.
    next: u64,
    /// How many blocks have not been passed yet.
    left: u64,
    /// The block that was passed last.
    last: u64,
    /// What was read ahead, and the block it starts with.
    ahead: Vec<u8>,
    ahead_from: u64,
}

impl<'a> Ring<'a> {
    const fn new(volume: &'a Volume<'a>, file: &'a FileMap, journal: &'a Journal) -> Self {
        Self {
            volume,
            file,
            journal,
            next: journal.start,
            left: journal.end.saturating_sub(journal.first),
            last: 0,
            ahead: Vec::new(),
            ahead_from: 0,
        }
    }

    /// Passes a block; returns the block of the filesystem that holds it.
    fn skip(&mut self) -> Result<u64, FormatError> {
        let held_at = self.locate(self.next)?;
        // The kernel keeps a log from filling up. Without this bound, a log of
        // descriptors without commits would be read round and round.
        self.left = self.left.checked_sub(1).ok_or_else(|| {
            let position = self.volume.extent(held_at, 1).start();
            FormatError::corrupt("log of the journal", position, "an end", "none")
        })?;
        self.last = self.next;
        self.next = self.next.saturating_add(1);
        if self.next >= self.journal.end {
            self.next = self.journal.first;
            // Versions of the kernel disagree on where such a log wraps.
            if self.journal.has_fast_commit {
                return Err(FormatError::unsupported(
                    "its journal has to be replayed, and wraps around in front of an area for \
                     fast commits",
                ));
            }
        }
        Ok(held_at)
    }

    /// Passes a block and returns its position in bytes, and the block.
    fn next(&mut self) -> Result<(u64, Vec<u8>), FormatError> {
        let held_at = self.skip()?;
        let block = self.last()?.to_vec();
        Ok((self.volume.extent(held_at, 1).start(), block))
    }

    /// The block that was passed last.
    fn last(&mut self) -> Result<&[u8], FormatError> {
        let size = usize::try_from(self.volume.geometry().block_size).unwrap_or(usize::MAX);
        let read = u64::try_from(self.ahead.len().checked_div(size).unwrap_or(0)).unwrap_or(0);
        let is_ahead = (self.ahead_from..self.ahead_from.saturating_add(read)).contains(&self.last);
        if !is_ahead {
            let held_at = self.locate(self.last)?;
            let count = self
                .file
                .contiguous(self.last)
                .min(self.journal.end.saturating_sub(self.last))
                .clamp(1, self.volume.blocks_at_once());
            self.ahead = self.volume.read("journal", held_at, count)?;
            self.ahead_from = self.last;
        }
        let index = usize::try_from(self.last.saturating_sub(self.ahead_from)).unwrap_or(0);
        let offset = index.saturating_mul(size);
        Ok(self.ahead.bytes_at(offset, size).unwrap_or_default())
    }

    fn locate(&self, block: u64) -> Result<u64, FormatError> {
        self.file.locate(block).ok_or_else(|| {
            let expected = format!("one of {} blocks", self.file.blocks());
            FormatError::corrupt("block of the journal", 0, expected, block)
        })
    }
}
