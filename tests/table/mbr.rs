// SPDX-License-Identifier: MIT OR Apache-2.0
//! MBRs made by sfdisk, and boot sectors that are none.

use dacapo::table;
use dacapo::units::SectorSize;

use super::super::support::{Loop, requires};
use super::*;

#[track_caller]
fn assert_same_everywhere(disk: &DiskFile, by_crate: bool) -> PartitionTable {
    let table = disk.table();
    let rows = rows(&table);
    let (by_sfdisk, json) = by_sfdisk(&disk.path);
    assert_eq!(rows, by_sfdisk);
    assert_eq!(json["label"], "dos");
    assert_eq!(format!("0x{}", table.id.as_deref().unwrap()), json["id"].as_str().unwrap());
    if by_crate {
        assert_eq!(rows, by_mbrman(disk));
    }
    assert!(!table.doubtful, "{:?}", table.notes);
    table
}

#[test]
fn tables_of_sfdisk_are_read_as_others_read_them() {
    if !requires(&["sfdisk"]) {
        return;
    }
    // In this order fdisk makes a chain that runs back, which mbrman refuses.
    let scripts: &[(&str, &str, usize, bool)] = &[
        ("primaries", "2048,2048,7,*\n8192,4096,c\n\n20000,5000,82\n", 3, true),
        (
            "one logical",
            "start=2048, size=30000, type=5\nstart=4096, size=2048, type=83\n",
            2,
            true,
        ),
        (
            "three kinds of extended",
            "start=2048, size=1000, type=b\nstart=8192, size=50000, type=f\n\
             start=10000, size=1000, type=83\nstart=12000, size=30000, type=8e\n",
            4,
            true,
        ),
        (
            "chain in any order",
            "start=2048, size=90000, type=85\nstart=12000, size=1000, type=83\n\
             start=60000, size=1000, type=7\nstart=30000, size=1000, type=82\n",
            4,
            false,
        ),
        ("none", "", 0, true),
    ];
    for (name, script, partitions, by_crate) in scripts {
        now(name);
        let disk = DiskFile::new(48);
        disk.sfdisk(&format!("label: dos\nlabel-id: 0xcafe0815\n{script}"));
        let table = assert_same_everywhere(&disk, *by_crate);
        assert_eq!(table.partitions.len(), *partitions);
        assert_eq!(table.id.as_deref(), Some("cafe0815"));
        assert_eq!(table.notes, [""; 0]);
        // Every sector that sfdisk wrote is protected.
        for sector in 0..disk.len() / 512 {
            let written = disk.bytes(sector * 512, 512).iter().any(|byte| *byte != 0);
            let extent = dacapo::extent::Extent::at(sector * 512, 512);
            assert_eq!(table.protected.covers(extent), written, "sector {sector}");
        }
    }
}

#[test]
fn all_of_sixty_logicals_are_read() {
    if !requires(&["sfdisk"]) {
        return;
    }
    let disk = DiskFile::new(100);
    let logicals: String =
        (0..55).map(|n| format!("start={}, size=100, type=83\n", 4096 + n * 3000)).collect();
    disk.sfdisk(&format!("label: dos\nstart=2048, size=190000, type=5\n{logicals}"));
    let table = assert_same_everywhere(&disk, true);
    assert_eq!(table.partitions.len(), 56);
    assert_eq!(table.partitions[55].number, 59);
}

#[test]
fn a_chain_beyond_4_gib_is_followed() {
    if !requires(&["sfdisk"]) {
        return;
    }
    let disk = DiskFile::new(12 << 10);
    let gib = 1 << 21;
    disk.sfdisk(&format!(
        "label: dos\nstart={}, size={}, type=f\nstart={}, size=1000, type=83\n\
         start={}, size=2000, type=83\n",
        gib,
        10 * gib,
        5 * gib,
        9 * gib
    ));
    let table = assert_same_everywhere(&disk, true);
    assert_eq!(table.partitions.len(), 3);
    assert!(table.protected.end() > 8 << 30);
}

#[test]
fn sectors_of_4096_bytes_are_read_on_a_device_and_in_a_file() {
    if !requires(&["loop", "sfdisk"]) {
        return;
    }
    let disk = DiskFile::new(64).with_sectors(SectorSize::B4096);
    {
        let device = Loop::new(&disk.path, &["--sector-size=4096"]);
        let script = "label: dos\nstart=256, size=500, type=83\nstart=1024, size=8000, type=5\n\
                      start=2048, size=300, type=83\nstart=4096, size=300, type=7\n";
        sfdisk_script(device.device(), script);
        let table = table::read(&Source::open(device.device()).unwrap()).unwrap().unwrap();
        assert_eq!(rows(&table), by_sfdisk(device.device()).0);
        assert_eq!(table.partitions.len(), 4);
        assert_eq!(table.notes, [""; 0]);
    }
    assert_eq!(rows(&disk.table()), by_mbrman(&disk));
    let same = DiskFile { size: SectorSize::B512, ..disk };
    assert_eq!(same.table().sector_size, SectorSize::B4096);
    assert_eq!(same.table().partitions.len(), 4);
}

#[test]
fn boot_sectors_of_filesystems_are_no_tables() {
    for (program, args) in [
        ("mkfs.fat", &["-F12"][..]),
        ("mkfs.fat", &["-F16"]),
        ("mkfs.fat", &["-F32"]),
        ("mkfs.fat", &["-F32", "--mbr=y"]),
        ("mkfs.fat", &["-F32", "-S4096"]),
        ("mkfs.exfat", &[]),
        ("mkfs.ntfs", &["-F", "-q", "-f"]),
        ("mkfs.ext4", &["-q", "-F"]),
        ("mkfs.xfs", &["-q", "-f"]),
        ("mkfs.btrfs", &["-q", "-f"]),
        ("mkswap", &[]),
    ] {
        if !requires(&[program]) {
            continue;
        }
        now(&format!("{program} {}", args.join(" ")));
        let disk = DiskFile::new(if program == "mkfs.xfs" { 320 } else { 160 });
        if args == ["-F12"] {
            disk.resize(4 << 20);
        }
        run(program, &[args, &[&disk.path]].concat());
        assert!(table::read(&disk.source()).unwrap().is_none());
    }
}
