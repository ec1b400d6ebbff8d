// SPDX-License-Identifier: MIT OR Apache-2.0
//! Volume descriptors, sessions, and who a disc is.

use crate::extent::Extent;
use crate::fs::iso9660::descriptor::DescriptorKind;
use crate::fs::iso9660::{Descriptors, Iso9660, path_table, sessions};
use crate::fs::{FILESYSTEMS, Filesystem};
use crate::io::{Memory, ReadAt, WriteAt as _};
use crate::ondisk::FormatError;

fn both_32(number: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&number.to_le_bytes());
    bytes[4..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn both_16(number: u16) -> [u8; 4] {
    let mut bytes = [0; 4];
    bytes[..2].copy_from_slice(&number.to_le_bytes());
    bytes[2..].copy_from_slice(&number.to_be_bytes());
    bytes
}

fn descriptor(kind: u8, size: u32, block_size: u16) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    bytes[0] = kind;
    bytes[1..7].copy_from_slice(b"CD001\x01");
    bytes[40..72].fill(b' ');
    bytes[40..45].copy_from_slice(b"TITLE");
    bytes[80..88].copy_from_slice(&both_32(size));
    bytes[120..124].copy_from_slice(&both_16(1));
    bytes[124..128].copy_from_slice(&both_16(1));
    bytes[128..132].copy_from_slice(&both_16(block_size));
    bytes[132..140].copy_from_slice(&both_32(10));
    bytes[140..144].copy_from_slice(&19_u32.to_le_bytes());
    bytes[148..152].copy_from_slice(&20_u32.to_be_bytes());
    bytes[158..166].copy_from_slice(&both_32(21));
    bytes[166..174].copy_from_slice(&both_32(2048));
    bytes[813..830].copy_from_slice(b"2024010203040506\0");
    bytes
}

/// A session in 40 sectors, at this one.
fn put_session(disc: &Memory, start: u64, size: u32) {
    let place = |sector: u64| (start + sector) * 2048;
    disc.write_at(place(16), &descriptor(1, size, 2048)).unwrap();
    let mut joliet = descriptor(2, size, 2048);
    joliet[40..72].fill(0);
    joliet[40..50].copy_from_slice(b"\0T\0i\0t\0l\0e");
    joliet[88..91].copy_from_slice(b"%/E");
    disc.write_at(place(17), &joliet).unwrap();
    disc.write_at(place(18), b"\xffCD001\x01").unwrap();
}

fn disc() -> Memory {
    let disc = Memory::new(vec![0; 40 * 2048]);
    put_session(&disc, 0, 40);
    disc.write_at(19 * 2048, &[1, 0, 21, 0, 0, 0, 1, 0, 0, 0]).unwrap();
    disc
}

#[test]
fn descriptors_say_who_a_disc_is_and_how_large() {
    let disc = disc();
    let found = Descriptors::read(&disc, 0).unwrap().unwrap();
    assert!(found.is_terminated);
    assert_eq!(found.extent, Extent::new(16 * 2048, 19 * 2048));
    let primary = &found.primary;
    assert_eq!((primary.volume_id.as_str(), primary.block_size), ("TITLE", 2048));
    assert_eq!(primary.created, "2024-01-02T03:04:05.06Z".parse().ok());
    assert_eq!((primary.modified, primary.expires), (None, None));
    assert_eq!(primary.root, Extent::at(21 * 2048, 2048));
    assert!(primary.contradictions.is_empty());
    let joliet = found.joliet().unwrap();
    assert_eq!((joliet.kind, joliet.volume_id.as_str()), (DescriptorKind::Joliet(3), "Title"));
    assert_eq!(found.end(), 40 * 2048);
    assert_eq!(path_table::end(&disc, primary).unwrap(), 22 * 2048);
    assert_eq!(path_table::read(&disc, primary).unwrap()[0].name, [0]);
}

#[test]
fn numbers_that_contradict_themselves_are_told() {
    let disc = disc();
    disc.write_at(16 * 2048 + 87, &[0xff]).unwrap();
    disc.write_at(16 * 2048 + 122, &[0xff]).unwrap();
    let found = Descriptors::read(&disc, 0).unwrap().unwrap();
    assert_eq!(found.primary.contradictions, ["volume space size", "volume set size"]);
    assert_eq!(found.primary.space_size, 40);
}

#[test]
fn what_cannot_be_is_an_error() {
    let corrupt = |at: u64, bytes: &[u8]| {
        let disc = disc();
        disc.write_at(16 * 2048 + at, bytes).unwrap();
        matches!(Descriptors::read(&disc, 0), Err(FormatError::Corrupt { .. }))
    };
    assert!(corrupt(128, &[0, 1]));
    assert!(corrupt(128, &[0, 0x10]));
    assert!(corrupt(0, &[2]));
    assert!(corrupt(0, &[0xff]));
    let empty = Memory::new(vec![0; 20 * 2048]);
    assert_eq!(Descriptors::read(&empty, 0).unwrap(), None);
    assert_eq!(Descriptors::read(&Memory::new(Vec::new()), u64::MAX).unwrap(), None);
}

#[test]
fn sessions_are_found_behind_each_other() {
    let disc = Memory::new(vec![0; 12_400 * 2048]);
    put_session(&disc, 0, 40);
    assert_eq!(sessions(&disc).unwrap().len(), 1);
    put_session(&disc, 11_456, 11_500);
    put_session(&disc, 11_504, 11_550);
    let found = sessions(&disc).unwrap();
    assert_eq!(found.iter().map(|it| it.start).collect::<Vec<_>>(), [0, 11_456, 11_504]);
    assert_eq!(found[1].descriptors.primary.space_size, 11_500);
    // As genisoimage -C has it, sizes count from the start of the session.
    put_session(&disc, 11_456, 40);
    put_session(&disc, 11_504, 40);
    let found = sessions(&disc).unwrap();
    assert_eq!(found.iter().map(|it| it.start).collect::<Vec<_>>(), [0, 11_456, 11_504]);
}

#[test]
fn the_driver_tells_discs_apart() {
    let name = |disc: &dyn ReadAt| {
        let found = FILESYSTEMS.iter().find_map(|it| it.probe(&[disc]).ok().flatten());
        found.map(|identity| (identity.name, identity.label))
    };
    let named = |name: &str, label: &str| Some((name.to_owned(), Some(label.to_owned())));
    let disc = disc();
    assert_eq!(name(&disc), named("ISO 9660", "Title"));
    assert!(Iso9660.used(&[&disc]).unwrap().whole.is_some());
    // One that says nothing else is one all the same.
    let bare = Memory::new(vec![0; 1 << 20]);
    bare.write_at(0x8000, b"\x01CD001").unwrap();
    bare.write_at(0x8028, b"A DISC   ").unwrap();
    assert_eq!(name(&bare), named("ISO 9660", "A DISC"));
    // With a UDF on it, it is that.
    bare.write_at(0x8801, b"BEA01").unwrap();
    bare.write_at(0x9001, b"NSR02").unwrap();
    assert_eq!(name(&bare), Some(("UDF".into(), None)));
}
