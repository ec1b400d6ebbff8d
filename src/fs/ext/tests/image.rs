// SPDX-License-Identifier: MIT OR Apache-2.0
//! Filesystems in memory, built field by field: three groups of blocks of
//! 1 KiB, the last one short, and something behind the end.

use super::super::checksum::{START, crc16, crc32c};
use crate::error::Result;
use crate::extent::{Extent, ExtentSet};
use crate::fs::ext::Ext;
use crate::fs::{Filesystem, Used};
use crate::io::{Memory, ReadAt};
use crate::ondisk::{Fields, FormatError};

pub(super) const BLOCK: usize = 1024;
pub(super) const GROUPS: u64 = 3;
pub(super) const PER_GROUP: u64 = 2048;
/// The last group has 1000 blocks.
pub(super) const BLOCKS: u64 = 1 + 2 * PER_GROUP + 1000;
/// Bytes behind the filesystem.
pub(super) const BEHIND: usize = 1500;

pub(super) const JOURNAL: u64 = 20;
pub(super) const JOURNAL_LEN: u64 = 1280;
/// Where the map of the journal is, if it does not fit into its inode.
pub(super) const MAP: u64 = JOURNAL + JOURNAL_LEN;
/// A file of ten blocks.
pub(super) const FILE: u64 = 1400;
pub(super) const FILE_LEN: u64 = 10;

const UUID: [u8; 16] = *b"dacapo test disk";
const INODES_PER_GROUP: u32 = 16;
const INODE_SIZE: usize = 128;
const INODE_TABLE_BLOCKS: u64 = 2;

pub(super) const HAS_JOURNAL: u32 = 0x4;
pub(super) const RECOVER: u32 = 0x4;
pub(super) const EXTENTS: u32 = 0x40;
pub(super) const WIDE: u32 = 0x80;
pub(super) const FLEX_BG: u32 = 0x200;
pub(super) const GDT_CSUM: u32 = 0x10;
pub(super) const METADATA_CSUM: u32 = 0x400;

/// The bytes of a volume.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) bytes: Vec<u8>,
}

/// The bytes of a range of blocks.
pub(super) fn blocks(first: u64, count: u64) -> Extent {
    Extent::at(first * BLOCK as u64, count * BLOCK as u64)
}

impl Image {
    /// An ext2 without any checksum.
    pub(super) fn ext2() -> Self {
        Self::new(0, 0x2, 0x1)
    }

    /// An ext4 with checksums everywhere and a journal mapped by extents.
    pub(super) fn ext4() -> Self {
        Self::new(HAS_JOURNAL, 0x2 | EXTENTS | WIDE | FLEX_BG, 0x1 | METADATA_CSUM)
    }

    /// A filesystem with these features.
    pub(super) fn new(compat: u32, incompat: u32, ro_compat: u32) -> Self {
        let mut image = Self { bytes: vec![0; BLOCKS as usize * BLOCK + BEHIND] };
        for (offset, value) in [
            (0x0, GROUPS as u32 * INODES_PER_GROUP),
            (0x4, BLOCKS as u32),
            (0x14, 1),
            (0x20, PER_GROUP as u32),
            (0x24, PER_GROUP as u32),
            (0x28, INODES_PER_GROUP),
            (0x4C, 1),
            (0x54, 11),
            (0x5C, compat),
            (0x60, incompat),
            (0x64, ro_compat),
            (0xE0, if compat & HAS_JOURNAL != 0 { 8 } else { 0 }),
        ] {
            image.put(1024 + offset, &value.to_le_bytes());
        }
        image.put(1024 + 0x38, &0xEF53_u16.to_le_bytes());
        image.put(1024 + 0x3A, &[1]);
        image.put(1024 + 0x58, &(INODE_SIZE as u16).to_le_bytes());
        image.put(1024 + 0x68, &UUID);
        image.put(1024 + 0x78, b"pristine");
        image.put(1024 + 0x175, &[1]);
        if incompat & WIDE != 0 {
            image.put(1024 + 0xFE, &64_u16.to_le_bytes());
        }
        image.place_metadata();
        image.mark(FILE, FILE_LEN, true);
        if compat & HAS_JOURNAL != 0 {
            image.make_journal();
        }
        image.count();
        image.seal();
        image
    }

    fn place_metadata(&mut self) {
        let flex = self.u32(1024 + 0x60) & FLEX_BG != 0;
        for group in 0..GROUPS {
            let start = 1 + group * PER_GROUP;
            let (bitmap, inodes, table) = if flex {
                (3 + group, 6 + group, 9 + group * INODE_TABLE_BLOCKS)
            } else {
                (start + 2, start + 3, start + 4)
            };
            let at = self.descriptor(group);
            for (offset, block) in [(0x0, bitmap), (0x4, inodes), (0x8, table)] {
                self.put(at + offset, &(block as u32).to_le_bytes());
            }
        }
        // The copies in group 1, by the rule of sparse_super.
        self.mark(1, 2, true);
        self.mark(1 + PER_GROUP, 2, true);
        for group in 0..GROUPS {
            let at = self.descriptor(group);
            self.mark(u64::from(self.u32(at)), 1, true);
            self.mark(u64::from(self.u32(at + 4)), 1, true);
            self.mark(u64::from(self.u32(at + 8)), INODE_TABLE_BLOCKS, true);
        }
        // Bits behind the end are set.
        let last = self.bitmap_at(GROUPS - 1);
        for bit in 1000..8 * BLOCK {
            self.bytes[last + bit / 8] |= 1 << (bit % 8);
        }
    }

    fn make_journal(&mut self) {
        self.mark(JOURNAL, JOURNAL_LEN, true);
        let at = self.journal_inode();
        self.put(at, &0x8180_u16.to_le_bytes());
        self.put(at + 0x4, &(JOURNAL_LEN as u32 * BLOCK as u32).to_le_bytes());
        self.put(at + 0x1A, &[1]);
        if self.u32(1024 + 0x60) & EXTENTS != 0 {
            self.put(at + 0x20, &0x8_0000_u32.to_le_bytes());
            self.put(at + 0x28, &[0x0A, 0xF3, 1, 0, 4, 0, 0, 0]);
            self.put(at + 0x28 + 12 + 4, &(JOURNAL_LEN as u16).to_le_bytes());
            self.put(at + 0x28 + 12 + 8, &(JOURNAL as u32).to_le_bytes());
        } else {
            self.map_by_pointers(at + 0x28);
        }
        let at = JOURNAL as usize * BLOCK;
        for (offset, value) in [
            (0x0, 0xC03B_3998_u32),
            (0x4, 4),
            (0xC, BLOCK as u32),
            (0x10, JOURNAL_LEN as u32),
            (0x14, 1),
            (0x18, 1),
            (0x40, 1),
        ] {
            self.put(at + offset, &value.to_be_bytes());
        }
    }

    /// Twelve direct blocks, a list of 256, and a list of lists.
    fn map_by_pointers(&mut self, root: usize) {
        let pointer = |index: u64| ((JOURNAL + index) as u32).to_le_bytes();
        for slot in 0..12 {
            self.put(root + 4 * slot, &pointer(slot as u64));
        }
        let (list, lists) = (MAP as usize, MAP as usize + 1);
        self.put(root + 48, &(list as u32).to_le_bytes());
        self.put(root + 52, &(lists as u32).to_le_bytes());
        for index in 12..JOURNAL_LEN {
            let slot = (index as usize - 12) % 256;
            let node = (index as usize - 12) / 256;
            if node == 0 {
                self.put(list * BLOCK + 4 * slot, &pointer(index));
                continue;
            }
            let node = lists + node;
            self.put(lists * BLOCK + 4 * (node - lists - 1), &(node as u32).to_le_bytes());
            self.put(node * BLOCK + 4 * slot, &pointer(index));
        }
        self.mark(MAP, 6, true);
    }

    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    pub(super) fn u32(&self, at: usize) -> u32 {
        self.bytes.u32_le(at).unwrap()
    }

    fn has(&self, ro_compat: u32) -> bool {
        self.u32(1024 + 0x64) & ro_compat != 0
    }

    fn descriptor_size(&self) -> usize {
        if self.u32(1024 + 0x60) & WIDE != 0 { 64 } else { 32 }
    }

    /// Where a group's descriptor is.
    pub(super) fn descriptor(&self, group: u64) -> usize {
        2 * BLOCK + group as usize * self.descriptor_size()
    }

    /// Where a group's block bitmap is.
    pub(super) fn bitmap_at(&self, group: u64) -> usize {
        self.u32(self.descriptor(group)) as usize * BLOCK
    }

    /// Where the journal's inode is.
    pub(super) fn journal_inode(&self) -> usize {
        self.u32(self.descriptor(0) + 8) as usize * BLOCK + 7 * INODE_SIZE
    }

    /// Sets or clears bits of the bitmaps.
    pub(super) fn mark(&mut self, first: u64, count: u64, used: bool) {
        for block in first..first + count {
            let bit = ((block - 1) % PER_GROUP) as usize;
            let at = self.bitmap_at((block - 1) / PER_GROUP) + bit / 8;
            if used {
                self.bytes[at] |= 1 << (bit % 8);
            } else {
                self.bytes[at] &= !(1 << (bit % 8));
            }
        }
    }

    /// A group's free blocks by its bitmap.
    fn free(&self, group: u64) -> u32 {
        let at = self.bitmap_at(group);
        let count = if group + 1 == GROUPS { 1000 } else { PER_GROUP };
        (0..count as usize).filter(|bit| self.bytes[at + bit / 8] >> (bit % 8) & 1 == 0).count()
            as u32
    }

    /// Brings the counts of free blocks up to date.
    pub(super) fn count(&mut self) {
        let mut sum = 0;
        for group in 0..GROUPS {
            let at = self.descriptor(group);
            if self.bytes[at + 0x12] & 2 == 0 {
                self.put(at + 0xC, &(self.free(group) as u16).to_le_bytes());
            }
            sum += u32::from(self.bytes.u16_le(at + 0xC).unwrap());
        }
        self.put(1024 + 0xC, &sum.to_le_bytes());
    }

    /// Says that a group's bitmap was never written.
    pub(super) fn forget_bitmap(&mut self, group: u64) {
        let (at, bitmap) = (self.descriptor(group), self.bitmap_at(group));
        self.bytes[at + 0x12] |= 2;
        self.bytes[bitmap..bitmap + BLOCK].fill(0x5A);
    }

    /// Brings all checksums of the filesystem up to date.
    pub(super) fn seal(&mut self) {
        let seed = crc32c(START, &UUID);
        let size = self.descriptor_size();
        if self.u32(1024 + 0x5C) & HAS_JOURNAL != 0 && self.has(METADATA_CSUM) {
            self.seal_journal_inode(seed);
        }
        for group in 0..GROUPS {
            let at = self.descriptor(group);
            let number = (group as u32).to_le_bytes();
            if self.has(METADATA_CSUM) {
                if self.bytes[at + 0x12] & 2 == 0 {
                    let bitmap = self.bitmap_at(group);
                    let len = PER_GROUP as usize / 8;
                    let crc = crc32c(seed, &self.bytes[bitmap..bitmap + len]).to_le_bytes();
                    self.put(at + 0x18, &crc[..2]);
                    if size == 64 {
                        self.put(at + 0x38, &crc[2..]);
                    }
                }
                self.put(at + 0x1E, &[0, 0]);
                let crc = crc32c(crc32c(seed, &number), &self.bytes[at..at + size]);
                self.put(at + 0x1E, &crc.to_le_bytes()[..2]);
            } else if self.has(GDT_CSUM) {
                let crc = crc16(crc16(0xFFFF, &UUID), &number);
                let crc = crc16(crc, &self.bytes[at..at + 0x1E]);
                let crc = crc16(crc, &self.bytes[at + 0x20..at + size]);
                self.put(at + 0x1E, &crc.to_le_bytes());
            }
        }
        if self.has(METADATA_CSUM) {
            let crc = crc32c(START, &self.bytes[1024..1024 + 0x3FC]);
            self.put(1024 + 0x3FC, &crc.to_le_bytes());
        }
    }

    fn seal_journal_inode(&mut self, seed: u32) {
        let at = self.journal_inode();
        let seed = crc32c(seed, &8_u32.to_le_bytes());
        let seed = crc32c(seed, &self.bytes[at + 0x64..at + 0x68]);
        self.put(at + 0x7C, &[0, 0]);
        let crc = crc32c(seed, &self.bytes[at..at + INODE_SIZE]);
        self.put(at + 0x7C, &crc.to_le_bytes()[..2]);
    }

    /// Brings the checksum of a node of the journal's map up to date, which has
    /// room for four entries.
    pub(super) fn seal_map(&mut self, block: u64) {
        let inode = self.journal_inode();
        let seed = crc32c(crc32c(START, &UUID), &8_u32.to_le_bytes());
        let seed = crc32c(seed, &self.bytes[inode + 0x64..inode + 0x68]);
        let at = block as usize * BLOCK;
        let crc = crc32c(seed, &self.bytes[at..at + 60]);
        self.put(at + 60, &crc.to_le_bytes());
    }

    /// The same filesystem with some superblock bytes changed, checksums right.
    pub(super) fn with(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.put(1024 + offset, bytes);
        self.seal();
        self
    }

    /// The bytes that the filesystem has in use by its bitmaps, with what no
    /// bitmap speaks of.
    pub(super) fn truth(&self) -> ExtentSet {
        let mut set: ExtentSet = blocks(0, 1).into();
        for block in 1..BLOCKS {
            let group = (block - 1) / PER_GROUP;
            if self.bytes[self.descriptor(group) + 0x12] & 2 != 0 {
                continue;
            }
            let bit = ((block - 1) % PER_GROUP) as usize;
            if self.bytes[self.bitmap_at(group) + bit / 8] >> (bit % 8) & 1 == 1 {
                set.insert(blocks(block, 1));
            }
        }
        set.insert(Extent::at(BLOCKS * BLOCK as u64, BEHIND as u64));
        set
    }

    pub(super) fn used(&self) -> Result<Used, FormatError> {
        used(&Memory::new(self.bytes.clone()))
    }

    /// The proven map.
    pub(super) fn map(&self) -> ExtentSet {
        let used = self.used().unwrap();
        assert_eq!(used.whole, None);
        used.extents
    }

    /// Why the volume is stored whole: the driver's reason, or its error.
    pub(super) fn refusal(&self) -> String {
        match self.used() {
            Ok(used) => used.whole.expect("the map is proven"),
            Err(error) => error.to_string(),
        }
    }
}

pub(super) fn used(reader: &dyn ReadAt) -> Result<Used, FormatError> {
    Ext.used(&[reader])
}
