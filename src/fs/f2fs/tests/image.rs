// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small F2FS in memory, byte by byte.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::extent::{Extent, ExtentSet};
use crate::fs::f2fs::F2fs;
use crate::fs::f2fs::checksum::{START, crc32};
use crate::fs::{Filesystem, Identity, Used};
use crate::io::{ReadAt, check_range};
use crate::ondisk::FormatError;

pub(super) const BLOCK: u64 = 4096;
pub(super) const CP: u64 = 512;
pub(super) const SIT: u64 = 1536;
pub(super) const MAIN: u64 = 4096;
pub(super) const SEGMENTS: u64 = 12;
pub(super) const MAIN_END: u64 = MAIN + SEGMENTS * 512;
/// Blocks of the filesystem; ten are behind the main area.
pub(super) const BLOCKS: u64 = MAIN_END + 10;
/// Blocks of the volume.
pub(super) const VOLUME: u64 = BLOCKS + 3;
/// Where the node log of fsynced files goes on: segment 1.
pub(super) const WARM: u64 = MAIN + 512 + 40;
/// The version of the newer checkpoint, which is in the second pack.
pub(super) const VERSION: u64 = 0x1_0000_0008;

/// A disk of which only blocks that are not zero are kept.
pub(super) struct Disk {
    blocks: BTreeMap<u64, Vec<u8>>,
    pub(super) len: u64,
    /// Reads that touch this byte fail.
    pub(super) bad: Option<u64>,
}

impl ReadAt for Disk {
    fn len(&self) -> u64 {
        self.len
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len, offset, buf.len())?;
        if self.bad.is_some_and(|bad| (offset..offset + buf.len() as u64).contains(&bad)) {
            return Err(crate::error::Error::failed("a bad sector"));
        }
        let (mut at, mut rest) = (offset, buf);
        while !rest.is_empty() {
            let start = (at % BLOCK) as usize;
            let (piece, after) = rest.split_at_mut(rest.len().min(BLOCK as usize - start));
            match self.blocks.get(&(at / BLOCK)) {
                Some(block) => piece.copy_from_slice(&block[start..start + piece.len()]),
                None => piece.fill(0),
            }
            at += piece.len() as u64;
            rest = after;
        }
        Ok(())
    }
}

/// Segment information: a type, and runs of blocks that are in use.
pub(super) fn entry(kind: u16, runs: &[(usize, usize)]) -> Vec<u8> {
    let mut map = [0_u8; 64];
    for &(first, end) in runs {
        for block in first..end {
            map[block / 8] |= 0x80 >> (block % 8);
        }
    }
    let count: u32 = map.iter().map(|byte| byte.count_ones()).sum();
    let mut bytes = (kind << 10 | count as u16).to_le_bytes().to_vec();
    bytes.extend(map);
    bytes.extend([0; 8]);
    bytes
}

impl Disk {
    pub(super) fn block(&mut self, block: u64) -> &mut Vec<u8> {
        self.blocks.entry(block).or_insert_with(|| vec![0; BLOCK as usize])
    }

    pub(super) fn put(&mut self, block: u64, offset: usize, bytes: &[u8]) {
        self.block(block)[offset..offset + bytes.len()].copy_from_slice(bytes);
    }

    /// Changes a field of the superblock, in both copies, with its checksum.
    pub(super) fn superblock(&mut self, offset: usize, bytes: &[u8]) {
        for copy in 0..2 {
            self.put(copy, 1024 + offset, bytes);
            let block = &self.block(copy)[1024..];
            let feature = u32::from_le_bytes(block[2180..2184].try_into().unwrap());
            if feature & 0x800 != 0 && !(3068..3072).contains(&offset) {
                let crc = crc32(START, &block[..3068]);
                self.put(copy, 1024 + 3068, &crc.to_le_bytes());
            }
        }
    }

    /// Changes a field of a checkpoint, at both ends of its pack, with its
    /// checksum.
    pub(super) fn checkpoint(&mut self, pack: u64, offset: usize, bytes: &[u8]) {
        let first = CP + pack * 512;
        self.put(first, offset, bytes);
        self.seal(pack);
    }

    pub(super) fn seal(&mut self, pack: u64) {
        let first = CP + pack * 512;
        let mut block = self.block(first).clone();
        let at = |offset: usize| {
            u32::from_le_bytes(block[offset..offset + 4].try_into().unwrap()) as usize
        };
        let (place, total) = (at(164), at(136));
        if (192..=4092).contains(&place) {
            let crc = crc32(crc32(START, &block[..place]), &block[place + 4..]);
            block[place..place + 4].copy_from_slice(&crc.to_le_bytes());
        }
        *self.block(first) = block.clone();
        if (1..=512).contains(&total) {
            *self.block(first + total as u64 - 1) = block;
        }
    }

    /// Puts segment information into the right place of the table.
    pub(super) fn segment(&mut self, segment: usize, entry: &[u8]) {
        self.put(SIT + 512, segment * 74, entry);
    }

    /// Replaces the journal of the newer checkpoint.
    pub(super) fn journal(&mut self, entries: &[(u32, Vec<u8>)]) {
        let mut bytes = (entries.len() as u16).to_le_bytes().to_vec();
        for (segment, entry) in entries {
            bytes.extend(segment.to_le_bytes());
            bytes.extend(entry);
        }
        self.put(CP + 512 + 1, 507, &bytes);
    }

    /// Cleanly unmounted, with two files in segments 6 and 7, and another in
    /// segment 8, which only the journal knows.
    pub(super) fn new() -> Self {
        let mut disk = Self { blocks: BTreeMap::new(), len: VOLUME * BLOCK, bad: None };
        disk.superblock(0, &START.to_le_bytes());
        disk.superblock(4, &1_u16.to_le_bytes());
        for (offset, value) in [
            (8_usize, 9_u32),
            (12, 3),
            (16, 12),
            (20, 9),
            (24, 1),
            (28, 1),
            (32, 3068),
            (44, SEGMENTS as u32),
            (48, 7 + SEGMENTS as u32),
            (52, 2),
            (56, 2),
            (60, 2),
            (64, 1),
            (68, SEGMENTS as u32),
            (72, CP as u32),
            (76, CP as u32),
            (80, SIT as u32),
            (84, SIT as u32 + 1024),
            (88, SIT as u32 + 2048),
            (92, MAIN as u32),
            (96, 3),
            (100, 1),
            (104, 2),
        ] {
            disk.superblock(offset, &value.to_le_bytes());
        }
        disk.superblock(36, &BLOCKS.to_le_bytes());
        disk.superblock(108, &[0xAB; 16]);
        let label: Vec<u8> = "Gr\u{fc}n".encode_utf16().flat_map(u16::to_le_bytes).collect();
        disk.superblock(124, &label);
        disk.superblock(2180, &0x800_u32.to_le_bytes());

        for (pack, version) in [(0, VERSION - 1), (1, VERSION)] {
            for (offset, value) in [(0_usize, version), (8, 3000), (16, 1 + 1 + 40 + 10 + 512 + 3)]
            {
                disk.put(CP + pack * 512, offset, &value.to_le_bytes());
            }
            for (offset, value) in [
                (24_usize, 2_u32),
                (28, 3),
                (32, 3),
                // Umounted, compacted summaries, checksums in node blocks.
                (132, 0x1 | 0x4 | 0x40),
                (136, 6),
                (140, 1),
                (144, 1 + 40),
                (148, 3),
                (152, 4),
                (156, 64),
                (160, 64),
                (164, 4092),
            ] {
                disk.put(CP + pack * 512, offset, &value.to_le_bytes());
            }
            for log in 0..3_u32 {
                disk.put(CP + pack * 512, 36 + 4 * log as usize, &log.to_le_bytes());
                disk.put(CP + pack * 512, 84 + 4 * log as usize, &(3 + log).to_le_bytes());
            }
            // Hot and warm nodes, and hot data.
            for (offset, next) in [(68, 1_u16), (70, 40), (116, 1)] {
                disk.put(CP + pack * 512, offset, &next.to_le_bytes());
            }
            // The right copy of the first block of the table is the second.
            disk.put(CP + pack * 512, 192, &[0x80]);
            disk.seal(pack);
        }
        // The wrong copy says that everything is in use.
        let full = entry(1, &[(0, 512)]);
        for number in 0..SEGMENTS as usize {
            disk.put(SIT, number * 74, &full);
            disk.segment(number, &entry(0, &[]));
        }
        disk.segment(0, &entry(3, &[(0, 1)]));
        disk.segment(1, &entry(4, &[(0, 40)]));
        disk.segment(3, &entry(0, &[(0, 1)]));
        disk.segment(6, &entry(1, &[(5, 12), (509, 512)]));
        disk.segment(7, &full);
        disk.segment(8, &full);
        disk.journal(&[(8, entry(2, &[(100, 103)]))]);
        disk
    }

    pub(super) fn probe(&self) -> Identity {
        F2fs.probe(&[self]).unwrap().unwrap()
    }

    pub(super) fn used(&self) -> std::result::Result<Used, FormatError> {
        let readers: &[&dyn ReadAt] = &[self];
        let used = F2fs.used(readers)?;
        assert!(used.extents.end() <= self.len);
        Ok(used)
    }

    /// The map, which has to be proven.
    #[track_caller]
    pub(super) fn map(&self) -> ExtentSet {
        let used = self.used().unwrap();
        assert_eq!(used.whole, None);
        used.extents
    }

    /// Why it is stored whole, which has to be because of its state.
    #[track_caller]
    pub(super) fn whole(&self) -> String {
        let used = self.used().unwrap();
        assert_eq!(used.extents, ExtentSet::all(self.len));
        used.whole.unwrap()
    }

    /// What about it is not supported.
    #[track_caller]
    pub(super) fn unsupported(&self) -> String {
        match self.used() {
            Err(FormatError::Unsupported(why)) => why,
            other => panic!("{other:?}"),
        }
    }

    /// What is corrupt, and at which byte.
    #[track_caller]
    pub(super) fn corrupt(&self) -> (&'static str, u64) {
        match self.used() {
            Err(FormatError::Corrupt { what, position, .. }) => (what, position),
            other => panic!("{other:?}"),
        }
    }
}

/// Blocks, from and before.
pub(super) fn blocks(runs: &[(u64, u64)]) -> ExtentSet {
    runs.iter().map(|&(first, end)| Extent::new(first * BLOCK, end * BLOCK)).collect()
}
