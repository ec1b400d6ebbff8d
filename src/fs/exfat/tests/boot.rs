// SPDX-License-Identifier: MIT OR Apache-2.0
//! The boot regions.

use super::super::*;
use super::volume::{BEHIND, SECTOR, Volume};
use crate::extent::ExtentSet;
use crate::io::Memory;

#[test]
fn a_volume_says_who_it_is() {
    let volume = Volume::new();
    let identity = volume.probe();
    assert_eq!(identity.name, "exFAT");
    assert_eq!(identity.label.as_deref(), Some("abc"));
    assert_eq!(identity.uuid.as_deref(), Some("1234-ABCD"));
    assert_eq!(identity.size, volume.disk.len - BEHIND);
    assert!(identity.clean);
}

#[test]
fn other_volumes_are_none_of_it() {
    for len in [0, 511, 512, 4096] {
        assert_eq!(Exfat.probe(&[&Memory::new(vec![0; len])]).unwrap(), None);
        assert!(Exfat.used(&[&Memory::new(vec![0; len])]).is_err());
    }
    let mut volume = Volume::new();
    volume.disk.put(3, b"NTFS    ");
    assert_eq!(Exfat.probe(&[&volume.disk]).unwrap(), None);
    volume.disk.put(3, b"EXFAT   ");
    volume.disk.len = 700;
    assert!(Exfat.probe(&[&volume.disk]).is_err());
}

#[test]
fn every_field_of_the_boot_sector_is_checked() {
    for (at, bytes, wanted) in [
        (0, &b"\xeb\x3c"[..], "JumpBoot"),
        (11, b"\x01", "MustBeZero"),
        (63, b"\x01", "MustBeZero"),
        (72, b"\x00\x00", "VolumeLength"),
        (72, b"\x10\x01", "VolumeLength"),
        (80, b"\x17", "FatOffset"),
        (84, b"\x02", "FatLength"),
        (88, b"\x1c", "ClusterHeapOffset"),
        (92, b"\x00\x00\x00\x00", "ClusterCount"),
        (92, b"\xf6\xff\xff\xff", "ClusterCount"),
        (96, b"\x01", "FirstClusterOfRootDirectory"),
        (96, b"\x2e\x01", "FirstClusterOfRootDirectory"),
        (106, b"\x01", "ActiveFat"),
        (108, b"\x08", "BytesPerSectorShift"),
        (108, b"\x0d", "BytesPerSectorShift"),
        (109, b"\x11", "SectorsPerClusterShift"),
        (110, b"\x00", "NumberOfFats"),
        (110, b"\x03", "NumberOfFats"),
        (510, b"\x00", "BootSignature"),
    ] {
        let mut volume = Volume::new();
        volume.boot(at, bytes);
        match Exfat.probe(&[&volume.disk]) {
            Err(FormatError::Corrupt { what, position, .. }) => {
                assert_eq!(what, wanted, "{at}");
                assert!(position <= at, "{at}: {position}");
            }
            other => panic!("{at} {wanted}: {other:?}"),
        }
        assert_eq!(volume.corrupt().0, wanted);
    }
    let mut volume = Volume::new();
    volume.boot(105, &[2]);
    let error = Exfat.used(&[&volume.disk]).unwrap_err();
    assert_eq!(error.to_string(), "exFAT of revision 2.00");
}

#[test]
fn a_damaged_boot_region_is_told_and_stored_whole() {
    // Boot code, an extended boot sector, the reserved sector, the checksum.
    for at in [200, 3 * SECTOR, 10 * SECTOR + 511, 11 * SECTOR, 11 * SECTOR + 508] {
        let mut volume = Volume::new();
        volume.disk.put(at, &[0x5a]);
        let identity = volume.probe();
        assert_eq!(identity.uuid.as_deref(), Some("1234-ABCD"));
        assert_eq!(identity.unclean.as_deref(), Some("its boot region is damaged"));
        let why = volume.whole();
        assert!(why.starts_with("the boot region of the exFAT filesystem is damaged: "), "{why}");
        assert!(why.contains("checksum of the boot region at byte 0x1600"), "{why}");

        let mut volume = Volume::new();
        volume.disk.put(12 * SECTOR + at, &[0x5a]);
        let unclean = volume.probe().unclean.unwrap();
        assert_eq!(unclean, "the backup of its boot region is damaged");
        let why = volume.whole();
        assert!(why.starts_with("the backup of the boot region of the exFAT"), "{why}");

        volume.disk.put(at, &[0x5a]);
        assert_eq!(volume.corrupt(), ("checksum of the boot region", 11 * SECTOR));
    }
}

#[test]
fn the_backup_must_describe_the_same_volume_but_not_its_state() {
    let mut volume = Volume::new();
    volume.disk.put(12 * SECTOR + 100, &[9]);
    volume.seal();
    assert!(volume.whole().contains("backup boot sector"));
    // The state and the hint of how full it is are never kept there.
    let mut volume = Volume::new();
    volume.disk.put(12 * SECTOR + 106, &[2, 0]);
    volume.disk.put(112, &[0xff]);
    assert_eq!(volume.used().whole, None);
    assert!(volume.probe().clean);
    // With another size of sectors it is another volume.
    let mut volume = Volume::new();
    volume.disk.put(12 * SECTOR + 108, &[10]);
    assert!(volume.whole().contains("backup"));
}

#[test]
fn a_backup_that_cannot_be_read_is_an_error() {
    let volume = Volume::new();
    let bytes = volume.disk.get(0, volume.disk.len as usize);
    let disk = Memory::new(bytes).unreadable(crate::extent::Extent::at(20 * SECTOR, 512));
    assert!(matches!(Exfat.used(&[&disk]), Err(FormatError::Io(_))));
}

#[test]
fn what_is_longer_than_its_partition_is_stored_whole() {
    let mut volume = Volume::new();
    volume.disk.len -= BEHIND + 1;
    assert_eq!(volume.probe().unclean.as_deref(), Some("larger than its partition"));
    assert_eq!(volume.corrupt(), ("VolumeLength", 72));
    volume.disk.len += 1;
    assert_eq!(volume.used().whole, None);
}

#[test]
fn flags_that_are_not_known_leave_nothing_proven() {
    for flag in 4..16 {
        let mut volume = Volume::new();
        volume.flags(1 << flag);
        let error = Exfat.used(&[&volume.disk]).unwrap_err();
        assert!(matches!(error, FormatError::Unsupported(_)), "{error}");
    }
    // ClearToZero has no meaning.
    let mut volume = Volume::new();
    volume.flags(8);
    assert_eq!(volume.used().whole, None);
    assert_ne!(volume.used().extents, ExtentSet::all(volume.disk.len));
}
