// SPDX-License-Identifier: MIT OR Apache-2.0
//! A writer of journals: the other side of what the driver reads.

use super::super::checksum::{START, crc32_be, crc32c};
use super::super::journal::Checksums;
use super::image::{BLOCK, HAS_JOURNAL, Image, JOURNAL, JOURNAL_LEN, RECOVER};
use crate::ondisk::Fields;

const MAGIC: [u8; 4] = 0xC03B_3998_u32.to_be_bytes();
const UUID: [u8; 16] = *b"dacapo's journal";

/// A filesystem with a log in its journal.
#[derive(Clone)]
pub(super) struct Log {
    pub(super) image: Image,
    /// The next block to write, counted in the journal.
    pub(super) position: u64,
    pub(super) sequence: u32,
    end: u64,
    checksums: Checksums,
    wide: bool,
    /// The sum over the transaction, for journals of version 1.
    sum: u32,
}

/// All kinds of tags and checksums.
pub(super) const KINDS: [(Checksums, bool); 8] = [
    (Checksums::None, false),
    (Checksums::None, true),
    (Checksums::V1, false),
    (Checksums::V1, true),
    (Checksums::V2, false),
    (Checksums::V2, true),
    (Checksums::V3, false),
    (Checksums::V3, true),
];

impl Log {
    /// An empty log that starts at block `start` of the journal of `image`.
    pub(super) fn new(image: Image, (checksums, wide): (Checksums, bool), start: u64) -> Self {
        let mut image = image;
        assert_ne!(image.u32(1024 + 0x5C) & HAS_JOURNAL, 0);
        let incompat = image.u32(1024 + 0x60) | RECOVER;
        image = image.with(0x60, &incompat.to_le_bytes());
        let (compat, sums) = match checksums {
            Checksums::None => (0, 0),
            Checksums::V1 => (1, 0),
            Checksums::V2 => (0, 0x8),
            Checksums::V3 => (0, 0x10),
        };
        let at = JOURNAL as usize * BLOCK;
        // The numbers of transactions are about to wrap around.
        let sequence = u32::MAX - 1;
        for (offset, value) in [
            (0x18, sequence),
            (0x1C, start as u32),
            (0x24, compat),
            (0x28, 0x1 | if wide { 0x2 } else { 0 } | sums),
        ] {
            image.put(at + offset, &value.to_be_bytes());
        }
        image.put(at + 0x30, &UUID);
        let mut log = Self {
            image,
            position: start,
            sequence,
            end: JOURNAL_LEN,
            checksums,
            wide,
            sum: START,
        };
        log.seal();
        log
    }

    /// Makes the last 256 blocks of the journal an area for fast commits.
    pub(super) fn with_fast_commits(mut self) -> Self {
        let at = JOURNAL as usize * BLOCK;
        let incompat = self.image.bytes.u32_be(at + 0x28).unwrap() | 0x20;
        self.image.put(at + 0x28, &incompat.to_be_bytes());
        self.end = JOURNAL_LEN - 256;
        self.seal();
        self
    }

    /// Brings the checksum of the journal's superblock up to date.
    fn seal(&mut self) {
        if self.has_block_sums() {
            let at = JOURNAL as usize * BLOCK;
            self.image.put(at + 0x50, &[4]);
            self.image.put(at + 0xFC, &[0; 4]);
            let crc = crc32c(START, &self.image.bytes[at..at + 1024]);
            self.image.put(at + 0xFC, &crc.to_be_bytes());
        }
    }

    const fn has_block_sums(&self) -> bool {
        matches!(self.checksums, Checksums::V2 | Checksums::V3)
    }

    /// Where the next block of the log goes, in bytes.
    pub(super) const fn next_at(&self) -> usize {
        (JOURNAL + self.position) as usize * BLOCK
    }

    fn append(&mut self, block: &[u8]) {
        let at = self.next_at();
        self.image.put(at, block);
        self.position += 1;
        if self.position == self.end {
            self.position = 1;
        }
    }

    fn header(&self, kind: u32) -> Vec<u8> {
        let mut block = MAGIC.to_vec();
        block.extend(kind.to_be_bytes());
        block.extend(self.sequence.to_be_bytes());
        block
    }

    fn sealed(&self, mut block: Vec<u8>, at: usize) -> Vec<u8> {
        block.resize(BLOCK, 0);
        if self.has_block_sums() {
            let crc = crc32c(crc32c(START, &UUID), &block);
            block[at..at + 4].copy_from_slice(&crc.to_be_bytes());
        }
        block
    }

    /// Copies of blocks, behind one descriptor block.
    pub(super) fn copies(&mut self, copies: &[(u64, Vec<u8>)]) {
        let mut block = self.header(1);
        let mut held = Vec::new();
        for (index, (home, content)) in copies.iter().enumerate() {
            let mut content = content.clone();
            let mut flags = u16::from(content.starts_with(&MAGIC));
            if flags != 0 {
                content[..4].fill(0);
            }
            flags |= if index > 0 { 2 } else { 0 };
            flags |= if index + 1 == copies.len() { 8 } else { 0 };
            let crc = crc32c(crc32c(START, &UUID), &self.sequence.to_be_bytes());
            let crc = crc32c(crc, &content);
            block.extend((*home as u32).to_be_bytes());
            let high = ((home >> 32) as u32).to_be_bytes();
            match self.checksums {
                Checksums::V3 => {
                    block.extend(u32::from(flags).to_be_bytes());
                    block.extend(high);
                    block.extend(crc.to_be_bytes());
                }
                Checksums::V2 => {
                    block.extend((crc as u16).to_be_bytes());
                    block.extend(flags.to_be_bytes());
                    block.extend(if self.wide { &high[..] } else { &[] });
                    // The tag grew by two bytes that nothing uses.
                    block.extend([0; 2]);
                }
                Checksums::None | Checksums::V1 => {
                    block.extend([0; 2]);
                    block.extend(flags.to_be_bytes());
                    block.extend(if self.wide { &high[..] } else { &[] });
                }
            }
            if index == 0 {
                block.extend(UUID);
            }
            held.push(content);
        }
        let block = self.sealed(block, BLOCK - 4);
        self.sum = crc32_be(self.sum, &block);
        self.append(&block);
        for block in held {
            self.sum = crc32_be(self.sum, &block);
            self.append(&block);
        }
    }

    /// A revoke block.
    pub(super) fn revoke(&mut self, blocks: &[u64]) {
        let mut block = self.header(5);
        let size = if self.wide { 8 } else { 4 };
        block.extend((16 + blocks.len() as u32 * size).to_be_bytes());
        for revoked in blocks {
            if self.wide {
                block.extend(revoked.to_be_bytes());
            } else {
                block.extend((*revoked as u32).to_be_bytes());
            }
        }
        let block = self.sealed(block, BLOCK - 4);
        self.append(&block);
    }

    /// A commit block.
    pub(super) fn commit(&mut self) {
        let mut block = self.header(2);
        if self.checksums == Checksums::V1 {
            block.extend([1, 4, 0, 0]);
            block.extend(self.sum.to_be_bytes());
        }
        let block = self.sealed(block, 16);
        self.append(&block);
        self.sequence = self.sequence.wrapping_add(1);
        self.sum = START;
    }

    /// A transaction that changes the filesystem from `from` to `to`.
    pub(super) fn transaction(&mut self, from: &Image, to: &Image) {
        self.copies(&changes(from, to));
        self.commit();
    }
}

/// The blocks that differ between two states of a filesystem.
pub(super) fn changes(from: &Image, to: &Image) -> Vec<(u64, Vec<u8>)> {
    let pairs = from.bytes.chunks(BLOCK).zip(to.bytes.chunks(BLOCK));
    let changed: Vec<_> = (0_u64..)
        .zip(pairs)
        .filter(|(_, (before, after))| before != after)
        .map(|(block, (_, after))| (block, after.to_vec()))
        .collect();
    assert!(!changed.is_empty());
    changed
}
