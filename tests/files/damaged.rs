// SPDX-License-Identifier: MIT OR Apache-2.0
//! Files of damaged filesystems: every disk in `images/` with changed bytes and
//! cut short. Nothing panics, everything ends, and what is read is right where
//! checksums say so.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::ControlFlow;
use std::sync::Arc;

use dacapo::error::Result;
use dacapo::fs::FILESYSTEMS;
use dacapo::fs::conformance::examine;
use dacapo::fs::files::{Files, Node, NodeKind};
use dacapo::io::{ReadAt, check_range};

use crate::support::{all, temp_dir};
use crate::sweep::interesting;
use crate::variants::{Variant, committed};

/// A disk cut short, with one changed byte.
struct Changed {
    disk: Arc<Vec<u8>>,
    len: usize,
    at: usize,
    flip: u8,
}

impl ReadAt for Changed {
    fn len(&self) -> u64 {
        self.len as u64
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.len(), offset, buf.len())?;
        let start = offset as usize;
        buf.copy_from_slice(&self.disk[start..start + buf.len()]);
        if let Some(byte) = self.at.checked_sub(start).and_then(|at| buf.get_mut(at)) {
            *byte ^= self.flip;
        }
        Ok(())
    }
}

/// The files of a disk, if it is of a filesystem whose files are read.
fn open(disk: Changed) -> Option<Box<dyn Files>> {
    let disk: Arc<dyn ReadAt> = Arc::new(disk);
    let borrowed: &[&dyn ReadAt] = &[disk.as_ref()];
    let owner =
        FILESYSTEMS.iter().find(|it| it.probe(borrowed).is_ok_and(|found| found.is_some()))?;
    owner.files(&[Arc::clone(&disk)]).ok().flatten()
}

/// What a sweep has looked at, so that one that looks at nothing is found out.
#[derive(Debug, Default)]
struct Seen {
    /// Changed disks whose files were opened, and those that were refused.
    opened: usize,
    refused: usize,
    /// Nodes of opened disks of which everything could be read.
    whole: usize,
    /// Contents that were compared with those of the disk as it was.
    compared: usize,
}

impl Seen {
    fn examine(&mut self, disk: Changed) -> Option<Box<dyn Files>> {
        let len = disk.len;
        let Some(files) = open(disk) else {
            self.refused += 1;
            return None;
        };
        self.opened += 1;
        self.whole += examine(files.as_ref(), len as u64, 300);
        Some(files)
    }
}

/// `None` if the files of the disk are not read.
fn sweep(disk: &Variant) -> Option<Seen> {
    let bytes = Arc::new(fs::read(&disk.image).expect("reading an unpacked image"));
    let changed = |len, at, flip| Changed { disk: Arc::clone(&bytes), len, at, flip };
    let whole = open(changed(bytes.len(), usize::MAX, 0));
    let whole = whole?;
    // What a failure shows.
    println!("{}", disk.name);
    let right = contents(whole.as_ref());
    // All data of a btrfs has checksums.
    let has_checksums = disk.name.starts_with("btrfs");
    let count = if all() { 400 } else { 30 };
    let mut seen = Seen::default();
    for (n, at) in interesting(&bytes, count).into_iter().enumerate() {
        let flip = [0x01, 0x80, 0xff, 0x10][n % 4];
        let Some(files) = seen.examine(changed(bytes.len(), at, flip)) else { continue };
        if has_checksums {
            for (node, content) in contents(files.as_ref()) {
                let expected = right.get(&node);
                assert!(expected == Some(&content), "{}: byte {at:#x}: {node:?}", disk.name);
                seen.compared += 1;
            }
        }
    }
    for n in 0..count / 4 {
        let len = bytes.len() * n / (count / 4);
        let _ = seen.examine(changed(len, usize::MAX, 0));
    }
    // A cut disk is seldom opened; of the changed ones most are.
    assert!(seen.opened * 3 > count && seen.refused > 0, "{}: {seen:?}", disk.name);
    assert!(seen.whole * 2 > seen.opened, "{}: {seen:?}", disk.name);
    let files = right.len();
    assert!(!has_checksums || seen.compared > files * count / 3, "{}: {seen:?}", disk.name);
    Some(seen)
}

/// The contents of all files that can be read whole.
pub(super) fn contents(files: &dyn Files) -> BTreeMap<Node, Vec<u8>> {
    let (mut found, mut seen) = (BTreeMap::new(), BTreeSet::new());
    let mut folders = vec![files.root()];
    while let Some(folder) = folders.pop() {
        if !seen.insert(folder) {
            continue;
        }
        let _ = files.list(folder, &mut |entry| {
            let Ok(entry) = entry else { return ControlFlow::Continue(()) };
            if entry.kind == NodeKind::Folder {
                folders.push(entry.node);
            }
            let size = files.attributes(entry.node).map_or(u64::MAX, |it| it.size);
            if entry.kind == NodeKind::File && size < 64 << 20 {
                let mut content = vec![0; size as usize];
                if files.read_at(entry.node, 0, &mut content).is_ok() {
                    found.insert(entry.node, content);
                }
            }
            ControlFlow::Continue(())
        });
    }
    found
}

#[test]
fn damage_is_told_and_never_other_bytes_or_a_panic() {
    let folder = temp_dir();
    let disks = committed(folder.path());
    let (left, right) = disks.split_at(disks.len() / 2);
    let all = |disks: &[Variant]| -> Vec<String> {
        let read = disks.iter().filter(|disk| sweep(disk).is_some());
        read.map(|disk| disk.name.clone()).collect()
    };
    let read = std::thread::scope(|scope| {
        let left = scope.spawn(|| all(left));
        let right = all(right);
        [left.join().expect("sweeping"), right].concat()
    });
    for kind in
        ["apfs-", "btrfs-", "exfat-", "ext4-", "fat32-", "hfs-", "hfsplus-", "ntfs-", "xfs-"]
    {
        assert!(read.iter().any(|name| name.starts_with(kind)), "{kind}: {read:?}");
    }
    assert!(read.len() >= 24, "{read:?}");
}
