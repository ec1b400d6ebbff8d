// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damaged and hostile containers: every field that is looked at, with another
//! value and a right checksum.

use super::disk::{BLOCK, Disk, tiny, with_snapshot};
use crate::ondisk::Fields;

#[test]
fn every_block_that_has_a_checksum_is_believed_with_it_only() {
    let disk = tiny();
    for (block, what) in [
        (0, "superblock of the APFS container"),
        (disk.superblock, "superblock of the APFS container"),
        (disk.map, "checkpoint map"),
        (disk.spaceman, "ephemeral object"),
        (disk.main_queue, "ephemeral object"),
        (disk.pool_queue, "ephemeral object"),
        (disk.cib, "chunk-info block"),
        (disk.omap, "object map"),
        (disk.omap_root, "object map"),
        (disk.volume, "superblock of an APFS volume"),
        (disk.volume_omap_root, "object map"),
        (disk.extents, "extents of an APFS volume"),
        (disk.snapshots, "snapshots of an APFS volume"),
    ] {
        let mut disk = disk.clone();
        // A byte that nobody reads.
        disk.set(block, BLOCK - 41, &[0xa5]);
        disk.corrupt(what);
    }
}

/// A block of the container.
type Place = fn(&Disk) -> usize;

#[test]
fn every_field_is_compared() {
    let superblock: Place = |disk| disk.superblock;
    let map: Place = |disk| disk.map;
    let spaceman: Place = |disk| disk.spaceman;
    let cib: Place = |disk| disk.cib;
    let omap: Place = |disk| disk.omap;
    let omap_root: Place = |disk| disk.omap_root;
    let volume: Place = |disk| disk.volume;
    let main_queue: Place = |disk| disk.main_queue;
    for (place, offset, value, what) in [
        (superblock, 0x08, 2_u32, "superblock of the APFS container"),
        (superblock, 0x18, 0x4000_0001, "superblock of the APFS container"),
        (superblock, 0x24, 8192, "nx_block_size"),
        (superblock, 0x28, 255, "superblock of the newest checkpoint"),
        (superblock, 0x48, 1, "superblock of the newest checkpoint"),
        (superblock, 0x68, 0, "checkpoint area"),
        (superblock, 0x68, 9, "superblock of the newest checkpoint"),
        (superblock, 0x6c, 53, "superblock of the newest checkpoint"),
        (superblock, 0x70, 2, "superblock of the newest checkpoint"),
        (superblock, 0x78, 10, "superblock of the newest checkpoint"),
        (superblock, 0x80, 5, "nx_xp_desc_len and nx_xp_desc_next"),
        (superblock, 0x80, 8, "checkpoint area"),
        (superblock, 0x8c, 1, "nx_xp_desc_len and nx_xp_desc_next"),
        (superblock, 0x8c, 3, "checkpoint map"),
        (superblock, 0x8c, 9, "nx_xp_desc_len and nx_xp_desc_next"),
        (superblock, 0x98, 1025, "space manager"),
        (superblock, 0xa0, 0, "object map"),
        (superblock, 0xa0, 0xffff_ffff, "object map"),
        (superblock, 0xa8, 1024, "reaper"),
        (superblock, 0xb8, 1041, "object map of the container"),
        (map, 0x08, 77, "checkpoint map"),
        (map, 0x10, 2, "checkpoint map"),
        (map, 0x20, 0, "checkpoint map"),
        (map, 0x20, 3, "checkpoint map"),
        (map, 0x24, 102, "cpm_count"),
        (map, 0x24, u32::MAX, "cpm_count"),
        (map, 0x24, 3, "free queue"),
        (map, 0x28, 0x4000_0005, "ephemeral object"),
        (map, 0x30, 0, "cpm_size"),
        (map, 0x30, 4097, "cpm_size"),
        (map, 0x30, 1 << 30, "mapping of an ephemeral object"),
        (map, 0x40, 1030, "ephemeral object"),
        (map, 0x48, 0, "mapping of an ephemeral object"),
        (map, 0x48, 61, "mapping of an ephemeral object"),
        (spaceman, 0x10, 2, "ephemeral object"),
        (spaceman, 0x20, 8192, "sm_block_size"),
        (spaceman, 0x24, 32767, "sm_blocks_per_chunk"),
        (spaceman, 0x28, 127, "sm_chunks_per_cib"),
        (spaceman, 0x2c, 508, "sm_cibs_per_cab"),
        (spaceman, 0x30, 255, "sm_block_count"),
        (spaceman, 0x38, 2, "sm_chunk_count"),
        (spaceman, 0x40, 2, "sm_cib_count"),
        (spaceman, 0x44, 1, "sm_cab_count"),
        (spaceman, 0x48, 1, "sm_free_count"),
        (spaceman, 0x50, 4090, "sm_addr_offset"),
        (spaceman, 0x50, u32::MAX, "sm_addr_offset"),
        (spaceman, 0x98, 0, "sm_ip_bm_size_in_blocks"),
        (spaceman, 0x98, u32::MAX, "sm_ip_block_count"),
        (spaceman, 0x98, 7, "record of a free queue"),
        (spaceman, 0x98, 1, "chunk-info block"),
        (spaceman, 0xa0, 2, "sm_ip_bm_size_in_blocks"),
        (spaceman, 0xa4, 0, "sm_ip_bm_size_in_blocks"),
        (spaceman, 0xa4, 17, "bitmaps of the internal pool"),
        (spaceman, 0xa8, 60, "bitmaps of the internal pool"),
        (spaceman, 0xb0, 300, "internal pool"),
        (spaceman, 0xb0, 90, "chunk-info block"),
        (spaceman, 0xc8, 3, "sfq_count"),
        (spaceman, 0xd0, 1025, "free queue"),
        (spaceman, 0xd0, 0, "sfq_count"),
        (spaceman, 0xf0, 1, "sfq_count"),
        (spaceman, 0x148, 4095, "sm_ip_bitmap_offset"),
        (spaceman, 0x148, 0x98, "chunk-info block"),
        (cib, 0x08, 1, "chunk-info block"),
        (cib, 0x10, 9, "chunk-info block"),
        (cib, 0x18, 0x4000_0006, "chunk-info block"),
        (cib, 0x20, 1, "chunk-info block"),
        (cib, 0x24, 0, "chunk-info block"),
        (cib, 0x28, 9, "chunk_info_t"),
        (cib, 0x30, 1, "chunk_info_t"),
        (cib, 0x38, 255, "chunk_info_t"),
        (cib, 0x3c, 1, "ci_free_count"),
        (cib, 0x40, 0, "ci_free_count"),
        (cib, 0x40, 200, "bitmap of a chunk"),
        (omap, 0x28, 2, "om_tree_type"),
        (omap, 0x30, 0, "object map"),
        (omap_root, 0x20, 0x000b, "object map"),
        (omap_root, 0x20, 0x0006, "object map"),
        (omap_root, 0x20, 0x0003, "object map"),
        (omap_root, 0x20, 0x0001_0007, "object map"),
        (omap_root, 0x24, 0, "object map"),
        (omap_root, 0x24, 2, "object map"),
        (omap_root, 0x24, u32::MAX, "object map"),
        (omap_root, 0x28, u32::MAX, "object map"),
        (volume, 0x08, 1, "superblock of an APFS volume"),
        (volume, 0x10, 4, "superblock of an APFS volume"),
        (volume, 0x20, 0, "superblock of an APFS volume"),
        (volume, 0x80, 0, "object map"),
        (main_queue, 0x20, 0x0001_0005, "free queue"),
        (main_queue, 0x24, 1000, "free queue"),
        (main_queue, 0x28, 4000, "free queue"),
    ] {
        let mut disk = tiny();
        let block = place(&disk);
        assert_ne!(disk.bytes.u32_le(block * BLOCK + offset), Some(value), "{what} {offset:#x}");
        disk.put(block, offset, &value.to_le_bytes());
        match disk.used() {
            Err(crate::ondisk::FormatError::Corrupt { what: found, .. }) if found == what => {}
            other => panic!("block {block}, {offset:#x} is {value:#x}: {what}: {other:?}"),
        }
    }
}

/// The bitmap has no checksum, but what it must mark is known.
#[test]
fn a_bitmap_that_lacks_what_is_in_use_is_not_believed() {
    let disk = tiny();
    let inside = |block: usize, offset: usize| disk.u64_at(block, offset) as usize;
    for (block, what) in [
        (0, "first block"),
        (7, "checkpoint descriptor area"),
        (60, "checkpoint data area"),
        (disk.pool_bitmap, "bitmaps of the internal pool"),
        (inside(disk.spaceman, 0xb0) + 2, "internal pool"),
        (disk.omap, "object map of the container"),
        (disk.omap_root, "object map of the container"),
        (disk.volume, "object map of the container"),
        (inside(disk.volume, 0x80), "object map of an APFS volume"),
        (disk.volume_omap_root, "object map of an APFS volume"),
        // The root of the volume's files, which only the map knows.
        (inside(disk.volume_omap_root, BLOCK - 48), "object map of an APFS volume"),
        (disk.extents, "extents of an APFS volume"),
        (disk.snapshots, "snapshots of an APFS volume"),
    ] {
        let mut disk = disk.clone();
        disk.free(block);
        disk.corrupt(what);
    }
    // An extent of a file: the key of the first record.
    let keys = 0x38 + usize::from(disk.bytes.u16_le(disk.extents * BLOCK + 0x2a).unwrap());
    let first = (inside(disk.extents, keys) as u64 & 0x0fff_ffff_ffff_ffff) as usize;
    let mut free = disk.clone();
    free.free(first);
    free.corrupt("extent of a file");
    // Without its counts, one bit is enough.
    let mut flipped = disk.clone();
    flipped.bytes[disk.bitmap * BLOCK] ^= 2;
    flipped.corrupt("ci_free_count");
}

#[test]
fn what_a_snapshot_has_must_be_in_use() {
    let disk = with_snapshot();
    let values = BLOCK - 40;
    // The first record's value is the last in the block: the name record's
    // value is before it.
    let value = disk.bytes.u16_le(disk.snapshots * BLOCK + 0x38 + 4).unwrap();
    let at = values - usize::from(value);
    for (offset, what) in [(8, "superblock of a snapshot"), (0, "extents of a snapshot")] {
        let mut disk = disk.clone();
        let block = disk.u64_at(disk.snapshots, at + offset) as usize;
        disk.free(block);
        disk.corrupt(what);
    }
    // Its tree of extents is walked, too.
    let tree = disk.u64_at(disk.snapshots, at) as usize;
    let keys = 0x38 + usize::from(disk.bytes.u16_le(tree * BLOCK + 0x2a).unwrap());
    let first = (disk.u64_at(tree, keys) & 0x0fff_ffff_ffff_ffff) as usize;
    let mut free = disk.clone();
    free.free(first);
    free.corrupt("extent of a file");
}

#[test]
fn blocks_of_the_pool_have_one_use() {
    // The bitmap of the only chunk is the chunk-info block itself.
    let mut disk = tiny();
    let cib = disk.cib as u64;
    disk.put(disk.cib, 0x40, &cib.to_le_bytes());
    disk.corrupt("bitmap of a chunk");
    // A block that the pool's own bitmap calls free.
    let mut disk = tiny();
    let index = disk.bitmap - disk.u64_at(disk.spaceman, 0xb0) as usize;
    disk.bytes[disk.pool_bitmap * BLOCK] &= !(1 << index);
    disk.corrupt("bitmap of a chunk");
    // A queued block of the pool that is in use.
    let mut disk = tiny();
    let keys = 0x38 + usize::from(disk.bytes.u16_le(disk.pool_queue * BLOCK + 0x2a).unwrap());
    disk.put(disk.pool_queue, keys + 8, &cib.to_le_bytes());
    disk.corrupt("free queue");
}

#[test]
fn records_of_the_free_queues_are_of_their_part() {
    let disk = tiny();
    let keys = 0x38 + usize::from(disk.bytes.u16_le(disk.main_queue * BLOCK + 0x2a).unwrap());
    for (queue, offset, value, what) in [
        (disk.main_queue, 0, 9_u64, "record of a free queue"),
        (disk.main_queue, 8, disk.cib as u64, "record of a free queue"),
        (disk.main_queue, 8, 256, "free queue"),
        (disk.main_queue, 8, u64::MAX, "free queue"),
        (disk.pool_queue, 8, 200, "record of a free queue"),
    ] {
        let mut disk = disk.clone();
        disk.put(queue, keys + offset, &value.to_le_bytes());
        disk.corrupt(what);
    }
}

#[test]
fn a_tree_with_a_loop_ends() {
    // A root of level 1 whose child is the root, a node of its level, or a node
    // of level 0 that is there twice.
    let mut disk = tiny();
    let root = disk.omap_root;
    disk.set(root, 0x20, &[5, 0, 1, 0]);
    disk.set(root, BLOCK - 40 - 8, &(root as u64).to_le_bytes());
    disk.put(root, 0, &[]);
    disk.corrupt("object map");
    // All nodes of a level say that they are of the same one.
    let mut disk = tiny();
    let child = disk.extents;
    let node = disk.bytes[root * BLOCK..(root + 1) * BLOCK].to_vec();
    disk.set(child, 0, &node);
    disk.set(child, 8, &(child as u64).to_le_bytes());
    disk.set(child, 0x18, &[3]);
    disk.set(child, 0x20, &[4, 0, 1, 0]);
    disk.set(child, BLOCK - 8, &(child as u64).to_le_bytes());
    disk.put(child, 0, &[]);
    disk.set(root, 0x20, &[5, 0, 2, 0]);
    disk.set(root, BLOCK - 40 - 8, &(child as u64).to_le_bytes());
    disk.put(root, BLOCK - 8, &99_u64.to_le_bytes());
    disk.corrupt("object map");
    // More nodes than the root says.
    disk.put(root, BLOCK - 8, &1_u64.to_le_bytes());
    disk.corrupt("object map");
}

#[test]
fn the_counts_of_a_tree_are_right() {
    for (offset, value) in [(BLOCK - 8, 2_u64), (BLOCK - 16, 2), (BLOCK - 8, 0)] {
        let mut disk = tiny();
        let block = disk.omap_root;
        disk.put(block, offset, &value.to_le_bytes());
        disk.corrupt("object map");
    }
}

#[test]
fn two_superblocks_of_one_transaction_are_one_too_many() {
    let mut disk = tiny();
    let newest = disk.bytes[disk.superblock * BLOCK..(disk.superblock + 1) * BLOCK].to_vec();
    disk.set(7, 0, &newest);
    disk.corrupt("checkpoint descriptor area");
    // None at all.
    for block in 1..9 {
        disk.set(block, 0, &[0; BLOCK]);
    }
    disk.corrupt("checkpoint descriptor area");
}

#[test]
fn a_container_of_absurd_size_ends_at_once() {
    for (offset, value) in
        [(0x28, u64::MAX), (0x70, u64::MAX >> 1), (0x78, u64::MAX >> 1), (0x28, 0)]
    {
        let mut disk = tiny();
        disk.put_superblock(offset, &value.to_le_bytes());
        assert!(disk.used().is_err(), "{offset:#x}");
    }
    for size in [0_u32, 512, 2048, 4097, 131_072, u32::MAX] {
        let mut disk = tiny();
        disk.put(0, 0x24, &size.to_le_bytes());
        disk.corrupt("nx_block_size");
    }
}

/// Blind, but past the checksums: fields of all structures with values that are
/// at the edge of something.
#[test]
fn patched_containers_end_without_a_panic() {
    let rounds = std::env::var("DACAPO_PATCHES").ok().and_then(|rounds| rounds.parse().ok());
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = |below: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state % below
    };
    let disks = [tiny(), with_snapshot()];
    for _ in 0..rounds.unwrap_or(2000_u64) {
        let mut disk = disks[random(2) as usize].clone();
        let blocks = [
            0,
            disk.superblock,
            disk.map,
            disk.spaceman,
            disk.pool_queue,
            disk.main_queue,
            disk.cib,
            disk.omap,
            disk.omap_root,
            disk.volume,
            disk.volume_omap_root,
            disk.extents,
            disk.snapshots,
        ];
        for _ in 0..=random(3) {
            let block = blocks[random(blocks.len() as u64) as usize];
            let offset = match random(4) {
                0 => 0x20 + random(0x30),
                1 => BLOCK as u64 - 8 - random(64),
                2 => 8 + random(0x200),
                _ => 8 + random(BLOCK as u64 - 16),
            };
            let value = match random(6) {
                0 => random(256),
                1 => random(4096),
                2 => u64::MAX - random(3),
                3 => 1 << random(64),
                4 => disk.u64_at(block, offset as usize).wrapping_add(random(3)).wrapping_sub(1),
                _ => blocks[random(blocks.len() as u64) as usize] as u64,
            };
            let len = 1 << random(4);
            if random(2) == 0 && block == disk.superblock {
                disk.put(0, offset as usize, &value.to_le_bytes()[..len]);
            }
            disk.put(block, offset as usize, &value.to_le_bytes()[..len]);
        }
        if let Ok(used) = disk.used() {
            assert!(used.extents.end() <= disk.bytes.len() as u64);
            // What the volumes have is there, whatever was changed.
            assert!(used.extents.covers(super::disk::extent(0)));
        }
        let memory = crate::io::Memory::new(disk.bytes);
        let _ = crate::fs::Filesystem::probe(&super::super::Apfs, &[&memory]);
    }
}
