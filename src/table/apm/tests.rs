// SPDX-License-Identifier: MIT OR Apache-2.0
//! Maps made byte by byte; what has a second meaning; hostile ones.
#![allow(clippy::arithmetic_side_effects, clippy::as_conversions, reason = "numbers of our own")]

use proptest::prelude::{any, prop, prop_assert, proptest};

use super::*;
use crate::extent::ExtentSet;
use crate::io::Memory;
use crate::layout;
use crate::table::samples::{GptDisk, mbr_entry};

/// An entry: type, name, first block, blocks.
type Fields = (&'static str, &'static str, u32, u32);

const USUAL: [Fields; 5] = [
    ("Apple_partition_map", "Apple", 1, 63),
    ("Apple_Driver_ATA", "Macintosh", 64, 54),
    ("Apple_HFS", "disk image", 200, 300),
    ("Apple_Free", "", 500, 100),
    ("Apple_UNIX_SVR2", "swap", 600, 200),
];

/// A disk of 1000 blocks.
fn disk(size: usize, entries: &[Fields]) -> Vec<u8> {
    let mut bytes = vec![0; 1000 * size];
    bytes[..2].copy_from_slice(b"ER");
    bytes[2..4].copy_from_slice(&(size as u16).to_be_bytes());
    bytes[4..8].copy_from_slice(&1000_u32.to_be_bytes());
    for (number, (type_name, name, start, count)) in entries.iter().enumerate() {
        let block = &mut bytes[(number + 1) * size..][..512];
        block[..2].copy_from_slice(b"PM");
        block[4..8].copy_from_slice(&(entries.len() as u32).to_be_bytes());
        block[8..12].copy_from_slice(&start.to_be_bytes());
        block[12..16].copy_from_slice(&count.to_be_bytes());
        block[16..16 + name.len()].copy_from_slice(name.as_bytes());
        block[48..48 + type_name.len()].copy_from_slice(type_name.as_bytes());
    }
    bytes
}

fn patched(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut disk = disk(512, &USUAL);
    disk[at..at + bytes.len()].copy_from_slice(bytes);
    disk
}

fn read(bytes: Vec<u8>) -> PartitionTable {
    Apm.read(&Memory::new(bytes)).unwrap().unwrap()
}

#[track_caller]
fn doubtful(bytes: Vec<u8>, why: &str) {
    let len = bytes.len() as u64;
    let table = read(bytes.clone());
    assert!(table.doubtful, "{:?}", table.notes);
    assert!(table.notes.iter().any(|note| note.contains(why)), "{:?}", table.notes);
    let scan = layout::scan(&Memory::new(bytes)).unwrap();
    assert_eq!(scan.used, ExtentSet::all(len));
    assert!(scan.layout.regions[0].whole.as_ref().unwrap().contains(why));
}

#[test]
fn partitions_are_numbered_by_their_entries() {
    let table = read(disk(512, &USUAL));
    let list: Vec<_> = table
        .partitions
        .iter()
        .map(|it| (it.number, it.extent.start() / 512, it.extent.len() / 512, it.type_id.as_str()))
        .collect();
    assert_eq!(
        list,
        [
            (2, 64, 54, "Apple_Driver_ATA"),
            (3, 200, 300, "Apple_HFS"),
            (5, 600, 200, "Apple_UNIX_SVR2")
        ]
    );
    assert_eq!(table.partitions[1].name.as_deref(), Some("disk image"));
    assert_eq!(table.partitions[1].type_name.as_deref(), Some("Apple HFS or HFS+"));
    // Block 0, and the map with the room in it.
    assert_eq!(table.protected, ExtentSet::from(Extent::new(0, 64 * 512)));
    assert_eq!((table.notes.len(), table.doubtful), (0, false));
    assert_eq!((table.kind, table.sector_size), ("APM", SectorSize::B512));
}

#[test]
fn blocks_of_4096_bytes_are_known_in_files_and_on_disks() {
    for own in [SectorSize::B512, SectorSize::B4096] {
        let memory = Memory::new(disk(4096, &USUAL)).with_sector_size(own);
        let table = Apm.read(&memory).unwrap().unwrap();
        assert!(!table.doubtful);
        assert_eq!(table.partitions[1].extent, Extent::at(200 * 4096, 300 * 4096));
    }
    doubtful(disk(2048, &USUAL), "blocks of 2048 bytes");
    doubtful(disk(1024, &USUAL), "blocks of 1024 bytes");
    let memory = Memory::new(disk(512, &USUAL)).with_sector_size(SectorSize::B4096);
    assert!(Apm.read(&memory).unwrap().unwrap().doubtful);
}

#[test]
fn what_is_no_map_is_none() {
    for bytes in [
        patched(0, b"XX"),
        patched(2, &[0, 0]),
        patched(2, &[1, 0]),
        patched(2, &[0x20, 0]),
        patched(512, b"XX"),
        // The map of before the Macintosh II.
        patched(512, b"TS"),
        disk(512, &USUAL)[..1023].to_vec(),
        Vec::new(),
    ] {
        assert_eq!(Apm.read(&Memory::new(bytes)).unwrap(), None);
    }
    // Code of a disc that starts with these letters, and no map behind it.
    let mut disc = patched(0, b"ER\x08\0\0\0\x90\x90");
    disc[2048..2050].fill(0);
    assert_eq!(Apm.read(&Memory::new(disc)).unwrap(), None);
}

#[test]
fn entries_have_to_agree_on_their_number() {
    for (at, bytes, field) in [
        (512 + 4, [0, 0, 0, 0], "pmMapBlkCnt"),
        (512 + 4, [0, 0, 4, 1], "pmMapBlkCnt"),
        (512 + 4, [0, 0, 0, 6], "pmMapBlkCnt"),
        (1536 + 4, [0, 0, 0, 4], "pmMapBlkCnt"),
        (1536, [0, 0, 0, 0], "pmSig"),
    ] {
        let bytes = patched(at, &bytes);
        match Apm.read(&Memory::new(bytes.clone())) {
            Err(FormatError::Corrupt { what, .. }) => assert_eq!(what, field),
            other => panic!("{other:?}"),
        }
        let len = bytes.len() as u64;
        assert_eq!(layout::scan(&Memory::new(bytes)).unwrap().used, ExtentSet::all(len));
    }
    // The disk ends within the map.
    let short = disk(512, &USUAL)[..1200].to_vec();
    assert!(Apm.read(&Memory::new(short)).is_err());
}

#[test]
fn a_second_table_makes_the_map_doubtful() {
    doubtful(patched(0x1fe, &[0x55, 0xaa]), "boot record");
    let mut bytes = patched(0x1fe, &[0x55, 0xaa]);
    bytes[0x1be..0x1ce].copy_from_slice(&mbr_entry(0x80, 0x83, 200, 100));
    doubtful(bytes, "boot record");
    // A GPT in blocks of 4096 bytes fits between the entries of a map in blocks
    // of 512 bytes, but for its MBR.
    let mut bytes = GptDisk::new(SectorSize::B4096, 64, 4, 128, &[(0, 8, 15)]).bytes;
    let map = disk(512, &USUAL[..1]);
    bytes[..4].copy_from_slice(&map[..4]);
    bytes[512..1024].copy_from_slice(&map[512..1024]);
    doubtful(bytes.clone(), "boot record");
    bytes[0x1fe] = 0;
    doubtful(bytes, "there is a GPT, too");
}

#[test]
fn a_map_has_to_say_where_it_is() {
    let with = |first: Fields| disk(512, &[&[first][..], &USUAL[1..]].concat());
    doubtful(with(("Apple_partition_map", "", 2, 62)), "not where it says");
    doubtful(with(("Apple_partition_map", "", 1, 4)), "not where it says");
    doubtful(with(("Apple_HFS", "", 1, 63)), "does not say once");
    let twice = [USUAL[0], USUAL[0], USUAL[2]];
    doubtful(disk(512, &twice), "does not say once");
    assert!(!read(with(("APPLE_PARTITION_MAP", "", 1, 5))).doubtful);
}

#[test]
fn drivers_and_boot_code_in_a_partition_with_data_make_it_doubtful() {
    let driver = |start: u32, sectors: u16| {
        let field = [&[0, 1][..], &start.to_be_bytes(), &sectors.to_be_bytes()].concat();
        patched(0x10, &field)
    };
    assert!(!read(driver(64, 54)).doubtful);
    assert!(!read(driver(120, 80)).doubtful);
    assert!(!read(driver(500, 100)).doubtful);
    doubtful(driver(190, 11), "driver 0 is in a partition with data");
    doubtful(driver(799, 1), "driver 0 is in a partition with data");
    doubtful(patched(0x10, &[0, 62]), "62 drivers");
    // The third entry is the one with data.
    doubtful(patched(3 * 512 + 0x60, &[0, 0, 4, 0]), "partition 3 has boot code");
    doubtful(patched(3 * 512 + 0x50, &[0, 0, 0, 1]), "partition 3 is not at its start");
    // A driver's partition is nothing but code.
    assert!(!read(patched(2 * 512 + 0x60, &[0, 0, 4, 0])).doubtful);
}

#[test]
fn what_does_not_fit_is_noted_and_stored_whole() {
    let with = |start, count| disk(512, &[USUAL[0], ("Apple_HFS", "", start, count)]);
    for (bytes, note) in [
        (with(900, 101), "ends behind the end"),
        (with(1000, 1), "starts behind the end"),
        (with(u32::MAX, u32::MAX), "starts behind the end"),
        (with(60, 40), "over sectors of the table"),
        (with(300, 0), "ends before it starts"),
    ] {
        let table = read(bytes.clone());
        assert!(table.notes.iter().any(|it| it.contains(note)), "{:?}", table.notes);
        let len = bytes.len() as u64;
        assert_eq!(layout::scan(&Memory::new(bytes)).unwrap().used, ExtentSet::all(len));
    }
    let overlap = disk(512, &[USUAL[0], ("Apple_HFS", "", 100, 50), ("Apple_HFS", "", 149, 50)]);
    assert!(read(overlap).notes.iter().any(|note| note.contains("2 and 3 overlap")));
}

#[test]
fn a_partition_with_hfs_plus_has_its_map_and_all_else_is_stored() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/images/hfsplus-tiny.img.zst");
    let volume = zstd::decode_all(std::fs::File::open(path).unwrap()).unwrap();
    let blocks = (volume.len() / 512) as u32;
    let entries =
        [USUAL[0], ("Apple_HFS", "disk image", 100, blocks), ("Apple_Free", "", 100 + blocks, 500)];
    let mut bytes = disk(512, &entries);
    bytes.resize((600 + volume.len() / 512) * 512, 7);
    let place = Extent::at(100 * 512, volume.len() as u64);
    bytes[100 * 512..][..volume.len()].copy_from_slice(&volume);
    let scan = layout::scan(&Memory::new(bytes.clone())).unwrap();
    let table = scan.layout.table.as_ref().map(|table| table.kind.as_str());
    assert_eq!(table, Some("APM"), "{:?}", scan.layout.regions);
    let around = ExtentSet::from(place).complement(bytes.len() as u64);
    assert_eq!(around.subtract(&scan.used), ExtentSet::new());
    assert!(scan.used.intersect(&place.into()).bytes() < place.len() / 2);
    // On a larger disk every byte is as it was.
    let relocation =
        crate::table::relocate(&Memory::new(bytes.clone()), &scan.used, 2 * bytes.len() as u64);
    assert_eq!(relocation.unwrap(), crate::table::Relocation::default());
}

proptest! {
    #[test]
    fn junk_entries_are_survived(
        patches in prop::collection::vec((0_usize..4096, any::<u8>()), 0..12),
        len in 0_usize..512_000,
    ) {
        let mut bytes = disk(512, &USUAL);
        bytes.truncate(len.max(4096));
        for (at, byte) in patches {
            bytes[at] = byte;
        }
        let len = bytes.len() as u64;
        let scan = layout::scan(&Memory::new(bytes)).unwrap();
        prop_assert!(scan.used == ExtentSet::all(len), "nothing in there is a filesystem");
    }
}
