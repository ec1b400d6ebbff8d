// SPDX-License-Identifier: MIT OR Apache-2.0
//! One test per checked field: a disk from images/ with one field changed and
//! the checksum made right again.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Mutex;

use super::super::checksum;
use super::oracle::used;
use crate::io::Memory;
use crate::ondisk::{Fields as _, FormatError};

/// A disk from images/, unpacked once.
pub(super) fn disk(name: &str) -> Vec<u8> {
    static DISKS: Mutex<BTreeMap<String, Vec<u8>>> = Mutex::new(BTreeMap::new());
    let mut disks = DISKS.lock().unwrap();
    let unpack = || {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
        zstd::decode_all(fs::File::open(folder.join(format!("{name}.img.zst"))).unwrap()).unwrap()
    };
    disks.entry(name.to_owned()).or_insert_with(unpack).clone()
}

/// What is wrong with the disk: the structure or field.
fn what(bytes: Vec<u8>) -> String {
    match used(&Memory::new(bytes)) {
        Err(FormatError::Corrupt { what, .. }) => what.to_owned(),
        Err(FormatError::Unsupported(why)) => why,
        Err(FormatError::Io(error)) => error.to_string(),
        Ok(used) => used.whole.unwrap_or_else(|| "nothing".to_owned()),
    }
}

/// A structure of a disk: where it is, how long, and where its checksum is.
#[derive(Clone, Copy)]
struct Place {
    start: usize,
    len: usize,
    crc: usize,
}

const SUPERBLOCK: Place = Place { start: 0, len: 512, crc: 224 };
const AGF: Place = Place { start: 512, len: 512, crc: 216 };
const AGI: Place = Place { start: 1024, len: 512, crc: 312 };
const AGFL: Place = Place { start: 1536, len: 512, crc: 32 };

/// The root of a tree whose number is at `offset` of the AGF; 4 KiB blocks.
fn root(bytes: &[u8], offset: usize) -> Place {
    let block = bytes.u32_be(512 + offset).unwrap() as usize;
    Place { start: block * 4096, len: 4096, crc: 52 }
}

/// Changes a field and makes the checksum right.
fn set(bytes: &mut [u8], place: Place, offset: usize, value: &[u8]) {
    let start = place.start + offset;
    bytes[start..start + value.len()].copy_from_slice(value);
    let structure = &mut bytes[place.start..place.start + place.len];
    let crc = checksum::computed(structure, place.crc);
    structure[place.crc..place.crc + 4].copy_from_slice(&crc.to_le_bytes());
}

/// What is found when a field is changed.
fn changed(place: Place, offset: usize, value: &[u8]) -> String {
    let mut bytes = disk("xfs-tiny");
    set(&mut bytes, place, offset, value);
    what(bytes)
}

#[test]
fn the_disk_itself_is_fine() {
    assert_eq!(what(disk("xfs-tiny")), "nothing");
}

#[test]
fn every_field_of_the_superblock_is_checked() {
    for (offset, value, field) in [
        (4, &[0, 0, 0x10, 1][..], "sb_blocksize"),
        (8, &[0xFF; 8], "sb_dblocks"),
        (8, &[0, 0, 0, 0, 0, 0, 0, 1], "sb_dblocks"),
        (48, &[0xFF; 8], "sb_logstart"),
        (56, &[0xFF; 8], "sb_rootino"),
        (84, &[0, 0, 0, 1], "sb_agblocks"),
        (88, &[0, 0, 1, 0], "sb_dblocks"),
        (88, &[0; 4], "sb_dblocks"),
        (96, &[0xFF; 4], "sb_logblocks"),
        (102, &[3, 0], "sb_sectsize"),
        (104, &[0, 1], "sb_inodesize"),
        (124, &[1], "sb_agblklog"),
        (126, &[1], "sb_inprogress"),
        (178, &[2], "it has unknown flags 0x2"),
        (179, &[1], "it is shared"),
        (208, &[0, 0, 0, 1], "it has an unknown feature (sb_features_compat 0x1)"),
        (212, &[0, 0, 0x10, 0], "it has an unknown feature (sb_features_ro_compat 0x1000)"),
        (216, &[0, 0, 1, 1], "it has an unknown feature (sb_features_incompat 0x100)"),
        (220, &[0, 0, 0, 2], "it has an unknown feature (sb_features_log_incompat 0x2)"),
        (240, &[0x7F; 8], "sb_lsn"),
    ] {
        assert_eq!(changed(SUPERBLOCK, offset, value), field, "byte {offset}");
    }
    let mut bytes = disk("xfs-tiny");
    bytes[224] ^= 1;
    assert_eq!(what(bytes), "sb_crc");
    let mut bytes = disk("xfs-tiny");
    let incompat = bytes[219];
    set(&mut bytes, SUPERBLOCK, 219, &[incompat | 0x10]);
    assert_eq!(what(bytes), "it is marked for repair: the image is exact and complete");
    let none = changed(SUPERBLOCK, 48, &[0; 8]);
    assert!(none.starts_with("its log is on another device"), "{none}");
}

#[test]
fn every_field_of_the_headers_is_checked() {
    for (place, offset, value, field) in [
        (AGF, 0, &b"XAGI"[..], "agf_magicnum"),
        (AGF, 4, &[0, 0, 0, 2], "agf_versionnum"),
        (AGF, 8, &[0, 0, 0, 1], "agf_seqno"),
        (AGF, 12, &[0, 0, 0, 1], "agf_length"),
        (AGF, 16, &[0; 4], "agf_roots"),
        (AGF, 20, &[0xFF; 4], "agf_roots"),
        (AGF, 28, &[0; 4], "agf_roots"),
        (AGF, 32, &[0, 0, 0, 10], "agf_roots"),
        (AGF, 40, &[0, 0, 1, 0], "agf_flfirst"),
        (AGF, 44, &[0, 0, 1, 0], "agf_fllast"),
        (AGF, 48, &[0, 0, 0, 77], "agf_flcount"),
        (AGF, 52, &[0, 0, 0, 1], "agf_freeblks"),
        (AGF, 56, &[0, 0, 0, 1], "agf_longest"),
        (AGF, 60, &[0, 0, 0, 1], "agf_btreeblks"),
        (AGF, 64, &[0], "agf_uuid"),
        (AGF, 88, &[0; 4], "agf_refcount_root"),
        (AGF, 208, &[0x7F; 8], "agf_lsn"),
        (AGI, 0, b"XAGF", "agi_magicnum"),
        (AGI, 4, &[0, 0, 0, 2], "agi_versionnum"),
        (AGI, 8, &[0, 0, 0, 1], "agi_seqno"),
        (AGI, 12, &[0, 0, 0, 1], "agi_length"),
        (AGI, 20, &[0; 4], "agi_root"),
        (AGI, 296, &[0], "agi_uuid"),
        (AGI, 320, &[0x7F; 8], "agi_lsn"),
        (AGI, 328, &[0xFF; 4], "agi_free_root"),
        (AGFL, 0, b"XAGF", "agfl_magicnum"),
        (AGFL, 4, &[0, 0, 0, 1], "agfl_seqno"),
        (AGFL, 8, &[0], "agfl_uuid"),
        (AGFL, 24, &[0x7F; 8], "agfl_lsn"),
    ] {
        assert_eq!(changed(place, offset, value), field, "byte {offset} of {field}");
    }
    for (place, field) in [(AGF, "agf_crc"), (AGI, "agi_crc"), (AGFL, "agfl_crc")] {
        let mut bytes = disk("xfs-tiny");
        bytes[place.start + place.crc] ^= 1;
        assert_eq!(what(bytes), field);
    }
    // All entries, so that the ones in the ring are among them.
    assert_eq!(changed(AGFL, 36, &[0xFF; 476]), "agfl_bno");
    let mut bytes = disk("xfs-tiny");
    let bno = bytes[528..532].repeat(119);
    set(&mut bytes, AGFL, 36, &bno);
    assert_eq!(what(bytes), "metadata block");
}

#[test]
fn every_field_of_the_trees_is_checked() {
    let tiny = disk("xfs-tiny");
    let (place, size) = (root(&tiny, 16), root(&tiny, 20));
    let first = &tiny[place.start + 56..place.start + 64];
    let mut longer = first.to_vec();
    longer[7] ^= 1;
    for (offset, value, field) in [
        (0, &b"ABTB"[..], "bb_magic"),
        (4, &[0, 1], "bb_level"),
        (6, &[0xFF, 0xFF], "bb_numrecs"),
        (8, &[0, 0, 0, 9], "bb_leftsib"),
        (12, &[0, 0, 0, 9], "bb_rightsib"),
        (16, &[0, 0, 0, 0, 0, 0, 0, 1], "bb_blkno"),
        (24, &[0x7F; 8], "bb_lsn"),
        (32, &[0], "bb_uuid"),
        (48, &[0, 0, 0, 7], "bb_owner"),
        (56, &[0; 4], "free range"),
        (60, &[0; 4], "free range"),
        (60, &[0x7F; 4], "free range"),
        (56, &longer, "free-space tree by length"),
    ] {
        assert_eq!(changed(place, offset, value), field, "byte {offset} of the tree by place");
        if offset != 56 && offset != 60 {
            assert_eq!(changed(size, offset, value), field, "byte {offset} of the tree by length");
        }
    }
    for place in [place, size] {
        let mut bytes = tiny.clone();
        bytes[place.start + 52] ^= 1;
        assert_eq!(what(bytes), "bb_crc");
    }
    let mut bytes = tiny;
    set(&mut bytes, size, 6, &[0, 0]);
    assert_eq!(what(bytes), "free-space tree by length");
}

#[test]
fn a_tree_that_leads_back_to_itself_ends() {
    let mut bytes = disk("xfs-tiny");
    let place = root(&bytes, 16);
    let number = bytes[528..532].to_vec();
    set(&mut bytes, AGF, 28, &[0, 0, 0, 2]);
    // A root above leaves, with itself as the only leaf.
    set(&mut bytes, place, 4, &[0, 1, 0, 1]);
    let pointer = 56 + (4096 - 56) / 12 * 8;
    set(&mut bytes, place, pointer, &number);
    assert_eq!(what(bytes), "bb_level");
}

#[test]
fn copies_of_the_superblock_have_to_agree() {
    let tiny = disk("xfs-tiny");
    let blocks = tiny.u32_be(84).unwrap() as usize;
    let copy = Place { start: blocks * 4096, ..SUPERBLOCK };
    for (offset, value, field) in [
        (0, &b"XAGF"[..], "sb_magicnum"),
        (4, &[0, 0, 8, 0], "sb_blocksize"),
        (8, &[1; 8], "sb_dblocks"),
        (48, &[1; 8], "sb_logstart"),
        (84, &[1; 4], "sb_agblocks"),
        (88, &[1; 4], "sb_agcount"),
        (96, &[1; 4], "sb_logblocks"),
        (102, &[4, 0], "sb_sectsize"),
    ] {
        assert_eq!(changed(copy, offset, value), field, "byte {offset}");
    }
    let mut bytes = tiny;
    bytes[copy.start + 300] ^= 1;
    assert_eq!(what(bytes), "sb_crc");
}

#[test]
fn blocks_in_use_must_not_be_free() {
    // The root folder's inode, and the log, moved to where the tree has free blocks.
    let tiny = disk("xfs-tiny");
    let tree = root(&tiny, 16);
    let count = usize::from(tiny[tree.start + 7]);
    let last = tree.start + 56 + (count - 1) * 8;
    let first = tiny.u32_be(last).unwrap();
    let inode = u64::from(first) << tiny[123];
    assert_eq!(changed(SUPERBLOCK, 56, &inode.to_be_bytes()), "free-space tree");
    assert_eq!(changed(AGI, 20, &first.to_be_bytes()), "free-space tree");
    assert_eq!(changed(AGF, 88, &first.to_be_bytes()), "free-space tree");
}
