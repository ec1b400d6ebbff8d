// SPDX-License-Identifier: MIT OR Apache-2.0
//! Several devices, and one of several alone.

use super::image::{DEVICE, GENERATION, Image, NODE, seal, set, used_of, uuid_of};
use crate::extent::ExtentSet;

/// Two devices: system and metadata RAID1, data RAID0.
fn pair() -> Image {
    unplanted_pair().planted()
}

fn unplanted_pair() -> Image {
    let mut image = Image::new();
    image.devices = 2;
    image.chunks[0].kind = 0x12;
    image.chunks[0].stripes = vec![(1, 0x10_0000), (2, 0x10_0000)];
    image.chunks[1].kind = 0x14;
    image.chunks[1].stripes = vec![(2, 0x20_0000), (1, 0x30_0000)];
    image.chunks[2].kind = 0x09;
    image.chunks[2].stripes = vec![(1, 0x20_0000), (2, 0x30_0000)];
    image.chunks[2].stripe_bytes = 0x8_0000;
    image
}

#[track_caller]
fn whole(devices: &[Vec<u8>]) -> String {
    let used = used_of(devices).unwrap();
    assert_eq!(used.extents, ExtentSet::all(DEVICE));
    used.whole.expect("stored whole")
}

/// Writes fields of a superblock, and its checksum.
fn change(device: &mut [u8], offset: usize, bytes: &[u8]) {
    let block = &mut device[0x1_0000..0x1_1000];
    block[offset..offset + bytes.len()].copy_from_slice(bytes);
    seal(block, 0);
}

#[test]
fn each_device_has_its_part() {
    let devices = pair().build();
    let used = used_of(&devices).unwrap();
    assert_eq!((used.whole, used.notes.len()), (None, 0));
    let tree = |at: u64| vec![(at, 3 * NODE), (at + 0x5000, NODE), (at + 0x8000, NODE)];
    let mut expected = vec![(0, 1 << 20), (0x10_3000, NODE)];
    expected.extend(tree(0x30_0000));
    // The first three sectors, and the first half of the second extent.
    expected.extend([(0x20_0000, 0x3000), (0x20_8000, 0x8000)]);
    assert_eq!(used.extents, set(&expected));

    let swapped: Vec<Vec<u8>> = devices.into_iter().rev().collect();
    let used = used_of(&swapped).unwrap();
    let mut expected = vec![(0, 1 << 20), (0x10_3000, NODE), (0x30_0000, 0x8000)];
    expected.extend(tree(0x20_0000));
    assert_eq!((used.whole, used.extents), (None, set(&expected)));
}

#[test]
fn of_one_of_two_alone_all_that_is_in_chunks_is_stored() {
    let devices = pair().build();
    let all = used_of(&devices).unwrap().extents;
    let used = used_of(&devices[..1]).unwrap();
    let chunks = [(0, 0x11_0000), (0x20_0000, 0x8_0000), (0x30_0000, 0x2_0000)];
    assert_eq!((used.whole, used.extents.clone()), (None, set(&chunks)));
    assert!(all.subtract(&used.extents).is_empty());
    assert!(used.notes[0].contains("one of 2 devices"), "{:?}", used.notes);
    assert!(used.advice.unwrap().contains("together with the other disks"));
}

#[test]
fn one_alone_whose_trees_are_elsewhere_is_stored_whole() {
    // The tree of roots only on the other device, and then a log to replay.
    let mut image = unplanted_pair();
    image.chunks[1].kind = 0x04;
    image.chunks[1].stripes = vec![(2, 0x20_0000)];
    let why = whole(&image.planted().build()[..1]);
    assert!(why.contains("not at hand"), "{why}");
    let mut devices = pair().build();
    for device in &mut devices {
        change(device, 0x60, &0x30_0000_u64.to_le_bytes());
    }
    assert!(whole(&devices[..1]).contains("a log to replay"));
}

#[test]
fn other_filesystems_are_not_taken_for_devices() {
    let mut devices = pair().build();
    let mut other = devices[1].clone();
    change(&mut other, 0x20, &[0x99; 16]);
    change(&mut other, 0xC9 + 82, &[0x99; 16]);
    devices.push(other);
    devices.push(vec![0; 1 << 20]);
    devices.push(Vec::new());
    assert_eq!(used_of(&devices).unwrap().whole, None);
    devices.remove(1);
    assert!(used_of(&devices).unwrap().notes[0].contains("one of 2 devices"));
}

#[test]
fn a_device_that_is_there_twice_proves_nothing() {
    let mut devices = pair().build();
    devices.push(devices[1].clone());
    assert!(whole(&devices).contains("the same device"));
    // A clone of a filesystem on one device is a filesystem of its own.
    let mut devices = Image::new().planted().build();
    devices.push(devices[0].clone());
    change(&mut devices[1], 0x48, &(GENERATION + 1).to_le_bytes());
    assert_eq!(used_of(&devices).unwrap().whole, None);
}

#[test]
fn a_device_that_is_a_commit_behind_follows_the_others() {
    let mut devices = pair().build();
    let map = used_of(&devices).unwrap().extents;
    change(&mut devices[0], 0x48, &(GENERATION - 1).to_le_bytes());
    change(&mut devices[0], 0x50, &[0xFF; 8]);
    change(&mut devices[0], 0x70, &[0xFF; 8]);
    let used = used_of(&devices).unwrap();
    assert_eq!((used.whole, used.extents), (None, map));
    assert!(used.notes[0].contains("device 1 is older"), "{:?}", used.notes);
}

#[test]
fn a_single_device_to_which_another_was_just_added() {
    let mut devices = pair().build();
    change(&mut devices[0], 0x48, &(GENERATION - 1).to_le_bytes());
    change(&mut devices[0], 0x88, &[1]);
    let used = used_of(&devices).unwrap();
    assert_eq!(used.whole, None);
    assert!(used.notes[0].contains("device 1 is older"));
}

#[test]
fn devices_that_contradict_each_other_prove_nothing() {
    let mut devices = pair().build();
    change(&mut devices[1], 0x50, &[0, 0x10]);
    assert!(whole(&devices).contains("one without the other"));

    let mut devices = pair().build();
    change(&mut devices[1], 0x60, &[0, 0x10]);
    assert!(whole(&devices).contains("different logs"));

    let mut devices = pair().build();
    change(&mut devices[1], 0x38, &[5]);
    assert!(whole(&devices).contains("errors are recorded"));
}

#[test]
fn the_target_of_a_replacement_is_no_device() {
    let mut devices = pair().build();
    change(&mut devices[1], 0xC9, &[0]);
    assert!(whole(&devices).contains("being replaced"));
}

#[test]
fn another_device_than_the_chunk_tree_has() {
    let mut devices = pair().build();
    change(&mut devices[1], 0xC9 + 66, &uuid_of(7));
    assert!(used_of(&devices).unwrap_err().to_string().contains("dev_item"));
}

#[test]
fn a_copy_on_a_device_that_was_away_is_told() {
    let mut devices = pair().build();
    // The extent tree on the second device.
    devices[1][0x20_1000..0x20_2000].fill(0);
    let used = used_of(&devices).unwrap();
    assert_eq!(used.whole, None);
    assert!(used.notes[0].contains("damaged"), "{:?}", used.notes);
}
