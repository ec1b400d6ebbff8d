// SPDX-License-Identifier: MIT OR Apache-2.0
//! Who a volume is.

use crate::fs::Filesystem as _;
use crate::fs::hfs::{Hfs, MasterDirectoryBlock};
use crate::io::{Memory, WriteAt as _};

fn with(fields: &[(u64, &[u8])]) -> Memory {
    let disk = Memory::new(vec![0; 1 << 20]);
    for (offset, field) in fields {
        disk.write_at(*offset, field).unwrap();
    }
    disk
}

#[test]
fn two_letters_are_not_enough() {
    let is_hfs = |fields: &[(u64, &[u8])]| Hfs.probe(&[&with(fields)]).unwrap().is_some();
    assert!(!is_hfs(&[(0x400, b"BD")]));
    assert!(!is_hfs(&[(0x400, b"BD"), (0x414, &[0, 0, 2, 1])]));
    let hfs: [(u64, &[u8]); 2] = [(0x400, b"BD"), (0x414, &[0, 0, 2, 0])];
    assert!(is_hfs(&hfs));
    assert!(!is_hfs(&[hfs[0], hfs[1], (0x47c, b"H+")]));
    assert!(Hfs.probe(&[&Memory::new(Vec::new())]).unwrap().is_none());
}

#[test]
fn labels_are_roman() {
    let disk = with(&[
        (0x400, b"BD"),
        (0x412, &[0, 100]),
        (0x414, &[0, 0, 4, 0]),
        (0x41c, &[0, 8]),
        (0x424, b"\x03a\x8ecd"),
    ]);
    let identity = Hfs.probe(&[&disk]).unwrap().unwrap();
    assert_eq!(identity.label.as_deref(), Some("a\u{e9}c"));
    let block = MasterDirectoryBlock::read(&disk).unwrap().unwrap();
    assert_eq!(block.end(), 8 * 512 + 100 * 1024 + 1024);
}
