// SPDX-License-Identifier: MIT OR Apache-2.0
//! GPTs made by sgdisk and sfdisk.

use dacapo::table;
use dacapo::units::SectorSize;

use super::super::support::{Loop, requires};
use super::*;

/// Partitions 1, 5 and 128, with attributes and names beyond ASCII.
const GAPS: &[&str] = &[
    "--clear",
    "--set-alignment=1",
    "--new=1:2048:4095",
    "--typecode=1:ef00",
    "--change-name=1:EFI system",
    "--new=5:8192:+1M",
    "--change-name=5:G\u{e4}p \u{1f600} 36 letters are the most there",
    "--attributes=5:set:2",
    "--attributes=5:set:60",
    "--attributes=5:set:63",
    "--new=128:20000:48000",
    "--typecode=128:8e00",
];

/// Every reader sees the same.
#[track_caller]
fn assert_same_everywhere(disk: &DiskFile) -> PartitionTable {
    let table = disk.table();
    let rows = rows(&table);
    let (by_sfdisk, json) = by_sfdisk(&disk.path);
    assert_eq!(rows, by_sfdisk);
    assert_eq!(json["label"], "gpt");
    assert_eq!(table.id.as_deref().unwrap(), json["id"].as_str().unwrap().to_lowercase());
    assert_eq!(without_names(&rows), by_sgdisk(&disk.path));
    assert_eq!(rows, by_gptman(disk));
    assert_eq!(rows, by_gpt(disk));
    assert!(!table.doubtful, "{:?}", table.notes);
    table
}

#[test]
fn tables_of_sgdisk_are_read_as_others_read_them() {
    if !requires(&["sgdisk", "sfdisk"]) {
        return;
    }
    let variants: &[(&str, &[&str])] = &[
        ("plain", &[]),
        ("256 entries", &["--resize-table=256"]),
        ("132 entries", &["--resize-table=132"]),
        ("array elsewhere", &["--move-main-table=40"]),
        ("no partitions", &["--clear"]),
        ("bootable", &["--attributes=1:set:2"]),
    ];
    for (name, args) in variants {
        now(name);
        let disk = DiskFile::new(24);
        disk.sgdisk(GAPS).sgdisk(args);
        disk.assert_sound();
        let table = assert_same_everywhere(&disk);
        assert_eq!(table.notes, [""; 0]);
        let partitions = if args == &["--clear"] { 0 } else { 3 };
        assert_eq!(table.partitions.len(), partitions);
    }
}

#[test]
fn small_tables_of_sgdisk_are_read() {
    if !requires(&["sgdisk", "sfdisk"]) {
        return;
    }
    for entries in [4, 56, 100] {
        let disk = DiskFile::new(24);
        disk.sgdisk(&["--clear", "--new=1:2048:4095", "--new=3:8192:9000"]);
        disk.sgdisk(&[&format!("--resize-table={entries}")]);
        let table = assert_same_everywhere(&disk);
        assert_eq!(table.partitions.len(), 2);
        // The whole table is protected: header and array, at both ends.
        let array = u64::from(entries * 128_u32).div_ceil(512);
        let last = disk.len() / 512;
        for (start, end) in [(0, 2 + array), (last - 1, last)] {
            let extent = dacapo::extent::Extent::new(start * 512, end * 512);
            assert!(table.protected.covers(extent), "{entries}: {:?}", table.protected);
        }
        assert_eq!(table.protected.bytes(), (3 + 2 * array) * 512);
    }
}

#[test]
fn tables_of_sfdisk_are_read_as_others_read_them() {
    if !requires(&["sgdisk", "sfdisk"]) {
        return;
    }
    let uuid = "11111111-2222-3333-4444-555555555555";
    let script = format!(
        "label: gpt\nlabel-id: {uuid}\nfirst-lba: 40\ntable-length: 60\n\
         start=2048, size=2048, type=U, name=\"a b\", attrs=RequiredPartition\n\
         start=4096, size=1, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4\n\
         start=8192, type=7C3457EF-0000-11AA-AA11-00306543ECAC\n"
    );
    let disk = DiskFile::new(16);
    disk.sfdisk(&script);
    let table = assert_same_everywhere(&disk);
    assert_eq!(table.id.as_deref(), Some(uuid));
    assert_eq!(table.partitions.len(), 3);
    assert_eq!(table.partitions[2].type_name.as_deref(), Some("Apple APFS"));
    assert_eq!(table.notes, [""; 0]);
}

#[test]
fn sectors_of_4096_bytes_are_read_on_a_device_and_in_a_file() {
    if !requires(&["loop", "sgdisk", "sfdisk"]) {
        return;
    }
    let disk = DiskFile::new(32).with_sectors(SectorSize::B4096);
    {
        let device = Loop::new(&disk.path, &["--sector-size=4096"]);
        run("sgdisk", &["--clear", "--new=2:256:1023", "--new=4:2048:0", device.device()]);
        let source = Source::open(device.device()).unwrap();
        let table = table::read(&source).unwrap().unwrap();
        assert_eq!(table.sector_size, SectorSize::B4096);
        assert_eq!(rows(&table), by_sfdisk(device.device()).0);
        assert_eq!(without_names(&rows(&table)), by_sgdisk(device.device()));
        assert_eq!(table.notes, [""; 0]);
        assert_eq!(table.partitions.len(), 2);
    }
    assert_eq!(rows(&disk.table()), by_gptman(&disk));
    assert_eq!(rows(&disk.table()), by_gpt(&disk));
    // The file does not tell its sector size.
    let same = DiskFile { size: SectorSize::B512, ..disk };
    let table = same.table();
    assert_eq!(table.partitions.len(), 2);
    assert_eq!(table.sector_size, SectorSize::B4096);
    assert_eq!(table.notes.len(), 1, "{:?}", table.notes);
}

#[test]
fn a_damaged_copy_is_noted_and_the_other_used() {
    if !requires(&["sgdisk", "sfdisk"]) {
        return;
    }
    let places: &[(&str, i64)] = &[
        ("primary GPT", 512),
        ("primary GPT", 512 + 0x10),
        ("primary GPT", 512 + 0x48),
        ("primary GPT", 1024 + 0x28),
        ("backup GPT", -512),
        ("backup GPT", -512 + 0x10),
        ("backup GPT", -33 * 512 + 0x28),
    ];
    let good = DiskFile::new(24);
    good.sgdisk(GAPS);
    let before = rows(&good.table());
    for (which, offset) in places {
        now(&format!("{which} at {offset}"));
        let disk = good.copy();
        disk.patch(*offset, b"\x99\x88");
        let table = disk.table();
        assert!(table.notes.iter().any(|note| note.contains(which)), "{:?}", table.notes);
        assert!(!table.doubtful);
        assert_eq!(rows(&table), before);
        assert_eq!(rows(&table), by_gptman(&disk));
    }
}

#[test]
fn a_hybrid_mbr_leaves_the_layout_to_the_gpt() {
    if !requires(&["sgdisk", "sfdisk"]) {
        return;
    }
    let disk = DiskFile::new(24);
    disk.sgdisk(GAPS);
    let before = disk.table();
    disk.sgdisk(&["--hybrid=1:5"]);
    let table = disk.table();
    assert_eq!(table.partitions, before.partitions);
    assert_eq!(table.protected, before.protected);
    assert!(table.notes.iter().any(|note| note.contains("hybrid MBR: 2 partitions")));
    assert_eq!(rows(&table), by_gptman(&disk));
    assert_eq!(without_names(&rows(&table)), by_sgdisk(&disk.path));
}

#[test]
fn a_grown_and_a_cut_disk_keep_their_partitions() {
    if !requires(&["sgdisk", "sfdisk"]) {
        return;
    }
    let disk = DiskFile::new(24);
    disk.sgdisk(&GAPS[..10]).sgdisk(&["--set-alignment=1", "--new=6:20000:30000"]);
    let before = rows(&disk.table());
    disk.resize(40 << 20);
    assert_eq!(rows(&disk.table()), before);
    assert_eq!(without_names(&before), by_sgdisk(&disk.path));
    // Without the primary only the end of the protective MBR tells.
    disk.patch(512, b"NO");
    assert_eq!(rows(&disk.table()), before);
    disk.patch(512, b"EF").resize(20 << 20);
    assert_eq!(rows(&disk.table()), before);
    assert_eq!(without_names(&before), by_sgdisk(&disk.path));
}
