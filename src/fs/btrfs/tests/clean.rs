// SPDX-License-Identifier: MIT OR Apache-2.0
//! Healthy filesystems.

use super::image::{
    DATA, DEVICE, EXTENT_TREE, FREE_SPACE_TREE, GENERATION, Image, METADATA, NODE, SYSTEM, set,
};
use crate::extent::Extent;
use crate::fs::Filesystem;
use crate::fs::btrfs::Btrfs;
use crate::fs::btrfs::superblock::POSITIONS;
use crate::io::{Memory, ReadAt};

/// The first MiB, the tree blocks twice, the data once.
fn expected() -> Vec<(u64, u64)> {
    let mut expected = vec![(0, 1 << 20)];
    for copy in [0x10_0000, 0x11_0000] {
        expected.push((copy + 0x3000, NODE));
    }
    for copy in [0x12_0000, 0x15_0000] {
        expected.extend([(copy, 3 * NODE), (copy + 0x5000, NODE), (copy + 0x8000, NODE)]);
    }
    expected.extend([(0x20_0000, 0x3000), (0x20_8000, 0x1_0000)]);
    expected
}

#[test]
fn metadata_is_stored_twice_and_data_once() {
    assert_eq!(Image::new().planted().map(), set(&expected()));
}

#[test]
fn all_four_checksums_are_known_and_a_fifth_is_not() {
    for number in 0..4 {
        let image = Image { checksum: number, ..Image::new() }.planted();
        assert_eq!(image.map(), set(&expected()), "checksum {number}");
    }
    let image = Image { checksum: 4, ..Image::new() }.planted();
    assert!(image.error().contains("unknown number 4"));
}

#[test]
fn a_block_group_tree_is_read() {
    let image = Image { has_group_tree: true, ..Image::new() }.planted();
    let mut expected = expected();
    expected.extend([(0x12_A000, NODE), (0x15_A000, NODE)]);
    assert_eq!(image.map(), set(&expected));
}

#[test]
fn no_free_space_tree_is_needed() {
    let image = Image { has_free_space_tree: false, ..Image::new() }.planted();
    let map = image.map();
    assert!(!map.touches(Extent::at(0x12_8000, NODE)));
    assert!(map.covers(Extent::at(0x20_8000, 0x1_0000)));
}

#[test]
fn a_free_space_tree_that_is_out_of_date_is_not_compared() {
    let mut image = Image::new().planted().patch(0xB4, &[1]);
    image.item(FREE_SPACE_TREE, 199).0.2 -= 0x1000;
    image.map();
}

#[test]
fn free_space_may_be_told_by_bitmaps() {
    let mut image = Image::new().planted();
    // Of the data: 3 sectors used, 5 free, 16 used, 232 free.
    let items = &mut image.tree(FREE_SPACE_TREE).items;
    items.retain(|(key, _)| key.0 <= DATA);
    let mut info = 2_u32.to_le_bytes().to_vec();
    info.extend(1_u32.to_le_bytes());
    items.retain(|(key, _)| key.0 < DATA);
    items.push(((DATA, 198, 0x10_0000), info));
    let mut bitmap = vec![0xF8, 0x00, 0x00];
    bitmap.resize(32, 0xFF);
    // In two bitmaps: a range goes over the edge between them.
    let second = bitmap.split_off(16);
    items.push(((DATA, 200, 0x8_0000), bitmap));
    items.push(((DATA + 0x8_0000, 200, 0x8_0000), second));
    assert_eq!(image.map(), set(&expected()));
    image.item(FREE_SPACE_TREE, 200).1[0] = 0xFC;
    assert!(image.error().contains("free space tree"), "{}", image.error());
}

#[test]
fn free_space_of_a_block_group_that_is_no_more_is_not_looked_at() {
    let mut image = Image::new().planted();
    let items = &mut image.tree(FREE_SPACE_TREE).items;
    items.insert(0, ((0x1000, 198, 0x4000), vec![1, 0, 0, 0, 0, 0, 0, 0]));
    items.insert(1, ((0x2000, 199, 0x2000), Vec::new()));
    assert_eq!(image.map(), set(&expected()));
    // But not if it is where a chunk is.
    image.tree(FREE_SPACE_TREE).items[0].0.2 = SYSTEM;
    assert!(image.error().contains("the range of a chunk"), "{}", image.error());
}

#[test]
fn a_tree_may_have_several_levels() {
    let mut image = Image::new();
    let leaf = |logical| {
        let mut block = image.blocks[2].clone();
        block.logical = logical;
        block
    };
    let (first, second) = (leaf(METADATA + 0x1_0000), leaf(METADATA + 0x1_2000));
    image.blocks.extend([first, second]);
    let mut image = image.planted();
    // `planted` takes them for roots of trees of their own.
    let mut seen = false;
    image.tree(1).items.retain(|(key, _)| key.0 != 2 || !std::mem::replace(&mut seen, true));
    let items = std::mem::take(&mut image.tree(EXTENT_TREE).items);
    let (left, right) = items.split_at(items.len() / 2);
    let pointer = |logical: u64| {
        let mut bytes = logical.to_le_bytes().to_vec();
        bytes.extend(GENERATION.to_le_bytes());
        bytes
    };
    let root = image.tree(EXTENT_TREE);
    root.level = 1;
    root.items =
        vec![(left[0].0, pointer(METADATA + 0x1_0000)), (right[0].0, pointer(METADATA + 0x1_2000))];
    image.blocks[6].items = left.to_vec();
    image.blocks[7].items = right.to_vec();
    for (key, item) in &mut image.tree(1).items {
        if key.0 == EXTENT_TREE {
            item[238] = 1;
        }
    }
    let map = image.map();
    assert!(map.covers(Extent::at(0x13_0000, NODE)) && map.covers(Extent::at(0x16_2000, NODE)));

    // A leaf that is pointed to twice, as in a loop.
    let mut looped = image.clone();
    let root = looped.tree(EXTENT_TREE);
    root.items[1].1 = pointer(METADATA + 0x1_0000);
    assert!(looped.error().contains("first key of a tree block"), "{}", looped.error());
    // A root that points to itself.
    let root = looped.tree(EXTENT_TREE);
    root.items[0].1 = pointer(METADATA + 0x1000);
    assert!(looped.error().contains("level of a tree block"), "{}", looped.error());
    // Keys of the second leaf that are below those of the first.
    let mut unsorted = image.clone();
    let first = unsorted.blocks[6].items[0].0;
    unsorted.blocks[7].items[0].0 = (first.0, first.1, first.2 + 1);
    unsorted.tree(EXTENT_TREE).items[1].0 = unsorted.blocks[7].items[0].0;
    assert!(unsorted.error().contains("key"), "{}", unsorted.error());
    // A child of another generation than its parent says.
    image.blocks[7].generation -= 1;
    assert!(image.error().contains("generation of a tree block"), "{}", image.error());
}

#[test]
fn what_lies_behind_the_device_is_stored() {
    let mut device = Image::new().planted().build().remove(0);
    device.extend([0xDD; 10_000]);
    let used = super::image::used_of(&[device]).unwrap();
    assert!(used.whole.is_none() && used.extents.covers(Extent::at(DEVICE, 10_000)));
}

#[test]
fn every_superblock_is_stored() {
    for position in POSITIONS {
        assert!(position >= 1 << 16);
    }
    let image = Image::new().planted();
    assert!(image.map().covers(Extent::at(POSITIONS[0], 4096)));
}

#[test]
fn the_identity_is_that_of_blkid() {
    let identify = |image: &Image| {
        let memory = Memory::new(image.build().remove(0));
        Btrfs.probe(&[&memory as &dyn ReadAt]).unwrap().unwrap()
    };
    let image = Image::new().planted();
    let identity = identify(&image);
    assert_eq!(identity.name, "btrfs");
    assert_eq!(identity.label.as_deref(), Some("takes[0m"));
    assert_eq!(identity.uuid.as_deref(), Some("11111111-1111-1111-1111-111111111111"));
    assert_eq!((identity.size, identity.clean), (DEVICE, true));
    let identity = identify(&image.clone().patch(0x60, &[0, 0x10]));
    assert_eq!(identity.unclean.as_deref(), Some("log not replayed"));
    let identity = identify(&image.patch(0x38, &[5]));
    assert_eq!(identity.unclean.as_deref(), Some("errors recorded"));
}

#[test]
fn what_is_no_btrfs_is_not_claimed() {
    for len in [0, 1, 4096, 0x1_0FFF, 1 << 20] {
        let memory = Memory::zeros(len);
        assert_eq!(Btrfs.probe(&[&memory as &dyn ReadAt]).unwrap(), None);
        assert!(Btrfs.used(&[&memory as &dyn ReadAt]).is_err());
    }
    assert_eq!(Btrfs.probe(&[]).unwrap(), None);
    assert!(Btrfs.used(&[]).is_err());
}
