// SPDX-License-Identifier: MIT OR Apache-2.0
//! The files of a filesystem as the program reads them, against what a driver
//! that mounts it shows: every name, attribute and byte.

// Which of these are used depends on the tests that are there.
#![allow(dead_code)]

mod compact_os;
mod damaged;
mod discs;
pub(crate) mod hfs;
mod images;
mod large;
mod linux;
mod mac;
mod second_reader;
mod windows;

use std::collections::BTreeMap;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use dacapo::browse::{self, OpenVolume};
use dacapo::error::{Error, Result};
use dacapo::extent::Extent;
use dacapo::fs::Files;
use dacapo::fs::files::{Attributes, DirectoryEntry, Node, NodeKind};
use dacapo::io::{ReadAt, check_range};
use jiff::Timestamp;

use crate::support::run;

/// What of a mounted filesystem is compared beside names, kinds and content,
/// of which the program says something.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judge {
    /// Sizes of folders and the numbers of inodes, as the kernel's own drivers
    /// show them.
    pub(crate) inodes: bool,
    /// How many names a node has.
    pub(crate) links: bool,
    /// Extended attributes.
    pub(crate) xattrs: bool,
    /// When it was last changed; of drivers that round times, those of the
    /// same two seconds are the same.
    pub(crate) modified: bool,
    /// When it was last read, and when anything of it changed.
    pub(crate) other_times: bool,
    /// True if the mount has just changed folders, and what has lost a name.
    pub(crate) replayed_now: bool,
}

impl Judge {
    /// A driver of Linux for a filesystem of Linux.
    pub(crate) const KERNEL: Self = Self {
        inodes: true,
        links: true,
        xattrs: true,
        modified: true,
        other_times: true,
        replayed_now: false,
    };
    /// A driver for what another system made.
    pub(crate) const FOREIGN: Self = Self {
        inodes: false,
        links: false,
        xattrs: false,
        modified: true,
        other_times: false,
        replayed_now: false,
    };
}

/// A file that is read as a disk.
pub(crate) struct DiskFile(fs::File, u64);

impl DiskFile {
    #[track_caller]
    pub(crate) fn open(path: &Path) -> Self {
        let file = fs::File::open(path).expect("opening a disk image");
        let len = file.metadata().expect("asking for its size").len();
        Self(file, len)
    }
}

impl ReadAt for DiskFile {
    fn len(&self) -> u64 {
        self.1
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<()> {
        check_range(self.1, offset, buf.len())?;
        self.0.read_exact_at(buf, offset).map_err(|error| Error::failed(error.to_string()))
    }
}

/// The volumes of a disk image.
#[track_caller]
pub(crate) fn volumes_of(image: &Path) -> Vec<OpenVolume> {
    let disk: Arc<dyn ReadAt> = Arc::new(DiskFile::open(image));
    browse::volumes(&disk, &[], None)
}

/// The files of an image of one filesystem and, if it spans several disks, of
/// the others.
#[track_caller]
pub(crate) fn files_of(image: &Path) -> Arc<dyn Files> {
    let volumes = volumes_of(image);
    let [volume] = volumes.as_slice() else { panic!("{}: {volumes:?}", image.display()) };
    volume.files().unwrap_or_else(|error| panic!("{}: {error}", image.display()))
}

/// The test fails unless the program reads the same files out of an image of a
/// filesystem as the kernel's driver that has it mounted; returns how many
/// nodes that were.
#[track_caller]
pub(crate) fn compare_with_mount(volume: &Path, mountpoint: &Path) -> usize {
    compare_files(files_of(volume).as_ref(), mountpoint, Judge::KERNEL)
}

/// As [`compare_with_mount`], for files that are open, by what the judge is good for.
#[track_caller]
pub(crate) fn compare_files(files: &dyn Files, mountpoint: &Path, judge: Judge) -> usize {
    let mut comparison = Comparison {
        files,
        judge,
        xattrs: if judge.xattrs { xattrs_below(mountpoint) } else { BTreeMap::new() },
        root: mountpoint,
        differences: Vec::new(),
        nodes: 0,
    };
    comparison.node(mountpoint, files.root());
    comparison.folder(mountpoint, files.root());
    let Comparison { differences, nodes, .. } = comparison;
    let first = differences.iter().take(20).map(String::as_str).collect::<Vec<_>>().join("\n");
    let count = differences.len();
    assert!(differences.is_empty(), "{}: {count} differences:\n{first}", mountpoint.display());
    nodes
}

struct Comparison<'a> {
    files: &'a dyn Files,
    judge: Judge,
    xattrs: BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>>,
    root: &'a Path,
    differences: Vec<String>,
    nodes: usize,
}

impl Comparison<'_> {
    fn differs(&mut self, path: &Path, text: impl Into<String>) {
        self.differences.push(format!("{}: {}", path.display(), text.into()));
    }

    /// Says so if a thing is not the same.
    fn same<T: PartialEq + std::fmt::Debug>(
        &mut self,
        path: &Path,
        what: &str,
        ours: T,
        theirs: T,
    ) {
        if ours != theirs {
            self.differs(path, format!("{what}: {ours:?}, mounted {theirs:?}"));
        }
    }

    fn folder(&mut self, path: &Path, node: Node) {
        let mut ours: BTreeMap<Vec<u8>, DirectoryEntry> = BTreeMap::new();
        let mut failed = Vec::new();
        let listed = self.files.list(node, &mut |entry| {
            match entry {
                Ok(entry) => {
                    if let Some(twice) = ours.insert(entry.name.clone(), entry) {
                        failed.push(format!("{twice:?} twice"));
                    }
                }
                Err(error) => failed.push(error.to_string()),
            }
            ControlFlow::Continue(())
        });
        if let Err(error) = listed {
            failed.push(error.to_string());
        }
        failed.into_iter().for_each(|text| self.differs(path, text));
        let mut theirs: Vec<PathBuf> = fs::read_dir(path)
            .expect("listing a folder of the mount")
            .map(|entry| entry.expect("listing a folder of the mount").path())
            .collect();
        theirs.sort();
        for (index, path) in theirs.iter().enumerate() {
            let name = path.file_name().expect("it has a name").as_bytes();
            let Some(entry) = ours.remove(name) else {
                self.differs(path, "missing");
                continue;
            };
            // Large folders are looked into by every method a few times only.
            if index < 100 {
                match self.files.lookup(node, name) {
                    Ok(found) => self.same(path, "lookup", found.as_ref(), Some(&entry)),
                    Err(error) => self.differs(path, format!("lookup: {error}")),
                }
            }
            if let Some(attributes) = self.node(path, entry.node) {
                self.same(path, "kind in the folder", entry.kind, attributes.kind);
                if attributes.kind == NodeKind::Folder {
                    self.folder(path, entry.node);
                }
            }
        }
        for name in ours.into_keys() {
            self.differs(&path.join(std::ffi::OsString::from_vec(name)), "is not in the mount");
        }
        match self.files.lookup(node, b"no such name") {
            Ok(None) => {}
            other => self.differs(path, format!("lookup of no name: {other:?}")),
        }
    }

    fn node(&mut self, path: &Path, node: Node) -> Option<Attributes> {
        self.nodes += 1;
        let ours = match self.files.attributes(node) {
            Ok(ours) => ours,
            Err(error) => {
                self.differs(path, error.to_string());
                return None;
            }
        };
        let theirs = fs::symlink_metadata(path).expect("asking the mount");
        let kind = theirs.file_type();
        let expected = if kind.is_file() {
            NodeKind::File
        } else if kind.is_dir() {
            NodeKind::Folder
        } else if kind.is_symlink() {
            NodeKind::Link
        } else if kind.is_fifo() {
            NodeKind::Pipe
        } else if kind.is_socket() {
            NodeKind::Socket
        } else {
            let device = theirs.rdev();
            let (major, minor) = (nix::sys::stat::major(device), nix::sys::stat::minor(device));
            NodeKind::Device {
                is_block: kind.is_block_device(),
                major: u32::try_from(major).expect("a major number"),
                minor: u32::try_from(minor).expect("a minor number"),
            }
        };
        self.same(path, "kind", ours.kind, expected);
        if kind.is_file() || kind.is_symlink() || (kind.is_dir() && self.judge.inodes) {
            self.same(path, "size", ours.size, theirs.size());
        }
        if let Some(mode) = ours.mode {
            self.same(path, "mode", mode, theirs.mode() & 0o7777);
        }
        if let Some(owner) = ours.owner {
            self.same(path, "owner", owner, (theirs.uid(), theirs.gid()));
        }
        if self.judge.links {
            self.same(path, "links", u64::from(ours.links), theirs.nlink());
        }
        if self.judge.inodes {
            self.same(path, "inode", node.number, theirs.ino());
        }
        // The kernel gives the time of the mount to folders that stand for
        // subvolumes that are not there.
        if ours.times.modified.is_none() && self.judge.inodes {
            self.same(path, "inode without times", node.number, 2);
        } else {
            self.times(path, &ours, &theirs);
        }
        if kind.is_symlink() {
            let theirs = fs::read_link(path).expect("reading a link of the mount");
            match self.files.link_target(node) {
                Ok(target) => {
                    self.same(path, "target", target.as_slice(), theirs.as_os_str().as_bytes());
                }
                Err(error) => self.differs(path, format!("target: {error}")),
            }
        }
        if kind.is_file()
            && let Err(text) = same_content(self.files, node, path, ours.size)
        {
            self.differs(path, text);
        }
        if self.judge.xattrs {
            self.xattrs_of(path, node);
        }
        Some(ours)
    }

    fn times(&mut self, path: &Path, ours: &Attributes, theirs: &fs::Metadata) {
        let time = |seconds, nanoseconds: i64| {
            let nanoseconds = i32::try_from(nanoseconds).expect("less than a second");
            Timestamp::new(seconds, nanoseconds).ok()
        };
        let modified = time(theirs.mtime(), theirs.mtime_nsec());
        let is_touched = |time: Option<Timestamp>| {
            let age = Timestamp::now().as_second() - time.map_or(0, Timestamp::as_second);
            self.judge.replayed_now && age < 100
        };
        let changed = time(theirs.ctime(), theirs.ctime_nsec());
        if is_touched(changed) {
            return;
        }
        // Of the root folder some filesystems keep no time.
        let is_kept = ours.times.modified.is_some() || path != self.root;
        if self.judge.modified && is_kept {
            self.same(path, "modified", ours.times.modified, modified);
        }
        if self.judge.other_times {
            self.same(path, "changed", ours.times.changed, changed);
            let accessed = time(theirs.atime(), theirs.atime_nsec());
            self.same(path, "accessed", ours.times.accessed, accessed);
        }
        if self.judge.inodes
            && let (Some(created), Ok(theirs)) = (ours.times.created, theirs.created())
        {
            let theirs = Timestamp::try_from(theirs).ok();
            self.same(path, "created", Some(created), theirs);
        }
    }

    fn xattrs_of(&mut self, path: &Path, node: Node) {
        let below = path.strip_prefix(self.root).expect("it is below the root");
        let mut theirs = self.xattrs.remove(below.as_os_str().as_bytes()).unwrap_or_default();
        // The kernel shows the lists of access of XFS twice.
        theirs.retain(|name, _| !name.starts_with(b"trusted.SGI_ACL_"));
        match self.files.extended_attributes(node) {
            Ok(ours) => {
                let count = ours.len();
                let ours: BTreeMap<_, _> = ours.into_iter().collect();
                self.same(path, "number of extended attributes", ours.len(), count);
                self.same(path, "extended attributes", ours, theirs);
            }
            Err(error) => self.differs(path, format!("extended attributes: {error}")),
        }
    }
}

/// Compares the content of a file, which is read in pieces of odd sizes; and
/// that what is not said to be stored is zero.
pub(crate) fn same_content(
    files: &dyn Files,
    node: Node,
    path: &Path,
    size: u64,
) -> std::result::Result<(), String> {
    let file = fs::File::open(path).map_err(|error| format!("opening: {error}"))?;
    let stored = files.data_ranges(node).map_err(|error| format!("data ranges: {error}"))?;
    files.places(node).map_err(|error| format!("places: {error}"))?;
    let sizes = [1, 4096, 100, 128 << 10, 3 << 20, 70_001];
    let mut position = 0_u64;
    for len in sizes.into_iter().cycle() {
        let mut ours = vec![0xEE; len];
        let count = files
            .read_at(node, position, &mut ours)
            .map_err(|error| format!("reading at {position}: {error}"))?;
        let left = size - position;
        if count as u64 != left.min(len as u64) {
            return Err(format!("{count} bytes of {len} at {position}, {left} are left"));
        }
        if count == 0 {
            break;
        }
        ours.truncate(count);
        let mut theirs = vec![0; count];
        file.read_exact_at(&mut theirs, position)
            .map_err(|error| format!("reading at {position} of the mount: {error}"))?;
        if let Some(at) = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs) {
            let at = position + at as u64;
            return Err(format!("other content at byte {at} of {size}, read from {position}"));
        }
        if let Some(stored) = &stored {
            for hole in stored.holes_within(Extent::at(position, count as u64)) {
                let hole = (hole.start() - position) as usize..(hole.end() - position) as usize;
                if theirs[hole].iter().any(|byte| *byte != 0) {
                    return Err(format!("not stored by {stored:?}, but not zero"));
                }
            }
        }
        position += count as u64;
        // The rest of a very large sparse file is its holes.
        if let Some(stored) = &stored
            && position > 64 << 20
        {
            let next = stored.within(Extent::new(position, size)).next();
            position = next.map_or(size, |next| next.start().max(position));
        }
    }
    match files.read_at(node, size.saturating_add(1 << 20), &mut [0; 10]) {
        Ok(0) => Ok(()),
        other => Err(format!("reading behind the end: {other:?}")),
    }
}

/// The extended attributes of everything below a folder, by the paths in it.
fn xattrs_below(folder: &Path) -> BTreeMap<Vec<u8>, BTreeMap<Vec<u8>, Vec<u8>>> {
    const SCRIPT: &str = "
import os, sys
root = os.fsencode(sys.argv[1])
def show(path):
    for name in os.listxattr(path, follow_symlinks=False):
        try:
            value = os.getxattr(path, name, follow_symlinks=False)
        except OSError:
            continue
        below = os.path.relpath(path, root)
        print((b'' if below == b'.' else below).hex() or '-', os.fsencode(name).hex(), value.hex() or '-')
show(root)
for path, folders, names in os.walk(root):
    for name in folders + names:
        show(os.path.join(path, name))
";
    let ran = run("python3", &["-c", SCRIPT, folder.to_str().expect("a plain name")]);
    let bytes = |hex: &str| -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|byte| *byte != b'-').collect();
        let byte = |pair: &[u8]| {
            let pair = std::str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("digits")
        };
        digits.chunks(2).map(byte).collect()
    };
    let mut found: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for line in ran.out().lines() {
        let [path, name, value] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("a line of three words: {line}");
        };
        found.entry(bytes(path)).or_default().insert(bytes(name), bytes(value));
    }
    found
}

/// The files of a filesystem that spans several images.
pub(crate) fn open_set(images: &[&Path]) -> Result<Arc<dyn Files>> {
    let readers: Vec<Arc<dyn ReadAt>> =
        images.iter().map(|image| Arc::new(DiskFile::open(image)) as Arc<dyn ReadAt>).collect();
    let borrowed: Vec<&dyn ReadAt> = readers.iter().map(AsRef::as_ref).collect();
    let owner = dacapo::fs::FILESYSTEMS
        .iter()
        .find(|driver| driver.probe(&borrowed).is_ok_and(|found| found.is_some()))
        .ok_or_else(|| Error::failed("no filesystem was found"))?;
    let files = owner.files(&readers)?;
    Ok(files.ok_or_else(|| Error::failed("its files are not read"))?.into())
}

/// What lies at a path from the root.
#[track_caller]
pub(crate) fn find(files: &dyn Files, path: &str) -> Option<Node> {
    let mut node = files.root();
    for name in path.split('/').filter(|name| !name.is_empty()) {
        node = files.lookup(node, name.as_bytes()).expect("looking a name up")?.node;
    }
    Some(node)
}

/// The content of a file.
#[track_caller]
pub(crate) fn read_all(files: &dyn Files, node: Node) -> Vec<u8> {
    let size = files.attributes(node).expect("asking for the size").size;
    let mut content = vec![0; usize::try_from(size).expect("a small file")];
    let read = files.read_at(node, 0, &mut content).expect("reading a file");
    assert_eq!(read, content.len());
    content
}

/// All names of a folder.
#[track_caller]
pub(crate) fn list_all(files: &dyn Files, folder: Node) -> Vec<DirectoryEntry> {
    let mut entries = Vec::new();
    let listed = files.list(folder, &mut |entry| {
        entries.push(entry.expect("a name that can be read"));
        ControlFlow::Continue(())
    });
    listed.expect("listing a folder");
    entries
}
