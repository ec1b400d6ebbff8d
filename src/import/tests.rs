// SPDX-License-Identifier: MIT OR Apache-2.0
//! Images with random changes: errors are fine, panics are bugs, and nothing is
//! ever outside of its place.

#![allow(clippy::arithmetic_side_effects, clippy::as_conversions)]

use proptest::prelude::*;

use super::assembly::Assembly;
use super::clonezilla::partitions_in;
use super::compression::Compression;
use super::input::Stream;
use super::old::Old;
use crate::extent::Extent;
use crate::units::SectorSize;

const LEN: u64 = 8192;

/// Unpacks an old image; true if it was taken for whole and good.
fn unpack(bytes: &[u8]) -> bool {
    let mut stream = Stream::new("test", Box::new(bytes));
    let Ok(old) = Old::read(&mut stream) else { return false };
    let _ = old.describe();
    let kept = old.len().unwrap_or(1 << 20).min(1 << 30);
    let folder = tempfile::tempdir().unwrap();
    let mut assembly = Assembly::new(folder.path(), kept, SectorSize::B512).unwrap();
    let place = &mut assembly.place(Extent::new(0, kept), old.is_whole());
    let done = old.unpack(&mut stream, place).is_ok();
    assert!(assembly.chosen.end() <= kept && assembly.whole.end() <= kept);
    // Whatever is none of the others is a raw image.
    done && old != Old::Raw
}

fn crc(bytes: &[u8]) -> [u8; 4] {
    (!crc32fast::hash(bytes)).to_le_bytes()
}

/// Every second of 16 blocks, with a CRC32 for every four.
fn partclone() -> Vec<u8> {
    let mut image = vec![0; 106];
    image[..15].copy_from_slice(b"partclone-image");
    image[30..34].copy_from_slice(b"0002");
    image[34..36].copy_from_slice(&0xc0de_u16.to_le_bytes());
    image[52..60].copy_from_slice(&LEN.to_le_bytes());
    image[60..68].copy_from_slice(&16_u64.to_le_bytes());
    image[76..84].copy_from_slice(&8_u64.to_le_bytes());
    image[84..88].copy_from_slice(&512_u32.to_le_bytes());
    image[96] = 0x20;
    image[98] = 4;
    image[100] = 4;
    image[104] = 1;
    image[105] = 1;
    let sum = crc(&image);
    image.extend(sum);
    image.extend([0x55, 0x55]);
    image.extend(crc(&[0x55, 0x55]));
    for strip in [[7; 2048], [9; 2048]] {
        image.extend(strip);
        image.extend(crc(&strip));
    }
    image
}

fn ntfsclone() -> Vec<u8> {
    let mut image = b"\0ntfsclone-image\x0a\x01".to_vec();
    image.extend(512_u32.to_le_bytes());
    image.extend(LEN.to_le_bytes());
    image.extend(15_u64.to_le_bytes());
    image.extend(2_u64.to_le_bytes());
    image.extend(50_u32.to_le_bytes());
    for number in 0..2 {
        image.push(1);
        image.extend([number; 512]);
    }
    image.push(0);
    image.extend(13_i64.to_le_bytes());
    image.push(1);
    image.extend([9; 512]);
    image
}

fn partimage() -> Vec<u8> {
    const HEAD: usize = 16384;
    let sum = |bytes: &[u8]| {
        let add = |sum: u32, byte: &u8| sum.wrapping_add_signed(i32::from(byte.cast_signed()));
        bytes.iter().fold(0, add).to_le_bytes()
    };
    let mut image = vec![0; 512];
    image[..16].copy_from_slice(b"PaRtImAgE-VoLuMe");
    image[32..37].copy_from_slice(b"0.6.1");
    let mut main = vec![0; HEAD];
    main[9592..9600].copy_from_slice(&LEN.to_le_bytes());
    image.extend(&main);
    image.extend(sum(&main));
    image.extend(b"MAGIC-BEGIN-MBRBACKUP");
    for number in 0..10 {
        image.extend(format!("MAGIC-BEGIN-EXT{number:03}\0\0\0\0").as_bytes());
    }
    image.extend(b"MAGIC-BEGIN-LOCALHEADER");
    let mut local = vec![0; HEAD];
    for (index, value) in [512_u64, 8, 16, 18].iter().enumerate() {
        local[index * 8..][..8].copy_from_slice(&value.to_le_bytes());
    }
    image.extend(&local);
    image.extend(sum(&local));
    image.extend(b"MAGIC-BEGIN-BITMAP");
    image.extend([0x55, 0x55]);
    image.extend([0; 16]);
    image.extend(b"MAGIC-BEGIN-INFO");
    image.extend([0; HEAD + 4]);
    image.extend(b"MAGIC-BEGIN-DATABLOCKS");
    image.extend([7; 8 * 512]);
    image.extend(b"MAGIC-BEGIN-TAIL");
    let all: u64 = image[512..].iter().map(|byte| u64::from(*byte)).sum();
    image.extend(all.to_le_bytes());
    image.extend([0; HEAD - 8]);
    image
}

#[test]
fn what_is_patched_below_is_whole_and_good_as_it_is() {
    assert!(unpack(&partclone()));
    assert!(unpack(&ntfsclone()));
    assert!(unpack(&partimage()));
}

#[test]
fn clusters_of_ntfsclone_that_come_in_any_order_are_where_they_belong() {
    let mut image = ntfsclone();
    image.truncate(50);
    // A cluster behind each gap: 7, 2, 12, and the last.
    for gap in [7, -6, 9, 2] {
        image.push(0);
        image.extend(i64::to_le_bytes(gap));
        image.push(1);
        image.extend([9; 512]);
    }
    let mut stream = Stream::new("test", Box::new(&image[..]));
    let old = Old::read(&mut stream).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut assembly = Assembly::new(folder.path(), LEN, SectorSize::B512).unwrap();
    old.unpack(&mut stream, &mut assembly.place(Extent::new(0, LEN), false)).unwrap();
    let clusters = [2, 7, 12, 15].map(|number| Extent::at(number * 512, 512));
    assert_eq!(assembly.chosen.as_slice(), clusters);
}

proptest! {
    #[test]
    fn patched_images_are_refused_or_read_and_stay_inside(
        which in 0..3_usize,
        patches in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        in_head in any::<bool>(),
        cut in prop::option::of(any::<prop::sample::Index>()),
        seal in any::<bool>(),
    ) {
        let mut bytes = [partclone, ntfsclone, partimage][which]();
        for (place, byte) in &patches {
            let within = if in_head { bytes.len().min(120) } else { bytes.len() };
            bytes[place.index(within)] = *byte;
        }
        if seal && which == 0 {
            let sum = crc(&bytes[..106]);
            bytes[106..110].copy_from_slice(&sum);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
            prop_assert!(!unpack(&bytes));
        } else {
            unpack(&bytes);
        }
    }

    #[test]
    fn random_bytes_are_unpacked_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        use std::io::Read as _;
        const HEADS: [&[u8]; 7] = [
            b"\x1f\x8b\x08\0\0\0\0\0\0\x03",
            b"BZh1\x31\x41\x59\x26\x53\x59",
            b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46",
            b"LZIP\x01\x0c",
            b"\x04\x22\x4d\x18\x64\x40\xa7",
            b"\x28\xb5\x2f\xfd\x04\x58",
            b"\x5d\0\0\x80\0\xff\xff\xff\xff\xff\xff\xff\xff\0",
        ];
        for head in HEADS {
            let bytes = [head, &bytes].concat();
            prop_assert!(Compression::of(&bytes) != Compression::None);
            if let Ok(decoder) = Compression::of(&bytes).decoder(&bytes[..]) {
                let _ = decoder.take(1 << 20).read_to_end(&mut Vec::new());
            }
        }
        unpack(&bytes);
    }

    #[test]
    fn any_table_of_clonezilla_is_read_or_refused(
        sectors in any::<u64>(),
        parts in prop::collection::vec((0..9_u32, any::<u32>(), any::<u32>(), 0..7_u8), 0..9),
    ) {
        let parted = format!(
            "Disk /dev/sda: {sectors}s\nSector size (logical/physical): 512B/512B\n\
             Partition Table: msdos\n"
        );
        let dump: String = parts
            .iter()
            .map(|(n, start, len, kind)| {
                format!("/dev/sda{n} : start= {start}, size= {len}, type={kind}\n")
            })
            .collect();
        let _ = partitions_in(&parted, &dump);
    }
}
