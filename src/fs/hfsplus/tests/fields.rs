// SPDX-License-Identifier: MIT OR Apache-2.0
//! Header, forks, journal and wrapper: one change for each thing that is
//! checked.

use super::disk::{ALLOCATION, ATTRIBUTES, CATALOG, Disk, OVERFLOW};
use crate::fs::Filesystem;
use crate::fs::hfsplus::HfsPlus;
use crate::fs::hfsplus::journal::checksum;
use crate::ondisk::Fields;

#[test]
fn counts_have_to_agree() {
    Disk::tiny().free(1).corrupt("freeBlocks");
    Disk::tiny().free(-1).corrupt("freeBlocks");
    Disk::tiny().mark(1500, true).corrupt("freeBlocks");
    // A block more than the partition has.
    Disk::tiny().header(0x2c, &2049_u32.to_be_bytes()).corrupt("size of the HFS+ filesystem");
    Disk::tiny().header(0x2c, &[0; 4]).corrupt("size of the HFS+ filesystem");
}

#[test]
fn the_copy_has_to_agree() {
    let end = Disk::tiny().bytes.len() - 0x400;
    for (at, value, what) in [
        (0, b"HX".as_slice(), "signature"),
        (2, &[0, 6], "signature"),
        (0x10, &[1, 2, 3, 4], "date of creation"),
        (0x28, &[0, 0, 4, 0], "number and size of blocks"),
        (0x2c, &[0, 0, 7, 0xff], "number and size of blocks"),
        (ALLOCATION + 6, &[4, 0], "place of the allocation file"),
        (ALLOCATION + 16, &[0, 0, 0, 9], "place of the allocation file"),
        (0, b"XX", "a copy of the volume header"),
    ] {
        Disk::tiny().put(end + at, value).corrupt(what);
    }
    // Counts, dates and what the catalog has grown to are older there.
    for (at, value) in [(0x14, [9; 4]), (0x20, [9; 4]), (0x30, [9; 4]), (CATALOG + 16, [9; 4])] {
        let disk = Disk::tiny().put(end + at, &value);
        assert_eq!(disk.map(), disk.truth);
    }
}

#[test]
fn forks_have_to_make_sense() {
    let fork = |fork, at, value: u32| Disk::tiny().header(fork + at, &value.to_be_bytes());
    // Longer than its blocks, fewer blocks than its extents, more of them.
    for (special, name) in [
        (ALLOCATION, "allocation file"),
        (OVERFLOW, "extents overflow file"),
        (CATALOG, "catalog file"),
        (ATTRIBUTES, "attributes file"),
    ] {
        fork(special, 4, 1 << 20).corrupt(name);
        fork(special, 12, 0).corrupt(name);
        fork(special, 12, 60).corrupt(name);
        fork(special, 16, 2048).corrupt(name);
        fork(special, 20, u32::MAX).corrupt(name);
        // The second extent, behind an empty first one.
        fork(special, 20, 0).header(special + 28, &[0, 0, 0, 1]).corrupt(name);
    }
    // Too short for the bits that are needed.
    fork(ALLOCATION, 4, 255).corrupt("256 bytes for 2048 blocks");
    assert_eq!(fork(ALLOCATION, 4, 256).map(), Disk::tiny().truth);
    // Without an attributes file there is nothing to read.
    let none = Disk::tiny().header(ATTRIBUTES, &[0; 80]);
    assert_eq!(none.map(), none.truth);
}

/// The disk with an empty journal in little-endian order.
fn journaled() -> Disk {
    Disk::open("hfsplus-tiny-fragmented")
}

/// Where the journal's info block and the journal are.
fn places(disk: &Disk) -> (usize, usize) {
    let info = disk.word(0x40c) as usize * super::disk::BLOCK;
    (info, disk.bytes.u64_be(info + 36).unwrap() as usize)
}

/// Changes a field of the journal's header and makes its checksum right again.
fn journal(at: usize, bytes: &[u8]) -> Disk {
    let disk = journaled();
    let (_, journal) = places(&disk);
    let disk = disk.put(journal + at, bytes);
    let sum = checksum(&disk.bytes[journal..][..44]);
    disk.put(journal + 36, &sum.to_le_bytes())
}

#[test]
fn a_journal_has_to_be_empty_and_whole() {
    let (info, start) = places(&journaled());
    let size = journaled().bytes.u64_be(info + 44).unwrap();
    assert_eq!(journal(0, &[]).map(), journaled().truth);
    // The end elsewhere; the start at the end of the buffer, which is its start.
    journal(16, &4096_u64.to_le_bytes()).whole("its journal was not replayed");
    let both = [size.to_le_bytes(), 512_u64.to_le_bytes()].concat();
    assert_eq!(journal(8, &both).map(), journaled().truth);
    journal(16, &(size + 1).to_le_bytes()).corrupt("a log behind the header");
    journal(8, &100_u64.to_le_bytes()).corrupt("a log behind the header");
    journal(24, &(size + 512).to_le_bytes()).corrupt("as in the journal info block");
    journal(40, &10_u32.to_le_bytes()).corrupt("a log behind the header");
    journaled().put(start + 17, &[1]).corrupt("a checksum of");
    journaled().put(start, b"JNLY").corrupt("its magic");
    journaled().put(start + 4, &[0]).corrupt("its magic");
    journaled().put(start, b"JHDR").unsupported("Mac OS X 10.2");
    // Its info block.
    let flags = |flags: u32| journaled().put(info, &flags.to_be_bytes());
    flags(2).whole("its journal is on another device");
    flags(0).corrupt("a journal within the volume");
    flags(9).unsupported("a journal with flags");
    assert_eq!(flags(5).put(start, &[0xee; 512]).map(), journaled().truth);
    journaled().put(info + 44, &(1_u64 << 40).to_be_bytes()).corrupt("a journal within");
    journaled().put(info + 36, &u64::MAX.to_be_bytes()).corrupt("a journal within");
    journaled().put(info + 36, &[0; 8]).corrupt("a journal within");
    journaled().header(0xc, &[0; 4]).corrupt("journal info block");
    journaled().header(0xc, &[0xff; 4]).corrupt("journal info block");
    // A volume that is not journaled may have the files of a journal.
    let plain = Disk::open("hfsplus-tiny-dirty").header(4, &0x8000_0100_u32.to_be_bytes());
    assert_eq!(plain.map(), plain.truth);
}

#[test]
fn a_wrapper_has_to_hold_its_volume() {
    let wrapped = || {
        let disk = Disk::open("hfsplus-tiny-wrapped");
        Disk { start: 0, ..disk }
    };
    assert_eq!(wrapped().map(), wrapped().truth);
    wrapped().put(0x414, &[0, 0, 16, 1]).corrupt("drAlBlkSiz");
    wrapped().put(0x414, &[0; 4]).corrupt("drAlBlkSiz");
    wrapped().put(0x480, &[0, 0]).corrupt("drEmbedExtent");
    wrapped().put(0x480, &[0xff, 0xff]).corrupt("drEmbedExtent");
    wrapped().put(0x412, &[0, 9]).corrupt("drEmbedExtent");
    // Elsewhere, there is no header.
    wrapped().put(0x47e, &[0, 7]).corrupt("volume header of an embedded HFS+");
    assert!(HfsPlus.probe(&[&wrapped().put(0x47e, &[0, 7]).memory()]).is_err());
    // HFS alone is another's.
    let hfs = wrapped().put(0x47c, &[0, 0]);
    assert_eq!(HfsPlus.probe(&[&hfs.memory()]).unwrap(), None);
}
