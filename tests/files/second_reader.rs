// SPDX-License-Identifier: MIT OR Apache-2.0
//! XFS version 4, which kernels of today do not mount: against another reader
//! of the format.

use std::collections::BTreeSet;
use std::path::Path;

use dacapo::fs::Files;
use dacapo::fs::files::Node;
use dacapo::io::ReadAt as _;
use lamxfs::{BlockRead, Xfs};

use super::{DiskFile, list_all, read_all};

impl BlockRead for DiskFile {
    type Error = dacapo::error::Error;

    fn read_at(&mut self, offset: u64, buf: &mut [u8]) -> Result<(), Self::Error> {
        dacapo::io::ReadAt::read_at(self, offset, buf)
    }
}

/// The test fails unless the other reader finds the same names, links and
/// contents; returns how many nodes that were. `None` if it does not read it.
#[track_caller]
pub(super) fn compare(files: &dyn Files, image: &Path) -> Option<usize> {
    let disk = DiskFile::open(image);
    let len = disk.len();
    let mut other = Xfs::open(disk, len).ok()?;
    let mut folders = vec![(Vec::new(), files.root())];
    let mut count = 0;
    while let Some((path, folder)) = folders.pop() {
        let theirs: BTreeSet<(Vec<u8>, u64)> = other
            .read_dir(lamxfs::Path::new(if path.is_empty() { b"/" } else { &path }))
            .expect("listing a folder")
            .into_iter()
            .filter(|entry| !matches!(entry.name.as_slice(), b"." | b".."))
            .map(|entry| (entry.name, entry.inode_number))
            .collect();
        let ours: BTreeSet<(Vec<u8>, u64)> =
            list_all(files, folder).into_iter().map(|it| (it.name, it.node.number)).collect();
        assert_eq!(ours, theirs, "{}", String::from_utf8_lossy(&path));
        for (name, number) in ours {
            count += 1;
            let path = [&path[..], b"/", &name].concat();
            let shown = String::from_utf8_lossy(&path).into_owned();
            let node = Node::new(number);
            let meta = other.metadata(&lamxfs::Inode { ino: number }).expect("asking for an inode");
            let attributes = files.attributes(node).expect("asking for an inode");
            assert_eq!(attributes.size, meta.size(), "{shown}");
            assert_eq!(attributes.mode, Some(meta.mode() & 0o7777), "{shown}");
            if meta.is_dir() {
                folders.push((path, node));
            } else if meta.is_symlink() {
                let target = other.read_link(lamxfs::Path::new(&path)).expect("reading a link");
                assert_eq!(files.link_target(node).expect("reading a link"), target, "{shown}");
            } else if meta.is_file() {
                let content = other.read_file(lamxfs::Path::new(&path)).expect("reading a file");
                assert!(read_all(files, node) == content, "{shown}");
            }
        }
    }
    Some(count)
}
