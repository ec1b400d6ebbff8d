// SPDX-License-Identifier: MIT OR Apache-2.0
//! Records made byte by byte; chains in every order, loops and junk.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "numbers of our own")]

use proptest::prelude::{any, prop_assert, proptest};

use super::*;
use crate::extent::ExtentSet;
use crate::io::Memory;
use crate::table::samples::{Sparse, boot_record};

/// An entry: boot flag, type, start, count.
type Fields = (u8, u8, u32, u32);

const GIB_SECTORS: u32 = 1 << 21;

fn disk(records: &[(u64, &[Fields])]) -> Sparse {
    let empty = Sparse::new(u64::from(16 * GIB_SECTORS), SectorSize::B512);
    records.iter().fold(empty, |disk, (lba, entries)| disk.with(*lba, boot_record(entries)))
}

fn read(disk: &Sparse) -> PartitionTable {
    Mbr.read(disk).unwrap().unwrap()
}

/// Number, first sector and sectors of each partition.
fn list(table: &PartitionTable) -> Vec<(u32, u64, u64)> {
    let size = table.sector_size.bytes();
    let entry = |p: &Partition| (p.number, p.extent.start() / size, p.extent.len() / size);
    table.partitions.iter().map(entry).collect()
}

fn protected(table: &PartitionTable) -> Vec<u64> {
    let size = table.sector_size.bytes();
    assert!(table.protected.iter().all(|extent| extent.len() == size));
    table.protected.iter().map(|extent| extent.start() / size).collect()
}

#[track_caller]
fn assert_note(table: &PartitionTable, part: &str) {
    assert!(table.notes.iter().any(|n| n.contains(part)), "no '{part}' in {:?}", table.notes);
}

#[test]
fn four_primaries_are_read_with_their_gaps() {
    let table = read(&disk(&[(0, &[(0x80, 7, 2048, 100), (0, 0, 0, 0), (0, 0x83, 4096, 1000)])]));
    assert_eq!(list(&table), [(1, 2048, 100), (3, 4096, 1000)]);
    assert_eq!(table.id.as_deref(), Some("1234abcd"));
    assert_eq!(table.partitions[0].type_id, "07");
    assert_eq!(table.partitions[0].type_name.as_deref(), Some("NTFS or exFAT"));
    assert_eq!(table.partitions[1].type_name.as_deref(), Some("Linux"));
    assert_eq!(protected(&table), [0]);
    assert_eq!(table.notes, [""; 0]);
    assert!(!table.doubtful);
}

#[test]
fn a_chain_beyond_4_gib_runs_in_any_order() {
    // Links count from the extended partition, logicals from their record.
    let extended = 9 * GIB_SECTORS;
    let at = |lba: u32| u64::from(extended + lba);
    for type_id in [0x05, 0x0f, 0x85] {
        let table = read(&disk(&[
            (0, &[(0, 0x83, 2048, 100), (0, type_id, extended, 100_000)]),
            (at(0), &[(0, 0x83, 63, 1000), (0, 5, 60_000, 5000)]),
            (at(60_000), &[(0, 7, 2048, 900), (0, 5, 30_000, 5000)]),
            (at(30_000), &[(0, 0x82, 1, 800)]),
        ]));
        assert_eq!(
            list(&table),
            [
                (1, 2048, 100),
                (2, at(0), 100_000),
                (5, at(63), 1000),
                (6, at(62_048), 900),
                (7, at(30_001), 800),
            ]
        );
        let containers: Vec<bool> = table.partitions.iter().map(|p| p.container).collect();
        assert_eq!(containers, [false, true, false, false, false]);
        assert_eq!(protected(&table), [0, at(0), at(30_000), at(60_000)]);
        assert_eq!(table.notes, [""; 0]);
    }
}

#[test]
fn sectors_of_4096_bytes_count_in_4096_bytes() {
    let sparse = || {
        Sparse::new(1 << 20, SectorSize::B4096)
            .with(0, boot_record(&[(0, 5, 1000, 5000)]))
            .with(1000, boot_record(&[(0, 0x83, 10, 20)]))
    };
    let table = read(&sparse());
    assert_eq!(list(&table), [(1, 1000, 5000), (5, 1010, 20)]);
    assert_eq!(protected(&table), [0, 1000]);
    // The same as a file, which says 512: the record tells.
    let mut bytes = vec![0; 8 << 20];
    bytes[..512].copy_from_slice(&boot_record(&[(0, 5, 1000, 1000)]));
    bytes[1000 * 4096..][..512].copy_from_slice(&boot_record(&[(0, 0x83, 10, 20)]));
    let table = Mbr.read(&Memory::new(bytes)).unwrap().unwrap();
    assert_eq!(table.sector_size, SectorSize::B4096);
    assert_eq!(list(&table), [(1, 1000, 1000), (5, 1010, 20)]);
    assert_note(&table, "counts in sectors of 4096 bytes");
}

#[test]
fn loops_in_the_chain_end() {
    for link in [0, 500] {
        let table = read(&disk(&[
            (0, &[(0, 5, 1000, 5000)]),
            (1000, &[(0, 0x83, 1, 10), (0, 5, 500, 100)]),
            (1500, &[(0, 0x83, 1, 10), (0, 5, link, 100)]),
        ]));
        assert_note(&table, "loops at sector");
        assert!(table.doubtful);
        assert_eq!(table.partitions.len(), 3);
    }
    // An extended partition that starts at sector 0.
    let table = read(&disk(&[(0, &[(0, 5, 0, 5000)])]));
    assert_note(&table, "loops at sector 0");
    // A chain with more records than anybody counts.
    let mut long = disk(&[(0, &[(0, 5, 1000, 5000)])]);
    for lba in 0..1000 {
        long = long.with(1000 + lba, boot_record(&[(0, 0x83, 1, 1), (0, 5, lba as u32 + 1, 1)]));
    }
    let table = read(&long);
    assert_note(&table, "more than 256 extended boot records");
    assert!(table.doubtful);
    assert!(table.partitions.len() < 260 && table.notes.len() < 30);
}

#[test]
fn a_broken_chain_keeps_what_came_before() {
    for (link, why) in [(700, "does not end with 55 aa"), (u32::MAX, "behind the end of the disk")]
    {
        let table = read(&disk(&[
            (0, &[(0, 5, 1000, 5000)]),
            (1000, &[(0, 0x83, 1, 10), (0, 5, link, 100)]),
        ]));
        assert_eq!(list(&table), [(1, 1000, 5000), (5, 1001, 10)]);
        assert_note(&table, why);
    }
    let mut bytes = vec![0; 1 << 20];
    bytes[..512].copy_from_slice(&boot_record(&[(0, 5, 1000, 1000)]));
    let bad = Memory::new(bytes).unreadable(Extent::at(512_000, 512));
    let table = Mbr.read(&bad).unwrap().unwrap();
    assert_note(&table, "cannot be read");
    assert_eq!(protected(&table), [0, 1000]);
}

#[test]
fn unusual_records_are_read_as_linux_reads_them() {
    // Two logicals in one record, an empty record, entries 3 and 4.
    let table = read(&disk(&[
        (0, &[(0, 5, 1000, 5000)]),
        (1000, &[(0, 0x83, 1, 10), (0, 0x83, 20, 10), (0, 5, 500, 400), (0, 0x83, 4990, 20)]),
        (1500, &[(0, 0, 0, 0), (0, 5, 1000, 100)]),
        (2000, &[(0, 5, 2000, 100), (0, 0x83, 1, 7), (0, 0x83, 50, 7), (0, 0x83, 99, 7)]),
        (3000, &[(0, 0x83, 5, 6)]),
    ]));
    assert_eq!(
        list(&table),
        [(1, 1000, 5000), (5, 1001, 10), (6, 1020, 10), (7, 2001, 7), (8, 2050, 7), (9, 3005, 6)]
    );
    assert_eq!(protected(&table), [0, 1000, 1500, 2000, 3000]);
    assert_note(&table, "5 unusual entries in the extended boot records");
}

#[test]
fn logicals_outside_of_the_extended_partition_are_noted() {
    let table = read(&disk(&[(0, &[(0, 5, 1000, 500)]), (1000, &[(0, 0x83, 1, 600)])]));
    assert_eq!(list(&table), [(1, 1000, 500), (5, 1001, 600)]);
    assert_note(&table, "1 logical partitions or records are outside");
    // What counts is where it is on the disk, not where its record says.
    let table = read(&disk(&[
        (0, &[(0, 5, 1000, 500)]),
        (1000, &[(0, 0x83, 1, 10), (0, 5, 400, 100)]),
        (1400, &[(0, 0x83, 1, 200)]),
    ]));
    assert_eq!(list(&table)[2], (6, 1401, 200));
    assert_note(&table, "1 logical partitions or records are outside");
}

#[test]
fn a_second_extended_partition_is_ignored() {
    let table = read(&disk(&[
        (0, &[(0, 5, 1000, 500), (0, 0x0f, 2000, 500)]),
        (1000, &[(0, 0x83, 1, 10)]),
        (2000, &[(0, 0x83, 1, 10)]),
    ]));
    assert_eq!(list(&table), [(1, 1000, 500), (2, 2000, 500), (5, 1001, 10)]);
    assert_note(&table, "a second extended partition is ignored");
    assert_eq!(protected(&table), [0, 1000]);
}

#[test]
fn misfits_are_kept_and_noted() {
    let table =
        read(&disk(&[(0, &[(0, 7, 100, 100), (0, 7, 150, 100), (0, 7, u32::MAX, u32::MAX)])]));
    assert_note(&table, "partitions 1 and 2 overlap");
    assert_note(&table, "partition 3 starts behind the end of the disk");
    assert_eq!(list(&table)[2], (3, u64::from(u32::MAX), u64::from(u32::MAX)));
    assert_note(
        &read(&disk(&[(0, &[(0, 7, 0, 100)])])),
        "partition 1 lies over sectors of the table",
    );
    assert_note(&read(&disk(&[(0, &[(0, 7, 9, 0)])])), "entry 1 has type 07 but no sectors");
    let unused = read(&disk(&[(0, &[(0, 0, 9, 5)])]));
    assert_eq!(list(&unused), [(1, 9, 5)]);
    assert_note(&unused, "type 00");
}

#[test]
fn dynamic_disks_and_lost_gpts_are_doubtful() {
    let table = read(&disk(&[(0, &[(0, 0x42, 63, 5000)])]));
    assert!(table.doubtful);
    assert_note(&table, "dynamic disk");
    let table = read(&disk(&[(0, &[(0, 0xee, 1, 5000)])]));
    assert!(table.doubtful);
    assert_note(&table, "a GPT that is not there");
}

#[test]
fn an_empty_table_is_a_table() {
    let table = read(&disk(&[(0, &[])]));
    assert_eq!(table.partitions, []);
    assert!(!table.doubtful);
    assert_eq!(protected(&table), [0]);
}

#[test]
fn odd_boot_flags_need_sane_entries() {
    let table = read(&disk(&[(0, &[(0x81, 7, 2048, 100), (0x12, 7, 4096, 100)])]));
    assert_eq!(list(&table), [(1, 2048, 100), (2, 4096, 100)]);
    assert_note(&table, "entry 2 has the unusual boot flag 12");
    let insane: &[&[Fields]] = &[
        &[(0x20, 0x6e, 0x6f72_7265, 0x7365_7250), (0x73, 0x61, 0x656b_206e, 0x2079_656b)],
        &[(0x81, 7, 0, 100)],
        &[(0x81, 0, 5, 100)],
        &[(0x81, 7, 100, 100), (0, 7, 150, 100)],
        &[(0x81, 0, 0, 0)],
    ];
    for entries in insane {
        assert!(Mbr.read(&disk(&[(0, entries)])).unwrap().is_none(), "{entries:x?}");
    }
}

/// The start of a boot sector, as mkfs programs write it.
fn filesystem_start(kind: &str) -> Vec<u8> {
    let mut start = vec![0xeb, 0x58, 0x90];
    start.extend_from_slice(match kind {
        "ntfs" => b"NTFS    ",
        "exfat" => b"EXFAT   ",
        "bitlocker" => b"-FVE-FS-",
        _ => b"mkfs.fat",
    });
    // 512 bytes, 8 sectors a cluster, 32 reserved, 2 FATs, media f8.
    start.extend_from_slice(&[0, 2, 8, 32, 0, 2, 0, 0, 0, 0, 0xf8]);
    start
}

#[test]
fn boot_sectors_of_filesystems_are_no_tables() {
    for kind in ["ntfs", "exfat", "bitlocker", "fat"] {
        let sector = |entries: &[Fields]| {
            let mut sector = boot_record(entries);
            sector[..22].copy_from_slice(&filesystem_start(kind));
            Sparse::new(1 << 20, SectorSize::B512).with(0, sector)
        };
        // Zeros, text, and the table over itself that mkfs.fat --mbr makes.
        let junk: [&[Fields]; 4] = [
            &[],
            &[(0x20, 0x65, 0x2073_6968, 0x6e61_2064)],
            &[(0x80, 0x0c, 0, 1 << 20)],
            &[(0x81, 0x0c, 2048, 4096)],
        ];
        for entries in junk {
            assert!(Mbr.read(&sector(entries)).unwrap().is_none(), "{kind} {entries:x?}");
        }
        let table = read(&sector(&[(0x80, 0x0c, 2048, 4096)]));
        assert!(table.doubtful);
        assert_note(&table, "also the boot sector of a");
    }
    // The same jump with parameters of zero is a boot loader.
    let mut loader = boot_record(&[]);
    loader[..3].copy_from_slice(&[0xeb, 0x63, 0x90]);
    let loader = Sparse::new(100, SectorSize::B512).with(0, loader);
    assert_eq!(read(&loader).notes, [""; 0]);
}

#[test]
fn a_disk_without_the_two_bytes_has_no_table() {
    let mut sector = boot_record(&[(0, 7, 10, 10)]);
    sector[0x1ff] = 0;
    assert!(Mbr.read(&Sparse::new(100, SectorSize::B512).with(0, sector)).unwrap().is_none());
    for len in [0, 1, 511] {
        assert!(Mbr.read(&Memory::zeros(len)).unwrap().is_none());
    }
    let unreadable = Memory::zeros(4096).unreadable(Extent::new(0, 1));
    assert!(matches!(Mbr.read(&unreadable), Err(FormatError::Io(_))));
}

/// A disk of 128 sectors with two records in a chain.
fn small() -> Vec<u8> {
    let mut bytes = vec![0; 128 * 512];
    let records: [(usize, &[Fields]); 3] = [
        (0, &[(0x80, 7, 2, 8), (0, 5, 20, 100)]),
        (20, &[(0, 0x83, 1, 9), (0, 5, 40, 20)]),
        (60, &[(0, 0x83, 1, 9)]),
    ];
    for (lba, entries) in records {
        bytes[lba * 512..][..512].copy_from_slice(&boot_record(entries));
    }
    bytes
}

fn check_bounds(disk: &Memory) -> ExtentSet {
    let Ok(Some(table)) = Mbr.read(disk) else { return ExtentSet::new() };
    assert!(table.protected.covers(Extent::new(0, 512)));
    assert!(table.protected.end() <= disk.len());
    assert!(table.partitions.len() <= 4 * 257 && table.notes.len() < 40);
    table.protected
}

#[test]
fn every_flipped_byte_and_truncation_is_survived() {
    let good = small();
    assert_eq!(check_bounds(&Memory::new(good.clone())).count(), 3);
    for lba in [0, 20, 60] {
        for at in lba * 512..lba * 512 + 512 {
            for flip in [0x01, 0x80, 0xff] {
                let mut bytes = good.clone();
                bytes[at] ^= flip;
                check_bounds(&Memory::new(bytes));
            }
        }
    }
    for len in 0..good.len() {
        check_bounds(&Memory::new(good[..len].to_vec()));
    }
}

proptest! {
    #[test]
    fn hostile_records_do_no_harm(
        records in proptest::collection::vec(
            (0_usize..128, proptest::collection::vec(
                (any::<u8>(), any::<u8>(), 0_u32..140, any::<u32>()), 0..4)),
            0..40),
        links in proptest::collection::vec((0_usize..128, 0_u32..128), 0..40),
    ) {
        let mut bytes = small();
        for (lba, entries) in records {
            bytes[lba * 512..][..512].copy_from_slice(&boot_record(&entries));
        }
        for (lba, link) in links {
            bytes[lba * 512..][..512].copy_from_slice(&boot_record(&[(0, 7, 1, 1), (0, 5, link, 9)]));
        }
        bytes[..512].copy_from_slice(&boot_record(&[(0, 5, 20, 100)]));
        let protected = check_bounds(&Memory::new(bytes));
        prop_assert!(protected.covers(Extent::at(20 * 512, 512)));
    }
}
