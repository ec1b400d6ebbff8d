// SPDX-License-Identifier: MIT OR Apache-2.0
//! B-trees and their records: one change for each thing that is checked.

use super::disk::{ATTRIBUTES, CATALOG, Disk, OVERFLOW};
use crate::ondisk::Fields;

/// The nodes of the catalog of the tiny disk: 1 to 3 are leaves, 4 is their
/// index.
const NODE: usize = 4096;

fn catalog(node: usize, at: usize, bytes: &[u8]) -> Disk {
    let disk = Disk::tiny();
    let start = disk.file(CATALOG) + node * NODE;
    disk.put(start + at, bytes)
}

#[test]
fn the_header_node_has_to_make_sense() {
    for (at, bytes, what) in [
        (8, [0].as_slice(), "a header node"),
        (7, &[1], "a header node"),
        (11, &[4], "a header node"),
        (0x20, &[0, 1], "a node size"),
        (0x20, &[0, 0], "a node size"),
        (0x20, &[0x20, 0x01], "a node size"),
        (0x24, &[0, 0, 0, 0], "as many nodes as fit"),
        (0x24, &[0, 0, 0, 7], "as many nodes as fit"),
        (0x28, &[0, 0, 0, 0], "free nodes"),
        (0x14, &[0, 0, 0, 1], "the sum of all leaves"),
        (0x18, &[0, 0, 0, 2], "a chain of 3 leaves"),
        (0x18, &[0, 0, 0, 0], "a chain of 3 leaves"),
        (0x18, &[0, 0, 0, 4], "a leaf that is in use"),
        (0x18, &[0xff; 4], "a leaf that is in use"),
        (0x1c, &[0, 0, 0, 2], "a chain of 3 leaves"),
    ] {
        catalog(0, at, bytes).corrupt(what);
    }
    catalog(0, 0x37, &[3]).unsupported("not closed properly");
    catalog(0, 0x37, &[4]).unsupported("a B-tree of type 0 with attributes 0x4");
    catalog(0, 0x37, &[14]).unsupported("with attributes 0xe");
    catalog(0, 0x32, &[128]).unsupported("a B-tree of type 128");
    // More nodes than there is memory for.
    let big = catalog(0, 0x24, &[1, 0, 0, 0]).header(CATALOG, &[0x10, 0, 0, 0]);
    assert!(big.used().is_err());
}

#[test]
fn the_map_of_nodes_has_to_agree_with_the_nodes() {
    // Node 5 is free: marking it makes a node of zeros one in use.
    catalog(0, 248, &[0xfc]).put(0, &[]).corrupt("free nodes");
    let free = |value: u8| catalog(0, 0x2b, &[value]);
    let start = Disk::tiny().file(CATALOG);
    free(0).put(start + 248, &[0xfc]).corrupt("a node in use with records");
    // Leaf 2 free: the chain then leads to a node that is not in use.
    free(2).put(start + 248, &[0xd8]).corrupt("a leaf that is in use");
    // A leaf that the chain does not pass.
    let leaf = Disk::tiny().bytes[start + NODE..][..NODE].to_vec();
    free(0).put(start + 248, &[0xfc]).put(start + 5 * NODE, &leaf).corrupt("a chain of 4 leaves");
}

#[test]
fn a_loop_in_the_chain_ends() {
    for (node, next) in [(1, 1), (2, 1), (3, 1), (3, 2), (3, 3)] {
        catalog(node, 0, &[0, 0, 0, next]).corrupt("a chain of");
    }
    catalog(2, 0, &[0; 4]).corrupt("a chain of 3 leaves");
    catalog(1, 0, &[0, 0, 0, 3]).corrupt("a chain of 3 leaves");
}

#[test]
fn nodes_and_records_have_to_make_sense() {
    catalog(1, 8, &[7]).corrupt("a node in use with records");
    catalog(1, 8, &[1]).corrupt("a node in use with records");
    catalog(1, 10, &[0, 0]).corrupt("a node in use with records");
    catalog(1, 10, &[0xff, 0xff]).corrupt("record 0 at 14");
    catalog(1, NODE - 2, &[0, 15]).corrupt("record 0 at 14");
    catalog(1, NODE - 4, &[0, 14]).corrupt("record 1 at 14");
    catalog(1, NODE - 4, &[0xff, 0xff]).corrupt("record 1 at 14");
    // A leaf that says it is an index is missed by the chain.
    catalog(1, 8, &[0]).corrupt("a leaf that is in use");
    // A key longer than its record; a record of an unknown kind.
    catalog(1, 14, &[0xff, 0xff]).corrupt("a key and data");
    let key =
        usize::from(Disk::tiny().bytes.u16_be(Disk::tiny().file(CATALOG) + NODE + 14).unwrap());
    let data = 14 + 2 + key.next_multiple_of(2);
    catalog(1, data, &[0, 9]).corrupt("a folder, file or thread");
    catalog(1, data, &[0, 2]).corrupt("a folder, file or thread");
}

/// The places of file records in a leaf of the catalog.
fn files(disk: &Disk) -> Vec<usize> {
    let start = disk.file(CATALOG);
    let mut found = Vec::new();
    for node in 1..=3 {
        let node = start + node * NODE;
        let count = usize::from(disk.bytes.u16_be(node + 10).unwrap());
        for slot in 0..count {
            let at = node + usize::from(disk.bytes.u16_be(node + NODE - 2 - 2 * slot).unwrap());
            let data = at + 2 + usize::from(disk.bytes.u16_be(at).unwrap()).next_multiple_of(2);
            if disk.bytes.u16_be(data) == Some(2) {
                found.push(data);
            }
        }
    }
    found
}

#[test]
fn forks_of_files_have_to_make_sense() {
    let disk = Disk::tiny();
    let files = files(&disk);
    assert!(files.len() > 20);
    for file in files.into_iter().step_by(5) {
        for fork in [file + 88, file + 168] {
            let put = |at: usize, value: u32| disk.clone().put(fork + at, &value.to_be_bytes());
            put(12, 2000).corrupt("record of the catalog");
            put(20, 3000).corrupt("record of the catalog");
            put(0, 1).corrupt("record of the catalog");
        }
    }
}

#[test]
fn the_overflow_file_has_to_have_what_the_catalog_misses() {
    let disk = Disk::open("hfsplus-tiny-fragmented");
    let node = disk.file(OVERFLOW) + 512;
    let count = usize::from(disk.bytes.u16_be(node + 10).unwrap());
    let (mut special, mut users) = (0, 0);
    for slot in 0..count {
        let at = node + usize::from(disk.bytes.u16_be(node + 512 - 2 - 2 * slot).unwrap());
        let put = |offset: usize, bytes: &[u8]| disk.clone().put(at + offset, bytes);
        let id = disk.bytes.u32_be(at + 4).unwrap();
        put(0, &[0, 11]).corrupt("a key of 10 bytes");
        put(2, &[1]).corrupt("a file that may have a record");
        put(4, &[0, 0, 0, 3]).corrupt("a file that may have a record");
        put(4, &[0, 0, 0, 15]).corrupt("a file that may have a record");
        put(12, &[0xff; 8]).corrupt("record of the extents overflow file");
        put(12, &[0; 64]).corrupt("extents");
        // The first extent one block shorter: blocks are missing.
        let shorter = disk.bytes.u32_be(at + 16).unwrap() - 1;
        let shorter = |disk: &Disk| disk.clone().put(at + 16, &shorter.to_be_bytes());
        match id {
            5 => continue,
            0..16 => {
                special += 1;
                assert!(shorter(&disk).used().is_err());
                put(8, &[0, 0, 0, 1]).corrupt("extents from its block");
            }
            _ => {
                users += 1;
                assert!(shorter(&disk).used().is_err());
                // The blocks of another file are none of this one.
                put(4, &(id + 1).to_be_bytes()).corrupt("the blocks of every file");
                put(2, &[0xff]).corrupt("the blocks of every file");
            }
        }
    }
    assert!(special >= 2 && users >= 1, "{special} {users}");
}

#[test]
fn the_records_of_attributes_have_to_make_sense() {
    let disk = Disk::open("hfsplus-tiny-attributes");
    let node = disk.file(ATTRIBUTES) + NODE;
    let count = usize::from(disk.bytes.u16_be(node + 10).unwrap());
    let mut kinds = Vec::new();
    for slot in 0..count {
        let at = node + usize::from(disk.bytes.u16_be(node + NODE - 2 - 2 * slot).unwrap());
        let data = at + 2 + usize::from(disk.bytes.u16_be(at).unwrap()).next_multiple_of(2);
        let kind = disk.bytes.u32_be(data).unwrap();
        kinds.push(kind);
        let put = |offset: usize, bytes: &[u8]| disk.clone().put(data + offset, bytes);
        put(0, &[0, 0, 0, 0x40]).corrupt("data, a fork or extents");
        match kind {
            0x20 => {
                put(8 + 12, &[0, 0, 0, 22]).corrupt("the blocks of every file");
                put(8 + 12, &[0, 0, 0, 7]).corrupt("record of the attributes file");
                put(8 + 16, &[0xff; 4]).corrupt("record of the attributes file");
            }
            0x30 => {
                put(8 + 4, &[0, 0, 0, 2]).corrupt("the blocks of every file");
                put(8, &[0xff; 4]).corrupt("record of the attributes file");
            }
            _ => {}
        }
    }
    assert_eq!(kinds, [0x10, 0x20, 0x30, 0x30]);
}
