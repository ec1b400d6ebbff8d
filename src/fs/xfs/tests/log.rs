// SPDX-License-Identifier: MIT OR Apache-2.0
//! The log of disks from images/: clean, to be replayed, damaged.

use serde_json::Value;

use super::super::Xfs;
use super::super::log::{Head, Log};
use super::super::superblock::Superblock;
use super::super::volume::Volume;
use super::hostile::disk;
use super::oracle::used;
use crate::extent::{Extent, ExtentSet};
use crate::fs::Filesystem as _;
use crate::io::Memory;

const DIRTY: [&str; 2] = ["xfs-tiny-dirty", "xfs-tiny-dirty-rmapbt"];

fn ranges(value: &Value) -> ExtentSet {
    let number = |value: &Value| value.as_u64().unwrap();
    let pairs = value.as_array().map(Vec::as_slice).unwrap_or_default();
    pairs.iter().map(|pair| Extent::at(number(&pair[0]), number(&pair[1]))).collect()
}

/// The end of a disk's log, and the byte at which the log starts.
fn head(bytes: &[u8]) -> (Head, u64) {
    let memory = Memory::new(bytes.to_vec());
    let block = super::super::read_superblock(&memory).unwrap().unwrap();
    let superblock = Superblock::parse(&block, bytes.len() as u64).unwrap();
    let volume = Volume::new(&memory, &superblock.geometry);
    (Log::new(&volume).head().unwrap(), superblock.geometry.log().start())
}

#[test]
fn the_committed_disks_are_read_as_their_makers_say() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("images");
    for name in ["xfs-tiny", "xfs-tiny-v4", "xfs-tiny-rmapbt", DIRTY[0], DIRTY[1]] {
        let facts = std::fs::read(folder.join(format!("{name}.facts.json"))).unwrap();
        let facts: Value = serde_json::from_slice(&facts).unwrap();
        let memory = Memory::new(disk(name));
        let map = used(&memory).unwrap();
        assert_eq!(map.whole, None, "{name}");
        let (before, after) = (ranges(&facts["used"]), ranges(&facts["used_after_replay"]));
        assert!(!before.is_empty());
        let both = before.union(&after);
        assert_eq!(both.subtract(&map.extents), ExtentSet::new(), "{name}");
        let identity = Xfs.probe(&[&memory]).unwrap().unwrap();
        assert_eq!(identity.uuid.as_deref(), facts["uuid"].as_str());
        assert_eq!(identity.clean, after.is_empty(), "{name}");
        if after.is_empty() {
            // Only the blocks of the AGFL are more.
            assert!(map.extents.bytes() <= before.bytes() + 65536, "{name}");
        } else {
            assert_ne!(both, before, "{name} has nothing to replay");
            assert_eq!(map.notes.len(), 1, "{name}");
        }
    }
}

#[test]
fn damage_in_what_has_to_be_replayed_stores_all() {
    for name in DIRTY {
        let bytes = disk(name);
        let (head, start) = head(&bytes);
        assert!(!head.is_clean);
        let tail = head.tail_lsn & 0xFFFF_FFFF;
        let live = (head.block - tail) * 512;
        assert!(live > 2048, "{name}: {live} bytes are live");
        let first = start + tail * 512;
        let unchanged = used(&Memory::new(bytes.clone())).unwrap();
        let mut seen = 0;
        for step in 0..40 {
            let at = (first + step * live / 40) as usize;
            let mut changed = bytes.clone();
            changed[at + 5] ^= 0x40;
            let map = used(&Memory::new(changed)).unwrap();
            if map.whole.is_none() {
                // A byte of a header that has no meaning.
                assert_eq!(map.extents, unchanged.extents, "{name}: a change at {at:#x}");
                continue;
            }
            assert!(map.advice.is_some());
            assert_eq!(map.extents.bytes(), bytes.len() as u64);
            seen += 1;
        }
        assert!(seen >= 25, "{name}: {seen} of 40 changes were seen");
    }
}

#[test]
fn an_unmount_is_what_makes_a_log_clean() {
    let mut bytes = disk("xfs-tiny-v4");
    let (head, start) = head(&bytes);
    assert!(head.is_clean);
    // The flags of the one operation in the record in front of the end.
    let at = (start + (head.block - 1) * 512) as usize + 9;
    assert_eq!(bytes[at], 0x20);
    bytes[at] = 0x10;
    let map = used(&Memory::new(bytes)).unwrap();
    assert!(map.whole.unwrap().contains("version 4"));
}

#[test]
fn a_log_that_belongs_to_another_filesystem_is_corrupt() {
    let mut bytes = disk("xfs-tiny-v4");
    let (head, start) = head(&bytes);
    let at = (start + (head.block - 2) * 512) as usize + 304;
    bytes[at] ^= 1;
    assert!(used(&Memory::new(bytes)).unwrap_err().to_string().starts_with("h_fs_uuid"));
    let mut bytes = disk("xfs-tiny-v4");
    bytes[start as usize..start as usize + 4096].fill(0);
    assert!(used(&Memory::new(bytes)).is_err(), "a log of zeros");
}
