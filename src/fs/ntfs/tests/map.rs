// SPDX-License-Identifier: MIT OR Apache-2.0

use super::image::{FILE, Image, LOG, MFT, RECORD, Rec, file_name, list_entry, mapped, resident};
use crate::extent::{Extent, ExtentSet};
use crate::fs::ntfs::boot_sector::BootSector;
use crate::fs::ntfs::mft::Mft;
use crate::fs::ntfs::used::{Clusters, Found, map_with};
use crate::io::Memory;

#[test]
fn a_clean_volume_has_what_its_bitmap_and_its_records_say() {
    let mut image = Image::new();
    image.marked.push((200, 3));
    let used = image.write().used().unwrap();
    assert_eq!(used.whole, None);
    assert_eq!(used.extents, image.metadata().union(&image.extents(&[(40, 4), (200, 3)])));
    assert_eq!(used.notes, Vec::<String>::new());
    let identity = image.identity();
    assert_eq!(identity.label.as_deref(), Some("My disk"));
    assert_eq!(identity.uuid.as_deref(), Some("0123456789ABCDEF"));
    assert_eq!((identity.size, identity.clean), (image.bytes.len() as u64, true));
}

#[test]
fn clusters_of_a_record_are_in_use_whatever_the_bitmap_says() {
    let mut image = Image::new();
    image.record(21).attributes = vec![
        mapped(0x80, "", 0, &[(Some(300), 2), (None, 5), (Some(100), 3)], 40960, 1),
        mapped(0x80, "stream", 0, &[(Some(310), 1)], 4096, 2),
        mapped(0x100, "$TXF_DATA", 0, &[(Some(320), 1)], 4096, 3),
    ];
    let used = image.write().used().unwrap();
    let file = image.extents(&[(40, 4), (100, 3), (300, 2), (310, 1), (320, 1)]);
    assert_eq!(used.extents, image.metadata().union(&file));
    assert!(used.notes[0].contains("3 parts of files"), "{:?}", used.notes);
}

#[test]
fn records_that_continue_a_file_count_and_deleted_ones_do_not() {
    let mut image = Image::new();
    image.record(22).attributes = vec![mapped(0x80, "", 4, &[(Some(300), 2)], 0, 1)];
    image.record(22).base = FILE | 1 << 48;
    image.record(23).attributes = vec![mapped(0x80, "", 0, &[(Some(310), 2)], 8192, 1)];
    image.record(23).flags = 0;
    // One that only the table's bitmap calls in use counts, too.
    image.record(24).attributes = vec![mapped(0x80, "", 0, &[(Some(320), 2)], 8192, 1)];
    image.record(24).flags = 0;
    image.flipped.push(24);
    // And one that only the record itself does.
    image.record(25).attributes = vec![mapped(0x80, "", 0, &[(Some(330), 2)], 8192, 1)];
    image.flipped.push(25);
    let used = image.write().used().unwrap();
    let files = image.extents(&[(40, 4), (300, 2), (320, 2), (330, 2)]);
    assert_eq!(used.extents, image.metadata().union(&files));
}

#[test]
fn what_is_behind_the_last_cluster_is_stored() {
    let mut image = Image::new();
    image.write().bytes.extend(vec![1; 20_000_000]);
    let used = image.used().unwrap();
    assert_eq!(used.extents, image.metadata().union(&image.extents(&[(40, 4)])));
    assert!(used.notes[0].contains("20000000 bytes larger"), "{:?}", used.notes);
}

#[test]
fn clusters_of_2_mib() {
    let mut image = Image::with(2 << 20, 48);
    assert_eq!(image.write().bytes[0x0d], 0xf4);
    let used = image.used().unwrap();
    assert_eq!(used.whole, None);
    assert_eq!(used.extents, image.metadata().union(&image.extents(&[(40, 4)])));
}

/// A volume whose `$MFT` goes on at cluster 64, which record 16 says.
fn fragmented() -> Image {
    let mut image = Image::new();
    let table = (32 * RECORD) as u64 + 8192;
    let bitmap = resident(0xb0, "", &[0; 8], 2);
    let list =
        [list_entry(0x80, 0, 0, 1, 1), list_entry(0x80, 8, 16, 1, 5), list_entry(0xb0, 0, 0, 1, 2)];
    image.record(0).attributes = vec![
        resident(0x20, "", &list.concat(), 3),
        mapped(0x80, "", 0, &[(Some(MFT), 8)], table, 1),
        bitmap,
    ];
    image.records[16] = Some(Rec::new(vec![mapped(0x80, "", 8, &[(Some(64), 2)], 0, 5)]));
    image.record(16).base = 1 << 48;
    image.marked.push((64, 2));
    image
}

/// Writes record `number` of the part at cluster 64.
fn write_behind(image: &mut Image, number: u64, record: Rec) {
    image.write();
    let kept = image.records[31].replace(record);
    let mut bytes = image.encode(31);
    // Its own number is below the sectors' ends.
    bytes[0x2c] = number as u8;
    image.records[31] = kept;
    let place = 64 * 4096 + (number as usize - 32) * RECORD;
    image.bytes[place..place + RECORD].copy_from_slice(&bytes);
}

#[test]
fn a_table_in_pieces_is_read_whole() {
    let mut image = fragmented();
    let file = Rec::new(vec![mapped(0x80, "", 0, &[(Some(400), 2)], 8192, 1)]);
    write_behind(&mut image, 36, file);
    let used = image.used().unwrap();
    assert_eq!(used.whole, None);
    let files = image.extents(&[(40, 4), (64, 2), (400, 2)]);
    assert_eq!(used.extents, image.metadata().union(&files));
}

#[test]
fn a_bitmap_in_pieces_is_read_whole() {
    let mut image = Image::new();
    // Of 512 clusters only 64 bytes are needed; its clusters are of 4096.
    let list = [list_entry(0x80, 0, 17, 1, 4), list_entry(0x80, 1, 18, 1, 4)];
    image.record(6).attributes = vec![resident(0x20, "", &list.concat(), 3)];
    image.record(17).attributes = vec![mapped(0x80, "", 0, &[(Some(13), 1)], 8192, 4)];
    image.record(18).attributes = vec![mapped(0x80, "", 1, &[(Some(70), 1)], 0, 4)];
    image.record(17).base = 6 | 1 << 48;
    image.record(18).base = 6 | 1 << 48;
    image.marked.extend([(70, 1), (200, 7)]);
    let used = image.write().used().unwrap();
    assert_eq!(used.extents, image.metadata().union(&image.extents(&[(40, 4), (70, 1), (200, 7)])));
}

#[test]
fn several_clusters_share_a_bit_where_there_are_too_many() {
    let mut image = Image::new();
    image.marked.extend([(201, 1), (511, 1)]);
    image.write();
    let volume = Memory::new(image.bytes.clone());
    let boot = BootSector::parse(&image.bytes).unwrap().unwrap();
    let mft = Mft::open(&volume, &boot).unwrap();
    let Found::Map(exact) = map_with(&mft, 512).unwrap() else { panic!() };
    let Found::Map(coarse) = map_with(&mft, 100).unwrap() else { panic!() };
    assert!(exact.extents.subtract(&coarse.extents).is_empty());
    // Eight clusters a bit.
    assert!(coarse.extents.covers(image.extents(&[(200, 8)]).as_slice()[0]));
    assert!(!coarse.extents.touches(image.extents(&[(208, 8)]).as_slice()[0]));
    assert_eq!(coarse.extents.end(), image.bytes.len() as u64);
}

#[test]
fn holes_and_the_name_of_a_file_are_no_clusters() {
    let mut image = Image::new();
    image.record(21).attributes = vec![
        resident(0x30, "", &file_name(5, "other"), 1),
        mapped(0x80, "", 0, &[(None, 100_000)], 409_600_000, 2),
    ];
    let used = image.write().used().unwrap();
    assert_eq!(used.extents, image.metadata().union(&image.extents(&[(40, 4)])));
    assert!(used.extents.touches(image.extents(&[(LOG, 1)]).as_slice()[0]));
}

#[test]
fn ranges_go_on_from_segment_to_segment() {
    let mut image = Image::new();
    image.write();
    let mut boot = BootSector::parse(&image.bytes).unwrap().unwrap();
    // Two segments of 2^25 clusters, and a few.
    boot.clusters = (1 << 26) + 100;
    let mut clusters = Clusters::new(&boot, 1 << 29);
    let across = Extent::at((1 << 25) * 4096 - 8192, 20_000);
    let long = Extent::at((1 << 26) * 4096 - 4096, 9 * 4096);
    clusters.set_bytes(across);
    clusters.set_bytes(long);
    let end = boot.clusters * 4096;
    let wanted: ExtentSet =
        [across.align_outwards(4096), long, Extent::at(end, 512)].into_iter().collect();
    assert_eq!(clusters.into_extents(end + 512), wanted);
}
