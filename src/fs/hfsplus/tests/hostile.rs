// SPDX-License-Identifier: MIT OR Apache-2.0
//! Damage anywhere: no panic, no endless loop, and never a map that claims
//! less than what is in use.

use super::disk::{Disk, NAMES};
use crate::extent::{Extent, ExtentSet};
use crate::fs::Filesystem;
use crate::fs::hfsplus::HfsPlus;
use crate::io::{Memory, ReadAt, WriteAt};
use crate::ondisk::FormatError;

fn proven(disk: &dyn ReadAt) -> Option<ExtentSet> {
    let _ = HfsPlus.probe(&[disk]);
    let used = HfsPlus.used(&[disk]).ok()?;
    used.whole.is_none().then_some(used.extents)
}

/// Places of structures: what is used, not zero and no file's bytes.
fn places(disk: &Disk) -> impl Iterator<Item = usize> {
    let start = disk.start;
    let header = (start + 0x400)..(start + 0x600);
    let special = [0x70, 0xc0, 0x110, 0x160].map(|fork| {
        let at = start + disk.file(fork);
        at..(at + 0x5000).min(disk.bytes.len())
    });
    let bytes = disk.bytes.clone();
    let files = special.into_iter().flatten().enumerate();
    let files = files.filter(move |(n, at)| bytes[*at] != 0 || n % 64 == 0).map(|(_, at)| at);
    // Many records look the same.
    let files = files.enumerate().filter(|(n, _)| n % 13 == 0).map(|(_, at)| at);
    header.chain(files)
}

#[test]
fn a_changed_byte_never_frees_what_is_in_use() {
    for name in NAMES {
        let disk = Disk::open(name);
        let memory = disk.memory();
        for at in places(&disk) {
            let old = disk.bytes[at];
            let change = [0x01, 0x80, 0xff, 0x10][at % 4];
            memory.write_at(at as u64, &[old ^ change]).unwrap();
            if let Some(map) = proven(&memory) {
                let missing = disk.truth.subtract(&map);
                assert!(missing.is_empty(), "{name}: {at:#x} ^ {change:#x}: {missing:?}");
            }
            memory.write_at(at as u64, &[old]).unwrap();
        }
    }
}

#[test]
fn every_truncation_is_survived() {
    for name in NAMES {
        let disk = Disk::open(name);
        for len in (0..4096).step_by(97).chain((4096..disk.bytes.len()).step_by(24_593)) {
            let cut = Memory::new(disk.bytes[..len].to_vec());
            assert_eq!(proven(&cut), None, "{name}: {len}");
        }
    }
}

#[test]
fn what_cannot_be_read_is_an_error() {
    let disk = Disk::open("hfsplus-tiny-fragmented");
    for fork in [0x70, 0xc0, 0x110, 0x160] {
        let at = disk.file(fork) as u64;
        let memory = disk.memory().unreadable(Extent::at(at, 512));
        assert!(matches!(HfsPlus.used(&[&memory]), Err(FormatError::Io(_))), "{fork:#x}");
    }
    let memory = disk.memory().unreadable(Extent::at(1024, 512));
    assert!(matches!(HfsPlus.probe(&[&memory]), Err(FormatError::Io(_))));
    // A label that cannot be read is none.
    let memory = disk.memory().unreadable(Extent::at(disk.file(0x110) as u64, 512));
    assert_eq!(HfsPlus.probe(&[&memory]).unwrap().unwrap().label, None);
}

#[test]
fn a_volume_of_ones_and_zeros_is_survived() {
    for byte in [0x00, 0xff] {
        let mut disk = Disk::tiny();
        let header = disk.bytes[0x400..0x600].to_vec();
        disk.bytes[0x600..].fill(byte);
        let end = disk.bytes.len();
        disk.bytes[end - 0x400..end - 0x200].copy_from_slice(&header);
        assert!(disk.used().is_err());
    }
}
