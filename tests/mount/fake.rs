// SPDX-License-Identifier: MIT OR Apache-2.0
//! A mounted folder over files that exist in memory only, and that no real
//! filesystem has at hand: a hundred thousand names, all kinds of nodes, and
//! every way to fail.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;

use dacapo::extent::{Extent, ExtentSet};
use dacapo::fs::files::{
    Attributes, DirectoryEntry, EachEntry, FileResult, Files, Node, NodeKind, Times,
};
use dacapo::io::Memory;
use dacapo::mount::{Event, Mounted, Options, Tree, Unmounted, Volume, check_folder};
use dacapo::ondisk::FormatError;
use jiff::Timestamp;

use crate::support::{requires, temp_dir, try_run};

const MANY: u64 = 100_000;
const ROOT: Node = Node::new(5);
const FOLDER: Node = Node::new(6);
const FAR: Node = Node { tree: 256, number: u64::MAX };
const SONG: Node = Node::new(7);
const BROKEN: Node = Node::new(8);
const SHORT: Node = Node::new(9);
const LINK: Node = Node::new(10);
const CLOUD: Node = Node::new(11);
const PIPE: Node = Node::new(12);
const DEVICE: Node = Node::new(13);
const LOST: Node = Node::new(14);
const TORN: Node = Node::new(15);
const FIRST: u64 = 1000;

struct Fake;

fn content(node: Node) -> Vec<u8> {
    (0..300_000_u64).map(|n| (n.wrapping_mul(n) ^ node.number) as u8).collect()
}

fn damaged(what: &'static str) -> FormatError {
    FormatError::corrupt(what, 0, "x", "y")
}

fn entries(folder: Node) -> Vec<(&'static [u8], Node, NodeKind)> {
    let device = NodeKind::Device { is_block: true, major: 8, minor: 300 };
    match folder {
        ROOT => vec![
            (b"many", FOLDER, NodeKind::Folder),
            (b"torn", TORN, NodeKind::Folder),
            (b"subvolume", FAR, NodeKind::Folder),
            (b"song", SONG, NodeKind::File),
            (b"same song", SONG, NodeKind::File),
            (b"broken", BROKEN, NodeKind::File),
            (b"short", SHORT, NodeKind::File),
            (b"link", LINK, NodeKind::Link),
            (b"cloud", CLOUD, NodeKind::Other("a reparse point of a cloud")),
            (b"pipe", PIPE, NodeKind::Pipe),
            (b"device", DEVICE, device),
            (b"lost", LOST, NodeKind::File),
            (b"new\nline \xff\xfe", SONG, NodeKind::File),
        ],
        FAR => vec![(b"inner", SONG, NodeKind::File)],
        TORN => vec![(b"whole", SONG, NodeKind::File)],
        _ => Vec::new(),
    }
}

impl Files for Fake {
    fn root(&self) -> Node {
        ROOT
    }

    fn attributes(&self, node: Node) -> FileResult<Attributes> {
        let kind = match node {
            ROOT | FOLDER | FAR | TORN => NodeKind::Folder,
            LINK => NodeKind::Link,
            CLOUD => NodeKind::Other("a reparse point of a cloud"),
            PIPE => NodeKind::Pipe,
            DEVICE => NodeKind::Device { is_block: true, major: 8, minor: 300 },
            LOST => return Err(damaged("an inode")),
            _ => NodeKind::File,
        };
        let size = match (kind, node) {
            (NodeKind::File, Node { number: FIRST.., .. }) => node.number,
            (NodeKind::File, _) => 300_000,
            (NodeKind::Link, _) => 14,
            _ => 0,
        };
        let time = |second| Timestamp::new(second, 123_456_700).ok();
        Ok(Attributes {
            kind,
            size,
            allocated: Some(8192),
            times: Times {
                modified: time(1_000_000_000),
                accessed: time(-5),
                changed: None,
                created: None,
            },
            mode: (node == SONG).then_some(0o4640),
            owner: (node == SONG).then_some((1234, 4321)),
            links: if node == SONG { 3 } else { 1 },
            dos: None,
        })
    }

    fn list(&self, folder: Node, each: EachEntry) -> FileResult<()> {
        if folder == FOLDER {
            for n in (0..MANY).rev() {
                let name = format!("name {n} of a hundred thousand").into_bytes();
                let node = Node::new(FIRST + n);
                if each(Ok(DirectoryEntry { name, node, kind: NodeKind::File })).is_break() {
                    return Ok(());
                }
            }
        }
        for (name, node, kind) in entries(folder) {
            if each(Ok(DirectoryEntry { name: name.to_vec(), node, kind })).is_break() {
                return Ok(());
            }
        }
        if folder == TORN && each(Err(damaged("an entry"))) == ControlFlow::Break(()) {
            return Ok(());
        }
        Ok(())
    }

    fn read_at(&self, file: Node, offset: u64, buf: &mut [u8]) -> FileResult<usize> {
        let end = offset + buf.len() as u64;
        if file == BROKEN && offset < 140_000 && end > 130_000 {
            return Err(damaged("a run"));
        }
        let content = content(file);
        let rest = content.get(offset as usize..).unwrap_or_default();
        let most =
            if file == SHORT { 200_000_usize.saturating_sub(offset as usize) } else { rest.len() };
        let len = buf.len().min(rest.len()).min(most);
        buf[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn link_target(&self, _: Node) -> FileResult<Vec<u8>> {
        Ok(b"/etc/\xff/../up".to_vec())
    }

    fn data_ranges(&self, file: Node) -> FileResult<Option<ExtentSet>> {
        Ok((file == SONG).then(|| [Extent::new(4096, 8192)].into_iter().collect()))
    }

    fn extended_attributes(&self, node: Node) -> FileResult<Vec<(Vec<u8>, Vec<u8>)>> {
        let known = vec![(b"user.mood".to_vec(), b"\0quiet".to_vec())];
        Ok(if node == SONG { known } else { Vec::new() })
    }

    fn streams(&self, file: Node) -> FileResult<Vec<(Vec<u8>, u64)>> {
        let known = vec![(b"Zone.Identifier".to_vec(), 9), (b"large".to_vec(), 1 << 20)];
        Ok(if file == SONG { known } else { Vec::new() })
    }

    fn read_stream_at(&self, _: Node, _: &[u8], _: u64, buf: &mut [u8]) -> FileResult<usize> {
        buf.copy_from_slice(b"ZoneId=3\n");
        Ok(buf.len())
    }
}

#[test]
fn everything_that_files_can_be_is_shown_as_it_is() {
    if !requires(&["root", "kernel:fuse", "getfattr"]) {
        return;
    }
    let folder = temp_dir();
    let point = check_folder(folder.path()).unwrap();
    let disk = Arc::new(Memory::new(vec![7; 10_000]));
    let volume = Volume { name: "1-fake".into(), files: Arc::new(Fake), has_local_times: false };
    let tree = Tree::of_parts(vec![("disk".into(), disk)], vec![volume]);
    let options = Options { source: "a, b".into(), is_writable: false, allows_others: false };
    let mounted = Mounted::start(tree, &point, &options, mpsc::channel()).unwrap();
    // A failed check must not leave it mounted.
    let checked = std::panic::catch_unwind(|| check(&point.join("files/1-fake")));
    assert!(matches!(mounted.unmount().unwrap(), Unmounted::Done));
    let told: BTreeMap<String, String> = mounted
        .finish()
        .unwrap()
        .into_iter()
        .map(|event| match event {
            Event::Unreadable { name, error } => (name, error.to_string()),
            Event::Unwritable { error, .. } | Event::Failing(error) => panic!("{error}"),
        })
        .collect();
    if let Err(panic) = checked {
        std::panic::resume_unwind(panic);
    }
    let names: Vec<&str> = told.keys().map(String::as_str).collect();
    let wanted = ["broken", "cloud", "lost", "short", "torn"];
    assert_eq!(names, wanted.map(|name| format!("files/1-fake/{name}")), "{told:?}");
}

fn check(root: &Path) {
    // A hundred thousand names, each once, and each with its size.
    let names: BTreeSet<String> = fs::read_dir(root.join("many"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(names.len() as u64, MANY);
    for n in [0, 1, 77_777, MANY - 1] {
        let path = root.join(format!("many/name {n} of a hundred thousand"));
        assert_eq!(fs::metadata(&path).unwrap().len(), FIRST + n);
    }
    assert!(fs::metadata(root.join("many/name 100000 of a hundred thousand")).is_err());

    let song = fs::metadata(root.join("song")).unwrap();
    assert_eq!((song.mode(), song.uid(), song.gid()), (0o104_640, 1234, 4321));
    assert_eq!((song.len(), song.nlink(), song.blocks()), (300_000, 3, 16));
    assert_eq!((song.mtime(), song.mtime_nsec()), (1_000_000_000, 123_456_700));
    assert_eq!((song.atime(), song.ctime()), (-5, 1_000_000_000));
    for other in [&b"same song"[..], b"new\nline \xff\xfe"] {
        let other = fs::metadata(root.join(OsStr::from_bytes(other))).unwrap();
        assert_eq!(other.ino(), song.ino());
    }
    assert_eq!(fs::read(root.join("song")).unwrap(), content(SONG));
    assert_eq!(fs::read(root.join("subvolume/inner")).unwrap(), content(SONG));
    assert!(fs::metadata(root.join("SONG")).is_err());
    let target = fs::read_link(root.join("link")).unwrap();
    assert_eq!(target.as_os_str().as_bytes(), b"/etc/\xff/../up");
    assert!(fs::symlink_metadata(root.join("pipe")).unwrap().file_type().is_fifo());
    let device = fs::symlink_metadata(root.join("device")).unwrap();
    assert!(device.file_type().is_block_device());
    assert_eq!(device.rdev(), nix::sys::stat::makedev(8, 300));
    let folder = fs::metadata(root.join("subvolume")).unwrap();
    assert_eq!((folder.permissions().mode() & 0o7777, folder.uid()), (0o555, 0));

    // Holes, and what is beside the content.
    let file = fs::File::open(root.join("song")).unwrap();
    let seek = |at, whence| nix::unistd::lseek(&file, at, whence).unwrap();
    assert_eq!(seek(0, nix::unistd::Whence::SeekData), 4096);
    assert_eq!(seek(5000, nix::unistd::Whence::SeekHole), 8192);
    let path = root.join("song");
    let text = try_run("getfattr", &["-d", "-m", "-", "-e", "hex", path.to_str().unwrap()]);
    assert!(text.out().contains("user.mood=0x007175696574"), "{text}");
    assert!(text.out().contains("user.Zone.Identifier=0x5a6f6e6549643d330a"), "{text}");
    assert!(text.err().contains("user.large: Argument list too long"), "{text}");

    // What fails does so by itself, and the rest is right.
    let eio = |result: std::io::Result<()>| {
        assert_eq!(result.unwrap_err().raw_os_error(), Some(nix::libc::EIO));
    };
    let broken = fs::File::open(root.join("broken")).unwrap();
    let (mut found, wanted) = (vec![0; 4096], content(BROKEN));
    for at in (0..300_000_u64 - 4096).step_by(4096) {
        let read = broken.read_exact_at(&mut found, at);
        if at < 140_000 && at + 4096 > 130_000 {
            eio(read);
        } else {
            read.unwrap();
            assert!(found == wanted[at as usize..][..4096], "{at}");
        }
    }
    eio(fs::read(root.join("short")).map(drop));
    eio(fs::read(root.join("cloud")).map(drop));
    eio(fs::metadata(root.join("lost")).map(drop));
    let torn: Vec<_> = fs::read_dir(root.join("torn")).unwrap().collect();
    assert_eq!(torn.len(), 2);
    assert_eq!(torn[0].as_ref().unwrap().file_name(), "whole");
    assert!(torn[1].is_err(), "an entry is missing without a word");
    assert_eq!(fs::read(root.join("torn/whole")).unwrap(), content(SONG));

    // Nothing can be changed.
    let erofs = Some(nix::libc::EROFS);
    assert_eq!(fs::write(root.join("song"), "x").unwrap_err().raw_os_error(), erofs);
    assert_eq!(fs::create_dir(root.join("new")).unwrap_err().raw_os_error(), erofs);
    assert_eq!(fs::remove_file(root.join("song")).unwrap_err().raw_os_error(), erofs);
}
