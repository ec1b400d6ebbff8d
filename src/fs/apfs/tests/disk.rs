// SPDX-License-Identifier: MIT OR Apache-2.0
//! A container in memory whose blocks can be changed and sealed again.

use super::super::Apfs;
use super::super::object::checksum;
use crate::extent::{Extent, ExtentSet};
use crate::fs::{Filesystem, Identity, Used};
use crate::io::{Memory, ReadAt};
use crate::ondisk::{Fields, FormatError};

pub(super) const BLOCK: usize = 4096;

/// `apfs-tiny`, or another one, and where its structures are.
#[derive(Clone)]
pub(super) struct Disk {
    pub(super) bytes: Vec<u8>,
    /// The newest superblock, its last map, and what it names.
    pub(super) superblock: usize,
    pub(super) map: usize,
    pub(super) spaceman: usize,
    pub(super) pool_queue: usize,
    pub(super) main_queue: usize,
    pub(super) cib: usize,
    pub(super) bitmap: usize,
    pub(super) pool_bitmap: usize,
    pub(super) omap: usize,
    pub(super) omap_root: usize,
    pub(super) volume: usize,
    pub(super) volume_omap_root: usize,
    pub(super) extents: usize,
    pub(super) snapshots: usize,
}

pub(super) fn tiny() -> Disk {
    Disk::new(include_bytes!("../../../../images/apfs-tiny.img.zst"))
}

pub(super) fn with_snapshot() -> Disk {
    Disk::new(include_bytes!("../../../../images/apfs-tiny-snapshot.img.zst"))
}

impl Disk {
    fn new(packed: &[u8]) -> Self {
        let bytes = zstd::decode_all(packed).unwrap();
        let at =
            |block: usize, offset: usize| bytes.u64_le(block * BLOCK + offset).unwrap() as usize;
        let newest = |block: &usize| at(*block, 0x10);
        let is_superblock =
            |block: &usize| bytes.bytes_at(block * BLOCK + 0x20, 4) == Some(b"NXSB");
        let superblock = (1..9).filter(is_superblock).max_by_key(newest).unwrap();
        let map = superblock - 1;
        let object = |kind: u32, oid: Option<usize>| {
            let maps = (1..superblock).filter(|block| at(*block, 0x10) == at(superblock, 0x10));
            let mut mappings = maps.flat_map(|map| {
                let count = bytes.u32_le(map * BLOCK + 0x24).unwrap() as usize;
                (0..count).map(move |n| (map, 0x28 + 40 * n))
            });
            let found = mappings.find(|(map, offset)| {
                let found = bytes.u32_le(map * BLOCK + offset).unwrap();
                found == 0x8000_0000 | kind && oid.is_none_or(|oid| at(*map, offset + 24) == oid)
            });
            let (map, offset) = found.unwrap();
            at(map, offset + 32)
        };
        let spaceman = object(5, None);
        let cib = at(spaceman, bytes.u32_le(spaceman * BLOCK + 0x50).unwrap() as usize);
        let number = bytes.u32_le(spaceman * BLOCK + 0x148).unwrap() as usize;
        let number = bytes.u16_le(spaceman * BLOCK + number).unwrap();
        let omap = at(superblock, 0xa0);
        let omap_root = at(omap, 0x30);
        // The only value of a root that is a leaf is before its information.
        let volume = at(omap_root, BLOCK - 40 - 8);
        Self {
            superblock,
            map,
            spaceman,
            pool_queue: object(2, Some(1027)),
            main_queue: object(2, Some(1029)),
            cib,
            bitmap: at(cib, 0x28 + 0x18),
            pool_bitmap: at(spaceman, 0xa8) + usize::from(number),
            omap,
            omap_root,
            volume,
            volume_omap_root: at(at(volume, 0x80), 0x30),
            extents: at(volume, 0x90),
            snapshots: at(volume, 0x98),
            bytes,
        }
    }

    pub(super) fn u64_at(&self, block: usize, offset: usize) -> u64 {
        self.bytes.u64_le(block * BLOCK + offset).unwrap()
    }

    /// Changes bytes of a block, without making its checksum right.
    pub(super) fn set(&mut self, block: usize, offset: usize, value: &[u8]) {
        let start = block * BLOCK + offset;
        self.bytes[start..start + value.len()].copy_from_slice(value);
    }

    /// Changes bytes of a block and makes its checksum right.
    pub(super) fn put(&mut self, block: usize, offset: usize, value: &[u8]) {
        self.set(block, offset, value);
        let range = block * BLOCK..(block + 1) * BLOCK;
        let sum = checksum(&self.bytes[range]);
        self.set(block, 0, &sum.to_le_bytes());
    }

    /// Changes the superblock of the newest checkpoint, and its copy.
    pub(super) fn put_superblock(&mut self, offset: usize, value: &[u8]) {
        self.put(self.superblock, offset, value);
        self.put(0, offset, value);
    }

    /// Marks a block as free and keeps all counts right.
    pub(super) fn free(&mut self, block: usize) {
        let at = self.bitmap * BLOCK + block / 8;
        assert_ne!(self.bytes[at] & 1 << (block % 8), 0, "block {block} is free");
        self.bytes[at] &= !(1 << (block % 8));
        let free = self.u64_at(self.spaceman, 0x48) + 1;
        self.put(self.spaceman, 0x48, &free.to_le_bytes());
        self.put(self.cib, 0x28 + 0x14, &(free as u32).to_le_bytes());
    }

    pub(super) fn used(&self) -> Result<Used, FormatError> {
        used(&Memory::new(self.bytes.clone()))
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        let memory = Memory::new(self.bytes.clone());
        Apfs.probe(&[&memory]).unwrap()
    }

    /// The map is proven.
    #[track_caller]
    pub(super) fn proven(&self) -> ExtentSet {
        let used = self.used().unwrap();
        assert_eq!(used.whole, None);
        used.extents
    }

    /// The volume is stored whole, for this reason.
    #[track_caller]
    pub(super) fn whole(&self, why: &str) {
        let used = self.used().unwrap();
        let whole = used.whole.unwrap();
        assert!(whole.contains(why), "{whole}");
        assert_eq!(used.extents, ExtentSet::all(self.bytes.len() as u64));
    }

    /// This is damaged.
    #[track_caller]
    pub(super) fn corrupt(&self, expected: &str) {
        match self.used() {
            Err(FormatError::Corrupt { what, .. }) => assert_eq!(what, expected),
            other => panic!("{expected}: {other:?}"),
        }
    }
}

pub(super) fn used(reader: &dyn ReadAt) -> Result<Used, FormatError> {
    Apfs.used(&[reader])
}

/// The bytes of a block.
pub(super) fn extent(block: usize) -> Extent {
    Extent::at((block * BLOCK) as u64, BLOCK as u64)
}
