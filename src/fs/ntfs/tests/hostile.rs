// SPDX-License-Identifier: MIT OR Apache-2.0

use super::image::{
    BITMAP, FILE, Image, MFT, MIRROR, RECORD, corrupt, list_entry, mapped, protect, put, resident,
};
use crate::extent::Extent;
use crate::fs::Filesystem;
use crate::fs::ntfs::Ntfs;
use crate::io::Memory;
use crate::ondisk::FormatError;

/// The volume after a change to the bytes of a record before its sectors are
/// protected.
fn changed(number: u64, at: usize, value: &[u8]) -> Image {
    let mut image = Image::new();
    image.write();
    let place = image.place(number);
    let mut record = image.bytes[place..place + RECORD].to_vec();
    put(&mut record, at, value);
    put(&mut image.bytes, place, &record);
    if number < 4 {
        let mirror = MIRROR as usize * 4096 + number as usize * RECORD;
        put(&mut image.bytes, mirror, &record);
    }
    image
}

#[test]
fn every_field_of_a_record_is_checked() {
    let place = |at: u64| (MFT * 4096) + FILE * RECORD as u64 + at;
    let first = place(0x38);
    for (at, value, what, position) in [
        (0x00, &b"BAAD"[..], "file record", place(0)),
        (0x00, &[0; 4], "file record", place(0)),
        (0x04, &[0xff, 0xff], "file record", place(0)),
        (0x04, &[0xfc, 0x01], "file record", place(0)),
        (0x06, &[2], "file record", place(0)),
        (0x14, &[0x20], "file record", place(0)),
        (0x14, &[0x39], "file record", place(0)),
        (0x14, &[0, 4], "file record", place(0)),
        (0x18, &[1, 5], "file record", place(0)),
        (0x18, &[0, 5], "file record", place(0)),
        (0x1c, &[0, 8], "file record", place(0)),
        (0x2c, &[21], "file record", place(0)),
        (0x20, &[32], "file record", place(0)),
        (0x1fe, &[1], "file record", place(0)),
        // The attribute's type, length, form, name and value.
        (0x38, &[0; 4], "attribute", first),
        (0x38, &[0x31], "attribute", first),
        (0x3c, &[0; 4], "attribute", first),
        (0x3c, &[7], "attribute", first),
        (0x3c, &[0, 8], "attribute", first),
        (0x40, &[2], "attribute", first),
        (0x41, &[0xff], "attribute", first),
        (0x48, &[0xff], "attribute", first),
        (0x4c, &[0xff], "attribute", first),
    ] {
        let image = changed(FILE, at, value);
        assert_eq!(corrupt(image.used()), (what, position), "{at:#x} {value:x?}");
    }
}

/// The volume with a changed attribute in clusters.
fn mapping(at: usize, value: &[u8]) -> Image {
    let mut image = Image::new();
    let mut data = mapped(0x80, "", 0, &[(Some(40), 4)], 16384, 1);
    put(&mut data, at, value);
    image.record(FILE).attributes = vec![data];
    image.write();
    image
}

#[test]
fn every_field_of_a_mapping_is_checked() {
    let position = MFT * 4096 + FILE * RECORD as u64 + 0x38;
    for (at, value, what) in [
        (0x10, &[5_u8][..], "attribute"),
        (0x10, &[1], "run list"),
        (0x18, &[4], "run list"),
        (0x18, &[2], "run list"),
        (0x18, &[0xff; 7], "run list"),
        (0x20, &[0x38], "attribute"),
        (0x20, &[0xff, 0xff], "attribute"),
        // The run itself: behind the end of the volume, and no end mark.
        (0x45, &[0, 2], "run list"),
        (0x40, &[0x44, 0xff, 0xff, 0xff, 0x7f], "run list"),
        (0x40, &[0x99], "run list"),
        (0x49, &[0x11], "run list"),
    ] {
        assert_eq!(corrupt(mapping(at, value).used()), (what, position), "{at:#x} {value:x?}");
    }
}

#[test]
fn the_mirror_has_to_be_one() {
    for number in 0..4 {
        let mut image = Image::new();
        image.write();
        let place = (MIRROR * 4096) as usize + number * RECORD;
        image.bytes[place + 0x50] ^= 1;
        assert_eq!(corrupt(image.used()).1, place as u64, "record {number}");
    }
}

#[test]
fn the_table_and_the_bitmap_are_plain() {
    for (number, index) in [(0, 0), (6, 0)] {
        for flags in [0x0001_u16, 0x4000, 0x8000] {
            let mut image = Image::new();
            put(&mut image.record(number).attributes[index], 0x0c, &flags.to_le_bytes());
            let used = image.write().used();
            let is_refused = match &used {
                Ok(used) => used.whole.as_ref().is_some_and(|why| why.contains("has the flags")),
                Err(error) => matches!(error, FormatError::Unsupported(_)),
            };
            assert!(is_refused, "{number}: {used:?}");
        }
    }
    let mut image = Image::new();
    image.record(6).attributes = vec![mapped(0x80, "", 0, &[(None, 1)], 64, 1)];
    assert_eq!(corrupt(image.write().used()).0, "$Bitmap");
}

#[test]
fn a_bitmap_that_is_too_short_is_corrupt() {
    // The size and what of it was written.
    for at in [0x30, 0x38] {
        let mut image = Image::new();
        put(&mut image.record(6).attributes[0], at, &[63]);
        assert_eq!(corrupt(image.write().used()).0, "$Bitmap", "{at:#x}");
    }
    let mut image = Image::new();
    put(&mut image.record(6).attributes[0], 0x30, &4097_u64.to_le_bytes());
    assert_eq!(corrupt(image.write().used()).0, "$Bitmap");
    // The table's own.
    let mut image = Image::new();
    image.write();
    let short = resident(0xb0, "", &[0xff; 3], 2);
    image.record(0).attributes[1] = short;
    let bytes = image.encode(0);
    for place in [image.place(0), (MIRROR * 4096) as usize] {
        put(&mut image.bytes, place, &bytes);
    }
    assert_eq!(corrupt(image.used()).0, "bitmap of $MFT");
}

#[test]
fn files_that_every_volume_has_are_looked_for() {
    for number in [0, 2, 3, 5, 6] {
        let mut image = Image::new();
        image.record(number).flags = 0;
        assert!(image.write().used().is_err(), "{number}");
        // Who it is does not depend on the map.
        assert_eq!(image.identity().clean, number == 6);
    }
    for (number, what) in [(2, "$LogFile"), (6, "$Bitmap"), (3, "$Volume")] {
        let mut image = Image::new();
        image.record(number).attributes = vec![resident(0x30, "", &[0; 0x50], 9)];
        assert_eq!(corrupt(image.write().used()).0, what);
    }
}

#[test]
fn a_table_that_starts_elsewhere_than_the_boot_sector_says_is_corrupt() {
    let mut image = Image::new();
    image.record(0).attributes[0] = mapped(0x80, "", 0, &[(Some(50), 8)], 32768, 1);
    assert_eq!(corrupt(image.write().used()).0, "$MFT");
}

#[test]
fn attribute_lists_are_followed_with_care() {
    let list = |image: &mut Image, entries: &[Vec<u8>]| {
        image.record(6).attributes = vec![resident(0x20, "", &entries.concat(), 3)];
        image.record(17).attributes = vec![mapped(0x80, "", 0, &[(Some(BITMAP), 1)], 64, 4)];
        image.record(17).base = 6 | 1 << 48;
    };
    let mut image = Image::new();
    list(&mut image, &[list_entry(0x80, 0, 17, 1, 4)]);
    assert_eq!(image.write().used().unwrap().whole, None);
    for (entry, what) in [
        // Another sequence, attribute, record; behind the table; itself.
        (list_entry(0x80, 0, 17, 2, 4), "file record"),
        (list_entry(0x80, 0, 17, 1, 5), "file record"),
        (list_entry(0x80, 0, 20, 1, 2), "file record"),
        (list_entry(0x80, 0, 32, 1, 4), "$MFT"),
        (list_entry(0x80, 0, 6, 1, 3), "file record"),
    ] {
        let mut image = Image::new();
        list(&mut image, &[entry]);
        assert_eq!(corrupt(image.write().used()).0, what);
    }
    // The same part twice; an entry of no length; one cut short.
    let mut image = Image::new();
    list(&mut image, &[list_entry(0x80, 0, 17, 1, 4), list_entry(0x80, 0, 17, 1, 4)]);
    assert_eq!(corrupt(image.write().used()).0, "$Bitmap");
    for len in [0, 0x19, 0xff] {
        let mut entry = list_entry(0x80, 0, 17, 1, 4);
        entry[4] = len;
        let mut image = Image::new();
        list(&mut image, &[entry]);
        assert_eq!(corrupt(image.write().used()).0, "attribute list", "{len}");
    }
}

#[test]
fn unreadable_places_are_errors_and_not_free() {
    let mut image = Image::new();
    let bytes = image.write().bytes.clone();
    for cluster in [0, MFT, MFT + 5, MIRROR, BITMAP, 16] {
        let volume = Memory::new(bytes.clone()).unreadable(Extent::at(cluster * 4096, 512));
        let used = Ntfs.used(&[&volume]);
        assert!(matches!(used, Err(FormatError::Io(_))), "{cluster}: {used:?}");
    }
}

#[test]
fn no_cut_of_a_volume_is_a_surprise() {
    let mut image = Image::new();
    let bytes = image.write().bytes.clone();
    for len in (0..bytes.len()).step_by(1021) {
        let volume = Memory::new(bytes[..len].to_vec());
        assert!(Ntfs.used(&[&volume]).is_err() || len >= 512 * 4096, "{len}");
        let _ = Ntfs.probe(&[&volume]);
    }
    let mut record = vec![0; RECORD];
    protect(&mut record, 0x30);
}
