// SPDX-License-Identifier: MIT OR Apache-2.0
//! One field changed in a good table each, then sweeps over all bytes.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "numbers of our own")]

use proptest::prelude::{any, prop_assert, proptest};

use super::*;
use crate::extent::ExtentSet;
use crate::io::Memory;
use crate::table::samples::{GptDisk, LINUX, mbr_entry};

fn read(disk: &GptDisk) -> PartitionTable {
    Gpt.read(&disk.disk()).unwrap().unwrap()
}

fn has_note(table: &PartitionTable, part: &str) -> bool {
    table.notes.iter().any(|note| note.contains(part))
}

#[track_caller]
fn assert_note(table: &PartitionTable, part: &str) {
    assert!(has_note(table, part), "no '{part}' in {:?}", table.notes);
}

fn sectors(disk: &GptDisk, ranges: &[(u64, u64)]) -> ExtentSet {
    let size = disk.size as u64;
    ranges.iter().map(|(start, end)| Extent::new(start * size, end * size)).collect()
}

/// The partitions of [`GptDisk::small`], whatever happened to one copy.
fn assert_small(table: &PartitionTable) {
    let found: Vec<_> = table.partitions.iter().map(|p| (p.number, p.extent)).collect();
    assert_eq!(found, [(1, Extent::new(4096, 8192)), (3, Extent::new(16384, 20992))]);
    assert_eq!(table.id.as_deref(), Some("42424242-4242-4242-4242-424242424242"));
}

#[test]
fn a_good_table_is_read_without_notes() {
    let disk = GptDisk::small();
    let table = read(&disk);
    assert_small(&table);
    assert_eq!(table.notes, [""; 0]);
    assert!(!table.doubtful);
    assert_eq!(table.kind, "GPT");
    assert_eq!(table.protected, sectors(&disk, &[(0, 3), (62, 64)]));
    let third = &table.partitions[1];
    assert_eq!(third.type_id, "0fc63daf-8483-4772-8e79-3d69d8477de4");
    assert_eq!(third.type_name.as_deref(), Some("Linux filesystem"));
    assert_eq!(third.id.as_deref(), Some("03030303-0303-0303-0303-030303030303"));
    assert_eq!(third.name.as_deref(), Some("p2"));
    assert!(!third.container);
}

#[test]
fn any_size_of_sector_entry_and_array_is_read() {
    for size in [SectorSize::B512, SectorSize::B4096, SectorSize::new(2048).unwrap()] {
        for (count, entry_size) in
            [(1, 128), (4, 128), (56, 128), (128, 128), (100, 256), (3, 4096)]
        {
            let disk = GptDisk::new(size, 400, count, entry_size, &[(0, 100, 199)]);
            let table = read(&disk);
            assert_eq!(table.notes, [""; 0], "{size} {count} {entry_size}");
            assert_eq!(
                table.partitions[0].extent,
                Extent::at(100 * size.bytes(), 100 * size.bytes())
            );
            let array = disk.array_sectors();
            assert_eq!(table.protected, sectors(&disk, &[(0, 2 + array), (399 - array, 400)]));
        }
    }
}

#[test]
fn a_table_of_another_sector_size_is_found() {
    let native = GptDisk::new(SectorSize::B4096, 64, 128, 128, &[(4, 10, 20)]);
    let table = Gpt.read(&Memory::new(native.bytes.clone())).unwrap().unwrap();
    assert_eq!(table.sector_size, SectorSize::B4096);
    assert_eq!(table.partitions[0].extent, Extent::new(40960, 86016));
    assert_eq!(table.partitions[0].number, 5);
    assert_note(&table, "counts in sectors of 4096 bytes");
    assert!(!table.doubtful);
    let small = GptDisk::small();
    let disk = Memory::new(small.bytes).with_sector_size(SectorSize::B4096);
    assert_small(&Gpt.read(&disk).unwrap().unwrap());
}

#[test]
fn a_damaged_primary_gives_way_to_the_backup() {
    // Signature, header size, checksum, own sector, and the array alone.
    for (lba, offset) in [(1, 0), (1, 0x0c), (1, 0x10), (1, 0x18), (1, 0x38), (2, 0), (2, 0x100)] {
        let table = read(&GptDisk::small().patched(lba, offset, &[0x99]));
        assert_small(&table);
        assert_note(&table, "the primary GPT is damaged, the backup is used");
        assert!(!table.doubtful);
        assert!(table.protected.covers(Extent::new(0, 1536)), "{:?}", table.protected);
        assert!(table.protected.covers(Extent::new(62 * 512, 64 * 512)));
    }
    // A header that holds, but says it belongs elsewhere.
    let mut moved = GptDisk::small().patched(1, 0x18, &[2]);
    moved.seal_header(1);
    assert_note(&read(&moved), "own sector");
}

#[test]
fn a_damaged_backup_is_noted_and_protected() {
    for (lba, offset) in [(63, 0x0c), (63, 0x10), (63, 0x18), (63, 0x38), (62, 0), (62, 0x100)] {
        let disk = GptDisk::small().patched(lba, offset, &[0x99]);
        let table = read(&disk);
        assert_small(&table);
        assert_note(&table, "the backup GPT is damaged");
        assert!(!table.doubtful);
        assert_eq!(table.protected, sectors(&disk, &[(0, 3), (62, 64)]));
    }
    assert_note(&read(&GptDisk::small().patched(63, 0, &[0])), "there is no backup GPT");
}

#[test]
fn an_unreadable_copy_gives_way_to_the_other() {
    let bytes = GptDisk::small().bytes;
    for sector in [1, 2, 62, 63] {
        let disk = Memory::new(bytes.clone()).unreadable(Extent::at(sector * 512, 512));
        let table = Gpt.read(&disk).unwrap().unwrap();
        assert_small(&table);
        assert_eq!(table.notes.len(), 1, "{:?}", table.notes);
    }
    let disk = Memory::new(bytes.clone()).unreadable(Extent::new(0, 512));
    let table = Gpt.read(&disk).unwrap().unwrap();
    assert_small(&table);
    assert!(table.doubtful);
    let disk = Memory::new(bytes)
        .unreadable(Extent::new(0, 1024))
        .unreadable(Extent::new(63 * 512, 64 * 512));
    assert!(matches!(Gpt.read(&disk), Err(FormatError::Io(_))));
}

#[test]
fn two_damaged_copies_are_an_error() {
    let disk = GptDisk::small().patched(1, 0x10, &[0x99]).patched(62, 0, &[0x99]);
    let error = Gpt.read(&disk.disk()).unwrap_err();
    assert!(matches!(error, FormatError::Corrupt { position: 512, .. }), "{error}");
    let gone = GptDisk::small().patched(1, 0, &[0; 512]).patched(63, 0, &[0; 512]);
    assert!(Gpt.read(&gone.disk()).is_err());
    // Without a protective MBR these are remains of another use of the disk.
    let remains = disk.patched(0, 0x1c2, &[0x83]);
    assert!(Gpt.read(&remains.disk()).unwrap().is_none());
    assert!(Gpt.read(&Memory::zeros(65536)).unwrap().is_none());
}

#[test]
fn a_backup_without_protective_mbr_is_no_table() {
    let stale = GptDisk::small().patched(0, 0, &[0; 1024]);
    assert!(Gpt.read(&stale.disk()).unwrap().is_none());
    // With both copies, nobody can tell.
    let table = read(&GptDisk::small().patched(0, 0, &[0; 512]));
    assert!(table.doubtful);
    assert_note(&table, "sector 0 holds no protective MBR");
    let replaced = GptDisk::small().patched(0, 0x1be, &mbr_entry(0x80, 0x83, 8, 8));
    assert!(read(&replaced).doubtful);
}

#[test]
fn copies_that_contradict_each_other_are_doubtful() {
    // The disk's GUID, an entry's end, and an entry's name.
    for (lba, offset) in [(63, 0x38), (62, 0x28), (62, 0x3a)] {
        let table = read(&GptDisk::small().patched(lba, offset, &[0x07]).sealed());
        assert_note(&table, "contradict each other");
        assert!(table.doubtful);
    }
    // Half of the primary was written anew when something went wrong.
    let torn = GptDisk::small().patched(2, 0x28, &[0x07]).sealed().patched(2, 0x28, &[0x0f, 1]);
    let table = read(&torn);
    assert_note(&table, "the primary GPT is damaged");
    assert!(table.doubtful);
    let table = read(&GptDisk::small().patched(63, 0x30, &[0x07]).sealed());
    assert_note(&table, "differ in their usable sectors");
    assert!(!table.doubtful);
}

#[test]
fn a_grown_disk_has_its_backup_in_the_middle() {
    let mut grown = GptDisk::small();
    grown.bytes.resize(100 * 512, 0);
    let table = read(&grown);
    assert_small(&table);
    assert_note(&table, "the backup GPT is at sector 63, the disk ends with sector 99");
    assert_note(&table, "covers 63 sectors instead of 99");
    assert_eq!(table.protected, sectors(&grown, &[(0, 3), (62, 64)]));
    // With a dead primary only the protective MBR tells where it is.
    let table = read(&grown.patched(1, 0, &[0]));
    assert_small(&table);
}

#[test]
fn a_cut_disk_has_no_backup() {
    let mut cut = GptDisk::small();
    cut.bytes.truncate(48 * 512);
    let table = read(&cut);
    assert_small(&table);
    assert_note(&table, "would be at sector 63, behind the end of the disk");
    assert_note(&table, "usable sectors go beyond the end of the disk");
    cut.bytes.truncate(36 * 512);
    assert_note(&read(&cut), "partition 3 ends behind the end of the disk");
    cut.bytes.truncate(32 * 512);
    assert_note(&read(&cut), "partition 3 starts behind the end of the disk");
    assert!(!has_note(&read(&cut), "over sectors of the table"));
}

#[test]
fn odd_protective_mbrs_are_noted() {
    let first = |flag, start, count| {
        GptDisk::small().patched(0, 0x1be, &mbr_entry(flag, 0xee, start, count))
    };
    assert_eq!(read(&first(0, 1, u32::MAX)).notes, [""; 0]);
    assert_note(&read(&first(0, 1, 17)), "covers 17 sectors instead of 63");
    assert_note(&read(&first(0x80, 1, 63)), "boot flag 80");
    assert_note(&read(&first(0, 0, 64)), "starts at sector 0");
    let second = mbr_entry(0x80, 0x0c, 8, 8);
    let hybrid = GptDisk::small().patched(0, 0x1ce, &second);
    let table = read(&hybrid);
    assert_small(&table);
    assert_note(&table, "hybrid MBR: 1 partitions");
    assert!(!table.doubtful);
    let last =
        GptDisk::small().patched(0, 0x1be, &[0; 16]).patched(0, 0x1ee, &mbr_entry(0, 0xee, 1, 63));
    assert_note(&read(&last), "does not use the first entry");
    let twice = GptDisk::small().patched(0, 0x1ce, &mbr_entry(0, 0xee, 1, 63));
    assert_note(&read(&twice), "more than one entry for the GPT");
}

#[test]
fn unusual_headers_are_noted_or_refused() {
    let both = |offset: usize, bytes: &[u8]| {
        GptDisk::small().patched(1, offset, bytes).patched(63, offset, bytes).sealed()
    };
    // A later revision, a longer header with bytes in it, and reserved bytes.
    assert_note(&read(&both(0x08, &[0, 0, 2, 0])), "unknown revision 0x00020000");
    assert_eq!(read(&both(0x0c, &[0, 2])).notes, [""; 0]);
    assert_eq!(read(&both(0x14, &[1, 2, 3, 4])).notes, [""; 0]);
    assert_eq!(read(&both(0x60, &[9; 32])).notes, [""; 0]);
    assert_note(&read(&both(0x28, &[62])), "usable sectors are reversed");
    assert_note(&read(&both(0x28, &[20])), "1 partitions are outside");
    for (offset, bytes) in [
        (0x0c, &[91, 0, 0, 0][..]),
        (0x0c, &[1, 2, 0, 0]),
        (0x0c, &[0xff; 4]),
        (0x50, &[0; 4]),
        (0x50, &[0xff; 4]),
        (0x54, &[0; 4]),
        (0x54, &[0x7f, 0, 0, 0]),
        (0x54, &[0x80, 1, 0, 0]),
        (0x54, &[0xff; 4]),
        (0x48, &[0xff; 8]),
    ] {
        let disk = both(offset, bytes);
        assert!(Gpt.read(&disk.disk()).is_err(), "{offset:#x} {bytes:x?}");
    }
}

#[test]
fn an_array_elsewhere_is_read_and_protected() {
    let mut disk = GptDisk::small().patched(1, 0x48, &[20]);
    let entries = disk.bytes[1024..1536].to_vec();
    disk.patch(20, 0, &entries);
    disk.patch(2, 0, &[0x55; 512]);
    disk.seal();
    let table = read(&disk);
    assert_small(&table);
    assert_eq!(table.protected, sectors(&disk, &[(0, 2), (20, 21), (62, 64)]));
}

#[test]
fn an_absurd_backup_position_is_not_followed() {
    for alternate in [0, 1, 2, 10, 64, u64::MAX] {
        let mut disk = GptDisk::small().patched(1, 0x20, &alternate.to_le_bytes());
        disk.seal_header(1);
        let table = read(&disk);
        assert_small(&table);
        assert_note(&table, "the backup GPT is at sector 63, not where the primary says");
    }
}

#[test]
fn a_third_header_is_noted_and_protected() {
    let mut grown = GptDisk::small();
    grown.bytes.resize(100 * 512, 0);
    let mut other = GptDisk::new(SectorSize::B512, 100, 4, 128, &[(1, 50, 60)]);
    other.patch(0, 0, &grown.bytes[..98 * 512]);
    let table = read(&other);
    assert_small(&table);
    assert!(!table.doubtful);
    assert_note(&table, "another GPT header at sector 99");
    assert_eq!(table.protected, sectors(&other, &[(0, 3), (62, 64), (98, 100)]));
}

#[test]
fn misfits_are_kept_and_noted() {
    let of = |partitions: &[(u32, u64, u64)]| {
        read(&GptDisk::new(SectorSize::B512, 64, 4, 128, partitions))
    };
    let reversed = of(&[(0, 20, 10)]);
    assert!(reversed.partitions[0].extent.is_empty());
    assert_note(&reversed, "partition 1 ends before it starts");
    assert_note(&of(&[(0, 10, 20), (1, 20, 30)]), "partitions 1 and 2 overlap");
    assert_note(&of(&[(0, 10, 40), (1, 11, 12), (3, 38, 41)]), "partitions 1 and 4 overlap");
    assert_note(&of(&[(0, 2, 20)]), "partition 1 lies over sectors of the table itself");
    assert_note(&of(&[(0, 70, 80)]), "partition 1 starts behind the end of the disk");
    let endless = of(&[(0, 20, u64::MAX)]);
    assert_eq!(endless.partitions[0].extent, Extent::new(20 * 512, u64::MAX));
    of(&[(0, u64::MAX, u64::MAX)]);
    of(&[(0, u64::MAX, 0)]);
    of(&[(0, 0, 0)]);
}

#[test]
fn many_misfits_are_summed_up() {
    let partitions: Vec<_> = (0..200).map(|index| (index, 90, 90)).collect();
    let table = read(&GptDisk::new(SectorSize::B512, 400, 200, 128, &partitions));
    assert_eq!(table.partitions.len(), 200);
    assert!(table.notes.len() < 20);
    assert_note(&table, "more entries that do not fit");
}

#[test]
fn more_partitions_than_any_system_has_are_doubtful() {
    let disk = |count: u32| {
        let partitions: Vec<_> = (0..count).map(|index| (index, 1000, 1000)).collect();
        GptDisk::new(SectorSize::B512, 8000, 8192, 128, &partitions)
    };
    assert!(!read(&disk(1024)).doubtful);
    assert!(read(&disk(1025)).doubtful);
    assert_note(&read(&disk(8192)), "8192 partitions");
}

#[test]
fn dynamic_disks_are_doubtful() {
    for type_id in types::LDM {
        let bytes = uuid::Uuid::parse_str(type_id).unwrap().to_bytes_le();
        let table = read(&GptDisk::small().patched(2, 0, &bytes).patched(62, 0, &bytes).sealed());
        assert!(table.doubtful);
        assert_note(&table, "dynamic disk");
    }
}

#[test]
fn names_lose_their_escape_sequences() {
    let name: Vec<u8> =
        "a\u{1b}[31m\u{e9}\u{1f600}\u{9b}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let disk =
        GptDisk::small().patched(2, 0x38, &name).patched(2, 0x38 + name.len(), &[0x00, 0xd8]);
    let mut disk = disk.patched(63, 0, &[0]);
    disk.seal();
    assert_eq!(read(&disk).partitions[0].name.as_deref(), Some("a[31m\u{e9}\u{1f600}\u{fffd}"));
    assert_eq!(LINUX.len(), 16);
}

#[test]
fn the_same_guid_twice_is_noted() {
    let disk = GptDisk::small().patched(2, 0x110, &[1; 16]).patched(62, 0x110, &[1; 16]).sealed();
    assert_note(&read(&disk), "the same GUID");
}

#[test]
fn every_flipped_byte_leaves_one_good_copy() {
    let good = GptDisk::small();
    let protected = read(&good).protected;
    for sector in [0, 1, 2, 62, 63] {
        for offset in 0..512 {
            let at = sector * 512 + offset;
            for flip in [0x01, 0x80, 0xff] {
                let mut disk = good.clone();
                disk.bytes[at] ^= flip;
                let table = read(&disk);
                assert_small(&table);
                let lost = protected.subtract(&table.protected);
                // A backup without a signature cannot be told from data.
                let unsigned = sector == 63 && offset < 8;
                assert!(lost.is_empty() || unsigned, "byte {at:#x}: {lost:?}");
                let noticed = !table.notes.is_empty();
                let matters = sector != 0 && (offset < 92 || sector == 2 || sector == 62);
                assert!(noticed || !matters, "byte {at:#x} changed unnoticed");
            }
        }
    }
}

#[test]
fn every_truncation_is_survived() {
    let good = GptDisk::small();
    for len in 0..good.bytes.len() {
        let disk = Memory::new(good.bytes[..len].to_vec());
        match Gpt.read(&disk) {
            // The primary copy ends with sector 2.
            Ok(Some(table)) => assert_small(&table),
            Ok(None) => assert!(len < 1536, "{len}"),
            Err(_) => assert!(len < 1536, "{len}"),
        }
    }
}

proptest! {
    #[test]
    fn hostile_headers_do_no_harm(
        fields in proptest::collection::vec((any::<bool>(), 0_usize..23, any::<u32>(), 0_u32..40), 1..6),
        entries in proptest::collection::vec((0_usize..32, any::<u64>()), 0..6),
        sealed in any::<bool>(),
    ) {
        let mut disk = GptDisk::small();
        for (primary, word, value, shift) in fields {
            let value = value.checked_shr(shift).unwrap_or(0);
            disk.patch(if primary { 1 } else { 63 }, word * 4, &value.to_le_bytes());
        }
        for (word, value) in entries {
            disk.patch(2, word * 16, &value.to_le_bytes());
        }
        if sealed {
            disk.seal();
        }
        if let Ok(Some(table)) = Gpt.read(&disk.disk()) {
            prop_assert!(table.protected.covers(Extent::new(0, 1024)));
            prop_assert!(table.protected.end() <= 64 * 512);
            // No more than the disk has room for.
            prop_assert!(table.partitions.len() <= 64 * 512 / 128);
        }
    }
}
