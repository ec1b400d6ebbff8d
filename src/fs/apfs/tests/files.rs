// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of containers: what is in them, and what damage does to them.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::super::Apfs;
use super::super::object::checksum;
use super::disk::{BLOCK, Disk, tiny, with_snapshot};
use crate::fs::conformance::examine;
use crate::fs::files::{Files, Node};
use crate::fs::{Filesystem, Identity};
use crate::io::Memory;
use crate::ondisk::{Fields, FormatError};

fn open(disk: &Disk) -> Result<Box<dyn Files>, FormatError> {
    let files = Apfs.files(&[Arc::new(Memory::new(disk.bytes.clone()))])?;
    files.ok_or_else(|| FormatError::unsupported("not an APFS container"))
}

fn names(files: &dyn Files, folder: Node) -> Vec<String> {
    let mut names = Vec::new();
    let each = &mut |entry: Result<crate::fs::files::DirectoryEntry, FormatError>| {
        names.push(String::from_utf8(entry.unwrap().name).unwrap());
        ControlFlow::Continue(())
    };
    files.list(folder, each).unwrap();
    names.sort();
    names
}

#[test]
fn volumes_are_folders_with_the_files_of_the_newest_checkpoint() {
    let files = open(&tiny()).unwrap();
    assert_eq!(names(files.as_ref(), files.root()), ["Music"]);
    assert_eq!(files.notice(), None);
    let volume = files.lookup(files.root(), b"MUSIC").unwrap().unwrap();
    assert_eq!(volume.name, b"Music");
    // A deleted one is not among them.
    assert_eq!(names(files.as_ref(), volume.node), ["one.bin", "pieces.bin", "small.txt"]);
    let pieces = files.lookup(volume.node, b"pieces.bin").unwrap().unwrap();
    assert!(files.places(pieces.node).unwrap().unwrap().iter().count() > 1);
    let files = open(&with_snapshot()).unwrap();
    let volume = files.lookup(files.root(), b"Music").unwrap().unwrap();
    assert_eq!(names(files.as_ref(), volume.node), ["one.bin", "pieces.bin", "small.txt"]);
}

#[test]
fn volumes_that_are_not_read_say_why() {
    const ENCRYPTED: &[u8] = &[0];
    for (offset, value, why) in [
        (0x108, ENCRYPTED, "encrypted"),
        (0x38, &[0x21], "sealed"),
        (0x38, &[0x11], "was not finished"),
        (0x39, &[0x40], "unknown features"),
        (0xa0, &[1], "goes back to a snapshot"),
        (0x77, &[0x40], "unknown type"),
    ] {
        let mut disk = tiny();
        disk.put(disk.volume, offset, value);
        let error = open(&disk).err().unwrap();
        let error = error.to_string();
        assert!(error.contains("\"Music\"") && error.contains(why), "{error}");
        assert_eq!(disk.identity().as_ref().map(|it: &Identity| it.name.as_str()), Some("APFS"));
    }
}

/// The blocks that are objects with a right checksum.
fn objects(disk: &Disk) -> Vec<usize> {
    let blocks = disk.bytes.chunks_exact(BLOCK).enumerate();
    let is_object =
        |block: &[u8]| block.u64_le(0) == Some(checksum(block)) && block.u64_le(8) != Some(0);
    blocks.filter(|(_, block)| is_object(block)).map(|(number, _)| number).collect()
}

#[test]
fn changed_bytes_with_right_checksums_are_survived() {
    for disk in [tiny(), with_snapshot()] {
        let (mut opened, mut whole) = (0, 0);
        for block in objects(&disk) {
            let used = disk.bytes[block * BLOCK..][..BLOCK].iter();
            let places: Vec<usize> = used
                .enumerate()
                .filter(|(at, byte)| **byte != 0 && *at > 8)
                .map(|it| it.0)
                .collect();
            for (n, at) in places.into_iter().enumerate().step_by(3) {
                let mut changed = disk.clone();
                let byte = changed.bytes[block * BLOCK + at];
                changed.put(block, at, &[byte ^ [0x01, 0x80, 0xff, 0x10][n / 3 % 4]]);
                if let Ok(files) = open(&changed) {
                    opened += 1;
                    whole += examine(files.as_ref(), changed.bytes.len() as u64, 50);
                }
            }
        }
        assert!(opened > 300 && whole > opened, "{opened} opened, {whole} nodes whole");
    }
}

#[test]
fn content_is_never_that_of_blocks_that_are_not_its_own() {
    // Nodes of the tree of files, each with a checksum that is not right.
    let disk = tiny();
    let is_of_files = |block: &usize| disk.bytes.u32_le(block * BLOCK + 0x1c) == Some(0x0e);
    let nodes: Vec<usize> = objects(&disk).into_iter().filter(is_of_files).collect();
    assert!(!nodes.is_empty());
    let mut disk = disk.clone();
    for block in nodes {
        disk.set(block, BLOCK - 60, &[0xa5]);
    }
    let files = open(&disk).unwrap();
    let volume = files.lookup(files.root(), b"Music").unwrap().unwrap();
    let error = files.list(volume.node, &mut |_| ControlFlow::Continue(())).unwrap_err();
    assert!(error.to_string().contains("checksum"), "{error}");
}
