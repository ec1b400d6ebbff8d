// SPDX-License-Identifier: MIT OR Apache-2.0
//! A small btrfs, built from the specification: trees of one leaf each, or of
//! a node and two leaves, on one or more devices of 4 MiB.

use crate::extent::{Extent, ExtentSet};
use crate::fs::btrfs::Btrfs;
use crate::fs::btrfs::checksum::Checksum;
use crate::fs::{Filesystem, Used};
use crate::io::{Memory, ReadAt};
use crate::ondisk::FormatError;

pub(super) const NODE: u64 = 4096;
pub(super) const DEVICE: u64 = 4 << 20;
pub(super) const GENERATION: u64 = 9;
const FSID: [u8; 16] = [0x11; 16];
const CHUNK_TREE: [u8; 16] = [0x22; 16];

/// Where the chunks are, by logical address.
pub(super) const SYSTEM: u64 = 0x10_0000;
pub(super) const METADATA: u64 = 0x20_0000;
pub(super) const DATA: u64 = 0x40_0000;

pub(super) const ROOT_TREE: u64 = 1;
pub(super) const EXTENT_TREE: u64 = 2;
pub(super) const CHUNK_TREE_ID: u64 = 3;
pub(super) const DEVICE_TREE: u64 = 4;
pub(super) const FS_TREE: u64 = 5;
pub(super) const FREE_SPACE_TREE: u64 = 10;
pub(super) const GROUP_TREE: u64 = 11;
pub(super) const LOG_TREE: u64 = 0_u64.wrapping_sub(6);

pub(super) type Key = (u64, u8, u64);
pub(super) type ItemOf = (Key, Vec<u8>);

/// A chunk with its stripes as (device, offset).
#[derive(Debug, Clone)]
pub(super) struct ChunkOf {
    pub(super) logical: u64,
    pub(super) len: u64,
    pub(super) kind: u64,
    pub(super) stripes: Vec<(u64, u64)>,
    pub(super) stripe_bytes: u64,
}

/// A tree block: where it is, what tree it belongs to, its items.
#[derive(Debug, Clone)]
pub(super) struct BlockOf {
    pub(super) logical: u64,
    pub(super) owner: u64,
    pub(super) generation: u64,
    pub(super) level: u8,
    pub(super) items: Vec<ItemOf>,
    /// Bytes written over the block before its checksum is made.
    pub(super) patches: Vec<(usize, Vec<u8>)>,
}

/// What a filesystem is made from; every field may be made wrong.
#[derive(Debug, Clone)]
pub(super) struct Image {
    pub(super) checksum: u16,
    pub(super) devices: u64,
    pub(super) chunks: Vec<ChunkOf>,
    pub(super) blocks: Vec<BlockOf>,
    /// Data extents as (logical, length).
    pub(super) data: Vec<(u64, u64)>,
    pub(super) has_free_space_tree: bool,
    pub(super) has_group_tree: bool,
    /// Bytes written over every superblock before its checksum is made.
    pub(super) patches: Vec<(usize, Vec<u8>)>,
    pub(super) log_root: u64,
    /// Bytes written over a device at the end.
    pub(super) raw: Vec<(usize, usize, Vec<u8>)>,
}

fn le(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(super) fn uuid_of(device: u64) -> [u8; 16] {
    [0x30 + device as u8; 16]
}

impl ChunkOf {
    pub(super) fn item(&self) -> Vec<u8> {
        let mut item = le(&[self.len, 2, 65536, self.kind]);
        for value in [4096_u32; 3] {
            item.extend(value.to_le_bytes());
        }
        item.extend((self.stripes.len() as u16).to_le_bytes());
        item.extend((if self.kind & 0x40 == 0 { 1_u16 } else { 2 }).to_le_bytes());
        for (device, offset) in &self.stripes {
            item.extend(le(&[*device, *offset]));
            item.extend(uuid_of(*device));
        }
        item
    }
}

impl Image {
    /// One device: system and metadata DUP, data single.
    pub(super) fn new() -> Self {
        let chunk = |logical, len, kind, stripes: &[u64]| ChunkOf {
            logical,
            len,
            kind,
            stripes: stripes.iter().map(|offset| (1, *offset)).collect(),
            stripe_bytes: len,
        };
        let chunks = vec![
            chunk(SYSTEM, 0x1_0000, 0x22, &[0x10_0000, 0x11_0000]),
            chunk(METADATA, 0x2_0000, 0x24, &[0x12_0000, 0x15_0000]),
            chunk(DATA, 0x10_0000, 0x01, &[0x20_0000]),
        ];
        let block = |owner, logical| BlockOf {
            logical,
            owner,
            generation: GENERATION,
            level: 0,
            items: Vec::new(),
            patches: Vec::new(),
        };
        let blocks = vec![
            block(CHUNK_TREE_ID, SYSTEM + 0x3000),
            block(ROOT_TREE, METADATA),
            block(EXTENT_TREE, METADATA + 0x1000),
            block(DEVICE_TREE, METADATA + 0x2000),
            block(FS_TREE, METADATA + 0x5000),
            block(FREE_SPACE_TREE, METADATA + 0x8000),
            block(GROUP_TREE, METADATA + 0xA000),
        ];
        Self {
            checksum: 0,
            devices: 1,
            chunks,
            blocks,
            data: vec![(DATA, 0x3000), (DATA + 0x8000, 0x1_0000)],
            has_free_space_tree: true,
            has_group_tree: false,
            patches: Vec::new(),
            log_root: 0,
            raw: Vec::new(),
        }
    }

    /// Fills the trees with the items that belong there.
    pub(super) fn planted(mut self) -> Self {
        if !self.has_free_space_tree {
            self.blocks.retain(|block| block.owner != FREE_SPACE_TREE);
        }
        if !self.has_group_tree {
            self.blocks.retain(|block| block.owner != GROUP_TREE);
        }
        let mut extents: Vec<(u64, u64, bool)> =
            self.data.iter().map(|(logical, len)| (*logical, *len, true)).collect();
        for block in self.blocks.iter().filter(|block| block.owner != LOG_TREE) {
            extents.push((block.logical, NODE, false));
        }
        extents.sort_unstable();
        let used = |chunk: &ChunkOf| -> u64 {
            let inside = |(logical, ..): &&(u64, u64, bool)| {
                (chunk.logical..chunk.logical + chunk.len).contains(logical)
            };
            extents.iter().filter(inside).map(|(_, len, _)| len).sum()
        };

        let mut chunk_items = Vec::new();
        for device in 1..=self.devices {
            chunk_items.push(((1, 216, device), self.device_item(device)));
        }
        let mut device_items = vec![((0, 249, 1), le(&[0; 5]))];
        let mut groups = Vec::new();
        let mut free = Vec::new();
        for chunk in &self.chunks {
            chunk_items.push(((256, 228, chunk.logical), chunk.item()));
            for (device, offset) in &chunk.stripes {
                let mut item = le(&[3, 256, chunk.logical, chunk.stripe_bytes]);
                item.extend(CHUNK_TREE);
                device_items.push(((*device, 204, *offset), item));
            }
            groups.push(((chunk.logical, 192, chunk.len), le(&[used(chunk), 256, chunk.kind])));
            let whole = Extent::at(chunk.logical, chunk.len);
            let set: ExtentSet = extents.iter().map(|(at, len, _)| Extent::at(*at, *len)).collect();
            let holes: Vec<Extent> = set.holes_within(whole).collect();
            let mut info = (holes.len() as u32).to_le_bytes().to_vec();
            info.extend(0_u32.to_le_bytes());
            free.push(((chunk.logical, 198, chunk.len), info));
            free.extend(holes.iter().map(|hole| ((hole.start(), 199, hole.len()), Vec::new())));
        }
        let mut extent_items: Vec<ItemOf> = extents
            .iter()
            .map(|(logical, len, is_data)| {
                if *is_data {
                    ((*logical, 168, *len), le(&[1, 3, 1]))
                } else {
                    let mut item = le(&[1, 3, 2]);
                    item.extend([176, 1, 0, 0, 0, 0, 0, 0, 0]);
                    ((*logical, 169, 0), item)
                }
            })
            .collect();
        if self.has_group_tree {
            self.tree(GROUP_TREE).items = groups;
        } else {
            extent_items.extend(groups);
        }
        self.tree(EXTENT_TREE).items = extent_items;
        self.tree(CHUNK_TREE_ID).items = chunk_items;
        self.tree(DEVICE_TREE).items = device_items;
        if self.has_free_space_tree {
            self.tree(FREE_SPACE_TREE).items = free;
        }
        self.tree(FS_TREE).items = vec![((256, 1, 0), vec![0; 160])];
        let roots: Vec<ItemOf> = self
            .blocks
            .iter()
            .filter(|block| ![ROOT_TREE, CHUNK_TREE_ID, LOG_TREE].contains(&block.owner))
            .map(|block| ((block.owner, 132, 0), root_item(block.logical, block.generation, 0)))
            .collect();
        self.tree(ROOT_TREE).items = roots;
        for block in &mut self.blocks {
            block.items.sort_by_key(|(key, _)| *key);
        }
        self
    }

    /// The first block of a tree.
    pub(super) fn tree(&mut self, owner: u64) -> &mut BlockOf {
        self.blocks.iter_mut().find(|block| block.owner == owner).unwrap()
    }

    /// An item of a tree.
    pub(super) fn item(&mut self, owner: u64, kind: u8) -> &mut ItemOf {
        self.tree(owner).items.iter_mut().find(|(key, _)| key.1 == kind).unwrap()
    }

    pub(super) fn patch(mut self, offset: usize, bytes: &[u8]) -> Self {
        self.patches.push((offset, bytes.to_vec()));
        self
    }

    fn device_item(&self, device: u64) -> Vec<u8> {
        let stripes = self.chunks.iter().flat_map(|chunk| {
            chunk.stripes.iter().map(|(device, _)| (*device, chunk.stripe_bytes))
        });
        let used: u64 = stripes.filter(|(id, _)| *id == device).map(|(_, len)| len).sum();
        let mut item = le(&[device, DEVICE, used]);
        item.resize(66, 0);
        item.extend(uuid_of(device));
        item.extend(FSID);
        item
    }

    /// The bytes of all devices.
    pub(super) fn build(&self) -> Vec<Vec<u8>> {
        let mut devices = vec![vec![0xEE; DEVICE as usize]; self.devices as usize];
        for block in &self.blocks {
            let bytes = block.bytes(self.checksum);
            let chunk = self
                .chunks
                .iter()
                .find(|chunk| (chunk.logical..chunk.logical + chunk.len).contains(&block.logical))
                .unwrap();
            for (device, offset) in &chunk.stripes {
                let at = (offset + block.logical - chunk.logical) as usize;
                devices[*device as usize - 1][at..at + bytes.len()].copy_from_slice(&bytes);
            }
        }
        for (number, device) in devices.iter_mut().enumerate() {
            let superblock = self.superblock(number as u64 + 1);
            device[0x1_0000..0x1_1000].copy_from_slice(&superblock);
        }
        for (number, at, bytes) in &self.raw {
            devices[*number][*at..at + bytes.len()].copy_from_slice(bytes);
        }
        devices
    }

    pub(super) fn superblock(&self, device: u64) -> Vec<u8> {
        let mut block = vec![0; 4096];
        let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
        let root = |owner| {
            self.blocks.iter().find(|block| block.owner == owner).map_or(0, |block| block.logical)
        };
        let used: u64 = self.data.iter().map(|(_, len)| len).sum::<u64>()
            + self.blocks.iter().filter(|block| block.owner != LOG_TREE).count() as u64 * NODE;
        put(0x20, &FSID);
        put(0x30, &0x1_0000_u64.to_le_bytes());
        put(0x38, &1_u64.to_le_bytes());
        put(0x40, b"_BHRfS_M");
        put(0x48, &GENERATION.to_le_bytes());
        put(0x50, &root(ROOT_TREE).to_le_bytes());
        put(0x58, &root(CHUNK_TREE_ID).to_le_bytes());
        put(0x60, &self.log_root.to_le_bytes());
        put(0x70, &(DEVICE * self.devices).to_le_bytes());
        put(0x78, &used.to_le_bytes());
        put(0x80, &6_u64.to_le_bytes());
        put(0x88, &self.devices.to_le_bytes());
        for at in [0x90, 0x94, 0x98, 0x9C] {
            put(at, &4096_u32.to_le_bytes());
        }
        let mut array = Vec::new();
        for chunk in self.chunks.iter().filter(|chunk| chunk.kind & 2 != 0) {
            array.extend(key_bytes(&(256, 228, chunk.logical)));
            array.extend(chunk.item());
        }
        put(0xA0, &(array.len() as u32).to_le_bytes());
        put(0x32B, &array);
        put(0xA4, &GENERATION.to_le_bytes());
        let free_space = if self.has_free_space_tree { 3 } else { 0 };
        let groups = if self.has_group_tree { 8 } else { 0 };
        put(0xB4, &(free_space | groups as u64).to_le_bytes());
        put(0xBC, &0x341_u64.to_le_bytes());
        put(0xC4, &self.checksum.to_le_bytes());
        put(0xC9, &self.device_item(device));
        put(0x12B, b"takes\x1b[0m");
        let patches = self.patches.clone();
        for (at, bytes) in &patches {
            put(*at, bytes);
        }
        seal(&mut block, self.checksum);
        block
    }

    /// What the driver says of the first device.
    pub(super) fn used(&self) -> Result<Used, FormatError> {
        used_of(&self.build())
    }

    /// The used map, which has to be proven.
    #[track_caller]
    pub(super) fn map(&self) -> ExtentSet {
        let used = self.used().unwrap();
        assert_eq!(used.whole, None);
        used.extents
    }

    /// Why it is stored whole.
    #[track_caller]
    pub(super) fn whole(&self) -> String {
        let used = self.used().unwrap();
        assert_eq!(used.extents, ExtentSet::all(DEVICE));
        used.whole.expect("stored whole")
    }

    /// The error, in words.
    #[track_caller]
    pub(super) fn error(&self) -> String {
        self.used().unwrap_err().to_string()
    }
}

impl BlockOf {
    pub(super) fn bytes(&self, checksum: u16) -> Vec<u8> {
        let mut block = vec![0; NODE as usize];
        block[32..48].copy_from_slice(&FSID);
        block[48..56].copy_from_slice(&self.logical.to_le_bytes());
        block[56] = 1;
        block[63] = 1;
        block[64..80].copy_from_slice(&CHUNK_TREE);
        block[80..88].copy_from_slice(&self.generation.to_le_bytes());
        block[88..96].copy_from_slice(&self.owner.to_le_bytes());
        block[96..100].copy_from_slice(&(self.items.len() as u32).to_le_bytes());
        block[100] = self.level;
        let mut end = block.len();
        for (number, (key, data)) in self.items.iter().enumerate() {
            let stride = if self.level == 0 { 25 } else { 33 };
            let at = 101 + number * stride;
            block[at..at + 17].copy_from_slice(&key_bytes(key));
            if self.level > 0 {
                block[at + 17..at + 33].copy_from_slice(data);
                continue;
            }
            end -= data.len();
            block[end..end + data.len()].copy_from_slice(data);
            block[at + 17..at + 21].copy_from_slice(&(end as u32 - 101).to_le_bytes());
            block[at + 21..at + 25].copy_from_slice(&(data.len() as u32).to_le_bytes());
        }
        for (at, bytes) in &self.patches {
            block[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        seal(&mut block, checksum);
        block
    }
}

pub(super) fn seal(block: &mut [u8], checksum: u16) {
    let sum = Checksum::parse(checksum).unwrap_or(Checksum::Crc32c).of(block);
    block[..32].copy_from_slice(&sum);
}

fn key_bytes((objectid, kind, offset): &Key) -> Vec<u8> {
    let mut bytes = objectid.to_le_bytes().to_vec();
    bytes.push(*kind);
    bytes.extend(offset.to_le_bytes());
    bytes
}

pub(super) fn root_item(logical: u64, generation: u64, level: u8) -> Vec<u8> {
    let mut item = vec![0; 439];
    item[160..168].copy_from_slice(&generation.to_le_bytes());
    item[176..184].copy_from_slice(&logical.to_le_bytes());
    item[216] = 1;
    item[238] = level;
    item
}

/// What the driver says of the first of several devices.
pub(super) fn used_of(devices: &[Vec<u8>]) -> Result<Used, FormatError> {
    let memories: Vec<Memory> = devices.iter().map(|bytes| Memory::new(bytes.clone())).collect();
    let readers: Vec<&dyn ReadAt> = memories.iter().map(|memory| memory as &dyn ReadAt).collect();
    Btrfs.used(&readers)
}

pub(super) fn set(extents: &[(u64, u64)]) -> ExtentSet {
    extents.iter().map(|(start, len)| Extent::at(*start, *len)).collect()
}
