// SPDX-License-Identifier: MIT OR Apache-2.0
//! One field wrong at a time: the exact error, or stored whole and why.

use super::image::{
    CHUNK_TREE_ID, DATA, DEVICE, DEVICE_TREE, EXTENT_TREE, FREE_SPACE_TREE, GENERATION, Image,
    ItemOf, METADATA, NODE, ROOT_TREE, SYSTEM, root_item, used_of,
};
use crate::extent::Extent;
use crate::fs::Filesystem;
use crate::fs::btrfs::Btrfs;
use crate::io::{Memory, ReadAt};
use crate::ondisk::FormatError;

#[track_caller]
fn assert_error(image: &Image, words: &str) {
    let error = image.error();
    assert!(error.contains(words), "{error}");
}

#[track_caller]
fn assert_whole(image: &Image, words: &str) {
    let why = image.whole();
    assert!(why.contains(words), "{why}");
}

#[test]
fn fields_of_the_superblock() {
    let image = Image::new().planted();
    for (offset, bytes, words) in [
        (0x30, &[0, 0, 2][..], "bytenr of the superblock"),
        (0x48, &[0; 8], "generation"),
        (0x88, &[0; 8], "num_devices"),
        (0x90, &[0, 8, 0, 0], "sectorsize"),
        (0x90, &[1, 16, 0, 0], "sectorsize"),
        (0x90, &[0, 0, 2, 0], "sectorsize"),
        (0x90, &[0, 0x20, 0, 0], "nodesize"),
        (0x94, &[0, 0, 2, 0], "nodesize"),
        (0xA0, &[1, 8, 0, 0], "sys_chunk_array_size"),
        (0xA0, &[1, 0, 0, 0], "sys_chunk_array"),
        (0x11B, &[0], "dev_item.fsid"),
        (0x71, &[0x10], "total_bytes"),
        (0x78, &[1], "bytes_used"),
        (0x50, &[0, 0x10], "owner of a tree block"),
        (0x50, &[7], "pointer to a tree block"),
        (0x58, &[0, 0, 0x40], "pointer to a tree block"),
        (0xA4, &[1], "generation of a tree block"),
        (0xC6, &[1], "level of a tree block"),
        (0xC9, &[2], "not at hand"),
        (0xD1, &[0, 0, 0x30], "dev_item"),
        (0xD9, &[1], "dev_item"),
        (0x32B, &[1], "sys_chunk_array"),
    ] {
        let changed = image.clone().patch(offset, bytes);
        let error = changed.error();
        assert!(error.contains(words), "{offset:#x}: {error}");
    }
}

#[test]
fn a_superblock_with_a_wrong_checksum_is_claimed_but_not_believed() {
    let mut image = Image::new().planted();
    image.raw.push((0, 0x1_0FFF, vec![1]));
    assert_error(&image, "checksum of the superblock");
    let memory = Memory::new(image.build().remove(0));
    let probed = Btrfs.probe(&[&memory as &dyn ReadAt]);
    assert!(matches!(probed, Err(FormatError::Corrupt { .. })));
}

#[test]
fn bits_that_are_not_on_the_list() {
    let image = Image::new().planted();
    for bit in 0..64_u64 {
        let incompat = image.clone().patch(0xBC, &(0x341 | 1_u64 << bit).to_le_bytes());
        let compat_ro = image.clone().patch(0xB4, &(3 | 1_u64 << bit).to_le_bytes());
        let compat = image.clone().patch(0xAC, &(1_u64 << bit).to_le_bytes());
        let flags = image.clone().patch(0x38, &(1 | 1_u64 << bit).to_le_bytes());
        // Bit 10 says that tree blocks have another UUID, which they have not.
        match bit {
            10 => assert_error(&incompat, "dev_item.fsid"),
            12.. => drop(incompat.whole()),
            _ => drop(incompat.map()),
        }
        match bit {
            // Without the tree that it promises.
            3 => assert_error(&compat_ro, "tree of roots"),
            4.. => drop(compat_ro.whole()),
            _ => drop(compat_ro.map()),
        }
        compat.whole();
        if bit == 0 {
            flags.map();
        } else {
            flags.whole();
        }
    }
    assert_whole(&image.clone().patch(0xBC, &[0x40]), "before 2009");
    assert_whole(&image.clone().patch(0xBD, &[0x13]), "zoned");
    assert_whole(&image.clone().patch(0xBD, &[0x23]), "extent-tree-v2");
    assert_whole(&image.clone().patch(0xBD, &[0x43]), "raid-stripe-tree");
    assert_whole(&image.clone().patch(0xBD, &[0x03, 1]), "simple quota");
    assert_whole(&image.clone().patch(0xBD, &[0x03, 2]), "remap-tree");
    assert_whole(&image.clone().patch(0x38, &[5]), "errors are recorded");
    assert_whole(&image.patch(0x3C, &[1]), "seed");
}

#[test]
fn fields_of_a_tree_block() {
    let image = Image::new().planted();
    for (offset, bytes, words) in [
        (32, &[0][..], "fsid of a tree block"),
        (48, &[1], "bytenr of a tree block"),
        (63, &[0], "before 2009"),
        (64, &[0], "chunk tree UUID"),
        (80, &[GENERATION as u8 - 1], "generation of a tree block"),
        (88, &[EXTENT_TREE as u8 + 1], "owner of a tree block"),
        (96, &[0xFF, 0xFF], "nritems of a tree block"),
        (100, &[1], "level of a tree block"),
        // The second key is below the first; items overlap, and leave the leaf.
        (101 + 25, &[0; 17], "key in a tree block"),
        (101 + 17, &[0xFF, 0x0F], "place of an item"),
        (101 + 21, &[0xFF, 0x0F], "place of an item"),
        (101 + 25 + 17, &[1, 0], "place of an item"),
        (101 + 25 + 21, &[0xFF, 0xFF, 0xFF, 0xFF], "place of an item"),
    ] {
        let mut changed = image.clone();
        changed.tree(EXTENT_TREE).patches.push((offset, bytes.to_vec()));
        let error = changed.error();
        assert!(error.contains(words), "{offset}: {error}");
    }
    // A node has to have children, a level has an end.
    let mut node = image.clone();
    node.tree(EXTENT_TREE).level = 1;
    node.tree(EXTENT_TREE).items.clear();
    node.item(ROOT_TREE, 132).1[238] = 1;
    assert_error(&node, "nritems");
    let mut high = image;
    high.tree(EXTENT_TREE).level = 8;
    high.tree(EXTENT_TREE).items.clear();
    high.item(ROOT_TREE, 132).1[238] = 8;
    assert_error(&high, "level of a tree block");
}

/// Where the copies of the extent tree are.
const COPIES: [usize; 2] = [0x12_1000, 0x15_1000];

#[test]
fn one_damaged_copy_of_a_tree_block_is_told_and_two_are_too_many() {
    let mut image = Image::new().planted();
    let map = image.map();
    image.raw.push((0, COPIES[0] + 500, vec![1]));
    let used = image.used().unwrap();
    assert_eq!((used.whole, &used.extents), (None, &map));
    assert!(used.notes[0].contains("1 copies of its tree blocks are damaged"), "{:?}", used.notes);
    image.raw.push((0, COPIES[1] + 500, vec![1]));
    assert_error(&image, "checksum of a tree block");
}

#[test]
fn copies_that_cannot_be_read_are_as_good_as_damaged() {
    let bytes = Image::new().planted().build().remove(0);
    let unreadable = |copies: &[usize]| {
        let mut memory = Memory::new(bytes.clone());
        for copy in copies {
            memory = memory.unreadable(Extent::at(*copy as u64, NODE));
        }
        Btrfs.used(&[&memory as &dyn ReadAt])
    };
    assert_eq!(unreadable(&COPIES[1..]).unwrap().whole, None);
    assert!(matches!(unreadable(&COPIES), Err(FormatError::Io(_))));
    assert!(matches!(unreadable(&[0x1_0000]), Err(FormatError::Io(_))));
}

#[test]
fn two_whole_copies_that_differ_prove_nothing() {
    let mut image = Image::new().planted();
    let mut other = image.clone();
    other.item(EXTENT_TREE, 168).1[0] = 2;
    let bytes = other.tree(EXTENT_TREE).bytes(0);
    image.raw.push((0, COPIES[1], bytes));
    assert_error(&image, "the same as in its other copy");
}

#[test]
fn chunks() {
    let image = Image::new().planted();
    for (offset, bytes, words) in [
        (0, &[0; 8][..], "length of a chunk"),
        (0, &[1], "multiple of the sector size"),
        (7, &[0xFF], "length of a chunk"),
        (16, &[0, 0x20, 0], "stripe_len of a chunk"),
        (24, &[0x05], "num_stripes"),
        (24, &[0x25], "num_stripes"),
        (24, &[0x02], "sys_chunk_array"),
        (24, &[0x03], "type of a chunk"),
        (24, &[0x00], "type of a chunk"),
        (25, &[0x08], "unknown type"),
        (44, &[0], "num_stripes"),
        (44, &[9], "num_stripes"),
        (48, &[2], "device tree"),
        (48 + 8, &[1], "offset of a stripe"),
        (48 + 9, &[0x10], "device tree"),
        (48 + 15, &[0xFF], "device tree"),
    ] {
        let mut changed = image.clone();
        let items = &mut changed.tree(CHUNK_TREE_ID).items;
        let (_, item) = items.iter_mut().find(|(key, _)| key.2 == DATA).unwrap();
        item[offset..offset + bytes.len()].copy_from_slice(bytes);
        match changed.used() {
            Ok(used) => panic!("{offset}: {:?}", used.whole),
            Err(error) => assert!(
                error.to_string().contains(words)
                    || (offset == 24 && error.to_string().contains("extent tree")),
                "{offset}: {error}"
            ),
        }
    }
    let mut longer = image.clone();
    let items = &mut longer.tree(CHUNK_TREE_ID).items;
    items.last_mut().unwrap().1.push(0);
    assert_error(&longer, "chunk item");
    let mut overlapping = image.clone();
    let items = &mut overlapping.tree(CHUNK_TREE_ID).items;
    items.last_mut().unwrap().0.2 = METADATA + 0x1_0000;
    assert_error(&overlapping, "chunk at");
    let mut unknown = image;
    unknown.tree(CHUNK_TREE_ID).items.push(((257, 1, 0), vec![0]));
    assert_error(&unknown, "unknown type 1");
    // A system chunk that the superblock does not have.
    let mut system = Image::new();
    system.chunks[1].kind = 0x22;
    let system = system.planted();
    system.map();
    let fewer = system.patch(0xA0, &(17_u32 + 112).to_le_bytes());
    assert_error(&fewer, "sys_chunk_array");
}

#[test]
fn devices_of_the_chunk_tree() {
    let image = Image::new().planted();
    let mut seed = image.clone();
    seed.item(CHUNK_TREE_ID, 216).1[82] = 0x77;
    assert_error(&seed, "seed device");
    let mut other = image.clone();
    other.item(CHUNK_TREE_ID, 216).1[66] = 0x77;
    assert_error(&other, "dev_item");
    let mut second = image.clone();
    let mut item = second.item(CHUNK_TREE_ID, 216).1.clone();
    item[0] = 2;
    second.tree(CHUNK_TREE_ID).items.insert(1, ((1, 216, 2), item));
    assert_error(&second, "num_devices");
    let mut short = image.build().remove(0);
    short.truncate(DEVICE as usize - 1);
    let error = used_of(&[short]).unwrap_err().to_string();
    assert!(error.contains("at most the 4194303 bytes"), "{error}");
}

#[test]
fn device_extents_are_the_stripes_of_chunks() {
    let image = Image::new().planted();
    let mut fewer = image.clone();
    fewer.tree(DEVICE_TREE).items.pop();
    assert_error(&fewer, "device tree");
    let mut more = image.clone();
    let last = more.tree(DEVICE_TREE).items.last().unwrap().clone();
    more.tree(DEVICE_TREE).items.push(((1, 204, 0x38_0000), last.1));
    assert_error(&more, "one to one");
    let mut other = image.clone();
    other.item(DEVICE_TREE, 204).1[25] ^= 0x10;
    assert_error(&other, "one to one");
    // Two chunks in one place, on both sides of the comparison.
    let mut overlapping = Image::new();
    overlapping.chunks[2].stripes[0].1 = 0x16_0000;
    assert_error(&overlapping.planted(), "behind the one before it");
    let mut outside = Image::new();
    outside.chunks[2].stripes[0].1 = 0x38_0000;
    assert_error(&outside.planted(), "inside of the device");
    let mut unknown = image;
    unknown.tree(DEVICE_TREE).items.push(((2, 205, 0), vec![0]));
    assert_error(&unknown, "unknown type 205");
}

#[test]
fn a_device_that_is_being_replaced() {
    for (state, is_whole) in [(0, false), (1, true), (2, false), (3, false), (4, true)] {
        let mut image = Image::new().planted();
        let mut item = vec![0; 72];
        item[32] = state;
        image.tree(DEVICE_TREE).items.insert(1, ((0, 250, 0), item));
        image.tree(DEVICE_TREE).items.sort_by_key(|(key, _)| *key);
        if is_whole {
            assert_whole(&image, "being replaced");
        } else {
            image.map();
        }
    }
}

#[test]
fn extents() {
    let image = Image::new().planted();
    let with = |change: &dyn Fn(&mut Vec<ItemOf>)| {
        let mut changed = image.clone();
        change(&mut changed.tree(EXTENT_TREE).items);
        changed.tree(EXTENT_TREE).items.sort_by_key(|(key, _)| *key);
        changed.error()
    };
    let data = |refs: u64, flags: u64| {
        [refs, 3, flags].iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<u8>>()
    };
    let add = |key, item: Vec<u8>| with(&|items| items.push((key, item.clone())));
    for (error, words) in [
        (add((DATA + 0x1000, 168, 0x1000), data(1, 1)), "behind the one before it"),
        (add((DATA + 0x4000, 168, 0x1000), data(1, 2)), "in a chunk of its type"),
        (add((METADATA + 0x4000, 168, 0x1000), data(1, 1)), "in a chunk of its type"),
        (add((DATA + 0xF_F000, 168, 0x2000), data(1, 1)), "in a chunk of its type"),
        (add((0x90_0000, 168, 0x1000), data(1, 1)), "in a chunk of its type"),
        (add((0x1000, 168, 0x1000), data(1, 1)), "in a chunk of its type"),
        (add((DATA + 0x4000, 168, 0x800), data(1, 1)), "whole sectors"),
        (add((DATA + 0x4800, 168, 0x1000), data(1, 1)), "whole sectors"),
        (add((DATA + 0x4000, 168, 0), data(1, 1)), "whole sectors"),
        (add((DATA + 0x4000, 168, 0x1000), data(0, 1)), "with references"),
        (add((DATA + 0x4000, 168, 0x1000), data(1, 5)), "with references"),
        (add((DATA + 0x4000, 168, 0x1000), vec![1; 23]), "references and flags"),
        (add((METADATA + 0x4000, 169, 8), data(1, 2)), "a tree block"),
        (add((METADATA + 0x4000, 169, 0), data(1, 1)), "a tree block"),
        (add((METADATA + 0x4000, 168, 0x2000), data(1, 2)), "a tree block"),
        (add((DATA + 0x4000, 178, 1), vec![]), "the extent before it"),
        (add((DATA, 180, 1), vec![]), "unknown type 180"),
        (add((DATA, 172, 1), vec![]), "unknown type 172"),
        // One more, or one less, than the block group and the free space say.
        (add((DATA + 0x4000, 168, 0x1000), data(1, 1)), "free space tree"),
        (with(&|items| items.retain(|(key, _)| key.0 != DATA + 0x8000)), "free space tree"),
        (with(&|items| items.retain(|(key, _)| key.1 != 192)), "block group"),
        // A block that is in use, and not in the tree.
        (with(&|items| items.retain(|(key, _)| key.0 != METADATA + 0x5000)), "free space tree"),
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
}

#[test]
fn block_groups() {
    let image = Image { has_free_space_tree: false, ..Image::new() }.planted();
    let changed = |change: &dyn Fn(&mut ItemOf)| {
        let mut changed = image.clone();
        let items = &mut changed.tree(EXTENT_TREE).items;
        change(items.iter_mut().find(|(key, _)| key.1 == 192 && key.0 == DATA).unwrap());
        changed
    };
    assert_error(&changed(&|item| item.1[1] += 0x10), "used bytes of a block group");
    assert_error(&changed(&|item| item.1[8] = 1), "the type of its chunk");
    assert_error(&changed(&|item| item.1[16] = 4), "the type of its chunk");
    assert_error(&changed(&|item| item.0.2 += 0x1000), "the type of its chunk");
    assert_error(&changed(&|item| item.1.truncate(23)), "a block group of a chunk");
    // An extent less, which nothing but the counts knows of.
    let mut less = image.clone();
    less.tree(EXTENT_TREE).items.retain(|(key, _)| key.0 != DATA + 0x8000);
    assert_error(&less, "used bytes of a block group");
    // The same with counts that were made right.
    let group = |less: &mut Image| {
        let items = &mut less.tree(EXTENT_TREE).items;
        items.iter_mut().find(|(key, _)| key.1 == 192 && key.0 == METADATA).unwrap().1[1] -= 0x10;
    };
    let mut hidden = image;
    hidden.tree(EXTENT_TREE).items.retain(|(key, _)| key.0 != METADATA + 0x5000);
    group(&mut hidden);
    let used = 0x3000_u64 + 0x1_0000 + 4 * NODE;
    let hidden = hidden.patch(0x78, &used.to_le_bytes());
    assert_error(&hidden, "extent tree");
    assert!(hidden.error().contains("free space there"), "{}", hidden.error());
}

#[test]
fn block_group_tree() {
    let image = Image { has_group_tree: true, ..Image::new() }.planted();
    let mut other = image.clone();
    other.tree(super::image::GROUP_TREE).items[0].0.1 = 193;
    assert_error(&other, "a block group");
    let mut both = image;
    let group = both.tree(super::image::GROUP_TREE).items[0].clone();
    both.tree(EXTENT_TREE).items.insert(0, group);
    both.tree(EXTENT_TREE).items.sort_by_key(|(key, _)| *key);
    assert_error(&both, "unknown type 192");
}

#[test]
fn free_space() {
    let image = Image::new().planted();
    let changed = |change: &dyn Fn(&mut Vec<ItemOf>)| {
        let mut changed = image.clone();
        change(&mut changed.tree(FREE_SPACE_TREE).items);
        changed.error()
    };
    for (error, words) in [
        (changed(&|items| drop(items.remove(0))), "an item of a block group first"),
        (changed(&|items| drop(items.remove(1))), "free space tree"),
        (changed(&|items| drop(items.pop())), "free space tree"),
        (changed(&|items| items[0].1[0] += 1), "free ranges in block group"),
        (changed(&|items| items[0].1[4] = 2), "a count and the flag"),
        (changed(&|items| items[0].1[4] = 1), "free ranges, or bitmaps"),
        (changed(&|items| items[0].1.truncate(7)), "a count and the flag"),
        (changed(&|items| items[1].0.2 = 0), "a range"),
        (changed(&|items| items[1].0.2 = u64::MAX), "a range"),
        (changed(&|items| items[1].0.2 = 0x8000), "ranges of its block group"),
        (changed(&|items| items[1].0.2 = 0x2000), "free space tree"),
        (changed(&|items| items[1].0.1 = 200), "free ranges, or bitmaps"),
        (changed(&|items| items[1].0.1 = 201), "free ranges, or bitmaps"),
    ] {
        assert!(error.contains(words), "{words}: {error}");
    }
    let mut bitmap = image.clone();
    let items = &mut bitmap.tree(FREE_SPACE_TREE).items;
    items[0].1[4] = 1;
    items[1].0.1 = 200;
    assert_error(&bitmap, "a bit for each sector");
    let mut missing = image;
    missing.tree(ROOT_TREE).items.retain(|(key, _)| key.0 != FREE_SPACE_TREE);
    assert_error(&missing, "a free space tree");
}

#[test]
fn roots() {
    let image = Image::new().planted();
    let without = |owner| {
        let mut image = image.clone();
        image.tree(ROOT_TREE).items.retain(|(key, _)| key.0 != owner);
        image
    };
    assert_error(&without(EXTENT_TREE), "an extent tree");
    assert_error(&without(DEVICE_TREE), "a device tree");
    let with = |key, item: Vec<u8>| {
        let mut image = image.clone();
        image.tree(ROOT_TREE).items.push((key, item));
        image.tree(ROOT_TREE).items.sort_by_key(|(key, _)| *key);
        image
    };
    let here = root_item(METADATA + 0x5000, GENERATION, 0);
    assert_whole(&with((12, 132, 0), here.clone()), "a tree of its own");
    assert_whole(&with((13, 132, 0), here.clone()), "a tree of its own");
    assert_whole(&with((EXTENT_TREE, 132, 1), here.clone()), "several trees");
    with((256, 132, 0), here.clone()).map();
    with((0_u64.wrapping_sub(4), 248, 0), vec![0; 448]).map();
    assert_error(&with((256, 228, 0), vec![0; 80]), "unknown type 228");
    assert_error(&with((256, 132, 0), here[..238].to_vec()), "root item");
    let later = root_item(METADATA + 0x5000, GENERATION + 1, 0);
    assert_error(&with((256, 132, 0), later), "generation of a root item");
    let free = root_item(METADATA + 0x6000, GENERATION, 0);
    assert_error(&with((256, 132, 0), free), "free space there");
    let system = root_item(SYSTEM + 0x6000, GENERATION, 0);
    assert_error(&with((256, 132, 0), system), "free space there");
}
