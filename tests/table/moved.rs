// SPDX-License-Identifier: MIT OR Apache-2.0
//! Tables on targets of another size, judged by sgdisk, sfdisk and gptman.

use std::os::unix::fs::FileExt as _;

use dacapo::extent::ExtentSet;
use dacapo::table::{Relocation, relocate};
use dacapo::units::SectorSize;

use super::super::support::{Loop, junk_file, requires};
use super::*;

/// A copy of `disk` on a target of another size that was full of junk.
fn moved(disk: &DiskFile, stored_end: u64, len: u64) -> (DiskFile, Relocation) {
    let stored = disk.table().protected.union(&ExtentSet::all(stored_end));
    let relocation = relocate(&disk.source(), &stored, len).unwrap();
    let target = DiskFile::new(0).with_sectors(disk.size);
    junk_file(&target.path, len);
    let file = File::options().write(true).open(&target.path).unwrap();
    for extent in stored.iter() {
        let bytes = disk.bytes(extent.start(), usize::try_from(extent.len()).unwrap());
        let kept = len.saturating_sub(extent.start()).min(extent.len());
        file.write_all_at(&bytes[..usize::try_from(kept).unwrap()], extent.start()).unwrap();
    }
    for extent in relocation.blank.iter() {
        let zeros = vec![0; usize::try_from(extent.len()).unwrap()];
        file.write_all_at(&zeros, extent.start()).unwrap();
    }
    for (position, bytes) in &relocation.writes {
        file.write_all_at(bytes, *position).unwrap();
    }
    assert_eq!(target.len(), len);
    (target, relocation)
}

/// The end of the partitions that [`gpt_disk`] makes.
const PARTITIONS_END: u64 = 10 << 20;

fn gpt_disk() -> DiskFile {
    let disk = DiskFile::new(16);
    disk.sgdisk(&["--clear", "--new=1:2048:4095", "--new=7:8192:20479", "--change-name=7:name"]);
    disk
}

#[test]
fn a_table_that_moved_has_no_problems() {
    if !requires(&["sgdisk", "sfdisk"]) {
        return;
    }
    let variants: &[(&str, &[&str])] = &[
        ("plain", &[]),
        ("256 entries", &["--resize-table=256"]),
        ("array elsewhere", &["--move-main-table=40"]),
    ];
    for (name, args) in variants {
        let disk = gpt_disk();
        disk.sgdisk(args);
        let before = rows(&disk.table());
        for len in
            [17 << 20, (16 << 20) + 512, (16 << 20) + 5 * 512, 12 << 20, (10 << 20) + (40 << 10)]
        {
            now(&format!("{name} to {len}"));
            let (target, relocation) = moved(&disk, PARTITIONS_END, len);
            target.assert_sound();
            assert_eq!(rows(&target.table()), before);
            assert_eq!(target.table().notes, [""; 0]);
            assert_eq!(by_sfdisk(&target.path).0, before);
            assert_eq!(by_gptman(&target), before);
            assert_eq!(by_gpt(&target), before);
            assert!(!relocation.steps.is_empty());
            let mut file = File::open(&target.path).unwrap();
            let read = gptman::GPT::read_from(&mut file, 512).unwrap();
            assert_eq!(read.header.backup_lba, len / 512 - 1);
            // Nothing of the old backup can be taken for one.
            let signatures = (0..len / 512)
                .filter(|sector| target.bytes(sector * 512, 8) == *b"EFI PART")
                .collect::<Vec<_>>();
            assert_eq!(signatures, [1, len / 512 - 1]);
        }
        let same = relocate(&disk.source(), &ExtentSet::all(disk.len()), disk.len()).unwrap();
        assert_eq!(same, Relocation::default());
    }
}

#[test]
fn the_move_of_sgdisk_gives_the_same_bytes() {
    if !requires(&["sgdisk"]) {
        return;
    }
    let disk = gpt_disk();
    let len = 24 << 20;
    let (target, _) = moved(&disk, PARTITIONS_END, len);
    // sgdisk moves the backup as well, and may be trusted with it.
    disk.resize(len).sgdisk(&["--move-second-header"]);
    let last = len - 33 * 512;
    assert_eq!(target.bytes(512, 33 * 512), disk.bytes(512, 33 * 512));
    assert_eq!(target.bytes(last, 33 * 512), disk.bytes(last, 33 * 512));
}

#[test]
fn sectors_of_4096_bytes_move_as_well() {
    if !requires(&["loop", "sgdisk", "sfdisk"]) {
        return;
    }
    let disk = DiskFile::new(16).with_sectors(SectorSize::B4096);
    {
        let device = Loop::new(&disk.path, &["--sector-size=4096"]);
        run("sgdisk", &["--clear", "--new=1:256:511", "--new=3:1024:2047", device.device()]);
    }
    let before = rows(&disk.table());
    for len in [32 << 20, (16 << 20) + 4096, 9 << 20] {
        let (target, _) = moved(&disk, 8 << 20, len);
        assert_eq!(by_gptman(&target), before);
        let device = Loop::new(&target.path, &["--sector-size=4096"]);
        assert_sound(device.device());
        assert_eq!(by_sfdisk(device.device()).0, before);
    }
}

#[test]
fn one_good_copy_is_enough_to_move() {
    if !requires(&["sgdisk", "sfdisk"]) {
        return;
    }
    let good = gpt_disk();
    let before = rows(&good.table());
    // With a damaged backup, the target has none that is.
    for offset in [-512, -512 + 0x10, -33 * 512 + 0x28] {
        let disk = good.copy();
        disk.patch(offset, b"\x99\x88");
        let (target, _) = moved(&disk, PARTITIONS_END, 20 << 20);
        target.assert_sound();
        assert_eq!(by_gptman(&target), before);
    }
    // A damaged primary stays, and the backup is where others look for it.
    for offset in [512, 512 + 0x10, 1024 + 0x28] {
        let disk = good.copy();
        disk.patch(offset, b"\x99\x88");
        let (target, _) = moved(&disk, PARTITIONS_END, 20 << 20);
        assert_eq!(rows(&target.table()), before);
        assert_eq!(by_gptman(&target), before);
    }
}

#[test]
fn an_image_of_a_grown_disk_gets_its_backup_at_the_end() {
    if !requires(&["sgdisk", "sfdisk"]) {
        return;
    }
    let disk = gpt_disk();
    disk.resize(18 << 20);
    let (target, _) = moved(&disk, 17 << 20, 30 << 20);
    assert_eq!(target.table().partitions, disk.table().partitions);
    target.sgdisk(&["--verify"]);
    let mut file = File::open(&target.path).unwrap();
    let read = gptman::GPT::read_from(&mut file, 512).unwrap();
    assert_eq!(read.header.backup_lba, (30 << 20) / 512 - 1);
}

#[test]
fn a_smaller_target_needs_room_for_all_that_is_stored() {
    if !requires(&["sgdisk"]) {
        return;
    }
    let disk = gpt_disk();
    let refused = |stored: ExtentSet, len: u64| {
        let error = relocate(&disk.source(), &stored, len).unwrap_err();
        assert_eq!(error.kind(), dacapo::error::ErrorKind::Refused, "{error}");
    };
    refused(ExtentSet::all(PARTITIONS_END), PARTITIONS_END + 32 * 512);
    refused(ExtentSet::all(PARTITIONS_END), 5 << 20);
    // Zeros of no partition make room for the table, data does not.
    assert!(relocate(&disk.source(), &ExtentSet::all(12 << 20), 12 << 20).is_ok());
    disk.patch((12 << 20) - 1, b"\x01");
    refused(ExtentSet::all(12 << 20), 12 << 20);
    refused(ExtentSet::all(disk.len()), 15 << 20);
    assert!(
        relocate(&disk.source(), &ExtentSet::all(PARTITIONS_END), PARTITIONS_END + 33 * 512)
            .is_ok()
    );
}
