// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a container may be in, and whether it has a map then.

use super::disk::{BLOCK, Disk, extent, tiny, used, with_snapshot};
use crate::extent::{Extent, ExtentSet};
use crate::io::{Memory, ReadAt};
use crate::ondisk::{Fields, FormatError};

/// The ranges that The Sleuth Kit calls used, of the facts of a disk.
fn oracle(facts: &str) -> ExtentSet {
    let facts: serde_json::Value = serde_json::from_str(facts).unwrap();
    let ranges = facts["used"].as_array().unwrap().iter();
    ranges.map(|it| Extent::at(it[0].as_u64().unwrap(), it[1].as_u64().unwrap())).collect()
}

#[test]
fn the_map_is_that_of_the_sleuth_kit() {
    let facts = include_str!("../../../../images/apfs-tiny.facts.json");
    assert_eq!(tiny().proven(), oracle(facts));
    let facts = include_str!("../../../../images/apfs-tiny-snapshot.facts.json");
    assert_eq!(with_snapshot().proven(), oracle(facts));
}

#[test]
fn a_container_goes_by_the_names_of_its_volumes() {
    let identity = tiny().identity().unwrap();
    assert_eq!(identity.name, "APFS");
    assert_eq!(identity.label.as_deref(), Some("Music"));
    assert_eq!(identity.size, 1 << 20);
    assert!(identity.clean);
    let facts = include_str!("../../../../images/apfs-tiny.facts.json");
    let facts: serde_json::Value = serde_json::from_str(facts).unwrap();
    assert_eq!(identity.uuid.as_deref(), facts["uuid"].as_str());
}

#[test]
fn another_volume_is_not_apfs() {
    for len in [0, 512, 4095, 4096, 1 << 20] {
        assert_eq!(Disk { bytes: vec![0; len], ..tiny() }.identity(), None);
    }
}

#[test]
fn what_is_behind_the_container_is_stored() {
    let mut disk = tiny();
    let proven = disk.proven();
    disk.bytes.extend([7; 5000]);
    let tail = Extent::new(1 << 20, (1 << 20) + 5000);
    assert_eq!(disk.proven(), proven.union(&tail.into()));
}

#[test]
fn a_container_larger_than_its_volume_has_no_map() {
    let mut disk = tiny();
    disk.bytes.truncate((1 << 20) - BLOCK);
    disk.corrupt("nx_block_count");
    let identity = disk.identity().unwrap();
    assert_eq!(identity.unclean.as_deref(), Some("larger than its partition"));
}

#[test]
fn the_first_block_may_be_older_than_the_newest_checkpoint() {
    let mut disk = tiny();
    let proven = disk.proven();
    let older = disk.bytes[2 * BLOCK..3 * BLOCK].to_vec();
    assert_ne!(older.u64_le(0x10), Some(disk.u64_at(disk.superblock, 0x10)));
    disk.set(0, 0, &older);
    assert_eq!(disk.proven(), proven);
    assert_eq!(disk.identity().unwrap().unclean.as_deref(), Some("not unmounted"));
    // The other way round, the newest checkpoint is lost.
    let mut disk = tiny();
    disk.set(disk.superblock, 0, &[0; BLOCK]);
    disk.corrupt("superblock of the newest checkpoint");
    assert_eq!(
        disk.identity().unwrap().unclean.as_deref(),
        Some("its newest checkpoint is damaged")
    );
}

#[test]
fn features_are_known_or_all_is_stored() {
    for (offset, known, unknown, why) in [
        (0x30, 0x01_u64, 0x04_u64, "unknown optional features (0x4)"),
        (0x38, 0, 0x01, "unknown read-only compatible features (0x1)"),
        (0x40, 0x02, 0x06, "unknown incompatible features (0x4)"),
        (0x4f0, 0x04, 0x08, "unknown flags (0x8)"),
    ] {
        let mut disk = tiny();
        disk.put_superblock(offset, &known.to_le_bytes());
        disk.proven();
        disk.put_superblock(offset, &unknown.to_le_bytes());
        disk.whole(why);
        // In the newest superblock alone.
        let mut disk = tiny();
        disk.put(disk.superblock, offset, &unknown.to_le_bytes());
        disk.whole(why);
    }
    let mut disk = tiny();
    disk.put_superblock(0x40, &1_u64.to_le_bytes());
    disk.whole("unknown incompatible features (0x1)");
    disk.put_superblock(0x40, &0_u64.to_le_bytes());
    disk.whole("before macOS 10.13");
}

#[test]
fn half_of_a_fusion_drive_is_stored_whole() {
    for (offset, value) in
        [(0x40, 0x102_u64), (0x30, 0x02), (0x500, 1), (0x548, 200), (0x550, 1100), (0x558, 200)]
    {
        let mut disk = tiny();
        disk.put_superblock(offset, &value.to_le_bytes());
        disk.whole("Fusion");
        assert!(disk.identity().is_some());
        assert!(disk.used().unwrap().advice.unwrap().contains("other disk"));
    }
    // The second device, and its free queue.
    for offset in [0x60, 0x68, 0x70, 0x118, 0x120] {
        let mut disk = tiny();
        disk.put(disk.spaceman, offset, &[1]);
        disk.whole("Fusion");
    }
}

#[test]
fn a_container_that_changes_its_shape_is_stored_whole() {
    for (offset, value, why) in [
        (0x4e0, 1_u64, "shrunk"),
        (0x4e8, 200, "shrunk"),
        (0xb0, 1, "test"),
        (0x540, 1, "test"),
        (0x68, 0x34_8000_0008, "pieces"),
        (0x6c, 0x0000_0001_8000_0034, "pieces"),
    ] {
        let mut disk = tiny();
        let bytes = value.to_le_bytes();
        let len = if why == "test" || offset < 0x100 { 4 } else { 8 };
        disk.put_superblock(offset, &bytes[..len]);
        disk.whole(why);
    }
}

#[test]
fn volumes_have_known_features() {
    let mut disk = tiny();
    disk.put(disk.volume, 0x38, &0x1ff_u64.to_le_bytes());
    disk.proven();
    disk.put(disk.volume, 0x38, &0x200_u64.to_le_bytes());
    disk.whole("unknown features (0x200)");
    let mut disk = tiny();
    disk.put(disk.volume, 0x30, &1_u64.to_le_bytes());
    disk.whole("unknown features (0x1)");
}

#[test]
fn a_space_manager_has_a_known_version() {
    let mut disk = tiny();
    disk.put(disk.spaceman, 0x90, &[3]);
    disk.whole("unknown flags or version (0x3, 1)");
    let mut disk = tiny();
    disk.put(disk.spaceman, 0x150, &[2]);
    disk.whole("unknown flags or version (0x1, 2)");
    // Without the flag there is no version.
    disk.put(disk.spaceman, 0x90, &[0]);
    disk.proven();
}

#[test]
fn hints_in_a_chunk_are_known_or_unsupported() {
    let mut disk = tiny();
    disk.put(disk.cib, 0x28 + 0x13, &[0x0c]);
    disk.proven();
    disk.put(disk.cib, 0x28 + 0x13, &[0x10]);
    assert!(matches!(disk.used(), Err(FormatError::Unsupported(_))));
}

/// Blocks in the queues are marked as in use, so the map has them; it has them
/// also if only the queue knows.
#[test]
fn blocks_that_older_checkpoints_have_are_stored() {
    let disk = tiny();
    let proven = disk.proven();
    // The first key of a queue is behind the space for the table.
    let keys = 0x38 + usize::from(disk.bytes.u16_le(disk.main_queue * BLOCK + 0x2a).unwrap());
    let freed = disk.u64_at(disk.main_queue, keys + 8) as usize;
    assert!(proven.covers(extent(freed)));
    let mut disk = disk;
    disk.free(freed);
    disk.corrupt("free queue");
}

#[test]
fn an_unreadable_block_of_the_checkpoint_is_an_error() {
    let disk = tiny();
    for block in [0, 1, disk.superblock, disk.spaceman, disk.cib, disk.bitmap, disk.pool_bitmap] {
        let memory = Memory::new(disk.bytes.clone()).unreadable(extent(block));
        assert!(matches!(used(&memory), Err(FormatError::Io(_))), "block {block}");
        assert!(memory.len() == 1 << 20);
    }
}

#[test]
fn keybags_and_the_driver_for_starting_are_stored() {
    let mut disk = tiny();
    let (free, taken) = (200_u64, disk.snapshots as u64);
    assert!(!disk.proven().covers(extent(200)));
    for offset in [0x510, 0x570] {
        let mut disk = disk.clone();
        disk.put_superblock(offset, &taken.to_le_bytes());
        disk.put_superblock(offset + 8, &1_u64.to_le_bytes());
        disk.proven();
        disk.put_superblock(offset, &free.to_le_bytes());
        disk.corrupt(if offset == 0x510 { "keybag" } else { "media keys" });
    }
    // An nx_efi_jumpstart_t with one extent, in place of the list of snapshots.
    let block = disk.snapshots;
    disk.put_superblock(0x4f8, &(block as u64).to_le_bytes());
    disk.corrupt("EFI driver");
    disk.set(disk.volume, 0x98, &[0; 8]);
    disk.put(disk.volume, 0x7c, &[0; 4]);
    disk.set(block, 0x18, &[0x14, 0, 0, 0x40, 0, 0, 0, 0]);
    disk.set(block, 0x20, &[0; BLOCK - 0x20]);
    disk.set(block, 0x2c, &[1]);
    disk.set(block, 0xb0, &(disk.extents as u64).to_le_bytes());
    disk.put(block, 0xb8, &[1]);
    disk.proven();
    disk.put(block, 0xb0, &free.to_le_bytes());
    disk.corrupt("EFI driver");
    disk.put(block, 0x2c, &[255, 255, 255, 255]);
    disk.corrupt("EFI driver");
}
