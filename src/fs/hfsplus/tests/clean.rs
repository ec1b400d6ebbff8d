// SPDX-License-Identifier: MIT OR Apache-2.0
//! Healthy volumes: the map is that of The Sleuth Kit, and so is the name.

use super::disk::{BLOCK, Disk, NAMES};
use crate::extent::{Extent, ExtentSet};
use crate::fs::Filesystem;
use crate::fs::hfsplus::file::Volume;
use crate::fs::hfsplus::overflow::SpecialFiles;
use crate::fs::hfsplus::used::map_within;
use crate::fs::hfsplus::volume_header::VolumeHeader;
use crate::fs::hfsplus::{HfsPlus, journal};
use crate::io::Memory;

#[test]
fn the_committed_disks_are_read_as_the_sleuth_kit_reads_them() {
    for name in NAMES {
        let disk = Disk::open(name);
        if name == "hfsplus-tiny-dirty" {
            disk.whole("its journal was not replayed");
            // What its folders call a file's may be another's.
            let error = disk.files().err().unwrap().to_string();
            assert!(error.contains("connect that to a Mac"), "{error}");
        } else {
            assert_eq!(disk.files().unwrap().notice(), None, "{name}");
            assert_eq!(disk.map(), disk.truth, "{name}");
        }
    }
}

#[test]
fn a_volume_is_known_by_name() {
    for (name, kind, clean) in [
        ("hfsplus-tiny", "HFS+", true),
        ("hfsplus-tiny-dirty", "HFS+", false),
        ("hfsplus-tiny-fragmented", "HFS+", true),
        ("hfsplus-tiny-wrapped", "HFS+ in HFS", true),
    ] {
        let disk = Disk::open(name);
        let identity = disk.identity();
        assert_eq!((identity.name.as_str(), identity.clean), (kind, clean), "{name}");
        assert_eq!(identity.label.as_deref(), Some("dacapo"), "{name}");
        // blkid says so of these 64 bits.
        let uuid = "de53349f-21ad-3c08-9044-ae10cd9587d3";
        assert_eq!(identity.uuid.as_deref(), Some(uuid), "{name}");
        assert!(identity.size <= disk.bytes.len() as u64);
        assert!(identity.size + 4096 > disk.bytes.len() as u64, "{name}: {}", identity.size);
    }
    assert_eq!(Disk::tiny().header(0x68, &[0; 8]).identity().uuid, None);
    let hfsx = Disk::tiny().header(0, b"HX\0\x05");
    assert_eq!(hfsx.identity().name, "HFSX");
    assert_eq!(hfsx.map(), hfsx.truth);
}

#[test]
fn what_is_not_clean_says_why() {
    for (field, value, words, sentence) in [
        (4, 0x8000_0000_u32, "not unmounted", "it was not ejected"),
        (4, 0x8000_0900, "has errors", "marked as having errors"),
        (4, 0x8000_4100, "has errors", "marked as having errors"),
        (8, u32::from_be_bytes(*b"FSK!"), "journal replay failed", "could not be replayed"),
    ] {
        let disk = Disk::tiny().header(field, &value.to_be_bytes());
        let identity = disk.identity();
        assert_eq!((identity.clean, identity.unclean.as_deref()), (false, Some(words)));
        disk.whole(sentence);
        assert!(disk.used().unwrap().advice.is_some());
        let notice = disk.files().unwrap().notice().unwrap();
        assert!(notice.contains(sentence) && notice.contains("may be old"), "{notice}");
    }
    let dirty = Disk::open("hfsplus-tiny-dirty");
    assert_eq!(dirty.identity().unclean.as_deref(), Some("journal not replayed"));
    let mut cut = Disk::tiny();
    cut.bytes.truncate(900 << 10);
    assert_eq!(cut.identity().unclean.as_deref(), Some("larger than its partition"));
    cut.corrupt("size of the HFS+ filesystem");
}

#[test]
fn the_known_attributes_are_no_reason_to_doubt() {
    // Locked by hardware and software, no cache, identifiers reused, blocks
    // spared; zeroing of nodes off.
    for attributes in [0x100_u32, 0x8000_0180, 0x8000_8100, 0x8000_0500, 0x8000_1100, 0x8000_0300] {
        let disk = Disk::tiny().header(4, &attributes.to_be_bytes());
        assert_eq!(disk.map(), disk.truth, "{attributes:#x}");
    }
    for attributes in [0x101_u32, 0x8001_0100, 0xa000_0100] {
        Disk::tiny().header(4, &attributes.to_be_bytes()).unsupported("unknown volume attributes");
    }
    Disk::tiny().header(4, &0xc000_0100_u32.to_be_bytes()).unsupported("content protection");
    Disk::tiny().header(2, &[0, 5]).unsupported("version 5");
    Disk::tiny().header(0, b"HX\0\x04").unsupported("version 4");
}

#[test]
fn what_lies_behind_the_volume_is_stored() {
    let mut disk = Disk::tiny();
    let len = disk.bytes.len() as u64;
    disk.bytes.extend([7; 5000]);
    let tail = Extent::new(len, len + 5000);
    assert_eq!(disk.map(), disk.truth.union(&tail.into()));
    // The copy of the header where the partition ends, within a block.
    let mut disk = Disk::tiny();
    let copy = disk.bytes.split_off(len as usize - 0x400);
    disk.bytes.extend([0; 0x200]);
    disk.bytes.extend(&copy);
    disk.map();
    // Two sectors further are more than a block of 512 bytes.
    let mut disk = Disk::tiny();
    let copy = disk.bytes.split_off(len as usize - 0x400);
    disk.bytes.extend([0; 0x400]);
    disk.bytes.extend(&copy);
    disk.corrupt("alternate volume header");
}

#[test]
fn the_ends_are_stored_whatever_the_bitmap_says() {
    // Block 2 has the header, the last but one its copy.
    let disk = Disk::tiny();
    let last = disk.bytes.len() / BLOCK - 2;
    let disk = disk.mark(2, false).mark(last, false).mark(0, false).free(3);
    assert_eq!(disk.map(), disk.truth);
}

#[test]
fn blocks_of_files_that_the_bitmap_calls_free_are_stored_with_a_note() {
    for name in ["hfsplus-tiny", "hfsplus-tiny-fragmented", "hfsplus-tiny-attributes"] {
        let disk = Disk::open(name);
        let metadata: ExtentSet = special_extents(&disk);
        let total = disk.bytes.len() / BLOCK;
        let mut seen = 0;
        for block in (3..total - 2).step_by(3) {
            let extent = Extent::at((block * BLOCK) as u64, BLOCK as u64);
            if metadata.touches(extent) || !disk.truth.covers(extent) {
                continue;
            }
            let less = disk.clone().mark(block, false).free(1);
            let used = less.used().unwrap();
            assert_eq!(used.whole, None);
            assert_eq!(used.extents, disk.truth, "{name}: block {block}");
            assert!(used.notes.iter().any(|note| note.contains("bitmap calls free")));
            seen += 1;
        }
        assert!(seen > 10, "{name}: {seen}");
    }
}

/// The bytes of special files and of the journal, which have to be marked.
fn special_extents(disk: &Disk) -> ExtentSet {
    let memory = disk.memory();
    let header = VolumeHeader::parse(&disk.bytes[0x400..0x600]).unwrap();
    let volume = Volume { reader: &memory, header: &header };
    let files = SpecialFiles::open(volume).unwrap();
    let mut extents: ExtentSet = files.all().iter().flat_map(|file| file.extents()).collect();
    if let journal::Journal::Empty(journal) = journal::Journal::read(&volume).unwrap() {
        extents.extend(journal);
    }
    extents
}

#[test]
fn special_files_and_the_journal_have_to_be_marked() {
    for name in ["hfsplus-tiny", "hfsplus-tiny-fragmented", "hfsplus-tiny-attributes"] {
        let disk = Disk::open(name);
        for extent in special_extents(&disk).iter() {
            for byte in [extent.start(), extent.end() - 1] {
                let less = disk.clone().mark(byte as usize / BLOCK, false).free(1);
                less.corrupt("blocks marked as in use");
            }
        }
    }
}

#[test]
fn bits_behind_the_last_block_mean_nothing() {
    // 2048 blocks have 256 bytes, the allocation file has 512.
    let disk = Disk::tiny();
    let at = disk.file(super::disk::ALLOCATION) + 256;
    let disk = disk.put(at, &[0xff; 256]);
    assert_eq!(disk.map(), disk.truth);
}

#[test]
fn a_map_in_many_passes_is_the_same() {
    for name in ["hfsplus-tiny", "hfsplus-tiny-fragmented", "hfsplus-tiny-attributes"] {
        let disk = Disk::open(name);
        let memory = disk.memory();
        let header = VolumeHeader::parse(&disk.bytes[0x400..0x600]).unwrap();
        let volume = Volume { reader: &memory, header: &header };
        let files = SpecialFiles::open(volume).unwrap();
        let whole = map_within(volume, &files, &[], 1 << 29).unwrap();
        for blocks in [8, 256, 1000, 2048] {
            let parts = map_within(volume, &files, &[], blocks).unwrap();
            assert_eq!(parts.extents, whole.extents, "{name}: {blocks}");
        }
    }
}

#[test]
fn nothing_is_not_hfs_plus() {
    for len in [0, 1, 1024, 2047, 2048, 4096] {
        assert_eq!(HfsPlus.probe(&[&Memory::zeros(len)]).unwrap(), None);
    }
    assert!(HfsPlus.used(&[&Memory::zeros(4096)]).is_err());
    assert!(HfsPlus.used(&[]).is_err());
    // Two letters alone, or with a block size that is none.
    for size in [0_u32, 256, 4095, 4097] {
        let disk = Disk::tiny().header(0x28, &size.to_be_bytes());
        assert_eq!(HfsPlus.probe(&[&disk.memory()]).unwrap(), None);
    }
}
