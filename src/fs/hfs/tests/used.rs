// SPDX-License-Identifier: MIT OR Apache-2.0
//! The used map: what has to agree before it is believed, and damage anywhere.

use super::files::Disk;
use super::nodes;
use crate::extent::{Extent, ExtentSet};
use crate::fs::hfs::{Hfs, MasterDirectoryBlock};
use crate::fs::{Filesystem as _, Used};
use crate::io::{Memory, WriteAt as _};
use crate::ondisk::{Fields as _, FormatError};

const BLOCK: usize = 1024;

fn used(disk: &Disk) -> Result<Used, FormatError> {
    Hfs.used(&[&Memory::new(disk.0.clone())])
}

/// What the bitmap marks and files have, by the facts beside the disk.
fn truth() -> ExtentSet {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/images/hfs-tiny.facts.json");
    let facts: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let pair =
        |pair: &serde_json::Value| Extent::at(pair[0].as_u64().unwrap(), pair[1].as_u64().unwrap());
    facts["used"].as_array().unwrap().iter().map(pair).collect()
}

#[test]
fn the_map_is_that_of_the_bitmap() {
    let found = used(&Disk::new()).unwrap();
    assert_eq!((found.whole, found.notes), (None, Vec::new()));
    assert_eq!(found.extents, truth());
}

#[test]
fn what_contradicts_keeps_all_of_it() {
    let disk = Disk::new();
    let end = disk.0.len() - BLOCK;
    let half = |at: usize| disk.0.u16_be(BLOCK + at).unwrap();
    let (catalog, overflow) = disk.trees();
    let record = disk.record(b"Both Forks");
    for (at, bytes, why) in [
        (BLOCK + 34, (half(34) + 1).to_be_bytes().to_vec(), "drFreeBks"),
        (BLOCK + 34, (half(34) - 1).to_be_bytes().to_vec(), "drFreeBks"),
        (BLOCK + 10, vec![0x31, 0], "unknown volume attributes"),
        (BLOCK + 18, vec![0xff, 0xff], "size of the HFS"),
        (BLOCK + 87, vec![1], "files and"),
        (BLOCK + 91, vec![9], "files and"),
        (end, vec![0, 0], "copy of the master directory block"),
        (end + 3, vec![1], "copy of the master directory block"),
        (end + 19, vec![1], "copy of the master directory block"),
        (catalog + 23, vec![1], "records in the leaves"),
        (overflow + 23, vec![1], "records in the leaves"),
        // More or fewer blocks than its places have, half a one, and too long.
        (record + 30, vec![0, 2, 0, 0], "too few"),
        (record + 30, vec![0, 0, 2, 0], "length of a file"),
        (record + 33, vec![1], "length of a file"),
        (record + 26, vec![0x7f], "length of a file"),
        (record + 74, vec![0xff, 0xff], "places within"),
    ] {
        let error = used(&disk.clone().put(at, &bytes)).unwrap_err().to_string();
        assert!(error.contains(why), "{at:#x}: {error}");
    }
    for bitmap in [[0, 2], [0, 200]] {
        let moved = disk.clone().put(BLOCK + 14, &bitmap).put(end + 14, &bitmap);
        assert!(used(&moved).unwrap_err().to_string().contains("volume bitmap"));
    }
    for attributes in [[0, 0], [9, 0]] {
        let found = used(&disk.clone().put(BLOCK + 10, &attributes)).unwrap();
        assert!(found.whole.is_some() && found.extents == ExtentSet::all(disk.0.len() as u64));
    }
}

/// The bit of a block is cleared, and counted.
#[track_caller]
fn freed(disk: &Disk, block: u16) -> Disk {
    let bitmap = usize::from(disk.0.u16_be(BLOCK + 14).unwrap()) * 512 + usize::from(block / 8);
    let free = disk.0.u16_be(BLOCK + 34).unwrap() + 1;
    let bits = disk.0[bitmap] & !(0x80 >> (block % 8));
    assert_ne!(bits, disk.0[bitmap]);
    disk.clone().put(bitmap, &[bits]).put(BLOCK + 34, &free.to_be_bytes())
}

#[test]
fn blocks_of_files_are_kept_whatever_the_bitmap_says() {
    let disk = Disk::new();
    let record = disk.record(b"Both Forks");
    // Of a data fork, of a resource fork, and of both trees.
    let overflow = disk.trees().1 + 512 + 14;
    let first = disk.0.u16_be(overflow + 8).unwrap();
    let [data, resource] = [74, 86].map(|at| disk.0.u16_be(record + at).unwrap());
    for (number, is_tree) in [(data, false), (resource, false), (first, true), (0, true)] {
        let found = used(&freed(&disk, number));
        if is_tree {
            // The first record of the overflow file is the catalog's.
            assert!(found.unwrap_err().to_string().contains("marked as in use"), "{number}");
            continue;
        }
        kept(&freed(&disk, number), number, &truth());
    }
}

/// The bitmap calls a block free that is in use, and it is kept, and told.
#[track_caller]
fn kept(disk: &Disk, number: u16, truth: &ExtentSet) {
    let found = used(disk).unwrap();
    assert!(found.notes[0].contains("calls free"), "{:?}", found.notes);
    let block = MasterDirectoryBlock::read(&Memory::new(disk.0.clone())).unwrap().unwrap();
    let place = ExtentSet::from(block.blocks(number, 1));
    assert!(place.subtract(&found.extents).is_empty(), "{number}");
    assert_eq!(&found.extents, truth);
}

/// The records of the leaf of the overflow file: the numbers of their files, and
/// their bytes.
fn overflow_records(disk: &Disk) -> Vec<(u32, &[u8])> {
    let leaf = &disk.0[disk.trees().1 + 512..][..512];
    let place = |slot: usize| usize::from(leaf.u16_be(510 - 2 * slot).unwrap());
    let count = usize::from(leaf.u16_be(10).unwrap());
    let records = (0..count).map(|slot| &leaf[place(slot)..place(slot + 1)]);
    records.map(|record| (record.u32_be(2).unwrap(), record)).collect()
}

#[test]
fn blocks_that_only_the_overflow_file_knows_are_kept() {
    let disk = Disk::new();
    // Of an ordinary file, in all three places of each record.
    let records = overflow_records(&disk);
    let of_file: Vec<_> = records.iter().filter(|(id, _)| *id >= 16).collect();
    assert!(of_file.len() > 5);
    for (_, record) in of_file {
        for at in [8, 12, 16] {
            let start = record.u16_be(at).unwrap();
            kept(&freed(&disk, start), start, &truth());
        }
    }
}

#[test]
fn bad_blocks_are_kept_and_are_of_no_file() {
    let disk = Disk::new();
    // One of which the bitmap knows nothing, behind the records of the catalog.
    let bitmap = &disk.0[usize::from(disk.0.u16_be(BLOCK + 14).unwrap()) * 512..];
    let is_free = |block: &u16| bitmap[usize::from(block / 8)] & (0x80 >> (block % 8)) == 0;
    let bad = (0..disk.0.u16_be(BLOCK + 18).unwrap()).filter(is_free).nth(3).unwrap();
    let record = [&[7, 0, 0, 0, 0, 5, 0, 0][..], &bad.to_be_bytes(), &[0, 1], &[0; 8]].concat();
    let records = overflow_records(&disk);
    let catalog = records.partition_point(|(id, _)| *id < 5);
    let mut records: Vec<&[u8]> = records.into_iter().map(|(_, record)| record).collect();
    records.insert(catalog, &record);
    let header = disk.trees().1;
    let next = disk.0.u32_be(header + 512).unwrap();
    let leaf = nodes::node(512, 0xff, next, &records);
    let more = disk.0.u32_be(header + 20).unwrap() + 1;
    let disk = disk.clone().put(header + 512, &leaf).put(header + 20, &more.to_be_bytes());
    let block = MasterDirectoryBlock::read(&Memory::new(disk.0.clone())).unwrap().unwrap();
    let mut truth = truth();
    truth.insert(block.blocks(bad, 1));
    kept(&disk, bad, &truth);
    // Mac OS says in the directory block that there are some.
    let attributes = disk.0.u16_be(BLOCK + 10).unwrap() | 1 << 9;
    let disk = disk.put(BLOCK + 10, &attributes.to_be_bytes());
    kept(&disk, bad, &truth);
    assert!(used(&disk).unwrap().notes[1].contains("a list of bad blocks"));
}

#[test]
fn a_changed_byte_never_frees_what_is_in_use() {
    let (disk, truth) = (Disk::new(), truth());
    let memory = Memory::new(disk.0.clone());
    let (catalog, overflow) = disk.trees();
    let places = (BLOCK..BLOCK + 162)
        .chain((BLOCK + 512..BLOCK + 512 + 200).step_by(7))
        .chain((catalog..catalog + 12 * 512).chain(overflow..overflow + 12 * 512).step_by(11));
    let mut proven = 0;
    for at in places {
        let (old, change) = (disk.0[at], [0x01, 0x80, 0xff, 0x10][at % 4]);
        memory.write_at(at as u64, &[old ^ change]).unwrap();
        if let Ok(found) = Hfs.used(&[&memory]) {
            let missing = truth.subtract(&found.extents);
            assert!(missing.is_empty(), "{at:#x} ^ {change:#x}: {missing:?}");
            proven += usize::from(found.whole.is_none());
        }
        memory.write_at(at as u64, &[old]).unwrap();
    }
    assert!(proven > 20, "{proven}");
    for len in (0..disk.0.len()).step_by(9973) {
        let cut = Memory::new(disk.0[..len].to_vec());
        assert!(
            Hfs.used(&[&cut]).is_ok_and(|used| used.whole.is_some()) || Hfs.used(&[&cut]).is_err()
        );
    }
}
