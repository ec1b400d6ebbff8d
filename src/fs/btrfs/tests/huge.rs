// SPDX-License-Identifier: MIT OR Apache-2.0
//! 2 TiB with a million extents, of which only the trees are there.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::image::{
    BlockOf, CHUNK_TREE_ID, ChunkOf, DEVICE_TREE, EXTENT_TREE, FREE_SPACE_TREE, GENERATION, Image,
    ItemOf, METADATA, NODE, ROOT_TREE, SYSTEM, root_item, uuid_of,
};
use crate::error::Result;
use crate::fs::Filesystem;
use crate::fs::btrfs::Btrfs;
use crate::io::{ReadAt, check_range};

const GIB: u64 = 1 << 30;
const CHUNKS: u64 = 2040;
const EXTENTS_PER_CHUNK: u64 = 512;
const SIZE: u64 = 2 << 40;

/// A volume with holes.
struct Sparse(HashMap<u64, Vec<u8>>);

impl ReadAt for Sparse {
    fn len(&self) -> u64 {
        SIZE
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(SIZE, offset, buf.len())?;
        buf.fill(0);
        for (number, piece) in buf.chunks_mut(4096).enumerate() {
            if let Some(block) = self.0.get(&(offset + number as u64 * 4096)) {
                piece.copy_from_slice(&block[..piece.len()]);
            }
        }
        Ok(())
    }
}

/// Lays a tree out from `next` on; returns its root and its level.
fn plant(
    items: Vec<ItemOf>,
    owner: u64,
    next: &mut u64,
    put: &mut dyn FnMut(u64, Vec<u8>),
) -> (u64, u8) {
    let mut level = 0;
    let mut items = items;
    loop {
        let mut above = Vec::new();
        let mut rest = items.as_slice();
        while !rest.is_empty() {
            let mut room = NODE as usize - 101;
            let fits = |(_, data): &&ItemOf| {
                let size = if level == 0 { 25 + data.len() } else { 33 };
                room = room.wrapping_sub(size);
                room < NODE as usize
            };
            let count = rest.iter().take_while(fits).count();
            let (these, others) = rest.split_at(count);
            let block = BlockOf {
                logical: *next,
                owner,
                generation: GENERATION,
                level,
                items: these.to_vec(),
                patches: Vec::new(),
            };
            put(*next, block.bytes(0));
            let pointer = [next.to_le_bytes(), GENERATION.to_le_bytes()].concat();
            above.push((these[0].0, pointer));
            *next += NODE;
            rest = others;
        }
        if above.len() == 1 {
            return (*next - NODE, level);
        }
        items = above;
        level += 1;
    }
}

fn le(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// More than there are: what is behind the last of them nobody reads.
const METADATA_BLOCKS: u64 = 25_000;

fn volume() -> Sparse {
    let mut blocks = HashMap::new();
    let chunk = |logical, len, kind, stripes: &[u64]| ChunkOf {
        logical,
        len,
        kind,
        stripes: stripes.iter().map(|offset| (1, *offset)).collect(),
        stripe_bytes: len,
    };
    let data_start = 4 * GIB;
    let mut chunks = vec![
        chunk(SYSTEM, 0x10_0000, 0x22, &[0x10_0000, 0x20_0000]),
        chunk(METADATA, GIB - METADATA, 0x24, &[0x40_0000, GIB + 0x40_0000]),
    ];
    for number in 0..CHUNKS {
        let at = data_start + number * GIB;
        chunks.push(chunk(at, GIB, 0x01, &[at]));
    }
    let allocated: u64 =
        chunks.iter().map(|chunk| chunk.stripe_bytes * chunk.stripes.len() as u64).sum();
    let mut device = le(&[1, SIZE, allocated]);
    device.resize(66, 0);
    device.extend(uuid_of(1));
    device.extend([0x11; 16]);

    let mut copies = |logical: u64, bytes: Vec<u8>| {
        let chunk = &chunks[usize::from(logical >= METADATA)];
        for (_, offset) in &chunk.stripes {
            blocks.insert(offset + logical - chunk.logical, bytes.clone());
        }
    };
    let mut chunk_items = vec![((1, 216, 1), device.clone())];
    let mut device_items: Vec<ItemOf> = Vec::new();
    for chunk in &chunks {
        chunk_items.push(((256, 228, chunk.logical), chunk.item()));
        for (_, offset) in &chunk.stripes {
            let mut item = le(&[3, 256, chunk.logical, chunk.stripe_bytes]);
            item.extend([0x22; 16]);
            device_items.push(((1, 204, *offset), item));
        }
    }
    device_items.sort_by_key(|(key, _)| *key);
    let mut next = SYSTEM;
    let chunk_root = plant(chunk_items, CHUNK_TREE_ID, &mut next, &mut copies);
    let system_blocks = (next - SYSTEM) / NODE;

    let mut extents: Vec<ItemOf> = Vec::new();
    let mut free: Vec<ItemOf> = Vec::new();
    for (start, count) in [(SYSTEM, system_blocks), (METADATA, METADATA_BLOCKS)] {
        let chunk = &chunks[usize::from(start != SYSTEM)];
        for number in 0..count {
            extents.push(((start + number * NODE, 169, 0), le(&[1, 3, 2])));
        }
        extents.push(((start, 192, chunk.len), le(&[count * NODE, 256, chunk.kind])));
        free.push(((start, 198, chunk.len), vec![1, 0, 0, 0, 0, 0, 0, 0]));
        free.push(((start + count * NODE, 199, chunk.len - count * NODE), Vec::new()));
    }
    let step = GIB / EXTENTS_PER_CHUNK;
    for chunk in &chunks[2..] {
        let used = EXTENTS_PER_CHUNK * 0x2000;
        extents.push(((chunk.logical, 192, GIB), le(&[used, 256, 1])));
        let count = (EXTENTS_PER_CHUNK as u32).to_le_bytes();
        free.push(((chunk.logical, 198, GIB), [count, [0; 4]].concat()));
        for number in 0..EXTENTS_PER_CHUNK {
            let at = chunk.logical + number * step;
            extents.push(((at, 168, 0x2000), le(&[1, 3, 1])));
            free.push(((at + 0x2000, 199, step - 0x2000), Vec::new()));
        }
    }
    extents.sort_by_key(|(key, _)| *key);
    free.sort_by_key(|(key, _)| *key);
    let mut next = METADATA;
    let roots: Vec<ItemOf> =
        [(EXTENT_TREE, extents), (DEVICE_TREE, device_items), (FREE_SPACE_TREE, free)]
            .into_iter()
            .map(|(owner, items)| {
                let (root, level) = plant(items, owner, &mut next, &mut copies);
                ((owner, 132, 0), root_item(root, GENERATION, level))
            })
            .collect();
    let root = plant(roots, ROOT_TREE, &mut next, &mut copies);
    assert!(next < METADATA + METADATA_BLOCKS * NODE);

    let mut image = Image::new();
    image.blocks.clear();
    image.data.clear();
    image.chunks.truncate(1);
    image.chunks[0] = chunks[0].clone();
    let used = CHUNKS * EXTENTS_PER_CHUNK * 0x2000 + (system_blocks + METADATA_BLOCKS) * NODE;
    let superblock = image
        .patch(0x50, &root.0.to_le_bytes())
        .patch(0x58, &chunk_root.0.to_le_bytes())
        .patch(0x70, &SIZE.to_le_bytes())
        .patch(0x78, &used.to_le_bytes())
        .patch(0xC6, &[root.1, chunk_root.1])
        .patch(0xC9, &device)
        .superblock(1);
    blocks.insert(0x1_0000, superblock);
    Sparse(blocks)
}

#[test]
fn two_tebibytes_with_a_million_extents_are_read_in_time() {
    let disk = volume();
    let began = Instant::now();
    let used = Btrfs.used(&[&disk as &dyn ReadAt]).unwrap();
    let took = began.elapsed();
    eprintln!("{took:?} for {} ranges in {} blocks", used.extents.count(), disk.0.len());
    assert_eq!(used.whole, None);
    assert!(used.extents.count() > 1_000_000 && used.extents.bytes() < 10 << 30);
    // Patience with a machine that has thirty other jobs, where it took 44 s: a
    // walk that is quadratic takes hours.
    assert!(took < Duration::from_secs(300), "{took:?}");
}
